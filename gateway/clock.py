"""Time as the gateway sees it: one Protocol, the system's clock and a simulated one.

Owns reading and waiting for time. It does not own what a time means (a reading's time is stamped by the
daemon) nor whether the wall clock is trustworthy.

Invariants:
* `monotonic_ms` never goes back and ignores every step of the wall clock; its base is arbitrary.
* `wall_ms` is Unix time and may step either way.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

__all__ = ["Clock", "SimulatedClock", "SystemClock"]

_NS_PER_MS = 1_000_000
_NS_PER_S = 1_000_000_000


class Clock(Protocol):
    """Where the gateway takes its time from; safe to use from any thread."""

    def wall_ms(self) -> int:
        """Return Unix time in milliseconds."""
        ...

    def monotonic_ms(self) -> int:
        """Return milliseconds since an arbitrary moment; never goes back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Block for `seconds` of this clock's time."""
        ...


class SystemClock:
    """The machine's own clocks; on Linux the monotonic one counts from the machine's start."""

    def wall_ms(self) -> int:
        return time.time_ns() // _NS_PER_MS

    def monotonic_ms(self) -> int:
        return time.monotonic_ns() // _NS_PER_MS

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class SimulatedClock:
    """A clock that runs `speed` times as fast as the system's, or only when it is told to.

    With `speed=0` time stands still but for `sleep` and `advance`: a run then takes no real time and is
    the same every time, which suits one thread; several sleeping threads would each push it forward. At the system's
    own speed, and unless it is told otherwise, its wall time is the system's, steps and all.

    Args:
        speed: simulated seconds per real second, 0 or more.
        start_wall_ms: Unix milliseconds at the start; the present if left out.
    """

    def __init__(self, speed: float = 1.0, start_wall_ms: int | None = None) -> None:
        if speed < 0:
            raise ValueError(f"a clock cannot run backwards: speed {speed}")
        self.speed = speed
        self._started_ns = time.monotonic_ns()
        self._is_systems = speed == 1 and start_wall_ms is None
        self._wall_ns = time.time_ns() if start_wall_ms is None else start_wall_ms * _NS_PER_MS
        self._stepped_ns = 0
        self._advanced_ns = 0
        self._lock = threading.Lock()

    def wall_ms(self) -> int:
        with self._lock:
            if self._is_systems:
                return (time.time_ns() + self._advanced_ns + self._stepped_ns) // _NS_PER_MS
            return (self._wall_ns + self._elapsed_ns() + self._stepped_ns) // _NS_PER_MS

    def monotonic_ms(self) -> int:
        with self._lock:
            return self._elapsed_ns() // _NS_PER_MS

    def sleep(self, seconds: float) -> None:
        if self.speed:
            time.sleep(seconds / self.speed)
        else:
            self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Jump forward, both clocks alike.

        Raises:
            ValueError: `seconds` is negative.
        """
        if seconds < 0:
            raise ValueError(f"the monotonic clock cannot go back by {-seconds} s")
        with self._lock:
            self._advanced_ns += round(seconds * _NS_PER_S)

    def step_wall(self, ms: int) -> None:
        """Step the wall clock alone, as a time server's correction would."""
        with self._lock:
            self._stepped_ns += ms * _NS_PER_MS

    def _elapsed_ns(self) -> int:
        return round((time.monotonic_ns() - self._started_ns) * self.speed) + self._advanced_ns
