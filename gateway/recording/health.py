"""Whether a series can be believed: one small state machine each.

Owns the count of failures, what is doubtful, and the states that are signed as events. It does not own what makes a
value implausible (`gateway.recording.plausibility`) nor what contracts make of a fault (`gateway.contracts`).

Invariants:
* Five failures in a row, or no good value for ten seconds, five periods and two cycles of a sensor that gives a value
  only now and then, are a fault; one good value ends it. A single failure is no fault: buses and data lines fail now
  and then. What was waited for already, a neighbour's word or a value that does not move, is one at once.
* What gets worse is a change of state at once. What gets better is one at once too, but for a series that got worse
  again soon after: then it has to last, twice as long each time, and at most ten minutes. So a fault is never late,
  and a flapping sensor makes a few events an hour.
* A doubt (`doubt`) leaves values in use and a series degraded; only failures are a fault.
"""

from __future__ import annotations

from typing import Final

__all__ = ["DEGRADED", "DOUBTS", "FAULT", "STATES", "WARMING", "WELL", "Health"]

WELL: Final = 0
DEGRADED: Final = 1
FAULT: Final = 2
WARMING: Final = 3
STATES: Final = ("OK", "DEGRADED", "FAULT", "WARMING")
"""Their names, for people."""

DOUBTS: Final = ("disagrees", "noise", "quiet", "retries", "calibration-expired")
"""What makes a series degraded though its values come, the weightiest first."""

_SEVERITY: Final = {WELL: 0, WARMING: 1, DEGRADED: 2, FAULT: 3}
_FAILURES: Final = 5
_CERTAIN: Final = frozenset({"silent", "unproven", "stuck"})  # who says so has waited
_SILENCE_MS: Final = 10_000
_RECOVERY: Final = 5  # good values after which a series that failed once is well again
_HOLD_MS: Final = 10_000
_HOLD_MOST_MS: Final = 600_000
_MEMORY_MS: Final = 2 * _HOLD_MOST_MS  # so long after it got well, a series has done nothing before
_REASON_MS: Final = 60_000  # another reason for the same state is told so often
_TELL_MS: Final = 10_000
# A sample that needed repeats counts ten, any good one takes one away: more than one in ten is frequent.
_RETRIED, _FREQUENT = 10, 50


class Health:
    """The state of one series. Times are monotonic ms.

    Attributes:
        state: one of the four above.
        reason: the kind of the last failure or the weightiest doubt; empty while well or warming up.
    """

    __slots__ = (
        "_better_at",
        "_doubts",
        "_failure",
        "_failures",
        "_good",
        "_good_at",
        "_hold",
        "_improved_at",
        "_is_told",
        "_patience",
        "_reason_at",
        "_retried",
        "_told_at",
        "_warm_at",
        "reason",
        "state",
    )

    def __init__(self, period_ms: int, warm_at_ms: int, now_ms: int, cycle_ms: int = 0) -> None:
        self._patience = max(_SILENCE_MS, 5 * period_ms, 2 * cycle_ms)
        self._warm_at = warm_at_ms
        self._good_at = self._reason_at = now_ms
        self._failures = self._retried = self._hold = 0
        self._failure = ""
        self._doubts: set[str] = set()
        self._good = _RECOVERY
        self._better_at: int | None = None
        self._improved_at: int | None = None
        self._is_told = False
        self._told_at: int | None = None
        self.reason = ""
        self.state = WELL

    def power(self, warm_at_ms: int) -> None:
        """The sensor's power came on, and its values mean nothing before `warm_at_ms`."""
        self._warm_at = max(self._warm_at, warm_at_ms)

    def succeed(self, now_ms: int) -> bool:
        """Take note of a good value; say whether state or reason changed."""
        self._good_at, self._failures, self._is_told = now_ms, 0, False
        self._good = min(self._good + 1, _RECOVERY)
        if self._good >= _RECOVERY or self.state == FAULT:
            self._good, self._failure = _RECOVERY, ""
        self._retried = max(0, self._retried - 1)
        if not self._retried:
            self._doubts.discard("retries")
        return self._settle(now_ms)

    def fail(self, kind: str, now_ms: int) -> bool:
        """Take note of a failure; say whether state or reason changed."""
        self._failures, self._good = _FAILURES if kind in _CERTAIN else self._failures + 1, 0
        self._failure, self._better_at = kind, None
        return self._settle(now_ms)

    def retry(self) -> None:
        """Take note that what comes next needed repeats on its bus."""
        self._retried = min(self._retried + _RETRIED, 2 * _FREQUENT)
        if self._retried > _FREQUENT:
            self._doubts.add("retries")

    def doubt(self, kind: str, *, stands: bool) -> None:
        """Take note that a doubt, one of `DOUBTS`, stands or does not; `wait` says what came of it."""
        (self._doubts.add if stands else self._doubts.discard)(kind)

    def wait(self, now_ms: int) -> bool:
        """Take note that time has passed; say whether state or reason changed."""
        if now_ms - self._good_at > self._patience and not self._failure:
            self._failure, self._good = "missing", 0
        return self._settle(now_ms)

    def tells(self, now_ms: int) -> str:
        """Return the kind of a fault that contracts are to be told of now, once for each; else nothing.

        They end it with the next good value, whatever the state is: a fault that comes back within ten seconds is
        told when they are over, if it still stands.
        """
        is_failing = self._failures >= _FAILURES or now_ms - self._good_at > self._patience
        if not is_failing or self._is_told:
            return ""
        if self._told_at is not None and self._hold and now_ms - self._told_at < _TELL_MS:
            return ""
        self._is_told, self._told_at = True, now_ms
        return self._failure

    def tell_anew(self) -> None:
        """Let `tells` tell again of a fault that stands."""
        self._is_told, self._told_at = False, None

    def _settle(self, now_ms: int) -> bool:
        before = self.state, self.reason
        state, reason = self._found(now_ms)
        if _SEVERITY[state] > _SEVERITY[self.state]:
            self._worsen(now_ms)
            self.state, self.reason = state, reason
        elif state == self.state:
            self._better_at = None
            if reason != self.reason and now_ms >= self._reason_at:
                self.reason, self._reason_at = reason, now_ms + _REASON_MS
        else:
            if self._better_at is None:
                self._better_at = now_ms
            if now_ms - self._better_at >= self._hold:
                self.state, self.reason, self._better_at, self._improved_at = state, reason, None, now_ms
        return (self.state, self.reason) != before

    def _found(self, now_ms: int) -> tuple[int, str]:
        """Return state and reason as they are at this moment."""
        if self._failures >= _FAILURES or now_ms - self._good_at > self._patience:
            return FAULT, self._failure
        if now_ms < self._warm_at:
            return WARMING, ""
        reason = self._failure or next((kind for kind in DOUBTS if kind in self._doubts), "")
        return (DEGRADED, reason) if reason else (WELL, "")

    def _worsen(self, now_ms: int) -> None:
        """Ask more of the next improvement, if the last one did not last."""
        self._better_at, self._reason_at = None, now_ms
        if self._improved_at is not None:
            soon = now_ms - self._improved_at < _MEMORY_MS
            self._hold = min(max(2 * self._hold, _HOLD_MS), _HOLD_MOST_MS) if soon else 0
            self._improved_at = None
