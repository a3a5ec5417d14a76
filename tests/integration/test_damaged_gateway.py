"""A gateway whose card has lost or damaged its files: it resumes in a new epoch, and everybody still hears it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from proving import run_audit
from region import GatewayProcess, Region, wait_for

from gateway.chain.alarm import Transition

_DICE = random.Random(0)


@pytest.fixture
def region(tmp_path: Path) -> Iterator[Region]:
    with Region(tmp_path) as region:
        yield region


def scramble(path: Path, count: int) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(count):
        data[_DICE.randrange(len(data))] ^= 0xFF
    path.write_bytes(data)


def damage_database(data: Path) -> None:
    for suffix in ("-wal", "-shm"):
        (data / f"gateway.db{suffix}").unlink(missing_ok=True)
    content = (data / "gateway.db").read_bytes()
    (data / "gateway.db").write_bytes(bytes(100) + content[100:])


def damage_log(data: Path) -> None:
    scramble(data / "gateway.db-wal", 50)


def damage_journals(data: Path) -> None:
    for path in data.glob("*.journal"):
        scramble(path, 4000)


def lose_database(data: Path) -> None:
    for path in data.glob("gateway.db*"):
        path.unlink()


@pytest.mark.soak
@pytest.mark.parametrize("damage", [damage_database, damage_log, damage_journals, lose_database])
def test_a_damaged_gateway_resumes_in_a_new_epoch_and_is_heard(
    region: Region, damage: Callable[[Path], None]
) -> None:
    gateway = region.add("a")
    gateway.start()
    region.await_blocks(gateway)
    region.await_alarms(gateway, more=2)
    before, heard = region.shown(gateway), {each["hash"] for each in region.alarms(gateway)}
    gateway.kill()
    damage(gateway.data)
    gateway.start()
    wait_for(lambda: len(new_alarms(region, gateway, heard)) >= 2, "alarms of the new boot")
    wait_for(
        lambda: region.shown(gateway)["head"] >= before["head"] + 3 or region.shown(gateway)["refusals"],
        "blocks of the new epoch",
    )
    shown = region.shown(gateway)
    assert (shown["standing"], shown["epoch"], shown["refusals"]) == ("good", 2, [])
    assert region.findings(gateway) == ["epoch-change"]
    assert gateway.stop() == 0
    assert region.hub.stop() == 0
    code, text = run_audit(region.hub.directory)
    assert code == 0, text


def new_alarms(region: Region, gateway: GatewayProcess, heard: set[str]) -> set[str]:
    """Alarms of the gateway's latest boot that are final and were not heard before."""
    transitions = [
        (hashed, Transition.decode(body))
        for hashed, body in gateway.rows("SELECT hash, body FROM transitions ORDER BY ordinal")
    ]
    last = {hashed.hex() for hashed, each in transitions if each.boot == transitions[-1][1].boot}
    final = {each["hash"] for each in region.alarms(gateway) if each["final_ms"] is not None}
    return (last & final) - heard
