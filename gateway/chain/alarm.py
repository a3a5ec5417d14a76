"""Transitions of contracts, and the alarms that are those bytes signed.

A transition names neither height nor index, so it stays the same when a block is sealed again under a new
epoch. The alarm leaves the gateway at once, ahead of its block; the transition's bytes stand in the public
segment of the block. Repeats are known by the hash of the transition's bytes, never by a counter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from gateway.chain.canonical import INT_MAX
from gateway.chain.errors import WrongShape
from gateway.chain.keys import ALARM, ALARM_UNRECORDED, CONTRACT, SUITE, SigningKey, digest, verify
from gateway.chain.record import (
    BootNonce,
    ClockState,
    GatewayId,
    Hash,
    Int,
    Many,
    Millis,
    Name,
    Octets,
    Range,
    Record,
    Signature,
    Suite,
    Text,
)

NORMAL: Final = 0
PRE_ALARM: Final = 1
ALARMED: Final = 2
LATCHED: Final = 3
CONDITIONS: Final = ("normal", "pre-alarm", "alarm", "latched")
Condition = Annotated[int, Range(NORMAL, LATCHED)]

RECORDED: Final = 0
UNRECORDED: Final = 1
_DOMAINS: Final = (ALARM, ALARM_UNRECORDED)

MAX_TRANSITION: Final = 4096
MAX_CONTRACT: Final = 16 * 1024
Fault = Annotated[str, Text(96, r"[^:]+:[^:]+")]


@dataclass(frozen=True, slots=True)
class Deciding(Record):
    """A value that the contract had before it: the input's alias, the scaled integer, its sample's `mono` ms."""

    alias: Annotated[str, Text(64)]
    value: Int
    mono: Millis


@dataclass(frozen=True, slots=True)
class Transition(Record):
    """A contract's change of state. `counter` counts transitions within the boot, from 1.

    `before` and `after` are conditions (0 normal, 1 pre-alarm, 2 alarm, 3 latched); `faults` are the reasons
    beside the condition afterwards, each `alias:kind`, sorted by their bytes. `mono` is the deciding instant.
    """

    genesis: Hash
    gateway: GatewayId
    boot: BootNonce
    counter: Annotated[int, Range(1, INT_MAX)]
    contract: Name
    contract_hash: Hash
    before: Condition
    after: Condition
    faults: Annotated[tuple[Fault, ...], Many(0, 32)]
    values: Annotated[tuple[Deciding, ...], Many(0, 32)]
    wall: Millis
    mono: Millis
    clock: ClockState

    def check(self, where: str) -> None:
        if list(self.faults) != sorted(set(self.faults)):
            raise WrongShape(f"{where}.faults: each reason once, sorted")


@dataclass(frozen=True, slots=True)
class Alarm(Record):
    """A transition's bytes, signed. Mark 1 says that the gateway could not write its durable row first."""

    mark: Annotated[int, Range(RECORDED, UNRECORDED)]
    suite: Suite
    transition: Annotated[bytes, Octets(1, MAX_TRANSITION)]
    signature: Signature

    @classmethod
    def sign(cls, key: SigningKey, transition: bytes, mark: int = RECORDED) -> Alarm:
        """Sign a transition. The mark chooses the domain, so it cannot be changed on the way."""
        return cls(mark, SUITE, transition, key.sign(_DOMAINS[mark], transition))

    @property
    def hash(self) -> bytes:
        """The identity of the transition, and so of every repeat of its alarm (32 bytes)."""
        return transition_hash(self.transition)

    def verify(self, public: bytes) -> Transition:
        """Return the transition once the signature holds. Raises ChainError."""
        verify(public, _DOMAINS[self.mark], self.suite, self.transition, self.signature)
        return Transition.decode(self.transition, max_size=MAX_TRANSITION)


def transition_hash(transition: bytes) -> bytes:
    """Return the identity of a transition's bytes (32 bytes)."""
    return digest(ALARM, transition)


def contract_hash(document: bytes) -> bytes:
    """Return the identity of a contract document's canonical bytes (32 bytes)."""
    return digest(CONTRACT, document)
