"""Catalogues and contract sets that headers name and that are not known here yet; in memory, as each header names
them anew."""

from __future__ import annotations

import threading

from hub.core import Core
from hub.peers.wire import MAX_ROOTS
from hub.storage.store import NewBlock


class Roots:
    """What is to be asked for. Safe for several threads."""

    def __init__(self, room: int = 4096) -> None:
        self._room, self._lock = room, threading.Lock()
        self._catalogues: dict[bytes, None] = {}
        self._contracts: dict[bytes, None] = {}

    def want(self, core: Core, row: NewBlock) -> None:
        """Note what explains a header, unless it is known."""
        library, header = core.store.library, row.header
        with self._lock:
            for wanted, root, count, known in (
                (self._catalogues, header.catalogue.root, header.catalogue.count, library.has_catalogue),
                (self._contracts, header.contracts.root, header.contracts.count, library.has_contracts),
            ):
                if count and len(wanted) < self._room and root not in wanted and not known(root):
                    wanted[root] = None

    def first(self) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        """Return some roots of catalogues and of contract sets; the next ones next time."""
        with self._lock:
            return _turn(self._catalogues), _turn(self._contracts)

    def found(self, root: bytes) -> None:
        """Forget a root."""
        with self._lock:
            self._catalogues.pop(root, None)
            self._contracts.pop(root, None)


def _turn(wanted: dict[bytes, None]) -> tuple[bytes, ...]:
    chosen = tuple(wanted)[:MAX_ROOTS]
    for root in chosen:
        wanted[root] = wanted.pop(root)
    return chosen
