"""Leaves and segments: the fast path by pattern takes exactly what the strict decoder takes, and no more."""

from __future__ import annotations

import hmac
import random
import time
from hashlib import sha256

import pytest
from chain import examples
from chain.record_strategies import integers, records
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chain import reading
from gateway.chain.canonical import decode, encode
from gateway.chain.errors import ChainError, FormatError
from gateway.chain.events import MAX_OFFSET, MAX_SERIES, ClockStep, Outcome, Shedding, Status
from gateway.chain.reading import (
    MAX_LEAVES,
    MAX_SEGMENT,
    Segment,
    build_segment,
    event_leaf,
    open_segment,
    parse_leaf,
    reading_leaf,
    salt,
    salted,
    transition_leaf,
)
from gateway.chain.trees import leaf_hash, root_of

SECRET = bytes(range(32))
MOVED = examples.transition(examples.genesis().hash).encode()
SERIES, OFFSETS, VALUES = integers(0, MAX_SERIES - 1), integers(0, MAX_OFFSET), integers()
READINGS = st.builds(reading_leaf, SERIES, OFFSETS, VALUES)
EVENTS = st.one_of(*(records(each) for each in (Status, Shedding, ClockStep, Outcome))).map(event_leaf)
LEAVES = st.one_of(READINGS, READINGS, READINGS, EVENTS, st.just(transition_leaf(MOVED)))


def naive_leaf(leaf: bytes) -> bool:
    """Whether bytes are one leaf, by the strict decoder and the page's table alone."""
    try:
        item = decode(leaf)
    except FormatError:
        return False
    if not isinstance(item, list):
        return False
    if len(item) == 3:
        s, o, v = item
        return (
            type(s) is int
            and type(o) is int
            and type(v) is int
            and 0 <= s < MAX_SERIES
            and 0 <= o <= MAX_OFFSET
        )
    try:
        parse_leaf(leaf)
    except FormatError:
        return False
    return len(item) == 2


def raw_segment(leaves: list[bytes], klass: int = 0) -> bytes:
    head = b"\x82\x58\x20" + SECRET if klass else b"\x82\x40"
    return head + encode([0] * len(leaves))[: -len(leaves)] + b"".join(leaves)


def parsed(leaf: bytes) -> object:
    try:
        return parse_leaf(leaf)
    except FormatError:
        return None


def opened(data: bytes, klass: int = 0) -> Segment | None:
    try:
        return open_segment(klass, data)
    except FormatError:
        return None


@settings(deadline=None)
@given(SERIES, OFFSETS, VALUES)
def test_a_reading_is_parsed_to_itself(series: int, offset: int, value: int) -> None:
    leaf = reading_leaf(series, offset, value)
    assert leaf == encode([series, offset, value])
    assert parse_leaf(leaf) == (series, offset, value)
    segment = open_segment(0, raw_segment([leaf]))
    assert (segment.series, segment.offsets, segment.values) == ((series,), (offset,), (value,))


@settings(deadline=None)
@given(st.integers(0, 1 << 64), st.integers(0, 1 << 64), st.integers(-(1 << 65), 1 << 65))
def test_the_pattern_takes_a_reading_iff_the_strict_decoder_does(
    series: int, offset: int, value: int
) -> None:
    leaf = b"\x83" + b"".join(_shortest(each) for each in (series, offset, value))
    assert (parsed(leaf) is not None) == naive_leaf(leaf)
    assert (opened(raw_segment([leaf])) is not None) == naive_leaf(leaf)


def _shortest(value: int) -> bytes:
    """An integer's shortest head, of 64 unsigned bits either way where it is wider."""
    major, value = (0, value) if value >= 0 else (0x20, -1 - value)
    value &= (1 << 64) - 1
    if value < 24:
        return bytes((major | value,))
    wide = next(i for i in range(4) if value < 1 << (8 << i))
    return bytes((major | 24 + wide,)) + value.to_bytes(1 << wide, "big")


