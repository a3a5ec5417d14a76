"""The lane of blocks: verified, stored, promised, offered to consensus; many at a time.

Owned: one bounded queue and its thread; the highest stored block of each gateway. Not owned: the rules
(`gateway.chain.verify`), the rows (`hub.store`), what becomes of an offer (`hub.finality`).

Invariants:
- A block is stored only as successor of its gateway's highest stored one, so what waits is a chain too.
- A promise is signed only for what is on disk, and is on disk itself before it is given.
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
from gateway.chain.custody import Promise, issue_receipts
from gateway.chain.entries import GOOD, GatewayEntry
from gateway.chain.errors import (
    BadSegment,
    ChainError,
    HeightRepeated,
    HeightSkipped,
    UnknownGateway,
)
from gateway.chain.keys import Signed
from gateway.chain.ordered import (
    MAX_BATCH,
    MAX_TRANSACTION,
    Equivocate,
    Headers,
    Position,
    encode_transaction,
)
from gateway.chain.reading import Segment, segment_hash
from gateway.chain.verify import check_standing, check_successor, open_block
from hub.core import Core, Misdirected, Refusals, check_region
from hub.errors import StoreError
from hub.ledger import Committed
from hub.library import claimed_classes
from hub.outbox import Outbox
from hub.store import NewBlock, StoredHeader
from hub.view import View
from hub.worker import Worker

_log = logging.getLogger(__name__)

MAX_DRAIN: Final = 64
_QUEUE: Final = 256
_OFFER_AGAIN_SECONDS: Final = 5.0
_MAX_CATALOGUES: Final = 4096
_OVERHEAD: Final = 96  # what a signed header takes beside its body, at most


class BlockLane:
    """Takes blocks in. `offer` is for any thread, everything else for the lane's own (or a test's)."""

    def __init__(self, core: Core, outbox: Outbox, refusals: Refusals, view: View) -> None:
        self._core, self._outbox, self._refusals, self._view = core, outbox, refusals, view
        self._queue: queue.Queue[tuple[bytes, bytes] | None] = queue.Queue(_QUEUE)
        self.worker = Worker("blocks", self._run, lambda: self._queue.put(None))
        self._committed: Committed | None = None
        self._entries: dict[bytes, GatewayEntry | None] = {}
        self._tips: dict[bytes, GatewayEntry] = {}
        self._catalogues: dict[bytes, list[int]] = {}

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
            self._offer([each.block.signed for each in taken])
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
        if header.height <= tip.head.height or header.epoch < entry.epoch:
            others = self._stored(gateway, header, taken)
            if identity in others:
                return self._completed(block, header, at) or at
            core.ledger.headers.check_signature(signed, identity, entry.key_at(header.height))
            if others:
                if entry.standing == GOOD:
                    self._accuse(signed, next(iter(others.values())))
                raise HeightRepeated(
                    f"block {at.epoch}/{at.height} was signed twice, with different contents"
                )
        check_standing(entry)
        core.ledger.headers.check_signature(signed, identity, entry.key_at(header.height))
        self._check_successor(header, tip)
        new = NewBlock(block, header, self._open(block, header), core.now_ms())
        self._tips[gateway] = _advance(tip, header, identity)
        return new

    def _completed(self, block: Block, header: Header, at: Position) -> NewBlock | None:
        """Return a stored block to be kept again, None where there is no need.

        There is where it brings segments that were withheld before, or where a crash came before its promise.
        """
        store = self._core.store
        held = store.block(header.gateway, at)
        if held is None:
            return None
        brings = any(data and not here for data, here in zip(block.segments, held.segments, strict=False))
        if not brings and store.custody.receipts(header.gateway, at.epoch, at.height, at.height):
            return None
        segments = self._open(block, header)
        whole = tuple(here or data for data, here in zip(block.segments, held.segments, strict=True))
        return NewBlock(replace(held, segments=whole), header, segments, self._core.now_ms())

    def _check_successor(self, header: Header, tip: GatewayEntry) -> None:
        try:
            check_successor(header, tip)
        except HeightSkipped:
            self._outbox.say_request(header.gateway, header.boot, tip.head.height + 1, header.height)
            raise

    def _open(self, block: Block, header: Header) -> list[Segment | None]:
        """Open a block's segments; bytes that are the gateway's own and break its word are a finding."""
        try:
            return open_block(block, header, self._classes(block, header), self._core.genesis)
        except BadSegment as error:
            pairs = zip(block.segments, header.segments, strict=False)
            if all(not data or segment_hash(data) == head.hash for data, head in pairs):
                core = self._core
                core.store.notes.add_finding(
                    core.now_ms(), header.gateway, "bad-segment", str(error), block.hash
                )
            raise

    def _classes(self, block: Block, header: Header) -> Sequence[int]:
        """Return the classes of a block's series, by index.

        While the catalogue is not known, a series has the class of the segment it stands in: that alone goes
        unchecked here, because a backlog under an old catalogue must not end the chain.
        """
        root = header.catalogue.root
        if root not in self._catalogues and (known := self._core.store.library.catalogue(root)) is not None:
            if len(self._catalogues) > _MAX_CATALOGUES:
                self._catalogues.clear()
            self._catalogues[root] = [series.klass for series in known]
        if root in self._catalogues:
            return self._catalogues[root]
        self._outbox.say_request(header.gateway, header.boot, 0, 0)
        return claimed_classes(block, header)

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
        core = self._core
        new = core.store.add_blocks(taken)
        now = core.now_ms()
        promises = [_promise(each, now + core.keep_ms) for each in taken]
        core.store.custody.add(issue_receipts(core.key, core.genesis.hash, promises, now))
        for each, is_new in zip(taken, new, strict=True):
            if is_new:
                self._view.stored(each.header.gateway, each.header, each.segments, each.received)
        return [each.header for each, is_new in zip(taken, new, strict=True) if not is_new]

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


def _promise(new: NewBlock, keep_until: int) -> Promise:
    header, pairs = new.header, zip(new.block.segments, new.header.segments, strict=True)
    classes = sum(1 << head.klass for data, head in pairs if data)
    return Promise(header.gateway, header.epoch, header.height, new.block.hash, classes, keep_until)


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
