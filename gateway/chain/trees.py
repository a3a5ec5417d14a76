"""The append-only log of RFC 6962.

Leaf = SHA-256(0x00 ‖ data), node = SHA-256(0x01 ‖ left ‖ right), no duplicated leaf, empty root =
SHA-256(""). Proofs are those of RFC 6962 section 2.1. `LogTree` keeps every full subtree's hash, 64 bytes a
leaf in all, so that roots and proofs of any size cost O(log n).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Annotated

from gateway.chain.errors import BadProof
from gateway.chain.record import Hash, Many

EMPTY_ROOT = sha256().digest()
MAX_PATH = 64
Path = Annotated[tuple[Hash, ...], Many(0, MAX_PATH)]


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of one leaf of a log."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node of either tree."""
    return sha256(b"\x01" + left + right).digest()


def root_of(hashes: Sequence[bytes]) -> bytes:
    """Return the RFC 6962 root over leaf hashes, level by level in one pass each."""
    if not hashes:
        return EMPTY_ROOT
    level = list(hashes)
    while len(level) > 1:
        joined = [sha256(b"\x01" + a + b).digest() for a, b in zip(level[::2], level[1::2], strict=False)]
        if len(level) & 1:
            joined.append(level[-1])
        level = joined
    return level[0]


class LogTree:
    """An RFC 6962 tree that only grows."""

    def __init__(self, hashes: Sequence[bytes] = ()) -> None:
        self._levels: list[bytearray] = [bytearray()]
        for each in hashes:
            self.append(each)

    def __len__(self) -> int:
        return len(self._levels[0]) // 32

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash."""
        for level in self._levels:
            level += leaf
            if len(level) % 64:
                return
            leaf = node_hash(bytes(level[-64:-32]), bytes(level[-32:]))
        self._levels.append(bytearray(leaf))

    def truncate(self, size: int) -> None:
        """Take back leaves beyond `size`, such as those of a final block that was never committed."""
        for depth, level in enumerate(self._levels):
            del level[(size >> depth) * 32 :]

    def leaf(self, index: int) -> bytes:
        """Return the hash of one leaf."""
        return self._full(0, index)

    def root(self, size: int | None = None) -> bytes:
        """Return the root over the first `size` leaves (all by default)."""
        size = len(self) if size is None else size
        self._bound(size)
        return self._root(0, size) if size else EMPTY_ROOT

    def inclusion(self, index: int, size: int | None = None) -> tuple[bytes, ...]:
        """Return the audit path of leaf `index` in the tree of `size` leaves."""
        size = len(self) if size is None else size
        self._bound(size)
        if not 0 <= index < size:
            raise BadProof(f"leaf {index} is not among {size}")
        return tuple(self._inclusion(index, 0, size))

    def consistency(self, old: int, new: int | None = None) -> tuple[bytes, ...]:
        """Return the proof that the tree of `new` leaves extends the one of `old` leaves."""
        new = len(self) if new is None else new
        self._bound(new)
        if not 0 < old <= new:
            raise BadProof(f"no consistency proof leads from {old} to {new} leaves")
        return tuple(self._consistency(old, 0, new, whole=True))

    def _bound(self, size: int) -> None:
        if not 0 <= size <= len(self):
            raise BadProof(f"the log has {len(self)} leaves, not {size}")

    def _full(self, depth: int, index: int) -> bytes:
        return bytes(self._levels[depth][index * 32 : index * 32 + 32])

    def _root(self, start: int, end: int) -> bytes:
        size = end - start
        if size & (size - 1) == 0:
            depth = size.bit_length() - 1
            return self._full(depth, start >> depth)
        split = start + _split(size)
        return node_hash(self._root(start, split), self._root(split, end))

    def _inclusion(self, index: int, start: int, end: int) -> Iterator[bytes]:
        if end - start == 1:
            return
        split = start + _split(end - start)
        if index < split:
            yield from self._inclusion(index, start, split)
            yield self._root(split, end)
        else:
            yield from self._inclusion(index, split, end)
            yield self._root(start, split)

    def _consistency(self, old: int, start: int, end: int, *, whole: bool) -> Iterator[bytes]:
        if old == end:
            if not whole:
                yield self._root(start, end)
            return
        split = start + _split(end - start)
        if old <= split:
            yield from self._consistency(old, start, split, whole=whole)
            yield self._root(split, end)
        else:
            yield from self._consistency(old, split, end, whole=False)
            yield self._root(start, split)


def _split(size: int) -> int:
    """Return the largest power of two below `size`."""
    return 1 << ((size - 1).bit_length() - 1)


def root_from_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Return the root that an audit path leads to. Raises BadProof over its length."""
    if not 0 <= index < size:
        raise BadProof(f"leaf {index} is not among {size}")
    node, last, rest = leaf, size - 1, list(path)
    while last:
        if index & 1 or index < last:
            if not rest:
                raise BadProof("an audit path is too short")
            other = rest.pop(0)
            node = node_hash(other, node) if index & 1 else node_hash(node, other)
        index, last = index >> 1, last >> 1
    if rest:
        raise BadProof("an audit path is too long")
    return node


def check_consistency(old: int, old_root: bytes, new: int, new_root: bytes, path: Sequence[bytes]) -> None:
    """Check that the log of `new` leaves extends the one of `old` leaves. Raises BadProof."""
    if not 0 < old <= new:
        raise BadProof(f"no consistency proof leads from {old} to {new} leaves")
    if old == new:
        if path or old_root != new_root:
            raise BadProof(f"two logs of {old} leaves have different roots")
        return
    rest = list(path)
    index, last = old - 1, new - 1
    while index & 1:
        index, last = index >> 1, last >> 1
    if index and not rest:
        raise BadProof("a consistency proof is too short")
    first = second = rest.pop(0) if index else old_root
    while last:
        if index & 1 or index < last:
            if not rest:
                raise BadProof("a consistency proof is too short")
            other = rest.pop(0)
            if index & 1:
                first, second = node_hash(other, first), node_hash(other, second)
            else:
                second = node_hash(second, other)
        index, last = index >> 1, last >> 1
    if rest or first != old_root or second != new_root:
        raise BadProof(f"the log of {new} leaves does not extend the one of {old}")
