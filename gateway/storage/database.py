"""One SQLite database: the only module of this package that knows SQLite.

Owns the file, its durability, transactions and the translation of errors. It does not own tables
(`gateway.storage.schema`) nor what is asked of them (`gateway.storage.store`).

Invariants:
* One connection, one lock; a transaction is durable when it ends (WAL, synchronous FULL), or has changed nothing.
  One that says it may wait is durable with the next that does not; until then a power cut takes it back whole.
* Pages are small: a block changes a dozen of them by a few bytes, and each goes to the card twice.
* A file that is not a database, or a damaged one, is set aside as `<name>.damaged` and begun anew: recording
  must go on. `recovered_whole` says so, and the gateway takes a new epoch.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from gateway.errors import StoreError, StoreFull
from gateway.storage.schema import VERSION, migrate

__all__ = ["Database"]

_log = logging.getLogger(__name__)

_PAGE: Final = 1024
_LOG_PAGES: Final = 4096  # the log's size, after which it is written back and begun again in its place
_FULL: Final = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE}
_NEWEST: Final = "SELECT count(*) FROM blocks WHERE number = (SELECT max(number) FROM blocks)"
_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class Database:
    """An open database of the present schema. Methods may be called from any thread.

    Args:
        writable: False on a disk that cannot be written: the file is read as it lies there, with what was written
            last as far as that can be had, and every write fails. Where it cannot be read, nothing is in it.

    Attributes:
        is_new: there was no file.
        recovered_whole: False where a damaged one was set aside, or the file is not written.

    Raises (all methods):
        StoreFull: the disk is full.
        StoreError: the database cannot be read or written, or is of a newer version.
    """

    def __init__(self, path: Path, *, writable: bool = True) -> None:
        self._path = path
        self._lock = threading.RLock()
        self.is_new = not path.exists()
        self.is_writable = self.recovered_whole = writable
        with self._translated():
            if not writable:
                self._connection = self._open_as_it_lies()
                return
            try:
                self._connection = self._open()
            except sqlite3.DatabaseError as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _DAMAGED:
                    raise
                self._set_aside()
                self._connection = self._open()

    def close(self) -> None:
        """Close the database; idempotent."""
        with self._lock:
            self._connection.close()

    def one(self, sql: str, *values: object) -> Any:
        """Return the first row of a query, or None."""
        with self._lock, self._translated():
            return self._connection.execute(sql, values).fetchone()

    def all(self, sql: str, *values: object) -> list[Any]:
        """Return every row of a query."""
        with self._lock, self._translated():
            return self._connection.execute(sql, values).fetchall()

    @contextlib.contextmanager
    def transaction(self, *, may_wait: bool = False) -> Iterator[Any]:
        """Run statements by what this yields, all or none of them; `may_wait` is for what is no loss."""
        with self._lock, self._translated():
            run = self._connection.execute
            run(f"PRAGMA synchronous = {'NORMAL' if may_wait else 'FULL'}")
            run("BEGIN IMMEDIATE")
            try:
                yield run
                run("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # SQLite itself rolls back on some errors
                    with contextlib.suppress(sqlite3.Error):
                        run("ROLLBACK")
                raise

    def used_bytes(self) -> int:
        """Return the bytes that the database holds, pages free for reuse not counted."""
        return (self._pragma("page_count") - self._pragma("freelist_count")) * self._pragma("page_size")

    def spare_bytes(self) -> int:
        """Return the bytes of the file that are free for reuse."""
        return self._pragma("freelist_count") * self._pragma("page_size")

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, isolation_level=None, check_same_thread=False, timeout=10.0, cached_statements=64
        )
        try:
            connection.execute(f"PRAGMA page_size = {_PAGE}")  # of a new file
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
            connection.execute("PRAGMA cache_size = -1024")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > VERSION:
                raise StoreError(
                    f"{self._path} is of a newer version ({version}) than this program ({VERSION})"
                )
            if version < VERSION:
                migrate(connection)
            connection.execute(_NEWEST)
        except BaseException:
            connection.close()
            raise
        return connection

    def _open_as_it_lies(self) -> sqlite3.Connection:
        # Immutable leaves out the log, where the newest rows may stand, but needs no file beside the database.
        for how in ("mode=ro", "mode=ro&immutable=1"):
            connection = None
            try:
                connection = _connect(f"{self._path.absolute().as_uri()}?{how}")
                if connection.execute("PRAGMA user_version").fetchone() != (VERSION,):
                    raise sqlite3.DatabaseError("it is of another version")
                connection.execute("SELECT name, value FROM meta").fetchall()
                connection.execute(_NEWEST)
                return connection
            except sqlite3.Error as error:
                _log.error("%s cannot be read (%s): %s", self._path, how, error)
                if connection is not None:
                    connection.close()
        connection = _connect("file::memory:")
        migrate(connection)
        connection.execute("PRAGMA query_only = ON")
        return connection

    def _set_aside(self) -> None:
        self.recovered_whole = False
        for suffix in ("", "-wal", "-shm"):
            file = self._path.with_name(self._path.name + suffix)
            if file.exists():
                file.rename(self._path.with_name(f"{self._path.name}.damaged{suffix}"))

    def _pragma(self, name: str) -> int:
        return int(self.one(f"PRAGMA {name}")[0])

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(f"{self._path}: {error.strerror}") from error
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0)
            if code in _FULL or code & 0xFF == sqlite3.SQLITE_FULL:
                raise StoreFull(f"{self._path}: the disk is full; free some space") from error
            raise StoreError(f"{self._path}: {error}") from error


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=10.0)
