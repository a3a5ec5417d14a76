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
from gateway.sensors import ads1115, contact, dht22, eol_loop, ina219, mcp3008, mq, nau7802, power, strain
from gateway.sensors.base import I2cBus, Pulses
from gateway.sensors.registry import read_options
from gateway.simulation import circuits, pins, wiring
from gateway.simulation.bus import SimulatedBus
from gateway.simulation.chip_ina219 import Ina219Chip
from gateway.simulation.chips import Ads1115Chip, Nau7802Chip, Watch
from gateway.simulation.dht import DhtLine
from gateway.simulation.faults import Fault, Faults
from gateway.simulation.probe import Probe
from gateway.simulation.room import Change, RoomModel
from gateway.simulation.scenario import Scenario, load_scenario
from gateway.simulation.spi import Mcp3008Chip
from gateway.simulation.wiring import Placement, Site

__all__ = ["Simulation", "SimulationOptions"]

_DHT_READ_MS: Final = 350
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
    """

    is_simulated = True

    def __init__(
        self,
        scenario: Scenario,
        clock: Clock,
        seed: int = 0,
        placements: Mapping[str, Placement] | None = None,
    ) -> None:
        self.clock = clock
        self.scenario = scenario
        self._seed = seed
        self._placements = placements or {}
        self._start_ms = clock.monotonic_ms()
        self._powered_s = _LONG_AGO_S if scenario.warm else 0.0
        self.powered_since_ms = self._start_ms + round(self._powered_s * 1000)
        self._rooms = scenario.models()
        self._buses: dict[str, SimulatedBus] = {}
        self._levels: dict[int, Callable[[], bool]] = {}
        self._selects: dict[int, Mcp3008Chip] = {}
        self._before: dict[int, Callable[[], None]] = {}
        self._pins: Any = None
        self._lines: dict[int, DhtLine] = {}
        self._faults: dict[str, Faults] = {}
        self._probes: dict[str, Probe] = {}
        self._watches: dict[str, Callable[[Watch], None]] = {}

    @classmethod
    def from_table(
        cls,
        table: Mapping[str, object],
        sensors: Iterable[tuple[str, str, Mapping[str, object]]],
        *,
        where: str,
        clock: Clock | None = None,
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
        simulation = cls(scenario, clock or SimulatedClock(options.speed), options.seed, options.sensors)
        for name, driver, sensor_options in sensors:
            simulation.attach(name, driver, sensor_options)
        if strangers := options.sensors.keys() - simulation._faults.keys():
            raise SimulationError(f"{where}: sensors.{min(strangers)} places a sensor that does not exist")
        return simulation

    # What drivers use (gateway.sensors.base.Hardware).

    def i2c(self, name: str) -> I2cBus:
        return self.bus(name)

    def pins(self) -> Any:
        if self._pins is None:
            self._pins = pins.make_factory(self._levels, self._selects, self._before)
        return self._pins

    def dht_pulses(self, pin: int) -> Callable[[], Pulses]:
        if pin not in self._lines:
            raise SimulationError(f"no DHT22 is attached to GPIO{pin}; call attach first")
        return self._lines[pin]

    def close(self) -> None:
        if self._pins is not None:
            self._pins.close()
            self._pins = None

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
            self._plug(name, parsed, site)
        except ValueError as error:
            raise SimulationError(f"sensor {name} cannot be simulated: {error}") from error

    def bus(self, name: str) -> SimulatedBus:
        """Return the simulated bus of that name, for its `model_seconds`."""
        if name not in self._buses:
            self._buses[name] = SimulatedBus(self.clock, self._start_ms)
        return self._buses[name]

    # What technicians, tests and benches do to it.

    def seconds(self) -> float:
        """Return the scenario's present second."""
        return (self.clock.monotonic_ms() - self._start_ms) / 1000

    def model_seconds(self) -> float:
        """Return the CPU time that all buses' models have taken."""
        on_spi = sum(chip.model_seconds for chip in self._selects.values())
        return on_spi + sum(bus.model_seconds for bus in self._buses.values())

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

    def hold(self, sensor: str, value: float | None) -> int:
        """Put a sensor's input at a value (volts, V/V, or 1 for a closed contact); None lets it go.

        Returns:
            `time.monotonic_ns()` of the change, the onset for a bench.
        """
        self._find(self._probes, sensor).held = value
        return time.monotonic_ns()

    def watch(self, sensor: str, above: int) -> Watch:
        """Note when the sensor's data register first shows a code above a limit."""
        watch = Watch(above)
        self._find(self._watches, sensor)(watch)
        return watch

    def _find(self, table: Mapping[str, Any], sensor: str) -> Any:
        if sensor not in table:
            raise SimulationError(f"{sensor!r} has none; attached are {', '.join(table) or 'none'}")
        return table[sensor]

    def _plug(self, name: str, options: object, site: Site) -> None:
        match options:
            case mq.Options():
                self._plug_mq(name, options, site)
            case mcp3008.Options():
                self._plug_spi(name, options, wiring.adc_probe(options, site), site.faults)
            case eol_loop.Options():
                self._plug_loop(name, options, site)
            case ina219.Options():
                self._plug_supply(name, options, site)
            case power.Options():
                for quantity, each in options.contacts().items():
                    self._plug_contact(
                        f"{name}.{quantity}", each, circuits.contact_of(options, quantity, site)
                    )
            case ads1115.Options():
                self._plug_adc(name, options, wiring.adc_probe(options, site), site.faults)
            case strain.Options() | nau7802.Options():
                self._plug_bridge(name, options.bus, wiring.bridge_probe(options, site), site.faults)
            case contact.Options():
                self._plug_contact(name, options, wiring.contact_probe(options, site))
            case dht22.Options():
                self._plug_dht(options.pin, site)

    def _plug_adc(self, name: str, options: ads1115.Options, probe: Probe, faults: Faults) -> None:
        bus = self.bus(options.bus)
        chip = bus.chip_at(options.address) or Ads1115Chip(bus.seconds)
        assert isinstance(chip, Ads1115Chip)
        pin = int(options.input[1])
        if pin in chip.inputs:
            raise ValueError(f"input {options.input} at {options.address:#04x} is taken")
        chip.inputs[pin] = probe.read
        bus.plug(options.address, chip, faults)
        self._probes[name] = probe
        self._watches[name] = lambda watch: chip.watches.update({pin: watch})

    def _plug_mq(self, name: str, options: mq.Options, site: Site) -> None:
        probe = wiring.mq_probe(options, site)
        if options.heater_pin is not None:
            if options.heater_pin in self._levels:
                raise ValueError(f"GPIO{options.heater_pin} is taken")
            element = circuits.HeatedElement(options, site, lambda: self._heats(options))
            self._before[options.heater_pin] = lambda: element.advance(self.seconds())
            probe = element.probe
        adc = options.adc()
        if isinstance(adc, mcp3008.Options):
            self._plug_spi(name, adc, probe, site.faults)
        else:
            self._plug_adc(name, adc, probe, site.faults)

    def _heats(self, options: mq.Options) -> bool:
        """Whether a heater has its full voltage, which it also has while nobody drives its pin."""
        pin = self.pins().pin(options.heater_pin)
        return pin.function != "output" or bool(pin.state) == (options.heater_high == "5V")

    def _plug_spi(self, name: str, options: mcp3008.Options, probe: Probe, faults: Faults) -> None:
        select = {0: 8, 1: 7}[options.device]
        chip = self._selects.setdefault(select, Mcp3008Chip(self.seconds, options.reference_mv / 1000))
        if options.channel in chip.inputs:
            raise ValueError(f"channel {options.channel} is taken")
        chip.inputs[options.channel] = probe.read
        chip.faults.append(faults)
        self._probes[name] = probe

    def _plug_loop(self, name: str, options: eol_loop.Options, site: Site) -> None:
        self._plug_adc(name, options.adc(), circuits.loop_probe(options, site), site.faults)
        supply = options.adc_of_supply()
        chip = self.bus(options.bus).chip_at(options.address)
        if supply is not None and isinstance(chip, Ads1115Chip):
            volts = options.supply_mv / 1000
            chip.inputs.setdefault(int(supply.input[1]), lambda t: volts)

    def _plug_supply(self, name: str, options: ina219.Options, site: Site) -> None:
        bus = self.bus(options.bus)
        if bus.chip_at(options.address) is not None:
            raise ValueError(f"address {options.address:#04x} is taken")
        probe, over_shunt = circuits.supply_of(options, site)
        chip = Ina219Chip(bus.seconds)
        chip.supply = lambda t: (probe.read(t), over_shunt(t))
        bus.plug(options.address, chip, site.faults)
        self._probes[name] = probe

    def _plug_bridge(self, name: str, bus_name: str, probe: Probe, faults: Faults) -> None:
        bus, address = self.bus(bus_name), nau7802.BridgeConverter.ADDRESS
        if bus.chip_at(address) is not None:
            raise ValueError(f"{bus_name} has a NAU7802 already, and they share one address")
        chip = Nau7802Chip(bus.seconds)
        chip.bridge = probe.read
        bus.plug(address, chip, faults)
        self._probes[name] = probe
        self._watches[name] = lambda watch: setattr(chip, "watch", watch)

    def _plug_contact(self, name: str, options: contact.Options, probe: Probe) -> None:
        if options.pin in self._levels:
            raise ValueError(f"GPIO{options.pin} is taken")
        # Closed connects the pin to ground against a pull-up, to 3.3 V against a pull-down.
        low_closed = options.pull.endswith("up")
        self._levels[options.pin] = lambda: (probe.read(self.seconds()) > 0.5) != low_closed
        self._probes[name] = probe

    def _plug_dht(self, pin: int, site: Site) -> None:
        if pin in self._lines:
            raise ValueError(f"GPIO{pin} is taken")
        speed = self.clock.speed if isinstance(self.clock, SimulatedClock) else 1.0
        duration_ms = round(_DHT_READ_MS / max(1.0, speed)) if speed else 0

        def climate(t: float) -> tuple[float, float]:
            air = site.air(t)
            return air.celsius, air.humidity

        self._lines[pin] = DhtLine(climate, self.seconds, site.faults, site.seed, duration_ms)
