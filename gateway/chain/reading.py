"""Readings and the segments that hold them.

A leaf is one reading, or one event, of a block. A reading is [series, offset, value]: the series' index in the
catalogue, milliseconds after the header's first reading, and a scaled integer. An event is [kind, body]. A
segment is [secret, leaves]; its leaves share one class. In the upper two classes a leaf is hashed with a salt
derived from the segment's secret, so a proof for one leaf discloses and lets guess nothing of the others.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Final

import cbor2

from gateway.chain.alarm import MAX_TRANSITION, Transition
from gateway.chain.canonical import decode, decode_at, encode
from gateway.chain.errors import NotCanonical, TooLarge, WrongShape
from gateway.chain.events import EVENTS, KINDS, MAX_SERIES, TRANSITION, Event, OfSeries
from gateway.chain.keys import SALT, SEGMENT, digest
from gateway.chain.record import (
    Label,
    Many,
    Millis,
    Name,
    Octets,
    Range,
    Record,
    Text,
    UInt,
)
from gateway.chain.trees import leaf_hash, root_of

PUBLIC: Final = 0
INTERNAL: Final = 1
RESTRICTED: Final = 2
Class = Annotated[int, Range(PUBLIC, RESTRICTED)]

MAX_LEAVES: Final = 4096
MAX_SEGMENT: Final = 120 * 1024


# One reading in its only spelling: an array of two unsigned integers and one of either sign, each shortest.
_UINT = rb"(?:[\x00-\x17]|\x18[\x18-\xff]|\x19(?!\x00)[\x00-\xff]{2}|\x1a(?!\x00\x00)[\x00-\xff]{4})"
_WIDE = rb"|\x1b(?!\x00{4})[\x00-\x7f][\x00-\xff]{7}"
_NINT = rb"[\x20-\x37]|\x38[\x18-\xff]|\x39(?!\x00)[\x00-\xff]{2}|\x3a(?!\x00\x00)[\x00-\xff]{4}"
_NWIDE = rb"|\x3b(?!\x00{4})[\x00-\x7f][\x00-\xff]{7}"
_READING = re.compile(rb"\x83" + _UINT + _UINT + rb"(?:" + _UINT + _WIDE + rb"|" + _NINT + _NWIDE + rb")")


@dataclass(frozen=True, slots=True)
class Series(Record):
    """One entry of the catalogue. A value v of this series means v · 10^scale `unit`.

    `index` is the entry's place in the catalogue, so that a proof of membership is a proof of place.
    Its sensor is sampled every `period` ms (0: a value comes when it comes). `dead_band` and `longest` are the
    policy of report by exception: a value within the dead band of the last one kept is not kept until `longest`
    ms have gone by (0: every value is kept), but for `ring` ms before and after each transition all are.
    `calibration` is the canonical record that turned the sensor's raw value into this one, empty for a raw series.
    """

    index: Annotated[int, Range(0, MAX_SERIES - 1)]
    name: Annotated[str, Text(96, r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")]
    quantity: Name
    unit: Annotated[str, Text(24)]
    scale: Annotated[int, Range(-18, 18)]
    klass: Class
    dead_band: UInt
    longest: Millis
    period: Millis
    ring: Millis
    sensor: Label
    calibration: Annotated[bytes, Octets(0, 8192)]

    def check(self, where: str) -> None:
        if not self.longest and (self.dead_band or self.ring):
            raise WrongShape(f"{where}: a series that keeps every value has neither dead band nor ring")


Catalogue = Annotated[tuple[Series, ...], Many(0, MAX_SERIES)]


def reading_leaf(series: int, offset: int, value: int) -> bytes:
    """Return the leaf bytes of one reading. The caller vouches for the ranges; `parse_leaf` checks them."""
    return cbor2.dumps((series, offset, value))


def transition_leaf(transition: bytes) -> bytes:
    """Return the leaf bytes of a contract's transition."""
    return encode([TRANSITION, transition])


def event_leaf(event: Event) -> bytes:
    """Return the leaf bytes of any other event."""
    return encode([KINDS[type(event)], event.to_item()])


def parse_leaf(leaf: bytes) -> tuple[int, int, int] | bytes | Event:
    """Return what a leaf holds: (series, offset, value), a transition's bytes, or an event.

    Raises FormatError.
    """
    if _READING.fullmatch(leaf):
        series, offset, value = cbor2.loads(leaf)
        if series >= MAX_SERIES:
            raise WrongShape(f"a reading names series {series}, at most {MAX_SERIES - 1} exist")
        return series, offset, value
    item = decode(leaf, max_size=MAX_SEGMENT)
    if type(item) is not list or len(item) != 2:
        raise WrongShape("a leaf is a reading of three integers or an event of two parts")
    kind, body = item
    if kind == TRANSITION and type(body) is bytes:
        Transition.decode(body, max_size=MAX_TRANSITION)
        return body
    if type(kind) is not int or kind not in EVENTS:
        raise WrongShape(f"{kind!r} is no kind of event")
    return EVENTS[kind].from_item(body)


def check_class(leaf: tuple[int, int, int] | bytes | Event, klass: int) -> None:
    """Check that what is of no one series, which everyone must see, stands in the public class. Raises WrongShape."""
    if not isinstance(leaf, tuple | OfSeries) and klass != PUBLIC:
        raise WrongShape(f"a leaf that belongs in the public segment stands in one of class {klass}")


def salted(secret: bytes, index: int, leaf: bytes) -> bytes:
    """Return what is hashed for leaf `index`: the leaf alone where the secret is empty, else salt ‖ leaf."""
    return salt(secret, index) + leaf if secret else leaf


