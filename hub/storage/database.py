"""SQLite as the hub uses it: one writer, readers beside it, everything durable when it is acknowledged.

It owns connections, transactions and the translation of errors; tables are `hub.storage.schema`'s. Invariants:

- writes go through one connection under one lock, each in a transaction of its own, synchronous=FULL on a WAL;
- readers use read-only connections from a pool and never wait for the writer;
- sqlite3's errors leave as StoreError, with the file and the remedy.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import sqlite_utils

from hub.errors import StoreError
from hub.storage.schema import migrations

Connection: TypeAlias = sqlite3.Connection
_BUSY_SECONDS = 10.0
_CACHE_KIB = 32 * 1024


class Database:
    """One database file. Safe for several threads."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open the file, and make and migrate it unless `read_only`. Raises StoreError."""
        self.path = path
        self._lock, self._pool = threading.Lock(), threading.Lock()
        self._idle: list[Connection] = []
        self._closed = False
        self._writer: Connection | None = None
        if not read_only:
            with self._translated():
                self._writer = self._open_writer()
        elif not path.is_file():
            raise StoreError(f"{path}: there is no such database; is this a hub's directory?")

    def close(self) -> None:
        """Close every connection. Idempotent."""
        with self._lock, self._pool:
            self._closed = True
            connections, self._idle = self._idle, []
            if self._writer is not None:
                connections.append(self._writer)
            self._writer = None
        for connection in connections:
            connection.close()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Give the writer inside one transaction: durable when the block ends, undone when it raises."""
        with self._lock, self._translated():
            if self._writer is None:
                raise StoreError(f"{self.path}: closed, or open for reading only")
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection that sees one moment of the database until the block ends."""
        with self._translated():
            connection = self._take()
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                connection.rollback()
                self._give_back(connection)

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """Return all rows of a query, as tuples."""
        with self._translated():
            connection = self._take()
            try:
                return connection.execute(sql, values).fetchall()
            finally:
                self._give_back(connection)

    def row(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """Return the first row of a query as a tuple, or None."""
        return next(iter(self.rows(sql, values)), None)

    def value(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """Return the first column of a query's first row, or None."""
        row = self.row(sql, values)
        return None if row is None else row[0]

    def _open_writer(self) -> Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with _closed_on_failure(self._connect(f"file:{_quoted(self.path)}?mode=rwc")) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            migrations.apply(sqlite_utils.Database(connection))
        return connection

    def _connect(self, uri: str) -> Connection:
        connection = sqlite3.connect(
            uri, uri=True, isolation_level=None, check_same_thread=False, timeout=_BUSY_SECONDS
        )
        with _closed_on_failure(connection):
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        return connection

    def _take(self) -> Connection:
        with self._pool:
            if self._closed:
                raise StoreError(f"{self.path}: closed")
            if self._idle:
                return self._idle.pop()
        return self._connect(f"file:{_quoted(self.path)}?mode=ro")

    def _give_back(self, connection: Connection) -> None:
        with self._pool:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(
                f"{self.path}: {error}; check the disk's space and run tocsin-hub audit"
            ) from error


def copy_database(source: Path, target: Path) -> None:
    """Copy a database as it stands at one moment, also while it is written to, into one file. Raises StoreError."""
    with _opened(source, "ro") as connection, _opened(target, "rwc") as copy:
        connection.backup(copy)  # at one go: in pieces it would begin again at each write of the running hub
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it


def empty_tables(path: Path, tables: Sequence[str]) -> None:
    """Empty such of these tables as are there, in spite of triggers that forbid it, all or none. Raises StoreError."""
    marks = ", ".join("?" * len(tables))
    with _opened(path, "rw") as connection:
        connection.execute("BEGIN")
        there = connection.execute(
            f"SELECT name FROM sqlite_master WHERE type = 'table' AND name IN ({marks})", tables
        ).fetchall()
        triggers = connection.execute(
            f"SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name IN ({marks})", tables
        ).fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        for (table,) in there:
            connection.execute(f"DELETE FROM {table}")
        for _, sql in triggers:
            connection.execute(sql)
        connection.execute("COMMIT")


@contextmanager
def _opened(path: Path, mode: str) -> Iterator[Connection]:
    try:
        connection = sqlite3.connect(f"file:{_quoted(path)}?mode={mode}", uri=True, isolation_level=None)
        try:
            yield connection
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}; is this a hub's ledger?") from error


@contextmanager
def _closed_on_failure(connection: Connection) -> Iterator[Connection]:
    try:
        yield connection
    except BaseException:
        connection.close()
        raise


def _quoted(path: Path) -> str:
    """Return a path as a URI's path wants it."""
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
