"""Records of every type: what is encoded decodes to itself, and everything beside the shape is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from chain.record_strategies import items, of_codec, record_types, records
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.chain.canonical import decode, encode
from gateway.chain.errors import ChainError, FormatError, TooLarge, UnsupportedSuite, WrongShape
from gateway.chain.genesis import Authority, Genesis
from gateway.chain.keys import Signed
from gateway.chain.ordered import (
    KINDS,
    MAX_TRANSACTION,
    Grant,
    Headers,
    decode_transaction,
    encode_transaction,
)
from gateway.chain.record import Many, Maybe, Nested, Octets, Range, Record, Text, shape

TYPES = record_types()
NAME = "[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?"
each_type = pytest.mark.parametrize("record", TYPES, ids=lambda each: each.__name__)


def drawn(data: st.DataObject, record: type[Record]) -> tuple[Any, bytes]:
    value = data.draw(records(record))
    return value, value.encode()


@each_type
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_a_record_decodes_to_itself_and_to_the_same_bytes(record: type[Record], data: st.DataObject) -> None:
    value, spelt = drawn(data, record)
    assert record.decode(spelt) == value
    assert record.decode(spelt).encode() == spelt
    assert hash(record.decode(spelt)) == hash(value)


@each_type
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_a_record_with_a_field_less_more_or_of_another_kind_is_refused(
    record: type[Record], data: st.DataObject
) -> None:
    value, _ = drawn(data, record)
    item = value.to_item()
    at = data.draw(st.integers(0, len(item) - 1))
    wrong = data.draw(items().filter(lambda each: type(each) is not type(item[at])))
    for bad in (item[:-1], [*item, 0], [*item[:at], wrong, *item[at + 1 :]]):
        with pytest.raises(FormatError):
            record.decode(encode(bad))


@each_type
@settings(max_examples=8, deadline=None)
@given(item=items())
def test_any_item_is_a_record_or_refused_as_a_format_error(record: type[Record], item: Any) -> None:
    try:
        found = record.from_item(item)
    except FormatError:
        return
    assert found.encode() == encode(item)


@each_type
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_a_changed_byte_is_refused_by_name_or_is_another_record(
    record: type[Record], data: st.DataObject
) -> None:
    value, spelt = drawn(data, record)
    at = data.draw(st.integers(0, len(spelt) - 1))
    altered = bytes([*spelt[:at], spelt[at] ^ data.draw(st.integers(1, 255)), *spelt[at + 1 :]])
    try:
        other = record.decode(altered)
    except (FormatError, UnsupportedSuite):
        return
    assert other != value
    assert other.encode() == altered


def bounds(codec: Any) -> list[Any]:
    """Items just outside a codec's bounds."""
    match codec:
        case Range(low, high):
            return [low - 1, high + 1, True, False, "0", b"\0", []]
        case Octets(low, high):
            return [bytes(high + 1), "", 0, bytearray(low), *([bytes(low - 1)] if low else [])]
        case Text(limit, pattern):
            over = ["a" * (limit + 1), b"a", 0, "\u00e9" * (limit // 2 + 1)]
            return over + (["a\n", "\na", "A", "", "-a", "a-", "\u0661", "a b", "a\u0130"] if pattern else [])
        case Many(low, high, _):
            return ["", 0, {}, *([[]] if low else []), [None] * (high + 1)]
        case Maybe() | Nested():
            return [0, "", b"", [0]]
    raise AssertionError(codec)


@each_type
def test_values_just_outside_their_bounds_are_refused(record: type[Record]) -> None:
    for name, codec in shape(record):
        for item in bounds(codec):
            with pytest.raises(FormatError, match=name):
                codec.load(item, name)


@each_type
@settings(max_examples=2, deadline=None)
@given(data=st.data())
def test_a_field_out_of_its_range_cannot_be_encoded(record: type[Record], data: st.DataObject) -> None:
    value, _ = drawn(data, record)
    for name, codec in shape(record):
        if isinstance(codec, Range):
            for wrong in (codec.low - 1, codec.high + 1, True):
                fields = {each: getattr(value, each) for each, _ in shape(record)} | {name: wrong}
                with pytest.raises(FormatError):
                    record(**fields).encode()


def test_a_name_ends_where_its_text_ends() -> None:
    """No newline slips in behind the pattern, and no digit of another script."""
    for name in ("hub\n", "hub\r\n", "hu\u0662", "\u24d7ub", "hub.", ".hub", "Hub", ""):
        with pytest.raises(FormatError):
            Authority.from_item([name, 1, bytes(32)])
    assert Authority.from_item(["a.b_c-9", 1, bytes(32)]).name == "a.b_c-9"


def test_a_text_is_measured_in_bytes_not_characters() -> None:
    codec = Text(4)
    assert codec.load("\u00e9\u00e9", "t") == "\u00e9\u00e9"
    with pytest.raises(TooLarge):
        codec.load("\u00e9\u00e9a", "t")


def test_a_long_name_is_matched_in_no_more_than_linear_time() -> None:
    text = "a" * 130_000 + "!"
    with pytest.raises(WrongShape):
        Text(200_000, NAME).load(text, "name")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_transaction_decodes_to_itself_under_its_own_kind_alone(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(KINDS)))
    value, _ = drawn(data, KINDS[kind])
    spelt = encode_transaction(value)
    assert decode_transaction(spelt) == value
    assert encode_transaction(decode_transaction(spelt)) == spelt
    item = decode(spelt)
    assert isinstance(item, list)
    assert item[0] == kind
    for other in (0, 12, 17, -1, "1", b"\1", []):
        with pytest.raises(FormatError):
            decode_transaction(encode([other, *item[1:]]))
    for bad in ([], [kind], kind, [item], [*item, 0]):
        with pytest.raises(FormatError):
            decode_transaction(encode(bad))  # type: ignore[arg-type]


def test_transactions_of_one_shape_are_kept_apart_by_their_kind() -> None:
    """A revocation and a grant are both one signed body: the kind, and the domain below it, tell them apart."""
    signed = Signed(1, b"body", bytes(64))
    spelt = encode_transaction(Grant(signed))
    assert decode_transaction(spelt) == Grant(signed)
    assert decode_transaction(b"\x82\x06" + spelt[2:]) != Grant(signed)


def test_a_transaction_over_its_limit_is_refused_before_parsing() -> None:
    with pytest.raises(TooLarge):
        decode_transaction(b"\xff" * (MAX_TRANSACTION + 1))
    with pytest.raises(FormatError):
        Headers.from_item([[]])


def test_no_record_is_mistaken_for_another_inside_an_optional_field() -> None:
    """The empty array is what `X or []` uses for nothing, so no record may be empty itself."""
    assert all(shape(record) for record in TYPES)


def test_an_optional_record_is_nothing_only_as_the_empty_array() -> None:
    codec = Maybe(Authority)
    assert codec.load([], "a") is None
    for item in ("", b"", 0, [[]], [0]):
        with pytest.raises(WrongShape):
            codec.load(item, "a")


def test_the_genesis_of_a_field_too_many_is_not_of_this_version() -> None:
    codecs = dict(shape(Genesis))
    assert codecs["version"] == Range(1, 1)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_what_the_codecs_admit_is_what_they_give_back(data: st.DataObject) -> None:
    record = data.draw(st.sampled_from(TYPES))
    name, codec = data.draw(st.sampled_from(shape(record)))
    value = data.draw(of_codec(codec))
    try:
        item = codec.dump(value)
        assert codec.load(item, name) == value
    except ChainError:
        assume(False)
