"""The hub's wall clock, held against one that only runs on.

A final block's time is the chain's for ever, as it never goes back. So a clock that leaps ahead, by a time server
gone wrong or a bad hand, is not followed at once: the time goes on from where it was, and the leap is taken for
true only once it has lasted. A clock that is wrong from the start, or for long, cannot be told from a right one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

_log = logging.getLogger(__name__)

MAX_LEAP_MS: Final = 10 * 60_000
PROBATION_MS: Final = 10 * 60_000


def wall_ms() -> int:
    """Return this machine's time in Unix ms."""
    return time.time_ns() // 1_000_000


def running_ms() -> int:
    """Return ms that nobody sets, which go on while the machine sleeps."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class HeldClock:
    """Call it for the time in Unix ms. Safe for several threads."""

    def __init__(self, wall: Callable[[], int] = wall_ms, running: Callable[[], int] = running_ms) -> None:
        self._wall, self._running = wall, running
        self._lock = threading.Lock()
        self._offset = wall() - running()
        self._leapt: int | None = None  # since when the wall clock is held, by the running one

    def __call__(self) -> int:
        with self._lock:
            now = self._running()
            offset = self._wall() - now
            if offset - self._offset <= MAX_LEAP_MS:
                self._offset, self._leapt = offset, None
            elif self._leapt is None:
                self._leapt = now
                _log.error(
                    "the clock leapt %d s ahead and is not followed yet", (offset - self._offset) // 1000
                )
            elif now - self._leapt >= PROBATION_MS:
                _log.warning("the clock stayed %d s ahead: it is followed", (offset - self._offset) // 1000)
                self._offset, self._leapt = offset, None
            return now + self._offset

    @property
    def is_held(self) -> bool:
        """Whether the wall clock is not followed."""
        return self._leapt is not None
