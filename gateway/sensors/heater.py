"""The heating cycle of an MQ-7: a minute hot to clean itself, a minute and a half warm to smell carbon monoxide.

Owns the cycle's times, the pin that switches it, and the proof that the heater follows. It does not own the
element's voltage (`mq`).

Source: Hanwei's MQ-7 data sheet: 5 V for 60 s +- 1 s, 1.4 V for 90 s +- 1 s, measured at the end of the low phase.

Invariants:
* A cycle gives one value, at the end of its low phase, or none. Nothing waits for it: whoever samples comes by
  every second and is told whether this is the moment.
* The element's voltage swings when its temperature does. Where it did not in both phases the heater is dead, and from
  then on every sample is a fault until a cycle has swung again.
"""

from __future__ import annotations

from typing import Any, Final

from gateway.errors import SensorError
from gateway.sensors.base import Hardware

__all__ = ["CYCLE_MS", "TURN_MS", "HeaterCycle"]

_HOT_MS: Final = 60_000
_LOW_MS: Final = 90_000
CYCLE_MS: Final = _HOT_MS + _LOW_MS
TURN_MS: Final = 1_000  # how often it must be looked after
_LATE_MS: Final = 2_000  # a phase that lasted longer than this beyond its time makes the value void
_SWING_PERCENT: Final = 20  # of the highest code; switching swings the voltage by far more, noise by far less


class HeaterCycle:
    """One element's heater on an output pin.

    Args:
        pin: BCM number; active is 5 V.
        active_high: whether the pin's high level is active.
    """

    def __init__(self, pin: int, active_high: bool, hardware: Hardware) -> None:
        self._name = f"the heater on GPIO{pin}"
        self._device = _open(pin, active_high, hardware.pins())
        self._is_hot = True
        self._is_void = self._is_dead = False
        self._since: int | None = None
        self._turned_ms = 0
        self._codes: tuple[int, int] | None = (
            None  # lowest and highest of this phase, seen from its beginning
        )
        self._swung = True  # whether the voltage did so in the hot phase
        self._is_first = True  # a heater that was hot before does not swing in the first hot phase

    def turn(self, now_ms: int) -> None:
        """Switch where a phase is over.

        Raises:
            SensorError: timeout, when nobody came by at the end of the cycle.
        """
        before, self._turned_ms = self._turned_ms, now_ms
        if self._since is None:
            self._heat(now_ms)
        elif self._is_hot and now_ms - self._since >= _HOT_MS:
            self._is_void = now_ms - self._since > _HOT_MS + _LATE_MS
            self._swung, self._is_first = self._is_first or self._swings(), False
            self._is_hot, self._since, self._codes = False, now_ms, None
            self._device.off()
        elif not self._is_hot and now_ms - self._since > _LOW_MS + _LATE_MS:
            self._heat(now_ms)
            if now_ms - before > _LATE_MS:  # otherwise the ADC failed, and has said so
                raise SensorError(
                    "timeout", f"{self._name}: its cycle ended unobserved; sample it every second"
                )

    def takes(self, code: int, now_ms: int) -> bool:
        """Take note of the element's code just now, and say whether it is the cycle's value.

        Raises:
            SensorError: power, while the heater is dead; timeout, when the cycle's times were not kept.
        """
        assert self._since is not None
        low, high = self._codes or (code, code)
        if self._codes or now_ms - self._since <= _LATE_MS:
            self._codes = min(low, code), max(high, code)
        is_end = not self._is_hot and now_ms - self._since >= _LOW_MS
        if is_end:
            self._is_dead = not (self._swung and self._swings())
            self._heat(now_ms)
        if self._is_dead:
            raise SensorError("power", f"{self._name} does not heat; check its supply, switch and wires")
        if is_end and self._is_void:
            raise SensorError("timeout", f"{self._name} was switched late; sample it every second")
        return is_end

    def close(self) -> None:
        """Release the pin; may be called twice."""
        self._device.close()

    def _swings(self) -> bool:
        """Whether the voltage has moved in this phase; a beginning that the ADC missed proves nothing either way."""
        if self._codes is None:
            return True
        low, high = self._codes
        return (high - low) * 100 >= high * _SWING_PERCENT

    def _heat(self, now_ms: int) -> None:
        self._is_hot, self._since, self._codes = True, now_ms, None
        self._device.on()


def _open(pin: int, active_high: bool, factory: Any) -> Any:
    from gpiozero import DigitalOutputDevice
    from gpiozero.exc import GPIOZeroError

    try:
        return DigitalOutputDevice(pin, active_high=active_high, initial_value=True, pin_factory=factory)
    except (GPIOZeroError, OSError) as error:
        raise SensorError("wiring", f"GPIO{pin} cannot be opened: {error}") from error
