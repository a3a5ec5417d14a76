"""What may leave the gateway's disk, and when.

Owns pruning, the quota, and what is shed in which order when there is no room. It does not own the rows
(`gateway.storage.store`).

Invariants:
* A body is pruned only when its block is final and enough agencies have signed to keep it.
* Without that, at the quota or on a full disk, are shed: summaries, then quiet public bodies with some receipt,
  then the oldest bodies. Never headers, transitions, what lies within ten minutes of one, or the last day.
* Each shedding is an event in the chain.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from gateway.chain.events import Shedding
from gateway.clock import Clock
from gateway.storage.holdings import Holdings
from gateway.storage.store import Store

__all__ = ["BALLAST", "Pruner", "takes_data"]

_log = logging.getLogger(__name__)

BALLAST: Final = "ballast"
_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS
_CALM_MS: Final = 600_000
_BATCH: Final = 200
_LOW_BYTES: Final = 8 << 20  # on a disk with less than this free, there is none
_BALLAST_BYTES: Final = 1 << 20
_UNKNOWN_QUOTA: Final = 1 << 30
_SUMMARIES, _QUIET, _OLDEST = 1, 2, 3


class Pruner:
    """Keeps the database within its bounds; one thread calls `care`.

    Args:
        quota: bytes that the database may take; None means half the disk.
        retain_h: hours for which bodies stay although others keep them.
        custodians: says how many agencies must keep a body before it is pruned; None while that is not known.
        earlier: says which block was the last of earlier chains, and how many agencies those asked for.
        note: records an event.
    """

    def __init__(
        self,
        store: Store,
        directory: Path,
        clock: Clock,
        *,
        quota: int | None,
        retain_h: int,
        custodians: Callable[[], int | None],
        note: Callable[[Shedding], None],
        earlier: Callable[[], tuple[int, int]] = lambda: (0, 1),
    ) -> None:
        self._store, self._holdings = store, Holdings(store)
        self._directory, self._clock = directory, clock
        self._retain_ms, self._custodians, self._note = retain_h * _HOUR_MS, custodians, note
        self._earlier = earlier
        self.quota = quota or _half_of(directory)
        # To delete rows takes room in the log, too: on a full disk this file makes way for it.
        self._ballast = directory / BALLAST

    @property
    def fill(self) -> int:
        """The database's size in per mille of its quota."""
        return min(100_000, self._store.used_bytes() * 1000 // self.quota)

    def care(self) -> None:
        """Prune, and shed where there is no room. Raises StoreError."""
        now = self._clock.wall_ms()
        if shutil.disk_usage(self._directory).free < _BALLAST_BYTES:
            self._ballast.unlink(missing_ok=True)
        custodians = self._custodians()
        if custodians is not None:
            old, earlier = now - self._retain_ms, self._earlier()
            while numbers := self._holdings.prunable(custodians, old, now, _BATCH, earlier=earlier):
                self._holdings.drop_bodies(numbers)
        while self._is_short() and self._shed(now):
            pass
        self._take_ballast()

    def _is_short(self) -> bool:
        # Rows that are dropped give no bytes back to the disk: their pages are the database's room to write on.
        free = shutil.disk_usage(self._directory).free + self._ballast_bytes() + self._store.spare_bytes()
        return self._store.used_bytes() > self.quota or free < _LOW_BYTES

    def _shed(self, now: int) -> bool:
        """Give up one batch of the least precious; False when there is nothing that may go."""
        holdings, old = self._holdings, now - _DAY_MS
        if rows := holdings.summarised(old, _BATCH):
            holdings.drop_summaries(number for number, _ in rows)
            return self._shedded(_SUMMARIES, rows)
        for what in (_QUIET, _OLDEST):
            if rows := holdings.sheddable(old, _CALM_MS, _BATCH, quiet=what == _QUIET):
                holdings.drop_bodies(number for number, _ in rows)
                return self._shedded(what, rows)
        return False

    def _shedded(self, what: int, rows: Sequence[tuple[int, int]]) -> bool:
        head = self._store.head()
        ahead = head.height - head.number if head else 0
        heights = [height or max(0, number + ahead) for number, height in rows]
        self._note(Shedding(what, min(heights), max(heights), len(rows)))
        _log.warning("no room: shed %d %s", len(rows), "summaries" if what == _SUMMARIES else "bodies")
        return True

    def _ballast_bytes(self) -> int:
        return self._ballast.stat().st_size if self._ballast.exists() else 0

    def _take_ballast(self) -> None:
        if self._ballast_bytes() == _BALLAST_BYTES:
            return
        with contextlib.suppress(OSError), self._ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, _BALLAST_BYTES)


def takes_data(directory: Path) -> bool:
    """Whether a file of some size can be written there now."""
    probe = directory / "probe"
    try:
        with probe.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, _BALLAST_BYTES)
            os.fsync(file.fileno())
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
    return True


def _half_of(directory: Path) -> int:
    try:
        return shutil.disk_usage(directory).total // 2
    except OSError as error:  # no reason not to start
        _log.error("%s: its size is not known: %s", directory, error)
        return _UNKNOWN_QUOTA
