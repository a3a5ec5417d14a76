"""Blocks: a gateway's signed header and the segments it commits to.

The header alone gives chain and signature; a segment's bytes as stored give its hash, hence custody; only an
opened segment gives root, count and values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from gateway.chain.errors import WrongShape
from gateway.chain.events import MAX_SERIES
from gateway.chain.keys import BLOCK, NO_HASH, Signed, digest
from gateway.chain.reading import MAX_LEAVES, MAX_SEGMENT, PUBLIC, Class, Series
from gateway.chain.record import (
    MAX_MILLIS,
    BootNonce,
    ClockState,
    GatewayId,
    Hash,
    Many,
    Millis,
    Octets,
    Range,
    Record,
    Signature,
    Suite,
    UInt,
)
from gateway.chain.trees import leaf_hash, root_of

MAX_SPAN: Final = 0xFFFFFFFF

STALE: Final = 0
NTP: Final = 1
HUB: Final = 2
RTC: Final = 3


@dataclass(frozen=True, slots=True)
class Seen(Record):
    """The highest seal that the gateway had verified: its final block, the log's size there, its hash.

    All zero where it had seen none.
    """

    height: UInt
    log_size: UInt
    seal_hash: Hash


NOTHING_SEEN: Final = Seen(0, 0, NO_HASH)


@dataclass(frozen=True, slots=True)
class Listing(Record):
    """The size and RFC 6962 root of a list, so that a path proves place as well as membership."""

    count: Annotated[int, Range(0, MAX_SERIES)]
    root: Hash


@dataclass(frozen=True, slots=True)
class SegmentHead(Record):
    """What a header says of one segment. Key id 0 means clear bytes; others are of encryption to come."""

    klass: Class
    count: Annotated[int, Range(1, MAX_LEAVES)]
    root: Hash
    hash: Hash
    key_id: UInt


@dataclass(frozen=True, slots=True)
class Header(Record):
    """A block's header.

    `height` counts a gateway's blocks from 1 and goes on through epochs; `previous` is the hash of the header
    one below (zero for height 1). `wall` and `mono` are the first reading's time, Unix ms and ms on the boot's
    monotonic clock, and `span` the ms from first to last. `clock` says who vouches for `wall`: 0 nobody
    (stale), 1 a time server, 2 a hub, 3 a battery-backed clock. `catalogue` and `contracts` list the series and
    the contract documents in force.
    """

    genesis: Hash
    gateway: GatewayId
    epoch: Annotated[int, Range(1, 0xFFFFFFFF)]
    height: Annotated[int, Range(1, (1 << 48) - 1)]
    previous: Hash
    boot: BootNonce
    wall: Millis
    mono: Millis
    span: Annotated[int, Range(0, MAX_SPAN)]
    clock: ClockState
    catalogue: Listing
    contracts: Listing
    seen: Seen
    segments: Annotated[tuple[SegmentHead, ...], Many(1, 3)]

    def check(self, where: str) -> None:
        classes = [segment.klass for segment in self.segments]
        if classes != sorted(set(classes)):
            raise WrongShape(f"{where}.segments: one segment a class, in rising order of class")
        if self.segments[0].klass == PUBLIC and self.segments[0].key_id:
            raise WrongShape(f"{where}.segments: the public segment is clear, its key id 0")
        if (self.height == 1) != (self.previous == NO_HASH):
            raise WrongShape(f"{where}.previous: zero at height 1 and only there")
        if self.seen.height == 0 and self.seen != NOTHING_SEEN:
            raise WrongShape(f"{where}.seen: all zero where no seal was seen")
        if max(self.wall, self.mono) + self.span > MAX_MILLIS:
            raise WrongShape(f"{where}.span: the last reading's time is out of range")

    @property
    def position(self) -> tuple[int, int]:
        """(epoch, height), which a gateway never signs twice."""
        return self.epoch, self.height


def header_hash(header: bytes) -> bytes:
    """Return the identity of a header's bytes (32 bytes)."""
    return digest(BLOCK, header)


def list_catalogue(catalogue: tuple[Series, ...]) -> Listing:
    """Return the listing of a catalogue, in the order of the series' indices."""
    return listing([each.encode() for each in catalogue])


def listing(leaves: Sequence[bytes]) -> Listing:
    """Return the listing of leaves in the order given; contract documents are listed by rising hash."""
    return Listing(len(leaves), root_of([leaf_hash(leaf) for leaf in leaves]))


@dataclass(frozen=True, slots=True)
class Block(Record):
    """A block as sent and stored. A withheld segment is the empty byte string."""

    suite: Suite
    header: Annotated[bytes, Octets(1, 2048)]
    signature: Signature
    segments: Annotated[tuple[Annotated[bytes, Octets(0, MAX_SEGMENT)], ...], Many(1, 3)]

    @property
    def signed(self) -> Signed:
        """The header with its signature."""
        return Signed(self.suite, self.header, self.signature)

    @property
    def hash(self) -> bytes:
        """The block's identity: its header's."""
        return header_hash(self.header)
