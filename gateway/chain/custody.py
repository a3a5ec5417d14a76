"""Custody receipts: a hub's signed promise to keep bodies, apart from finality.

A hub signs one root over many promises, and hands each gateway its own with the path to that root. A gateway
prunes a body on finality and the receipts of as many agencies as the genesis asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from gateway.chain.errors import BadProof
from gateway.chain.genesis import Genesis
from gateway.chain.governance import Member, Roster
from gateway.chain.keys import CUSTODY, Signed, SigningKey
from gateway.chain.record import GatewayId, Hash, Millis, PublicKey, Range, Record, UInt
from gateway.chain.trees import LogTree, Path, leaf_hash, root_from_inclusion


@dataclass(frozen=True, slots=True)
class Promise(Record):
    """What is held: one block of one gateway, by the hash of its header, which commits to every segment.

    `classes` has bit c set where the segment of class c is held; `keep_until` is Unix ms.
    """

    gateway: GatewayId
    epoch: UInt
    height: UInt
    hash: Hash
    classes: Annotated[int, Range(0, 7)]
    keep_until: Millis


@dataclass(frozen=True, slots=True)
class CustodyBatch(Record):
    """The root over `count` promises (RFC 6962), signed by a hub (domain `tocsin/custody/v1`) at `time`."""

    genesis: Hash
    hub: PublicKey
    count: UInt
    root: Hash
    time: Millis


@dataclass(frozen=True, slots=True)
class Receipt(Record):
    """One promise with its path to a signed batch."""

    promise: Promise
    index: UInt
    path: Path
    batch: Signed

    def verify(self, genesis: Genesis, roster: Roster) -> tuple[Promise, Member]:
        """Return the promise and the member bound by it. Raises ChainError."""
        batch = CustodyBatch.decode(self.batch.body)
        genesis.require(batch.genesis, "the custody receipt")
        hub = roster.hub(batch.hub)
        self.batch.verify(CUSTODY, hub.key)
        leaf = leaf_hash(self.promise.encode())
        if root_from_inclusion(leaf, self.index, batch.count, self.path) != batch.root:
            raise BadProof("a custody receipt does not lead to its batch's root")
        return self.promise, hub


def issue_receipts(
    key: SigningKey, genesis_hash: bytes, promises: Sequence[Promise], time: int
) -> list[Receipt]:
    """Sign promises as one batch and return a receipt for each, in order."""
    tree = LogTree([leaf_hash(promise.encode()) for promise in promises])
    body = CustodyBatch(genesis_hash, key.public, len(tree), tree.root(), time)
    batch = key.signed(CUSTODY, body.encode())
    return [Receipt(promise, i, tree.inclusion(i), batch) for i, promise in enumerate(promises)]