def test_every_head_byte_is_judged_alike_by_pattern_and_decoder() -> None:
    """All first bytes in every place of a reading, behind each an argument at either side of its least value."""
    tails = [b"", b"\x00", b"\x17", b"\x18", b"\xff", b"\x00\xff", b"\x01\x00", b"\x00\x00\xff\xff",
             b"\x00\x01\x00\x00", bytes(4) + b"\xff" * 4, bytes(3) + b"\x01" + bytes(4), b"\x7f" + b"\xff" * 7,
             b"\x80" + bytes(7)]  # fmt: skip
    for place in range(3):
        for head in range(256):
            for tail in tails:
                parts = [b"\x00", b"\x00", b"\x00"]
                parts[place] = bytes((head,)) + tail
                leaf = b"\x83" + b"".join(parts)
                expected = naive_leaf(leaf)
                assert (parsed(leaf) is not None) == expected, leaf.hex()
                assert (opened(raw_segment([leaf])) is not None) == expected, leaf.hex()


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([b"\x83", b"\x82", b"\x00", b"\x18\x18", b"\x20", b"\x40", b"\x60", b"\x80", b"\x01",
                                 b"\x84", b"\x19\x01\x00", b"\x1a\x00\x01\x00\x00", b"\x61a", b"\x1b"]), max_size=14),
       st.integers(1, 4))  # fmt: skip
def test_any_bytes_open_only_as_the_leaves_they_are(parts: list[bytes], count: int) -> None:
    body = b"".join(parts)
    segment = opened(b"\x82\x40" + bytes((0x80 | count,)) + body)
    try:
        item = decode(b"\x82\x40" + bytes((0x80 | count,)) + body)
        assert isinstance(item, list)
        leaves = [encode(each) for each in item[1]]  # type: ignore[union-attr]
    except FormatError:
        leaves = []
    assert (segment is not None) == (bool(leaves) and all(map(naive_leaf, leaves)))
    if segment:
        assert list(segment.leaves) == leaves


@settings(deadline=None)
@given(st.lists(LEAVES, min_size=1, max_size=40))
def test_a_public_segment_opens_to_the_leaves_it_was_built_of(leaves: list[bytes]) -> None:
    data = build_segment(0, b"", leaves)
    segment = open_segment(0, data)
    assert list(segment.leaves) == leaves
    found = [parse_leaf(leaf) for leaf in leaves]
    readings = [each for each in found if isinstance(each, tuple)]
    assert list(zip(segment.series, segment.offsets, segment.values, strict=True)) == readings
    assert [i for i, _ in segment.events] == [
        i for i, each in enumerate(found) if not isinstance(each, tuple)
    ]
    assert segment.root == root_of([leaf_hash(leaf) for leaf in leaves])
    item = decode(data)
    assert item == [b"", [decode(leaf) for leaf in leaves]]
    assert encode(item) == data


@settings(deadline=None)
@given(st.lists(READINGS, min_size=1, max_size=30), st.sampled_from([1, 2]))
def test_a_closed_class_is_salted_leaf_by_leaf(leaves: list[bytes], klass: int) -> None:
    segment = open_segment(klass, build_segment(klass, SECRET, leaves))
    expected = [
        hmac.new(SECRET, b"tocsin/salt/v1\x00" + i.to_bytes(8, "big"), sha256).digest()[:16]
        for i in range(len(leaves))
    ]
    assert [salt(SECRET, i) for i in range(len(leaves))] == expected
    assert segment.root == root_of(
        [sha256(b"\x00" + s + leaf).digest() for s, leaf in zip(expected, leaves, strict=True)]
    )
    assert len({salted(SECRET, i, b"") for i in range(len(leaves))}) == len(leaves)


@settings(max_examples=200, deadline=None)
@given(st.lists(LEAVES, min_size=1, max_size=6), st.data())
def test_a_changed_byte_of_a_segment_is_refused_by_name_or_changes_its_leaves(
    leaves: list[bytes], data: st.DataObject
) -> None:
    spelt = bytearray(raw_segment(leaves))
    spelt[data.draw(st.integers(0, len(spelt) - 1))] ^= data.draw(st.integers(1, 255))
    segment = opened(bytes(spelt))
    assert segment is None or list(segment.leaves) != leaves
    if segment:
        assert raw_segment(list(segment.leaves)) == spelt


def test_random_bytes_never_end_in_another_error_than_the_formats() -> None:
    source = random.Random(7)
    for _ in range(3000):
        leaves = [b"\x83\x00\x01\x02"] * source.randrange(3)
        body = (
            b"".join(leaves) + source.choice([b"\x83", b"\x82", b""]) + source.randbytes(source.randrange(12))
        )
        opened(b"\x82\x40" + bytes((0x80 | source.randrange(1, 6),)) + body)


