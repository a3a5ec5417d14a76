"""The open block: what was recorded since the last seal, in memory and in a journal of its own.

Owns the journal's records and what becomes of them: the draft of a block, which is everything but its place in
the chain (epoch, height, predecessor, seal seen) and its signature; those are `gateway.region.keeper`'s. It does not
own when to seal (`gateway.recording.recorder`) nor the journal's durability (`gateway.storage.journal`).

Invariants:
* A draft is a function of the journal's records (and fresh salts), so a block recovered after a crash is the one
  that was open, with the boot nonce and times of its own boot.
* Times within a block are monotonic; wall time is that of its opening carried on, so a clock step cannot bend it.
* What is too much for one message is refused: the caller seals first.

Journal records are canonical arrays, times in ms after the opening's `mono`:

    first       Opening
    reading     [series, time, value]
    event       [class, time, kind, body, state]: state is the contracts' after a transition, else empty
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, cast

import cbor2

from gateway.chain.alarm import transition_hash
from gateway.chain.block import NOTHING_SEEN, Header, Listing, SegmentHead
from gateway.chain.canonical import decode, encode
from gateway.chain.errors import FormatError
from gateway.chain.events import EVENTS, KINDS, TRANSITION, Event, Shedding
from gateway.chain.keys import NO_HASH
from gateway.chain.reading import (
    PUBLIC,
    build_segment,
    event_leaf,
    leaf_hashes,
    reading_leaf,
    segment_hash,
    transition_leaf,
)
from gateway.chain.record import BootNonce, ClockState, Int, Millis, Record, UInt
from gateway.chain.trees import root_of
from gateway.recording.feed import Feed
from gateway.storage.journal import MAX_RECORD_BYTES

__all__ = ["MAX_BODY", "Draft", "OpenBlock", "Opening", "Summary", "TooMuch", "recover"]

# Header, signature and framing fit beside this in a message of 128 KiB, and each segment in its 120 KiB.
MAX_BODY: Final = 104 * 1024
_MAX_LEAVES: Final = 4_080


class TooMuch(Exception):
    """The block has no room for this: seal it and add to the next one."""


@dataclass(frozen=True, slots=True)
class Opening(Record):
    """A block's first journal record: which one it is, and what holds for all of it.

    `number` counts the blocks of this gateway's store, whatever becomes their height. `wall` and `mono` were
    read together.
    """

    number: UInt
    boot: BootNonce
    wall: Millis
    mono: Int
    clock: ClockState
    catalogue: Listing
    contracts: Listing


@dataclass(frozen=True, slots=True)
class Summary:
    """What charts need of one series in one block, in steps of its scale."""

    series: int
    count: int
    least: int
    greatest: int
    last: int
    total: int


@dataclass(frozen=True, slots=True)
class Draft:
    """A block that has no place in the chain yet.

    Attributes:
        header: whole but for epoch, height, predecessor and seal seen.
        segments: their bytes, in the header's order.
        transitions: hashes of those that stand in it.
    """

    number: int
    header: Header
    segments: tuple[bytes, ...]
    summaries: tuple[Summary, ...]
    transitions: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class _Event:
    time: int
    kind: int
    body: bytes


class OpenBlock:
    """One block from its first record to its draft. One thread at a time calls it.

    Args:
        number: which block of the store this is.
        journal: empty; it is this block's until the block is stored. None where there is none to be had.
        classes: of each series, by index.

    Attributes:
        opening: what holds for all of it; None while nothing is recorded.
        readings: how many there are.
        latest: monotonic time of the latest record.
    """

    def __init__(self, number: int, journal: Feed | None, classes: Sequence[int]) -> None:
        self.number = number
        self.journal = journal
        self.opening: Opening | None = None
        self.readings = 0
        self.latest = 0
        self._classes = classes
        self._leaves: dict[int, list[tuple[int, int, int] | _Event]] = {0: [], 1: [], 2: []}
        self._bytes = 0

    @property
    def is_empty(self) -> bool:
        return self.opening is None

    @property
    def journaled(self) -> bool:
        """Whether the journal takes everything; False without one, or once it was full or failed."""
        return self.journal is not None and self.journal.is_whole

    def open(self, opening: Opening) -> None:
        """Begin, at the first thing to record."""
        self.opening = opening
        self._journal(opening.encode())

    def add_reading(self, series: int, mono: int, value: int) -> None:
        """Record one value of a series, taken at `mono`. Raises TooMuch."""
        time = mono - self._base
        record = cbor2.dumps((series, time, value))
        leaves = self._leaves[self._classes[series]]
        self._check_room(leaves, len(record))
        leaves.append((series, time, value))
        self.readings += 1
        self.latest = max(self.latest, mono)
        self._journal(record)

    def add_event(self, event: Event, mono: int, klass: int = PUBLIC) -> None:
        """Record an event; its offset is filled in when the block is sealed. Raises TooMuch."""
        self._add(_Event(mono - self._base, KINDS[type(event)], event.encode()), klass, b"")

    def add_transition(self, transition: bytes, mono: int, state: bytes) -> None:
        """Record a transition, with the contracts' state after it. Raises TooMuch."""
        self._add(_Event(mono - self._base, TRANSITION, transition), PUBLIC, state)

    def draft(self, genesis: bytes, gateway: bytes) -> Draft:
        """Return the block without its place in the chain. It must not be empty."""
        return _draft(self.number, cast(Opening, self.opening), self._leaves, genesis, gateway)

    @property
    def _base(self) -> int:
        assert self.opening is not None
        return self.opening.mono

    def _add(self, event: _Event, klass: int, state: bytes) -> None:
        leaves = self._leaves[klass]
        self._check_room(leaves, len(event.body) + 8)
        leaves.append(event)
        self.latest = max(self.latest, event.time + self._base)
        record = encode([klass, event.time, event.kind, event.body, state])
        if len(record) > MAX_RECORD_BYTES:  # then the transition's row alone holds the contracts' state
            record = encode([klass, event.time, event.kind, event.body, b""])
        self._journal(record)

    def _check_room(self, leaves: Sequence[object], size: int) -> None:
        if len(leaves) >= _MAX_LEAVES or self._bytes + size > MAX_BODY:
            raise TooMuch
        self._bytes += size

    def _journal(self, record: bytes) -> None:
        """Hand over to the journal; without one the block goes on in memory alone, as `journaled` says."""
        if self.journal is not None:
            self.journal.append(record)


