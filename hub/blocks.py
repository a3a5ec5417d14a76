"""The lane of blocks: verified, stored, promised, offered to consensus; many at a time.

Owned: one bounded queue and its thread; the highest stored block of each gateway. Not owned: the rules
(`gateway.chain.verify`), the rows (`hub.storage.store`), what becomes of an offer (`hub.finality`).

Invariants:
- A block is stored only as successor of its gateway's highest stored one, so what waits is a chain too; or as
  the body of a header that is final already, because a gateway speaks to several hubs.
- What is stored and not final is offered again until it is.
- A repeat changes nothing and is answered with its receipts; a refused block spoils no other.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from gateway.chain.block import Block, Header
from gateway.chain.entries import GOOD, GatewayEntry
from gateway.chain.errors import (
    ChainError,
    HeightRepeated,
    HeightSkipped,
    NotSuccessor,
    UnknownGateway,
)
from gateway.chain.keys import Signed
from gateway.chain.leaf import HEADERS, LogLeaf
from gateway.chain.ordered import MAX_BATCH, MAX_TRANSACTION, Equivocate, Headers, encode_transaction
from gateway.chain.tenure import Position
from gateway.chain.verify import check_standing, check_successor
from hub.core import Core, Misdirected, Refusals, check_region
from hub.errors import StoreError
from hub.ledger.ledger import Committed
from hub.outbox import Outbox
from hub.peers.keeping import Keeping
from hub.storage.store import NewBlock, StoredHeader
from hub.view import View
from hub.worker import Worker

_log = logging.getLogger(__name__)

MAX_DRAIN: Final = 64
_QUEUE: Final = 256
_OFFER_AGAIN_SECONDS: Final = 5.0
_OVERHEAD: Final = 96  # what a signed header takes beside its body, at most


class BlockLane:
    """Takes blocks in. `offer` is for any thread, everything else for the lane's own (or a test's)."""

    def __init__(
        self, core: Core, outbox: Outbox, refusals: Refusals, view: View, keep_ms: Sequence[int] = ()
    ) -> None:
        """`keep_ms` is how long each class is kept, by class; by default as long as is promised."""
        self._core, self._outbox, self._refusals = core, outbox, refusals
        self._keeping = Keeping(core, view, keep_ms, self._ask_catalogue)
        self._queue: queue.Queue[tuple[bytes, bytes] | None] = queue.Queue(_QUEUE)
        self.worker = Worker("blocks", self._run, lambda: self._queue.put(None))
        self._committed: Committed | None = None
        self._entries: dict[bytes, GatewayEntry | None] = {}
        self._tips: dict[bytes, GatewayEntry] = {}

    def start(self) -> None:
        """Offer what waits on disk, then begin to work."""
        self.offer_waiting()
        self.worker.start()

    def offer(self, gateway: bytes, payload: bytes) -> None:
        """Queue a block from its gateway's topic; waits while the queue is full, which holds the broker back."""
        self._queue.put((gateway, payload))

    def _run(self) -> None:
        again = time.monotonic() + _OFFER_AGAIN_SECONDS
        while True:
            try:
                batch = self._drain(max(again - time.monotonic(), 0.0))
                if batch is None:
                    return
                self.take_in(batch)
                if time.monotonic() >= again:
                    self.offer_waiting()
                    again = time.monotonic() + _OFFER_AGAIN_SECONDS
            except StoreError as error:
                self._tips.clear()
                _log.error("blocks are not taken in, their gateways will send them again: %s", error)
            except Exception:
                self._tips.clear()
                _log.exception("blocks are lost to a defect, their gateways will send them again")

    def _drain(self, seconds: float) -> list[tuple[bytes, bytes]] | None:
        """Return what waits, at most MAX_DRAIN, after waiting for the first; None at the end."""
        batch: list[tuple[bytes, bytes]] = []
        try:
            item = self._queue.get(timeout=seconds)
            while item is not None:
                batch.append(item)
                if len(batch) == MAX_DRAIN:
                    return batch
                item = self._queue.get_nowait()
        except queue.Empty:
            return batch
        if batch:
            self._queue.put(None)  # finish these first
            return batch
        return None

    # one batch

    def take_in(self, batch: Iterable[tuple[bytes, bytes]]) -> None:
        """Judge, store, promise and offer blocks, given as (gateway of the topic, payload). Raises StoreError."""
        taken: list[NewBlock] = []
        repeats: dict[tuple[bytes, int], list[int]] = {}
        for gateway, payload in batch:
            try:
                block = Block.decode(payload)
                found = self._judge(gateway, block, taken)
            except ChainError as error:
                self._refusals.note(gateway, error, payload)
                continue
            if isinstance(found, NewBlock):
                taken.append(found)
            else:
                repeats.setdefault((gateway, found.epoch), []).append(found.height)
        if taken:
            for completed in self._keep(taken):
                repeats.setdefault((completed.gateway, completed.epoch), []).append(completed.height)
            self._offer([each.block.signed for each in taken if not self._is_final(each)])
        for (gateway, epoch), heights in repeats.items():
            for first, last in _runs(heights):
                self._outbox.say_receipts(gateway, epoch, first, last)

    def _judge(self, gateway: bytes, block: Block, taken: Sequence[NewBlock]) -> NewBlock | Position:
        """Return a block that may be stored, or the position of one that is stored already. Raises ChainError."""
        core, signed = self._core, block.signed
        header, identity = core.ledger.headers.read(signed)
        if header.gateway != gateway:
            raise Misdirected(f"a block of gateway {header.gateway.hex()[:16]} on another's topic")
        entry = self._entry(gateway)
        if entry is None:
            raise UnknownGateway(f"gateway {gateway.hex()[:16]} was never enrolled in this chain")
        check_region(entry, core.region)
        at, tip = Position(header.epoch, header.height, identity), self._tip(gateway, entry)
        if _is_past(header, tip):
            others = self._stored(gateway, header, taken)
            if identity in others:
                return self._completed(block, header, at, entry) or at
            if (final := self._final(block, header, at, entry)) is not None:
                return final
            core.ledger.headers.check_signature(signed, identity, entry.key_at(header.height))
            if others:
                if entry.standing == GOOD:
                    self._accuse(signed, next(iter(others.values())))
                raise HeightRepeated(
                    f"block {at.epoch}/{at.height} was signed twice, with different contents"
                )
        check_standing(entry)
        core.ledger.headers.check_signature(signed, identity, entry.key_at(header.height))
        tip = self._check_successor(header, tip, entry)
        new = self._new(block, header, entry)
        self._tips[gateway] = _advance(tip, header, identity)
        return new

    def _final(self, block: Block, header: Header, at: Position, entry: GatewayEntry) -> NewBlock | None:
        """Return the body of a header that came to be final through another hub, None where it is not final."""
        ledger = self._core.ledger
        leaf = LogLeaf(HEADERS, header.gateway, at.epoch, at.height, at.hash)
        if ledger.index(leaf) is None:
            return None
        ledger.headers.check_signature(block.signed, at.hash, entry.key_at(header.height))
        return self._new(block, header, entry)

    def _is_final(self, new: NewBlock) -> bool:
        """Tell whether a block lies at or below its gateway's final head, so that nobody has to be offered it."""
        entry = self._entry(new.header.gateway)
        return entry is not None and _is_past(new.header, entry)

    def _new(self, block: Block, header: Header, entry: GatewayEntry) -> NewBlock:
        opened = self._keeping.open(block, header)
        return NewBlock(block, header, opened, self._core.now_ms(), entry.region)

    def _completed(self, block: Block, header: Header, at: Position, entry: GatewayEntry) -> NewBlock | None:
        """Return a stored block to be kept again, None where there is no need."""
        held = self._core.store.bodies.find(at.hash)
        return None if held is None else self._keeping.completed(held, block, header, entry.region)

    def _check_successor(self, header: Header, tip: GatewayEntry, entry: GatewayEntry) -> GatewayEntry:
        """Return the tip that a header follows. Raises BadHeader."""
        try:
            check_successor(header, tip)
        except NotSuccessor:
            # Another hub may have had another chain ordered than the one that waits here.
            self._tips.pop(header.gateway, None)
            tip = self._tip(header.gateway, entry)
            try:
                check_successor(header, tip)
            except HeightSkipped:
                self._outbox.say_request(header.gateway, header.boot, tip.head.height + 1, header.height)
                raise
        return tip

    def _stored(self, gateway: bytes, header: Header, taken: Sequence[NewBlock]) -> dict[bytes, Signed]:
        """Return the signed headers at a header's position, by hash: on disk and in this batch."""
        stored = self._core.store.headers_at(gateway, header.epoch, header.height)
        found = {each.position.hash: each.signed for each in stored}
        for each in taken:
            if (each.header.gateway, each.header.position) == (gateway, header.position):
                found[each.block.hash] = each.block.signed
        return found

    def _accuse(self, one: Signed, other: Signed) -> None:
        """Have two signed headers at one position ordered, which bars their gateway."""
        first, second = sorted((one, other), key=lambda signed: signed.body)
        self._core.offer(encode_transaction(Equivocate(first, second)))

    def _keep(self, taken: Sequence[NewBlock]) -> list[Header]:
        """Store blocks and the promises to keep them; return the headers that were stored already."""
        new = self._keeping.keep(taken)
        return [each.header for each, is_new in zip(taken, new, strict=True) if not is_new]

    def _ask_catalogue(self, header: Header) -> None:
        self._outbox.say_request(header.gateway, header.boot, 0, 0)

    def _offer(self, headers: Sequence[Signed]) -> None:
        for batch in _batches(headers):
            self._core.offer(encode_transaction(Headers(batch)))

    # what waits

    def offer_waiting(self) -> None:
        """Offer every stored block that is not final, in order."""
        for gateway in self._core.store.gateways():
            entry = self._core.entry(gateway)
            if entry is not None and entry.standing == GOOD:
                self._offer([each.signed for each in self._waiting(gateway, entry)])

    def _entry(self, gateway: bytes) -> GatewayEntry | None:
        """Return a gateway's entry as committed now, decoded once a final block."""
        committed = self._core.ledger.committed
        if committed is not self._committed:
            self._committed, self._entries = committed, {}
        if gateway not in self._entries:
            self._entries[gateway] = committed.entry(gateway)
        return self._entries[gateway]

    def _tip(self, gateway: bytes, entry: GatewayEntry) -> GatewayEntry:
        """Return the entry that a gateway will have once all its stored blocks are final."""
        tip = self._tips.get(gateway)
        if tip is None or tip.epoch != entry.epoch or tip.head.height < entry.head.height:
            tip = entry
            for stored in self._waiting(gateway, entry):
                tip = _advance(tip, stored.header, stored.position.hash)
            self._tips[gateway] = tip
        return tip

    def _waiting(self, gateway: bytes, entry: GatewayEntry) -> Iterator[StoredHeader]:
        """Yield the chain of stored blocks above a gateway's final head, lowest first."""
        previous, height = entry.head.hash, entry.head.height
        while page := self._core.store.headers_after(gateway, entry.epoch, height):
            for stored in page:
                if stored.position.height == height + 1 and stored.header.previous == previous:
                    yield stored
                    previous, height = stored.position.hash, height + 1
            if height < page[-1].position.height:
                return


