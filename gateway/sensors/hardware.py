"""The real hardware of a Raspberry Pi: I2C buses by smbus2, pins by gpiozero over lgpio.

Owns opening each bus and the pin factory once and closing them. It does not own transfers or sensors.

Invariant: nothing is opened before a driver asks for it, and no library is imported before that either.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast

from gateway.clock import Clock, SystemClock
from gateway.errors import SensorError
from gateway.sensors.base import I2cBus, Pulses

__all__ = ["PiHardware"]


class PiHardware:
    """Buses and pins of the machine this runs on.

    Attributes:
        powered_since_ms: 0, the machine's start: sensors share the Pi's supply, and the system's
            monotonic clock counts from there.
    """

    powered_since_ms = 0

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or SystemClock()
        self._buses: dict[str, I2cBus] = {}
        self._pins: Any = None

    def i2c(self, name: str) -> I2cBus:
        if name not in self._buses:
            self._buses[name] = _open_bus(name)
        return self._buses[name]

    def pins(self) -> Any:
        if self._pins is None:
            self._pins = _open_pins()
        return self._pins

    def dht_pulses(self, pin: int) -> Callable[[], Pulses] | None:
        return None

    def close(self) -> None:
        while self._buses:
            self._buses.popitem()[1].close()
        if self._pins is not None:
            self._pins.close()
            self._pins = None


def _open_bus(name: str) -> I2cBus:
    if not re.fullmatch(r"i2c-\d+", name):
        raise SensorError(
            "wiring", f"no bus is called {name!r}; name it like the device, for example 'i2c-1'"
        )
    import smbus2

    try:
        return cast(I2cBus, smbus2.SMBus(f"/dev/{name}"))
    except OSError as error:
        raise SensorError(
            "wiring", f"/dev/{name} cannot be opened ({error.strerror}); enable I2C and join the group i2c"
        ) from error


def _open_pins() -> Any:
    from gpiozero.exc import GPIOZeroError

    try:
        from gpiozero.pins.lgpio import LGPIOFactory

        return LGPIOFactory()
    except (GPIOZeroError, ImportError, OSError) as error:
        raise SensorError(
            "wiring", f"no GPIO pins here ({error}); install the extra 'pi' on a Raspberry Pi, or simulate"
        ) from error
