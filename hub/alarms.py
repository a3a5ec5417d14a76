"""The lane of alarms: it fails open, and nothing waits before it.

Owned: one queue and its thread; what becomes of an alarm from its arrival to its offer. Not owned: what is
shown (`hub.view`), what becomes of the offer (`hub.finality`).

Invariants:
- An alarm from a gateway that is unknown or in bad standing is stored and shown, with its flaw; only bytes that
  are no alarm, of another chain, or not signed by their known gateway are refused.
- A receipt is given only for what is on disk. What the disk does not take is shown all the same, and gets none.
- Only good alarms are offered to consensus, and again until they are final.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter
from typing import Final

from gateway.chain.alarm import CONDITIONS, RECORDED, UNRECORDED, Alarm, Transition
from gateway.chain.entries import GOOD
from gateway.chain.errors import ChainError, UnknownGateway
from gateway.chain.ordered import ALARMS, Alarms, LogLeaf, encode_transaction
from gateway.chain.verify import check_alarm_signature, read_transition
from hub.core import Core, Misdirected, Refusals
from hub.errors import StoreError
from hub.outbox import Outbox
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
        self._queue: queue.Queue[tuple[bytes, bytes] | None] = queue.Queue(_QUEUE)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._waiting: dict[bytes, Alarm] = {}  # guarded by _lock: good ones that are not final
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
                self.take_in(*item)
            except queue.Empty:
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
            with self._lock:
                self._waiting[alarm.hash] = alarm
            core.offer(encode_transaction(Alarms((alarm,))))
        self._outbox.say_alarm_receipt(gateway, (alarm.hash,))
        if is_new:
            self._show(alarm, transition, (flaw,), received)

    def _judge(self, gateway: bytes, alarm: Alarm, transition: Transition) -> str:
        """Return an alarm's flaw, empty for a good one. Raises ChainError for what is no alarm of its gateway."""
        if transition.gateway != gateway:
            raise Misdirected(f"an alarm of gateway {transition.gateway.hex()[:16]} on another's topic")
        entry = self._core.entry(gateway)
        if entry is None:
            self._admit_stranger(gateway)
            return "UnknownGateway"
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
        self._view.alarmed(alarm, transition, filter(None, flaws), received, document)
        _log.info(
            "alarm of %s: %s is %s%s",
            transition.gateway.hex(),
            transition.contract,
            CONDITIONS[transition.after],
            "".join(f", {flaw}" for flaw in flaws if flaw),
        )

    def offer_waiting(self) -> None:
        """Offer every good alarm that is not final."""
        with self._lock:
            waiting = list(self._waiting.values())
        for at in range(0, len(waiting), _BATCH):
            self._core.offer(encode_transaction(Alarms(tuple(waiting[at : at + _BATCH]))))

    def _load(self) -> None:
        """Find on disk what is not final yet."""
        core, after = self._core, 0
        while page := core.store.alarms(after=after, limit=_PAGE):
            for stored in page:
                if not stored.flaw and alarm_index(core, stored.gateway, stored.hash) is None:
                    self._waiting[stored.hash] = stored.alarm
            after = page[-1].id
        self.offer_waiting()


def alarm_index(core: Core, gateway: bytes, identity: bytes) -> int | None:
    """Return the place of an alarm in the log, under whichever mark; None where it is not final."""
    leaves = [LogLeaf(ALARMS, gateway, 0, mark, identity) for mark in (RECORDED, UNRECORDED)]
    return next((index for leaf in leaves if (index := core.ledger.index(leaf)) is not None), None)
