"""Which block a hub is sent next: a window that moves by receipts alone, and a limit to its pace.

Owns what is under way to one hub. It does not own the connection (`gateway.region.sync`) nor the blocks.

Invariants:
* A block leaves the window when its receipt is in the store, or when it is final and as many other agencies keep it
  as have to: for no other reason. What has none after a while is sent again, whatever the broker said.
* Blocks of an earlier chain are sent to nobody.
* Blocks are sent in the order of their numbers, the second time too: a hub takes successors only, so whatever
  follows a block that is sent again is sent again after it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gateway.storage.store import NOBODY, Store, Stored

__all__ = ["Window"]

_BLOCKS: Final = 8  # less than the link's own window, which alarms share
_PATIENCE_S: Final = (5.0, 10.0, 20.0, 40.0, 60.0)
_MANY: Final = len(_PATIENCE_S) + 1
_FETCH: Final = 32
_SAVE_EVERY: Final = 500


@dataclass(slots=True)
class _UnderWay:
    stored: Stored
    sent_at: float
    times: int


class Window:
    """The send window of one hub. Times are seconds of any clock that never goes back; one thread calls it.

    Args:
        rate: bytes in a second.
        custodians: how many agencies have to keep a body.

    Attributes:
        floor: every block up to this number has its receipt, or can be had from here no more.
    """

    def __init__(self, store: Store, hub: str, rate: int, custodians: int = NOBODY) -> None:
        self._store, self._hub, self._rate, self._custodians = store, hub, rate, custodians
        self._under_way: dict[int, _UnderWay] = {}
        self._ready: deque[Stored] = deque()
        self._again: deque[int] = deque()
        self._name = f"floor/{hub}"
        self._saved = int.from_bytes(store.get(self._name) or b"", "big")
        self._after = self.floor = max(self._saved, store.moved)
        self._free_at = 0.0

    def reset(self) -> None:
        """Begin anew from the first block without a receipt: the connection, or the epoch, is another one."""
        self._under_way.clear()
        self._ready.clear()
        self._after = self.floor = max(self.floor, self._store.moved)

    @property
    def trouble(self) -> str:
        """What is wrong with a block that was sent many times and has no receipt; empty without one."""
        stuck = next((each.stored for each in self._under_way.values() if each.times >= _MANY), None)
        if stuck is None:
            return ""
        return (
            f"hub {self._hub} gives no receipt for block {stuck.epoch}/{stuck.height}, however often it is sent: its"
            " log says why; an operator's command for a new epoch seals the block anew"
        )

    @property
    def is_idle(self) -> bool:
        """Nothing is under way, and nothing waits."""
        return not (self._under_way or self._ready or self._again)

    def received(self, numbers: Iterable[int]) -> None:
        """Take note that receipts for these blocks are in the store."""
        for number in numbers:
            self._under_way.pop(number, None)

    def request(self, first: int, last: int) -> None:
        """Send the blocks of some heights again, receipts or not."""
        wanted = range(first, min(last, first + _FETCH * 8 - 1) + 1)
        self._again.extend(height for height in wanted if height not in self._again)

    def next(self, now: float) -> Stored | None:
        """Return the block to send now, None where there is none or it is too early."""
        if now < self._free_at:
            return None
        while self._again:
            stored = self._store.at(self._again.popleft())
            if stored is not None and stored.number > self._store.moved:
                return stored
        while (overdue := self._overdue(now)) is not None:
            if self._store.is_wanted(self._hub, overdue.stored.number, self._custodians):
                return overdue.stored
            del self._under_way[overdue.stored.number]
        if len(self._under_way) >= _BLOCKS:
            return None
        if not self._ready:
            self._fetch()
        return self._ready[0] if self._ready else None

    def sent(self, stored: Stored, size: int, now: float) -> None:
        """Take note that a block was handed to the broker."""
        if self._ready and self._ready[0].number == stored.number:
            self._ready.popleft()
            self._after = stored.number
        known = self._under_way.get(stored.number)
        self._under_way[stored.number] = _UnderWay(stored, now, known.times + 1 if known else 0)
        self._free_at = max(self._free_at, now - 1.0) + size / self._rate

    def wait(self, now: float) -> float:
        """Return the seconds until `next` may have something of its own accord; new blocks aside."""
        dues = [each.sent_at + _patience(each.times) for each in self._under_way.values()]
        if self._again or self._overdue(now) or (self._ready and len(self._under_way) < _BLOCKS):
            dues.append(self._free_at)
        return max(0.0, min(dues, default=now + 60.0) - now)

    def _fetch(self) -> None:
        self._ready.extend(self._store.unreceipted(self._hub, self._after, _FETCH, self._custodians))
        first = [*self._under_way, *(each.number for each in self._ready)]
        if first:  # who keeps a block for us today may be suspended tomorrow, so it is not behind us yet
            first += [each.number for each in self._store.unreceipted(self._hub, self.floor, 1)]
            self._raise_floor(min(first) - 1)

    def _raise_floor(self, floor: int) -> None:
        """Remember, now and then on disk, below which number nothing is wanted any more."""
        self.floor = max(self.floor, floor)
        if self.floor - self._saved >= _SAVE_EVERY:
            self._saved = self.floor
            self._store.put({self._name: self.floor.to_bytes(8, "big")})

    def _overdue(self, now: float) -> _UnderWay | None:
        """The first block that had no receipt in time, or was sent before one that it follows."""
        latest = 0.0
        for _, each in sorted(self._under_way.items()):
            if now - each.sent_at >= _patience(each.times) or each.sent_at < latest:
                return each
            latest = each.sent_at
        return None


def _patience(times: int) -> float:
    return _PATIENCE_S[min(times, len(_PATIENCE_S) - 1)]