def _advance(entry: GatewayEntry, header: Header, identity: bytes) -> GatewayEntry:
    """Return the entry as it stands once a header is accepted."""
    return replace(
        entry,
        head=Position(header.epoch, header.height, identity),
        boot=header.boot,
        mono=header.mono + header.span,
        seen=header.seen.height,
    )


def _is_past(header: Header, entry: GatewayEntry) -> bool:
    return header.height <= entry.head.height or header.epoch < entry.epoch


def _runs(heights: Iterable[int]) -> list[tuple[int, int]]:
    """Return heights as runs (first, last): a gateway that repeats two gets receipts for two, not for all between."""
    runs: list[tuple[int, int]] = []
    for height in sorted(set(heights)):
        if runs and runs[-1][1] == height - 1:
            runs[-1] = (runs[-1][0], height)
        else:
            runs.append((height, height))
    return runs


def _batches(headers: Iterable[Signed]) -> Iterator[tuple[Signed, ...]]:
    """Yield headers in batches that each fit one transaction, in order."""
    batch: list[Signed] = []
    size = 0
    for signed in headers:
        cost = len(signed.body) + _OVERHEAD
        if batch and (len(batch) == MAX_BATCH or size + cost > MAX_TRANSACTION - _OVERHEAD):
            yield tuple(batch)
            batch, size = [], 0
        batch.append(signed)
        size += cost
    if batch:
        yield tuple(batch)
