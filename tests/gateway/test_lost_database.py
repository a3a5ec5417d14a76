"""A journal whose database was lost: its block is sealed where its catalogue is known, and never under a wrong one."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from rig import AIR, GAS, Rig, gas_contract

from gateway.chain.block import Header
from gateway.config import SealTable
from gateway.storage.holdings import Holdings, Receipt
from gateway.storage.schema import _FIRST
from gateway.storage.store import Store


def lose_database(directory: Path) -> None:
    for file in directory.glob("gateway.db*"):
        file.unlink()


def killed(directory: Path, **options: object) -> None:
    """A gateway that had 20 readings and its second alarm in its open block when it was killed."""
    rig = Rig(directory, seal=SealTable(min_interval_ms=60_000), **options)  # type: ignore[arg-type]
    for value in (*range(20), 9000, *range(20), 9000):
        rig.advance(1)
        rig.gas(value)
        rig.settle()
    for journal in rig.found.journals:
        journal.sync()
    rig.close()


def test_a_block_of_the_configured_catalogue_is_sealed_in_its_own_classes(tmp_path: Path) -> None:
    killed(tmp_path)
    lose_database(tmp_path)
    rig = Rig(tmp_path, boot=2)
    classes = {head.klass for row in rig.store.drafts() for head in Header.decode(row.header).segments}
    assert classes == {0}
    assert sum(row.transitions for row in rig.store.drafts()) >= 1
    assert not list(tmp_path.glob("*.aside"))
    rig.stop()


def test_a_block_of_a_lost_catalogue_is_put_aside_and_its_alarm_recorded_anew(tmp_path: Path) -> None:
    killed(tmp_path, sensors=(GAS,))
    lose_database(tmp_path)
    rig = Rig(tmp_path, boot=2, sensors=(GAS, AIR))
    assert not rig.found.whole
    assert rig.siren
    assert rig.store.last_ordinal() >= 1
    (aside,) = tmp_path.glob("*.aside")
    assert aside.stat().st_size > 1000
    rig.stop()
    store = Store(tmp_path / "gateway.db")
    assert store.loose_transitions() == []
    assert {Header.decode(row.header).catalogue.root for row in store.drafts()} == {
        rig.catalogue.listing.root
    }
    store.close()


def test_a_block_of_lost_contracts_is_put_aside_too(tmp_path: Path) -> None:
    killed(tmp_path, contracts=gas_contract(max_age="30d"))
    lose_database(tmp_path)
    rig = Rig(tmp_path, boot=2)
    assert not rig.found.whole
    assert list(tmp_path.glob("*.aside"))
    rig.stop()


def test_a_database_of_the_first_version_keeps_its_receipts(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    with sqlite3.connect(path) as db:
        for statement in _FIRST:
            db.execute(statement)
        db.execute(
            "INSERT INTO blocks (number, epoch, height, hash, header, signature, ended_ms, classes, transitions,"
            " final) VALUES (1, 1, 1, x'01', x'', x'', 0, 1, 0, 1)"
        )
        db.execute("INSERT INTO receipts VALUES (1, 'hub', 'agency', 1, 1000, x'')")
        db.execute("PRAGMA user_version = 1")
        db.execute("CREATE TABLE _sqlite_migrations (migration_set TEXT, name TEXT, applied_at TEXT)")
        db.execute("INSERT INTO _sqlite_migrations VALUES ('gateway', '0001', '2026-01-01')")
    db.close()
    store = Store(path)
    holdings = Holdings(store)
    holdings.trust([b"k" * 32])
    assert holdings.prunable(1, 1, 1, 9) == [1]
    holdings.add_receipts([Receipt(1, "other", "other", 1, 1000, b"", b"x" * 32)], None)
    assert holdings.prunable(2, 1, 1, 9) == []
    store.close()
