"""Every final header of every gateway, kept at every hub: from final blocks into the table of blocks.

Owned: how far final blocks were followed (mark `headers`), and the accusation where a final header and a stored one
share a position. Not owned: bodies (`hub.peers.pull`).

Invariants:
- A header is kept only if its leaf is in the log.
- Nothing is passed over: the mark moves once all rows of a final block are on disk, and work goes on from there.
"""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable, Iterable
from typing import Final

from gateway.chain.block import Block
from gateway.chain.entries import GOOD
from gateway.chain.errors import ChainError
from gateway.chain.keys import Signed
from gateway.chain.leaf import HEADERS, LogLeaf
from gateway.chain.ordered import Equivocate, Headers, Transaction, decode_transaction, encode_transaction
from hub.consensus.base import FinalBlock, FinalEvent
from hub.core import Core
from hub.errors import HubError
from hub.peers.history import GAP, PAST_ALARMS
from hub.storage.bodies import HEADERS_MARK
from hub.storage.store import NewBlock
from hub.view import View
from hub.worker import Worker

_log = logging.getLogger(__name__)

_AGAIN_SECONDS: Final = 5.0


class HeaderFollower:
    """Follows the engine. Make it before the engine starts."""

    def __init__(
        self,
        core: Core,
        view: View,
        kept: Callable[[NewBlock], None] = lambda _: None,
        ordered: Callable[[Transaction], None] = lambda _: None,
    ) -> None:
        """`kept` is told of each final header, `ordered` of every other transaction, perhaps more than once."""
        self._core, self._view, self._kept, self._ordered = core, view, kept, ordered
        self._queue: queue.SimpleQueue[FinalBlock | None] = queue.SimpleQueue()
        self.worker = Worker("headers", self._run, lambda: self._queue.put(None))
        core.consensus.subscribe(self._heard)

    def _heard(self, event: FinalEvent) -> None:
        self._queue.put(event.block)

    def _run(self) -> None:
        is_behind, wait = True, 0.0  # what became final before this start was perhaps never told of
        while True:
            try:
                block = self._queue.get(timeout=wait)
                if block is None:
                    self._finish()
                    return
            except queue.Empty:
                if not is_behind:
                    continue
                block = None
            wait = _AGAIN_SECONDS
            try:
                self.catch_up()
                if block is not None:
                    self.follow(block)
                is_behind = False
            except HubError as error:
                is_behind = True
                _log.error("final headers are not kept yet: %s", error)
            except Exception:
                is_behind = True
                _log.exception("a defect in keeping final headers")

    def _finish(self) -> None:
        """Leave nothing behind that is committed: its event may come after the end of this thread only."""
        try:
            self.catch_up()
        except HubError as error:
            _log.error("some final headers are kept at the next start only: %s", error)

    def catch_up(self) -> None:
        """Follow what is on disk. Raises HubError."""
        core = self._core
        reached, committed = core.store.bodies.mark(HEADERS_MARK), core.ledger.committed.height
        if reached >= committed:
            return
        is_next = False
        for block in core.store.chain.final_blocks(reached + 1):
            if block.height > committed:
                return
            if not is_next and block.height != reached + 1:
                # This hub began with a snapshot: what lies below is others' to tell.
                for mark in (GAP, PAST_ALARMS):
                    core.store.bodies.set_mark(mark, 1)
            is_next = True
            self.follow(block)

    def follow(self, block: FinalBlock) -> None:
        """Keep the headers of a committed final block, unless that was done. Raises StoreError."""
        store = self._core.store
        if block.height <= store.bodies.mark(HEADERS_MARK):
            return
        headers: list[Signed] = []
        for tx in block.txs:
            try:
                transaction = decode_transaction(tx)
            except ChainError:
                continue  # a final block may hold anything; what is no transaction did nothing
            if isinstance(transaction, Headers):
                headers += transaction.headers
            else:
                self._ordered(transaction)
        self._keep(headers)
        store.bodies.set_mark(HEADERS_MARK, block.height)

    def _keep(self, headers: Iterable[Signed]) -> None:
        rows = [row for row in map(self._row, headers) if row is not None]
        if not rows:
            return
        for row, is_new in zip(rows, self._core.store.add_blocks(rows), strict=True):
            if is_new:
                self._view.stored(row.header.gateway, row.header, row.segments, row.received)
                self._compare(row)
            self._kept(row)

    def _row(self, signed: Signed) -> NewBlock | None:
        """Return the row of a header, None where it was refused."""
        core = self._core
        try:
            header, identity = core.ledger.headers.read(signed)
        except ChainError:
            return None
        entry = core.entry(header.gateway)
        leaf = LogLeaf(HEADERS, header.gateway, header.epoch, header.height, identity)
        if entry is None or core.ledger.index(leaf) is None:
            return None
        count = len(header.segments)
        block = Block(signed.suite, signed.body, signed.signature, (b"",) * count)
        return NewBlock(block, header, [None] * count, core.now_ms(), entry.region)

    def _compare(self, row: NewBlock) -> None:
        """Accuse a gateway of which this hub has another signed header at a final one's position."""
        core, header = self._core, row.header
        entry = core.entry(header.gateway)
        if entry is None or entry.standing != GOOD:
            return
        for other in core.store.headers_at(header.gateway, header.epoch, header.height):
            if other.position.hash != row.block.hash:
                first, second = sorted((other.signed, row.block.signed), key=lambda each: each.body)
                core.offer(encode_transaction(Equivocate(first, second)))
