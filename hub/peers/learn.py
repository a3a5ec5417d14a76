"""What is learned of one other hub besides bodies: its promises, what explains headers, what came before this hub.

Owned: the questions, and holding each answer against what the chain says. Not owned: who asks when (`hub.peers.pull`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.chain.block import listing
from gateway.chain.custody import CustodyBatch, Promise
from gateway.chain.errors import BadProof
from gateway.chain.governance import Member
from gateway.chain.keys import CUSTODY
from gateway.chain.trees import leaf_hash, root_of
from hub.core import Core
from hub.peers.ask import Asker
from hub.peers.claims import Claims
from hub.peers.history import History
from hub.peers.link import Bucket
from hub.peers.past import PastAlarms
from hub.peers.policy import Policy
from hub.peers.roots import Roots
from hub.peers.wire import PromiseBatch
from hub.storage.library import read_catalogue

_BATCHES_AT_ONCE: Final = 16
_PER_LEAF: Final = 4  # a block is promised again under a new key, or once more of its classes have come
_SPARE: Final = 100_000  # for blocks that are not final yet


@dataclass(frozen=True, slots=True)
class Shared:
    """What all of a hub's pullers share."""

    core: Core
    policy: Policy
    claims: Claims
    bucket: Bucket
    slots: threading.Semaphore
    roots: Roots
    history: History
    past: PastAlarms
    is_up: Callable[[bytes], bool]
    promised: Callable[[int, Sequence[Promise]], None]
    """Is told of promises of other hubs that are new here, and when they were signed (Unix ms)."""
    suspected: Callable[[bytes, bytes], None]
    """Is told hub key and block hash where a hub does not give what it promised to hold."""


class Learner:
    """Learns of one hub. For one thread; raises as `Asker`, BadProof for an answer that is false, StoreError."""

    def __init__(self, shared: Shared, asker: Asker) -> None:
        self._shared, self._asker, self._core = shared, asker, shared.core
        self._kept: dict[bytes, int] = {}  # promises kept, by hub key

    def learn(self, member: Member) -> bool:
        """Ask for everything once; tell whether there may be more."""
        more = [self._pull_promises(member), self._pull_headers(member), self._pull_alarms(member)]
        self._pull_library(member)
        return any(more)

    # promises

    def _pull_promises(self, member: Member) -> bool:
        core, mark = self._core, f"promises of {member.key.hex()}"
        after = core.store.bodies.mark(mark)
        for _ in range(_BATCHES_AT_ONCE):
            answer = self._asker.promises(member, after)
            if answer.last < after:  # it numbers anew, after a restoration perhaps
                after = 0
                core.store.bodies.set_mark(mark, after)
                continue
            for each in answer.batches:
                self._take_promises(member, each)
                after = max(after, each.number)
            if not answer.batches:
                return False
            core.store.bodies.set_mark(mark, after)
            if after >= answer.last:
                return False
        return True

    def _take_promises(self, member: Member, given: PromiseBatch) -> None:
        """Keep a batch of promises once it is the hub's own; one under a key that it gave up binds nobody any more.

        Raises ChainError.
        """
        body = CustodyBatch.decode(given.batch.body)
        self._core.genesis.require(body.genesis, "the custody batch")
        if body.hub != member.key:
            return
        given.batch.verify(CUSTODY, member.key)
        leaves = [leaf_hash(promise.encode()) for promise in given.promises]
        if (len(leaves), root_of(leaves)) != (body.count, body.root):
            raise BadProof(f"{member.name} signed other promises than those it shows")
        custody, kept = self._core.store.peer_custody, self._kept
        if member.key not in kept:
            kept[member.key] = custody.count(member.key)
        if kept[member.key] + len(leaves) > _SPARE + _PER_LEAF * self._core.ledger.committed.app.log_size:
            raise BadProof(f"{member.name} shows more promises than there are blocks to promise")
        if custody.add(member.key, given.batch, given.promises):
            kept[member.key] += len(leaves)
            self._shared.promised(body.time, given.promises)

    # what explains headers

    def _pull_library(self, member: Member) -> None:
        core = self._core
        catalogues, contracts = self._shared.roots.first()
        if not catalogues and not contracts:
            return
        answer = self._asker.library(member, catalogues, contracts)
        for data in answer.catalogues:
            catalogue = read_catalogue(data)
            root = _asked(listing([each.encode() for each in catalogue]).root, catalogues, member)
            core.store.library.add_catalogue(catalogue)
            self._shared.roots.found(root)
        for found in answer.contracts:
            root = _asked(listing(found.documents).root, contracts, member)
            core.store.library.add_contracts(found.documents)
            self._shared.roots.found(root)

    # what is from before this hub's time

    def _pull_alarms(self, member: Member) -> bool:
        past = self._shared.past
        if not (wanted := past.take(member.key)):
            return False
        try:
            alarms = self._asker.alarms(member, tuple(wanted)).alarms
            past.keep(wanted, alarms)
            if len(alarms) < len(wanted):
                past.defer(member.key)
        finally:
            past.release()
        return True

    def _pull_headers(self, member: Member) -> bool:
        history = self._shared.history
        taken = history.take(member.key)
        if taken is None:
            return False
        gateway, tip = taken
        try:
            headers = self._asker.headers(member, tip).headers
            if not headers:
                history.defer(member.key, gateway)
            for row in history.keep(gateway, tip, headers):
                self._shared.roots.want(self._core, row)
        finally:
            history.release(gateway)
        return True


def _asked(root: bytes, wanted: Sequence[bytes], member: Member) -> bytes:
    """Return a root that was asked for. Raises BadProof: an answer is no place for megabytes of anything else."""
    if root not in wanted:
        raise BadProof(f"{member.name} gives catalogues or contracts that it was not asked for")
    return root
