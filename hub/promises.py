"""Audit of custody: that every batch of promises stands as it was signed, and that what was promised is held."""

from __future__ import annotations

from typing import Any

from gateway.chain.block import Header
from gateway.chain.custody import CustodyBatch, Promise, Receipt
from gateway.chain.errors import BadProof
from gateway.chain.genesis import Genesis
from gateway.chain.governance import founding_roster
from gateway.chain.keys import CUSTODY, Signed
from gateway.chain.trees import leaf_hash, root_of
from hub.database import Connection
from hub.report import Report, short


class Promises:
    """The promises that a hub gave."""

    def __init__(self, db: Connection, genesis: Genesis, report: Report) -> None:
        self._db, self._genesis, self._report = db, genesis, report

    def check_all(self) -> None:
        """Check every batch that was signed, and each promise in it."""
        for batch, data in self._db.execute("SELECT id, batch FROM custody_batches"):
            with self._report.at(f"custody batch {batch}"):
                signed = Signed.decode(data)
                body = CustodyBatch.decode(signed.body)
                self._genesis.require(body.genesis, "it")
                signed.verify(CUSTODY, self._genesis.hub(body.hub).key)
                sql = "SELECT gateway, epoch, height, promise FROM promises WHERE batch = ? ORDER BY place"
                rows = self._db.execute(sql, (batch,)).fetchall()
                if (len(rows), root_of([leaf_hash(row[3]) for row in rows])) != (body.count, body.root):
                    raise BadProof("its promises do not yield the root that was signed")
                for *columns, promise in rows:
                    self.check_promise(Promise.decode(promise), columns)

        sql = "SELECT count(*) FROM promises WHERE batch NOT IN (SELECT id FROM custody_batches)"
        if strays := self._db.execute(sql).fetchone()[0]:
            self._report.fault(f"table promises: {strays} rows of no custody batch")

    def check_receipt(self, receipt: Receipt) -> None:
        """Check that a receipt kept elsewhere is one of those that this history gave. Raises ChainError."""
        promise, _ = receipt.verify(self._genesis, founding_roster(self._genesis))
        self.check_promise(promise)
        sql = "SELECT 1 FROM promises p JOIN custody_batches c ON c.id = p.batch WHERE promise = ? AND c.batch = ?"
        if self._db.execute(sql, (promise.encode(), receipt.batch.encode())).fetchone() is None:
            raise BadProof(
                f"the promise of block {promise.epoch}/{promise.height} of gateway {short(promise.gateway)}"
                " was given in a custody batch that this history does not have: it was rewritten"
            )

    def check_promise(self, promise: Promise, columns: list[Any] | None = None) -> None:
        """Check that what was promised is held. Notes a fault where it is not."""
        where = f"promise of block {promise.epoch}/{promise.height} of gateway {short(promise.gateway)}"
        self._report.promises += 1
        if columns is not None and columns != [promise.gateway, promise.epoch, promise.height]:
            self._report.fault(f"{where}: it is kept under another block's place")
        sql = "SELECT id, header FROM blocks WHERE gateway = ? AND epoch = ? AND height = ? AND hash = ?"
        at = (promise.gateway, promise.epoch, promise.height, promise.hash)
        if (row := self._db.execute(sql, at).fetchone()) is None:
            self._report.fault(f"{where}: the block is not held")
            return
        place = row[0]
        with self._report.at(where):
            sql = "SELECT id - ? FROM segments WHERE id BETWEEN ? AND ? AND data != x''"
            held = {index for (index,) in self._db.execute(sql, (place * 4, place * 4, place * 4 + 3))}
            for index, head in enumerate(Header.decode(row[1]).segments):
                if promise.classes >> head.klass & 1 and index not in held:
                    if (self.shed_at(place * 4 + index) or 0) > promise.keep_until:
                        continue
                    raise BadProof(
                        f"segment {index} is not held, which was to be kept until {promise.keep_until}"
                    )

    def shed_at(self, segment: int) -> int | None:
        """Return when a segment (by row) was shed, Unix ms, None where it was not."""
        row = self._db.execute("SELECT at FROM sheddings WHERE segment = ?", (segment,)).fetchone()
        return None if row is None else row[0]
