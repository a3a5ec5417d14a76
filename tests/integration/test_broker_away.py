"""A broker that is away for a while, and one that acknowledges and drops: nothing is lost, and alarms go first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from dishonest_broker import DishonestBroker
from reconcile import check_region
from region import GatewayProcess, Region, wait_for

from gateway.chain.alarm import Alarm
from gateway.chain.block import Block, header_hash


@pytest.fixture
def region(tmp_path: Path) -> Iterator[Region]:
    with Region(tmp_path) as region:
        yield region


@pytest.fixture
def broker(region: Region) -> Iterator[DishonestBroker]:
    broker = DishonestBroker(region.endpoints["broker"])
    yield broker
    broker.away()


@pytest.fixture
def gateway(region: Region, broker: DishonestBroker) -> GatewayProcess:
    """A gateway behind the dishonest broker, of which some blocks and an alarm are final."""
    gateway = region.add("a", broker=broker.url)
    gateway.start()
    region.await_alarms(gateway)
    region.await_blocks(gateway)
    return gateway


def stored(gateway: GatewayProcess) -> int:
    return int(gateway.rows("SELECT count(*) FROM blocks")[0][0])


def lacking(gateway: GatewayProcess) -> set[bytes]:
    """Transitions whose alarm the hub has not acknowledged."""
    sql = "SELECT hash FROM transitions WHERE hash NOT IN (SELECT hash FROM acknowledged)"
    return {hashed for (hashed,) in gateway.rows(sql)}


def test_after_the_broker_was_away_alarms_come_first_and_nothing_is_lost(
    region: Region, broker: DishonestBroker, gateway: GatewayProcess
) -> None:
    broker.away()
    blocks = stored(gateway)
    wait_for(lambda: len(lacking(gateway)) >= 6, "alarms that wait")
    wait_for(lambda: stored(gateway) >= blocks + 6, "blocks that wait")
    waiting, sent = (
        lacking(gateway),
        {header_hash(Block.decode(each.payload).header) for each in broker.seen if each.kind == "block"},
    )
    before = len(broker.seen)
    broker.back()
    wait_for(lambda: not waiting & lacking(gateway), "the alarms that waited")

    def new_blocks() -> list[int]:
        return [
            i
            for i, each in enumerate(broker.seen[before:])
            if each.kind == "block" and header_hash(Block.decode(each.payload).header) not in sent
        ]

    first_block, *_ = wait_for(new_blocks, "blocks")
    order = broker.seen[before:]
    ahead = {Alarm.decode(each.payload).hash for each in order[:first_block] if each.kind == "alarm"}
    assert waiting <= ahead, [each.kind for each in order]
    region.come_to_rest()
    check_region(region.hub.directory, gateway)


def test_what_a_broker_acknowledges_and_drops_is_sent_again_until_there_is_a_receipt(
    region: Region, broker: DishonestBroker, gateway: GatewayProcess
) -> None:
    broker.swallows = frozenset({"block"})
    wait_for(lambda: broker.count("block", passed=False) >= 5, "swallowed blocks")
    region.await_alarms(gateway, more=2)  # what is not swallowed goes on
    held = region.shown(gateway)["stored"]
    broker.swallows = frozenset({"alarm"})
    wait_for(lambda: broker.count("alarm", passed=False) >= 3, "swallowed alarms")
    wait_for(lambda: region.shown(gateway)["head"] > held + 5, "the blocks that were swallowed")
    dropped = {
        Alarm.decode(each.payload).hash for each in broker.seen if each.kind == "alarm" and not each.passed
    }
    assert dropped & lacking(gateway)
    broker.swallows = frozenset()
    wait_for(lambda: not dropped & lacking(gateway), "the alarms that were swallowed")
    region.come_to_rest()
    check_region(region.hub.directory, gateway)
