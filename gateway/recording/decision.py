"""What a contract's transition becomes: the record of it, and whoever writes and publishes that.

Owns the record's making. When a transition is a fact, and what is done first, is `gateway.recording.recorder`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.chain.alarm import Deciding, transition_hash
from gateway.chain.alarm import Transition as TransitionRecord
from gateway.contracts.machine import Transition
from gateway.region.keeper import Identity

__all__ = ["Decision", "Told"]


@dataclass(frozen=True, slots=True)
class Decision:
    """A transition that pins have followed and that is to be written and published.

    `state` is the contracts' after it.
    """

    hash: bytes
    body: bytes
    wall_ms: int
    state: bytes

    @classmethod
    def of(
        cls, transition: Transition, state: bytes, identity: Identity, number: int, wall_ms: int, clock: int
    ) -> Decision:
        """Make the record of a transition.

        Args:
            number: how many this boot has made, with this one.
            clock: the state of the clock that `wall_ms` comes from.
        """
        body = TransitionRecord(
            identity.genesis,
            identity.gateway,
            identity.boot,
            number,
            transition.contract_id,
            transition.contract_hash,
            transition.before,
            transition.after,
            transition.faults_after,
            tuple(Deciding(alias, v, at) for alias, v, at in transition.values if v is not None),
            wall_ms,
            transition.at_ms,
            clock,
        ).encode()
        return cls(transition_hash(body), body, wall_ms, state)


class Told(Protocol):
    """Whoever writes and publishes decisions."""

    def decided(self, decisions: Sequence[Decision]) -> None:
        """Take decisions over, in order; return at once."""
        ...
