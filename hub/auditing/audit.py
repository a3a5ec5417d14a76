"""Audit: everything a stopped hub holds, verified again from its directory alone, and against what others keep.

A hub alone could rewrite its whole history and sign it anew; nothing on its own disk can show that. So an audit
takes, beside the directory, a checkpoint or custody receipt that was kept elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeAlias

import sqlite_utils

from gateway.chain.custody import Receipt
from gateway.chain.errors import BadProof, ChainError, FormatError
from gateway.chain.finality import Checkpoint
from gateway.chain.genesis import COMETBFT, Genesis
from gateway.chain.keys import Signed
from gateway.chain.messages import Receipts
from hub.auditing.holdings import Holdings
from hub.auditing.replay import Replay
from hub.auditing.report import AGAINST, STORAGE, Report
from hub.auditing.wal import lost_commits
from hub.errors import AuditError, StoreError
from hub.storage.database import Connection, Database
from hub.storage.schema import expected_objects, objects

DATABASE: Final = "ledger.db"
GENESIS: Final = "genesis.cbor"
Kept: TypeAlias = Checkpoint | Receipt | Receipts | Signed


def audit(
    directory: Path,
    against: bytes | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Re-verify a hub's directory and return the report.

    `against` is the bytes of a `Checkpoint`, `Receipt`, `Receipts` or signed `AlarmReceipt` that was kept
    elsewhere. `progress` is told (final blocks done, in all). Raises AuditError when there is nothing to audit.
    """
    report, begun = Report(), time.monotonic()
    genesis, document = _read_genesis(directory / GENESIS)
    kept = None if against is None else read_kept(against)
    if lost := lost_commits(directory / DATABASE):
        # Fails closed although a power cut may leave one such commit, which nobody was told of.
        report.fault(f"{DATABASE}-wal is damaged: {lost} commits behind the damage are lost", STORAGE)
    database = _open(directory / DATABASE)
    try:
        with report.at(DATABASE), database.read() as db:
            _check_genesis(db, genesis, document, report)
            holdings = Holdings(db, genesis, report)
            holdings.replay.run(progress)
            holdings.check_rest()
            _summarise(db, holdings.replay, report)
            if kept is not None:
                _check_against(kept, holdings, genesis, report)
            _check_storage(db, genesis, report)
    finally:
        database.close()
    report.seconds = time.monotonic() - begun
    return report


def read_kept(data: bytes) -> Kept:
    """Return the checkpoint or the receipts of a file kept elsewhere. Raises AuditError.

    A `Signed` is taken for an alarm receipt.
    """
    kinds: tuple[type[Kept], ...] = (Checkpoint, Receipt, Receipts, Signed)
    for kind in kinds:
        try:
            return kind.decode(data)
        except FormatError:
            continue
    raise AuditError("the file to audit against is no checkpoint and no receipt")


def _read_genesis(path: Path) -> tuple[Genesis, bytes]:
    try:
        document = path.read_bytes()
        genesis = Genesis.decode(document)
    except (OSError, FormatError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise AuditError(f"{path}: {said}; give the directory of a hub") from error
    return genesis, document


def _open(path: Path) -> Database:
    try:
        return Database(path, read_only=True)
    except StoreError as error:
        raise AuditError(str(error)) from error


def _check_genesis(db: Connection, genesis: Genesis, document: bytes, report: Report) -> None:
    if db.execute("SELECT hash, document FROM genesis").fetchall() != [(genesis.hash, document)]:
        report.fault(f"genesis: {DATABASE} belongs to another chain than {GENESIS}")


def _summarise(db: Connection, replay: Replay, report: Report) -> None:
    at = replay.ledger.committed
    report.height, report.app_hash = at.height, at.app.hash
    report.gateways = db.execute("SELECT count(DISTINCT gateway) FROM blocks").fetchone()[0]


def _check_against(kept: Kept, holdings: Holdings, genesis: Genesis, report: Report) -> None:
    before, replay, promises = len(report.faults), holdings.replay, holdings.promises
    held: list[str] = []
    with report.at("what was kept elsewhere"):
        match kept:
            case Checkpoint():
                held.append(check_checkpoint(kept, replay, genesis))
            case Receipt():
                held.append(promises.check_receipt(kept))
            case Signed():
                held.append(holdings.check_alarm_receipt(kept))
            case Receipts(custody=receipts, finality=finality):
                held += [promises.check_receipt(receipt) for receipt in receipts]
                if finality is not None:
                    held.append(check_checkpoint(finality.proof.checkpoint, replay, genesis))
    report.against = "; ".join(held)
    report.relabel(before, AGAINST)


def check_checkpoint(kept: Checkpoint, replay: Replay, genesis: Genesis) -> str:
    """Check that a replayed history contains the one that a checkpoint was made of. Raises ChainError.

    One for readers who know the voters leaves out how they came to be; the steps kept here are put in for them.
    """
    kept = replace(kept, seal=replay.seals.whole(kept.seal))
    sealed, ledger = kept.verify(genesis), replay.ledger
    if sealed.height > ledger.committed.height:
        raise BadProof(
            f"it is of final block {sealed.height}, this history ends at {ledger.committed.height}"
        )
    try:
        root = ledger.log_root(kept.app.log_size)
    except ChainError as error:
        raise BadProof(f"its log has {kept.app.log_size} items: {error}") from error
    own = replay.sealed(sealed.height)
    where = f"final block {sealed.height}"
    if root == kept.app.log_root and own is None and sealed.height < replay.begins:
        return f"a checkpoint of {where}, from before this hub's beginning, by its log alone"
    if root != kept.app.log_root or own is None or own.app_hash != sealed.app_hash:
        raise BadProof(f"at {where} this history is another one: it was rewritten")
    if (own.time, own.hash) != (sealed.time, sealed.hash):
        # Times are in no application hash: the seal alone says when, so two of one height are two histories.
        raise BadProof(
            f"final block {sealed.height} was sealed twice, then at {sealed.time}, here at {own.time}:"
            " this history was rewritten"
        )
    return f"a checkpoint of {where}"


def _check_storage(db: Connection, genesis: Genesis, report: Report) -> None:
    """Ask SQLite about its file, and compare tables and triggers with those a hub makes."""
    expected = expected_objects(has_peers=genesis.engine == COMETBFT)
    found = objects(sqlite_utils.Database(db))
    for name in sorted(expected.keys() | found.keys()):
        if not name.startswith("_sqlite") and expected.get(name) != found.get(name):
            report.fault(f"schema: {name} is not as a hub makes it")
    for (text,) in db.execute("PRAGMA integrity_check"):
        if text != "ok":
            report.fault(f"{DATABASE} is damaged: {text}", STORAGE)
    pages, size = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_size"))
    report.unused = pages * size
