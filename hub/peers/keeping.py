"""Keeping bodies: opened, stored, promised, shown; whether a gateway brings them or another hub.

Owned: which classes a block's series have, what a promise says. Not owned: whether a header may be taken at all
(`hub.blocks`), the rows (`hub.storage.store`).

Invariants:
- A promise is signed only for what is on disk, and is on disk itself before it is given.
- What was shed stays shed, and is not promised again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from gateway.chain.block import Block, Header
from gateway.chain.custody import CustodyBatch, Promise, issue_receipts
from gateway.chain.errors import BadSegment
from gateway.chain.reading import Segment, segment_hash
from gateway.chain.verify import open_block
from hub.core import Core
from hub.doings import Doings
from hub.storage.bodies import Kept
from hub.storage.library import claimed_classes
from hub.storage.store import NewBlock
from hub.view import View

_MAX_CATALOGUES: Final = 4096


class Keeping:
    """Keeps bodies. For one thread."""

    def __init__(
        self,
        core: Core,
        view: View,
        keep_ms: Sequence[int] = (),
        ask: Callable[[Header], None] = lambda _: None,
    ) -> None:
        """`keep_ms` is how long each class is kept, by class; `ask` hears of headers with an unknown catalogue."""
        self._core, self._view, self._ask = core, view, ask
        self._keep_ms = tuple(min(each, core.keep_ms) for each in keep_ms) or (core.keep_ms,) * 3
        self._catalogues: dict[bytes, list[int]] = {}
        self._doings = Doings(core)

    def open(self, block: Block, header: Header) -> list[Segment | None]:
        """Open a block's segments; bytes that are the gateway's own and break its word are a finding.

        Raises BadSegment.
        """
        try:
            return open_block(block, header, self._classes(block, header), self._core.genesis)
        except BadSegment as error:
            if self.is_own(block, header):
                core = self._core
                core.store.notes.add_finding(
                    core.now_ms(), header.gateway, "bad-segment", str(error), block.hash
                )
            raise

    def open_final(self, block: Block, header: Header) -> list[Segment | None]:
        """As `open`, of a final header's body: one that contradicts its catalogue alone is kept as it says itself."""
        try:
            return self.open(block, header)
        except BadSegment:
            return open_block(block, header, claimed_classes(block, header), self._core.genesis)

    @staticmethod
    def is_own(block: Block, header: Header) -> bool:
        """Tell whether all bytes that came are those that the header's signer committed to."""
        pairs = zip(block.segments, header.segments, strict=False)
        return len(block.segments) == len(header.segments) and all(
            not data or segment_hash(data) == head.hash for data, head in pairs
        )

    def completed(
        self, held: Kept, block: Block, header: Header, region: str, *, is_final: bool = False
    ) -> NewBlock | None:
        """Return a stored block to be kept again, None where there is no need.

        There is where it brings segments that never came before, or where its promise is missing: a crash came
        before it, or the hub has another key since. Raises BadSegment.
        """
        brings = any(data and here == b"" for data, here in zip(block.segments, held.segments, strict=False))
        if not brings and self._is_promised(held):
            return None
        # What was shed is left out, so that it is not promised again.
        pairs = zip(block.segments, held.segments, strict=False)
        whole = replace(
            held.block, segments=tuple(b"" if here is None else here or data for data, here in pairs)
        )
        if not any(whole.segments):
            return None
        opened = self.open_final(whole, header) if is_final else self.open(whole, header)
        return NewBlock(whole, header, opened, self._core.now_ms(), region)

    def _is_promised(self, held: Kept) -> bool:
        """Tell whether this hub promised a block under the key it has now."""
        at, core = held.position, self._core
        receipts = core.store.custody.receipts(held.gateway, at.epoch, at.height, at.height)
        return any(CustodyBatch.decode(each.batch.body).hub == core.key.public for each in receipts)

    def keep(self, taken: Sequence[NewBlock]) -> list[bool]:
        """Store blocks and the promises to keep them; tell of each whether it is new. Raises StoreError."""
        core = self._core
        new = core.store.add_blocks(taken)
        now = core.now_ms()
        promises = [each for each in (self._promise(block, now) for block in taken) if each.classes]
        if promises:
            core.store.custody.add(issue_receipts(core.key, core.genesis.hash, promises, now))
        for each, is_new in zip(taken, new, strict=True):
            if is_new:
                self._view.stored(each.header.gateway, each.header, each.segments, each.received)
                self._doings.look(each)
            else:
                self._view.filled(each.header.gateway, each.header, each.segments)
        return new

    def _promise(self, new: NewBlock, now: int) -> Promise:
        """Promise what a block holds, for as long as the class that is kept shortest."""
        header, pairs = new.header, zip(new.block.segments, new.header.segments, strict=True)
        held = [head.klass for data, head in pairs if data]
        until = now + min((self._keep_ms[klass] for klass in held), default=0)
        classes = sum(1 << klass for klass in held)
        return Promise(header.gateway, header.epoch, header.height, new.block.hash, classes, until)

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
        self._ask(header)
        return claimed_classes(block, header)
