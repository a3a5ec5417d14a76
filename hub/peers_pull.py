"""Bodies, promises and catalogues had from one other hub, in a thread of its own.

Owned: the questions, and holding each answer against what the chain says. Not owned: who is asked for what
(`hub.peers_claims`), what is kept (`hub.keeping`).

Invariants:
- A body is stored only if it is what its final header commits to; bytes that are not are a finding against the hub
  that gave them, and are had from another.
- What was begun is begun again after a crash: what is missing is on disk, and a batch of bodies is kept at once.
- A hub that fails is left alone for a while, ever longer; the others are asked meanwhile.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.chain.block import Block, listing
from gateway.chain.custody import CustodyBatch, Promise
from gateway.chain.errors import BadProof, BadSegment, ChainError
from gateway.chain.governance import Member
from gateway.chain.keys import CUSTODY
from gateway.chain.leaf import NO_GATEWAY
from gateway.chain.possession import MAX_WANTED
from gateway.chain.reading import segment_hash
from gateway.chain.trees import leaf_hash, root_of
from hub.bodies import Kept, Lacking
from hub.core import Core
from hub.errors import HubError
from hub.keeping import Keeping
from hub.library import read_catalogue
from hub.peers_ask import Asker
from hub.peers_claims import Claims
from hub.peers_history import History
from hub.peers_link import Bucket, PeerRefusal
from hub.peers_past import PastAlarms
from hub.peers_policy import Policy
from hub.peers_roots import Roots
from hub.peers_state import PeerState
from hub.peers_wire import GIVEN, LACKING, SHED, WITHHELD, Body, PromiseBatch
from hub.store import NewBlock
from hub.worker import Worker

_log = logging.getLogger(__name__)

_AGAIN_SECONDS: Final = {LACKING: 30.0, SHED: 86_400.0, WITHHELD: 3600.0}
_PATIENCE: Final = 10
_SELDOM_SECONDS: Final = 6 * 3600.0
_FALSE_SECONDS: Final = 3600.0
_BATCHES_AT_ONCE: Final = 16


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


class Puller:
    """Asks one hub. `rounds` is for its own thread, or a test's."""

    def __init__(self, shared: Shared, state: PeerState, asker: Asker, keeping: Keeping) -> None:
        self._shared, self._state, self._asker, self._keeping = shared, state, asker, keeping
        self._core = shared.core
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
        more = self._pull_promises(member)
        self._pull_library(member)
        more = self._pull_headers(member) or more
        more = self._pull_alarms(member) or more
        more = self._pull_bodies(member) or more
        self._state.well()
        return more

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
        """Keep a batch of promises once it is the hub's own. Raises ChainError."""
        body = CustodyBatch.decode(given.batch.body)
        self._core.genesis.require(body.genesis, "the custody batch")
        if body.hub != member.key:
            raise BadProof(f"{member.name} gives the promises of another hub for its own")
        given.batch.verify(CUSTODY, member.key)
        leaves = [leaf_hash(promise.encode()) for promise in given.promises]
        if (len(leaves), root_of(leaves)) != (body.count, body.root):
            raise BadProof(f"{member.name} signed other promises than those it shows")
        if self._core.store.peer_custody.add(member.key, given.batch, given.promises):
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
            root = listing([each.encode() for each in catalogue]).root
            if root in catalogues:
                core.store.library.add_catalogue(catalogue)
                self._shared.roots.found(root)
        for found in answer.contracts:
            if (root := listing(found.documents).root) in contracts:
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
        taken = []
        for body in answer.bodies:
            lacking = wanted.pop(body.hash, None)
            if lacking is None:
                raise BadProof(f"{member.name} gives a body that it was not asked for")
            if (new := self._judge(member, lacking, body, classes)) is not None:
                taken.append(new)
        if taken:
            self._keeping.keep(taken)
            self._state.count(had=len(taken))
        return True

    def _judge(self, member: Member, lacking: Lacking, body: Body, classes: int) -> NewBlock | None:
        """Return what is to be kept of a body; what it is not is noted. Raises StoreError."""
        held = self._core.store.bodies.find(body.hash)
        assert held is not None, "only headers that are kept lack bodies"
        block = given_block(held, body)
        if block is None:
            self._accuse(member, lacking)
            return None
        self._defer_rest(member, lacking, body, classes)
        region = self._region(lacking)
        try:
            return self._keeping.completed(held, block, held.header, region, is_final=True)
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
        self._state.count(failures=1)
        if at.hash not in self._accused:
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
