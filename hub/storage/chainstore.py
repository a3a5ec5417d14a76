"""What consensus decided, on disk: final blocks, the log, the state, seals and the records behind them.

It is the `LedgerStore` of `hub.ledger.ledger`, and what the engines keep. Under the embedded engine a final block's row
comes first, its effects (`commit`) second, its seal last, and what a crash leaves out is made again at start. A
federation's engine keeps its blocks itself, so there the row comes with the effects. A chain that began with a
snapshot has no final blocks below that; `origin` is the state which the first one rests on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from gateway.chain.canonical import Item, decode, encode
from gateway.chain.cometbft import CometSeal, Step
from gateway.chain.errors import FormatError, WrongShape
from gateway.chain.finality import AppState, Checkpoint, Seal
from gateway.chain.genesis import COMETBFT, Genesis
from gateway.chain.governance import MisbehaviourRecord
from hub.consensus.base import FinalBlock, Misbehaviour
from hub.errors import ConsensusError, StoreError
from hub.ledger.ledger import Commit
from hub.storage.database import Database
from hub.storage.schema import FOR_PEERS

_PAGE: Final = 4096
_MAX_TXS: Final = 1 << 30
_NO_HEIGHT: Final = (1 << 63) - 1
_FINAL_BLOCK: Final = "INTO final_blocks VALUES (?, ?, ?, ?, ?)"

FINAL_BLOCK: Final = "height, time, hash, txs, misbehaviour"
"""The columns of a final block's row."""


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """An accepted record: its hash, kind of transaction, gateway, final block and the transaction's bytes."""

    hash: bytes
    kind: int
    gateway: bytes
    height: int
    tx: bytes


