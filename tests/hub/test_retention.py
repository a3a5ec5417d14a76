"""What a hub keeps and for how long: subnets, classes, tombstones, and an audit that stays good."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fleet import DAY_MS, Fleet
from hubkit import Hub
from peerkit import QUICK, Order, Tap

from gateway.chain.block import Block, Header
from gateway.chain.custody import Promise, issue_receipts
from gateway.chain.verify import open_block
from hub.auditing.audit import audit
from hub.config import Identity
from hub.core import Core
from hub.federation.config import BodiesTable, KeepTable
from hub.peers.headers import HeaderFollower
from hub.peers.policy import ALL, FOR_EVER_MS, Policy
from hub.peers.retention import Retention
from hub.storage.store import NewBlock
from hub.view import View

SHORT = replace(QUICK, keep_ms=(FOR_EVER_MS, 100 * DAY_MS, 10 * DAY_MS))


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Order]:
    with Order(tmp_path, policy=SHORT) as order:
        yield order


def segments(order: Order, index: int, block: Block) -> tuple[bytes | None, ...]:
    kept = order.nodes[index].store.bodies.find(block.hash)
    assert kept is not None
    return kept.segments


def taken(order: Order) -> Block:
    """A final block of all classes at the first hub."""
    (gateway,) = order.enrol("a")
    block = gateway.block(10, classes=(0, 1, 2))
    order.nodes[0].bring(gateway, block)
    order.make()
    return block


# subnets


def test_a_subnet_has_its_own_region_in_full_public_bodies_of_others_and_every_header(tmp_path: Path) -> None:
    south = replace(QUICK, regions=("south",))
    with Order(tmp_path, 3, hub_2=south, hub_3=replace(south, elsewhere=0)) as order:
        (near,) = order.enrol("near")
        order.fleet.region = "south"
        (far,) = order.enrol("far")
        first, second = near.block(10, classes=(0, 1)), far.block(10, classes=(0, 1))
        order.nodes[0].bring(near, first)
        order.nodes[0].core.store.add_blocks(
            []
        )  # nothing yet: the other region's block is final without its body
        order.nodes[0].lane._keeping.keep([_opened(second, far.classes, order)])
        order.make(order.fleet.order_headers(second))
        for node in order.nodes[1:]:
            node.pull("hub-1")
        assert segments(order, 1, first) == (first.segments[0], b"")
        assert segments(order, 1, second) == second.segments
        assert segments(order, 2, first) == (b"", b"")
        assert segments(order, 2, second) == second.segments
        assert all(node.store.count_blocks() == 2 for node in order.nodes)
        assert order.nodes[2].peers.missing() == 0, "what is not wanted is not missing"


def _opened(block: Block, classes: list[int], order: Order) -> NewBlock:
    header = Header.decode(block.header)
    return NewBlock(
        block, header, open_block(block, header, classes, order.fleet.genesis), order.fleet.now, "south"
    )


def test_a_policy_that_is_widened_brings_what_was_left_out_before(tmp_path: Path) -> None:
    with Order(tmp_path, hub_2=replace(QUICK, regions=("south",), elsewhere=0)) as order:
        block = taken(order)
        other = order.nodes[1]
        other.pull()
        assert not any(segments(order, 1, block))
        other.store.close()
        other.policy = QUICK
        other.open()
        other.join_again()
        other.pull()
        assert segments(order, 1, block) == (*block.segments[:2], b"")


def test_the_configuration_says_what_is_wanted_given_and_kept() -> None:
    table = BodiesTable(keep_days=KeepTable(0, 30, 7), elsewhere=(), gives=("public",), trusted=("hub-9",))
    policy = Policy.of("north", table)
    assert (policy.wants("north"), policy.wants("south")) == (ALL, 0)
    assert policy.keep_ms == (FOR_EVER_MS, 30 * DAY_MS, 7 * DAY_MS)
    assert Policy.of("north", replace(table, regions=("*",))).wants("south") == ALL
    assert Policy.of("north", replace(table, archive=True)).keep_ms == (FOR_EVER_MS,) * 3
    assert Policy.of("north", replace(table, classes=("public",))).wants("north") == 1


# retention


def test_a_promise_is_for_as_long_as_the_class_that_is_kept_shortest(two: Order) -> None:
    gateway = two.fleet.gateway("a")
    taken(two)
    public = gateway.block()
    two.nodes[0].bring(gateway, public)
    promises = [two.nodes[0].store.custody.promises(gateway.id, 1, height)[0] for height in (1, 2)]
    days = [round((each.keep_until - two.fleet.now) / DAY_MS) for each in promises]
    assert days == [10, 400]


def test_each_class_is_given_up_in_its_time_and_the_headers_never(two: Order) -> None:
    block = taken(two)
    retention = two.nodes[0].peers.retention
    assert retention.sweep() == 0
    two.fleet.now += 10 * DAY_MS + 1000
    assert retention.sweep() == 1
    assert segments(two, 0, block) == (*block.segments[:2], None)
    two.fleet.now += 90 * DAY_MS
    assert retention.sweep() == 1
    assert segments(two, 0, block) == (block.segments[0], None, None)
    two.fleet.now += 10_000 * DAY_MS
    assert retention.sweep() == 0
    kept = two.nodes[0].store.bodies.find(block.hash)
    assert kept is not None
    tombstone = two.nodes[0].store.bodies.tombstone(kept.id * 4 + 2)
    assert tombstone is not None
    assert tombstone[1] == "kept as long as its class is"


def test_nothing_is_given_up_that_was_promised_longer(two: Order) -> None:
    block = taken(two)
    one, gateway = two.nodes[0], two.fleet.gateway("a")
    longer = Promise(gateway.id, 1, 1, block.hash, 0b100, two.fleet.now + 50 * DAY_MS)
    one.store.custody.add(issue_receipts(one.key, two.fleet.genesis.hash, [longer], two.fleet.now))
    two.fleet.now += 20 * DAY_MS
    assert one.peers.retention.sweep() == 0
    two.fleet.now += 31 * DAY_MS
    assert one.peers.retention.sweep() == 1


def test_an_archive_gives_nothing_up(two: Order) -> None:
    taken(two)
    one = two.nodes[0]
    two.fleet.now += 10_000 * DAY_MS
    assert Retention(one.core, replace(SHORT, archive=True)).sweep() == 0


def test_what_lies_behind_is_not_looked_at_again_and_what_waits_is(two: Order) -> None:
    gateway = two.fleet.gateway("a")
    taken(two)
    one = two.nodes[0]
    internal = replace(SHORT, keep_ms=(10 * DAY_MS,) * 3)
    one.lane._keeping._keep_ms = internal.keep_ms
    for _ in range(3):
        one.bring(gateway, gateway.block())
    retention = Retention(one.core, internal)
    two.fleet.now += 11 * DAY_MS
    one.bring(gateway, gateway.block())
    assert retention.sweep() == 3 + 3
    assert one.store.bodies.mark("retention") == 4
    two.fleet.now += 11 * DAY_MS
    assert retention.sweep() == 1
    assert one.store.bodies.mark("retention") == 5


def test_what_was_given_up_is_not_taken_up_or_promised_again(two: Order) -> None:
    block = taken(two)
    one, other = two.nodes
    gateway = two.fleet.gateway("a")
    other.bring(gateway, block)
    two.fleet.now += 11 * DAY_MS
    one.peers.retention.sweep()
    one.bring(gateway, block)
    one.pull()
    assert segments(two, 0, block)[2] is None
    assert len(one.store.custody.promises(gateway.id, 1, 1)) == 1
    (kept,) = [one.store.bodies.find(block.hash)]
    assert kept is not None
    again = one.lane._keeping.completed(kept, block, kept.header, "north")
    assert again is None


def test_a_lack_signed_after_the_promise_is_no_breach(two: Order) -> None:
    taken(two)
    one, other = two.nodes
    other.pull()
    other.pull()
    two.fleet.now += 11 * DAY_MS
    one.peers.retention.sweep()
    for _ in range(5):
        other.peers.watch.challenge_any()
    assert two.waiting == []
    assert "custody-lacked" not in other.findings()


# audit


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    hub = Hub(tmp_path / "hub", Fleet())
    yield hub
    hub.close()


def follow(hub: Hub) -> None:
    """Keep the headers of all final blocks, as a federation's hub does."""
    tap = Tap(None)  # type: ignore[arg-type]
    identity = Identity(hub.fleet.hub_key, hub.fleet.genesis, hub.fleet.genesis.hubs[0])
    core = Core(identity, "north", hub.store, hub.ledger, tap, 400 * DAY_MS, lambda: hub.fleet.now)
    HeaderFollower(core, View()).catch_up()


