"""Audit of what consensus decided: every final block once more through a fresh ledger, against what is on disk.

The replay trusts no table: the log and the state come out of the final blocks alone, and the tables must agree
with them. Whatever a final block put into the log is handed on, so that `hub.auditing.holdings` can check what lies
behind it while its signature is still known to be good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gateway.chain.canonical import decode
from gateway.chain.entries import KeyEntry, roster_key
from gateway.chain.errors import BadProof
from gateway.chain.finality import AppState, Sealed
from gateway.chain.genesis import COMETBFT, Genesis
from gateway.chain.governance import Roster, founding_roster
from gateway.chain.keys import NO_HASH
from gateway.chain.leaf import ALARMS, HEADERS, LogLeaf
from gateway.chain.trees import leaf_hash
from hub.auditing.report import Report, describe, name_record
from hub.auditing.sealing import Seals
from hub.consensus.base import FinalBlock
from hub.consensus.embedded import with_hash
from hub.ledger.draft import NewLeaf
from hub.ledger.ledger import Commit, Ledger
from hub.storage.chainstore import FINAL_BLOCK, read_final_block
from hub.storage.database import Connection


class Replay:
    """A ledger rebuilt from final blocks, and the `LedgerStore` under it, which compares instead of writing.

    A chain that began here with a snapshot is rebuilt from the state kept for that, which a seal vouches for.
    """

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
        self._rosters: dict[bytes, Roster] = {}
        self._base = find_base(db)
        self._learn_roster(founding_roster(genesis))
        self.seals = Seals(db, genesis)
        self.ledger = Ledger(genesis, self)

    def run(self, progress: Callable[[int, int], None]) -> None:
        """Replay every final block, then compare what is left over. `progress` gets (done, total)."""
        total = self._db.execute("SELECT count(*) FROM final_blocks").fetchone()[0]
        rows = self._db.execute(f"SELECT {FINAL_BLOCK} FROM final_blocks ORDER BY height")
        (self._last,) = self._db.execute("SELECT max(height) FROM final_blocks").fetchone()
        previous, self._report.begins = self._begin(), self.begins
        for done, row in enumerate(rows, 1):
            height = row[0]
            with self._report.at(f"final block {height}"):
                block = read_final_block(*row)
                check_order(block, previous, self._genesis.engine)
                if done == total and self._cut_off(height):
                    break
                self._apply(block)
                previous = block
                self._report.final_blocks += 1
            if previous.height != height:
                return  # what follows would rest on a final block that does not stand
            progress(done, total)
        with self._report.at("seals"):
            self._note_unsealed(previous.height)
            self.seals.check_rest()
        self._compare_rest()

    def _begin(self) -> FinalBlock:
        """Return what stands before the first final block kept here; where that is not block 1, check it."""
        before = FinalBlock(self._base, self.ledger.committed.time if self._base else 0, NO_HASH, ())
        if self._base:
            with self._report.at(f"the snapshot of final block {self._base}"):
                self._check_base()
        return before

    def _check_base(self) -> None:
        at = self.ledger.committed
        sealed = self.seals.begin(self._base, at.roster(self._genesis))
        if sealed is None or sealed.app_hash != at.app.hash:
            raise BadProof("no seal is over the state that it left")
        for place, identity, data in self._db.execute("SELECT * FROM log WHERE place < ?", (self._size,)):
            if leaf_hash(data) != identity:
                raise BadProof(f"log leaf {place} is another than its hash says")
        sql = "SELECT hash, kind, gateway FROM records WHERE height <= ?"
        for identity, kind, gateway in self._db.execute(sql, (self._base,)):
            if self.log_index(leaf_hash(LogLeaf(kind, gateway, 0, 0, identity).encode())) is None:
                raise BadProof(f"{name_record(kind, gateway, identity)} is not in the log")
            self._report.records += 1

    def _note_unsealed(self, height: int) -> None:
        """Tell of final blocks at the end whose seals had not come yet."""
        missing = height - self.seals.last
        if self._genesis.engine == COMETBFT and missing > 0:
            self._report.finding(
                f"the last {missing} final blocks have no seal yet; the hub's next start brings it"
            )

    @property
    def begins(self) -> int:
        """The first final block that is replayed."""
        return self._base + 1

    def roster_of(self, hub: bytes) -> Roster:
        """Return the latest roster in which a hub key stood, the present one where it never did."""
        return self._rosters.get(hub, self.ledger.committed.roster(self._genesis))

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
        return self.seals.at(height)

    # the LedgerStore under the ledger

    def begin(self, document: bytes) -> None:
        """Nothing is kept."""

    def committed(self) -> tuple[int, int, AppState] | None:
        """Return where the chain begins here."""
        row = self._db.execute(
            "SELECT height, time, app FROM commits WHERE height = ?", (self._base,)
        ).fetchone()
        return None if row is None else (row[0], row[1], AppState.decode(row[2]))

    def log_hashes(self) -> Iterator[bytes]:
        found = self.committed()
        self._size = found[2].log_size if found else 0
        for (identity,) in self._db.execute(
            "SELECT hash FROM log WHERE place < ? ORDER BY place", (self._size,)
        ):
            yield identity

    def entries(self) -> Iterator[tuple[bytes, bytes]]:
        for key, value in self._db.execute("SELECT key, value FROM origin"):
            self._learn(key, value)
            yield key, value

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
                where = name_record(kind, gateway, identity)
                self._report.fault(f"{where}: the record kept is not that of final block {commit.height}")
            self._report.records += 1
        for key, value in commit.entries.items():
            self._learn(key, value)
        self._size, self._fresh = commit.app.log_size, commit.leaves

    def _cut_off(self, height: int) -> bool:
        """Tell whether a crash left the last final block without its effects, which is no fault."""
        if self._genesis.engine == COMETBFT:
            return False  # its row and its effects are written at once
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
        with self._report.at(f"seal of final block {block.height}"):
            self._check_seal(block, app)
        for new in self._fresh:
            if new.leaf.kind in (HEADERS, ALARMS):
                self._found(new.leaf)

    def _check_seal(self, block: FinalBlock, app: AppState) -> None:
        """Check a final block's seal. Raises BadProof where it is missing: only those at the end may still come."""
        roster = self.ledger.committed.roster(self._genesis)
        if self.seals.check(block, app.hash, roster) or block.height == self._last:
            return
        if self._genesis.engine != COMETBFT or block.height <= self.seals.last:
            raise BadProof("it is missing")

    def _compare_commit(self, block: FinalBlock, app: AppState) -> None:
        sql = "SELECT time, log_size, app FROM commits WHERE height = ?"
        row = self._db.execute(sql, (block.height,)).fetchone()
        if self._agrees and row != (block.time, app.log_size, app.encode()):
            self._agrees = False  # all that follow differ too; one is enough to name
            self._report.fault(f"final block {block.height}: log and state kept are not those that it gives")

    def _compare_leaves(self, commit: Commit) -> None:
        sql = "SELECT place, hash, leaf FROM log WHERE place >= ? AND place < ?"
        rows = self._db.execute(sql, (commit.first, commit.app.log_size)).fetchall()
        kept = {place: (identity, leaf) for place, identity, leaf in rows}
        for place, new in enumerate(commit.leaves, commit.first):
            if kept.get(place) != (new.hash, new.data):
                what = "is missing" if place not in kept else "is another than final blocks give"
                self._report.fault(f"log leaf {place} ({describe(new.leaf)}) {what}")

    def _learn(self, key: bytes, value: bytes) -> None:
        """Take up what a state entry says that is asked for later."""
        self._entries[key] = value
        kind, *_ = decode(key)  # type: ignore[misc]
        if kind == 2:
            entry = KeyEntry.decode(value)
            self._keys.setdefault(entry.gateway, []).append((entry.first, entry.key))
        elif key == roster_key():
            self._learn_roster(Roster.decode(value))

    def _learn_roster(self, roster: Roster) -> None:
        self._rosters |= dict.fromkeys((each.key for each in roster.members), roster)

    def _compare_rest(self) -> None:
        """Compare the state, and look for rows that no final block accounts for."""
        kept = dict(self._db.execute("SELECT key, value FROM state"))
        for key in sorted(self._entries.keys() | kept.keys()):
            if self._entries.get(key) != kept.get(key):
                self._report.fault(
                    f"state entry {key.hex()}: the value kept is not the one that final blocks give"
                )
        heights = self.ledger.committed.height - max(self._base - 1, 0)
        for table, column, count in (
            ("log", "place", self._size),
            ("records", "rowid", self._report.records),
            ("commits", "height", heights),
            ("seals", "height", heights),
        ):
            rows = self._db.execute(f"SELECT count({column}) FROM {table}").fetchone()[0]
            if rows > count:
                self._report.fault(f"table {table}: {rows - count} rows that no final block accounts for")


def find_base(db: Connection) -> int:
    """Return the final block on which the first one kept rests: 0, or that of the snapshot a hub began with."""
    (first,) = db.execute("SELECT min(height) FROM final_blocks").fetchone()
    if first is not None:
        begins = db.execute("SELECT 1 FROM commits WHERE height = ?", (first - 1,)).fetchone()
        return int(first) - 1 if begins else 0
    return int(db.execute("SELECT coalesce(max(height), 0) FROM commits").fetchone()[0])


def check_order(block: FinalBlock, previous: FinalBlock, engine: int) -> None:
    """Check that a final block follows another; what a federation's headers say of it comes after. Raises BadProof."""
    if block.height != previous.height + 1:
        raise BadProof(f"final block {previous.height + 1} is missing")
    if engine == COMETBFT:
        return
    if block.time <= previous.time:
        raise BadProof(f"its time {block.time} is not after its predecessor's {previous.time}")
    if block.misbehaviour or with_hash(block, previous.hash).hash != block.hash:
        raise BadProof("its hash is not that of its predecessor, time and transactions")
