"""A gateway's tenure in a chain: the records that begin, renew, move on and end its right to sign, and its contracts.

They come to the chain inside transactions (`gateway.chain.ordered`). Times inside them are their author's word.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from gateway.chain.alarm import MAX_CONTRACT
from gateway.chain.errors import WrongShape
from gateway.chain.keys import ENROLMENT, EPOCH, NO_HASH, ROTATION, Signed, digest
from gateway.chain.record import (
    Blob,
    BootNonce,
    GatewayId,
    Hash,
    Label,
    Many,
    Millis,
    Name,
    Octets,
    PublicKey,
    Range,
    Record,
    Signature,
    Suite,
    UInt,
)

MAX_ORPHANS: Final = 256


@dataclass(frozen=True, slots=True)
class Ticket(Record):
    """An authority's leave to enrol one gateway: whoever holds the seed of `key`, until `not_after`."""

    genesis: Hash
    authority: PublicKey
    key: PublicKey
    region: Name
    not_after: Millis


@dataclass(frozen=True, slots=True)
class EnrolmentBody(Record):
    """A signed ticket (domain `tocsin/ticket/v1`), the gateway's first key and what installers call it."""

    ticket: Signed
    key: PublicKey
    name: Label


@dataclass(frozen=True, slots=True)
class Enrolment(Record):
    """An enrolment, signed by the ticket's key and by the gateway's, in this order."""

    suite: Suite
    body: Blob
    by_ticket: Signature
    by_gateway: Signature

    @property
    def hash(self) -> bytes:
        return digest(ENROLMENT, self.body)


@dataclass(frozen=True, slots=True)
class RotationBody(Record):
    """From block height `first` on, `new` signs what `old` signed."""

    genesis: Hash
    gateway: GatewayId
    old: PublicKey
    new: PublicKey
    first: UInt


@dataclass(frozen=True, slots=True)
class Rotation(Record):
    """A rotation, signed by the old and by the new key, in this order."""

    suite: Suite
    body: Blob
    by_old: Signature
    by_new: Signature

    @property
    def hash(self) -> bytes:
        return digest(ROTATION, self.body)


@dataclass(frozen=True, slots=True)
class Position(Record):
    """One block of one gateway. All zero means: none at all."""

    epoch: UInt
    height: UInt
    hash: Hash


NOWHERE: Final = Position(0, 0, NO_HASH)


@dataclass(frozen=True, slots=True)
class Revocation(Record):
    """An authority's end to a gateway's keys; blocks after `last` are not the gateway's word any more."""

    genesis: Hash
    authority: PublicKey
    gateway: GatewayId
    last: Position
    reason: Label
    time: Millis


@dataclass(frozen=True, slots=True)
class EpochChangeBody(Record):
    """A gateway's change of epoch: closes the old one at its final head and owns up to what lies above it.

    Reason 1: the store did not recover whole; 2: the chain knows what the store lacks; 3: asked by an operator;
    4: the gateway moves here from a chain that this one takes over.
    """

    genesis: Hash
    gateway: GatewayId
    boot: BootNonce
    epoch: Annotated[int, Range(2, 0xFFFFFFFF)]
    closes: Position
    orphans: Annotated[tuple[Position, ...], Many(0, MAX_ORPHANS)]
    reason: Annotated[int, Range(1, 4)]

    def check(self, where: str) -> None:
        places = [(orphan.height, orphan.hash) for orphan in self.orphans]
        if places != sorted(set(places)):
            raise WrongShape(f"{where}.orphans: each once, by rising height and hash")


@dataclass(frozen=True, slots=True)
class EpochChange(Record):
    """An epoch change signed by the gateway, and by an authority where the genesis' free number is used up.

    `approver` and `approval` are an authority's key and signature over the same body, or both empty.
    """

    suite: Suite
    body: Blob
    signature: Signature
    approver: Annotated[bytes, Octets(0, 32)]
    approval: Annotated[bytes, Octets(0, 64)]

    def check(self, where: str) -> None:
        if (len(self.approver), len(self.approval)) not in ((0, 0), (32, 64)):
            raise WrongShape(f"{where}: an approval is a key and a signature, or neither")

    @property
    def hash(self) -> bytes:
        return digest(EPOCH, self.body)


@dataclass(frozen=True, slots=True)
class ContractGrant(Record):
    """An authority's contract set for a gateway. Versions only rise."""

    genesis: Hash
    authority: PublicKey
    gateway: GatewayId
    version: UInt
    documents: Annotated[tuple[Annotated[bytes, Octets(1, MAX_CONTRACT)], ...], Many(0, 64)]
