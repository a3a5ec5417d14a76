"""How often something may happen: token buckets, one by itself or one for each source.

Invariant: memory is bounded, whoever sends; a source forgotten begins anew with a full bucket.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

__all__ = ["Bucket", "Sources"]

_REMEMBERED: Final = 256


class Bucket:
    """At most `burst` at once, then `per_s` a second. Times are monotonic ms."""

    __slots__ = ("_at_ms", "_burst", "_per_s", "_thousandths")

    def __init__(self, per_s: int, burst: int, now_ms: int) -> None:
        self._per_s, self._burst = per_s, burst * 1000
        self._thousandths, self._at_ms = self._burst, now_ms

    def take(self, now_ms: int) -> bool:
        """Take one, if there is one."""
        gained = max(0, now_ms - self._at_ms) * self._per_s
        self._thousandths, self._at_ms = min(self._burst, self._thousandths + gained), now_ms
        if self._thousandths < 1000:
            return False
        self._thousandths -= 1000
        return True


class Sources:
    """A bucket for each source of datagrams, those heard last."""

    def __init__(self, per_s: int, burst: int) -> None:
        self._per_s, self._burst = per_s, burst
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, source: str, now_ms: int) -> bool:
        """Take one of a source's, if there is one."""
        bucket = self._buckets.pop(source, None) or Bucket(self._per_s, self._burst, now_ms)
        self._buckets[source] = bucket
        if len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        return bucket.take(now_ms)
