"""Which sensors are detectors: those on which a contract's alarm hangs; and how each is set off by hand.

Owns the list and its words. It does not own trying them (`firmware_tools.walktest.trial`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.catalogue import Catalogue, SensorPlan
from gateway.contracts.document import Contract
from gateway.contracts.expression import Series, Threshold, Windowed, walk

__all__ = ["Detector", "detectors_of"]

_HOW: Final[Mapping[str, str]] = {
    "contact": "press its test button, or hold test smoke to it",
    "eol_loop": "set off one detector of the loop: its test button, or test smoke",
    "mq": "put the hood over it and let test gas flow",
    "strain": "load the structure, or connect the shunt",
    "nau7802": "load the structure, or connect the shunt",
    "power": "switch the mains off",
    "ina219": "switch the supply off",
    "dht22": "warm it with a hot-air gun, from half a metre",
    "bme280": "warm it with a hot-air gun, from half a metre",
    "sht3x": "warm it with a hot-air gun, from half a metre",
    "scd41": "breathe at it from close by",
    "sgp40": "hold a cloth with a drop of alcohol near it",
}
_ELSEWHERE: Final = ("neighbour",)  # tried at their own gateway


@dataclass(frozen=True, slots=True)
class Detector:
    """A sensor, the contracts whose alarm it can bring about, and the outputs that there are."""

    plan: SensorPlan
    contracts: tuple[Contract, ...]
    wired: frozenset[str]

    @property
    def name(self) -> str:
        """The sensor's."""
        return self.plan.name

    @property
    def label(self) -> str:
        """As its series' entries in the catalogue name it."""
        return self.plan.channels[0].series.sensor

    @property
    def how(self) -> str:
        """How it is set off."""
        return _HOW.get(self.plan.driver, "bring it to its alarm")

    @property
    def hold_s(self) -> float:
        """The shortest time for which its alarm's condition must last."""
        return min(each.alarm.hold for each in self.contracts) / 1000

    @property
    def clear_s(self) -> float:
        """The longest time for which its alarm must have been over."""
        return max(each.alarm.clear_for for each in self.contracts) / 1000

    def driven(self, contract: str | None = None) -> frozenset[str]:
        """Return the outputs that one of its contracts, or any, drives in the alarm."""
        chosen = [each for each in self.contracts if contract in (None, each.id)]
        return self.wired & {name for each in chosen for name in each.actions.alarm}

    @property
    def until_ms(self) -> int:
        """When the first of its calibrations ends, Unix ms; 0 where none does."""
        validities = [c.calibration.validity for c in self.plan.channels if c.calibration is not None]
        return min((each.until_ms for each in validities if each is not None), default=0)


def detectors_of(
    catalogue: Catalogue, contracts: Sequence[Contract], outputs: Iterable[str]
) -> list[Detector]:
    """Return the detectors in the catalogue's order.

    A contract that looks at faults alone makes none: test gas sets no fault off.
    """
    found = []
    for plan in catalogue.sensors:
        series = {channel.series.name for channel in plan.channels}
        reading = tuple(contract for contract in contracts if series & _decided_on(contract))
        if reading and plan.driver not in _ELSEWHERE:
            found.append(Detector(plan, reading, frozenset(outputs)))
    return found


def _decided_on(contract: Contract) -> set[str]:
    """Return the series whose values a contract's alarm is decided on."""
    aliases = set()
    for node in walk(contract.alarm.when):
        match node:
            case Series(alias):
                aliases.add(alias)
            case Windowed(series=given) | Threshold(series=given):
                aliases.add(given.alias)
    return {given.series for given in contract.inputs if given.alias in aliases}
