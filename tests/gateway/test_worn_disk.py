"""A disk that takes nothing any more when the gateway starts: what can still be read serves pins and alarms."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway_site import Site, Started, enrolled
from rig import Rig
from testhub import TestHub, wait_until

from gateway.chain.alarm import RECORDED, UNRECORDED
from gateway.errors import JournalError
from gateway.storage.store import Store
from hub.broker import EmbeddedBroker
from hub.broker_config import BrokerConfig


@contextlib.contextmanager
def mounted(directory: Path, *options: str) -> Iterator[None]:
    """Mount something over a directory; skips the test where that is not allowed."""
    directory.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", *options, directory], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", directory], check=False)


@contextlib.contextmanager
def read_only(directory: Path) -> Iterator[None]:
    with mounted(directory, "--bind", str(directory)):
        subprocess.run(["mount", "-o", "remount,bind,ro", directory], check=True)
        yield


def fill(directory: Path) -> None:
    """Take every page that is left."""
    with (directory / "filler").open("wb") as file, contextlib.suppress(OSError):
        for page in range(1 << 20):
            os.posix_fallocate(file.fileno(), page * 4096, 4096)


def end_alarm(run: Started) -> None:
    run.calm()
    wait_until(lambda: run.gateway.recorder.conditions()["gas-ch4"][0] == "latched", "the alarm's end")
    run.gateway.recorder.reset("gas-ch4", "console")
    assert not run.siren


def copied(source: Path, to: Path) -> Path:
    """A directory as a power cut leaves it: with the database's log, and journals that are not emptied."""
    to.parent.mkdir(exist_ok=True)
    shutil.copytree(source, to)
    return to


def test_what_stands_in_the_databases_log_drives_the_outputs(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "a")
    rig.gas(100)
    rig.settle()
    sqlite3.connect(tmp_path / "a" / "gateway.db").execute("PRAGMA wal_checkpoint").connection.close()
    rig.gas(9000)
    rig.settle()
    worn = copied(tmp_path / "a", tmp_path / "b")
    rig.stop()
    with read_only(worn):
        rig = Rig(worn, boot=2)
        assert not rig.store.is_writable
        assert rig.siren
        assert [row.mark for row in rig.store.unacknowledged("hub")] == [RECORDED]
        rig.gas(9000)
        assert rig.recorder.conditions()["gas-ch4"][0] == "alarm"
        rig.stop()


def test_an_alarm_that_only_a_journal_holds_drives_the_outputs_and_is_sent(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "a")
    rig.gas(100)
    rig.settle()
    rig.writer.stop()
    rig.gas(9000)
    rig.close()
    with read_only(tmp_path / "a"):
        rig = Rig(tmp_path / "a", boot=2)
        assert rig.siren
        assert [row.mark for row in rig.writer.unwritten()] == [UNRECORDED]
        rig.stop()
    rig = Rig(tmp_path / "a", boot=3)
    assert rig.siren
    assert len(rig.store.unacknowledged("hub")) == 1
    assert rig.found.whole
    rig.stop()


def test_a_database_that_cannot_be_read_either_leaves_pins_and_alarms(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "a")
    rig.gas(100)
    rig.stop()
    (tmp_path / "a" / "gateway.db").write_bytes(b"\xff" * 10_000)
    with read_only(tmp_path / "a"):
        rig = Rig(tmp_path / "a", boot=2)
        rig.gas(9000)
        assert rig.siren
        wait_until(lambda: len(rig.writer.unwritten()) == 1, "the alarm")
        rig.stop()


def test_a_disk_without_a_byte_left_keeps_no_gateway_from_starting(tmp_path: Path) -> None:
    data = tmp_path / "g" / "data"
    with mounted(data, "-t", "tmpfs", "-o", "size=8m", "tmpfs"):
        site = Site(tmp_path / "g")
        run = site.start()
        run.leak()
        wait_until(lambda: run.siren, "the alarm")
        run.stop()
        (data / "ballast").unlink(missing_ok=True)
        fill(data)
        run = site.start()
        assert run.siren
        assert run.gateway.status()["troubles"]
        end_alarm(run)
        run.leak()
        wait_until(lambda: run.siren, "the next alarm")
        wait_until(lambda: len(run.gateway.writer.unwritten()) > 1, "alarms that no row holds")
        (data / "filler").unlink()
        assert [run.gateway.is_mended] == [False]
        end_alarm(run)
        assert [run.gateway.is_mended] == [True]
        run.stop()
        run = site.start()
        assert run.gateway.store.is_writable
        assert run.gateway.keeper.whole
        run.stop()


def test_on_a_full_disk_the_ballast_makes_way_for_the_start(tmp_path: Path) -> None:
    data = tmp_path / "g" / "data"
    with mounted(data, "-t", "tmpfs", "-o", "size=12m", "tmpfs"):
        site = Site(tmp_path / "g")
        run = site.start()
        run.gateway.pruner.care()
        run.stop()
        assert (data / "ballast").exists()
        fill(data)
        run = site.start()
        assert run.gateway.store.is_writable
        run.leak()
        wait_until(lambda: run.gateway.store.last_ordinal() > 0, "the row")
        run.stop()


def test_a_gateway_that_runs_is_not_taken_for_a_worn_disk(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    with read_only(tmp_path), pytest.raises(JournalError, match="in use by another process"):
        Rig(tmp_path, boot=2)
    rig.stop()


def test_alarms_of_a_worn_disk_reach_the_hub_and_no_epoch_is_asked_for(tmp_path: Path) -> None:
    broker = EmbeddedBroker(BrokerConfig(tmp_path / "broker", redeliver_seconds=1))
    broker.start()
    site = Site(tmp_path / "g", broker.url)
    hub = TestHub(site.genesis, broker.url)
    hub.start()
    try:
        run = site.start()
        enrolled(hub, run)
        run.stop()
        with read_only(tmp_path / "g"):
            run = site.start()
            run.leak()
            wait_until(lambda: run.siren, "the siren")
            wait_until(lambda: len(hub.alarms) == 1, "the alarm")
            assert {alarm.mark for alarm in hub.alarms.values()} == {UNRECORDED}
            wait_until(lambda: len(hub.births) > 0 and hub.births[-1].whole == 0, "a birth that owns up")
            assert run.gateway.keeper.change is None
            assert not run.gateway.keeper.is_confirmed
            run.stop()
    finally:
        hub.stop()
        broker.stop()
    store = Store(tmp_path / "g" / "data" / "gateway.db")
    assert store.last_ordinal() == 0
    store.close()