class ChainStore:
    """The consensus' part of a hub's database. Safe for several threads."""

    def __init__(self, database: Database) -> None:
        self._db = database

    # what the ledger needs

    def begin(self, document: bytes) -> None:
        """Keep the genesis unless it is there. Raises ConsensusError when another one is."""
        found = self.genesis()
        if found is None:
            genesis = Genesis.decode(document)
            with self._db.write() as db:
                db.execute("INSERT INTO genesis VALUES (?, ?)", (genesis.hash, document))
                if genesis.engine == COMETBFT:
                    db.execute(FOR_PEERS)
        elif found != document:
            raise ConsensusError(f"{self._db.path} belongs to another chain; give this one its own directory")

    def genesis(self) -> bytes | None:
        """Return the genesis document, None before the first start."""
        value: bytes | None = self._db.value("SELECT document FROM genesis")
        return value

    def committed(self) -> tuple[int, int, AppState] | None:
        """Return height, time (Unix ms) and log and state of the last committed final block."""
        row = self._db.row("SELECT height, time, app FROM commits ORDER BY height DESC LIMIT 1")
        return None if row is None else (row[0], row[1], AppState.decode(row[2]))

    def log_hashes(self) -> Iterator[bytes]:
        """Yield the hashes of the log's leaves in order."""
        with self._db.read() as db:
            for (identity,) in db.execute("SELECT hash FROM log ORDER BY place"):
                yield identity

    def entries(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the state's keys and values."""
        with self._db.read() as db:
            yield from db.execute("SELECT key, value FROM state")

    def entry(self, key: bytes) -> bytes | None:
        """Return the state's value of a key, None where it is absent."""
        value: bytes | None = self._db.value("SELECT value FROM state WHERE key = ?", (key,))
        return value

    def entries_of(self, kind: int) -> list[tuple[bytes, bytes]]:
        """Return the keys and values of one kind of state entry that is named by one hash, by key."""
        first, beyond = bytes((0x82, kind)), bytes((0x82, kind + 1))  # the canonical array [kind, hash]
        sql = "SELECT key, value FROM state WHERE key >= ? AND key < ? ORDER BY key"
        return self._db.rows(sql, (first, beyond))

    def log_index(self, leaf: bytes) -> int | None:
        """Return the index of the leaf of this hash, None where it is not in the log."""
        value: int | None = self._db.value("SELECT place FROM log WHERE hash = ?", (leaf,))
        return value

    def commit(self, commit: Commit) -> None:
        """Write all effects of a final block in one transaction."""
        with self._db.write() as db:
            leaves = [(place, leaf.hash, leaf.data) for place, leaf in enumerate(commit.leaves, commit.first)]
            db.executemany("INSERT INTO log VALUES (?, ?, ?)", leaves)
            db.executemany(
                "INSERT INTO state VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                commit.entries.items(),
            )
            db.executemany(
                "INSERT INTO records VALUES (?, ?, ?, ?, ?)",
                [(hashed, kind, gateway, commit.height, tx) for hashed, kind, gateway, tx in commit.records],
            )
            app = commit.app
            values = (commit.height, commit.time, app.log_size, app.encode())
            db.execute("INSERT INTO commits VALUES (?, ?, ?, ?)", values)
            db.execute(f"INSERT OR IGNORE {_FINAL_BLOCK}", _row(commit.block))

    # what the embedded engine needs

    def append_final(self, block: FinalBlock) -> None:
        """Keep a final block, before it is finalized."""
        with self._db.write() as db:
            db.execute(f"INSERT {_FINAL_BLOCK}", _row(block))

    def final_blocks(self, first: int = 1) -> Iterator[FinalBlock]:
        """Yield final blocks from a height on. Raises StoreError naming one that is damaged."""
        while True:
            rows = self._db.rows(
                f"SELECT {FINAL_BLOCK} FROM final_blocks WHERE height >= ? ORDER BY height LIMIT ?",
                (first, _PAGE),
            )
            yield from (_final_block(row) for row in rows)
            if len(rows) < _PAGE:
                return
            first = rows[-1][0] + 1

    def last_final(self) -> FinalBlock | None:
        """Return the last final block, None before the first."""
        height = self._db.value("SELECT max(height) FROM final_blocks")
        return None if height is None else next(self.final_blocks(height))

    def add_seal(self, height: int, seal: Seal) -> None:
        """Keep a final block's seal; a repeat changes nothing."""
        with self._db.write() as db:
            db.execute("INSERT OR IGNORE INTO seals VALUES (?, ?)", (height, seal.encode()))

    def unsealed(self) -> list[tuple[int, int, AppState]]:
        """Return (height, time, log and state) of committed final blocks without a seal, in order."""
        rows = self._db.rows(
            "SELECT height, time, app FROM commits WHERE height > (SELECT coalesce(max(height), 0) FROM seals)"
            " ORDER BY height"
        )
        return [(height, time, AppState.decode(app)) for height, time, app in rows]

    # what a federation's engine needs

    def add_step(self, step: Step) -> None:
        """Keep a change of the voters, before any seal that rests on it; a repeat changes nothing."""
        with self._db.write() as db:
            db.execute("INSERT OR IGNORE INTO steps VALUES (?, ?)", (step.header.height, step.encode()))

    def steps(self, below: int = _NO_HEIGHT) -> tuple[Step, ...]:
        """Return the changes of the voters since genesis whose headers are below a height, in order."""
        rows = self._db.rows("SELECT step FROM steps WHERE height < ? ORDER BY height", (below,))
        return tuple(Step.decode(data) for (data,) in rows)

    # what is shown and proved

    def checkpoint(self, height: int | None = None) -> Checkpoint | None:
        """Return the checkpoint of a final block, by default the latest; None where it is not sealed."""
        where, values = ("", ()) if height is None else ("WHERE height = ?", (height,))
        return self._checkpoint(where, values)

    def checkpoint_covering(self, index: int) -> Checkpoint | None:
        """Return the first checkpoint whose log holds leaf `index`, None where none does yet."""
        height = self._db.value(
            "SELECT height FROM commits WHERE log_size > ? ORDER BY log_size, height LIMIT 1", (index,)
        )
        return None if height is None else self.checkpoint(height)

    def log_leaf(self, index: int) -> bytes | None:
        """Return a leaf's bytes by its index."""
        value: bytes | None = self._db.value("SELECT leaf FROM log WHERE place = ?", (index,))
        return value

    def record(self, identity: bytes) -> StoredRecord | None:
        """Return an accepted record by its hash."""
        return next(iter(self._records("hash = ?", (identity,))), None)

    def records(self, gateway: bytes) -> list[StoredRecord]:
        """Return a gateway's accepted records, oldest first."""
        return self._records("gateway = ?", (gateway,))

    def _records(self, where: str, values: tuple[bytes, ...]) -> list[StoredRecord]:
        sql = f"SELECT hash, kind, gateway, height, tx FROM records WHERE {where} ORDER BY rowid"
        return [StoredRecord(*row) for row in self._db.rows(sql, values)]

    def _checkpoint(self, where: str, values: tuple[int, ...]) -> Checkpoint | None:
        sql = f"SELECT app, seal FROM commits JOIN seals USING (height) {where} ORDER BY height DESC LIMIT 1"
        row = self._db.row(sql, values)
        return None if row is None else Checkpoint(AppState.decode(row[0]), self._whole(Seal.decode(row[1])))

    def _whole(self, seal: Seal) -> Seal:
        """Return a seal with the changes of the voters that it rests on; they are kept once, beside the seals."""
        if seal.engine != COMETBFT:
            return seal
        kept = CometSeal.decode(seal.data)
        return Seal(COMETBFT, replace(kept, steps=self.steps(kept.header.height)).encode())


def read_final_block(height: int, time: int, identity: bytes, txs: bytes, caught: bytes) -> FinalBlock:
    """Return the final block of a row with the columns of `FINAL_BLOCK`. Raises FormatError."""
    crimes = decode(caught, max_size=_MAX_TXS)
    if not isinstance(crimes, list):
        raise WrongShape("a final block's row has no list of misbehaviour")
    misbehaviour = (MisbehaviourRecord.from_item(item) for item in crimes)
    found = tuple(Misbehaviour(each.address, each.height, each.kind) for each in misbehaviour)
    return FinalBlock(height, time, identity, split_txs(txs), found)


def split_txs(data: bytes) -> tuple[bytes, ...]:
    """Return the transactions of a final block's row. Raises FormatError."""
    items = decode(data, max_size=_MAX_TXS)
    if not isinstance(items, list) or not all(isinstance(item, bytes) for item in items):
        raise WrongShape("a final block's row is no list of transactions")
    return tuple(items)


def _row(block: FinalBlock) -> tuple[int, int, bytes, bytes, bytes]:
    caught: list[Item] = [[each.address, each.height, each.kind] for each in block.misbehaviour]
    return block.height, block.time, block.hash, encode(block.txs), encode(caught)


def _final_block(row: tuple[int, int, bytes, bytes, bytes]) -> FinalBlock:
    try:
        return read_final_block(*row)
    except FormatError as error:
        raise StoreError(f"final block {row[0]} is damaged: {error}; restore it from a backup") from error
