"""In which condition each contract of a gateway is, by its alarms, in whatever order those come.

Brokers reorder, gateways send again, and a boot's alarms may come when a later boot has been heard. Within a boot
the counter orders alarms. Boots are random nonces; a birth says which one is current, and one that no birth named
is placed by the gateway's own clock, beside the times at which the others were first heard of.

Invariant: what is taken up never sets a contract back to an earlier alarm's condition.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import takewhile
from typing import Final

from gateway.chain.alarm import CONDITIONS, Transition

MAX_BOOTS: Final = 64


@dataclass(frozen=True, slots=True)
class ContractState:
    """A contract as its latest alarm left it."""

    condition: str
    faults: tuple[str, ...]
    wall_ms: int


@dataclass(slots=True)
class _Boot:
    """A boot: since when it is known (Unix ms, the gateway's word), its highest counter, its contracts' latest."""

    since: int
    counter: int = -1
    contracts: dict[str, tuple[int, ContractState]] = field(default_factory=dict)


class Conditions:
    """One gateway's contracts. Not for several threads."""

    def __init__(self) -> None:
        self._boots: dict[bytes, _Boot] = {}  # oldest first

    def born(self, boot: bytes, wall: int) -> None:
        """Take up that a gateway is in this boot now, by its birth of `wall` (Unix ms)."""
        self._boots[boot] = self._boots.pop(boot) if boot in self._boots else _Boot(wall)
        self._forget()

    def take(self, transition: Transition) -> bool:
        """Take up an alarm's transition, and tell whether none that follows it was taken up before."""
        boot = self._boots.get(transition.boot) or self._place(transition)
        in_order = transition.boot == next(reversed(self._boots)) and transition.counter >= boot.counter
        boot.counter = max(boot.counter, transition.counter)
        known, _ = boot.contracts.get(transition.contract, (-1, None))
        if transition.counter >= known:
            state = ContractState(CONDITIONS[transition.after], transition.faults, transition.wall)
            boot.contracts[transition.contract] = (transition.counter, state)
        self._forget()
        return in_order

    def contracts(self) -> dict[str, ContractState]:
        """Return each contract as the latest of its alarms left it."""
        every = (item for boot in self._boots.values() for item in boot.contracts.items())
        return {contract: state for contract, (_, state) in every}

    def _place(self, transition: Transition) -> _Boot:
        """Put a boot that was never heard of among the others."""
        later = list(takewhile(lambda boot: self._boots[boot].since > transition.wall, reversed(self._boots)))
        placed = self._boots[transition.boot] = _Boot(transition.wall)
        for boot in reversed(later):
            self._boots[boot] = self._boots.pop(boot)
        return placed

    def _forget(self) -> None:
        """Let the oldest boot go into the next one."""
        if len(self._boots) > MAX_BOOTS:
            oldest = self._boots.pop(next(iter(self._boots)))
            heir = next(iter(self._boots.values()))
            left = {contract: (-1, state) for contract, (_, state) in oldest.contracts.items()}
            heir.contracts = left | heir.contracts
