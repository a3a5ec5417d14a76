"""Custody receipts on disk: the signed batches and every promise under them, this hub's and other hubs'.

A receipt's path is not kept: it follows from the promises of its batch. So hubs hand each other whole batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from gateway.chain.custody import Promise, Receipt
from gateway.chain.keys import Signed
from gateway.chain.trees import LogTree, leaf_hash
from hub.storage.database import Connection, Database

_TRIES: Final = 8


class _Batches:
    """One table of batches with its table of promises."""

    def __init__(self, database: Database, batches: str, promises: str) -> None:
        self._db, self._batches, self._table = database, batches, promises

    def receipts(self, gateway: bytes, epoch: int, first: int, last: int) -> list[Receipt]:
        """Return the receipts for a gateway's blocks `first` to `last` of an epoch, by height, oldest first."""
        where = "gateway = ? AND epoch = ? AND height BETWEEN ? AND ? ORDER BY height, batch"
        places = self._db.rows(
            f"SELECT batch, place FROM {self._table} WHERE {where}", (gateway, epoch, first, last)
        )
        batches = {batch: self._receipts(batch) for batch in {batch for batch, _ in places}}
        return [batches[batch][place] for batch, place in places]

    def promises(self, gateway: bytes, epoch: int, height: int) -> list[Promise]:
        """Return the promises about the blocks at one position, oldest first."""
        sql = (
            f"SELECT promise FROM {self._table} WHERE gateway = ? AND epoch = ? AND height = ? ORDER BY batch"
        )
        return [Promise.decode(data) for (data,) in self._db.rows(sql, (gateway, epoch, height))]

    def batch(self, number: int) -> tuple[Signed, list[Promise]] | None:
        """Return a batch by its number, with its promises in order."""
        data = self._db.value(f"SELECT batch FROM {self._batches} WHERE id = ?", (number,))
        if data is None:
            return None
        sql = f"SELECT promise FROM {self._table} WHERE batch = ? ORDER BY place"
        return Signed.decode(data), [Promise.decode(promise) for (promise,) in self._db.rows(sql, (number,))]

    def _receipts(self, number: int) -> list[Receipt]:
        found = self.batch(number)
        return [] if found is None else receipts_of(*found)

    def _keep_promises(self, db: Connection, batch: int | None, promises: Sequence[Promise]) -> None:
        rows = [(batch, i, p.gateway, p.epoch, p.height, p.encode()) for i, p in enumerate(promises)]
        db.executemany(f"INSERT INTO {self._table} VALUES (?, ?, ?, ?, ?, ?)", rows)


class Custody(_Batches):
    """What this hub promised. Safe for several threads; every write is durable when it returns."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, "custody_batches", "promises")

    def add(self, receipts: Sequence[Receipt]) -> None:
        """Keep all receipts of one batch, in its order."""
        with self._db.write() as db:
            sql = "INSERT INTO custody_batches VALUES (NULL, ?)"
            batch = db.execute(sql, (receipts[0].batch.encode(),)).lastrowid
            self._keep_promises(db, batch, [each.promise for each in receipts])

    def batches_after(self, number: int, limit: int) -> list[tuple[int, Signed, list[Promise]]]:
        """Return (number, batch, promises) of the batches above a number, in order."""
        rows = self._db.rows(
            "SELECT id FROM custody_batches WHERE id > ? ORDER BY id LIMIT ?", (number, limit)
        )
        found = ((each, self.batch(each)) for (each,) in rows)
        return [(each, *batch) for each, batch in found if batch is not None]

    def last(self) -> int:
        """Return the number of the latest batch, 0 before the first."""
        return self._db.value("SELECT max(id) FROM custody_batches") or 0


class PeerCustody(_Batches):
    """What other hubs promised, verified before it comes here. As `Custody`."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, "peer_batches", "peer_promises")

    def add(self, hub: bytes, batch: Signed, promises: Sequence[Promise]) -> bool:
        """Keep a verified batch of another hub (by its key); False where it is there already."""
        with self._db.write() as db:
            sql = "INSERT OR IGNORE INTO peer_batches VALUES (NULL, ?, ?)"
            cursor = db.execute(sql, (hub, batch.encode()))
            if not cursor.rowcount:
                return False
            self._keep_promises(db, cursor.lastrowid, promises)
        return True

    def count(self, hub: bytes) -> int:
        """Return how many promises of a hub are kept."""
        sql = f"SELECT count(*) FROM {self._table} WHERE batch IN (SELECT id FROM {self._batches} WHERE hub = ?)"
        found: int = self._db.value(sql, (hub,))
        return found

    def pick(
        self, hub: bytes, choose: Callable[[int], int], is_due: Callable[[Promise], bool]
    ) -> Receipt | None:
        """Return a receipt of another hub that `is_due`, None where none was met.

        `choose(n)` gives a random number below n: batches are drawn evenly by their numbers.
        """
        bounds: Any = self._db.row("SELECT min(id), max(id) FROM peer_batches WHERE hub = ?", (hub,))
        if bounds[0] is None:
            return None
        for _ in range(_TRIES):
            drawn = bounds[0] + choose(bounds[1] - bounds[0] + 1)
            number = self._db.value(
                "SELECT id FROM peer_batches WHERE hub = ? AND id >= ? ORDER BY id LIMIT 1", (hub, drawn)
            )
            receipts = self._receipts(number)
            receipt = receipts[choose(len(receipts))]
            if is_due(receipt.promise):
                return receipt
        return None


def receipts_of(batch: Signed, promises: Sequence[Promise]) -> list[Receipt]:
    """Return a receipt for each promise of a batch, in order."""
    tree = LogTree([leaf_hash(promise.encode()) for promise in promises])
    return [Receipt(promise, i, tree.inclusion(i), batch) for i, promise in enumerate(promises)]
