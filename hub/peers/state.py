"""How this hub stands with each of the others: what people are shown, and how long to leave one alone.

Owned: counters and back-off, in memory. Not owned: what follows from them.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, replace
from typing import Final

_LONGEST: Final = 60.0


@dataclass(frozen=True, slots=True)
class PeerView:
    """One other hub, for people. Times are Unix ms by this hub's clock, counts are since its start.

    Attributes:
        last_contact: when it answered or asked last, None where it never did.
        height: the last final block it spoke of.
        wanted: blocks of which bodies were asked of it last.
        had: bodies that came from it and are what their headers say.
        failures: requests that failed, bodies that were not what their headers say among them.
        passed: challenges it answered with a proof.
        failed: those it answered wrongly or with a lack, or not at all.
        bytes: of its answers.
        trouble: why it is left alone for now, empty while it is not.
    """

    name: str
    url: str
    last_contact: int | None = None
    height: int = 0
    wanted: int = 0
    had: int = 0
    failures: int = 0
    passed: int = 0
    failed: int = 0
    bytes: int = 0
    trouble: str = ""


class PeerState:
    """One peer's counters and its back-off. Safe for several threads."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self._lock = threading.Lock()
        self._view = PeerView(name, url)
        self._failures = 0
        self._until = 0.0

    @property
    def view(self) -> PeerView:
        """What to show."""
        with self._lock:
            return self._view

    def count(
        self, *, had: int = 0, failures: int = 0, passed: int = 0, failed: int = 0, got: int = 0
    ) -> None:
        """Add to the counters; `got` is bytes."""
        with self._lock:
            at = self._view
            self._view = replace(
                at,
                had=at.had + had,
                failures=at.failures + failures,
                passed=at.passed + passed,
                failed=at.failed + failed,
                bytes=at.bytes + got,
            )

    def heard(self, at: int, *, height: int | None = None, wanted: int | None = None) -> None:
        """Note that it answered or asked at a time (Unix ms); a success ends the back-off."""
        with self._lock:
            seen = self._view
            self._view = replace(
                seen,
                last_contact=at,
                height=seen.height if height is None else height,
                wanted=seen.wanted if wanted is None else wanted,
            )

    def well(self) -> None:
        """Note that a request was answered."""
        with self._lock:
            self._failures, self._until = 0, 0.0
            if self._view.trouble:
                self._view = replace(self._view, trouble="")

    def fail(self, trouble: str, seconds: float | None = None) -> None:
        """Leave it alone for some seconds, by default ever longer ones."""
        with self._lock:
            self._failures += 1
            # Not all hubs at once, when one of them comes back.
            wait = min(2.0 ** (self._failures - 1), _LONGEST) * random.uniform(0.5, 1.0)
            self._until = time.monotonic() + (wait if seconds is None else seconds)
            self._view = replace(self._view, failures=self._view.failures + 1, trouble=trouble)

    @property
    def rest(self) -> float:
        """How many seconds it is to be left alone still."""
        with self._lock:
            return max(self._until - time.monotonic(), 0.0)
