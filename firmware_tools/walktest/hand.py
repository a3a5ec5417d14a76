"""Who sets a detector off: the technician, or in a simulation the room.

Owns the requests, and what they come to in a simulated room.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from firmware_tools.errors import ToolError
from firmware_tools.walktest.detectors import Detector
from gateway.simulation.room import Change, Room
from gateway.simulation.simulation import Simulation

__all__ = ["Hand", "SimulatedHand", "Skipped", "TechniciansHand"]

_GAS_PPM: Final = {"ch4": 9_000.0, "lpg": 3_000.0, "co": 400.0}
_SMOULDER_G_PER_MIN: Final = 200.0
_LOAD_KG: Final = 8_000.0
_HEAT_C: Final = 75.0
_VENT_PER_H: Final = 7_200.0
_VENT_S: Final = 2.0


class Skipped(ToolError):
    """The technician leaves this detector for later."""


class Hand(Protocol):
    """Sets detectors off and lets them be calm again."""

    def set_off(self, detector: Detector) -> None:
        """Set it off; return at the moment it is. Raises Skipped."""
        ...

    def calm(self, detector: Detector) -> None:
        """End what set it off."""
        ...


class TechniciansHand:
    """Asks a person.

    Args:
        ask: shows a text and returns the answer; "s" leaves the detector out.
    """

    def __init__(self, ask: Callable[[str], str]) -> None:
        self._ask = ask

    def set_off(self, detector: Detector) -> None:
        text = f"{detector.name}: {detector.how}. Enter at the moment you do, s to leave it out"
        if self._ask(text).strip().lower().startswith("s"):
            raise Skipped(f"{detector.name} was left out")

    def calm(self, detector: Detector) -> None:
        self._ask(f"{detector.name}: end it, and air the room. Enter when that is done")


class SimulatedHand:
    """Changes the simulated room a sensor stands in, as test gas, test smoke or a load would."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    def set_off(self, detector: Detector) -> None:
        self._simulation.change(_cause(detector), self._simulation.room_of(detector.name))

    def calm(self, detector: Detector) -> None:
        name = self._simulation.room_of(detector.name)
        room = self._simulation.scenario.rooms[self._simulation.scenario.room_name(name)]
        self._simulation.change(_as_it_was(room), name)
        # Test smoke hangs about; somebody opens the windows.
        self._simulation.change(Change(air_changes_per_h=_VENT_PER_H), name)
        self._simulation.clock.sleep(_VENT_S)
        self._simulation.change(Change(air_changes_per_h=room.air_changes_per_h), name)


def _cause(detector: Detector) -> Change:
    match detector.plan.driver:
        case "mq":
            gas: Any = _gas(detector)
            return Change(hood={gas: _GAS_PPM[gas]})
        case "strain" | "nau7802":
            return Change(load_kg=_LOAD_KG)
        case "power" | "ina219":
            return Change(mains=False)
        case "dht22" | "bme280" | "sht3x":
            return Change(outside_c=_HEAT_C, air_changes_per_h=_VENT_PER_H)
    return Change(smoulder_g_per_min=_SMOULDER_G_PER_MIN)


def _gas(detector: Detector) -> str:
    """Return the gas that its contract is about, by its unit of calibration's name; methane where nothing says."""
    words = " ".join([str(detector.plan.options.get("model", "")), *(each.id for each in detector.contracts)])
    if "co-" in words or "mq7" in words:
        return "co"
    return "lpg" if any(each in words for each in ("lpg", "mq2", "mq5")) else "ch4"


def _as_it_was(room: Room) -> Change:
    return Change(
        outside_c=room.outside_c,
        smoulder_g_per_min=room.smoulder_g_per_min,
        flame_peak_kw=room.flame_peak_kw,
        load_kg=room.load_kg,
        mains=room.mains,
        hood=room.hood,
    )
