"""A gateway's data directory restored from an older copy: a new epoch, and nobody is accused or unheard."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from proving import check_evidence, reading_evidence, run_audit
from region import GatewayProcess, Region, wait_for

from gateway.chain.alarm import Transition


@pytest.fixture
def region(tmp_path: Path) -> Iterator[Region]:
    with Region(tmp_path) as region:
        yield region


def copy_away(gateway: GatewayProcess) -> Path:
    return shutil.copytree(gateway.data, gateway.directory / "copy", ignore=shutil.ignore_patterns("*.sock"))


def restore(gateway: GatewayProcess, copy: Path) -> None:
    """As after a card was exchanged: the copy is all there is."""
    gateway.kill()
    shutil.rmtree(gateway.data)
    copy.rename(gateway.data)


def check_resumed(region: Region, gateway: GatewayProcess, proved: list[int]) -> None:
    """A new epoch beside which everything goes on, and what was proved before is proved still."""
    before = [
        reading_evidence(region.hub.directory, gateway.id, h, region.directory / f"{h}.old") for h in proved
    ]
    heard = {each["hash"] for each in region.alarms(gateway)}
    kept = set(gateway.transitions())
    head = region.shown(gateway)["head"]
    gateway.start()
    wait_for(lambda: region.shown(gateway)["epoch"] == 2, "the new epoch")
    wait_for(
        lambda: region.shown(gateway)["head"] >= head + 3 or region.shown(gateway)["refusals"],
        "blocks of the new epoch",
    )
    assert region.findings(gateway) == ["epoch-change"]
    shown = region.shown(gateway)
    assert (shown["standing"], shown["refusals"]) == ("good", [])
    region.await_alarms(gateway, more=2)
    made = set(gateway.transitions()) - kept
    alarms = {each["hash"] for each in region.alarms(gateway) if each["final_ms"] is not None}
    assert heard <= alarms
    assert len(made & {bytes.fromhex(each) for each in alarms}) >= 2
    boots = [Transition.decode(body).boot for (body,) in gateway.rows("SELECT body FROM transitions")]
    assert len(set(boots)) >= 2
    for height, old in zip(proved, before, strict=True):
        check_evidence(old, region.genesis)
        new = reading_evidence(region.hub.directory, gateway.id, height, region.directory / f"{height}.new")
        check_evidence(new, region.genesis)
    gateway.stop()
    region.hub.stop()
    code, text = run_audit(region.hub.directory)
    assert code == 0, text


def test_a_directory_restored_from_an_older_copy_resumes_in_a_new_epoch(region: Region) -> None:
    gateway = region.add("a")
    gateway.start()
    region.await_blocks(gateway)
    region.await_alarms(gateway)
    assert gateway.stop() == 0
    copy = copy_away(gateway)
    gateway.start()
    region.await_alarms(gateway, more=2)
    late = region.await_blocks(gateway)
    restore(gateway, copy)
    check_resumed(region, gateway, [late])


def test_a_snapshot_of_a_running_gateway_resumes_in_a_new_epoch_too(region: Region) -> None:
    gateway = region.add("a")
    gateway.start()
    early = region.await_blocks(gateway)
    region.await_alarms(gateway)
    gateway.freeze()
    copy = copy_away(gateway)
    gateway.thaw()
    region.await_alarms(gateway, more=2)
    late = region.await_blocks(gateway)
    restore(gateway, copy)
    check_resumed(region, gateway, [early, late])


@pytest.mark.soak
def test_a_restored_gateway_that_is_killed_again_and_again_changes_its_epoch_but_once(region: Region) -> None:
    dice = random.Random(3)
    gateway = region.add("a")
    gateway.start()
    region.await_blocks(gateway)
    region.await_alarms(gateway)
    gateway.freeze()
    copy = copy_away(gateway)
    gateway.thaw()
    region.await_alarms(gateway, more=2)
    late = region.await_blocks(gateway)
    restore(gateway, copy)
    for _ in range(20):
        gateway.start(wait=False)
        time.sleep(dice.uniform(0.3, 1.5))
        gateway.kill()
    check_resumed(region, gateway, [late])
