"""Custody receipts that this hub gave, on disk: the signed batches and every promise under them.

A receipt's path is not kept: it follows from the promises of its batch.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.chain.custody import Promise, Receipt
from gateway.chain.keys import Signed
from gateway.chain.trees import LogTree, leaf_hash
from hub.database import Database


class Custody:
    """Part of a hub's database; safe for several threads; every write is durable when it returns."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, receipts: Sequence[Receipt]) -> None:
        """Keep all receipts of one batch, in its order."""
        with self._db.write() as db:
            sql = "INSERT INTO custody_batches VALUES (NULL, ?)"
            batch = db.execute(sql, (receipts[0].batch.encode(),)).lastrowid
            promises = [(each.index, each.promise) for each in receipts]
            rows = [(batch, i, p.gateway, p.epoch, p.height, p.encode()) for i, p in promises]
            db.executemany("INSERT INTO promises VALUES (?, ?, ?, ?, ?, ?)", rows)

    def receipts(self, gateway: bytes, epoch: int, first: int, last: int) -> list[Receipt]:
        """Return the receipts for a gateway's blocks `first` to `last` of an epoch, by height, oldest first."""
        where = "gateway = ? AND epoch = ? AND height BETWEEN ? AND ? ORDER BY height, batch"
        places = self._db.rows(
            f"SELECT batch, place FROM promises WHERE {where}", (gateway, epoch, first, last)
        )
        batches = {batch: self._batch(batch) for batch in {batch for batch, _ in places}}
        return [batches[batch][place] for batch, place in places]

    def _batch(self, batch: int) -> list[Receipt]:
        signed = Signed.decode(self._db.value("SELECT batch FROM custody_batches WHERE id = ?", (batch,)))
        rows = self._db.rows("SELECT promise FROM promises WHERE batch = ? ORDER BY place", (batch,))
        promises = [promise for (promise,) in rows]
        tree = LogTree([leaf_hash(promise) for promise in promises])
        return [
            Receipt(Promise.decode(promise), place, tree.inclusion(place), signed)
            for place, promise in enumerate(promises)
        ]
