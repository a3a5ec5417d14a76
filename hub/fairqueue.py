"""A queue in which gateways take turns, so that none waits behind another's flood.

Invariants: one gateway's messages keep their order; putting never blocks; where there is no room, whoever has the
most waiting loses the newest of it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque


class FairQueue:
    """Messages by gateway, `room` of them in all. `take` is for one thread, everything else for any."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._changed = threading.Condition()
        self._waiting: OrderedDict[bytes, deque[bytes]] = OrderedDict()
        self._count = 0
        self._is_woken = self._is_closed = False

    def put(self, gateway: bytes, payload: bytes) -> bool:
        """Queue a message; False where one was lost for it."""
        with self._changed:
            self._waiting.setdefault(gateway, deque()).append(payload)
            self._count += 1
            lost = self._count > self._room
            if lost:
                longest = max(self._waiting, key=lambda each: len(self._waiting[each]))
                self._waiting[longest].pop()
                self._count -= 1
                if not self._waiting[longest]:
                    del self._waiting[longest]
            self._changed.notify()
        return not lost

    def wake(self) -> None:
        """Have `take` return now, if with nothing."""
        with self._changed:
            self._is_woken = True
            self._changed.notify()

    def close(self) -> None:
        """Have `take` return None once all is taken."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()

    def take(self, most: int, seconds: float) -> list[tuple[bytes, bytes]] | None:
        """Return (gateway, message) by turns, at most `most`, after waiting for the first; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._count or self._is_woken or self._is_closed, seconds)
            self._is_woken = False
            if not self._count and self._is_closed:
                return None
            return [self._next() for _ in range(min(most, self._count))]

    def _next(self) -> tuple[bytes, bytes]:
        gateway, own = self._waiting.popitem(last=False)
        payload = own.popleft()
        if own:
            self._waiting[gateway] = own
        self._count -= 1
        return gateway, payload