def salt(secret: bytes, index: int) -> bytes:
    """Return the salt of one leaf (16 bytes): it may be shown with the leaf, the secret may not."""
    message = SALT.encode("ascii") + b"\x00" + index.to_bytes(8, "big")
    return hmac.digest(secret, message, "sha256")[:16]


@dataclass(frozen=True, slots=True)
class Segment:
    """An opened segment: its leaves as bytes, in order, and its readings as columns.

    `series`, `offsets` and `values` are parallel, one item a reading; `events` are (leaf index, leaf bytes).
    """

    secret: bytes
    leaves: Sequence[bytes]
    series: Sequence[int]
    offsets: Sequence[int]
    values: Sequence[int]
    events: Sequence[tuple[int, bytes]]

    @property
    def root(self) -> bytes:
        """The RFC 6962 root over the leaves, salted where the class asks for it."""
        return root_of(leaf_hashes(self.secret, self.leaves))


def leaf_hashes(secret: bytes, leaves: Sequence[bytes]) -> list[bytes]:
    """Return the leaf hashes of a segment, in order."""
    if not secret:
        return [sha256(b"\x00" + leaf).digest() for leaf in leaves]
    return [leaf_hash(salted(secret, index, leaf)) for index, leaf in enumerate(leaves)]


def build_segment(klass: int, secret: bytes, leaves: Sequence[bytes]) -> bytes:
    """Return a segment's bytes. The secret is 32 fresh random bytes, or empty in the public class."""
    if len(secret) != (32 if klass else 0):
        raise WrongShape("a public segment has no secret, any other has one of 32 bytes")
    if not 0 < len(leaves) <= MAX_LEAVES:
        raise TooLarge(f"a segment holds 1 to {MAX_LEAVES} leaves, not {len(leaves)}")
    data = b"\x82" + encode(secret) + _array_head(len(leaves)) + b"".join(leaves)
    if len(data) > MAX_SEGMENT:
        raise TooLarge(f"a segment of {len(data)} bytes, at most {MAX_SEGMENT} are allowed")
    return data


def segment_hash(data: bytes) -> bytes:
    """Return the hash of a segment's bytes as stored (32 bytes)."""
    return digest(SEGMENT, data)


def open_segment(klass: int, data: bytes) -> Segment:
    """Take a clear segment apart, strictly. Raises FormatError for any byte that the encoder would not emit.

    Readings are matched in place by one pattern of their only spelling and decoded in one call: a hub opens
    every segment it stores, so this is its hot path.
    """
    if len(data) > MAX_SEGMENT:
        raise TooLarge(f"a segment of {len(data)} bytes, at most {MAX_SEGMENT} are allowed")
    head = b"\x82\x58\x20" if klass else b"\x82\x40"
    if not data.startswith(head):
        raise NotCanonical("a segment starts with an array of two and its class's secret")
    at = len(head) + (32 if klass else 0)
    secret = data[len(head) : at]
    count, at = _read_array_head(data, at)
    leaves = _READING.findall(data, at)
    if len(leaves) == count and sum(map(len, leaves)) == len(data) - at:
        return _columns(secret, leaves, [])
    return _open_mixed(klass, secret, count, list(_split_leaves(data, at)))


def _columns(secret: bytes, leaves: Sequence[bytes], events: Sequence[tuple[int, bytes]]) -> Segment:
    taken = {index for index, _ in events}
    readings = leaves if not taken else [leaf for i, leaf in enumerate(leaves) if i not in taken]
    if not readings:
        return Segment(secret, leaves, (), (), (), events)
    # As one flat array: a list for each reading would cost as much again, and wake the garbage collector.
    flat = cbor2.loads(_array_head(3 * len(readings)) + b"".join([leaf[1:] for leaf in readings]))
    series, offsets, values = tuple(flat[0::3]), tuple(flat[1::3]), tuple(flat[2::3])
    if max(series) >= MAX_SERIES:
        raise WrongShape(f"a reading names series {max(series)}, at most {MAX_SERIES - 1} exist")
    return Segment(secret, leaves, series, offsets, values, events)


def _open_mixed(klass: int, secret: bytes, count: int, leaves: Sequence[bytes]) -> Segment:
    if len(leaves) != count:
        raise NotCanonical(f"a segment of {count} leaves holds {len(leaves)}")
    events = []
    for index, leaf in enumerate(leaves):
        if not _READING.fullmatch(leaf):
            check_class(parse_leaf(leaf), klass)
            events.append((index, leaf))
    return _columns(secret, leaves, events)


def _split_leaves(data: bytes, at: int) -> Iterator[bytes]:
    while at < len(data):
        match = _READING.match(data, at)
        end = match.end() if match else decode_at(data, at)[1]
        yield data[at:end]
        at = end


def _array_head(count: int) -> bytes:
    """Return the first bytes of an array of `count` items (fewer than 65,536)."""
    if count < 24:
        return bytes((0x80 | count,))
    return b"\x98" + bytes((count,)) if count < 256 else b"\x99" + count.to_bytes(2, "big")


def _read_array_head(data: bytes, at: int) -> tuple[int, int]:
    first, wide = data[at : at + 1], {b"\x98": 1, b"\x99": 2}
    size = wide.get(first, 0)
    count = int.from_bytes(data[at + 1 : at + 1 + size], "big") if size else (first or b"\0")[0] & 0x1F
    end = at + 1 + size
    if not 0 < count <= MAX_LEAVES or data[at:end] != _array_head(count):
        raise NotCanonical(f"a segment holds an array of 1 to {MAX_LEAVES} leaves")
    return count, end
