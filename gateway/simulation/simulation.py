"""A whole simulated installation: rooms, buses, pins and data lines, on which real drivers are opened.

Owns the assembly: it is the `Hardware` that drivers are given. It does not own physics, chips, or drivers.

Declare each sensor with `attach(name, driver, options)`, the same names and options that the configuration
gives to `open_sensor`; from the options follow chip, address, channel or pin, from the placement the room.

Invariants:
* The same scenario, seed and sequence of reads give the same values.
* `attach` comes before `open_sensor`, and touches nothing real.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.clock import Clock, SimulatedClock
from gateway.contracts.tables import read_table
from gateway.errors import SimulationError
from gateway.sensors.base import I2cBus, Pulses, Tally
from gateway.sensors.bus import BusOptions
from gateway.sensors.buses import Buses
from gateway.sensors.registry import read_options
from gateway.simulation.bus import SimulatedBus
from gateway.simulation.chips.base import Watch
from gateway.simulation.faults import Fault, Faults
from gateway.simulation.plugs import plug
from gateway.simulation.room import Change, RoomModel
from gateway.simulation.scenario import Scenario, load_scenario
from gateway.simulation.sockets import Sockets
from gateway.simulation.wiring import Placement, Site

__all__ = ["Simulation", "SimulationOptions"]

_LONG_AGO_S: Final = -30 * 86_400.0


@dataclass(frozen=True, slots=True)
class SimulationOptions:
    """The `[simulation]` table of a gateway's configuration.

    Attributes:
        scenario: a packaged scenario's name, or the path of a TOML file.
        seed: of all noise.
        speed: simulated seconds per second.
        sensors: by sensor name, where it stands; those left out stand in the scenario's first room.
    """

    scenario: str
    seed: int = 0
    speed: float = 1.0
    sensors: Mapping[str, Placement] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.speed <= 10_000:
            raise ValueError("speed must be above 0 and at most 10000")


class Simulation:
    """Simulated hardware that plays a scenario from the moment it is made.

    Attributes:
        clock: the scenario's clock, and the drivers'.
        scenario: what is played.
        powered_since_ms: when the sensors' supply came up: long ago if the scenario is warm.
        sockets: what is plugged in.
    """

    is_simulated = True

    def __init__(
        self,
        scenario: Scenario,
        clock: Clock,
        seed: int = 0,
        placements: Mapping[str, Placement] | None = None,
        buses: Iterable[BusOptions] = (),
    ) -> None:
        self.clock = clock
        self.scenario = scenario
        self._seed = seed
        self._placements = placements or {}
        self._start_ms = clock.monotonic_ms()
        self._powered_s = _LONG_AGO_S if scenario.warm else 0.0
        self.powered_since_ms = self._start_ms + round(self._powered_s * 1000)
        self._rooms = scenario.models()
        buses = tuple(buses)
        self.sockets = Sockets(clock, self._start_ms, buses)
        self._tended = Buses(
            buses, lambda name: self.bus(name).opened(), self.pins, self.sockets.wires, clock
        )
        self._faults: dict[str, Faults] = {}

    @classmethod
    def from_table(
        cls,
        table: Mapping[str, object],
        sensors: Iterable[tuple[str, str, Mapping[str, object]]],
        *,
        where: str,
        clock: Clock | None = None,
        buses: Iterable[BusOptions] = (),
    ) -> Simulation:
        """Build from a configuration's `[simulation]` table, and attach its sensors.

        Args:
            sensors: name, driver and options of each.
            clock: instead of one of its own at the table's speed, which the whole gateway must then use.

        Raises:
            SimulationError: the scenario does not exist, a sensor cannot be simulated, or a placement is
                of no sensor.
            ConfigError, TableError: the table, the scenario or a sensor's options are not understood.
        """
        options = read_table(SimulationOptions, table, where=where)
        scenario = load_scenario(options.scenario)
        simulation = cls(
            scenario, clock or SimulatedClock(options.speed), options.seed, options.sensors, buses
        )
        for name, driver, sensor_options in sensors:
            simulation.attach(name, driver, sensor_options)
        if strangers := options.sensors.keys() - simulation._faults.keys():
            raise SimulationError(f"{where}: sensors.{min(strangers)} places a sensor that does not exist")
        return simulation

    # What drivers use (gateway.sensors.base.Hardware).

    def i2c(self, name: str) -> I2cBus:
        return self._tended.i2c(name)

    def tally(self, bus: str) -> Tally:
        return self._tended.tally(bus)

    def pins(self) -> Any:
        return self.sockets.pins()

    def dht_pulses(self, pin: int) -> Callable[[], Pulses]:
        if pin not in self.sockets.lines:
            raise SimulationError(f"no DHT22 is attached to GPIO{pin}; call attach first")
        return self.sockets.lines[pin]

    def close(self) -> None:
        self.sockets.close()

    # What is plugged in.

    def attach(self, name: str, driver: str, options: Mapping[str, object]) -> None:
        """Plug in the chip, contact or data line that a sensor's options describe.

        Raises:
            SimulationError: it cannot be simulated: an unknown room or gas, or a place already taken.
            ConfigError, TableError: as `registry.read_options`.
        """
        parsed = read_options(driver, options, f"sensor {name}")
        placement = self._placements.get(name, Placement())
        faults = self._faults[name] = self.scenario.faults_of(name, driver)
        try:
            room = self._rooms[self.scenario.room_name(placement.room)]
            site = Site(room.at, self._powered_s, faults, f"{self._seed}/{name}", placement)
            plug(self.sockets, name, parsed, site)
        except ValueError as error:
            raise SimulationError(f"sensor {name} cannot be simulated: {error}") from error

    def bus(self, name: str) -> SimulatedBus:
        """Return the simulated bus of that name, for its `model_seconds`."""
        return self.sockets.bus(name)

    # What technicians, tests and benches do to it.

    def seconds(self) -> float:
        """Return the scenario's present second."""
        return self.sockets.seconds()

    def model_seconds(self) -> float:
        """Return the CPU time that all buses' models have taken."""
        return self.sockets.model_seconds()

    def inject(self, sensor: str, fault: Fault) -> None:
        """Add a fault to a sensor; its times are the scenario's seconds.

        Raises:
            SimulationError: no such sensor is attached.
        """
        self._find(self._faults, sensor).add(fault)

    def repair(self, sensor: str) -> None:
        """Remove all of a sensor's faults, planned ones too."""
        self._find(self._faults, sensor).clear()

    def change(self, change: Change, room: str = "") -> None:
        """Change a room now."""
        self._rooms[self.scenario.room_name(room)].change(self.seconds(), change)

    def room(self, name: str = "") -> RoomModel:
        """Return a room's physics, the first if none is named: the truth to compare with."""
        return self._rooms[self.scenario.room_name(name)]

    def room_of(self, sensor: str) -> str:
        """Return the name of the room that a sensor stands in."""
        return self.scenario.room_name(self._placements.get(sensor, Placement()).room)

    def hold(self, sensor: str, value: float | None) -> int:
        """Put a sensor's input at a value (volts, V/V, or 1 for a closed contact); None lets it go.

        Returns:
            `time.monotonic_ns()` of the change, the onset for a bench.
        """
        self._find(self.sockets.probes, sensor).held = value
        return time.monotonic_ns()

    def watch(self, sensor: str, above: int) -> Watch:
        """Note when the sensor's data register first shows a code above a limit."""
        watch = Watch(above)
        self._find(self.sockets.watches, sensor)(watch)
        return watch

    def _find(self, table: Mapping[str, Any], sensor: str) -> Any:
        if sensor not in table:
            raise SimulationError(f"{sensor!r} has none; attached are {', '.join(table) or 'none'}")
        return table[sensor]
