"""Snapshots: made every so many final blocks, kept, handed to hubs that join; and what the engine may drop behind.

Owned: the directory `snapshots` beside the ledger, the thread that writes there, which blocks the engine still needs
to keep. Not owned: what a snapshot is made of (`hub.federation.snapshot_form`), how one is taken in
(`hub.federation.snapshot_taking`).

Invariants:
- A snapshot shows one moment: its read transaction is opened between two final blocks.
- It is whole on disk or not there; the latest two are kept, for whoever has begun to fetch the earlier one.
- It is shown once two final blocks stand on it, as a light client needs them to verify it.
- The engine keeps the blocks that stand on a snapshot that is kept; what is not sealed yet is among them, since
  every final block below a snapshot is.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import shutil
import threading
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final

from gateway.chain.canonical import decode, encode
from gateway.chain.cometbft import CometHeader, CometSeal
from gateway.chain.errors import ChainError, WrongShape
from gateway.chain.finality import AppState, Seal
from hub.consensus.base import Applied, SnapshotInfo
from hub.errors import HubError, StoreError
from hub.federation.snapshot_form import CHUNK, FORMAT, Head, body, describe, first
from hub.federation.snapshot_taking import Taking
from hub.files import settle, write_durably
from hub.storage.database import Connection, Database
from hub.worker import Worker

KEPT: Final = 2
DIRECTORY: Final = "snapshots"
_INFO: Final = "info"
_ABOVE: Final = 2
_SEAL_SECONDS: Final = 60.0
_TICK_SECONDS: Final = 1.0
PATIENCE_SECONDS: Final = 60.0

_log = logging.getLogger(__name__)


class Snapshots:
    """The `SnapshotProvider` of one hub. `start` its worker; `committed` is for the engine's thread."""

    def __init__(
        self,
        directory: Path,
        database: Database,
        every: int,
        *,
        keep: int = 0,
        taking: Taking | None = None,
        begun: Callable[[], None] = lambda: None,
        anew: Callable[[str], None] = lambda why: None,
        size: int = CHUNK,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """Make one every `every` final blocks, below the hub's `directory`, in chunks of about `size` bytes.

        The engine keeps its latest `keep` blocks; 0 means all. `taking` is how this hub begins, if it does so by a
        snapshot: `begun` is called when that is in force, `anew` once the hub has to start anew, with the reason: the
        first final block stands on it, or nothing of it has come for `patience` seconds.
        """
        self._directory, self._db = directory / DIRECTORY, database
        self._every, self._keep, self._size, self._patience = every, keep, size, patience
        self._taking, self._begun, self._anew = taking, begun, anew
        self._queue: queue.SimpleQueue[tuple[int, Connection, contextlib.ExitStack] | None] = (
            queue.SimpleQueue()
        )
        self._stopping = threading.Event()
        self._infos: tuple[SnapshotInfo, ...] = ()  # by height, replaced whole
        self._height = 0
        self.worker = Worker("snapshots", self._run, self._end)

    def start(self) -> None:
        """Look at what is kept, and begin to make new ones. Raises StoreError."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._infos = self._read()
        except OSError as error:
            raise StoreError(f"{self._directory} cannot be read: {error}") from error
        self._height = self._db.value("SELECT coalesce(max(height), 0) FROM commits")
        self.worker.start()

    # what the engine asks

    def snapshots(self) -> list[SnapshotInfo]:
        return [each for each in self._infos if each.height + _ABOVE <= self._height]

    def chunk(self, height: int, form: int, index: int) -> bytes:
        if form != FORMAT or not any(each.height == height for each in self._infos):
            return b""
        try:
            return (self._directory / str(height) / str(index)).read_bytes()
        except OSError:
            return b""

    def offer(self, info: SnapshotInfo, app_hash: bytes) -> bool:
        return self._taking is not None and self._taking.offer(info, app_hash)

    def apply(self, index: int, chunk: bytes) -> Applied:
        if self._taking is None:
            return Applied.ABORTED
        applied = self._taking.apply(index, chunk)
        if applied is Applied.ACCEPTED and self._taking.is_done:
            self._begun()
        return applied

    def committed(self, height: int) -> int:
        self._height = height
        if self._taking is not None:
            self._taking = None
            self._anew("the chain goes on here from a snapshot")
        if height % self._every == 0:
            stack = contextlib.ExitStack()
            db = stack.enter_context(self._db.read())
            db.execute("SELECT max(height) FROM commits").fetchone()  # from here on it sees this moment
            self._queue.put((height, db, stack))
        return self._needed(height)

    def _needed(self, height: int) -> int:
        """Return the block below which the engine needs none, 0 where it keeps all."""
        if not self._keep or not self._infos:
            return 0
        return max(0, min(height - self._keep, self._infos[0].height))

    # the thread that writes

    def _end(self) -> None:
        self._stopping.set()
        self._queue.put(None)

    def _run(self) -> None:
        while True:
            try:
                item = self._queue.get(timeout=_TICK_SECONDS)
            except queue.Empty:
                self._look()
                continue
            if item is None:
                return
            height, db, stack = item
            with stack:
                try:
                    begun = time.monotonic()
                    info = self.make(height, db)
                    took = time.monotonic() - begun
                    _log.info("snapshot of final block %d: %d chunks, %.1f s", height, info.chunks, took)
                except (HubError, ChainError, OSError) as error:
                    _log.error("no snapshot of final block %d: %s", height, error)
                except Exception:
                    _log.exception("a defect in making a snapshot")

    def _look(self) -> None:
        """Have the hub ask for another snapshot where the one that it wants does not come."""
        taking = self._taking
        if taking is not None and taking.idle_seconds > self._patience:
            self._taking = None
            self._anew("the snapshot that it was to begin with does not come: the others may have newer ones")

    def make(self, height: int, db: Connection) -> SnapshotInfo:
        """Write the snapshot of the last final block that a connection sees. Raises HubError, ChainError, OSError."""
        draft = self._directory / f"{height}.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        (app,) = db.execute("SELECT app FROM commits WHERE height = ?", (height,)).fetchone()
        hashes = []
        for index, chunk in enumerate(body(db, self._size), 1):
            hashes.append(_write(draft / str(index), chunk))
        head = first(Head(self._header(height), AppState.decode(app)))
        info = describe(height, [_write(draft / "0", head), *hashes])
        _write(draft / _INFO, _encoded(info))
        settle(draft)
        self._put(draft, info)
        return info

    def _put(self, draft: Path, info: SnapshotInfo) -> None:
        """Put a snapshot in its place and take the oldest one away."""
        place = self._directory / str(info.height)
        shutil.rmtree(place, ignore_errors=True)
        draft.replace(place)
        settle(self._directory)
        known = {each.height: each for each in (*self._infos, info)}
        *gone, last = (known[each] for each in sorted(known))
        self._infos = (*gone[1 - KEPT :], last)
        for each in gone[: 1 - KEPT]:
            shutil.rmtree(self._directory / str(each.height), ignore_errors=True)

    def _header(self, height: int) -> CometHeader:
        """Return a final block's own header: the seal of the one before is over it. Raises StoreError, ChainError."""
        end = time.monotonic() + _SEAL_SECONDS
        while (data := self._db.value("SELECT seal FROM seals WHERE height = ?", (height - 1,))) is None:
            if self._stopping.wait(0.05) or time.monotonic() > end:
                raise StoreError(f"final block {height - 1} is not sealed yet")
        return CometSeal.decode(Seal.decode(data).data).header

    def _read(self) -> tuple[SnapshotInfo, ...]:
        """Return what is kept, by height; whatever a crash left half done is removed. Raises OSError."""
        found = []
        for place in self._directory.iterdir():
            try:
                found.append(_decoded((place / _INFO).read_bytes(), place.name))
            except (OSError, ChainError):
                shutil.rmtree(place, ignore_errors=True)
        return tuple(sorted(found, key=lambda each: each.height)[-KEPT:])


def _encoded(info: SnapshotInfo) -> bytes:
    return encode([info.height, info.format, info.chunks, info.hash, info.metadata])


def _decoded(data: bytes, name: str) -> SnapshotInfo:
    match decode(data, max_size=1 << 24):
        case [int(height), int(form), int(chunks), bytes(hashed), bytes(metadata)] if (
            str(height) == name and form == FORMAT
        ):
            return SnapshotInfo(height, form, chunks, hashed, metadata)
    raise WrongShape("not a snapshot of this hub's")


def _write(path: Path, data: bytes) -> bytes:
    """Write a file durably and return its hash."""
    write_durably(path, data)
    return sha256(data).digest()
