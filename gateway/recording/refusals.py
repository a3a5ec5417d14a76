"""What was refused, as few events of the chain: at once, then at most once a minute for each kind and reason.

Owns how refusals are counted together. It does not own who refuses, nor the chain (`gateway.recording.recorder`).
Methods may be called from any thread; times are monotonic ms.

Invariants:
* However many messages are refused, the events are at most `MAX_REASONS` a minute, and memory is as bounded.
* None is lost: each is counted by an event, once its minute is over or the gateway ends in order.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from gateway.chain.events import Refusal

__all__ = ["COMMAND", "GRANT", "MAX_REASONS", "NEIGHBOUR", "Refusals"]

COMMAND: Final = 1
GRANT: Final = 2
NEIGHBOUR: Final = 3
MAX_REASONS: Final = 32  # all rules there are, and some to spare: what is above them counts as `_OTHER`

_EVERY_MS: Final = 60_000
_OTHER: Final = "other"


@dataclass(slots=True)
class _Count:
    """Refusals since the last event, which was at `told_ms`; `first` is the first one's hash."""

    told_ms: int
    count: int = 0
    first: bytes = b""


class Refusals:
    """Counts refusals together.

    Args:
        record: puts an event into the chain; its offset is filled in there.
    """

    def __init__(self, record: Callable[[Refusal], None]) -> None:
        self._record, self._lock = record, threading.Lock()
        self._counts: dict[tuple[int, str], _Count] = {}

    def note(self, what: int, reason: str, message: bytes, now_ms: int) -> bool:
        """Take note of a refused message; say whether it was recorded at once.

        Args:
            what: COMMAND, GRANT or NEIGHBOUR.
            reason: the name of the error that refused it.
            message: its bytes as received.
        """
        with self._lock:
            if (what, reason) not in self._counts and len(self._counts) >= MAX_REASONS - 3:
                reason = _OTHER
            known = self._counts.get((what, reason))
            if known is not None:
                known.first = known.first or sha256(message).digest()
                known.count += 1
            else:
                self._counts[what, reason] = _Count(now_ms)
        if known is None:
            self._record(Refusal(0, what, reason, 1, sha256(message).digest()))
        return known is None

    def flush(self, now_ms: int, *, ending: bool = False) -> None:
        """Record what was counted for a minute, or, at the gateway's end, all."""
        for refusal in self._due(now_ms, ending):
            self._record(refusal)

    def _due(self, now_ms: int, ending: bool) -> list[Refusal]:
        due = []
        with self._lock:
            for (what, reason), each in list(self._counts.items()):
                if not ending and now_ms - each.told_ms < _EVERY_MS:
                    continue
                if each.count:
                    due.append(Refusal(0, what, reason, each.count, each.first))
                    self._counts[what, reason] = _Count(now_ms)
                else:
                    del self._counts[what, reason]
        return due
