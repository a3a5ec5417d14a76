"""A dry contact on a GPIO pin, such as a smoke detector's alarm relay: active or not.

Owns polarity and debouncing. It does not own what an active contact means (a contract does).

Wired normally closed, a cut wire reads as active, so it is noticed as an alarm. Wired normally open, a cut
wire reads as rest and is not noticed: choose this only where the detector leaves no choice.

Invariant: a level counts only when it reads the same again after the debounce time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from gateway.errors import SensorError
from gateway.sensors.base import Claim, Hardware, Quantity, SensorInfo

__all__ = ["Contact", "Options", "connect", "describe"]

_SETTLE_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class Options:
    """A contact between a pin and a rail.

    Attributes:
        pin: BCM number.
        contact: "nc" (closed at rest, preferred) or "no" (closed when active).
        pull: the resistor opposite the contact: "up" or "down" in the Pi (the contact then leads to
            ground or to 3.3 V), or the same outside it, "external-up" or "external-down".
        debounce_ms: a new level must last this long.
    """

    pin: int
    contact: Literal["nc", "no"] = "nc"
    pull: Literal["up", "down", "external-up", "external-down"] = "up"
    debounce_ms: int = 20

    def __post_init__(self) -> None:
        if not 0 <= self.pin <= 27:
            raise ValueError(f"a Pi's header has pins 0 to 27, not {self.pin}")
        if not 0 <= self.debounce_ms <= 1000:
            raise ValueError("debounce_ms must be 0 to 1000")


class Contact:
    """1 when the contact is active, 0 at rest (`active`)."""

    def __init__(self, options: Options, hardware: Hardware) -> None:
        self.info: Final = describe(options)
        self._options = options
        self._clock = hardware.clock
        self._device = _open(options, hardware.pins())
        self._active: int | None = None

    def sample(self) -> Mapping[str, int]:
        active = self._read()
        if active != self._active:
            active = self._settled(active)
        self._active = active
        return {"active": active}

    def close(self) -> None:
        self._device.close()

    def _read(self) -> int:
        closed = bool(self._device.value)
        return int(closed != (self._options.contact == "nc"))

    def _settled(self, active: int) -> int:
        for _ in range(_SETTLE_TRIES):
            self._clock.sleep(self._options.debounce_ms / 1000)
            before, active = active, self._read()
            if active == before:
                return active
        raise SensorError(
            "wiring", f"the contact on GPIO{self._options.pin} chatters; check its wire and screws"
        )


def _open(options: Options, factory: Any) -> Any:
    from gpiozero import DigitalInputDevice
    from gpiozero.exc import GPIOZeroError

    # Device.value is 1 when the contact is closed: low against a pull-up, high against a pull-down.
    external = options.pull.startswith("external-")
    polarity: dict[str, Any] = (
        {"pull_up": None, "active_state": options.pull == "external-down"}
        if external
        else {"pull_up": options.pull == "up"}
    )
    try:
        return DigitalInputDevice(options.pin, pin_factory=factory, **polarity)
    except (GPIOZeroError, OSError) as error:
        raise SensorError("wiring", f"GPIO{options.pin} cannot be opened: {error}") from error


def describe(options: Options) -> SensorInfo:
    """Say what the sensor will give, without touching it."""
    return SensorInfo(
        driver="contact",
        model=f"{options.contact.upper()} contact on GPIO{options.pin}",
        quantities=(Quantity("active", "1", 0),),
        min_interval_ms=1,
        warm_up_ms=0,
        bus="gpio",
        claim=Claim(pins=(options.pin,)),
    )


def connect(options: Options, hardware: Hardware) -> Contact:
    """Open the pin.

    Raises:
        SensorError: wiring, when there are no pins here or this one is in use.
    """
    return Contact(options, hardware)
