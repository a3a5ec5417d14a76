"""What can go wrong with one simulated sensor, and when.

Owns the kinds of fault and their times. Where a fault strikes (bus, chip, probe, pin, data line) is
decided by those parts, which ask here.

Invariant: times are seconds of the scenario; a fault without an end lasts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Fault", "FaultKind", "Faults", "View"]

FaultKind = Literal[
    "nack",  # the chip does not acknowledge
    "timeout",  # something holds the bus, whatever is done
    "held",  # the chip holds the bus until it is clocked on, or without supply for a while
    "vanished",  # the bus's device is gone
    "glitch",  # transfers break off; one that is repeated is well
    "brown-out",  # no supply, then power-on registers
    "stuck",  # the input freezes at its last value
    "drift",  # the input moves away by `amount` per second
    "noise",  # the input's noise gains a standard deviation of `amount`
    "cut",  # the wire between element and chip is open
    "shorted",  # a supervised loop's wires touch
    "heater",  # a gas element's heater is dead
    "checksum",  # what the sensor sends is damaged
    "short",  # the DHT's frame breaks off
]


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        kind: what goes wrong.
        at_s: when it begins.
        until_s: when it ends; None is never. A brown-out's end is when power returns.
        amount: for drift and noise, in the probe's unit (volts at an ADC, V/V at a bridge, the first quantity's at a
            chip that measures several).
    """

    kind: FaultKind
    at_s: float
    until_s: float | None = None
    amount: float = 0.0

    def lasts_at(self, t: float) -> bool:
        """Say whether the fault is there at time `t`."""
        return self.at_s <= t and (self.until_s is None or t < self.until_s)


class Faults:
    """The faults of one sensor; more may be added while it runs."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._all = tuple(faults)

    def add(self, fault: Fault) -> None:
        """Add one; takes effect at its own time."""
        # A new tuple, because another thread may be reading the old one.
        self._all = (*self._all, fault)

    def clear(self) -> None:
        """Forget all, as if repaired."""
        self._all = ()

    def find(self, kind: FaultKind, t: float) -> Fault | None:
        """Return a fault of that kind that is there at time `t`."""
        for fault in self._all:
            if fault.kind == kind and fault.lasts_at(t):
                return fault
        return None

    def all(self, kind: FaultKind) -> Iterator[Fault]:
        """Yield every fault of that kind, whenever it is there."""
        return (fault for fault in self._all if fault.kind == kind)

    def brown_outs(self, t: float) -> list[float]:
        """Return when the supply comes back after each of the failures that have begun by time `t`."""
        begun = (fault for fault in self.all("brown-out") if fault.at_s <= t)
        return [fault.at_s if fault.until_s is None else fault.until_s for fault in begun]


class View(Faults):
    """Another's faults as a part of it sees them.

    Args:
        shown: for a kind, the kinds that show as it here; what is not named shows as itself.
    """

    def __init__(self, faults: Faults, shown: Mapping[FaultKind, Sequence[FaultKind]]) -> None:
        super().__init__()
        self._faults, self._shown = faults, shown

    def find(self, kind: FaultKind, t: float) -> Fault | None:
        found = (self._faults.find(each, t) for each in self._shown.get(kind, (kind,)))
        return next((fault for fault in found if fault), None)

    def all(self, kind: FaultKind) -> Iterator[Fault]:
        return (fault for each in self._shown.get(kind, (kind,)) for fault in self._faults.all(each))
