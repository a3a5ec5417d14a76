"""Report by exception: which values of a series are kept, and the ring of those that were not.

Owns one series' dead band and its ring in memory. It does not own blocks.

Invariant: around a transition every value is kept: those of the last `ring_ms`, which `commit` gives back, and
those of the next.
"""

from __future__ import annotations

from collections import deque

__all__ = ["Policy"]


class Policy:
    """One series' report by exception; dead band and longest interval both 0 keep every value."""

    __slots__ = ("_band", "_full_until", "_kept", "_longest", "_ring", "_ring_ms")

    def __init__(self, dead_band: int, longest_ms: int, ring_ms: int) -> None:
        self._band, self._longest, self._ring_ms = dead_band, longest_ms, ring_ms
        self._kept: tuple[int, int] | None = None
        self._full_until: int | None = None
        self._ring: deque[tuple[int, int]] = deque()

    def keeps(self, value: int, now_ms: int) -> bool:
        """Say whether a value is to be recorded; one that is not goes to the ring."""
        if not self._longest:
            return True
        if self._is_due(value, now_ms):
            self._kept = value, now_ms
            return True
        self._ring.append((now_ms, value))
        while self._ring[0][0] < now_ms - self._ring_ms:
            self._ring.popleft()
        return False

    def commit(self, now_ms: int) -> list[tuple[int, int]]:
        """Empty the ring and return its (time, value) of the last `ring_ms`; keep every value for as long again."""
        if not self._longest:
            return []
        self._full_until = now_ms + self._ring_ms
        ring = [(at, value) for at, value in self._ring if at >= now_ms - self._ring_ms]
        self._ring.clear()
        return ring

    def _is_due(self, value: int, now_ms: int) -> bool:
        if self._full_until is not None and now_ms <= self._full_until:
            return True
        if self._kept is None:
            return True
        last, at = self._kept
        return abs(value - last) > self._band or now_ms - at >= self._longest
