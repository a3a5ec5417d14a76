"""Whether the machine's wall clock is set by a time source.

Owns one question to the system, asked now and then. It does not own what follows from the answer.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gateway.chain.block import NTP, STALE
from gateway.clock import Clock

__all__ = ["Synchrony"]

_ASK_MS: Final = 15_000
_TIMESYNCD: Final = Path("/run/systemd/timesync/synchronized")
_TIMEX_BYTES: Final = 512  # more than struct timex has anywhere
_TIME_ERROR: Final = 5  # adjtimex(2): clock not synchronised


class Synchrony:
    """The clock state as headers say it: a time server vouches for wall time, or nobody does."""

    def __init__(self, clock: Clock, ask: Callable[[], bool] | None = None) -> None:
        self._clock, self._ask = clock, ask or is_synchronised
        self._state, self._asked_ms = STALE, clock.monotonic_ms() - _ASK_MS

    def __call__(self) -> int:
        now = self._clock.monotonic_ms()
        if now - self._asked_ms >= _ASK_MS:
            self._asked_ms = now
            self._state = NTP if self._ask() else STALE
        return self._state


def is_synchronised() -> bool:
    """Ask systemd-timesyncd's flag, then the kernel, which a confined service may not be allowed to."""
    if _TIMESYNCD.exists():
        return True
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)  # all zero: modes 0 changes nothing
    try:
        state = int(ctypes.CDLL(None).adjtimex(timex))
    except (OSError, AttributeError):
        return False
    return state not in (-1, _TIME_ERROR)
