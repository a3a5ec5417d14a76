"""What a sensor's options plug in where: one function for each kind of sensor, found by its options' type.

Owns the way from options to chips, pins and lines. It does not own what they do (`chips`, `wiring`, `circuits`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from gateway.clock import SimulatedClock
from gateway.sensors import (
    ads1115,
    bme280,
    contact,
    dht22,
    eol_loop,
    ina219,
    mcp3008,
    mq,
    nau7802,
    power,
    scd41,
    sgp40,
    sht3x,
    strain,
)
from gateway.simulation import circuits, climate, wiring
from gateway.simulation.chips.ads1115 import Ads1115Chip
from gateway.simulation.chips.ina219 import Ina219Chip
from gateway.simulation.chips.nau7802 import Nau7802Chip
from gateway.simulation.chips.sht3x import Sht3xChip
from gateway.simulation.dht import DhtLine
from gateway.simulation.faults import Faults
from gateway.simulation.probe import Probe
from gateway.simulation.sockets import Sockets
from gateway.simulation.spi import SELECTS, Mcp3008Chip
from gateway.simulation.wiring import Site

__all__ = ["plug"]

_DHT_READ_MS: Final = 350


def plug(sockets: Sockets, name: str, options: object, site: Site) -> None:
    """Connect what a sensor of that name and those options needs.

    Raises:
        ValueError: its place is taken, or its element does not exist.
    """
    if into := _PLUGS.get(type(options)):
        into(sockets, name, options, site)


def _plug_adc(sockets: Sockets, name: str, options: ads1115.Options, site: Site) -> None:
    _connect_adc(sockets, name, options, wiring.adc_probe(site), site.faults)


def _connect_adc(sockets: Sockets, name: str, options: ads1115.Options, probe: Probe, faults: Faults) -> None:
    bus = sockets.bus(options.bus)
    chip = bus.chip_at(options.address) or Ads1115Chip(bus.seconds)
    if not isinstance(chip, Ads1115Chip):
        raise ValueError(f"address {options.address:#04x} of {options.bus} is taken")
    pin = int(options.input[1])
    if pin in chip.inputs:
        raise ValueError(f"input {options.input} at {options.address:#04x} is taken")
    chip.inputs[pin] = probe.read
    bus.plug(options.address, chip, faults)
    sockets.probes[name] = probe
    sockets.watches[name] = lambda watch: chip.watches.update({pin: watch})


def _plug_mq(sockets: Sockets, name: str, options: mq.Options, site: Site) -> None:
    probe = wiring.mq_probe(options, site)
    if options.heater_pin is not None:
        if options.heater_pin in sockets.levels:
            raise ValueError(f"GPIO{options.heater_pin} is taken")
        element = circuits.HeatedElement(options, site, lambda: _heats(sockets, options))
        sockets.before[options.heater_pin] = lambda: element.advance(sockets.seconds())
        probe = element.probe
    adc = options.adc()
    if isinstance(adc, mcp3008.Options):
        _connect_spi(sockets, name, adc, probe, site.faults)
    else:
        _connect_adc(sockets, name, adc, probe, site.faults)


def _heats(sockets: Sockets, options: mq.Options) -> bool:
    """Whether a heater has its full voltage, which it also has while nobody drives its pin."""
    pin = sockets.pins().pin(options.heater_pin)
    return pin.function != "output" or bool(pin.state) == (options.heater_high == "5V")


def _plug_spi(sockets: Sockets, name: str, options: mcp3008.Options, site: Site) -> None:
    _connect_spi(sockets, name, options, wiring.adc_probe(site), site.faults)


def _connect_spi(sockets: Sockets, name: str, options: mcp3008.Options, probe: Probe, faults: Faults) -> None:
    select = SELECTS[options.device]
    chip = sockets.selects.setdefault(select, Mcp3008Chip(sockets.seconds, options.reference_mv / 1000))
    if options.channel in chip.inputs:
        raise ValueError(f"channel {options.channel} is taken")
    chip.inputs[options.channel] = probe.read
    chip.faults.append(faults)
    sockets.probes[name] = probe


def _plug_loop(sockets: Sockets, name: str, options: eol_loop.Options, site: Site) -> None:
    _connect_adc(sockets, name, options.adc(), circuits.loop_probe(options, site), site.faults)
    supply = options.adc_of_supply()
    chip = sockets.bus(options.bus).chip_at(options.address)
    if supply is not None and isinstance(chip, Ads1115Chip):
        volts = options.supply_mv / 1000
        chip.inputs.setdefault(int(supply.input[1]), lambda t: volts)


def _plug_supply(sockets: Sockets, name: str, options: ina219.Options, site: Site) -> None:
    probe, over_shunt = circuits.supply_of(options, site)
    chip = Ina219Chip(sockets.bus(options.bus).seconds)
    chip.supply = lambda t: (probe.read(t), over_shunt(t))
    sockets.plug_alone(options.bus, options.address, chip, site)
    sockets.probes[name] = probe


def _plug_bridge(sockets: Sockets, name: str, options: nau7802.Options | strain.Options, site: Site) -> None:
    probe = wiring.bridge_probe(options, site)
    chip = Nau7802Chip(sockets.bus(options.bus).seconds)
    chip.bridge = probe.read
    sockets.plug_alone(options.bus, nau7802.BridgeConverter.ADDRESS, chip, site)
    sockets.probes[name] = probe
    sockets.watches[name] = lambda watch: setattr(chip, "watch", watch)


def _plug_contact(sockets: Sockets, name: str, options: contact.Options, site: Site) -> None:
    _connect_contact(sockets, name, options, wiring.contact_probe(options, site))


def _connect_contact(sockets: Sockets, name: str, options: contact.Options, probe: Probe) -> None:
    if options.pin in sockets.levels:
        raise ValueError(f"GPIO{options.pin} is taken")
    # Closed connects the pin to ground against a pull-up, to 3.3 V against a pull-down.
    low_closed = options.pull.endswith("up")
    sockets.levels[options.pin] = lambda: (probe.read(sockets.seconds()) > 0.5) != low_closed
    sockets.probes[name] = probe


def _plug_power(sockets: Sockets, name: str, options: power.Options, site: Site) -> None:
    for quantity, each in options.contacts().items():
        _connect_contact(sockets, f"{name}.{quantity}", each, circuits.contact_of(options, quantity, site))


def _plug_dht(sockets: Sockets, name: str, options: dht22.Options, site: Site) -> None:
    if options.pin in sockets.lines:
        raise ValueError(f"GPIO{options.pin} is taken")
    speed = sockets.clock.speed if isinstance(sockets.clock, SimulatedClock) else 1.0
    duration_ms = round(_DHT_READ_MS / max(1.0, speed)) if speed else 0

    def climate(t: float) -> tuple[float, float]:
        air = site.air(t)
        return air.celsius, air.humidity

    sockets.lines[options.pin] = DhtLine(climate, sockets.seconds, site.faults, site.seed, duration_ms)


def _plug_climate(sockets: Sockets, name: str, options: climate.Options, site: Site) -> None:
    bus = sockets.bus(options.bus)
    address, chip, probes = climate.fit(options, site, bus.seconds)
    chip.reset(sockets.monotonic_ms(site.powered_s))
    there = bus.chip_at(address)
    if isinstance(chip, Sht3xChip) and isinstance(there, Sht3xChip) and there.is_extra:
        bus.unplug(address)
    sockets.plug_alone(options.bus, address, chip, replace(site, faults=climate.of_wires(site.faults)))
    sockets.probes |= {f"{name}.{quantity}": probe for quantity, probe in probes.items()}
    sockets.probes[name] = next(iter(probes.values()))


def _plug_sgp40(sockets: Sockets, name: str, options: sgp40.Options, site: Site) -> None:
    _plug_climate(sockets, name, options, site)
    if options.climate and sockets.bus(options.bus).chip_at(options.climate) is None:
        beside = sht3x.Options(options.bus, options.climate)
        _plug_climate(sockets, f"{name}.climate", beside, replace(site, faults=Faults()))
        extra = sockets.bus(options.bus).chip_at(options.climate)
        assert isinstance(extra, Sht3xChip)
        extra.is_extra = True


_PLUGS: Final[dict[type, Callable[[Sockets, str, Any, Site], None]]] = {
    ads1115.Options: _plug_adc,
    bme280.Options: _plug_climate,
    contact.Options: _plug_contact,
    dht22.Options: _plug_dht,
    eol_loop.Options: _plug_loop,
    ina219.Options: _plug_supply,
    mcp3008.Options: _plug_spi,
    mq.Options: _plug_mq,
    nau7802.Options: _plug_bridge,
    power.Options: _plug_power,
    scd41.Options: _plug_climate,
    sgp40.Options: _plug_sgp40,
    sht3x.Options: _plug_climate,
    strain.Options: _plug_bridge,
}
