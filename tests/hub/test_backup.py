"""A backup is one file, taken beside a running hub; a hub restored from it follows the others and never signs twice."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from fedkit import Federation, SealingHub
from hubs import RunningHub

from hub.backup import CHAIN, backup, restore
from hub.cli import main
from hub.config import load_config, read_key
from hub.errors import ConfigError, StoreError
from hub.federation.founding import Place, init, own_validator
from hub.federation.quarantine import WAITING
from hub.storage.store import Store


@pytest.fixture
def member(tmp_path: Path) -> Path:
    """A stopped member of a federation, whose ledger stands at final block 2."""
    directory = tmp_path / "hub"
    init(directory, Place("hub-0", "agency-0", "north"))
    hub = SealingHub(directory, Federation())
    hub.order()
    hub.store.notes.add_finding(1, bytes(16), "kind", "what only this hub knows")
    hub.close()
    return directory


def rows(ledger: Path, table: str) -> int:
    with closing(sqlite3.connect(ledger)) as connection:
        found: int = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    return found


def test_a_restored_member_gets_its_chain_from_the_others_and_keeps_what_only_it_had(
    tmp_path: Path, member: Path
) -> None:
    file, new = tmp_path / "backup", tmp_path / "new"
    assert backup(member, file, with_keys=True) == file.stat().st_size
    later = 1 << 42
    found = restore(file, new, now_ms=later)
    assert (found.keys, found.waits, found.follows) == (True, True, True)
    assert rows(member / "ledger.db", "commits") == 2
    assert all(rows(new / "ledger.db", table) == 0 for table in CHAIN)
    assert rows(new / "ledger.db", "findings") == 1
    assert read_key(new / "hub.key").public == read_key(member / "hub.key").public
    assert (new / "genesis.cbor").read_bytes() == (member / "genesis.cbor").read_bytes()
    assert not (new / "engine").exists(), "the key is nowhere that an engine would find it"
    assert read_key(new / WAITING).public == own_validator(load_config(member / "hub.toml")).public
    assert json.loads((new / "restored.json").read_text()) == {"at": later}


def test_a_clock_behind_the_backup_cannot_say_when_a_key_may_vote_again(tmp_path: Path, member: Path) -> None:
    backup(member, tmp_path / "backup", with_keys=True)
    with pytest.raises(ConfigError, match="set the clock right"):
        restore(tmp_path / "backup", tmp_path / "new", now_ms=0)
    assert not (tmp_path / "new").exists()
    backup(member, tmp_path / "keyless", with_keys=False)
    restore(tmp_path / "keyless", tmp_path / "new", now_ms=0)


def test_a_restored_ledger_still_refuses_to_be_rewritten(tmp_path: Path, member: Path) -> None:
    backup(member, tmp_path / "backup", with_keys=False)
    restore(tmp_path / "backup", tmp_path / "new")
    store = Store(tmp_path / "new/ledger.db")
    try:
        with store.database.write() as db:
            db.execute("INSERT INTO log VALUES (0, x'00', x'00')")
        with pytest.raises(StoreError, match="append-only"), store.database.write() as db:
            db.execute("DELETE FROM log")
    finally:
        store.close()


def test_without_keys_a_backup_holds_no_secret(tmp_path: Path, member: Path) -> None:
    file = tmp_path / "backup"
    backup(member, file, with_keys=False)
    data = file.read_bytes()
    assert (member / "hub.key").read_bytes().strip() not in data
    assert own_validator(load_config(member / "hub.toml")).seed.hex().encode() not in data
    with tarfile.open(file) as tar:
        assert sorted(tar.getnames()) == ["genesis.cbor", "hub.toml", "ledger.db"]
    found = restore(file, tmp_path / "new")
    assert (found.keys, found.waits) == (False, False)


def test_a_backup_is_for_its_owner_alone(tmp_path: Path, member: Path) -> None:
    backup(member, tmp_path / "backup", with_keys=True)
    assert (tmp_path / "backup").stat().st_mode & 0o077 == 0


def test_who_laid_a_file_of_its_own_where_the_backup_is_written_does_not_get_the_keys(
    tmp_path: Path, member: Path
) -> None:
    trap, link = tmp_path / "backup.new", tmp_path / "second.new"
    trap.touch(0o666)
    link.symlink_to(tmp_path / "elsewhere")
    with trap.open("rb") as thief:
        backup(member, tmp_path / "backup", with_keys=True)
        assert thief.read() == b""
    backup(member, tmp_path / "second", with_keys=True)
    assert not (tmp_path / "elsewhere").exists()


def test_a_backup_is_taken_beside_a_running_hub(tmp_path: Path) -> None:
    with RunningHub(tmp_path / "hub") as hub:
        gateway, caller = hub.join("a")
        caller.say("block", gateway.block().encode())
        caller.final(1)
        done = CliRunner().invoke(
            main, ["backup", str(hub.directory), "-o", str(tmp_path / "b"), "--with-keys", "--json"]
        )
        assert done.exit_code == 0, done.output
        caller.say("block", gateway.block().encode())
        caller.final(2)
    again = CliRunner().invoke(main, ["restore", str(tmp_path / "b"), str(tmp_path / "new")])
    assert again.exit_code == 0, again.output
    assert "what it sealed after the backup is lost" in again.stdout
    audit = CliRunner().invoke(main, ["audit", "--dir", str(tmp_path / "new"), "--json"])
    assert audit.exit_code == 0, audit.output
    assert json.loads(audit.stdout)["blocks"] == 1


def test_a_member_that_lost_what_it_signed_last_is_restored_from_itself(tmp_path: Path, member: Path) -> None:
    shutil.rmtree(member / "engine/data")
    backup(member, tmp_path / "backup", with_keys=True)
    assert restore(tmp_path / "backup", tmp_path / "new").waits


def test_nothing_is_restored_over_what_is_there(tmp_path: Path, member: Path) -> None:
    backup(member, tmp_path / "backup", with_keys=True)
    with pytest.raises(ConfigError, match="is not empty"):
        restore(tmp_path / "backup", member)


@pytest.mark.parametrize("damage", ["nonsense", "empty", "cut"])
def test_what_is_no_backup_leaves_nothing_behind(tmp_path: Path, member: Path, damage: str) -> None:
    file = tmp_path / "backup"
    backup(member, file, with_keys=True)
    whole = file.read_bytes()
    file.write_bytes({"nonsense": b"x" * 2000, "empty": b"", "cut": whole[:1200]}[damage])
    with pytest.raises(ConfigError, match="is no backup"):
        restore(file, tmp_path / "new")
    assert {each.name for each in tmp_path.iterdir()} == {"hub", "backup"}


def test_a_directory_without_a_ledger_is_not_backed_up(tmp_path: Path) -> None:
    init(tmp_path / "hub", Place("hub-0", "agency-0", "north"))
    result = CliRunner().invoke(main, ["backup", str(tmp_path / "hub"), "-o", str(tmp_path / "b")])
    assert result.exit_code == 1
    assert not (tmp_path / "b").exists()
