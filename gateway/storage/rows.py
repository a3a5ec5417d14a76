"""Rows of the gateway's database as its parts pass them on: blocks, their signatures, transitions.

Owns their shape. Whether they are stored is `gateway.storage.store`'s, what they mean the ledger format's.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.chain.tenure import Position

__all__ = ["Signature", "Stored", "Transition"]


@dataclass(frozen=True, slots=True)
class Stored:
    """A block's row. A draft has an empty signature, and neither epoch nor height."""

    number: int
    epoch: int
    height: int
    hash: bytes
    header: bytes
    signature: bytes
    held: bool
    final: bool
    transitions: int

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.height, self.hash)


@dataclass(frozen=True, slots=True)
class Signature:
    """What makes a draft a block: its place in the chain, in its final header, and the signature."""

    number: int
    position: Position
    header: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Transition:
    """A transition's row. `mark` is 1 where it was published before it could be written.

    `ordinal` counts rows in the order of writing, and is 0 for one that is still to be written.
    """

    hash: bytes
    body: bytes
    mark: int
    wall_ms: int
    ordinal: int = 0
