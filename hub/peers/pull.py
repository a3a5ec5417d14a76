"""Bodies had from one other hub, in a thread of its own.

Owned: the thread, and holding each body against its header. Not owned: who is asked for what (`hub.peers.claims`), what
is kept (`hub.peers.keeping`), whatever else is learned of that hub (`hub.peers.learn`).

Invariants:
- A body is stored only if it is what its final header commits to; bytes that are not are a finding against the hub
  that gave them, and are had from another.
- What was begun is begun again after a crash: what is missing is on disk, and a batch of bodies is kept at once.
- A hub that fails is left alone for a while, ever longer; the others are asked meanwhile.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Final

from gateway.chain.block import Block
from gateway.chain.errors import BadProof, BadSegment, ChainError
from gateway.chain.governance import Member
from gateway.chain.leaf import NO_GATEWAY
from gateway.chain.possession import MAX_WANTED
from gateway.chain.reading import segment_hash
from hub.errors import HubError
from hub.peers.ask import Asker
from hub.peers.keeping import Keeping
from hub.peers.learn import Learner, Shared
from hub.peers.link import PeerRefusal
from hub.peers.state import PeerState
from hub.peers.wire import GIVEN, LACKING, SHED, WITHHELD, Body
from hub.storage.bodies import Kept, Lacking
from hub.storage.store import NewBlock
from hub.worker import Worker

_log = logging.getLogger(__name__)

_AGAIN_SECONDS: Final = {LACKING: 30.0, SHED: 86_400.0, WITHHELD: 3600.0}
_PATIENCE: Final = 10
_SELDOM_SECONDS: Final = 6 * 3600.0
_FALSE_SECONDS: Final = 3600.0
_MAX_ACCUSED: Final = 256  # findings of one kind against one hub, for one start: more would tell nothing more


class Puller:
    """Asks one hub. `round` is for its own thread, or a test's."""

    def __init__(self, shared: Shared, state: PeerState, asker: Asker, keeping: Keeping) -> None:
        self._shared, self._state, self._asker, self._keeping = shared, state, asker, keeping
        self._core, self._learner = shared.core, Learner(shared, asker)
        self._over = threading.Event()
        self._wake = threading.Event()
        self._accused: set[bytes] = set()
        self.worker = Worker(f"peer {state.name}", self._run, self.stop)

    def stop(self) -> None:
        """End after the request in hand."""
        self._over.set()
        self._wake.set()

    def wake(self) -> None:
        """Look now whether there is something to ask for."""
        self._wake.set()

    def _run(self) -> None:
        while not self._over.is_set():
            if not (wait := self._state.rest):
                wait = self._try()
            self._wake.wait(wait)
            self._wake.clear()

    def _try(self) -> float:
        """Ask a round and return after how many seconds to ask the next one."""
        try:
            return 0.0 if self.round() else self._shared.policy.idle_seconds
        except PeerRefusal as error:
            self._state.fail(str(error), error.seconds)
        except (HubError, ChainError) as error:
            _log.debug("%s is left alone for now: %s", self._state.name, error)
            self._state.fail(str(error))
        except Exception as error:
            _log.exception("a defect in asking %s", self._state.name)
            self._state.fail(f"a defect: {error!r:.200}")
        return self._state.rest

    def round(self) -> bool:
        """Ask once for promises, what explains headers, and bodies; tell whether there may be more.

        Raises PeerSilent, PeerRefusal, ChainError for an answer that is not what was asked, StoreError.
        """
        member = self._asker.member()
        if member is None or member.key == self._core.key.public:
            self._state.fail("is no other member of the federation")
            return False
        more = self._learner.learn(member)
        more = self._pull_bodies(member) or more
        self._state.well()
        return more

    # bodies

    def _pull_bodies(self, member: Member) -> bool:
        shared = self._shared
        if shared.bucket.wait() or not shared.slots.acquire(blocking=False):
            return False
        try:
            classes, claimed = shared.claims.take(member.key, MAX_WANTED, shared.is_up)
            self._state.heard(self._core.now_ms(), wanted=len(claimed))
            try:
                return bool(claimed) and self._fetch(member, classes, claimed)
            finally:
                shared.claims.release(claimed)
        finally:
            shared.slots.release()

    def _fetch(self, member: Member, classes: int, claimed: Sequence[Lacking]) -> bool:
        wanted = {each.position.hash: each for each in claimed}
        answer = self._asker.bodies(member, tuple(wanted), classes)
        taken, false = [], 0
        for body in answer.bodies:
            lacking = wanted.pop(body.hash, None)
            held = None if lacking is None else self._core.store.bodies.find(body.hash)
            if lacking is None or held is None:
                raise BadProof(f"{member.name} gives a body that it was not asked for")
            block = given_block(held, body)
            if block is None:
                self._accuse(member, lacking)
                false += 1
                continue
            self._defer_rest(member, lacking, body, classes)
            if (new := self._complete(lacking, held, block, classes)) is not None:
                taken.append(new)
        if taken:
            self._keeping.keep(taken)
            self._state.count(had=len(taken))
        if false:
            raise BadProof(f"{member.name} gave {false} bodies that are not what their headers say")
        return True

    def _complete(self, lacking: Lacking, held: Kept, block: Block, classes: int) -> NewBlock | None:
        """Return what is to be kept of a body. Raises StoreError."""
        try:
            return self._keeping.completed(held, block, held.header, self._region(lacking), is_final=True)
        except BadSegment:
            # The gateway's own bytes do not yield what it signed: no hub has others, and its finding is noted.
            self._core.store.bodies.give_up(lacking.id, classes)
            return None

    def _region(self, lacking: Lacking) -> str:
        entry = self._core.entry(lacking.gateway)
        return "" if entry is None else entry.region

    def _defer_rest(self, member: Member, lacking: Lacking, body: Body, classes: int) -> None:
        """Ask elsewhere for what was not given."""
        states = {each.klass: each.state for each in body.segments}
        absent = [
            klass
            for klass in range(3)
            if (lacking.classes & classes) >> klass & 1 and states.get(klass, LACKING) != GIVEN
        ]
        if absent:
            seconds = max(_AGAIN_SECONDS[states.get(klass, LACKING)] for klass in absent)
            # What nobody has had for long is asked for ever more seldom.
            age = (self._core.now_ms() - lacking.since) / 1000
            seconds = max(seconds, min(age / _PATIENCE, _SELDOM_SECONDS))
            self._shared.claims.defer(member.key, lacking.id, seconds)
        if member.key in lacking.promisers and any(states.get(k, LACKING) != WITHHELD for k in absent):
            self._shared.suspected(member.key, lacking.position.hash)

    def _accuse(self, member: Member, lacking: Lacking) -> None:
        """Note that a hub gave other bytes than a header's, and ask elsewhere."""
        core, at = self._core, lacking.position
        self._shared.claims.defer(member.key, lacking.id, _FALSE_SECONDS)
        if at.hash not in self._accused and len(self._accused) < _MAX_ACCUSED:
            self._accused.add(at.hash)
            detail = (
                f"{member.name} gave bytes for block {at.epoch}/{at.height} of gateway"
                f" {lacking.gateway.hex()[:16]} that are not its header's"
            )
            core.store.notes.add_finding(core.now_ms(), NO_GATEWAY, "false-body", detail, at.hash)


def given_block(held: Kept, body: Body) -> Block | None:
    """Return a held block with the segments that were given alone, None where any is not what its header says."""
    header = held.header
    given = {each.klass: each.data for each in body.segments if each.state == GIVEN}
    heads = {head.klass: head for head in header.segments}
    for klass, data in given.items():
        if klass not in heads or segment_hash(data) != heads[klass].hash:
            return None
    signed = held.signed
    segments = tuple(given.get(head.klass, b"") for head in header.segments)
    return Block(signed.suite, signed.body, signed.signature, segments)
