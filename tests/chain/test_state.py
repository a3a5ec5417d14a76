"""The state tree against its own definition: order does not matter, presence and absence are both proved."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chain.errors import BadProof, FormatError
from gateway.chain.keys import NO_HASH
from gateway.chain.state import StateProof, StateTree, state_path
from gateway.chain.trees import node_hash

KEYS = st.binary(max_size=3)
MAPS = st.dictionaries(KEYS, st.binary(min_size=1, max_size=4), max_size=12)


def tree_of(entries: dict[bytes, bytes]) -> StateTree:
    tree = StateTree()
    for key, value in entries.items():
        tree = tree.put(key, value)
    return tree


def naive_root(entries: dict[bytes, bytes], depth: int = 0) -> bytes:
    """The page's definition: empty, one entry, or two halves by the next bit of the path."""
    if not entries:
        return bytes(32)
    if len(entries) == 1:
        ((key, value),) = entries.items()
        return sha256(b"\x00" + state_path(key) + sha256(value).digest()).digest()
    halves: tuple[dict[bytes, bytes], dict[bytes, bytes]] = ({}, {})
    for key, value in entries.items():
        halves[state_path(key)[depth // 8] >> (7 - depth % 8) & 1][key] = value
    return sha256(b"\x01" + naive_root(halves[0], depth + 1) + naive_root(halves[1], depth + 1)).digest()


def holds(proof: StateProof, root: bytes, key: bytes, value: bytes | None) -> bool:
    try:
        proof.holds(root, key, value)
    except BadProof:
        return False
    return True


@settings(deadline=None)
@given(MAPS)
def test_the_root_is_that_of_the_definition(entries: dict[bytes, bytes]) -> None:
    assert tree_of(entries).root == naive_root(entries)


@settings(deadline=None)
@given(MAPS, st.randoms())
def test_the_order_of_entries_leaves_no_trace(entries: dict[bytes, bytes], random: object) -> None:
    shuffled = list(entries.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    before = dict.fromkeys(list(entries)[::2], b"old")
    assert tree_of(before | dict(shuffled)).root == tree_of(entries).root


@settings(deadline=None)
@given(MAPS, KEYS, st.binary(min_size=1, max_size=4))
def test_each_key_proves_its_value_or_its_absence_and_nothing_else(
    entries: dict[bytes, bytes], key: bytes, other: bytes
) -> None:
    tree = tree_of(entries)
    value, proof = entries.get(key), tree.prove(key)
    assert tree.get(key) == value
    assert holds(proof, tree.root, key, value)
    for wrong in {None, other, b""} - {value}:
        assert not holds(proof, tree.root, key, wrong)


@settings(deadline=None)
@given(MAPS.filter(bool), st.data())
def test_no_proof_of_another_key_shows_a_present_one_absent(
    entries: dict[bytes, bytes], data: st.DataObject
) -> None:
    tree, key = tree_of(entries), data.draw(st.sampled_from(sorted(entries)))
    for other in [*entries, b"\xff\xff\xff\xff", b"\x00\x00\x00\x00"]:
        assert not holds(tree.prove(other), tree.root, key, None)


@settings(deadline=None)
@given(MAPS.filter(lambda entries: len(entries) > 2), st.data())
def test_a_proof_cut_lengthened_or_altered_holds_no_more(
    entries: dict[bytes, bytes], data: st.DataObject
) -> None:
    tree, key = tree_of(entries), data.draw(st.sampled_from(sorted(entries)))
    proof, value = tree.prove(key), entries[key]
    at = data.draw(st.integers(0, len(proof.siblings)))
    cut = replace(proof, siblings=proof.siblings[:at])
    longer = replace(proof, siblings=(*proof.siblings[:at], NO_HASH, *proof.siblings[at:]))
    assert not holds(longer, tree.root, key, value)
    assert not holds(longer, tree.root, key, None)
    if at < len(proof.siblings):
        assert not holds(cut, tree.root, key, value)
        for bare in (cut, replace(cut, path=b"", value_hash=b"")):
            assert not holds(bare, tree.root, key, None)


def test_an_empty_tree_proves_every_absence_and_no_presence() -> None:
    tree = StateTree()
    assert tree.root == NO_HASH
    assert holds(tree.prove(b"k"), tree.root, b"k", None)
    assert not holds(tree.prove(b"k"), tree.root, b"k", b"v")


def test_a_subtree_of_two_empty_halves_is_no_empty_subtree() -> None:
    """Zero beside zero never stands in an honest tree: its hash is not the empty root."""
    assert not holds(StateProof((NO_HASH,), b"", b""), NO_HASH, b"k", None)
    assert not holds(StateProof((NO_HASH,) * 256, b"", b""), NO_HASH, b"k", None)


def test_a_leaf_is_no_branch_and_a_branch_no_leaf() -> None:
    tree = tree_of({b"a": b"1", b"b": b"2"})
    leaf = tree_of({b"a": b"1"}).root
    branch = node_hash(state_path(b"a"), sha256(b"1").digest())
    assert leaf != branch
    assert not holds(StateProof((), state_path(b"a"), sha256(b"1").digest()), branch, b"a", b"1")
    assert not holds(StateProof((), b"", b""), tree.root, b"c", None)


def test_absence_by_an_entry_of_another_subtree_is_refused_at_every_depth() -> None:
    keys = [bytes((i,)) for i in range(64)]
    tree = tree_of(dict.fromkeys(keys, b"v"))
    for wanted in (b"x", b"yy", b"zzz"):
        own = tree.prove(wanted)
        for key in keys:
            other = tree.prove(key)
            assert not holds(
                replace(own, path=other.path, value_hash=other.value_hash), tree.root, wanted, None
            ) or (other.path == own.path)


@pytest.mark.parametrize("depth", [0, 1, 255, 256])
def test_the_deepest_proofs_are_checked_without_error(depth: int) -> None:
    proof = StateProof((bytes(32),) * depth, state_path(b"other"), bytes(32))
    assert not holds(proof, bytes(32), b"k", None)
    assert not holds(proof, bytes(32), b"other", b"v")
    assert StateProof.decode(proof.encode()) == proof


@pytest.mark.parametrize(
    ("path", "value_hash"),
    [(b"", bytes(32)), (bytes(32), b""), (bytes(31), bytes(32))],
    ids=["no path", "no value", "short path"],
)
def test_half_an_entry_is_no_proof(path: bytes, value_hash: bytes) -> None:
    with pytest.raises(FormatError):
        StateProof.from_item([[], path, value_hash])
