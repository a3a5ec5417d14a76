"""How sirens sound: on and off over time, from the moment at which they begin.

Owns the patterns' times. Invariant: every pattern begins with sound, and depends on nothing but the time since then.

"temporal-3" is the evacuation signal of ISO 8201: three times half a second of sound with half a second of rest
between, then a second and a half of rest. "intermittent" is a second each; "slow" half a second every four, for a
pre-alarm that is to be told from the alarm by its sound.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Final

__all__ = ["PATTERNS", "phase"]

# Milliseconds of sound, rest, sound, rest, ...; repeated.
PATTERNS: Final[dict[str, tuple[int, ...]]] = {
    "continuous": (),
    "intermittent": (1000, 1000),
    "temporal-3": (500, 500, 500, 500, 500, 1500),
    "slow": (500, 3500),
}


def phase(pattern: str, elapsed_ms: int) -> tuple[bool, int | None]:
    """Return whether a pattern sounds so long after its beginning, and after how long that changes (None: never)."""
    steps = PATTERNS[pattern]
    if not steps:
        return True, None
    at = elapsed_ms % sum(steps)
    index, end = next((i, end) for i, end in enumerate(accumulate(steps)) if at < end)
    return index % 2 == 0, end - at
