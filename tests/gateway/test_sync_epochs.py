"""Epochs: what a gateway may sign after a crash, with a damaged store, and with a directory of yesterday."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway_site import TOML, Site, Started, enrolled
from testhub import REGION, TestHub, make_genesis, wait_until

import gateway.region.sync
import gateway.region.window
from gateway.chain.alarm import Transition
from gateway.chain.block import Header, header_hash
from gateway.chain.keys import SigningKey, gateway_id
from gateway.chain.tenure import EpochChangeBody, Position
from gateway.storage.store import Store
from hub.broker import EmbeddedBroker
from hub.broker_config import BrokerConfig


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestHub]:
    monkeypatch.setattr(gateway.region.window, "_PATIENCE_S", (0.5,))
    monkeypatch.setattr(gateway.region.sync, "_BIRTH_AGAIN_S", (0.5,))
    monkeypatch.setattr(gateway.region.sync, "_CHANGE_AGAIN_S", 0.5)
    broker = EmbeddedBroker(BrokerConfig(tmp_path / "broker", redeliver_seconds=1))
    broker.start()
    hub = TestHub(make_genesis(), broker.url)
    hub.start()
    yield hub
    hub.stop()
    broker.stop()
    assert hub.equivocations == []


def chain(hub: TestHub, epoch: int) -> list[Header]:
    return [Header.decode(block.header) for at, block in sorted(hub.blocks.items()) if at[0] == epoch]


def run_some(site: Site, hub: TestHub, blocks: int = 3) -> Started:
    run = site.start(readings=20)
    if run.id not in hub.entry:
        enrolled(hub, run)
    before = len(hub.blocks)
    wait_until(lambda: len(hub.blocks) >= before + blocks, "blocks")
    return run


def flap(run: Started, hub: TestHub) -> None:
    """Two alarms."""
    before = len(hub.alarms)
    run.leak()
    wait_until(lambda: len(hub.alarms) > before, "the alarm")
    run.calm()
    wait_until(lambda: len(hub.alarms) > before + 1, "its end")


def test_a_directory_restored_from_earlier_resumes_in_a_new_epoch_and_drops_no_alarm(
    tmp_path: Path, hub: TestHub
) -> None:
    site = Site(tmp_path / "g", hub.url)
    run_some(site, hub).stop()
    shutil.copytree(site.directory, tmp_path / "backup")
    run = run_some(site, hub)
    flap(run, hub)
    run.stop()
    shutil.rmtree(site.directory)
    shutil.copytree(tmp_path / "backup", site.directory)
    alarms = len(hub.alarms)
    run = run_some(site, hub)
    flap(run, hub)
    wait_until(lambda: run.gateway.store.waiting("hub") <= 1, "receipts")
    run.stop()
    assert len(hub.alarms) == alarms + 2
    counters = [Transition.decode(each.transition).counter for each in hub.alarms.values()]
    assert counters[:2] == counters[2:4] == [1, 2]  # known by hash, not by counter
    (change,) = hub.changes
    last = chain(hub, 1)[-1]  # perhaps one that was still on its way when the gateway had stopped
    head = Position(1, last.height, header_hash(last.encode()))
    assert EpochChangeBody.decode(change.body).closes == head
    headers = chain(hub, 2)
    assert headers[0].height == head.height + 1
    assert headers[0].previous == head.hash
    assert [each.height for each in headers] == list(range(head.height + 1, head.height + 1 + len(headers)))


def test_after_a_new_epoch_a_restart_goes_on_in_it(tmp_path: Path, hub: TestHub) -> None:
    site = Site(tmp_path / "g", hub.url)
    run_some(site, hub).stop()
    shutil.copytree(site.directory, tmp_path / "backup")
    run = run_some(site, hub)
    flap(run, hub)
    run.stop()
    shutil.rmtree(site.directory)
    shutil.copytree(tmp_path / "backup", site.directory)
    for _ in range(3):
        run_some(site, hub).stop()
    assert len(hub.changes) == 1
    assert hub.refusals == []


def test_signed_blocks_that_never_became_final_are_owned_up_to_and_sealed_anew(
    tmp_path: Path, hub: TestHub
) -> None:
    site = Site(tmp_path / "g", hub.url)
    run = run_some(site, hub)
    hub.hold = True
    before = len(hub.blocks)
    wait_until(lambda: len(hub.blocks) > before + 2, "blocks that are known and not final")
    run.leak()
    wait_until(lambda: bool(hub.alarms), "the alarm")
    wait_until(lambda: run.gateway.store.waiting("hub") <= 1, "receipts")
    run.stop()
    store = Store(site.directory / "data" / "gateway.db")
    store.put({"whole": b"\0"})  # as after a damage that a start has found
    final = hub.entry[run.id].head
    signed = [each.position for each in store.above(final.height)]
    store.close()
    hub.hold = False
    run = run_some(site, hub)
    wait_until(lambda: run.gateway.store.waiting("hub") <= 1, "receipts")
    run.stop()
    (change,) = hub.changes
    body = EpochChangeBody.decode(change.body)
    assert body.closes == final
    assert len(signed) > 2
    assert body.orphans == tuple(signed)
    old = {
        Header.decode(hub.blocks[at.epoch, at.height].header).segments
        for at in signed
        if (1, at.height) in hub.blocks
    }
    new = {each.segments for each in chain(hub, 2)}
    assert old <= new


def test_a_damaged_database_is_set_aside_and_the_epoch_with_it(tmp_path: Path, hub: TestHub) -> None:
    site = Site(tmp_path / "g", hub.url)
    run = run_some(site, hub)
    run.stop()
    database = site.directory / "data" / "gateway.db"
    database.write_bytes(b"not a database" * 1000)
    for suffix in ("-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    run = run_some(site, hub)
    run.stop()
    assert (site.directory / "data" / "gateway.db.damaged").exists()
    (change,) = hub.changes
    assert EpochChangeBody.decode(change.body).reason == 1
    assert chain(hub, 2)[0].height == chain(hub, 1)[-1].height + 1


def test_a_lost_database_is_not_taken_for_a_new_gateway(tmp_path: Path, hub: TestHub) -> None:
    site = Site(tmp_path / "g", hub.url)
    run_some(site, hub).stop()
    for file in (site.directory / "data").glob("gateway.db*"):
        file.unlink()
    run_some(site, hub).stop()
    assert len(hub.changes) == 1


def test_an_operator_may_ask_for_a_new_epoch(tmp_path: Path, hub: TestHub) -> None:
    run = run_some(Site(tmp_path / "g", hub.url), hub)
    hub.say_command(run.id, run.gateway.identity.boot, 3)
    wait_until(lambda: len(chain(hub, 2)) > 2, "blocks of epoch 2")
    run.stop()
    assert EpochChangeBody.decode(hub.changes[0].body).reason == 3


def test_sigkill_at_random_moments_repeats_no_position_and_loses_nothing_after_its_receipt(
    tmp_path: Path, hub: TestHub
) -> None:
    site = Site(tmp_path / "g", hub.url)
    more = '[simulation]\nscenario = "quiet"\nsensors = { gas = { volts = 0.25 } }\n'
    text = TOML.format(url=hub.url, region=REGION, readings=10, seconds=5, extra="") + more
    (site.directory / "gateway.toml").write_text(text)
    command = [sys.executable, "-m", "gateway.cli", "run", "--config", str(site.directory / "gateway.toml")]
    chance, receipted = random.Random(7), set[tuple[int, int, bytes]]()
    for round_ in range(6):
        child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        if round_ == 0:
            key = site.directory / "data" / "key"
            wait_until(lambda key=key: key.exists() and key.stat().st_size > 60, "the key")  # type: ignore[misc]
            public = SigningKey(bytes.fromhex(key.read_text().strip())).public
            hub.enrol(gateway_id(public), public)
        before = len(hub.blocks)
        wait_until(lambda before=before: len(hub.blocks) > before, "a block")  # type: ignore[misc]
        time.sleep(chance.uniform(0.0, 0.5))
        child.kill()
        child.wait()
        store = Store(site.directory / "data" / "gateway.db")
        receipted |= {
            (at.epoch, at.height, at.hash) for each in store.above(0) if each.final for at in [each.position]
        }
        store.close()
    run = Started(site.config(readings=10))
    wait_until(lambda: bool(hub.blocks) and run.gateway.store.waiting("hub") <= 1, "the rest")
    wait_until(lambda: run.gateway.keeper.is_confirmed, "the answer")
    run.stop()
    assert hub.changes == []
    headers = chain(hub, 1)
    assert [header.height for header in headers] == list(range(1, len(headers) + 1))
    assert {(*at, block.hash) for at, block in list(hub.blocks.items())} >= receipted
    assert len({header.boot for header in headers}) > 3
