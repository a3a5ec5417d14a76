"""The real hardware of a Raspberry Pi: I2C buses by smbus2, pins by gpiozero over lgpio.

Owns opening each bus's device and the pin factory once and closing them. It does not own how buses are looked after
(`gateway.sensors.buses`), nor sensors.

Invariants:
* Nothing is opened before a driver asks for it, and no library is imported before that either.
* The header's pins are found by their chip's label: the number of a GPIO chip changes with board and kernel.
"""

from __future__ import annotations

import contextlib
import fcntl
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, cast

from gateway.clock import Clock, SystemClock
from gateway.errors import SensorError
from gateway.sensors.base import I2cBus, Pulses, Tally
from gateway.sensors.bus import BusOptions
from gateway.sensors.buses import Buses
from gateway.sensors.rescue import Pinctrl

__all__ = ["PiHardware", "header_chip", "open_pins"]

# Zero 2 W and 3; 4; 5. The header's pins are the lines of the chip so labelled, by their BCM numbers.
_LABELS: Final = ("pinctrl-rp1", "pinctrl-bcm2711", "pinctrl-bcm2835")
_CHIP_INFO: Final = 0x8044B401  # GPIO_GET_CHIPINFO_IOCTL of linux/gpio.h: name, label, number of lines
_CHIP_INFO_BYTES: Final = 68


class PiHardware:
    """Buses and pins of the machine this runs on.

    Attributes:
        powered_since_ms: 0, the machine's start: sensors share the Pi's supply, and the system's
            monotonic clock counts from there.
    """

    powered_since_ms = 0
    is_simulated = False

    def __init__(self, clock: Clock | None = None, buses: Iterable[BusOptions] = ()) -> None:
        self.clock: Clock = clock or SystemClock()
        self._buses = Buses(buses, _open_bus, self.pins, Pinctrl(), self.clock)
        self._pins: Any = None
        self._opening = threading.Lock()

    def i2c(self, name: str) -> I2cBus:
        return self._buses.i2c(name)

    def tally(self, bus: str) -> Tally:
        return self._buses.tally(bus)

    def pins(self) -> Any:
        with self._opening:  # buses of several threads may need them first
            if self._pins is None:
                self._pins = open_pins()
            return self._pins

    def dht_pulses(self, pin: int) -> Callable[[], Pulses] | None:
        return None

    def close(self) -> None:
        self._buses.close()
        if self._pins is not None:
            self._pins.close()
            self._pins = None


def _open_bus(name: str) -> I2cBus:
    import smbus2

    return cast(I2cBus, smbus2.SMBus(f"/dev/{name}"))


def open_pins() -> Any:
    """Return gpiozero's factory on the header's pins. Raises SensorError."""
    from gpiozero.exc import GPIOZeroError

    try:
        from gpiozero.pins.lgpio import LGPIOFactory

        return LGPIOFactory(header_chip(_labels()))
    except (GPIOZeroError, ImportError, OSError, AttributeError) as error:
        raise SensorError(
            "wiring", f"no GPIO pins here ({error}); install the extra 'pi' on a Raspberry Pi, or simulate"
        ) from error


def header_chip(labels: Iterable[tuple[int, str]]) -> int:
    """Return the number of the GPIO chip that the header is on, of (number, label) each.

    Raises:
        SensorError: no chip has a label of a Raspberry Pi's.
    """
    found = {label: number for number, label in sorted(labels, reverse=True)}
    for label in _LABELS:
        if label in found:
            return found[label]
    raise SensorError(
        "wiring",
        f"no GPIO chip is labelled {', '.join(_LABELS)}, but {', '.join(sorted(found)) or 'there is none'};"
        " this is no Raspberry Pi that is known, or the service may not open /dev/gpiochip*",
    )


def _labels() -> list[tuple[int, str]]:
    """Return number and label of each GPIO chip that this process may open."""
    labels = []
    for device in Path("/dev").glob("gpiochip*"):
        number = device.name.removeprefix("gpiochip")
        if number.isdecimal():
            with contextlib.suppress(OSError), device.open("rb", buffering=0) as file:
                info = fcntl.ioctl(file.fileno(), _CHIP_INFO, bytes(_CHIP_INFO_BYTES))
                labels.append((int(number), info[32:64].rstrip(b"\0").decode("ascii", "replace")))
    return labels