@pytest.mark.parametrize(
    "leaf",
    ["83404040", "83808080", "83606060", "8300006161", "83002000", "83200000", "83000040", "83000080",
     "83001b000000010000000000", "831b00000001000000000000", "8319010000000", "8384000000000000"],
)  # fmt: skip
def test_three_items_that_are_no_reading_are_refused_among_readings_too(leaf: str) -> None:
    bad = bytes.fromhex(leaf.ljust(len(leaf) + len(leaf) % 2, "0"))
    good = reading_leaf(0, 0, 0)
    for leaves in ([bad], [good, bad], [bad, good], [transition_leaf(MOVED), bad]):
        with pytest.raises(FormatError):
            open_segment(0, raw_segment(leaves))


@pytest.mark.parametrize(
    "head",
    [
        "80",
        "9800",
        "9817",
        "990001",
        "9900ff",
        "9a00000001",
        "9b0000000000000001",
        "9f",
        "991001",
        "81",
        "01",
        "",
    ],
)
def test_another_spelling_of_the_number_of_leaves_is_refused(head: str) -> None:
    with pytest.raises(FormatError):
        open_segment(0, b"\x82\x40" + bytes.fromhex(head) + reading_leaf(0, 0, 0) * 2)


@pytest.mark.parametrize("start", ["", "82", "8240", "825820", "8340", "82580040", "825900205820"])
def test_a_segment_that_breaks_off_is_refused(start: str) -> None:
    for klass in (0, 1, 2):
        with pytest.raises(FormatError):
            open_segment(klass, bytes.fromhex(start))


def test_a_segment_opens_under_no_other_class() -> None:
    leaves = [reading_leaf(0, 0, 0)]
    with pytest.raises(FormatError):
        open_segment(1, build_segment(0, b"", leaves))
    with pytest.raises(FormatError):
        open_segment(0, build_segment(1, SECRET, leaves))


@pytest.mark.parametrize(("klass", "secret"), [(0, SECRET), (1, b""), (2, bytes(31)), (1, bytes(33))])
def test_a_secret_out_of_place_is_not_built(klass: int, secret: bytes) -> None:
    with pytest.raises(FormatError):
        build_segment(klass, secret, [reading_leaf(0, 0, 0)])


def test_the_most_leaves_and_bytes_are_taken_and_one_more_is_not() -> None:
    leaf = reading_leaf(0, 0, 0)
    assert len(open_segment(0, build_segment(0, b"", [leaf] * MAX_LEAVES)).leaves) == MAX_LEAVES
    with pytest.raises(FormatError):
        build_segment(0, b"", [leaf] * (MAX_LEAVES + 1))
    with pytest.raises(FormatError):
        build_segment(0, b"", [])
    wide = reading_leaf(255, MAX_OFFSET, -(1 << 63))
    with pytest.raises(FormatError):
        open_segment(0, raw_segment([wide] * 4096 + [wide] * (MAX_SEGMENT // len(wide) - 4096)))
    with pytest.raises(FormatError):
        open_segment(0, raw_segment([transition_leaf(bytes(4096))] * 31))


@pytest.mark.parametrize(
    "body",
    [
        b"\x00" * (MAX_SEGMENT - 5),
        b"\x83" * (MAX_SEGMENT - 5),
        b"\x83\x00\x00" * ((MAX_SEGMENT - 5) // 3),
        b"\x83\x1b\x00\x00\x00\x00" * ((MAX_SEGMENT - 5) // 6),
        b"\x82\x01\x40" * ((MAX_SEGMENT - 5) // 3),
        b"\x83\x00\x00\x00" * ((MAX_SEGMENT - 5) // 4),
        b"\x99\x0f\xff" + b"\x98\xff" * 60000,
    ],
    ids=["integers", "opened arrays", "cut readings", "cut wide", "empty events", "readings", "arrays"],
)
@pytest.mark.parametrize("count", [b"\x81", b"\x99\x10\x00"])
def test_hostile_segments_cost_little(body: bytes, count: bytes) -> None:
    began = time.perf_counter()
    for klass in (0, 1):
        try:
            open_segment(klass, raw_segment([], klass)[:-1] + count + body if klass == 0 else body)
        except ChainError:
            continue
    assert time.perf_counter() - began < 5


def test_the_pattern_has_no_group_and_matches_at_one_length_only() -> None:
    """findall gives whole matches only without groups; a reading's bytes decide its length alone."""
    assert reading._READING.groups == 0
    for tail in (b"", b"\x00", b"\x83\x00\x00\x00", b"\xff" * 9):
        leaf = reading_leaf(200, 70_000, -70_000)
        found = reading._READING.match(leaf + tail)
        assert found
        assert found.end() == len(leaf)
