"""A gateway whose disk is full: pins and alarms go on, marked for what they are, and all recovers with the room."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dishonest_broker import DishonestBroker
from proving import run_audit
from region import PERIOD_MS, GatewayProcess, Region, wait_for
from smalldisk import SmallDisk, small_disk

from gateway.chain.alarm import RECORDED, UNRECORDED
from gateway.chain.block import Header
from gateway.chain.events import Shedding
from gateway.chain.reading import PUBLIC, open_segment, parse_leaf
from hub.storage.store import Store

MIB = 1 << 20
TEN_MINUTES_MS = 600_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@pytest.fixture
def region(tmp_path: Path) -> Iterator[Region]:
    with Region(tmp_path) as region:
        yield region


@contextmanager
def kept_full(disk: SmallDisk) -> Iterator[None]:
    """Take away whatever room there is, also what the gateway gives up, until the block ends."""
    over = threading.Event()

    def fill() -> None:
        while not over.wait(0.01):
            disk.fill()

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        disk.empty()


def siren(gateway: GatewayProcess) -> bool:
    status = gateway.status()
    return status is not None and "siren" in status["outputs"]


def test_on_a_full_disk_pins_act_and_alarms_go_out_unrecorded_until_there_is_room(
    region: Region,
) -> None:
    gateway = region.add("a")
    with small_disk(gateway.data, 12 * MIB) as disk:
        gateway.start()
        region.await_alarms(gateway)
        region.await_blocks(gateway)
        with kept_full(disk):

            def are_unrecorded(count: int = 4) -> bool:
                marks = [each["marks"] for each in region.alarms(gateway)]
                return sum("unrecorded" in each for each in marks) >= count

            wait_for(are_unrecorded, "unrecorded alarms")
            for state in (True, False, True):
                wait_for(lambda state=state: siren(gateway) is state, f"the siren at {state}")  # type: ignore[misc]
        region.await_blocks(gateway, more=5)
        region.await_alarms(gateway, more=2)
        region.come_to_rest()
        check_nothing_missing(region, gateway)


def check_nothing_missing(region: Region, gateway: GatewayProcess) -> None:
    """The chain audits clean, every transition has its alarm and its block, and says how it was recorded."""
    code, text = run_audit(region.hub.directory)
    assert code == 0, text
    assert "has not come" not in text, text
    marks = dict(gateway.rows("SELECT hash, mark FROM transitions"))
    assert set(marks.values()) == {RECORDED, UNRECORDED}
    store = Store(region.hub.directory / "ledger.db", read_only=True)
    try:
        heard = store.alarms(gateway=gateway.id, limit=100_000)
        assert {each.hash for each in heard} == set(marks)
        assert {each.hash for each in heard if each.alarm.mark == UNRECORDED} >= {
            hashed for hashed, mark in marks.items() if mark == UNRECORDED
        }
        assert all(store.blocks_with(hashed) for hashed in marks)
    finally:
        store.close()


def let_days_pass(gateway: GatewayProcess) -> None:
    """Configure a gateway whose clock runs 10000 times too fast, with a reading every two of its minutes."""
    path = gateway.directory / "gateway.toml"
    text = path.read_text()
    for old, new in (
        ("loss_bound_ms = 200", "loss_bound_ms = 600000\nretain_h = 100000"),
        ("seconds = 1\n", "seconds = 600\n"),
        ("min_interval_ms = 100", "min_interval_ms = 60000"),
        (f"period_ms = {PERIOD_MS}", "period_ms = 120000"),
        (', class = "internal"', ""),
        ('scenario = "quiet"', 'scenario = "quiet"\nspeed = 10000'),
    ):
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    contract = gateway.directory / "wave.toml"
    contract.write_text(contract.read_text().replace('max_age = "10s"', 'max_age = "1h"'))


def ended(gateway: GatewayProcess) -> int:
    """When the gateway's latest block ended, in its own Unix ms."""
    return int(gateway.rows("SELECT coalesce(max(ended_ms), 0) FROM blocks")[0][0])


def sheddings(gateway: GatewayProcess) -> list[int]:
    """What was shed, in the order in which the chain says so."""
    events = gateway.rows("SELECT inflate(body) FROM segments ORDER BY number, place")
    leaves = [leaf for (body,) in events for _, leaf in open_segment(PUBLIC, body).events]
    return [each.what for each in map(parse_leaf, leaves) if isinstance(each, Shedding)]


@pytest.mark.soak  # the gateway looks after its disk twice a minute
def test_without_room_bodies_are_shed_in_the_stated_order_and_pins_still_act(region: Region) -> None:
    broker = DishonestBroker(region.endpoints["broker"])
    gateway = region.add("a", broker=broker.url)
    let_days_pass(gateway)
    with small_disk(gateway.data, 24 * MIB) as disk:
        gateway.start()
        region.await_blocks(gateway, more=25)
        broker.away()  # what follows has no receipt
        past = ended(gateway)
        wait_for(lambda: ended(gateway) > past + DAY_MS + 4 * HOUR_MS, "a day")
        assert sheddings(gateway) == []
        disk.fill(leave=4 * MIB)
        wait_for(lambda: set(sheddings(gateway)) == {1, 2, 3}, "the sheddings")
        for state in (True, False, True):
            wait_for(lambda state=state: siren(gateway) is state, f"the siren at {state}")  # type: ignore[misc]
        gateway.freeze()
        check_shed(gateway)
        gateway.thaw()
        disk.empty()
        broker.back()
        wanted = gateway.rows("SELECT max(height) FROM blocks")[0][0]
        wait_for(lambda: region.shown(gateway)["head"] >= wanted, "all headers at the hub")
        region.await_alarms(gateway)
        assert gateway.stop() == 0
    assert region.hub.stop() == 0
    broker.away()
    code, text = run_audit(region.hub.directory)
    assert code == 0, text
    assert "were withheld" in text


def check_shed(gateway: GatewayProcess) -> None:
    """Summaries went first, then quiet receipted bodies, then old ones; never what must stay."""
    order = sheddings(gateway)
    assert order.index(1) < order.index(2) < order.index(3), order
    blocks = gateway.rows(
        "SELECT number, header, held, ended_ms, EXISTS (SELECT 1 FROM receipts r WHERE r.number = b.number)"
        " FROM blocks b ORDER BY number"
    )
    assert [number for number, *_ in blocks] == list(range(1, len(blocks) + 1))
    shed = [(Header.decode(header), receipted) for _, header, held, _, receipted in blocks if not held]
    assert {receipted for _, receipted in shed} == {0, 1}
    transitions = [wall for (wall,) in gateway.rows("SELECT wall_ms FROM transitions")]
    day_ago = blocks[-1][3] - DAY_MS + HOUR_MS
    for header, _ in shed:
        begin, end = header.wall, header.wall + header.span
        assert end < day_ago
        assert not [wall for wall in transitions if begin - TEN_MINUTES_MS <= wall <= end + TEN_MINUTES_MS]
    summarised = {number for (number,) in gateway.rows("SELECT DISTINCT number FROM summaries")}
    assert not summarised & {number for number, _, held, *_ in blocks if not held}
    bodies = {number for (number,) in gateway.rows("SELECT DISTINCT number FROM segments")}
    assert bodies == {number for number, _, held, *_ in blocks if held}
