"""Changes by chance: to the bytes of a file, and to the structure behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Final

import cbor2
from second.hashing import Item, encode

Path = tuple[int, ...]
INSIDE: Final = -1  # the step from a byte string to the array that it holds
INTEGERS: Final = (
    0, 1, -1, 2, 23, 24, 255, 256, 2**32 - 1, 2**32, 2**53 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1, -(2**63),
)  # fmt: skip
TEXTS: Final = (
    "", "a", "-", "Zz", "é", "\ufeff", "\uffff", "\U0001f525", "\u2028", "\0", "\x7f", "a:b", "٣", "x" * 97,
)  # fmt: skip
WIDTHS: Final = {24: 1, 25: 2, 26: 4, 27: 8}  # of the argument behind a head, by its low five bits
# Simple values, floats, maps and tags; bad heads; texts that are no UTF-8 or hold control characters.
FORBIDDEN: Final = (
    b"\xf4", b"\xf5", b"\xf6", b"\xf7", b"\xe0", b"\xf8\x20", b"\xf9\0\0", b"\xfa" + bytes(4), b"\xfb" + bytes(8),
    b"\xa0", b"\xa1\0\0", b"\xbf\xff", b"\xc1\0", b"\xc2\x41\x05", b"\x1c", b"\x1f", b"\x3f", b"\x5c", b"\x5f", b"\xff",
    b"\x61\xff", b"\x61\xc3", b"\x62\xc0\x80", b"\x62\xc0\xaf", b"\x63\xed\xa0\x80", b"\x64\xf4\x90\x80\x80",
    b"\x61\0", b"\x61\x1f", b"\x61\x7f",
)  # fmt: skip
STRINGS: Final = (b"", b"\0", b"\x80", bytes(16), bytes(32), bytes(33), bytes(64), bytes(range(32)))


def change_bytes(rng: Random, data: bytes) -> bytes:
    """One change of whatever kind to a file's bytes."""
    one, other = sorted(rng.sample(range(len(data)), 2))
    some = rng.randint(1, 40)
    changes: tuple[Callable[[], bytes], ...] = (
        lambda: data[:one] + bytes([data[one] ^ rng.randint(1, 255)]) + data[one + 1 :],
        lambda: data[:one] + bytes([data[one] ^ 1 << rng.randrange(8)]) + data[one + 1 :],
        lambda: data[:one],
        lambda: data[:one] + rng.randbytes(some) + data[one:],
        lambda: data[:one] + data[one + some :],
        lambda: data[:other] + data[one:],
        lambda: data[:one] + data[other:] + data[one:other],
    )  # fmt: skip
    return rng.choice(changes)()


def change_item(rng: Random, item: Item) -> Item:
    """An item with one integer, string or array of it changed, also inside of byte strings that hold arrays."""
    nodes = list(_nodes(item))
    path, node = rng.choice(nodes)
    if rng.random() < 0.1:
        return _replaced(item, path, rng.choice(nodes)[1])
    return _replaced(item, path, _changed(rng, node))


def misspell(rng: Random, item: Item) -> bytes:
    """An item's bytes with one value of it in a spelling that deterministic CBOR, or this subset of it, forbids."""
    shallow = [(path, node) for path, node in _nodes(item) if INSIDE not in path]
    path, node = rng.choice(shallow)
    return _spelt(item, path, rng.choice([*_misspellings(node), *FORBIDDEN]))


def _misspellings(node: Item) -> Iterator[bytes]:
    right = encode(node)
    major, info = right[0] & 0xE0, right[0] & 31
    content = right[1 + WIDTHS.get(info, 0) :]
    argument = int.from_bytes(right[1 : 1 + WIDTHS[info]], "big") if info in WIDTHS else info
    for longer, width in WIDTHS.items():
        if width > WIDTHS.get(info, 0):
            yield bytes([major | longer]) + argument.to_bytes(width, "big") + content
    if major == 0x80:
        yield b"\x9f" + content + b"\xff"
    elif major in (0x40, 0x60):
        yield bytes([major | 31]) + right + b"\xff"
    yield from (b"\xc1" + right, b"\xd9\xd9\xf7" + right, right + b"\0", bytes([major | 28]) + content)


def _spelt(item: Item, path: Path, wrong: bytes) -> bytes:
    """An item with the value at the path in that spelling."""
    if not path:
        return wrong
    entries = [encode(entry) for entry in item]
    entries[path[0]] = _spelt(item[path[0]], path[1:], wrong)
    head = encode([0] * len(item))[: -len(item)]
    return head + b"".join(entries)


def _nodes(item: Item, path: Path = ()) -> Iterator[tuple[Path, Item]]:
    yield path, item
    if isinstance(item, list):
        for index, entry in enumerate(item):
            yield from _nodes(entry, (*path, index))
    elif (inner := _held(item)) is not None:
        yield from _nodes(inner, (*path, INSIDE))


def _held(item: Item) -> Item:
    """The array that a byte string holds, or None."""
    if not isinstance(item, bytes) or not 0x80 <= (item[0] if item else 0) < 0xA0:
        return None
    try:
        inner = cbor2.loads(item)
        return inner if encode(inner) == item else None
    except Exception:  # bytes by chance: cbor2 fails at them in many ways
        return None


def _replaced(item: Item, path: Path, to: Item) -> Item:
    if not path:
        return to
    step, *rest = path
    if step == INSIDE:
        return encode(_replaced(_held(item), tuple(rest), to))
    return [*item[:step], _replaced(item[step], tuple(rest), to), *item[step + 1 :]]


def _changed(rng: Random, node: Item) -> Item:
    if rng.random() < 0.1:
        return rng.choice([0, b"", "", [], [[]], [node]])
    if isinstance(node, int):
        near = [node + 1, node - 1, -node, node * 2, node + 1000]
        return min(max(rng.choice([*near, *INTEGERS]), -(2**63)), 2**64 - 1)
    if isinstance(node, bytes):
        return _changed_string(rng, node)
    if isinstance(node, str):
        extended = [node + rng.choice(TEXTS), rng.choice(TEXTS) + node]
        return rng.choice([*extended, node[1:], node.upper(), rng.choice(TEXTS)])
    return _changed_array(rng, node)


def _changed_string(rng: Random, node: bytes) -> bytes:
    choices = [node[:-1], node + b"\0", bytes(len(node)), rng.randbytes(len(node)), rng.choice(STRINGS)]
    if node:
        place = rng.randrange(len(node))
        choices += [node[:place] + bytes([node[place] ^ 1 << rng.randrange(8)]) + node[place + 1 :]] * 3
    return rng.choice(choices)


def _changed_array(rng: Random, node: list[Item]) -> list[Item]:
    if not node:
        return [rng.choice([0, b"", bytes(32), "", []])]
    one, other = rng.randrange(len(node)), rng.randrange(len(node))
    swapped = list(node)
    swapped[one], swapped[other] = node[other], node[one]
    without, twice = node[:one] + node[one + 1 :], [*node[: one + 1], *node[one:]]
    return rng.choice([swapped, without, twice, node[::-1], [], [*node, node[one]], node[:one], node[one:]])
