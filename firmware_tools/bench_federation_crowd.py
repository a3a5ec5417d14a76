"""Made-up honest gateways: enrolled by tickets of the desk, each with a chain of blocks that is signed beforehand.

Owned: keys, chains, and what of them is still to be brought. Not owned: how it is brought (`bench_federation_load`).
All blocks of a crowd share one segment's bytes, since nobody looks for news in them; each header is its own.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from firmware_tools.authority import Desk
from gateway.chain.block import (
    NOTHING_SEEN,
    NTP,
    Block,
    Header,
    SegmentHead,
    list_catalogue,
    listing,
)
from gateway.chain.keys import BIRTH, BLOCK, ENROLMENT, NO_HASH, SUITE, SigningKey, gateway_id
from gateway.chain.messages import Birth
from gateway.chain.ordered import Headers, encode_transaction
from gateway.chain.reading import PUBLIC, Series, build_segment, leaf_hashes, reading_leaf, segment_hash
from gateway.chain.tenure import NOWHERE, Enrolment, EnrolmentBody
from gateway.chain.trees import root_of

__all__ = ["Crowd", "Offer"]

_SERIES: Final = 10
_PERIOD_MS: Final = 100
_HEARTBEAT_MS: Final = 60_000
_SOFTWARE: Final = "bench"


@dataclass(frozen=True, slots=True)
class Offer:
    """Something to be brought: a message of one gateway, or a transaction of several gateways' headers.

    Attributes:
        lane: what has the same one keeps its order.
        ends: the height up to which it brings each gateway.
        count: of its blocks.
    """

    lane: int
    data: bytes
    ends: tuple[tuple[str, int], ...]
    count: int


@dataclass(slots=True)
class _Member:
    key: SigningKey
    enrolment: Enrolment
    boot: bytes
    blocks: list[Block] = field(default_factory=list)
    taken: int = 0

    @property
    def name(self) -> str:
        return gateway_id(self.key.public).hex()

    def take(self, count: int) -> list[Block]:
        found = self.blocks[self.taken : self.taken + count]
        self.taken += len(found)
        return found


class Crowd:
    """Gateways of one region; what has been taken of their blocks is not taken twice."""

    def __init__(self, desk: Desk, region: str, klass: int, readings: int, count: int) -> None:
        self._genesis, self._klass = desk.genesis.hash, klass
        self._catalogue = tuple(
            Series(i, f"room.ch{i}", "voltage", "V", -6, klass, 0, 0, 0, 0, "bench", b"")
            for i in range(_SERIES)
        )
        secret = b"" if klass == PUBLIC else secrets.token_bytes(32)
        self._span = readings // _SERIES * _PERIOD_MS
        leaves = [
            reading_leaf(i % _SERIES, i // _SERIES * _PERIOD_MS, 1_000_000 + i * 104_729 % 4001)
            for i in range(readings)
        ]
        self._segment = build_segment(klass, secret, leaves)
        root, hash_ = root_of(leaf_hashes(secret, leaves)), segment_hash(self._segment)
        self._head = SegmentHead(klass, readings, root, hash_, 0)
        self.members = [self._member(desk, region) for _ in range(count)]

    def sign(self, height: int) -> None:
        """Have every gateway sign its blocks up to a height."""
        catalogue, contracts = list_catalogue(self._catalogue), listing([])
        now = int(time.time() * 1000)
        for member in self.members:
            previous = member.blocks[-1].hash if member.blocks else NO_HASH
            for at in range(len(member.blocks) + 1, height + 1):
                header = Header(
                    self._genesis, gateway_id(member.key.public), 1, at, previous, member.boot, now,
                    at * (self._span + 1), self._span, NTP, catalogue, contracts, NOTHING_SEEN, (self._head,),
                ).encode()  # fmt: skip
                block = Block(SUITE, header, member.key.sign(BLOCK, header), (self._segment,))
                member.blocks.append(block)
                previous = block.hash

    def births(self) -> Iterator[tuple[str, bytes]]:
        """Yield what each gateway says first, with its name."""
        for member in self.members:
            body = Birth(
                self._genesis, gateway_id(member.key.public), member.boot, 1, int(time.time() * 1000), 1,
                NOWHERE, NOTHING_SEEN, self._catalogue, (), _HEARTBEAT_MS, _SOFTWARE,
            ).encode()  # fmt: skip
            yield member.name, member.key.signed(BIRTH, body).encode()

    def blocks(self) -> Iterator[Offer]:
        """Take everybody's next blocks, whole, in turn."""
        while True:
            for lane, member in enumerate(self.members):
                if not (taken := member.take(1)):
                    return
                yield Offer(lane, taken[0].encode(), ((member.name, member.taken),), 1)

    def headers(self, lanes: int, batch: int) -> Iterator[Offer]:
        """Take everybody's next headers, as transactions of `batch` headers in one lane of gateways each."""
        shares = [self.members[lane::lanes] for lane in range(lanes)]
        groups = [
            (lane, group)
            for lane, share in enumerate(shares)
            for group in ([[member] for member in share] if batch == 1 else [share])
        ]
        while True:
            for lane, group in groups:
                taken = [member.take(max(1, batch // len(group))) for member in group]
                if not all(taken):
                    return
                signed = tuple(block.signed for blocks in taken for block in blocks)
                ends = tuple((member.name, member.taken) for member in group)
                yield Offer(lane, encode_transaction(Headers(signed)), ends, len(signed))

    def _member(self, desk: Desk, region: str) -> _Member:
        key, (ticket, spender) = SigningKey(secrets.token_bytes(32)), desk.ticket(region)
        body = EnrolmentBody(ticket, key.public, "bench").encode()
        enrolment = Enrolment(SUITE, body, spender.sign(ENROLMENT, body), key.sign(ENROLMENT, body))
        return _Member(key, enrolment, secrets.token_bytes(8))
