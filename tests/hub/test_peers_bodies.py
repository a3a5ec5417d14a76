"""Bodies between hubs: had from others, held against their headers, whatever one of them does."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fleet import CONTRACT_DOCUMENT, flip
from hubs import eventually
from peerkit import Order

from gateway.chain.canonical import encode
from gateway.chain.custody import CustodyBatch
from gateway.chain.ordered import Headers, encode_transaction
from hub.peers.server import PeerServer
from hub.peers.wire import (
    GIVEN,
    LACKING,
    AlarmsAnswer,
    BodiesAnswer,
    BodySegment,
    HeadersAnswer,
    LibraryAnswer,
)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Order]:
    with Order(tmp_path) as order:
        yield order


class Altering(PeerServer):
    """Gives bodies with one bit flipped."""

    def bodies(self, payload: bytes) -> bytes:
        return _changed(super().bodies(payload), lambda each: replace(each, data=flip(each.data, 77)))


class Withholding(PeerServer):
    """Says of every body that it has none."""

    def bodies(self, payload: bytes) -> bytes:
        return _changed(super().bodies(payload), lambda each: BodySegment(each.klass, LACKING, b""))


class Silent(PeerServer):
    """Gives bodies without saying anything of their segments."""

    def bodies(self, payload: bytes) -> bytes:
        answer = BodiesAnswer.decode(super().bodies(payload), max_size=1 << 22)
        return BodiesAnswer(tuple(replace(each, segments=()) for each in answer.bodies)).encode()


class Stuffing(PeerServer):
    """Says that it lacks bodies, and fills its answers with noise all the same."""

    def bodies(self, payload: bytes) -> bytes:
        answer = BodiesAnswer.decode(super().bodies(payload), max_size=1 << 22)
        return encode([[[each.hash, [[0, LACKING, bytes(1000)]]] for each in answer.bodies]])


class Digressing(PeerServer):
    """Gives catalogues that nobody asked for."""

    def library(self, payload: bytes) -> bytes:
        answer = LibraryAnswer.decode(super().library(payload), max_size=1 << 22)
        return replace(answer, catalogues=(encode([]),)).encode()


@pytest.mark.parametrize("liar", [Stuffing, Digressing])
def test_a_hub_that_answers_with_noise_is_left_alone_for_a_while(
    tmp_path: Path, liar: type[PeerServer]
) -> None:
    """What others send is counted against what is had from all: noise without end would leave nothing for bodies."""
    order = Order(tmp_path, 2)
    order.liars[0] = liar
    with order:
        (gateway,) = order.enrol("a")
        one, other = order.nodes
        one.bring(gateway, gateway.block(20))
        order.make()
        other.peers.headers.catch_up()
        assert other.puller("hub-1")._try() > 0
        assert other.peers.views()[0].failures == 1


def _changed(data: bytes, change: Callable[[BodySegment], BodySegment]) -> bytes:
    answer = BodiesAnswer.decode(data, max_size=1 << 22)
    bodies = tuple(
        replace(body, segments=tuple(change(each) for each in body.segments if each.state == GIVEN))
        for body in answer.bodies
    )
    return BodiesAnswer(bodies).encode()


def test_a_body_final_through_another_hub_is_had_verified_and_promised(two: Order) -> None:
    (gateway,) = two.enrol("a")
    one, other = two.nodes
    one.store.library.add_catalogue(gateway.catalogue)
    one.store.library.add_contracts(gateway.documents)
    block = gateway.block(20, classes=(0, 1))
    one.bring(gateway, block)
    two.make()
    other.peers.headers.catch_up()
    kept = other.store.bodies.find(block.hash)
    assert kept is not None
    assert not other.holds(block), "the header alone comes with the order"
    other.pull()
    assert other.holds(block)
    (receipt,) = other.store.custody.receipts(gateway.id, 1, 1, 1)
    assert (receipt.promise.hash, receipt.promise.classes) == (block.hash, 0b11)
    assert other.peers.missing() == 0
    other.pull()
    assert other.store.library.catalogue(kept.header.catalogue.root) == gateway.catalogue
    assert other.store.library.contracts(kept.header.contracts.root) == [CONTRACT_DOCUMENT]
    (view,) = other.peers.views()
    assert (view.had, view.failures, view.trouble, view.height) == (1, 0, "", two.last.height)
    assert view.bytes > len(block.encode())


@pytest.mark.parametrize("liar", [Altering, Withholding, Silent])
def test_what_one_hub_alters_or_withholds_is_had_from_another(tmp_path: Path, liar: type[PeerServer]) -> None:
    order = Order(tmp_path, 3)
    order.liars[0] = liar
    with order:
        (gateway,) = order.enrol("a")
        false, true, reader = order.nodes
        blocks = [gateway.block() for _ in range(3)]
        for node in (false, true):
            node.bring(gateway, *blocks)
        order.make()
        reader.peers.headers.catch_up()
        for _ in range(3):
            reader.puller("hub-1")._try()
        assert not any(map(reader.holds, blocks))
        while reader.puller("hub-2").round():
            pass
        assert all(map(reader.holds, blocks))
        found = [note for note in reader.store.notes.findings() if note.kind == "false-body"]
        assert len(found) == (3 if liar is Altering else 0)
        assert all(note.detail.startswith("hub-1 ") for note in found)
        assert {note.item for note in found} <= {block.hash for block in blocks}


def test_a_hub_that_altered_a_body_is_not_asked_for_it_again(tmp_path: Path) -> None:
    order = Order(tmp_path, 2)
    order.liars[0] = Altering
    with order:
        (gateway,) = order.enrol("a")
        order.nodes[0].bring(gateway, gateway.block())
        order.make()
        order.nodes[1].peers.headers.catch_up()
        assert order.nodes[1].puller("hub-1")._try() > 0
        assert "not what their headers say" in order.nodes[1].peers.views()[0].trouble
        before = order.nodes[1].peers.views()[0].bytes
        assert not order.nodes[1].puller("hub-1").round()
        assert order.nodes[1].peers.views()[0].bytes - before < 200, "a look at promises, no body"


def test_a_body_that_reaches_a_hub_after_its_header_is_final_is_taken_from_its_gateway(two: Order) -> None:
    (gateway,) = two.enrol("a")
    one, other = two.nodes
    blocks = [gateway.block() for _ in range(3)]
    one.bring(gateway, *blocks)
    two.make()
    other.bring(gateway, blocks[0])  # before its row is there
    other.peers.headers.catch_up()
    other.bring(gateway, blocks[1])  # after
    assert [other.holds(block) for block in blocks] == [True, True, False]
    eventually(lambda: len(other.said.receipts(gateway)), "receipts")
    promised = {each.promise.height for heard in other.said.receipts(gateway) for each in heard.custody}
    assert 2 in promised
    assert other.refusals.counts() == {}
    two.make()
    assert two.last.txs == (), "what is final is not offered again"


def test_a_final_header_with_a_signature_that_is_not_its_gateways_brings_no_body(two: Order) -> None:
    (gateway,) = two.enrol("a")
    one, other = two.nodes
    block = gateway.block()
    one.bring(gateway, block)
    two.make()
    other.bring(gateway, replace(block, signature=bytes(64)))
    assert other.refusals.counts() == {"BadSignature": 1}
    assert other.store.bodies.find(block.hash) is None


def test_a_gateway_goes_on_at_a_hub_that_had_seen_nothing_of_its_last_blocks(two: Order) -> None:
    (gateway,) = two.enrol("a")
    one, other = two.nodes
    for node in (one, other, one, one):
        node.bring(gateway, gateway.block())
        two.make()
    block = gateway.block()
    other.bring(gateway, block)
    assert other.holds(block)
    two.make()
    entry = one.core.entry(gateway.id)
    assert entry is not None
    assert entry.head.height == 5


def test_a_fork_between_two_hubs_is_accused_once_one_side_is_final(two: Order) -> None:
    (gateway,) = two.enrol("a")
    one, other = two.nodes
    block = gateway.block()
    other.bring(gateway, gateway.fork(1))
    two.waiting.clear()  # it is not ordered yet
    one.bring(gateway, block)
    two.make()
    other.peers.headers.catch_up()
    two.make()
    entry = one.core.entry(gateway.id)
    assert entry is not None
    assert entry.standing == 7


def test_what_became_final_just_before_a_crash_is_kept_after_it(two: Order) -> None:
    (gateway,) = two.enrol("a")
    one, other = two.nodes
    blocks = [gateway.block() for _ in range(2)]
    for block in blocks:
        one.bring(gateway, block)
        two.make()
    other.store.close()  # nobody had followed
    other.open()
    other.join_again()
    other.pull()
    assert all(map(other.holds, blocks))


def test_an_interrupted_replication_resumes_where_it_was(two: Order) -> None:
    (gateway,) = two.enrol("a")
    one, other = two.nodes
    blocks = [gateway.block(300) for _ in range(150)]
    one.bring(gateway, *blocks)
    two.make()
    other.peers.headers.catch_up()
    other.puller("hub-1").round()
    had = sum(map(other.holds, blocks))
    assert 0 < had < len(blocks)
    other.store.close()
    other.open()
    other.join_again()
    assert other.peers.missing() == len(blocks) - had
    other.pull()
    assert all(map(other.holds, blocks))
    assert sum(view.had for view in other.peers.views()) == len(blocks) - had


def test_a_repeated_header_with_another_signature_changes_nothing(two: Order) -> None:
    (gateway,) = two.enrol("a")
    one, other = two.nodes
    block = gateway.block()
    one.bring(gateway, block)
    two.make()
    two.make(encode_transaction(Headers((replace(block.signed, signature=bytes(64)),))))
    other.peers.headers.catch_up()
    kept = other.store.bodies.find(block.hash)
    assert kept is not None
    assert kept.signed == block.signed
    assert other.store.count_blocks() == 1


def test_receipts_of_another_hub_reach_the_gateway_by_the_one_it_reaches(two: Order) -> None:
    (gateway,) = two.enrol("a")
    one, other = two.nodes
    block = gateway.block()
    one.bring(gateway, block)
    two.make()
    other.pull()
    one.pull()
    hubs = {
        CustodyBatch.decode(each.batch.body).hub
        for heard in eventually(lambda: one.said.receipts(gateway), "receipts")
        for each in heard.custody
        if each.verify(two.fleet.genesis, one.ledger.committed.roster(two.fleet.genesis))
    }
    assert hubs == {one.key.public, other.key.public}


def test_hubs_find_each_other_by_themselves_and_again_after_one_was_away(tmp_path: Path) -> None:
    with Order(tmp_path, 3) as order:
        (gateway,) = order.enrol("a")
        for node in order.nodes:
            node.peers.start()
        first = gateway.block()
        order.nodes[0].bring(gateway, first)
        order.make()
        eventually(lambda: all(node.holds(first) for node in order.nodes), "the body everywhere")
        order.nodes[0].api.stop()
        second = gateway.block()
        order.nodes[1].bring(gateway, second)
        order.make()
        eventually(lambda: order.nodes[2].holds(second), "the body from the other one")
        assert order.nodes[0].puller("hub-2").worker.is_alive
        for node in order.nodes:
            node.peers.stop()
        assert not any(worker.is_alive for node in order.nodes for worker in node.peers.workers)
        assert any(view.trouble for view in order.nodes[2].peers.views())


# a hub that joined with a snapshot has the state and no headers


def forget_headers(order: Order, index: int) -> None:
    """Leave a hub as a snapshot does: the state, and final blocks from the last one on."""
    node = order.nodes[index]
    node.store.close()
    db = sqlite3.connect(node.directory / "ledger.db")
    triggers = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        db.execute(f"DROP TRIGGER {name}")
    db.execute("DELETE FROM blocks")
    db.execute("DELETE FROM missing")
    db.execute("DELETE FROM alarms")
    db.execute("DELETE FROM marks")
    db.execute("DELETE FROM final_blocks WHERE height < (SELECT max(height) FROM final_blocks)")
    for _, sql in triggers:
        db.execute(sql)
    db.commit()
    db.close()
    node.open()
    node.join_again()


def test_headers_from_before_a_snapshot_are_had_from_others_and_then_their_bodies(two: Order) -> None:
    a, b = two.enrol("a", "b")
    one, other = two.nodes
    blocks = [a.block() for _ in range(150)] + [b.block() for _ in range(2)]
    one.bring(a, *blocks[:150])
    one.bring(b, *blocks[150:])
    two.make()
    one.bring(a, last := a.block())
    two.make()
    forget_headers(two, 1)
    other.peers.headers.catch_up()
    assert other.store.count_blocks() == 1
    other.pull()
    assert all(map(other.holds, [*blocks, last]))
    assert other.store.bodies.mark("gap") == 0


def test_headers_that_their_successor_does_not_name_are_not_believed(tmp_path: Path) -> None:
    order = Order(tmp_path)
    order.liars[0] = Rewriting
    with order:
        (a,) = order.enrol("a")
        one, other = order.nodes
        for _ in range(3):
            one.bring(a, a.block())
            order.make()
        forget_headers(order, 1)
        other.peers.headers.catch_up()
        assert other.puller("hub-1")._try() > 0
        assert "not the one that its successor names" in other.peers.views()[0].trouble
        assert other.store.count_blocks() == 1


class Rewriting(PeerServer):
    """Gives a gateway's headers in another order than they were signed."""

    def headers(self, payload: bytes) -> bytes:
        return HeadersAnswer(HeadersAnswer.decode(super().headers(payload)).headers[::-1]).encode()


