"""Audit of what consensus decided: every final block once more through a fresh ledger, against what is on disk.

The replay trusts no table: the log and the state come out of the final blocks alone, and the tables must agree
with them. Whatever a final block put into the log is handed on, so that `hub.holdings` can check what lies
behind it while its signature is still known to be good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from gateway.chain.canonical import decode
from gateway.chain.entries import KeyEntry
from gateway.chain.errors import BadProof
from gateway.chain.finality import AppState, Seal, Sealed, verify_seal
from gateway.chain.genesis import Genesis
from gateway.chain.keys import NO_HASH
from gateway.chain.leaf import (
    ALARMS,
    CHANGE_EPOCH,
    ENROL,
    EQUIVOCATE,
    GRANT_CONTRACTS,
    HEADERS,
    REVOKE,
    ROTATE,
    LogLeaf,
)
from hub.chainstore import split_txs
from hub.consensus.base import FinalBlock
from hub.consensus.embedded import with_hash
from hub.database import Connection
from hub.draft import NewLeaf
from hub.ledger import Commit, Ledger
from hub.report import Report, short

NAMES: Final = {
    HEADERS: "header",
    ALARMS: "alarm",
    ENROL: "enrolment",
    CHANGE_EPOCH: "epoch change",
    ROTATE: "rotation",
    REVOKE: "revocation",
    EQUIVOCATE: "equivocation",
    GRANT_CONTRACTS: "contract grant",
}


class Replay:
    """A ledger rebuilt from final blocks, and the `LedgerStore` under it, which compares instead of writing."""

    def __init__(
        self, db: Connection, genesis: Genesis, report: Report, found: Callable[[LogLeaf], None]
    ) -> None:
        """`found` is called for each header and alarm that a final block put into the log."""
        self._db, self._report, self._found = db, report, found
        self._genesis, self._size = genesis, 0
        self._entries: dict[bytes, bytes] = {}
        self._keys: dict[bytes, list[tuple[int, bytes]]] = {}
        self._agrees, self._last = True, 0
        self._fresh: tuple[NewLeaf, ...] = ()
        self.ledger = Ledger(genesis, self)

    def run(self, progress: Callable[[int, int], None]) -> None:
        """Replay every final block, then compare what is left over. `progress` gets (done, total)."""
        total = self._db.execute("SELECT count(*) FROM final_blocks").fetchone()[0]
        rows = self._db.execute("SELECT height, time, hash, txs FROM final_blocks ORDER BY height")
        self._last = self._db.execute("SELECT max(height) FROM final_blocks").fetchone()[0]
        previous = FinalBlock(0, 0, NO_HASH, ())
        for done, (height, time, identity, txs) in enumerate(rows, 1):
            where = f"final block {height}"
            with self._report.at(where):
                block = FinalBlock(height, time, identity, split_txs(txs))
                check_order(block, previous)
                if done == total and self._cut_off(height):
                    break
                self._apply(block)
                previous = block
                self._report.final_blocks += 1
            if previous.height != height:
                return  # what follows would rest on a final block that does not stand
            progress(done, total)
        self._compare_rest()

    def keys(self, gateway: bytes) -> list[bytes]:
        """Return every key that ever was a gateway's, oldest first; none where it was never enrolled."""
        return [public for _, public in sorted(self._keys.get(gateway, []))]

    def key_at(self, gateway: bytes, height: int) -> bytes | None:
        """Return the key that signs a gateway's block `height`."""
        begun = [(first, public) for first, public in self._keys.get(gateway, []) if first <= height]
        return max(begun)[1] if begun else None

    def standing(self, gateway: bytes) -> int | None:
        """Return a gateway's standing after the last final block, None where it was never enrolled."""
        entry = self.ledger.committed.entry(gateway)
        return None if entry is None else entry.standing

    def sealed(self, height: int) -> Sealed | None:
        """Return the seal of a final block as kept, None where there is none. Raises ChainError."""
        row = self._db.execute("SELECT seal FROM seals WHERE height = ?", (height,)).fetchone()
        return None if row is None else verify_seal(Seal.decode(row[0]), self._genesis)

    # the LedgerStore under the ledger

    def begin(self, document: bytes) -> None:
        """Nothing is kept."""

    def committed(self) -> None:
        """Nothing is there before the first final block."""

    def log_hashes(self) -> Iterator[bytes]:
        return iter(())

    def entries(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(())

    def log_index(self, leaf: bytes) -> int | None:
        """Look into the table, whose first `size` rows were compared already."""
        row = self._db.execute("SELECT place FROM log WHERE hash = ?", (leaf,)).fetchone()
        return row[0] if row is not None and row[0] < self._size else None

    def commit(self, commit: Commit) -> None:
        """Compare a final block's effects with the tables."""
        self._compare_leaves(commit)
        for identity, kind, gateway, tx in commit.records:
            sql = "SELECT kind, gateway, height, tx FROM records WHERE hash = ?"
            if self._db.execute(sql, (identity,)).fetchone() != (kind, gateway, commit.height, tx):
                where = f"{NAMES[kind]} of gateway {short(gateway)}"
                self._report.fault(f"{where}: the record kept is not that of final block {commit.height}")
            self._report.records += 1
        self._entries.update(commit.entries)
        for key, value in commit.entries.items():
            self._learn_key(key, value)
        self._size, self._fresh = commit.app.log_size, commit.leaves

    def _cut_off(self, height: int) -> bool:
        """Tell whether a crash left the last final block without effects or seal, which is no fault."""
        sql = "SELECT EXISTS (SELECT 1 FROM commits JOIN seals USING (height) WHERE height >= ?)"
        if self._db.execute(sql, (height,)).fetchone()[0]:
            return False
        self._report.finding(
            f"final block {height} was cut off by a crash; the hub's next start completes it"
        )
        return not self._db.execute("SELECT 1 FROM commits WHERE height = ?", (height,)).fetchone()

    def _apply(self, block: FinalBlock) -> None:
        app = self.ledger.finalize(block).app
        self._compare_commit(block, app)
        self.ledger.commit()
        for new in self._fresh:
            if new.leaf.kind in (HEADERS, ALARMS):
                self._found(new.leaf)

    def _compare_commit(self, block: FinalBlock, app: AppState) -> None:
        sql = "SELECT time, log_size, app FROM commits WHERE height = ?"
        row = self._db.execute(sql, (block.height,)).fetchone()
        if self._agrees and row != (block.time, app.log_size, app.encode()):
            self._agrees = False  # all that follow differ too; one is enough to name
            self._report.fault(f"final block {block.height}: log and state kept are not those that it gives")
        with self._report.at(f"seal of final block {block.height}"):
            sealed = self.sealed(block.height)
            if sealed is None:
                if block.height == self._last:
                    return
                raise BadProof("it is missing")
            if (sealed.height, sealed.time, sealed.app_hash) != (block.height, block.time, app.hash):
                raise BadProof("it is over another height, time or application hash than the replay gives")

    def _compare_leaves(self, commit: Commit) -> None:
        sql = "SELECT place, hash, leaf FROM log WHERE place >= ? AND place < ?"
        rows = self._db.execute(sql, (commit.first, commit.app.log_size)).fetchall()
        kept = {place: (identity, leaf) for place, identity, leaf in rows}
        for place, new in enumerate(commit.leaves, commit.first):
            if kept.get(place) != (new.hash, new.data):
                what = "is missing" if place not in kept else "is another than final blocks give"
                self._report.fault(f"log leaf {place} ({describe(new.leaf)}) {what}")

    def _learn_key(self, key: bytes, value: bytes) -> None:
        kind, *_ = decode(key)  # type: ignore[misc]
        if kind == 2:
            entry = KeyEntry.decode(value)
            self._keys.setdefault(entry.gateway, []).append((entry.first, entry.key))

    def _compare_rest(self) -> None:
        """Compare the state, and look for rows that no final block accounts for."""
        kept = dict(self._db.execute("SELECT key, value FROM state"))
        for key in sorted(self._entries.keys() | kept.keys()):
            if self._entries.get(key) != kept.get(key):
                self._report.fault(
                    f"state entry {key.hex()}: the value kept is not the one that final blocks give"
                )
        for table, column, count in (
            ("log", "place", self._size),
            ("records", "rowid", self._report.records),
            ("commits", "height", self.ledger.committed.height),
            ("seals", "height", self.ledger.committed.height),
        ):
            rows = self._db.execute(f"SELECT count({column}) FROM {table}").fetchone()[0]
            if rows > count:
                self._report.fault(f"table {table}: {rows - count} rows that no final block accounts for")


def check_order(block: FinalBlock, previous: FinalBlock) -> None:
    """Check that a final block follows another. Raises BadProof."""
    if block.height != previous.height + 1:
        raise BadProof(f"final block {previous.height + 1} is missing")
    if block.time <= previous.time:
        raise BadProof(f"its time {block.time} is not after its predecessor's {previous.time}")
    if with_hash(block, previous.hash).hash != block.hash:
        raise BadProof("its hash is not that of its predecessor, time and transactions")


def describe(leaf: LogLeaf) -> str:
    """Return a leaf in words."""
    if leaf.kind == HEADERS:
        return f"block {leaf.epoch}/{leaf.height} of gateway {short(leaf.gateway)}"
    return f"{NAMES[leaf.kind]} {short(leaf.hash)} of gateway {short(leaf.gateway)}"
