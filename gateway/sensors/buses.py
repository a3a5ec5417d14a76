"""All I2C buses of a machine, real or simulated: each opened once, looked after, and counted.

Owns which buses are open and with which options. It does not own what a bus does (`gateway.sensors.bus`).

Invariant: a bus that the configuration does not name has the defaults; nothing is opened before it is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from gateway.clock import Clock
from gateway.errors import SensorError
from gateway.sensors.base import I2cBus, Tally
from gateway.sensors.bus import BusOptions, TendedBus
from gateway.sensors.rescue import PinFunctions, PinRescue

__all__ = ["Buses"]


class Buses:
    """The buses.

    Args:
        options: of those that the configuration names.
        open_: opens the device of a bus by its name; raises OSError.
        pins: returns the pin factory, with which a held bus is freed; raises SensorError.
        functions: gives the lines back afterwards.
    """

    def __init__(
        self,
        options: Iterable[BusOptions],
        open_: Callable[[str], I2cBus],
        pins: Callable[[], Any],
        functions: PinFunctions,
        clock: Clock,
    ) -> None:
        self._options = {each.name: each for each in options}
        self._open, self._pins, self._functions, self._clock = open_, pins, functions, clock
        self._buses: dict[str, TendedBus] = {}

    def i2c(self, name: str) -> I2cBus:
        """Return a bus, opened once. Raises SensorError."""
        if name not in self._buses:
            self._buses[name] = self._tended(name)
        return self._buses[name]

    def tally(self, name: str) -> Tally:
        """Return what a bus needed so far; nothing where there is none, or it is no I2C bus."""
        bus = self._buses.get(name)
        return bus.tally if bus else Tally()

    def close(self) -> None:
        """Close all; may be called twice."""
        while self._buses:
            self._buses.popitem()[1].close()

    def _tended(self, name: str) -> TendedBus:
        if not re.fullmatch(r"i2c-\d+", name):
            raise SensorError(
                "wiring", f"no bus is called {name!r}; name it like the device, for example 'i2c-1'"
            )
        options = self._options.get(name) or BusOptions(name)
        rescue = PinRescue(options, self._pins, self._functions, self._clock)
        try:
            return TendedBus(options, lambda: self._open(name), self._clock, rescue)
        except OSError as error:
            raise SensorError(
                "wiring",
                f"/dev/{name} cannot be opened ({error.strerror}); enable I2C and join the group i2c",
            ) from error
