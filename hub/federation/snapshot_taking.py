"""Beginning with a snapshot: chunks as they come, each verified, and in the end one ledger or none.

Owned: the chunks of the snapshot in hand, kept beside the ledger until all are there, and the one transaction that
makes a ledger of them. Not owned: which snapshot is trusted (`hub.federation.joining`).

Invariants:
- Only the snapshot that was verified beforehand is taken up; each chunk is held against its hash before it is kept.
- Nothing is in force before log and state give the application hash that a seal under the genesis is over. Until
  then the ledger stays empty, whatever happens, and the same or another snapshot can be taken up.
"""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Final

from gateway.chain.cometbft import CometSeal, Step
from gateway.chain.errors import BadProof, ChainError, WrongShape
from gateway.chain.finality import Checkpoint, Seal
from gateway.chain.genesis import COMETBFT, Genesis
from hub.consensus.base import Applied, SnapshotInfo
from hub.consensus.comet_home import StateSync
from hub.errors import StoreError
from hub.federation.snapshot_form import (
    ENTRIES,
    HEAD,
    LEAVES,
    RECORDS,
    Head,
    Rebuilt,
    chunk_hashes,
    read_chunk,
)
from hub.storage.database import Connection, Database

INCOMING: Final = "snapshot.incoming"
_SQL: Final = {
    LEAVES: "INSERT OR IGNORE INTO log VALUES (?, ?, ?)",
    ENTRIES: "INSERT INTO state VALUES (?, ?)",
    RECORDS: "INSERT OR IGNORE INTO records VALUES (?, ?, ?, ?, ?)",
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a hub that joins verified before its engine started.

    Attributes:
        snapshot: the hash of the snapshot to begin with.
        checkpoint: that of its final block, verified under the genesis.
        steps: all changes of the voters since genesis, up to that of the checkpoint's own header.
        servers: where the engine's light client is to ask, two or more; none before that is known.
    """

    snapshot: bytes
    checkpoint: Checkpoint
    steps: tuple[Step, ...]
    servers: tuple[str, ...] = ()

    @property
    def seal(self) -> CometSeal:
        """The checkpoint's seal, of which the header follows the snapshot's final block."""
        return CometSeal.decode(self.checkpoint.seal.data)

    @property
    def height(self) -> int:
        """The final block after which the snapshot was made."""
        return self.seal.header.height - 1

    @property
    def sync(self) -> StateSync:
        """Where the engine's light client is to begin."""
        header = self.seal.header
        return StateSync(self.servers, header.height, header.hash)


class Taking:
    """Takes up one snapshot. For one thread."""

    def __init__(self, directory: Path, database: Database, genesis: Genesis, beginning: Beginning) -> None:
        """Take what `beginning` says into an empty ledger; chunks wait in `directory`."""
        self._directory, self._db, self._genesis = directory / INCOMING, database, genesis
        self._beginning = beginning
        self._hashes: list[bytes] = []
        self.is_done = False
        """Whether the ledger is what the snapshot says."""
        self._moved = time.monotonic()

    @property
    def idle_seconds(self) -> float:
        """How long nothing of the snapshot has come; 0 while a ledger is made of it, and from then on."""
        return 0.0 if self.is_done else max(0.0, time.monotonic() - self._moved)

    def offer(self, info: SnapshotInfo, app_hash: bytes) -> bool:
        """Tell whether this is the snapshot; what came of an earlier try is dropped. Raises StoreError."""
        begin = self._beginning
        if (info.height, info.hash) != (
            begin.height,
            begin.snapshot,
        ) or app_hash != begin.checkpoint.app.hash:
            return False
        try:
            self._hashes = chunk_hashes(info)
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory.mkdir(parents=True)
        except ChainError as error:
            _log.warning("a snapshot is refused: %s", error)
            return False
        except OSError as error:
            raise StoreError(f"{self._directory} cannot be written: {error}") from error
        self._moved = time.monotonic()
        return True

    def apply(self, index: int, chunk: bytes) -> Applied:
        """Take in a chunk; with the last one, put the ledger in force. Raises StoreError."""
        if not index < len(self._hashes) or sha256(chunk).digest() != self._hashes[index]:
            return Applied.AGAIN
        is_last = index == len(self._hashes) - 1
        self._moved = math.inf if is_last else time.monotonic()
        try:
            (self._directory / str(index)).write_bytes(chunk)
            if not is_last:
                return Applied.ACCEPTED
            self._enforce()
            self.is_done = True
            shutil.rmtree(self._directory)
        except OSError as error:
            raise StoreError(f"{self._directory} cannot be written: {error}") from error
        except ChainError as error:
            _log.error("the snapshot of final block %d does not hold: %s", self._beginning.height, error)
            return Applied.REFUSED
        finally:
            self._moved = time.monotonic()
        return Applied.ACCEPTED

    def _enforce(self) -> None:
        """Make a ledger of the chunks. Raises ChainError, StoreError, OSError; nothing is there then."""
        begin = self._beginning
        chunks = self._chunks()
        head = self._head(next(chunks))
        with self._db.write() as db:
            if db.execute("SELECT EXISTS (SELECT 1 FROM commits)").fetchone()[0]:
                raise BadProof("this hub has begun already")
            rebuilt = Rebuilt(self._genesis, lambda leaf: _in_log(db, leaf))
            for chunk in chunks:
                _take(db, rebuilt, chunk)
            (size,) = db.execute("SELECT count(*) FROM log").fetchone()
            if rebuilt.app != head.app or size != head.app.log_size:
                raise BadProof("log and state of its chunks are not those that its final block left")
            db.execute("INSERT INTO origin SELECT key, value FROM state")
            _seal(db, begin, head)

    def _head(self, chunk: bytes) -> Head:
        """Return the head, which the sealing header vouches for. Raises ChainError."""
        kind, items = read_chunk(chunk)
        if kind != HEAD or len(items) != 1:
            raise WrongShape("a snapshot does not begin with its head")
        head, following = Head.from_item(items[0]), self._beginning.seal.header
        if (head.header.height, head.header.hash) != (following.height - 1, following.last_hash):
            raise BadProof("its head is of another final block than the seal's header follows")
        if head.app != self._beginning.checkpoint.app:
            raise BadProof("its head names another log and state than the seal is over")
        return head

    def _chunks(self) -> Iterator[bytes]:
        for index, expected in enumerate(self._hashes):
            chunk = (self._directory / str(index)).read_bytes()
            if sha256(chunk).digest() != expected:
                raise BadProof(f"chunk {index} is not what was written: check the disk")
            yield chunk


def _take(db: Connection, rebuilt: Rebuilt, chunk: bytes) -> None:
    kind, items = read_chunk(chunk)
    makes = {LEAVES: rebuilt.leaf, ENTRIES: rebuilt.entry, RECORDS: rebuilt.record}
    if kind not in makes:
        raise WrongShape(f"a chunk's kind is {kind}")
    db.executemany(_SQL[kind], map(makes[kind], items))


def _seal(db: Connection, begin: Beginning, head: Head) -> None:
    """Write what stands for the final block itself, and the changes of voters that its seal rests on."""
    height, app = begin.height, head.app
    values = (height, head.header.time, app.log_size, app.encode())
    db.execute("INSERT INTO commits VALUES (?, ?, ?, ?)", values)
    seal = Seal(COMETBFT, replace(begin.seal, steps=()).encode())
    db.execute("INSERT INTO seals VALUES (?, ?)", (height, seal.encode()))
    rows = [(step.header.height, step.encode()) for step in begin.steps]
    db.executemany("INSERT INTO steps VALUES (?, ?)", rows)


def _in_log(db: Connection, leaf: bytes) -> bool:
    return bool(db.execute("SELECT EXISTS (SELECT 1 FROM log WHERE hash = ?)", (leaf,)).fetchone()[0])
