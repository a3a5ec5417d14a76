"""What follows when items become final: receipts, answers, findings, the read model.

Owned: the queue of final events and its thread, who waits for which transaction, up to where each gateway has
had its receipts. Not owned: what is final (`hub.ledger.ledger`), what is said (`hub.outbox`).

Invariants:
- The engine's thread is only held up for a moment; time of finality is taken there.
- Everything here can be done twice: events are delivered again after a crash.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from concurrent.futures import Future
from typing import Final

from gateway.chain.alarm import Transition
from gateway.chain.entries import GatewayEntry
from gateway.chain.errors import ChainError
from gateway.chain.leaf import NO_GATEWAY
from gateway.chain.ordered import (
    Alarms,
    Enrol,
    EpochOrder,
    Equivocate,
    Grant,
    Headers,
    Import,
    Revoke,
    Rotate,
    Transaction,
)
from gateway.chain.tenure import (
    NOWHERE,
    ContractGrant,
    EnrolmentBody,
    EpochChangeBody,
    Position,
    Revocation,
    RotationBody,
)
from gateway.chain.verify import enrolled_id
from hub.alarms import AlarmLane
from hub.consensus.base import FinalEvent, TxResult, tx_id
from hub.core import Core
from hub.errors import HubError
from hub.findings import Teller
from hub.hails import HailLane
from hub.ledger.ledger import Committed
from hub.outbox import Outbox
from hub.view import View
from hub.worker import Worker

_log = logging.getLogger(__name__)

_STATE_EVERY_SECONDS: Final = 10.0
_TICK_SECONDS: Final = 1.0


class Finality:
    """Follows the engine. Subscribe it before the engine starts."""

    def __init__(self, core: Core, outbox: Outbox, alarms: AlarmLane, hails: HailLane, view: View) -> None:
        self._core, self._outbox, self._alarms, self._hails, self._view = core, outbox, alarms, hails, view
        self._teller = Teller(core.genesis)
        self._queue: queue.SimpleQueue[tuple[FinalEvent, Committed, int] | None] = queue.SimpleQueue()
        self.worker = Worker("finality", self._run, lambda: self._queue.put(None))
        self._lock = threading.Lock()
        self._futures: dict[bytes, Future[TxResult]] = {}
        self._told: dict[bytes, Position] = {}
        self._stated = 0.0
        core.consensus.subscribe(self._heard)
        core.consensus.subscribe_refusals(self._answer)

    def start(self) -> None:
        """Begin to work; receipts for what is final already are given when gateways ask."""
        for gateway in self._core.store.gateways():
            if entry := self._core.entry(gateway):
                self._told[gateway] = entry.head
        self.worker.start()

    def order(self, tx: bytes, seconds: float) -> TxResult:
        """Submit a transaction and return what became of it. Raises ConsensusError, TooLarge, TimeoutError."""
        future: Future[TxResult] = Future()
        with self._lock:
            future = self._futures.setdefault(tx_id(tx), future)
        try:
            self._core.consensus.submit(tx)
            return future.result(seconds)
        finally:
            with self._lock:
                self._futures.pop(tx_id(tx), None)

    def _heard(self, event: FinalEvent) -> None:
        # What stood after this final block is sealed; what is committed since is not yet, and cannot be proved.
        ledger = self._core.ledger
        stood = ledger.committed_as(event.result.app) or ledger.committed
        self._queue.put((event, stood, self._core.now_ms()))

    def _tell(self, event: FinalEvent) -> None:
        """Answer whoever waits for a final block's transactions; by now what they did is shown."""
        if self._futures:
            for tx, result in zip(event.block.txs, event.result.tx_results, strict=True):
                self._answer(tx_id(tx), result)

    def _answer(self, identity: bytes, result: TxResult) -> None:
        """Answer whoever waits for what became of a transaction."""
        with self._lock:
            future = self._futures.pop(identity, None)
        if future is not None:
            future.set_result(result)

    def _run(self) -> None:
        while True:
            try:
                if (item := self._queue.get(timeout=_TICK_SECONDS)) is None:
                    return
                try:
                    self.follow(*item)
                finally:
                    self._tell(item[0])
            except queue.Empty:
                pass
            except HubError as error:
                _log.error("a final block is not followed up: %s", error)
            except Exception:
                _log.exception("a defect in following a final block")
            self._outbox.answer_waiting()

    def follow(self, event: FinalEvent, committed: Committed, at: int) -> None:
        """Do what follows from a final block, after which `committed` stood, heard of at `at` (Unix ms)."""
        touched: set[bytes] = set()
        for caught in event.block.misbehaviour:
            self._core.store.notes.add_finding(
                at, NO_GATEWAY, *self._teller.of_misbehaviour(caught, committed)
            )
        for tx, result in zip(event.block.txs, event.result.tx_results, strict=True):
            if result.refused:  # one line: a batch may hold hundreds
                _log.info(
                    "final block %d refuses %d items, the first: %s",
                    event.block.height,
                    len(result.refused),
                    result.error,
                )
            try:
                transaction, items = self._core.ledger.facts.read(tx)
            except ChainError:
                continue  # a proposer's junk, refused above
            if isinstance(transaction, Headers):
                touched |= {gateway for _, gateway in (item.source for item in items)}
            elif isinstance(transaction, Alarms):
                self._alarms_final(transaction, result, at)
            elif result.accepted:
                self._record_final(transaction, committed, at)
        for gateway in touched:
            self._advance(gateway, committed.entry(gateway), at)
        if time.monotonic() - self._stated > _STATE_EVERY_SECONDS:
            self._stated = time.monotonic()
            self._outbox.say_state(online=True)

    def _advance(self, gateway: bytes, entry: GatewayEntry | None, at: int) -> None:
        """Give a gateway the receipts for what has become final since it had the last ones."""
        told = self._told.get(gateway, NOWHERE)
        if entry is None or entry.head == told:
            return
        self._told[gateway] = entry.head
        self._view.final(gateway, entry, at)
        for epoch in sorted({told.epoch, entry.head.epoch} - {0}):
            self._outbox.say_receipts(gateway, epoch, told.height + 1, entry.head.height)

    def _alarms_final(self, transaction: Alarms, result: TxResult, at: int) -> None:
        refused = {index for index, _ in result.refused}
        for index, alarm in enumerate(transaction.alarms):
            self._alarms.final(alarm.hash)
            if index not in refused:
                self._view.alarm_final(alarm.hash, at)

    def _record_final(self, transaction: Transaction, committed: Committed, at: int) -> None:
        gateway = subject(self._core, transaction)
        if entry := self._core.entry(gateway):
            self._view.entry(gateway, entry)
        match transaction:
            case Enrol():
                name = EnrolmentBody.decode(transaction.enrolment.body).name
                self._view.enrolled(gateway, name)
                self._alarms.enrolled(gateway)
                _log.info("gateway %s is enrolled as %r", gateway.hex(), name)
            case Import():
                self._alarms.enrolled(gateway)
            case Grant():
                self._outbox.say_grant(gateway, transaction.grant)
        if (found := self._teller.of_record(transaction, committed)) is not None:
            _log.info("%s: %s", *found)
            self._core.store.notes.add_finding(at, gateway, *found)
        if gateway != NO_GATEWAY and not isinstance(transaction, Enrol | Grant):
            self._hails.answer_again(gateway)


def subject(core: Core, transaction: Transaction) -> bytes:
    """Return the gateway that a record is about. Raises FormatError."""
    match transaction:
        case Enrol():
            return enrolled_id(transaction.enrolment)
        case EpochOrder():
            return EpochChangeBody.decode(transaction.change.body).gateway
        case Rotate():
            return RotationBody.decode(transaction.rotation.body).gateway
        case Revoke():
            return Revocation.decode(transaction.revocation.body).gateway
        case Equivocate():
            return core.ledger.headers.read(transaction.first)[0].gateway
        case Grant():
            return ContractGrant.decode(transaction.grant.body).gateway
        case Headers():
            return core.ledger.headers.read(transaction.headers[0])[0].gateway
        case Alarms():
            return Transition.decode(transaction.alarms[0].transition).gateway
        case Import():
            return transaction.gateway
        case _:
            return NO_GATEWAY
