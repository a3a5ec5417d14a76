"""Where simulated parts are plugged in: buses, pins, chip selects and data lines of one installation.

Owns what is connected where, and that no place is taken twice. It does not own parts (`plugs`) or time's course
(`simulation`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from gateway.clock import Clock
from gateway.sensors.bus import BusOptions
from gateway.simulation import pins
from gateway.simulation.bus import SimulatedBus
from gateway.simulation.chips.base import Chip, Watch
from gateway.simulation.dht import DhtLine
from gateway.simulation.probe import Probe
from gateway.simulation.spi import Mcp3008Chip
from gateway.simulation.wiring import Site

__all__ = ["Sockets"]

C = TypeVar("C", bound=Chip)


class Sockets:
    """All connections.

    Args:
        buses: the options of the buses that the configuration names.

    Attributes:
        clock: the drivers'.
        levels: by BCM number, what an input reads.
        before: by BCM number, what is to happen before an output changes.
        selects: by BCM number of the select line, the chips on SPI.
        lines: by BCM number, the DHTs' data lines.
        probes: by sensor, what its input carries.
        wires: the buses' lines.
        watches: by sensor, how its data register is watched.
    """

    def __init__(self, clock: Clock, start_ms: int, buses: Iterable[BusOptions] = ()) -> None:
        self.clock = clock
        self.levels: dict[int, Callable[[], bool]] = {}
        self.before: dict[int, Callable[[], None]] = {}
        self.selects: dict[int, Mcp3008Chip] = {}
        self.lines: dict[int, DhtLine] = {}
        self.probes: dict[str, Probe] = {}
        self.watches: dict[str, Callable[[Watch], None]] = {}
        self._start_ms = start_ms
        self._buses: dict[str, SimulatedBus] = {}
        self._pins: Any = None
        self._making = threading.Lock()
        self._options = {each.name: each for each in buses}
        self.wires = pins.Lines(self.before)

    def seconds(self) -> float:
        """Return the scenario's present second."""
        return (self.clock.monotonic_ms() - self._start_ms) / 1000

    def monotonic_ms(self, seconds: float) -> int:
        """Return the clock's time at a second of the scenario."""
        return self._start_ms + round(seconds * 1000)

    def bus(self, name: str) -> SimulatedBus:
        """Return the bus of that name."""
        if name not in self._buses:
            self._buses[name] = SimulatedBus(self.clock, self._start_ms)
            self._wire(self._buses[name], self._options.get(name) or BusOptions(name))
        return self._buses[name]

    def _wire(self, bus: SimulatedBus, options: BusOptions) -> None:
        """Connect the pins by which a bus can be freed."""
        if options.lines is not None:
            self.wires.connect(bus, *options.lines)
        if (power := options.power_pin) is not None:

            def switched() -> None:
                if bool(self.pins().pin(power).state) != (options.power_on == "high"):  # it is to come on
                    bus.resupply()

            self.before[power] = switched

    def pins(self) -> Any:
        """Return the pin factory, made when first asked for."""
        with self._making:  # several threads may ask first
            if self._pins is None:
                self._pins = pins.make_factory(self.levels, self.selects, self.before)
            return self._pins

    def plug_alone(self, bus_name: str, address: int, chip: C, site: Site) -> C:
        """Connect a chip that serves one sensor. Raises ValueError where another is at its address."""
        bus = self.bus(bus_name)
        if bus.chip_at(address) is not None:
            raise ValueError(f"address {address:#04x} of {bus_name} is taken")
        bus.plug(address, chip, site.faults)
        return chip

    def model_seconds(self) -> float:
        """Return the CPU time that all models have taken."""
        on_spi = sum(chip.model_seconds for chip in self.selects.values())
        return on_spi + sum(bus.model_seconds for bus in self._buses.values())

    def close(self) -> None:
        """Free the pins."""
        if self._pins is not None:
            self._pins.close()
            self._pins = None