def recover(
    records: Sequence[bytes], classes_of: Sequence[int] | None, genesis: bytes, gateway: bytes
) -> tuple[Draft, bytes, tuple[bytes, ...]] | None:
    """Return the draft of a block whose journal was found, the contracts' last state in it, and its transitions.

    Args:
        classes_of: of each series of the block's catalogue, by index; where it is not known any more, readings
            are taken for restricted, so that nothing is disclosed that should not be.

    Returns:
        None when nothing was recorded. The state is empty when there was no transition.

    Raises:
        FormatError: the records are not this program's.
    """
    if len(records) < 2:
        return None
    opening = Opening.decode(records[0])
    leaves: dict[int, list[tuple[int, int, int] | _Event]] = {0: [], 1: [], 2: []}
    state, transitions = b"", []
    for record in records[1:]:
        match decode(record):
            case [int(series), int(time), int(value)]:
                known = classes_of is not None and series < len(classes_of)
                leaves[classes_of[series] if known and classes_of else 2].append((series, time, value))
            case [int(klass), int(time), int(kind), bytes(body), bytes(after)] if klass in leaves:
                leaves[klass].append(_Event(time, kind, body))
                if kind == TRANSITION:
                    state = after
                    transitions.append(body)
            case _:
                raise FormatError(f"a journal record of {len(record)} bytes is of no known form")
    return _draft(opening.number, opening, leaves, genesis, gateway), state, tuple(transitions)


def _draft(
    number: int,
    opening: Opening,
    leaves: dict[int, list[tuple[int, int, int] | _Event]],
    genesis: bytes,
    gateway: bytes,
) -> Draft:
    times = [each[1] if isinstance(each, tuple) else each.time for part in leaves.values() for each in part]
    first, last = min(times), max(times)
    heads, segments = [], []
    for klass, part in leaves.items():
        if part:
            head, data = _segment(klass, [_leaf(each, first) for each in part])
            heads.append(head)
            segments.append(data)
    header = Header(
        genesis,
        gateway,
        1,
        1,
        NO_HASH,
        opening.boot,
        opening.wall + first,
        opening.mono + first,
        last - first,
        opening.clock,
        opening.catalogue,
        opening.contracts,
        NOTHING_SEEN,
        tuple(heads),
    )
    events = [each for each in leaves[PUBLIC] if isinstance(each, _Event)]
    hashes = tuple(transition_hash(each.body) for each in events if each.kind == TRANSITION)
    return Draft(number, header, tuple(segments), tuple(_summaries(leaves)), hashes)


def _leaf(each: tuple[int, int, int] | _Event, first: int) -> bytes:
    if isinstance(each, tuple):
        return reading_leaf(each[0], each[1] - first, each[2])
    if each.kind == TRANSITION:
        return transition_leaf(each.body)
    event = EVENTS[each.kind].decode(each.body)
    if not isinstance(event, Shedding):
        event = replace(event, offset=each.time - first)
    return event_leaf(event)


def _segment(klass: int, leaves: list[bytes]) -> tuple[SegmentHead, bytes]:
    secret = secrets.token_bytes(32) if klass else b""
    data = build_segment(klass, secret, leaves)
    root = root_of(leaf_hashes(secret, leaves))
    return SegmentHead(klass, len(leaves), root, segment_hash(data), 0), data


def _summaries(leaves: dict[int, list[tuple[int, int, int] | _Event]]) -> Iterator[Summary]:
    values: dict[int, list[int]] = {}
    for part in leaves.values():
        for each in part:
            if isinstance(each, tuple):
                values.setdefault(each[0], []).append(each[2])
    for series, of in sorted(values.items()):
        yield Summary(series, len(of), min(of), max(of), of[-1], sum(of))