def test_an_audit_is_good_of_a_hub_that_has_headers_alone_and_gave_bodies_up(hub: Hub) -> None:
    a, b = hub.enrol("a", "b")
    hub.take(a.block(10, classes=(0, 1, 2)))
    hub.promise(a.blocks[0])
    hub.order(hub.fleet.order_headers(b.block(), b.block()))
    hub.fleet.now += 366 * DAY_MS
    hub.order()
    follow(hub)
    hub.store.bodies.shed([5, 6], hub.fleet.now, "kept as long as its class is")
    hub.close()
    report = audit(hub.directory)
    assert (report.verdict, report.blocks, report.bodiless) == ("ok", 3, 2)
    assert any("segments [1, 2] were shed" in finding for finding in report.findings)
    assert any("bodies of 2 blocks were withheld" in finding for finding in report.findings)


def test_a_final_header_that_is_not_kept_is_a_fault(hub: Hub) -> None:
    (a,) = hub.enrol("a")
    hub.order(hub.fleet.order_headers(a.block()))
    hub.close()
    assert "not among the blocks kept" in audit(hub.directory).verdict


def test_a_final_header_that_was_kept_and_is_not_any_more_is_a_fault(two: Order) -> None:
    """What a crash leaves to be followed is none; which is which, the mark tells."""
    taken(two)
    other = two.nodes[1]
    assert any("not among the blocks kept" in each for each in audit(other.directory).findings)
    other.peers.headers.catch_up()
    faults = "".join(each.text for each in audit(other.directory).faults)
    assert "not among the blocks kept" not in faults
    forget(other.directory)
    faults = "".join(each.text for each in audit(other.directory).faults)
    assert "not among the blocks kept" in faults


def forget(directory: Path) -> None:
    """Lose the table of blocks as one who has the disk can."""
    db = sqlite3.connect(directory / "ledger.db")
    db.execute("DROP TRIGGER blocks_no_delete")
    db.execute("DELETE FROM blocks")
    db.commit()
    db.close()
