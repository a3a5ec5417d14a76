"""What the hub says to gateways: made, signed, queued and published by one thread.

Owned: the messages towards gateways and the hub's own state. Not owned: the connection (`gateway.mqtt`), when
something is said. Invariants:

- Saying something never blocks its sayer: an alarm must not wait for a slow broker.
- What cannot be published is dropped: gateways ask again, and every answer can be made again from disk.
- A hub that does not know where the chain stands says nothing of it; who asked is answered once it does.
- The state's version never falls, not over restarts either: it starts above the last final block's time.
- What a gateway had verified at its birth is not shown to it again: its seals leave out the changes of voters up to
  there. The state, which is everybody's, shows them all.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Protocol

from gateway.chain.cometbft import CometSeal
from gateway.chain.custody import CustodyBatch, Receipt
from gateway.chain.entries import gateway_key, roster_key
from gateway.chain.finality import Checkpoint, Seal
from gateway.chain.genesis import COMETBFT, Genesis
from gateway.chain.keys import ALARM_RECEIPT, ANSWER, HUB_STATE, REQUEST, Signed
from gateway.chain.leaf import HEADERS, LogLeaf
from gateway.chain.messages import (
    MAX_RECEIPTS,
    AlarmReceipt,
    Answer,
    Birth,
    HeaderFinality,
    HubState,
    Receipts,
    Request,
    Successor,
)
from gateway.chain.tenure import NOWHERE
from gateway.mqtt.config import LinkError
from hub.core import Core
from hub.errors import HubError
from hub.topics import Topics, alarm_receipt_payload, answer_payload, receipts_payload
from hub.worker import Worker

_log = logging.getLogger(__name__)

NOT_ENROLLED: Final = 255
_WAITING: Final = 4096
_KNOWN: Final = 256
_ALARMS: Final = 64
_ASK_EVERY_SECONDS: Final = 2.0
_VERSIONS: Final = 1 << 20  # state versions within one start


class Publisher(Protocol):
    """The way out; `gateway.mqtt.link.Link` is one."""

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, timeout: float = 5.0) -> None: ...


class Outbox:
    """Everything the hub publishes. Safe for several threads; `start` it with the connection it is to use."""

    def __init__(self, core: Core) -> None:
        self._core, self._topics = core, Topics(core.region)
        self._queue: queue.Queue[tuple[str, bytes, bool] | None] = queue.Queue(_WAITING)
        self._link: Publisher | None = None
        self.worker = Worker("outbox", self._run, self._wake)
        self._stopping = False
        self._lock = threading.Lock()
        self._version = self._started = 0
        self._unanswered: dict[bytes, tuple[bytes, int]] = {}
        self._asked: dict[tuple[bytes, bool], float] = {}
        self._seen: dict[bytes, tuple[bytes, int]] = {}
        self.dropped = 0

    def start(self, link: Publisher) -> None:
        """Begin to publish."""
        self._link = link
        self.worker.start()

    def _wake(self) -> None:
        """Publish what waits, as far as the connection takes it, and end."""
        self._stopping = True
        self._queue.put(None)

    def _run(self) -> None:
        assert self._link is not None, "started with a connection"
        while (message := self._queue.get()) is not None:
            topic, payload, retain = message
            try:
                self._link.publish(topic, payload, retain=retain, timeout=0.2 if self._stopping else 5.0)
            except LinkError as error:
                self.dropped += 1
                if self._stopping:
                    return
                _log.debug("not said: %s: %s", topic, error)
            except Exception:
                self.dropped += 1
                _log.exception("a defect in saying %s", topic)

    def _say(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        try:
            self._queue.put_nowait((topic, payload, retain))
        except queue.Full:
            self.dropped += 1

    # to a gateway

    def say_receipts(self, gateway: bytes, epoch: int, first: int, last: int) -> None:
        """Repeat the custody receipts for blocks `first` to `last`, with the finality of the highest final one.

        Other hubs' go along, as far as they are known here: each carries its own signature, and its hub may be out
        of the gateway's reach.
        """
        store = self._core.store
        receipts = store.custody.receipts(gateway, epoch, first, last)
        own = {each.promise.height: each for each in receipts}
        others = {
            (CustodyBatch.decode(each.batch.body).hub, each.promise.height): each
            for each in store.peer_custody.receipts(gateway, epoch, first, last)
        }
        custody, finality = [*own.values(), *others.values()], self._finality(gateway, epoch, last)
        for at in range(0, max(len(custody), 1), MAX_RECEIPTS):
            self._say_receipts(gateway, custody[at : at + MAX_RECEIPTS], finality)

    def _say_receipts(
        self, gateway: bytes, custody: Sequence[Receipt], finality: HeaderFinality | None
    ) -> None:
        core = self._core
        receipts = Receipts(core.genesis.hash, core.key.public, tuple(custody), finality)
        self._say(self._topics.to(gateway, "receipt"), receipts_payload(receipts))

    def _finality(self, gateway: bytes, epoch: int, last: int) -> HeaderFinality | None:
        """Return the finality of block `last`, or of the final head where that lies below it."""
        core = self._core
        entry = core.entry(gateway)
        if entry is None or entry.head == NOWHERE:
            return None
        candidates = [entry.head]
        if last < entry.head.height:
            stored = core.store.headers_at(gateway, epoch, last)
            candidates = [each.position for each in stored] + candidates
        for at in candidates:
            proof = core.prove(LogLeaf(HEADERS, gateway, at.epoch, at.height, at.hash))
            if proof is not None:
                shown = compact(proof.checkpoint, self._known_to(gateway))
                return HeaderFinality(at, replace(proof, checkpoint=shown))
        return None

    def greeted(self, gateway: bytes, birth: Birth) -> None:
        """Take note of the final block that a gateway had verified when it was born."""
        self._seen[gateway] = birth.boot, birth.seen.height

    def _known_to(self, gateway: bytes) -> int:
        """Return the final block that a gateway has verified: at its birth, or as its head says since."""
        if gateway not in self._seen:
            found = self._core.store.library.birth(gateway)
            if found is None:
                return 0
            self.greeted(gateway, Birth.decode(found[0].body))
        boot, seen = self._seen[gateway]
        entry = self._core.entry(gateway)
        return max(seen, entry.seen) if entry and entry.boot == boot else seen

    def say_alarm_receipt(self, gateway: bytes, alarms: Sequence[bytes]) -> None:
        """Say that alarms (by transition hash) are on disk."""
        core = self._core
        body = AlarmReceipt(core.genesis.hash, core.key.public, gateway, tuple(alarms))
        signed = core.key.signed(ALARM_RECEIPT, body.encode())
        self._say(self._topics.to(gateway, "receipt"), alarm_receipt_payload(signed))

    def say_answer(self, gateway: bytes, boot: bytes, version: int) -> None:
        """Answer the birth of this boot and version: where the chain stands with its gateway."""
        if not self._core.is_current:
            if len(self._unanswered) < _WAITING:
                self._unanswered[gateway] = boot, version
            return
        signed = self._core.key.signed(ANSWER, self.answer(gateway, boot, version).encode())
        self._say(self._topics.to(gateway, "receipt"), answer_payload(signed))

    def answer_waiting(self) -> None:
        """Answer the births that had to wait, if the hub knows by now what to say."""
        if self._unanswered and self._core.is_current:
            waiting, self._unanswered = self._unanswered, {}
            for gateway, (boot, version) in waiting.items():
                try:
                    self.say_answer(gateway, boot, version)
                except HubError as error:
                    _log.error("%s is not answered, until it asks again: %s", gateway.hex(), error)

    def answer(self, gateway: bytes, boot: bytes, version: int) -> Answer:
        """Return what the chain and this hub know of a gateway, as of the latest checkpoint."""
        core, checkpoint = self._core, self._core.checkpoint()
        at = core.ledger.committed_as(checkpoint.app)
        entry = at.entry(gateway) if at else core.entry(gateway)
        store, epoch, head = core.store, entry.epoch if entry else 0, entry.head if entry else NOWHERE
        known = store.headers_after(gateway, epoch, head.height, _KNOWN) if entry else []
        alarms = dict.fromkeys(each.hash for each in store.latest_alarms(gateway, _ALARMS))
        return Answer(
            core.genesis.hash,
            core.key.public,
            gateway,
            boot,
            version,
            entry.standing if entry else NOT_ENROLLED,
            epoch,
            head,
            tuple(each.position for each in known),
            tuple(alarms),
            compact(checkpoint, self._known_to(gateway)),
            core.now_ms(),
            at.prove(gateway_key(gateway)) if at else None,
        )

    def say_request(self, gateway: bytes, boot: bytes, first: int, last: int) -> None:
        """Ask for blocks `first` to `last` again, or, with zeros, for a birth; not too often."""
        core, kind, now = self._core, first > 0, time.monotonic()
        with self._lock:
            if now - self._asked.get((gateway, kind), -_ASK_EVERY_SECONDS) < _ASK_EVERY_SECONDS:
                return
            self._asked[gateway, kind] = now
        body = Request(core.genesis.hash, core.key.public, gateway, boot, first, last)
        signed = core.key.signed(REQUEST, body.encode())
        self._say(self._topics.to(gateway, "request"), signed.encode())

    def say_grant(self, gateway: bytes, grant: Signed) -> None:
        """Hand on an authority's contract set; the broker keeps it for a gateway that is away."""
        self._say(self._topics.to(gateway, "contract"), grant.encode(), retain=True)

    def say_command(self, gateway: bytes, command: Signed) -> None:
        """Hand on a command; the broker holds it for a gateway whose session goes on, and for nobody else."""
        self._say(self._topics.to(gateway, "command"), command.encode())

    # to all

    def say_state(self, *, online: bool) -> None:
        """Publish the hub's state, retained, once there is a final block that it can tell of."""
        if self._core.store.chain.checkpoint() is None:
            return
        with self._lock:
            self._version += 1
            payload = self._state(self._base() + self._version, online=online)
        self._say(self._topics.state(self._core.identity.hub.name), payload, retain=True)

    def say_successor(self, hub: str, successor: Genesis) -> None:
        """Tell gateways of a hub alone that another chain takes its over; the broker keeps it for those away."""
        payload = Successor(successor, self._core.checkpoint()).encode()
        self._say(self._topics.successor(hub), payload, retain=True)

    def farewell(self) -> bytes | None:
        """Return the state that the broker is to publish when this hub vanishes: it stands above all said so far.

        None where there is no final block yet that it could tell of.
        """
        if self._core.store.chain.checkpoint() is None:
            return None
        with self._lock:
            return self._state(self._base() + _VERSIONS - 1, online=False)

    def restart_versions(self) -> None:
        """Begin above the farewell, which the broker may have published."""
        with self._lock:
            self._started = max(self._started + 1, self._core.now_ms())
            self._version = 0

    def _base(self) -> int:
        if not self._started:
            self._started = max(self._core.now_ms(), self._core.ledger.committed.time + 1)
        return self._started * _VERSIONS

    def _state(self, version: int, *, online: bool) -> bytes:
        core, checkpoint = self._core, self._core.checkpoint()
        at = core.ledger.committed_as(checkpoint.app)
        roster = at.prove(roster_key()) if at else None
        shown = roster if roster and roster.value else None
        body = HubState(core.genesis.hash, core.key.public, version, int(online), checkpoint, shown)
        return core.key.signed(HUB_STATE, body.encode()).encode()


def compact(checkpoint: Checkpoint, seen: int) -> Checkpoint:
    """Return a checkpoint for a reader that has verified final block `seen`: without the changes up to there."""
    if checkpoint.seal.engine != COMETBFT:
        return checkpoint
    seal = CometSeal.decode(checkpoint.seal.data)
    steps = tuple(step for step in seal.steps if step.header.height > seen)
    return replace(checkpoint, seal=Seal(COMETBFT, replace(seal, steps=steps).encode()))
