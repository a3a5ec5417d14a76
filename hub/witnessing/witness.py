"""The hub as a witness of its federation's log: it cosigns what other hubs publish once it agrees with its own log.

Owned: the judgement of a submitted checkpoint, this hub's own signature as the log, the evidence when two hubs show
two logs. Not owned: when checkpoints are made and whom they are sent to (`hub.witnessing.publisher`), paths and status
codes (`hub.api.witness`).

Invariants:
- What is signed or cosigned extends all that was cosigned before, which is on disk before the answer leaves.
- A hub cosigns only what it has made final itself: more than the consistency that any witness checks.
"""

from __future__ import annotations

import logging
import threading
from hashlib import sha256

from gateway.chain.cometbft import chain_id
from gateway.chain.errors import BadProof, UnknownSigner, WrongChain
from gateway.chain.finality import Checkpoint
from gateway.chain.governance import Roster
from gateway.chain.leaf import NO_GATEWAY
from gateway.chain.notes import (
    LogHead,
    Note,
    NoteKey,
    Submission,
    advance,
    cosign_note,
    hub_key,
    log_key,
    sign_note,
)
from hub.core import Core
from hub.errors import HubError
from hub.storage.witness_store import SplitView, WitnessStore

_log = logging.getLogger(__name__)


class NotYet(HubError):
    """This hub has not got so far; ask again in a moment."""


class Witness:
    """Judges checkpoints of one log. Safe for several threads."""

    def __init__(self, core: Core, store: WitnessStore) -> None:
        self.store, self.origin = store, chain_id(core.genesis.hash)
        self._core = core
        self._lock = threading.Lock()

    def roster(self) -> Roster:
        """Return who belongs to the federation now."""
        return self._core.ledger.committed.roster(self._core.genesis)

    def add_checkpoint(self, submitted: Submission) -> str:
        """Return the signature line of this hub for a checkpoint of another hub.

        Raises WrongChain (another log), BadSignature (of no hub), WrongShape (its old size is above the new),
        OtherHead (its old size is not what was cosigned last), BadProof (not the same log), NotYet, UnknownSigner
        (this hub is no member, now), StoreError.
        """
        head = LogHead.parse(submitted.note.text)
        if head.origin != self.origin:
            raise WrongChain(f"this hub holds {self.origin}, not {head.origin!r:.100}")
        roster = self.roster()
        signers = submitted.note.verify(log_key(self.origin, each.key) for each in roster.members)
        own = roster.hub(self._core.key.public)
        with self._lock:
            self._compare(head, submitted.note, signers[0].key)
            known = self.store.head(self.origin)
            advance(known, submitted)
            if head.size > self._size:
                raise NotYet(f"this hub's log has {self._size} leaves, not yet {head.size}")
            self._keep(known, head)
        name = hub_key(self.origin, own).name
        return str(cosign_note(self._core.key, name, head.text, self._core.now_ms() // 1000))

    def publish(self, checkpoint: Checkpoint) -> Note:
        """Return a sealed checkpoint as the note that this hub signs as the log.

        Raises BadProof when the log is not the one it cosigned before, NotYet when it was put back and lacks what it
        cosigned, StoreError.
        """
        head = LogHead(self.origin, checkpoint.app.log_size, checkpoint.app.log_root)
        with self._lock:
            known = self.store.head(self.origin)
            if known and known.size > self._size:
                raise NotYet(
                    f"this hub's log has {self._size} leaves, it has cosigned {known.size}: it catches up"
                )
            if known and known.root != self._core.ledger.log_root(known.size):
                raise BadProof(
                    f"this hub's log of {self._size} leaves is not the one whose {known.size} leaves it cosigned"
                )
            self._keep(known, head)
        return self._own(head)

    def key_of(self, name: str) -> NoteKey:
        """Return the key under which a member cosigns. Raises BadRecord when there is none of this name."""
        return hub_key(self.origin, self.roster().member(name))

    @property
    def _size(self) -> int:
        return self._core.ledger.committed.app.log_size

    def _own(self, head: LogHead) -> Note:
        return Note(head.text, (sign_note(self._core.key, self.origin, head.text),))

    def _keep(self, known: LogHead | None, head: LogHead) -> None:
        if known is None or head.size > known.size:
            self.store.advance(head)

    def _compare(self, head: LogHead, note: Note, signer: NoteKey) -> None:
        """Hold a head against this hub's own log. Raises BadProof where they differ, and keeps both notes then."""
        if head.size > self._size:
            return
        root = self._core.ledger.log_root(head.size)
        if root == head.root:
            return
        theirs, ours = note.encode(), self._own(LogHead(self.origin, head.size, root)).encode()
        now, said = self._core.now_ms(), f"a hub signed another log of {head.size} leaves than this one's"
        if self.store.add_split(SplitView(now, signer.public, theirs, ours)):
            detail = f"{said}: {self._named(signer.public)}; both notes are at /v1/log/splits"
            self._core.store.notes.add_finding(now, NO_GATEWAY, "split-view", detail, sha256(theirs).digest())
            _log.error("split view: %s", detail)
        raise BadProof(said)

    def _named(self, public: bytes) -> str:
        try:
            return self.roster().hub(public).name
        except UnknownSigner:
            return public.hex()
