"""One spelling for every value: the decoder takes exactly what the encoder emits."""

from __future__ import annotations

import time
from contextlib import suppress

import cbor2
import pytest
from chain.record_strategies import items
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chain.canonical import INT_MAX, INT_MIN, MAX_DEPTH, MAX_MESSAGE, decode, encode
from gateway.chain.errors import ChainError, FormatError, NotCanonical, TooLarge, WrongShape


def nested(depth: int) -> bytes:
    return b"\x81" * (depth - 1) + b"\x80"


@settings(deadline=None)
@given(items())
def test_what_is_encoded_decodes_to_itself(item: object) -> None:
    assert decode(encode(item)) == item  # type: ignore[arg-type]


@settings(deadline=None)
@given(items())
def test_the_encoding_is_the_general_librarys_canonical_one(item: object) -> None:
    assert encode(item) == cbor2.dumps(item, canonical=True)  # type: ignore[arg-type]


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_are_refused_by_name_or_are_the_only_spelling_of_their_value(data: bytes) -> None:
    try:
        item = decode(data)
    except FormatError:
        return
    assert encode(item) == data


@settings(deadline=None)
@given(items(), st.data())
def test_a_changed_byte_is_refused_or_changes_the_value(item: object, data: st.DataObject) -> None:
    spelt = bytearray(encode(item))  # type: ignore[arg-type]
    at = data.draw(st.integers(0, len(spelt) - 1))
    spelt[at] ^= data.draw(st.integers(1, 255))
    try:
        other = decode(bytes(spelt))
    except FormatError:
        return
    assert other != item
    assert encode(other) == spelt


@settings(deadline=None)
@given(items(), st.binary(min_size=1, max_size=4))
def test_bytes_after_the_value_are_refused(item: object, rest: bytes) -> None:
    with pytest.raises(NotCanonical):
        decode(encode(item) + rest)  # type: ignore[arg-type]


@settings(deadline=None)
@given(items(), st.data())
def test_a_value_that_breaks_off_is_refused(item: object, data: st.DataObject) -> None:
    spelt = encode(item)  # type: ignore[arg-type]
    with pytest.raises(NotCanonical):
        decode(spelt[: data.draw(st.integers(0, len(spelt) - 1))])


@pytest.mark.parametrize(
    "spelling",
    [
        "1800", "1817", "190000", "1900ff", "1a00000000", "1a0000ffff", "1b0000000000000000", "1b00000000ffffffff",
        "3800", "3900ff", "3a0000ffff", "3b00000000ffffffff", "5800", "5801ff", "590001ff", "7800", "780161",
        "9800", "980100", "99000100", "9a0000000100", "5b0000000000000001ff",
    ],
)  # fmt: skip
def test_wide_integers_and_lengths_are_refused(spelling: str) -> None:
    with pytest.raises(NotCanonical):
        decode(bytes.fromhex(spelling))


@pytest.mark.parametrize(
    "spelling",
    [
        "a0", "a10000", "bf", "bfff", "c000", "c24101", "d81c00", "d9d9f700", "f4", "f5", "f6", "f7", "f800", "f818",
        "f97e00", "fa00000000", "fb0000000000000000", "ff", "1c", "1d", "1e", "1f", "3f", "5fff", "5f4100ff",
        "7fff", "9fff", "9f00ff", "5c", "9c", "",
    ],
)  # fmt: skip
def test_maps_tags_floats_simple_values_and_indefinite_lengths_are_refused(spelling: str) -> None:
    with pytest.raises(NotCanonical):
        decode(bytes.fromhex(spelling))


@pytest.mark.parametrize("spelling", ["1b8000000000000000", "1bffffffffffffffff", "3b8000000000000000"])
def test_integers_beyond_signed_64_bits_are_refused(spelling: str) -> None:
    with pytest.raises(NotCanonical):
        decode(bytes.fromhex(spelling))


@pytest.mark.parametrize("spelling", ["61ff", "62c080", "63eda080", "64f4908080", "62c328", "61c3"])
def test_texts_that_are_not_well_formed_utf8_are_refused(spelling: str) -> None:
    with pytest.raises(NotCanonical):
        decode(bytes.fromhex(spelling))


@pytest.mark.parametrize("text", ["\x00", "a\nb", "\x1f", "\x7f"])
def test_texts_with_control_characters_are_refused_both_ways(text: str) -> None:
    with pytest.raises(NotCanonical):
        decode(bytes((0x60 | len(text),)) + text.encode())
    with pytest.raises(WrongShape):
        encode(text)


@pytest.mark.parametrize("text", ["", "\u0080", "\ufeffa", "é", "e\u0301", "\U0001f525", "\u2028"])
def test_texts_are_not_normalised_and_lose_no_mark(text: str) -> None:
    assert decode(encode(text)) == text


@pytest.mark.parametrize(
    "item", [True, False, None, 1.0, {}, {1: 2}, {1}, bytearray(b""), object(), b"".join, "\ud800", [[True]]]
)
def test_values_that_have_no_spelling_are_refused(item: object) -> None:
    with pytest.raises(WrongShape):
        encode(item)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value",
    [INT_MAX + 1, INT_MIN - 1, 10**5000, -(10**5000)],
    ids=["above", "below", "far above", "far below"],
)
def test_integers_that_do_not_fit_are_refused_however_large(value: int) -> None:
    with pytest.raises(WrongShape):
        encode(value)


def test_a_list_within_itself_is_refused() -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(TooLarge):
        encode(loop)  # type: ignore[arg-type]


def test_nesting_is_bounded_alike_in_both_directions() -> None:
    item: list[object] = []
    for _ in range(MAX_DEPTH - 1):
        item = [item]
    assert encode(item) == nested(MAX_DEPTH)  # type: ignore[arg-type]
    assert decode(nested(MAX_DEPTH)) == item
    with pytest.raises(TooLarge):
        decode(nested(MAX_DEPTH + 1))
    with pytest.raises(TooLarge):
        encode([item])  # type: ignore[list-item]


def test_size_is_bounded_before_parsing() -> None:
    with pytest.raises(TooLarge):
        decode(b"\xff" * (MAX_MESSAGE + 1))


@pytest.mark.parametrize(
    "data",
    [
        b"\x81" * MAX_MESSAGE,
        b"\x9b" + b"\x7f" + b"\xff" * 7 + b"\x00" * 1000,
        b"\x9b" + b"\xff" * 8,
        b"\x5b" + b"\xff" * 8,
        b"\x7b\x7f" + b"\xff" * 7,
        b"\x9a\x00\x01\xff\xfa" + b"\x9a\x00\x01\xff\xf0" * 2000,
        b"\x9a\x00\x01\xff\xfb" + b"\x00" * (MAX_MESSAGE - 6),
        b"\x9a\x00\x01\xff\xfb" + b"\x80" * (MAX_MESSAGE - 5),
        b"\x7a\x00\x01\xff\xfb" + b"\xc3\xa9" * ((MAX_MESSAGE - 5) // 2) + b"\xc3",
    ],
    ids=["deep", "huge count", "overflowing count", "overflowing string", "huge text", "counts of counts",
         "many integers", "many arrays", "long text"],
)  # fmt: skip
def test_hostile_counts_depths_and_lengths_cost_little(data: bytes) -> None:
    began = time.perf_counter()
    with suppress(ChainError):
        assert encode(decode(data)) == data
    assert time.perf_counter() - began < 5
