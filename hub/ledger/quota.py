"""How much may wait for its order at one hub, of each gateway, member or ticket: so that no flood starves others.

Owned: the count of what was found fit since the last final block; an engine judges anew, after each, whatever
still waits. Not owned: what is fit. Invariants:

- an item that waits already takes nobody's share a second time, whoever repeats it in however many transactions;
- the block that follows a gateway's head always finds a place, whatever of it waits that cannot follow yet;
- what cannot follow waits for a few final blocks and no longer, or it would have the engine make empty ones.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from hub.ledger.items import Item

TRANSACTIONS: Final = 64
ITEMS: Final = 1024
RESERVE: Final = 8
REPEATS: Final = 4
PATIENCE: Final = 4
"""How many final blocks a header waits for the one before it."""


class Quota:
    """The shares. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: set[bytes] = set()
        self._ages: dict[bytes, int] = {}
        self._transactions: Counter[tuple[int, bytes]] = Counter()
        self._items: Counter[tuple[int, bytes]] = Counter()
        self._repeats: Counter[bytes] = Counter()

    def clear(self) -> None:
        """Begin anew, with a final block."""
        with self._lock:
            self._ages = {each: self._ages.get(each, 0) + 1 for each in self._waiting}
            for each in (self._waiting, self._transactions, self._items, self._repeats):
                each.clear()

    def is_overdue(self, identity: bytes) -> bool:
        """Tell, once, that a transaction has waited as long as one may that cannot be ordered yet."""
        with self._lock:
            if self._ages.get(identity, 0) < PATIENCE:
                return False
            del self._ages[identity]
            return True

    def admit(self, identity: bytes, items: Sequence[Item], is_next: Callable[[Item], bool]) -> bool:
        """Take a transaction into the count unless none of its items, which are not final, finds a place.

        `is_next` tells whether a header follows its gateway's head.
        """
        with self._lock:
            if identity in self._waiting:
                return True
            fitting = [each for each in items if self._has_room(each, is_next)]
            if not fitting:
                return False
            self._waiting.add(identity)
            new = [each for each in fitting if not self._repeats[each.leaves[0]]]
            self._repeats.update(each.leaves[0] for each in fitting)
            self._items.update(each.source for each in new)
            self._transactions.update({each.source for each in new})
            return True

    def _has_room(self, item: Item, is_next: Callable[[Item], bool]) -> bool:
        repeats = self._repeats[item.leaves[0]]
        if repeats:
            return repeats < REPEATS
        reserve = RESERVE if is_next(item) else 0
        return (
            self._transactions[item.source] < TRANSACTIONS + reserve
            and self._items[item.source] < ITEMS + reserve
        )
