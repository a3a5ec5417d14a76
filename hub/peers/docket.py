"""Broken promises before the whole federation: summonses until they are settled, breaches until they are final.

Owned: this hub's answers to summonses, and which statements it has still to have ordered. Not owned: what makes a hub
suspect (`hub.peers.watch`), what counts as a breach (`hub.ledger.governance`).

Invariants:
- Every summons against this hub is answered, after a restart too.
- What is to be ordered is offered until it is final; several hubs may offer the same.
"""

from __future__ import annotations

import threading
import time
from typing import Final

from gateway.chain.custody import CustodyBatch, Promise, Receipt
from gateway.chain.entries import SummonsEntry, summons_key
from gateway.chain.keys import NO_HASH, RESPONSE, SUMMONS
from gateway.chain.leaf import BREACH, NO_GATEWAY, SUMMON, LogLeaf
from gateway.chain.ordered import Breach, Respond, Summon, Transaction, decode_transaction, encode_transaction
from gateway.chain.possession import (
    HELD,
    LACKED,
    SUMMONS_MS,
    ResponseBody,
    SummonsBody,
    possession_proof,
)
from hub.core import Core
from hub.peers.server import promised_segments, remembers

_ORDER_AGAIN_SECONDS: Final = 5.0


class Docket:
    """What is before the federation. `ordered` is for any thread, everything else for one."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._lock = threading.Lock()
        self._open: dict[bytes, SummonsBody] = {}
        self._breaches: dict[bytes, Breach] = {}
        self._offered: dict[bytes, float] = {}

    def load(self) -> None:
        """Take up what was summoned before the start. Raises StoreError."""
        sql = "SELECT tx FROM records WHERE kind = ?"
        for (tx,) in self._core.store.database.rows(sql, (SUMMON,)):
            self.ordered(decode_transaction(tx))

    def ordered(self, transaction: Transaction) -> bytes | None:
        """Take up a transaction of a final block, perhaps again; return the key of the hub that it summons."""
        if isinstance(transaction, Respond):
            self._compare(transaction)
        if not isinstance(transaction, Summon):
            return None
        entry = self._entry(transaction.hash)
        if entry is None or entry.outcome:
            return None
        body = SummonsBody.decode(transaction.summons.body)
        with self._lock:
            self._open[transaction.hash] = body
        return promiser(body.receipt)

    @property
    def summoned(self) -> set[bytes]:
        """The keys of the hubs against which a summons is open."""
        with self._lock:
            return {promiser(each.receipt) for each in self._open.values()}

    def breach(self, breach: Breach) -> None:
        """Have a breach ordered."""
        self._breaches[breach.hash] = breach
        self._order(breach.hash, breach)

    def summon(self, receipt: Receipt) -> None:
        """Ask before all, unless this hub is asked already or the promise ends before an answer would be due."""
        core = self._core
        now, hub = core.now_ms(), promiser(receipt)
        if hub in self.summoned or receipt.promise.keep_until < now + 2 * SUMMONS_MS:
            return
        body = SummonsBody(core.genesis.hash, core.key.public, receipt, now)
        self._order(hub, Summon(core.key.signed(SUMMONS, body.encode()), now))

    def settle(self) -> None:
        """Answer summonses of this hub, close those whose deadline passed, order breaches until they are final."""
        core = self._core
        with self._lock:
            summonses = list(self._open.items())
        for identity, body in summonses:
            entry = self._entry(identity)
            if entry is None or entry.outcome == HELD:
                self._forget(identity)
            elif entry.outcome == LACKED or core.ledger.committed.time > entry.time + SUMMONS_MS:
                self._breaches[identity] = Breach(body.receipt, b"", identity, core.now_ms())
                self._forget(identity)
            elif entry.hub == core.key.public:
                self._respond(identity, body)
        for key, breach in list(self._breaches.items()):
            leaf = LogLeaf(BREACH, breach.receipt.promise.gateway, 0, 0, breach.hash)
            if core.ledger.index(leaf) is not None:
                del self._breaches[key]
            else:
                again = Breach(breach.receipt, breach.lack, breach.summons, core.now_ms())
                self._order(breach.hash, again)

    def _respond(self, identity: bytes, body: SummonsBody) -> None:
        """Have it ordered whether this hub holds what it was summoned for."""
        core, promise = self._core, body.receipt.promise
        segments = promised_segments(core.store.bodies.find(promise.hash), promise.classes)
        if segments is None and not remembers(core, promise):
            return  # restored from a backup: until the deadline it may have the body from another hub
        says = LACKED if segments is None else HELD
        proof = NO_HASH if segments is None else possession_proof(identity, segments)
        response = ResponseBody(core.genesis.hash, core.key.public, identity, says, proof)
        self._order(identity, Respond(core.key.signed(RESPONSE, response.encode())))

    def _compare(self, transaction: Respond) -> None:
        """Hold a proof that another hub gave before all against the bytes, where they are held here."""
        body = ResponseBody.decode(transaction.response.body)
        with self._lock:
            summons = self._open.get(body.summons)
        if summons is None or body.says != HELD or body.hub == self._core.key.public:
            return
        promise = summons.receipt.promise
        segments = promised_segments(self._core.store.bodies.find(promise.hash), promise.classes)
        if segments is not None and possession_proof(body.summons, segments) != body.proof:
            core = self._core
            name = member_name(core, body.hub)
            note_broken(
                core, "false-possession", name, promise, "answered a summons with a proof of other bytes"
            )

    def _order(self, key: bytes, transaction: Transaction) -> None:
        now = time.monotonic()
        if now - self._offered.get(key, -_ORDER_AGAIN_SECONDS) >= _ORDER_AGAIN_SECONDS:
            self._offered[key] = now
            self._core.offer(encode_transaction(transaction))

    def _entry(self, identity: bytes) -> SummonsEntry | None:
        value = self._core.ledger.committed.tree.get(summons_key(identity))
        return None if value is None else SummonsEntry.decode(value)

    def _forget(self, identity: bytes) -> None:
        with self._lock:
            self._open.pop(identity, None)


def promiser(receipt: Receipt) -> bytes:
    """Return the key of the hub that gave a receipt."""
    return CustodyBatch.decode(receipt.batch.body).hub


def member_name(core: Core, hub: bytes) -> str:
    """Return a hub as people know it, by its key."""
    members = core.ledger.committed.roster(core.genesis).members
    return next((each.name for each in members if each.key == hub), hub.hex()[:16])


def note_broken(core: Core, kind: str, name: str, promise: Promise, what: str) -> None:
    """Note that a hub (by name) does not stand by a promise."""
    at = f"block {promise.epoch}/{promise.height} of gateway {promise.gateway.hex()[:16]}"
    core.store.notes.add_finding(core.now_ms(), NO_GATEWAY, kind, f"{name} {what}: {at}", promise.hash)
