"""What a witness must not forget, on disk: the last head it cosigned of each log, and views that contradict ours.

A head never goes back to a smaller log: the table refuses it. Split views are evidence and are never changed.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Final

from gateway.chain.notes import LogHead
from hub.storage.database import Database

MAX_SPLITS: Final = 16
"""How many contradictions are kept of one signer: one is enough, and a liar could make them without end."""


@dataclass(frozen=True, slots=True)
class SplitView:
    """Two notes for one log that cannot both be true: theirs as it came, ours at the same size; `at` is Unix ms."""

    at: int
    signer: bytes
    theirs: bytes
    ours: bytes


class WitnessStore:
    """Part of a hub's database; safe for several threads; every write is durable when it returns."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def head(self, origin: str) -> LogHead | None:
        """Return the head of a log that was cosigned last."""
        row = self._db.row("SELECT size, root FROM witnessed WHERE origin = ?", (origin,))
        return None if row is None else LogHead(origin, *row)

    def advance(self, head: LogHead) -> None:
        """Keep the head that is about to be cosigned."""
        with self._db.write() as db:
            db.execute(
                "INSERT INTO witnessed VALUES (?, ?, ?)"
                " ON CONFLICT (origin) DO UPDATE SET size = excluded.size, root = excluded.root",
                (head.origin, head.size, head.root),
            )

    def add_split(self, split: SplitView) -> bool:
        """Keep a contradiction; tell whether it is new and its signer has not too many already."""
        with self._db.write() as db:
            values = (split.at, split.signer, split.theirs, split.ours, split.signer, MAX_SPLITS)
            done = db.execute(
                "INSERT OR IGNORE INTO split_views (at, signer, theirs, ours) SELECT ?, ?, ?, ?"
                " WHERE (SELECT count(*) FROM split_views WHERE signer = ?) < ?",
                values,
            )
            return done.rowcount == 1

    def splits(self, limit: int = 100) -> list[SplitView]:
        """Return the contradictions seen, latest last."""
        rows = self._db.rows(
            "SELECT at, signer, theirs, ours FROM split_views ORDER BY id DESC LIMIT ?", (limit,)
        )
        return [SplitView(*row) for row in reversed(rows)]

    def last_sealed(self) -> tuple[int, int] | None:
        """Return height and time (Unix ms) of the last sealed final block."""
        row = self._db.row("SELECT height, time FROM commits WHERE height = (SELECT max(height) FROM seals)")
        return None if row is None else (row[0], row[1])

    def first_since(self, time: int, height: int) -> int:
        """Return the first final block at or after a time (Unix ms), at most `height`, which is one."""
        lowest = int(self._db.value("SELECT min(height) FROM commits"))
        return lowest + bisect_left(range(lowest, height), time, key=self._time_of)

    def _time_of(self, height: int) -> int:
        return int(self._db.value("SELECT time FROM commits WHERE height = ?", (height,)) or 0)
