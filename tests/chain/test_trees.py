"""The log against RFC 6962's own recursive definitions, and proofs against everything near them."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chain.errors import BadProof
from gateway.chain.trees import (
    EMPTY_ROOT,
    LogTree,
    check_consistency,
    leaf_hash,
    node_hash,
    root_from_inclusion,
    root_of,
)

SIZES = range(1, 34)
DATA = [bytes((i,)) * (i % 5) for i in range(max(SIZES))]
LEAVES = [leaf_hash(each) for each in DATA]
TREE = LogTree(LEAVES)


def split(size: int) -> int:
    k = 1
    while k * 2 < size:
        k *= 2
    return k


def naive_root(data: Sequence[bytes]) -> bytes:
    """RFC 6962 section 2.1, word by word."""
    if not data:
        return sha256(b"").digest()
    if len(data) == 1:
        return sha256(b"\x00" + data[0]).digest()
    k = split(len(data))
    return sha256(b"\x01" + naive_root(data[:k]) + naive_root(data[k:])).digest()


def naive_path(index: int, data: Sequence[bytes]) -> list[bytes]:
    """RFC 6962 section 2.1.1."""
    if len(data) == 1:
        return []
    k = split(len(data))
    if index < k:
        return [*naive_path(index, data[:k]), naive_root(data[k:])]
    return [*naive_path(index - k, data[k:]), naive_root(data[:k])]


def naive_consistency(old: int, data: Sequence[bytes], whole: bool = True) -> list[bytes]:
    """RFC 6962 section 2.1.2."""
    if old == len(data):
        return [] if whole else [naive_root(data)]
    k = split(len(data))
    if old <= k:
        return [*naive_consistency(old, data[:k], whole), naive_root(data[k:])]
    return [*naive_consistency(old - k, data[k:], False), naive_root(data[:k])]


def holds(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    try:
        return root_from_inclusion(leaf, index, size, path) == root
    except BadProof:
        return False


def extends(old: int, old_root: bytes, new: int, new_root: bytes, path: Sequence[bytes]) -> bool:
    try:
        check_consistency(old, old_root, new, new_root, path)
    except BadProof:
        return False
    return True


def test_the_empty_root_is_the_hash_of_nothing() -> None:
    assert root_of([]) == LogTree().root() == EMPTY_ROOT == naive_root([])


@pytest.mark.parametrize("size", SIZES)
def test_roots_are_those_of_the_recursive_definition(size: int) -> None:
    assert root_of(LEAVES[:size]) == TREE.root(size) == naive_root(DATA[:size])


@pytest.mark.parametrize("size", SIZES)
def test_paths_are_those_of_the_recursive_definition_and_hold_nowhere_else(size: int) -> None:
    root = TREE.root(size)
    for index in range(size):
        path = TREE.inclusion(index, size)
        assert list(path) == naive_path(index, DATA[:size])
        held = [
            (at, n)
            for n in range(1, max(SIZES) + 1)
            for at in range(n)
            if holds(LEAVES[index], at, n, path, root)
        ]
        # A path can fit another claimed size; the size is signed with the root, and there the place is unique.
        assert [at for at, n in held if n == size] == [index]


@pytest.mark.parametrize("new", SIZES)
def test_consistency_proofs_are_those_of_the_recursive_definition(new: int) -> None:
    for old in range(1, new + 1):
        path = TREE.consistency(old, new)
        assert list(path) == naive_consistency(old, DATA[:new])
        assert extends(old, TREE.root(old), new, TREE.root(new), path)


@pytest.mark.parametrize("new", [2, 3, 6, 7, 8, 13])
def test_consistency_holds_for_no_rewritten_history(new: int) -> None:
    for old in range(1, new + 1):
        path = TREE.consistency(old, new)
        forged = LogTree([leaf_hash(b"forged"), *LEAVES[1:]])
        assert not extends(old, forged.root(old), new, TREE.root(new), path)
        assert not extends(old, TREE.root(old), new, forged.root(new), path)
        assert not extends(old, TREE.root(old), new, forged.root(new), forged.consistency(old, new))
        assert not extends(old, TREE.root(old), new, TREE.root(new), [*path, bytes(32)])
        assert not path or not extends(old, TREE.root(old), new, TREE.root(new), path[:-1])
        assert not extends(new, TREE.root(new), old, TREE.root(old), path) or old == new


def test_consistency_from_nothing_is_refused() -> None:
    with pytest.raises(BadProof):
        check_consistency(0, EMPTY_ROOT, 3, TREE.root(3), ())
    with pytest.raises(BadProof):
        TREE.consistency(0)


@pytest.mark.parametrize("size", [2, 3, 5, 8, 11])
def test_a_path_with_a_hash_more_less_or_other_is_refused(size: int) -> None:
    for index in range(size):
        path, root = TREE.inclusion(index, size), TREE.root(size)
        assert not holds(LEAVES[index], index, size, path[:-1], root)
        assert not holds(LEAVES[index], index, size, [*path, bytes(32)], root)
        assert not holds(LEAVES[index], index, size, path[::-1], root) or path[::-1] == path
        for at in range(len(path)):
            other = [*path[:at], bytes(32), *path[at + 1 :]]
            assert not holds(LEAVES[index], index, size, other, root)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 1), (-1, 4), (4, 4), (1 << 63, 1 << 63), (5, 2)])
def test_a_place_outside_the_log_is_refused(index: int, size: int) -> None:
    with pytest.raises(BadProof):
        root_from_inclusion(LEAVES[0], index, size, ())


def test_an_inner_node_is_never_a_leaf() -> None:
    node = LEAVES[0] + LEAVES[1]
    assert leaf_hash(node) != node_hash(LEAVES[0], LEAVES[1])
    assert not holds(leaf_hash(node), 0, 2, [node_hash(LEAVES[2], LEAVES[3])], TREE.root(4))


def test_an_odd_leaf_is_not_duplicated() -> None:
    assert root_of(LEAVES[:3]) != root_of([*LEAVES[:3], LEAVES[2]])


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_leaves_taken_back_leave_no_trace(first: int, kept: int, more: int) -> None:
    kept = min(first, kept)
    tree = LogTree([leaf_hash(bytes((i,))) for i in range(first)])
    tree.truncate(kept)
    for i in range(more):
        tree.append(leaf_hash(bytes((100 + i,))))
    leaves = [bytes((i,)) for i in range(kept)] + [bytes((100 + i,)) for i in range(more)]
    assert len(tree) == len(leaves)
    assert tree.root() == naive_root(leaves)
    for index in range(len(leaves)):
        assert list(tree.inclusion(index)) == naive_path(index, leaves)


@pytest.mark.parametrize("size", [1 << 40, (1 << 63) - 1])
def test_a_huge_claimed_size_costs_a_path_only(size: int) -> None:
    with pytest.raises(BadProof):
        root_from_inclusion(LEAVES[0], size - 1, size, ())
    path = [bytes(32)] * 64
    with pytest.raises(BadProof):
        root_from_inclusion(LEAVES[0], 0, size, path)
