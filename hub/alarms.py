"""The lane of alarms: it fails open, and nothing waits before it.

Owned: one queue and its thread; what becomes of an alarm from its arrival to its offer. Not owned: what is
shown (`hub.view`), what becomes of the offer (`hub.finality`).

Invariants:
- An alarm from a gateway that is unknown or in bad standing is stored and shown, with its flaw; only bytes that
  are no alarm, of another chain, or not signed by their known gateway are refused.
- What came before its gateway's enrolment was final is judged then, as if it had come after it.
- A receipt is given only for what is on disk under its gateway's signature. What the disk does not take, or what
  nobody can check, is shown all the same, and gets none.
- Gateways take turns: none's alarm waits behind another's flood, and a flood is stored many at a time.
- Only good alarms are offered to consensus, and again until they are final.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.chain.alarm import CONDITIONS, RECORDED, UNRECORDED, Alarm, Transition
from gateway.chain.entries import GOOD
from gateway.chain.errors import ChainError, UnknownGateway
from gateway.chain.leaf import ALARMS, IMPORT, LogLeaf
from gateway.chain.ordered import Alarms, Transaction, encode_transaction
from gateway.chain.verify import check_alarm_signature, read_transition
from hub.core import Core, Misdirected, Refusals
from hub.errors import StoreError
from hub.fairqueue import FairQueue
from hub.outbox import Outbox
from hub.storage.store import BAD_SIGNATURE, UNKNOWN_GATEWAY, UNPROVEN, StoredAlarm
from hub.view import View
from hub.worker import Worker

_log = logging.getLogger(__name__)

_QUEUE: Final = 4096
_DRAIN: Final = 64
_OFFER_AGAIN_SECONDS: Final = 2.0
_PAGE: Final = 500
_STRANGERS: Final = 60  # alarms of unknown gateways that are taken in a minute, of all together
_BATCH: Final = 12  # alarms in one transaction: each has at most 4 KiB


@dataclass(frozen=True, slots=True)
class _Judged:
    """An alarm of its gateway, with its flaw, empty for a good one."""

    gateway: bytes
    alarm: Alarm
    transition: Transition
    flaw: str


class AlarmLane:
    """Takes alarms in. `offer`, `enrolled` and `final` are for any thread, the rest for the lane's own."""

    def __init__(self, core: Core, outbox: Outbox, refusals: Refusals, view: View) -> None:
        self._core, self._outbox, self._refusals, self._view = core, outbox, refusals, view
        self._queue = FairQueue(_QUEUE)
        self.worker = Worker("alarms", self._run, self._queue.close)
        self._lock = threading.Lock()
        self._waiting: dict[bytes, Alarm] = {}  # guarded by _lock: good ones that are not final
        self._unjudged: set[bytes] = (
            set()
        )  # guarded by _lock: gateways enrolled after they had sent something
        self._strangers: Counter[int] = Counter()

    def start(self) -> None:
        """Offer what waits on disk, then begin to work."""
        self._load()
        self.worker.start()

    def offer(self, gateway: bytes, payload: bytes) -> None:
        """Queue an alarm from its gateway's topic. In a flood, whoever floods loses: it is not acknowledged."""
        if not self._queue.put(gateway, payload):
            self._refusals.note_named(gateway, "Flood", f"{_QUEUE} alarms wait already", payload)

    def enrolled(self, gateway: bytes) -> None:
        """Take up that what a gateway sent before it was known can be judged."""
        with self._lock:
            self._unjudged.add(gateway)
        self._queue.wake()

    def final(self, identity: bytes) -> None:
        """Take up that an alarm is final: it need not be offered again."""
        with self._lock:
            self._waiting.pop(identity, None)

    def keep(self, transaction: Transaction) -> None:
        """Store and show final alarms that other hubs heard; any other transaction is passed by. Raises StoreError."""
        if not isinstance(transaction, Alarms):
            return
        core, found = self._core, []
        for alarm in transaction.alarms:
            try:
                transition = read_transition(alarm, core.genesis)
            except ChainError:
                continue  # it was refused
            if alarm_index(core, transition.gateway, alarm.hash) is not None:
                found.append((alarm, transition))
        received = core.now_ms()
        new = core.store.add_alarms([(seen.gateway, alarm, "") for alarm, seen in found], received)
        for (alarm, transition), is_new in zip(found, new, strict=True):
            if is_new:
                self._show(alarm, transition, (), received)
            self.final(alarm.hash)
            self._view.alarm_final(alarm.hash, received)

    def _run(self) -> None:
        again = time.monotonic() + _OFFER_AGAIN_SECONDS
        while True:
            try:
                batch = self._queue.take(_DRAIN, max(again - time.monotonic(), 0.0))
                if batch is None:
                    return
                self.take_in(batch)
                self.judge_again()
                if time.monotonic() >= again:
                    again = time.monotonic() + _OFFER_AGAIN_SECONDS
                    self.offer_waiting()
            except Exception:
                _log.exception("alarms are lost to a defect; their gateways will send them again")

    def take_in(self, batch: Iterable[tuple[bytes, bytes]]) -> None:
        """Judge, store, acknowledge, show and offer alarms, given as (gateway of the topic, payload)."""
        judged = [each for gateway, payload in batch if (each := self._judged(gateway, payload))]
        if not judged:
            return
        received = self._core.now_ms()
        try:
            new = self._core.store.add_alarms([(e.gateway, e.alarm, e.flaw) for e in judged], received)
        except StoreError as error:
            _log.error("%d alarms are shown but not stored: %s", len(judged), error)
            for each in judged:
                self._show(each.alarm, each.transition, (each.flaw, "unstored"), received)
            return
        fresh = [each for each, is_new in zip(judged, new, strict=True) if is_new]
        for each in fresh:  # before it is offered: once it is final, it must be there to be shown so
            self._show(each.alarm, each.transition, (each.flaw,), received)
        self._offer_new([each.alarm for each in fresh if not each.flaw])
        for each in judged:
            self._acknowledge(each.alarm, each.gateway, each.flaw)

    def _judged(self, gateway: bytes, payload: bytes) -> _Judged | None:
        try:
            alarm = Alarm.decode(payload)
            transition = read_transition(alarm, self._core.genesis)
            return _Judged(gateway, alarm, transition, self._judge(gateway, alarm, transition))
        except ChainError as error:
            self._refusals.note(gateway, error, payload)
            return None

    def judge_again(self) -> None:
        """Judge, show and offer what is on disk of gateways that were unknown when it came and are known now."""
        with self._lock:
            waiting = tuple(self._unjudged)
        for gateway in waiting:
            try:
                for stored in self._stored(gateway=gateway, flaw=UNKNOWN_GATEWAY):
                    self._judge_stored(gateway, stored)
            except StoreError as error:
                _log.error("alarms of %s are still to be judged: %s", gateway.hex(), error)
            else:
                with self._lock:
                    self._unjudged.discard(gateway)

    def _judge_stored(self, gateway: bytes, stored: StoredAlarm) -> None:
        transition = Transition.decode(stored.alarm.transition)
        try:
            flaw = self._judge(gateway, stored.alarm, transition)
        except ChainError as error:
            self._refusals.note(gateway, error, stored.alarm.encode())
            flaw = BAD_SIGNATURE
        self._core.store.judge_alarm(stored, flaw)
        self._show(stored.alarm, transition, (flaw,), stored.received)
        if not flaw:
            self._offer_new([stored.alarm])
        self._acknowledge(stored.alarm, gateway, flaw)

    def _acknowledge(self, alarm: Alarm, gateway: bytes, flaw: str) -> None:
        """Say that an alarm is on disk. A receipt names it by its transition alone, which anyone may have copied."""
        if flaw not in UNPROVEN:
            self._outbox.say_alarm_receipt(gateway, (alarm.hash,))

    def _offer_new(self, alarms: Sequence[Alarm]) -> None:
        with self._lock:
            self._waiting |= {alarm.hash: alarm for alarm in alarms}
        self._offer(alarms)

    def _offer(self, alarms: Sequence[Alarm]) -> None:
        for at in range(0, len(alarms), _BATCH):
            self._core.offer(encode_transaction(Alarms(tuple(alarms[at : at + _BATCH]))))

    def _judge(self, gateway: bytes, alarm: Alarm, transition: Transition) -> str:
        """Return an alarm's flaw, empty for a good one. Raises ChainError for what is no alarm of its gateway."""
        if transition.gateway != gateway:
            raise Misdirected(f"an alarm of gateway {transition.gateway.hex()[:16]} on another's topic")
        entry = self._core.entry(gateway)
        if entry is None:
            self._admit_stranger(gateway)
            return UNKNOWN_GATEWAY
        check_alarm_signature(alarm, entry)
        return "" if entry.standing in (GOOD, IMPORT) else "RevokedKey"

    def _admit_stranger(self, gateway: bytes) -> None:
        """Bound what strangers can write to the disk: their alarms cannot be checked. Raises UnknownGateway."""
        minute = int(time.monotonic() // 60)
        self._strangers = Counter({minute: self._strangers[minute] + 1})
        if self._strangers[minute] > _STRANGERS:
            raise UnknownGateway(f"{gateway.hex()[:16]}: too many alarms of unknown gateways in a minute")

    def _show(self, alarm: Alarm, transition: Transition, flaws: tuple[str, ...], received: int) -> None:
        document = self._core.store.library.contract(transition.contract_hash)
        flaws = tuple(filter(None, flaws))
        self._view.alarmed(alarm, transition, flaws, received, document)
        _log.info(
            "alarm of %s: %s is %s%s",
            transition.gateway.hex(),
            transition.contract,
            CONDITIONS[transition.after],
            "".join(f", {flaw}" for flaw in flaws),
        )

    def offer_waiting(self) -> None:
        """Offer every good alarm that is not final."""
        with self._lock:
            waiting = list(self._waiting.values())
        self._offer(waiting)

    def _load(self) -> None:
        """Find on disk what is not final yet, and what was not judged before the stop."""
        core = self._core
        strangers = {each.gateway for each in self._stored(flaw=UNKNOWN_GATEWAY)}
        self._unjudged = {gateway for gateway in strangers if core.entry(gateway) is not None}
        self.judge_again()
        for stored in self._stored(flaw=""):
            if alarm_index(core, stored.gateway, stored.hash) is None:
                self._waiting[stored.hash] = stored.alarm
        self.offer_waiting()

    def _stored(self, *, gateway: bytes | None = None, flaw: str) -> Iterator[StoredAlarm]:
        after = 0
        while page := self._core.store.alarms(gateway=gateway, flaw=flaw, after=after, limit=_PAGE):
            yield from page
            after = page[-1].id


def alarm_index(core: Core, gateway: bytes, identity: bytes) -> int | None:
    """Return the place of an alarm in the log, under whichever mark; None where it is not final."""
    leaves = [LogLeaf(ALARMS, gateway, 0, mark, identity) for mark in (RECORDED, UNRECORDED)]
    return next((index for leaf in leaves if (index := core.ledger.index(leaf)) is not None), None)