def test_the_latest_bodies_come_first_and_a_long_backlog_all_the_same(two: Order) -> None:
    (gateway,) = two.enrol("a")
    one, other = two.nodes
    blocks = [gateway.block(2) for _ in range(600)]
    for at in range(0, 600, 200):
        one.bring(gateway, *blocks[at : at + 200])
        two.make()
    other.peers.headers.catch_up()
    other.puller("hub-1").round()
    assert [other.holds(block) for block in (blocks[0], blocks[-1])] == [False, True]
    other.pull()
    assert all(map(other.holds, blocks))


def test_what_nobody_has_holds_up_nothing(two: Order) -> None:
    (gateway,) = two.enrol("a")
    one, other = two.nodes
    lost = [gateway.block(2) for _ in range(300)]
    for at in range(0, 300, 100):
        two.make(two.fleet.order_headers(*lost[at : at + 100]))
    other.pull()
    block = gateway.block()
    one.bring(gateway, block)
    two.make()
    other.peers.headers.catch_up()
    for _ in range(2):
        other.puller("hub-1").round()
    assert other.holds(block)
    assert other.peers.missing() == 300


def test_alarms_from_before_a_snapshot_are_had_from_others(two: Order) -> None:
    (a,) = two.enrol("a")
    one, other = two.nodes
    alarms = [a.alarm() for _ in range(70)]
    one.store.add_alarms([(a.id, each, "") for each in alarms], two.fleet.now)
    for at in range(0, 70, 10):
        two.make(two.fleet.order_alarms(*alarms[at : at + 10]))
    two.make()
    forget_headers(two, 1)
    other.pull()
    assert [each.alarm for each in other.store.alarms(gateway=a.id)] == alarms
    before = other.peers.views()[0].bytes
    other.pull()
    assert other.peers.views()[0].bytes - before < 200, "there is nothing left to ask for"


def test_an_alarm_that_its_gateway_did_not_sign_is_not_taken_from_another_hub(tmp_path: Path) -> None:
    order = Order(tmp_path)
    order.liars[0] = Forging
    with order:
        (a,) = order.enrol("a")
        one, other = order.nodes
        alarm = a.alarm()
        one.store.add_alarms([(a.id, alarm, "")], order.fleet.now)
        order.make(order.fleet.order_alarms(alarm))
        order.make()
        forget_headers(order, 1)
        other.peers.headers.catch_up()
        assert other.puller("hub-1")._try() > 0
        assert "alarm is not of gateway" in other.peers.views()[0].trouble
        assert other.store.alarms() == []


class Forging(PeerServer):
    """Gives alarms under a signature of its own making."""

    def alarms(self, payload: bytes) -> bytes:
        answer = AlarmsAnswer.decode(super().alarms(payload))
        return AlarmsAnswer(tuple(replace(each, signature=bytes(64)) for each in answer.alarms)).encode()
