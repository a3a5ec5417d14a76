"""Chips that measure the air itself, fitted to a room: which quantity of the air reaches which chip.

Owns the noise of their elements and what a sensor's faults mean to them. It does not own registers and commands
(`chips`), or the air (`room`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from gateway.sensors import bme280, scd41, sgp40, sht3x
from gateway.simulation.chips.base import Chip
from gateway.simulation.chips.bme280 import Bme280Chip
from gateway.simulation.chips.scd41 import Scd41Chip
from gateway.simulation.chips.sgp40 import Sgp40Chip
from gateway.simulation.chips.sht3x import Sht3xChip
from gateway.simulation.faults import Faults, View
from gateway.simulation.probe import Probe
from gateway.simulation.room import Air
from gateway.simulation.wiring import Site

__all__ = ["Options", "fit", "of_wires"]

Options = bme280.Options | scd41.Options | sgp40.Options | sht3x.Options
Probes = dict[str, Probe]

# What each element sees of the air, and its standard deviation.
_SEEN: Final[Mapping[str, Callable[[Air], float]]] = {
    "temperature": lambda air: air.celsius,
    "humidity": lambda air: air.humidity,
    "pressure": lambda air: air.pascal,
    "co2": lambda air: air.co2,
    "voc": lambda air: air.voc,
}
_NOISE: Final = {"temperature": 0.02, "humidity": 0.05, "pressure": 1.2, "co2": 4.0, "voc": 2.0}


def fit(options: Options, site: Site, seconds: Callable[[int], float]) -> tuple[int, Chip, Probes]:
    """Return a chip's address, the chip, and what its elements see; the first of them is what drifts."""
    match options:
        case bme280.Options():
            probes = _probes(site, "temperature", "humidity", "pressure")
            bosch = Bme280Chip(seconds)
            bosch.air = lambda t: (
                probes["temperature"].read(t),
                probes["humidity"].read(t),
                probes["pressure"].read(t),
            )
            return options.address, bosch, probes
        case sht3x.Options():
            probes = _probes(site, "temperature", "humidity")
            sht = Sht3xChip(seconds, site.faults)
            sht.air = lambda t: (probes["temperature"].read(t), probes["humidity"].read(t))
            return options.address, sht, probes
        case sgp40.Options():
            probes = _probes(site, "voc", "humidity")
            sgp = Sgp40Chip(seconds, site.faults)
            sgp.compounds, sgp.humidity = probes["voc"].read, probes["humidity"].read
            return sgp40.ADDRESS, sgp, probes
        case scd41.Options():
            probes = _probes(site, "co2", "temperature", "humidity")
            scd = Scd41Chip(seconds, site.faults)
            scd.air = lambda t: (
                probes["co2"].read(t),
                probes["temperature"].read(t),
                probes["humidity"].read(t),
                site.air(t).pascal,
            )
            return scd41.ADDRESS, scd, probes


def of_wires(faults: Faults) -> Faults:
    """Return a sensor's faults as its bus sees them: a cut wire ends the acknowledging."""
    return View(faults, {"nack": ("nack", "cut")})


def _probes(site: Site, first: str, *others: str) -> Probes:
    probes = {first: _probe(site, first, View(site.faults, {"cut": ()}))}
    for each in others:
        probes[each] = _probe(site, each, View(site.faults, {"cut": (), "drift": (), "noise": ()}))
    return probes


def _probe(site: Site, quantity: str, faults: Faults) -> Probe:
    seen = _SEEN[quantity]
    return Probe(
        lambda t: seen(site.air(t)),
        noise=_NOISE[quantity],
        open_value=0.0,
        faults=faults,
        seed=f"{site.seed}/{quantity}",
    )
