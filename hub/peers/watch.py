"""Promises of custody held against those who gave them: one challenge after the other.

Owned: whom to challenge and when, and what is made of the answer. Not owned: what becomes of it before the whole
federation (`hub.peers.docket`).

Invariants:
- What was signed against its signer's interest is ordered: a lack that was signed while the promise bound.
- Silence alone is no breach: it takes long silence, a summons before all, and its deadline.
"""

from __future__ import annotations

import logging
import random
import secrets
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.chain.block import header_hash
from gateway.chain.custody import Promise, Receipt
from gateway.chain.errors import BadProof, ChainError
from gateway.chain.governance import Member
from gateway.chain.keys import POSSESSION, Signed
from gateway.chain.ordered import Breach, Transaction
from gateway.chain.possession import (
    LACKED,
    Possession,
    possession_proof,
)
from hub.core import Core
from hub.errors import HubError
from hub.peers.ask import Asker
from hub.peers.docket import Docket, note_broken, promiser
from hub.peers.link import PeerRefusal, PeerSilent
from hub.peers.policy import Policy
from hub.peers.pull import given_block
from hub.peers.state import PeerState
from hub.worker import Worker

_log = logging.getLogger(__name__)

_TICK_SECONDS: Final = 1.0
_ORDER_AGAIN_SECONDS: Final = 5.0
_MAX_SUSPECTED: Final = 256


@dataclass(slots=True)
class _Silence:
    """Unanswered challenges of one hub: how many, since when (Unix ms), whether people were told."""

    count: int
    since: int
    is_noted: bool = False


@dataclass(frozen=True, slots=True)
class Watched:
    """One other hub and the way to ask it."""

    state: PeerState
    asker: Asker


