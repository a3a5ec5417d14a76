"""The key-sorted state tree, with proofs of presence and of absence.

A binary trie over the paths SHA-256(`tocsin/state-key/v1` ‖ 0 ‖ key), most significant bit first. An empty
subtree is 32 zero bytes; a subtree with one entry is its leaf SHA-256(0x00 ‖ path ‖ SHA-256(value)); any other
is SHA-256(0x01 ‖ left ‖ right). The shape depends on the entries alone, not on their order, and presence and
absence have proofs of one form. `StateTree` is immutable: an update shares what it does not change.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, TypeAlias

from gateway.chain.errors import BadProof, WrongShape
from gateway.chain.keys import NO_HASH, STATE_KEY, digest
from gateway.chain.record import Hash, Many, Octets, Record
from gateway.chain.trees import node_hash


@dataclass(frozen=True, slots=True)
class _Leaf:
    hash: bytes
    path: int
    value: bytes


@dataclass(frozen=True, slots=True)
class _Branch:
    hash: bytes
    left: _Node
    right: _Node


_Node: TypeAlias = "_Leaf | _Branch | None"


@dataclass(frozen=True, slots=True)
class StateProof(Record):
    """Siblings from the root downwards, and the entry found there.

    `path` and `value_hash` are those of the one entry in the subtree that the siblings lead to, or both empty
    where that subtree is empty.
    """

    siblings: Annotated[tuple[Hash, ...], Many(0, 256)]
    path: Annotated[bytes, Octets(0, 32)]
    value_hash: Annotated[bytes, Octets(0, 32)]

    def check(self, where: str) -> None:
        if (len(self.path), len(self.value_hash)) not in ((0, 0), (32, 32)):
            raise WrongShape(f"{where}: an entry has a path and a value hash of 32 bytes each, or neither")

    def holds(self, root: bytes, key: bytes, value: bytes | None) -> None:
        """Check that `key` has `value` (None: is absent) under `root`. Raises BadProof."""
        wanted = state_path(key)
        depth, at = len(self.siblings), int.from_bytes(wanted, "big")
        if value is not None and (self.path, self.value_hash) != (wanted, sha256(value).digest()):
            raise BadProof("a state proof ends at another entry than the one it must show")
        if value is None and self.path:
            if self.path == wanted:
                raise BadProof("a state proof of absence ends at the entry itself")
            if (int.from_bytes(self.path, "big") ^ at) >> (256 - depth):
                raise BadProof("a state proof of absence ends at an entry of another subtree")
        node = _leaf(int.from_bytes(self.path, "big"), self.value_hash) if self.path else NO_HASH
        for level in range(depth - 1, -1, -1):
            sibling = self.siblings[level]
            node = node_hash(sibling, node) if at >> (255 - level) & 1 else node_hash(node, sibling)
        if node != root:
            raise BadProof("a state proof does not lead to the state root")


def state_path(key: bytes) -> bytes:
    """Return the place of a key in the state tree (32 bytes)."""
    return digest(STATE_KEY, key)


def _leaf(path: int, value_hash: bytes) -> bytes:
    return sha256(b"\x00" + path.to_bytes(32, "big") + value_hash).digest()


class StateTree:
    """A map from keys to values with a root hash. Entries are added and replaced, never removed."""

    __slots__ = ("_top",)

    def __init__(self, top: _Node = None) -> None:
        self._top = top

    @property
    def root(self) -> bytes:
        """The root hash (32 bytes); 32 zero bytes while empty."""
        return self._top.hash if self._top else NO_HASH

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key, or None."""
        path = int.from_bytes(state_path(key), "big")
        found, _ = self._descend(path)
        return found.value if found and found.path == path else None

    def put(self, key: bytes, value: bytes) -> StateTree:
        """Return the tree with one entry added or replaced."""
        path = int.from_bytes(state_path(key), "big")
        leaf = _Leaf(_leaf(path, sha256(value).digest()), path, value)
        return StateTree(_put(self._top, leaf, 0))

    def prove(self, key: bytes) -> StateProof:
        """Return the proof that a key is present, or that it is absent."""
        found, siblings = self._descend(int.from_bytes(state_path(key), "big"))
        if found is None:
            return StateProof(siblings, b"", b"")
        return StateProof(siblings, found.path.to_bytes(32, "big"), sha256(found.value).digest())

    def _descend(self, path: int) -> tuple[_Leaf | None, tuple[bytes, ...]]:
        node: _Node = self._top
        siblings: list[bytes] = []
        while isinstance(node, _Branch):
            right = path >> (255 - len(siblings)) & 1
            node, other = (node.right, node.left) if right else (node.left, node.right)
            siblings.append(other.hash if other else NO_HASH)
        return node, tuple(siblings)


def _put(node: _Node, leaf: _Leaf, depth: int) -> _Node:
    if node is None or (isinstance(node, _Leaf) and node.path == leaf.path):
        return leaf
    if isinstance(node, _Leaf):  # two entries now share this subtree: part them at their first differing bit
        node = _branch(None, node) if node.path >> (255 - depth) & 1 else _branch(node, None)
    if leaf.path >> (255 - depth) & 1:
        return _branch(node.left, _put(node.right, leaf, depth + 1))
    return _branch(_put(node.left, leaf, depth + 1), node.right)


def _branch(left: _Node, right: _Node) -> _Branch:
    return _Branch(node_hash(left.hash if left else NO_HASH, right.hash if right else NO_HASH), left, right)
