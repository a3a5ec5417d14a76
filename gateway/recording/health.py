"""Whether a series can be believed: one small state machine each.

Owns the count of failures and the states that are signed as events. It does not own what contracts make of a
fault (`gateway.contracts`).

Invariant: five failures in a row, or no good value for ten seconds, five periods and two cycles of a sensor that
gives a value only now and then, are a fault; one good value ends it. A single failure is no fault: buses and data lines
fail now and then. What was waited for already, a neighbour's word, is a fault with its first failure.
"""

from __future__ import annotations

from typing import Final

__all__ = ["DEGRADED", "FAULT", "STATES", "WARMING", "WELL", "Health"]

WELL: Final = 0
DEGRADED: Final = 1
FAULT: Final = 2
WARMING: Final = 3
STATES: Final = ("OK", "DEGRADED", "FAULT", "WARMING")
"""Their names, for people."""

_FAILURES: Final = 5
_CERTAIN: Final = frozenset({"silent", "unproven"})  # who says so has waited
_SILENCE_MS: Final = 10_000
_RECOVERY: Final = 5  # good values after which a series that failed once is well again


class Health:
    """The state of one series. Times are monotonic ms.

    Attributes:
        state: one of the four above.
        reason: the kind of the last failure, empty while well or warming up.
    """

    __slots__ = ("_failures", "_good", "_good_at", "_patience", "_warm_at", "reason", "state")

    def __init__(self, period_ms: int, warm_at_ms: int, now_ms: int, cycle_ms: int = 0) -> None:
        self._patience = max(_SILENCE_MS, 5 * period_ms, 2 * cycle_ms)
        self._warm_at = warm_at_ms
        self._good_at = now_ms
        self._failures = 0
        self._good = _RECOVERY
        self.reason = ""
        self.state = WELL

    def power(self, warm_at_ms: int) -> None:
        """The sensor's power came on, and its values mean nothing before `warm_at_ms`."""
        self._warm_at = max(self._warm_at, warm_at_ms)

    def succeed(self, now_ms: int) -> bool:
        """Take note of a good value; say whether the state changed."""
        self._good_at, self._failures = now_ms, 0
        self._good = min(self._good + 1, _RECOVERY)
        if self._good >= _RECOVERY or self.state == FAULT:
            self._good, self.reason = _RECOVERY, ""
        return self._settle(now_ms)

    def fail(self, kind: str, now_ms: int) -> bool:
        """Take note of a failure; say whether the state or its reason changed."""
        self._failures, self._good = _FAILURES if kind in _CERTAIN else self._failures + 1, 0
        changed, self.reason = self.reason != kind, kind
        return self._settle(now_ms) or (changed and self.state == FAULT)

    def wait(self, now_ms: int) -> bool:
        """Take note that time has passed; say whether the state changed."""
        if now_ms - self._good_at > self._patience and not self.reason:
            self.reason, self._good = "missing", 0
        return self._settle(now_ms)

    def _settle(self, now_ms: int) -> bool:
        before = self.state
        silent = now_ms - self._good_at > self._patience
        if self._failures >= _FAILURES or silent:
            self.state = FAULT
        elif now_ms < self._warm_at:
            self.state = WARMING
        else:
            self.state = DEGRADED if self.reason else WELL
        return self.state != before
