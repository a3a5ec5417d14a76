"""What benches want of SQLite: a table to stand beside a hub's, and how large a hub's database is.

Owns all that these tools know of it.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

__all__ = ["Table", "age_log", "database_size", "write_back"]

_LOG_PAGES: Final = 4096  # of a gateway's database


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


def age_log(database: Path) -> None:
    """Bring a database's log to the size that it has for ever once it has been written back for the first time."""
    with closing(sqlite3.connect(database, isolation_level=None, timeout=10.0)) as connection:
        (pages,) = connection.execute("PRAGMA page_size").fetchone()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE filler (body BLOB)")
        connection.execute("INSERT INTO filler VALUES (zeroblob(?))", (_LOG_PAGES * pages,))
        connection.execute("DROP TABLE filler")
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()


def write_back(database: Path) -> None:
    """Write a database's log back, as far as nobody reads it."""
    with closing(sqlite3.connect(database, isolation_level=None, timeout=10.0)) as connection:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
