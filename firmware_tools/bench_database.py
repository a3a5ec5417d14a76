"""What benches want of SQLite: a table to stand beside a hub's, and how large a hub's database is.

Owns all that these tools know of it.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

__all__ = ["Table", "database_size"]


class Table:
    """One table, each row of which is durable when it is in."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("CREATE TABLE alarms (id INTEGER PRIMARY KEY, body BLOB)")

    def add(self, body: bytes) -> None:
        self._connection.execute("INSERT INTO alarms (body) VALUES (?)", (body,))

    def close(self) -> None:
        self._connection.close()


def database_size(database: Path) -> int:
    """Return the bytes that a database takes once its log is written back, whatever its file takes now."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        count, size = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size")
        )
    return int(count) * int(size)
