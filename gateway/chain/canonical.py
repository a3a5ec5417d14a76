"""One spelling for every value: the subset of deterministic CBOR that the format uses.

An item is an integer of 64 bits, a byte string, a text string or an array of items: no maps, floats,
booleans, null, tags or indefinite lengths. `decode` accepts exactly what `encode` emits, so equal bytes and
equal items are the same thing. The decoder is our own because a general one interprets tags and accepts
several spellings; it never allocates more than its input is long.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import cbor2

from gateway.chain.errors import NotCanonical, TooLarge, WrongShape

Item: TypeAlias = "int | bytes | str | Sequence[Item]"

INT_MIN = -(1 << 63)
INT_MAX = (1 << 63) - 1
MAX_MESSAGE = 128 * 1024
MAX_DEPTH = 12

_MINIMUM = {24: 24, 25: 1 << 8, 26: 1 << 16, 27: 1 << 32}  # least value of each wide argument


def encode(item: Item) -> bytes:
    """Return the bytes of an item. WrongShape names a type or value that has none."""
    _check(item, 1)
    return cbor2.dumps(item)


def decode(data: bytes, *, max_size: int = MAX_MESSAGE, max_depth: int = MAX_DEPTH) -> Item:
    """Return the item whose only spelling `data` is. Arrays come as lists.

    Raises TooLarge over `max_size` bytes or `max_depth` nested arrays, NotCanonical for any other spelling.
    """
    if len(data) > max_size:
        raise TooLarge(f"{len(data)} bytes, at most {max_size} are allowed here")
    item, end = decode_at(data, 0, max_depth)
    if end != len(data):
        raise NotCanonical(f"{len(data) - end} bytes follow the value")
    return item


def is_text(value: str) -> bool:
    """Whether a text may be signed: no control characters (U+0000..U+001F, U+007F), no surrogates."""
    return not any(char < " " or char == "\x7f" or "\ud800" <= char <= "\udfff" for char in value)


def _check(item: object, depth: int) -> None:
    kind = type(item)
    if kind is int:
        if not INT_MIN <= item <= INT_MAX:  # type: ignore[operator]
            raise WrongShape("an integer does not fit 64 bits")
    elif kind is str:
        if not is_text(item):  # type: ignore[arg-type]
            raise WrongShape("a text holds a control character or a surrogate")
    elif kind is list or kind is tuple:
        if depth > MAX_DEPTH:
            raise TooLarge(f"arrays are nested deeper than {MAX_DEPTH}")
        for part in item:  # type: ignore[attr-defined]
            _check(part, depth + 1)
    elif kind is not bytes:
        raise WrongShape(f"a {kind.__name__} has no place in signed data")


def decode_at(data: bytes, at: int, depth: int = MAX_DEPTH) -> tuple[Item, int]:
    """Return the item that starts at byte `at` and where it ends; what follows is the caller's. Raises as `decode`."""
    major, value, at = _head(data, at)
    if major == 0:
        return value, at
    if major == 1:
        return -1 - value, at
    if major == 4:
        return _array(data, at, value, depth)
    end = at + value
    if end > len(data):
        raise NotCanonical(f"a string of {value} bytes at byte {at} runs over the end")
    raw = data[at:end]
    if major == 2:
        return raw, end
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotCanonical(f"the text at byte {at} is not UTF-8") from error
    if not is_text(text):
        raise NotCanonical(f"the text at byte {at} holds a control character")
    return text, end


def _array(data: bytes, at: int, count: int, depth: int) -> tuple[Item, int]:
    if depth == 0:
        raise TooLarge(f"arrays are nested too deep at byte {at}")
    if count > len(data) - at:
        raise NotCanonical(f"an array of {count} items at byte {at} runs over the end")
    items: list[Item] = []
    item: Item
    for _ in range(count):
        first = data[at] if at < len(data) else 0xFF
        if first < 24:  # a small integer, or a short string or hash: most of what a header is made of
            item, at = first, at + 1
        elif 0x40 <= first < 0x58 and at + (first & 31) < len(data):
            item, at = data[at + 1 : at + 1 + (first & 31)], at + 1 + (first & 31)
        elif data.startswith(b"\x58\x20", at) and at + 34 <= len(data):
            item, at = data[at + 2 : at + 34], at + 34
        else:
            item, at = decode_at(data, at, depth - 1)
        items.append(item)
    return items, at


def _head(data: bytes, at: int) -> tuple[int, int, int]:
    """Read one initial byte and its argument: (major type, argument, next position)."""
    if at >= len(data):
        raise NotCanonical(f"the value breaks off at byte {at}")
    major, short = data[at] >> 5, data[at] & 31
    at += 1
    if major > 4:
        raise NotCanonical(f"byte {at - 1} starts a map, tag, float or simple value")
    if short < 24:
        return major, short, at
    if short not in _MINIMUM:
        raise NotCanonical(f"byte {at - 1} has an indefinite or reserved length")
    end = at + (1 << (short - 24))
    if end > len(data):
        raise NotCanonical(f"the value breaks off at byte {at}")
    value = int.from_bytes(data[at:end], "big")
    if value < _MINIMUM[short] or (major < 2 and value > INT_MAX):
        raise NotCanonical(f"the integer at byte {at - 1} is not in its shortest form or exceeds 64 bits")
    return major, value, end
