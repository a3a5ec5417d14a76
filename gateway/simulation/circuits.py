"""Simulated circuits around inputs: supervised loops, an MQ-7's switched heater, a supply on mains or battery.

Owns resistances, temperatures and voltages. It does not own chips, rooms or drivers; values come from the drivers' own
options. Time constants are of the right order, not those of any specimen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from gateway.sensors import eol_loop, ina219, mq, power
from gateway.simulation.probe import Probe
from gateway.simulation.wiring import ADC_NOISE_V, Site, mq_probe, signals_fire

__all__ = ["HeatedElement", "contact_of", "loop_probe", "supply_of"]

_WIRE_OHM: Final = 2.0
# The element's temperature follows its heater at once, its surface later: until it does, the voltage overshoots.
_TEMPERATURE_S, _SURFACE_S, _OVERSHOOT = 3.0, 12.0, 3.0
_HOT_RATIO: Final = 8.0  # Rs/R0 of a clean, hot surface
_COLD_RATIO: Final = 100.0  # Rs/R0 without any heat
_LOW_V: Final = 11.5  # where a battery's contact says that it is low
_DRAWN_A: Final = 0.4


def loop_probe(options: eol_loop.Options, site: Site) -> Probe:
    """Return the voltage over a supervised loop of one detector; a cut loop carries the whole supply."""
    supply = options.supply_mv / 1000

    def volts(t: float) -> float:
        loop = 1 / options.eol_ohm + (1 / options.alarm_ohm if signals_fire(site.air(t)) else 0)
        ohm = 0.0 if site.faults.find("shorted", t) else 1 / loop
        return supply * (ohm + _WIRE_OHM) / (ohm + _WIRE_OHM + options.pull_ohm)

    return Probe(volts, noise=ADC_NOISE_V, open_value=supply, faults=site.faults, seed=site.seed)


class HeatedElement:
    """An element whose heater is switched: temperature and surface, 1 being hot, follow it.

    Args:
        is_hot: whether the heater has its full voltage just now; before that changes, `advance` is called.
    """

    def __init__(self, options: mq.Options, site: Site, is_hot: Callable[[], bool]) -> None:
        self._faults, self._is_hot = site.faults, is_hot
        self._temperature = self._surface = 1.0
        self._at: float | None = None
        self.probe: Final = mq_probe(options, site, self._ratio)

    def advance(self, t: float) -> None:
        """Let time pass until second `t`."""
        elapsed = max(0.0, t - self._at) if self._at is not None else 0.0
        self._at = t
        target = 1.0 if self._is_hot() else 0.0
        self._temperature = _follow(self._temperature, target, elapsed / _TEMPERATURE_S)
        self._surface = _follow(self._surface, target, elapsed / _SURFACE_S)

    def _ratio(self, t: float, warm: float) -> float:
        """Return Rs/R0 at second `t`, where it would be `warm` after a long low phase."""
        if self._faults.find("heater", t):
            return _COLD_RATIO
        self.advance(t)
        settled = math.pow(warm, 1 - self._surface) * math.pow(_HOT_RATIO, self._surface)
        return settled * math.pow(_OVERSHOOT, self._surface - self._temperature)


def _follow(value: float, target: float, steps: float) -> float:
    return target + (value - target) * math.exp(-steps)


def contact_of(options: power.Options, quantity: str, site: Site) -> Probe:
    """Return a supply's contact: 1 when closed; a cut wire is open."""

    def closed(t: float) -> float:
        air = site.air(t)
        good = air.mains if quantity == "mains" else air.supply_v >= _LOW_V
        return float(good == (options.closed == "good"))

    return Probe(closed, noise=0.0, open_value=0.0, faults=site.faults, seed=f"{site.seed}/{quantity}")


def supply_of(options: ina219.Options, site: Site) -> tuple[Probe, Callable[[float], float]]:
    """Return a supply's voltage, and the voltage over the shunt at a second."""
    shunt = options.shunt_mohm / 1000

    def volts(t: float) -> float:
        return site.air(t).supply_v

    def over_shunt(t: float) -> float:
        return 0.0 if site.faults.find("cut", t) else _DRAWN_A * shunt

    probe = Probe(volts, noise=0.002, open_value=0.0, faults=site.faults, seed=site.seed)
    return probe, over_shunt
