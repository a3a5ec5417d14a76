"""Entries of the state tree: what stands now about every gateway, ticket and contract set.

A key is the canonical array [kind, bytes…]; a value is a record. No height, time or hash of a final block is in
any of them, so a final block without accepted items leaves the state as it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from gateway.chain.canonical import encode
from gateway.chain.leaf import ENROL, EQUIVOCATE, IMPORT, ROTATE
from gateway.chain.ordered import MAX_BATCH
from gateway.chain.record import (
    Blob,
    BootNonce,
    GatewayId,
    Hash,
    Many,
    Millis,
    Name,
    PublicKey,
    Range,
    Record,
    UInt,
)
from gateway.chain.tenure import Position

GOOD: Final = 0
MAX_KEYS: Final = 64


def gateway_key(gateway: bytes) -> bytes:
    """State key 1: a gateway's entry, `GatewayEntry`."""
    return encode([1, gateway])


def key_key(gateway: bytes, public: bytes) -> bytes:
    """State key 2: a key's beginning, `KeyEntry`; present for every key that ever was a gateway's."""
    return encode([2, gateway, public])


def key_end_key(gateway: bytes, public: bytes) -> bytes:
    """State key 3: a key's end, `KeyEnd`; absent while the key is in force."""
    return encode([3, gateway, public])


def ticket_key(public: bytes) -> bytes:
    """State key 4: a used ticket, `TicketEntry`."""
    return encode([4, public])


def contracts_key(gateway: bytes) -> bytes:
    """State key 5: a granted contract set, `ContractsEntry`."""
    return encode([5, gateway])


def roster_key() -> bytes:
    """State key 6: the roster, `gateway.chain.governance.Roster`; absent while it is the genesis' own."""
    return encode([6])


def proposal_key(proposal: bytes) -> bytes:
    """State key 7: a proposal by its hash, `ProposalEntry`."""
    return encode([7, proposal])


def summons_key(summons: bytes) -> bytes:
    """State key 8: a summons by its hash, `SummonsEntry`."""
    return encode([8, summons])


@dataclass(frozen=True, slots=True)
class KeySpan(Record):
    """A key of a gateway and the first block height that it signs."""

    key: PublicKey
    first: UInt


@dataclass(frozen=True, slots=True)
class GatewayEntry(Record):
    """A gateway as the chain knows it.

    `keys` are all it ever had, by rising `first`. `standing` is 0 while good, else the kind of transaction that
    ended it first (6 or 7), or 16 from its import until the epoch change with which it moves. `head` is its final
    head. `opened_at` is the log index of the record that opened its epoch. `boot`, `mono` and `seen` are the head's
    boot nonce, end on its monotonic clock, and seen height: its successor may not go behind them.
    `epochs` are the times of the latest epoch changes, oldest first.
    """

    region: Name
    keys: Annotated[tuple[KeySpan, ...], Many(1, MAX_KEYS)]
    standing: Annotated[int, Range(GOOD, IMPORT)]
    epoch: UInt
    head: Position
    opened_at: UInt
    boot: BootNonce
    mono: Millis
    seen: UInt
    epochs: Annotated[tuple[Millis, ...], Many(0, MAX_BATCH)]

    def key_at(self, height: int) -> bytes:
        """Return the key that signs block `height`: the last one whose span has begun."""
        return next((span.key for span in reversed(self.keys) if span.first <= height), self.keys[0].key)

    @property
    def alarm_keys(self) -> tuple[bytes, ...]:
        """The keys that may sign an alarm now, which names no height: the head's, its successor's, the latest."""
        height = self.head.height
        return tuple(dict.fromkeys((self.key_at(height), self.key_at(height + 1), self.keys[-1].key)))


@dataclass(frozen=True, slots=True)
class KeyEntry(Record):
    """A key's beginning: the first height it signs, and the kind and hash of the record that began it.

    Kind is 3 (enrolment; `first` is 1), 5 (rotation) or 16 (import from a chain taken over).
    """

    gateway: GatewayId
    key: PublicKey
    first: UInt
    kind: Annotated[int, Range(ENROL, IMPORT)]
    record: Hash


@dataclass(frozen=True, slots=True)
class KeyEnd(Record):
    """A key's end by rotation (5), revocation (6) or equivocation (7): the last block it vouches for.

    Where the key ended by rotation first, `last` has the height alone; its epoch and hash are zero.
    """

    kind: Annotated[int, Range(ROTATE, EQUIVOCATE)]
    last: Position
    record: Hash


@dataclass(frozen=True, slots=True)
class TicketEntry(Record):
    """The gateway that a ticket was used for."""

    gateway: GatewayId


@dataclass(frozen=True, slots=True)
class ContractsEntry(Record):
    """The contract set granted last: its version and the hash of the grant."""

    version: UInt
    record: Hash


@dataclass(frozen=True, slots=True)
class ProposalEntry(Record):
    """An open or settled proposal: its `Signed` bytes, who approved it (hub keys, in order), 1 once it is in force."""

    proposal: Blob
    approvals: Annotated[tuple[PublicKey, ...], Many(1, 64)]
    done: Annotated[int, Range(0, 1)]


@dataclass(frozen=True, slots=True)
class SummonsEntry(Record):
    """A summons: who was summoned (hub key), over which receipt, its ordered time, and what came of it.

    `receipt` is the hash that a `Breach` over that receipt would have. `outcome` is 0 while open, 1 held, 2 lacked,
    3 unanswered; `response` the hash of the response, all zero without.
    """

    hub: PublicKey
    receipt: Hash
    time: Millis
    outcome: Annotated[int, Range(0, 3)]
    response: Hash
