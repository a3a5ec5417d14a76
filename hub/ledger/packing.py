"""Which transactions go into the next final block, and in which order: what a proposer may choose.

Pure. Alarms go first, then records, then headers; within each, whoever has had the fewest turns. What would bring
nothing new is left out, and headers that do not follow their gateway's head yet wait for those before them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from hub.ledger.items import HEADER_LANE, Item

_PASSES: Final = 4


@dataclass(frozen=True, slots=True)
class Candidate:
    """A transaction with its lane and items."""

    tx: bytes
    lane: int
    items: tuple[Item, ...]


class Packing:
    """One block in the making."""

    def __init__(
        self, room: int, is_final: Callable[[bytes], bool], head: Callable[[bytes], int | None]
    ) -> None:
        """`room` is in bytes; `is_final` answers for a leaf's hash, `head` for the height of a gateway's head."""
        self._room, self._is_final, self._head = room, cache(is_final), head
        self._taken: set[bytes] = set()
        self._heights: dict[bytes, int | None] = {}

    def pack(self, candidates: Iterable[Candidate]) -> tuple[bytes, ...]:
        """Return the transactions of the block, in order."""
        waiting, packed = in_turn(candidates), list[bytes]()
        for _ in range(_PASSES):  # a header may follow only once another batch brought what it stands on
            waiting = [each for each in waiting if not self._take(each, packed, whole=True)]
        for each in waiting:
            self._take(each, packed, whole=False)
        return tuple(packed)

    def _take(self, each: Candidate, packed: list[bytes], *, whole: bool) -> bool:
        new = [item for item in each.items if not self._is_known(item)]
        following = list(self._following(new)) if each.lane == HEADER_LANE else new
        if not following or (whole and len(following) < len(new)) or len(each.tx) > self._room:
            return False
        for item in following:
            self._taken.update(item.leaves)
            if item.height:
                self._heights[item.source[1]] = item.height
        self._room -= len(each.tx)
        packed.append(each.tx)
        return True

    def _is_known(self, item: Item) -> bool:
        return any(leaf in self._taken or self._is_final(leaf) for leaf in item.leaves)

    def _following(self, items: Sequence[Item]) -> Iterator[Item]:
        """Yield the headers that follow their gateway's head, or one another."""
        heights: dict[bytes, int | None] = {}
        for item in items:
            gateway = item.source[1]
            if gateway not in heights:
                heights[gateway] = self._heights.get(gateway) or self._head(gateway)
            before = heights[gateway]
            if before is not None and item.height == before + 1:
                heights[gateway] = item.height
                yield item


def in_turn(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return transactions by lane and then by turns; what comes for one source alone keeps its order.

    A batch of several sources goes with whichever of them has had the fewest turns.
    """
    turns: Counter[tuple[int, bytes]] = Counter()
    ranked = []
    for each in candidates:
        sources = {item.source for item in each.items}
        ranked.append((each.lane, min((turns[source] for source in sources), default=0), each))
        turns.update(sources)
    return [each for *_, each in sorted(ranked, key=lambda rank: rank[:2])]
