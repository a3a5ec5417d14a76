"""The lane of alarms: it fails open, and nothing waits before it.

Owned: one queue and its thread; what becomes of an alarm from its arrival to its offer. Not owned: what is
shown (`hub.view`), what becomes of the offer (`hub.finality`).

Invariants:
- An alarm from a gateway that is unknown or in bad standing is stored and shown, with its flaw; only bytes that
  are no alarm, of another chain, or not signed by their known gateway are refused.
- What came before its gateway's enrolment was final is judged then, as if it had come after it.
- A receipt is given only for what is on disk under its gateway's signature. What the disk does not take, or what
  nobody can check, is shown all the same, and gets none.
- Only good alarms are offered to consensus, and again until they are final.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Final

from gateway.chain.alarm import CONDITIONS, RECORDED, UNRECORDED, Alarm, Transition
from gateway.chain.entries import GOOD
from gateway.chain.errors import ChainError, UnknownGateway
from gateway.chain.ordered import ALARMS, Alarms, LogLeaf, encode_transaction
from gateway.chain.verify import check_alarm_signature, read_transition
from hub.core import Core, Misdirected, Refusals
from hub.errors import StoreError
from hub.outbox import Outbox
from hub.store import BAD_SIGNATURE, UNKNOWN_GATEWAY, UNPROVEN, StoredAlarm
from hub.view import View

_log = logging.getLogger(__name__)

_QUEUE: Final = 1024
_OFFER_AGAIN_SECONDS: Final = 2.0
_PAGE: Final = 500
_STRANGERS: Final = 60  # alarms of unknown gateways that are taken in a minute, of all together
_BATCH: Final = 12  # alarms in one transaction: each has at most 4 KiB


class AlarmLane:
    """Takes alarms in. `offer` and `final` are for any thread, everything else for the lane's own (or a test's)."""

    def __init__(self, core: Core, outbox: Outbox, refusals: Refusals, view: View) -> None:
        self._core, self._outbox, self._refusals, self._view = core, outbox, refusals, view
        self._queue: queue.Queue[tuple[bytes, bytes | None] | None] = queue.Queue(_QUEUE)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._waiting: dict[bytes, Alarm] = {}  # guarded by _lock: good ones that are not final
        self._unjudged: set[bytes] = set()  # gateways that were enrolled after they had sent something
        self._strangers: Counter[int] = Counter()

    def start(self) -> None:
        """Offer what waits on disk, then begin to work."""
        self._load()
        self._thread = threading.Thread(target=self._run, name="alarms", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish what is queued and end. Idempotent."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def offer(self, gateway: bytes, payload: bytes) -> None:
        """Queue an alarm from its gateway's topic."""
        self._queue.put((gateway, payload))

    def enrolled(self, gateway: bytes) -> None:
        """Queue the judgement of what a gateway sent before it was known."""
        self._queue.put((gateway, None))

    def final(self, identity: bytes) -> None:
        """Take up that an alarm is final: it need not be offered again."""
        with self._lock:
            self._waiting.pop(identity, None)

    def _run(self) -> None:
        again = time.monotonic() + _OFFER_AGAIN_SECONDS
        while True:
            try:
                item = self._queue.get(timeout=max(again - time.monotonic(), 0.0))
                if item is None:
                    return
                gateway, payload = item
                if payload is not None:
                    self.take_in(gateway, payload)
                else:
                    self._unjudged.add(gateway)
                    self.judge_again()
            except queue.Empty:
                self.judge_again()
                self.offer_waiting()
                again = time.monotonic() + _OFFER_AGAIN_SECONDS
            except Exception:
                _log.exception("an alarm is lost to a defect; its gateway will send it again")

    def take_in(self, gateway: bytes, payload: bytes) -> None:
        """Judge, store, acknowledge, show and offer one alarm from its gateway's topic."""
        core = self._core
        try:
            alarm = Alarm.decode(payload)
            transition = read_transition(alarm, core.genesis)
            flaw = self._judge(gateway, alarm, transition)
        except ChainError as error:
            self._refusals.note(gateway, error, payload)
            return
        received = core.now_ms()
        try:
            is_new = core.store.add_alarm(alarm, gateway, flaw, received)
        except StoreError as error:
            _log.error("an alarm of %s is shown but not stored: %s", gateway.hex(), error)
            self._show(alarm, transition, (flaw, "unstored"), received)
            return
        if is_new and not flaw:
            self._offer_new(alarm)
        self._acknowledge(alarm, gateway, flaw)
        if is_new:
            self._show(alarm, transition, (flaw,), received)

    def judge_again(self) -> None:
        """Judge, show and offer what is on disk of gateways that were unknown when it came and are known now."""
        for gateway in tuple(self._unjudged):
            try:
                for stored in self._stored(gateway=gateway, flaw=UNKNOWN_GATEWAY):
                    self._judge_stored(gateway, stored)
            except StoreError as error:
                _log.error("alarms of %s are still to be judged: %s", gateway.hex(), error)
            else:
                self._unjudged.discard(gateway)

    def _judge_stored(self, gateway: bytes, stored: StoredAlarm) -> None:
        transition = Transition.decode(stored.alarm.transition)
        try:
            flaw = self._judge(gateway, stored.alarm, transition)
        except ChainError as error:
            self._refusals.note(gateway, error, stored.alarm.encode())
            flaw = BAD_SIGNATURE
        self._core.store.judge_alarm(stored, flaw)
        if not flaw:
            self._offer_new(stored.alarm)
        self._acknowledge(stored.alarm, gateway, flaw)
        self._show(stored.alarm, transition, (flaw,), stored.received)

    def _acknowledge(self, alarm: Alarm, gateway: bytes, flaw: str) -> None:
        """Say that an alarm is on disk. A receipt names it by its transition alone, which anyone may have copied."""
        if flaw not in UNPROVEN:
            self._outbox.say_alarm_receipt(gateway, (alarm.hash,))

    def _offer_new(self, alarm: Alarm) -> None:
        with self._lock:
            self._waiting[alarm.hash] = alarm
        self._core.offer(encode_transaction(Alarms((alarm,))))

    def _judge(self, gateway: bytes, alarm: Alarm, transition: Transition) -> str:
        """Return an alarm's flaw, empty for a good one. Raises ChainError for what is no alarm of its gateway."""
        if transition.gateway != gateway:
            raise Misdirected(f"an alarm of gateway {transition.gateway.hex()[:16]} on another's topic")
        entry = self._core.entry(gateway)
        if entry is None:
            self._admit_stranger(gateway)
            return UNKNOWN_GATEWAY
        check_alarm_signature(alarm, entry)
        return "" if entry.standing == GOOD else "RevokedKey"

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
        for at in range(0, len(waiting), _BATCH):
            self._core.offer(encode_transaction(Alarms(tuple(waiting[at : at + _BATCH]))))

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
