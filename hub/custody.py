"""Custody receipts that this hub gave, on disk: the signed batches and every promise under them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.chain.canonical import decode, encode
from gateway.chain.custody import Promise, Receipt
from gateway.chain.keys import Signed
from hub.database import Database
from hub.errors import StoreError


class Custody:
    """Part of a hub's database; safe for several threads; every write is durable when it returns."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, receipts: Sequence[Receipt]) -> None:
        """Keep custody receipts of one batch."""
        with self._db.write() as db:
            sql = "INSERT INTO custody_batches VALUES (NULL, ?)"
            batch = db.execute(sql, (receipts[0].batch.encode(),)).lastrowid
            db.executemany(
                "INSERT INTO promises VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (p.gateway, p.epoch, p.height, batch, each.index, p.encode(), encode(each.path))
                    for each in receipts
                    for p in (each.promise,)
                ],
            )

    def receipts(self, gateway: bytes, epoch: int, first: int, last: int) -> list[Receipt]:
        """Return the receipts for a gateway's blocks `first` to `last` of an epoch, by height, oldest first."""
        rows = self._db.rows(
            "SELECT promise, place, path, b.batch FROM promises p JOIN custody_batches b ON b.id = p.batch"
            " WHERE gateway = ? AND epoch = ? AND height BETWEEN ? AND ? ORDER BY height, p.batch",
            (gateway, epoch, first, last),
        )
        return [_receipt(*row) for row in rows]


def _receipt(promise: bytes, place: int, path: bytes, batch: bytes) -> Receipt:
    hashes: Any = decode(path)
    if not isinstance(hashes, list):
        raise StoreError("a custody path is damaged; run tocsin-hub audit")
    return Receipt(Promise.decode(promise), place, tuple(hashes), Signed.decode(batch))
