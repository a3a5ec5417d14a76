"""What a running contract keeps of one input: its last sample, its fault, its warm-up, its windows.

SEMANTICS.md, sections 4 and 6. Invariant: memory is bounded by the windows' cap, and every operation takes
amortised constant time, whatever has gone before.
"""

from __future__ import annotations

from collections import deque
from typing import Final

MAX_WINDOW: Final = 8192  # samples; beyond it the window is undecided, never an approximation
MISSING: Final = "missing"
_NEVER: Final = -(1 << 70)  # before every 64-bit time


class Window:
    """The samples of the last `span` ms, with their sum. Times strictly rise."""

    __slots__ = ("_lost", "_samples", "_sum", "span")

    def __init__(self, span: int) -> None:
        self.span = span
        self.clear()

    def clear(self) -> None:
        self._samples: deque[tuple[int, int]] = deque()
        self._sum = 0
        self._lost = _NEVER

    def push(self, at: int, value: int) -> None:
        """Take a sample; one of the same time as the last replaces it."""
        samples = self._samples
        if samples and samples[-1][0] == at:
            self._sum -= samples.pop()[1]
        samples.append((at, value))
        self._sum += value
        if len(samples) > MAX_WINDOW:
            self._lost = self._drop()

    def advance(self, now: int) -> None:
        """Let go what is not in (now - span, now]."""
        start = now - self.span
        while self._samples and self._samples[0][0] <= start:
            self._drop()
        if self._lost <= start:
            self._lost = _NEVER

    def rate(self) -> tuple[int, int] | None:
        """Return (last - first) / elapsed as numerator and denominator, in steps per second, or undecided."""
        if not self._decided():
            return None
        (start, first), (end, last) = self._samples[0], self._samples[-1]
        return (last - first) * 1000, end - start

    def mean(self) -> tuple[int, int] | None:
        """Return the arithmetic mean as numerator and denominator, in steps, or undecided."""
        return (self._sum, len(self._samples)) if self._decided() else None

    def _decided(self) -> bool:
        samples = self._samples
        if len(samples) < 2 or self._lost != _NEVER:
            return False
        return 2 * (samples[-1][0] - samples[0][0]) >= self.span

    def _drop(self) -> int:
        at, value = self._samples.popleft()
        self._sum -= value
        return at


class InputState:
    """One input of one running contract.

    `good` (the value, or None) and `reason` (why it is faulty, or empty) are as of the last `settle`.
    """

    __slots__ = (
        "_event_at",
        "_value",
        "_warm",
        "_windows",
        "alias",
        "at",
        "good",
        "kind",
        "max_age",
        "reason",
    )

    def __init__(self, alias: str, max_age: int, start: int) -> None:
        self.alias = alias
        self.max_age = max_age
        self.at = start
        self.kind = ""
        self.good: int | None = None
        self.reason = ""
        self._value: int | None = None
        self._event_at = _NEVER
        self._warm = _NEVER
        self._windows: dict[int, Window] = {}

    def window(self, span: int) -> Window:
        """Return the input's window over a span, made at the first call."""
        return self._windows.setdefault(span, Window(span))

    def sample(self, value: int, at: int) -> bool:
        """Take a sample; False when it comes too late to be heard."""
        if at < self._event_at:
            return False
        self.at = self._event_at = at
        self.kind = ""
        self._value = value if at >= self._warm else None
        if self._value is not None:
            for window in self._windows.values():
                window.push(at, value)
        return True

    def fault(self, kind: str, at: int) -> bool:
        """Take a fault; False when it comes too late to be heard."""
        if at < self._event_at:
            return False
        self._event_at = at
        self.kind = kind
        return True

    def power(self, warm: int) -> bool:
        """Hold samples before `warm`; False when the last one is younger than that."""
        self._warm = max(self._warm, warm)
        if self.at >= self._warm:
            return False
        self._value = None
        return True

    def settle(self, now: int) -> None:
        """Bring `good`, `reason` and the windows to an instant."""
        self.reason = self.kind or (MISSING if now - self.at > self.max_age else "")
        self.good = None if self.reason else self._value
        for window in self._windows.values():
            if self.good is None:
                window.clear()
            else:
                window.advance(now)

    @property
    def deadline(self) -> int | None:
        """The first instant at which the last sample is too old, unless the input is faulty already."""
        return None if self.reason else self.at + self.max_age + 1

    def warm_left(self, now: int) -> int:
        """Return the milliseconds of warm-up that are left."""
        return max(0, self._warm - now)

    def restore(self, kind: str, warm_left: int, now: int) -> None:
        """Become an input not yet sampled, with a saved fault and the rest of a warm-up."""
        self.at = now
        self.kind = self.reason = kind
        self._warm = now + warm_left if warm_left else _NEVER