class Watch:
    """One thread. Everything but `start`, `stop`, `ordered` and `suspect` is for it, or for a test."""

    def __init__(self, core: Core, policy: Policy, peers: Sequence[Watched]) -> None:
        self._core, self._policy, self._peers = core, policy, peers
        self.docket = Docket(core)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._suspected: deque[tuple[bytes, bytes]] = deque(maxlen=_MAX_SUSPECTED)
        self._silences: dict[bytes, _Silence] = {}
        self._challenged = time.monotonic()
        self.worker = Worker("watch", self._run, self._over.set)

    def start(self) -> None:
        """Take up open summonses from disk, then begin to work. Raises StoreError."""
        self.docket.load()
        self.worker.start()

    def ordered(self, transaction: Transaction) -> None:
        """Take up a transaction of a final block, perhaps again."""
        if (hub := self.docket.ordered(transaction)) is not None:
            self._silences.pop(hub, None)  # the next summons takes as long a silence again

    def suspect(self, hub: bytes, block: bytes) -> None:
        """Challenge a hub (by key) soon on a block (by hash) that it promised to hold and does not give."""
        with self._lock:
            if (hub, block) not in self._suspected:
                self._suspected.append((hub, block))

    def _run(self) -> None:
        while not self._over.wait(_TICK_SECONDS):
            try:
                self.tick()
            except HubError as error:
                _log.error("custody is not watched just now: %s", error)
            except Exception:
                _log.exception("a defect in watching custody")

    def tick(self) -> None:
        """Answer, order what is due, and challenge if it is time. Raises StoreError."""
        self.docket.settle()
        with self._lock:
            suspected = self._suspected.popleft() if self._suspected else None
        if suspected is not None:
            self._challenge_suspect(*suspected)
        if time.monotonic() - self._challenged >= self._policy.challenge_ms / 1000:
            self._challenged = time.monotonic()
            self.challenge_any()

    # challenges

    def challenge_any(self) -> None:
        """Challenge one other hub on one of its promises, both drawn at random."""
        now = self._core.now_ms()
        for peer in random.sample(list(self._peers), len(self._peers)):
            member = peer.asker.member()
            if member is None:
                continue
            custody = self._core.store.peer_custody
            receipt = custody.pick(member.key, secrets.randbelow, lambda each: each.keep_until > now)
            if receipt is not None:
                self.challenge(peer, member, receipt)
                return

    def _challenge_suspect(self, hub: bytes, block: bytes) -> None:
        kept = self._core.store.bodies.find(block)
        found = self._by_key(hub)
        if kept is None or found is None:
            return
        at, now = kept.position, self._core.now_ms()
        receipts = self._core.store.peer_custody.receipts(kept.gateway, at.epoch, at.height, at.height)
        for receipt in receipts:
            if (
                promiser(receipt) == hub
                and receipt.promise.hash == block
                and receipt.promise.keep_until > now
            ):
                self.challenge(*found, receipt)
                return

    def challenge(self, peer: Watched, member: Member, receipt: Receipt) -> None:
        """Challenge a hub on one promise and make of the answer what is due."""
        promise, nonce = receipt.promise, secrets.token_bytes(32)
        try:
            signed = peer.asker.possession(member, promise, nonce)
            said = self._read(signed, member, promise, nonce)
        except (PeerSilent, PeerRefusal, ChainError) as error:
            self._unanswered(peer, member, receipt, str(error))
            return
        self._silences.pop(member.key, None)
        if said.says == LACKED:
            peer.state.count(failed=1)
            note_broken(
                self._core,
                "custody-lacked",
                member.name,
                promise,
                "signed that it lacks what it promised to hold",
            )
            self.docket.breach(Breach(receipt, signed.encode(), b"", self._core.now_ms()))
            return
        segments = self._segments(peer, member, promise)
        if segments is None:
            return  # nothing to hold the proof against: another hub will
        if possession_proof(nonce, segments) == said.proof:
            peer.state.count(passed=1)
        else:
            peer.state.count(failed=1)
            note_broken(
                self._core,
                "false-possession",
                member.name,
                promise,
                "gave a proof of other bytes than it promised",
            )
            self.docket.summon(receipt)

    def _read(self, signed: Signed, member: Member, promise: Promise, nonce: bytes) -> Possession:
        """Return what a hub said to this challenge. Raises ChainError."""
        said = Possession.decode(signed.verify(POSSESSION, member.key))
        self._core.genesis.require(said.genesis, "the proof of possession")
        if (said.hub, said.promise, said.nonce) != (member.key, promise, nonce):
            raise BadProof(f"{member.name} answers another question than it was asked")
        return said

    def _segments(self, peer: Watched, member: Member, promise: Promise) -> tuple[bytes, ...] | None:
        """Return the promised bytes: this hub's own, or the other's, which are the proof themselves."""
        kept = self._core.store.bodies.find(promise.hash)
        if kept is None or (own := kept.promised(promise.classes)) is not None:
            return None if kept is None else own
        try:
            answer = peer.asker.bodies(member, (promise.hash,), promise.classes)
        except (PeerSilent, PeerRefusal, ChainError):
            return None
        block = given_block(kept, answer.bodies[0])
        if block is None or header_hash(block.header) != promise.hash:
            return None
        pairs = zip(kept.header.segments, block.segments, strict=True)
        found = tuple(data for head, data in pairs if promise.classes >> head.klass & 1)
        return found if all(found) else None

    def _unanswered(self, peer: Watched, member: Member, receipt: Receipt, why: str) -> None:
        """Count a challenge without an answer, and summon a hub that was silent for long."""
        now = self._core.now_ms()
        peer.state.count(failed=1)
        silence = self._silences.setdefault(member.key, _Silence(0, now))
        silence.count += 1
        if silence.count < self._policy.tries or now - silence.since < self._policy.silent_ms:
            return
        if not silence.is_noted:
            silence.is_noted = True
            what = f"answers no challenge: {why:.150}"
            note_broken(self._core, "custody-unanswered", member.name, receipt.promise, what)
        self.docket.summon(receipt)

    def _by_key(self, hub: bytes) -> tuple[Watched, Member] | None:
        found = ((peer, peer.asker.member()) for peer in self._peers)
        return next(((peer, member) for peer, member in found if member and member.key == hub), None)
