"""Audit of custody: that every batch of promises stands as it was signed, and that what was promised is held."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.chain.block import Header
from gateway.chain.custody import CustodyBatch, Promise, Receipt
from gateway.chain.errors import BadProof
from gateway.chain.genesis import COMETBFT, Genesis
from gateway.chain.governance import Roster
from gateway.chain.keys import CUSTODY, Signed
from gateway.chain.trees import leaf_hash, root_of
from hub.auditing.report import Report, short
from hub.storage.database import Connection


class Promises:
    """The promises that a hub gave, and those that other hubs gave it to know of.

    `roster_of` gives the latest roster in which a hub's key stood.
    """

    def __init__(
        self, db: Connection, genesis: Genesis, report: Report, roster_of: Callable[[bytes], Roster]
    ) -> None:
        self._db, self._genesis, self._report = db, genesis, report
        self._roster_of = roster_of
        self._signers: set[bytes] = set()

    def check_all(self) -> None:
        """Check every batch that was signed, and each promise in it."""
        for batch, data in self._db.execute("SELECT id, batch FROM custody_batches"):
            with self._report.at(f"custody batch {batch}"):
                body = self._check_batch(data)
                self._signers.add(body.hub)
                for *columns, promise in self._promises("promises", batch, body):
                    self.check_promise(Promise.decode(promise), columns)
        for batch, hub, data in self._db.execute("SELECT id, hub, batch FROM peer_batches"):
            with self._report.at(f"another hub's custody batch {batch}"):
                body = self._check_batch(data)
                if body.hub != hub:
                    raise BadProof("it is kept as a hub's that did not sign it")
                for *columns, data in self._promises("peer_promises", batch, body):
                    promise = Promise.decode(data)
                    if columns != [promise.gateway, promise.epoch, promise.height]:
                        raise BadProof("a promise in it is kept under another block's place")
        for table, batches in (("promises", "custody_batches"), ("peer_promises", "peer_batches")):
            sql = f"SELECT count(*) FROM {table} WHERE batch NOT IN (SELECT id FROM {batches})"
            if strays := self._db.execute(sql).fetchone()[0]:
                self._report.fault(f"table {table}: {strays} rows of no custody batch")

    def _check_batch(self, data: bytes) -> CustodyBatch:
        signed = Signed.decode(data)
        body = CustodyBatch.decode(signed.body)
        self._genesis.require(body.genesis, "it")
        signed.verify(CUSTODY, self._roster_of(body.hub).hub(body.hub).key)
        return body

    def _promises(self, table: str, batch: int, body: CustodyBatch) -> list[Any]:
        """Return the rows (gateway, epoch, height, promise) of a batch. Raises BadProof."""
        sql = f"SELECT gateway, epoch, height, promise FROM {table} WHERE batch = ? ORDER BY place"
        rows = self._db.execute(sql, (batch,)).fetchall()
        if (len(rows), root_of([leaf_hash(row[3]) for row in rows])) != (body.count, body.root):
            raise BadProof("its promises do not yield the root that was signed")
        return rows

    def check_receipt(self, receipt: Receipt) -> str:
        """Check that a receipt kept elsewhere is one of those that this history gave. Raises ChainError."""
        hub = CustodyBatch.decode(receipt.batch.body).hub
        promise, member = receipt.verify(self._genesis, self._roster_of(hub))
        if self._genesis.engine == COMETBFT and hub not in self._signers:
            raise BadProof(
                f"it binds hub {member.name!r}, which gave no promise here: hold its directory to it"
            )
        self.check_promise(promise)
        what = f"the promise of block {promise.epoch}/{promise.height} of gateway {short(promise.gateway)}"
        sql = "SELECT 1 FROM promises p JOIN custody_batches c ON c.id = p.batch WHERE promise = ? AND c.batch = ?"
        if self._db.execute(sql, (promise.encode(), receipt.batch.encode())).fetchone() is None:
            raise BadProof(
                f"{what} was given in a custody batch that this history does not have: it was rewritten"
            )
        return what

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
