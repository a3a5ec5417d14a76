"""How a sensor's options become simulated parts: which chip at which address, fed by which of the room.

Owns the elements between room and chip (an MQ's resistance, a bridge's imbalance, a detector's relay).
It does not own chips, rooms or drivers; what is wired where follows from the drivers' own options.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from gateway.sensors import contact, mq, nau7802, strain
from gateway.sensors.curves import CURVES, Curve
from gateway.simulation.faults import Faults
from gateway.simulation.probe import Probe
from gateway.simulation.room import Air, Gas

__all__ = [
    "ADC_NOISE_V",
    "Placement",
    "Site",
    "adc_probe",
    "bridge_probe",
    "contact_probe",
    "mq_probe",
    "signals_fire",
]

ADC_NOISE_V: Final = 0.0005
_BRIDGE_NOISE: Final = 1.5e-7  # V/V: 0.3 µm/m in a quarter bridge
_OPEN_BRIDGE: Final = 1.0  # V/V: far beyond every range
_SMOKE_ALARM_DB_PER_M: Final = 0.15
_HEAT_ALARM_C: Final = 57.0
# A cold element conducts well for its first minutes, which looks like gas.
_COLD_RESISTANCE, _WARMING_S = 0.4, 60.0
_UNHEATED: Final = 20.0  # without any heat it hardly conducts


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one simulated sensor stands, and what its options do not tell.

    Attributes:
        room: of the scenario; "" is its first.
        gas: what an MQ element smells; by default what it is sold for.
        r0_ohm: the MQ element's true R0.
        volts: what a bare ADC input carries.
    """

    room: str = ""
    gas: Gas | None = None
    r0_ohm: float = 10_000.0
    volts: float = 1.0

    def __post_init__(self) -> None:
        if self.r0_ohm <= 0:
            raise ValueError("r0_ohm must be above 0")


@dataclass(frozen=True, slots=True)
class Site:
    """What an element is exposed to.

    Attributes:
        air: the room's state at scenario second t.
        powered_s: the scenario second of power-on.
        seed: of its noise.
    """

    air: Callable[[float], Air]
    powered_s: float
    faults: Faults
    seed: str
    placement: Placement


def adc_probe(site: Site) -> Probe:
    """Return a bare input at a constant voltage."""
    volts = site.placement.volts
    return Probe(lambda t: volts, noise=ADC_NOISE_V, open_value=0.0, faults=site.faults, seed=site.seed)


def mq_probe(options: mq.Options, site: Site, heated: Callable[[float, float], float] | None = None) -> Probe:
    """Return the voltage over an MQ element's load resistor.

    Args:
        heated: what becomes of Rs/R0 at a second where the heater is switched; a steady one is always right.
    """
    gas, curve = _smelled(options.model, site.placement.gas)
    supply = options.supply_mv / 1000
    of_heat = heated or (lambda t, ratio: ratio * (_UNHEATED if site.faults.find("heater", t) else 1.0))

    def volts(t: float) -> float:
        cold = math.pow(_COLD_RESISTANCE, math.exp(-max(0.0, t - site.powered_s) / _WARMING_S))
        ohm = site.placement.r0_ohm * of_heat(t, _ratio(curve, site.air(t).smelled(gas))) * cold
        return supply * options.load_ohm / (options.load_ohm + ohm) / float(options.divider)

    return Probe(volts, noise=ADC_NOISE_V, open_value=0.0, faults=site.faults, seed=site.seed)


def bridge_probe(options: nau7802.Options | strain.Options, site: Site) -> Probe:
    """Return a strain-gauge bridge's output over its excitation."""
    bridge = options.bridge if isinstance(options, strain.Options) else "quarter"
    factor = float(options.gauge_factor) if isinstance(options, strain.Options) else 2.0

    def ratio(t: float) -> float:
        stretch = factor * site.air(t).strain * 1e-6
        if bridge == "quarter":
            return stretch / (4 + 2 * stretch)
        return stretch / 2 if bridge == "half" else stretch

    return Probe(ratio, noise=_BRIDGE_NOISE, open_value=_OPEN_BRIDGE, faults=site.faults, seed=site.seed)


def contact_probe(options: contact.Options, site: Site) -> Probe:
    """Return a smoke detector's relay: 1 when the loop is closed; a cut wire is open."""
    at_rest = 1.0 if options.contact == "nc" else 0.0

    def closed(t: float) -> float:
        return 1.0 - at_rest if signals_fire(site.air(t)) else at_rest

    return Probe(closed, noise=0.0, open_value=0.0, faults=site.faults, seed=site.seed)


def signals_fire(air: Air) -> bool:
    """Say whether a smoke or heat detector in that air signals an alarm."""
    return air.smoke >= _SMOKE_ALARM_DB_PER_M or air.celsius >= _HEAT_ALARM_C


def _smelled(model: mq.MqModel, gas: Gas | None) -> tuple[Gas, Curve]:
    curves: dict[Any, Curve] = {c.gas: c for c in CURVES if c.model == model}
    chosen = gas or next((g for g in ("ch4", "lpg", "co") if g in curves and curves[g].main), None)
    if chosen is None or chosen not in curves:
        raise ValueError(f"no curve of {model} for {chosen}; it has {', '.join(curves)}")
    return chosen, curves[chosen]


def _ratio(curve: Curve, ppm: float) -> float:
    """Return Rs/R0: the curve, up to the element's value in clean air."""
    clean = float(curve.clean_air)
    return min(clean, math.pow(ppm / float(curve.a), 1 / float(curve.b))) if ppm > 0 else clean
