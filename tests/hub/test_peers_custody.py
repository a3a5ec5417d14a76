"""Hubs held to their promises: challenges, signed lacks, wrong proofs, silence, summonses, and what is on the chain."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fleet import DAY_MS, FleetGateway, seeded
from peerkit import QUICK, Node, Order

from gateway.chain.block import Block
from gateway.chain.custody import CustodyBatch, Promise, issue_receipts
from gateway.chain.governance import Member
from gateway.chain.keys import POSSESSION, Signed, SigningKey
from gateway.chain.ordered import Breach, Respond, Summon, decode_transaction
from gateway.chain.possession import SUMMONS_MS, Possession
from hub.blocks import BlockLane
from hub.peers.door import TooFast
from hub.peers.server import PeerServer


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Order]:
    with Order(tmp_path) as order:
        yield order


class Mute(PeerServer):
    """Answers no challenge."""

    def possession(self, payload: bytes) -> bytes:
        raise TooFast("not now", 0.1)


class Pretending(PeerServer):
    """Proves possession of something else."""

    def possession(self, payload: bytes) -> bytes:
        said = Possession.decode(Signed.decode(super().possession(payload)).body)
        false = replace(said, says=1, proof=bytes(range(32)))
        return self._core.key.signed(POSSESSION, false.encode()).encode()


class Evading(PeerServer):
    """Answers another question than it was asked."""

    def possession(self, payload: bytes) -> bytes:
        said = Possession.decode(Signed.decode(super().possession(payload)).body)
        other = replace(said, nonce=bytes(32))
        return self._core.key.signed(POSSESSION, other.encode()).encode()


def held_by_both(order: Order) -> tuple[FleetGateway, Block]:
    """A final block that every hub holds and has promised to the others."""
    (gateway,) = order.enrol("a")
    block = gateway.block(20, classes=(0, 1))
    order.nodes[0].bring(gateway, block)
    order.make()
    for _ in range(2):
        for node in order.nodes:
            node.pull()
    return gateway, block


def lose(node: Node, block: Block) -> None:
    """Lose a block's bytes as a bad disk does: past the triggers."""
    kept = node.store.bodies.find(block.hash)
    assert kept is not None
    db = sqlite3.connect(node.directory / "ledger.db")
    triggers = db.execute(
        "SELECT name, sql FROM sqlite_master WHERE tbl_name = 'segments' AND type = 'trigger'"
    )
    for name, _ in (rows := triggers.fetchall()):
        db.execute(f"DROP TRIGGER {name}")
    db.execute("DELETE FROM segments WHERE id / 4 = ?", (kept.id,))
    for _, sql in rows:
        db.execute(sql)
    db.commit()
    db.close()


def member(node: Node, name: str) -> Member:
    return node.ledger.committed.roster(node.fleet.genesis).member(name)


def waiting(order: Order) -> list[type]:
    return [type(decode_transaction(tx)) for tx in order.waiting]


def final(order: Order, at: int = 0) -> None:
    """Make what waits final, and let every hub hear of it."""
    result = order.make(at=at)
    assert not [each.error for each in result.tx_results if each.error]
    for node in order.nodes:
        node.peers.headers.catch_up()


def test_a_hub_that_holds_what_it_promised_passes(two: Order) -> None:
    held_by_both(two)
    one, other = two.nodes
    for node in (one, other):
        node.peers.watch.challenge_any()
        (view,) = node.peers.views()
        assert (view.passed, view.failed) == (1, 0)
    assert two.waiting == []


def test_a_signed_lack_of_what_was_promised_is_a_breach_on_the_chain(two: Order) -> None:
    _, block = held_by_both(two)
    one, other = two.nodes
    lose(other, block)
    one.peers.watch.challenge_any()
    assert waiting(two) == [Breach]
    final(two)
    assert [member(node, "hub-2").breaches for node in two.nodes] == [1, 1]
    assert [member(node, "hub-1").breaches for node in two.nodes] == [0, 0]
    (finding,) = [each for each in one.store.notes.findings() if each.kind == "custody-lacked"]
    assert finding.detail.startswith("hub-2 signed that it lacks")
    one.peers.watch.docket.settle()
    assert two.waiting == [], "it is final"
    assert one.peers.views()[0].failed == 1


def test_a_breach_that_was_not_ordered_is_offered_again(two: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    _, block = held_by_both(two)
    one, other = two.nodes
    lose(other, block)
    one.peers.watch.challenge_any()
    two.waiting.clear()
    monkeypatch.setattr("hub.peers.docket._ORDER_AGAIN_SECONDS", 0.0)
    one.peers.watch.docket.settle()
    final(two)
    assert member(one, "hub-2").breaches == 1


def test_a_lack_after_the_promise_has_run_out_is_asked_of_nobody(two: Order) -> None:
    _, block = held_by_both(two)
    one, other = two.nodes
    two.fleet.now += 401 * DAY_MS
    lose(other, block)
    one.peers.watch.challenge_any()
    assert two.waiting == []
    assert one.peers.views()[0].failed == 0


def test_a_hub_that_was_asked_for_a_body_it_promised_and_does_not_give_it_is_challenged(
    tmp_path: Path,
) -> None:
    with Order(tmp_path, 3) as order:
        (gateway,) = order.enrol("a")
        one, other, reader = order.nodes
        block = gateway.block()
        one.bring(gateway, block)
        order.make()
        lose(one, block)
        reader.pull("hub-1")
        assert not reader.holds(block)
        reader.peers.watch.tick()
        assert waiting(order) == [Breach]
        final(order)
        assert member(other, "hub-1").breaches == 1


def test_where_the_challenger_lacks_the_bytes_it_fetches_them_and_that_is_the_check(tmp_path: Path) -> None:
    headers_only = replace(QUICK, regions=("elsewhere",), elsewhere=0)
    order = Order(tmp_path, 2, hub_1=headers_only)
    with order:
        (gateway,) = order.enrol("a")
        one, other = order.nodes
        block = gateway.block(20, classes=(0, 1))
        other.bring(gateway, block)
        order.make()
        one.pull()
        assert not one.holds(block)
        one.peers.watch.challenge_any()
        assert one.peers.views()[0].passed == 1
        kept = one.store.bodies.find(block.hash)
        assert kept is not None
        assert not any(kept.segments), "and keeps nothing of it"


def test_a_proof_of_other_bytes_is_a_finding_and_the_question_is_put_before_all(tmp_path: Path) -> None:
    order = Order(tmp_path, 2)
    order.liars[1] = Pretending
    with order:
        held_by_both(order)
        one = order.nodes[0]
        one.peers.watch.challenge_any()
        assert "false-possession" in one.findings()
        assert waiting(order) == [Summon]
        one.peers.watch.challenge_any()
        final(order)
        assert len(one.peers.watch.docket.summoned) == 1


def test_an_answer_to_another_question_counts_as_none(tmp_path: Path) -> None:
    order = Order(tmp_path, 2)
    order.liars[1] = Evading
    with order:
        held_by_both(order)
        one = order.nodes[0]
        one.peers.watch.challenge_any()
        assert (one.peers.views()[0].passed, one.peers.views()[0].failed) == (0, 1)


@pytest.fixture
def mute(tmp_path: Path) -> Iterator[Order]:
    order = Order(tmp_path, 2)
    order.liars[1] = Mute
    with order:
        held_by_both(order)
        yield order


def test_silence_leads_to_a_summons_and_an_answered_summons_to_nothing(mute: Order) -> None:
    one, other = mute.nodes
    one.peers.watch.challenge_any()
    assert mute.waiting == [], "once is nothing"
    one.peers.watch.challenge_any()
    assert waiting(mute) == [Summon]
    final(mute)
    other.peers.watch.docket.settle()
    assert waiting(mute) == [Respond]
    final(mute)
    for node in mute.nodes:
        node.peers.watch.docket.settle()
    assert mute.waiting == []
    final(mute, mute.last.time + 2 * SUMMONS_MS)
    assert member(one, "hub-2").breaches == 0
    assert "false-possession" not in one.findings()


def test_a_summons_that_nobody_answers_is_a_breach_after_its_deadline(mute: Order) -> None:
    one, other = mute.nodes
    for _ in range(2):
        one.peers.watch.challenge_any()
    final(mute)
    one.peers.watch.docket.settle()
    assert mute.waiting == [], "it has time"
    mute.fleet.now += SUMMONS_MS + 1
    final(mute)
    for node in mute.nodes:
        node.peers.watch.docket.settle()
    assert Breach in waiting(mute)
    result = mute.make()
    assert sum(each.accepted for each in result.tx_results) == 1, "both may say it, it counts once"
    assert member(other, "hub-2").breaches == 1


def test_a_summons_answered_with_a_lack_is_a_breach(mute: Order) -> None:
    one, other = mute.nodes
    for _ in range(2):
        one.peers.watch.challenge_any()
    final(mute)
    lose(other, mute.fleet.gateways["a"].blocks[0])
    other.peers.watch.docket.settle()
    final(mute)
    one.peers.watch.docket.settle()
    final(mute)
    assert member(one, "hub-2").breaches == 1


def test_a_summons_is_answered_after_a_restart(mute: Order) -> None:
    one, other = mute.nodes
    for _ in range(2):
        one.peers.watch.challenge_any()
    final(mute)
    other.store.close()
    other.open()
    other.join_again()
    other.peers.watch.docket.load()
    other.peers.watch.docket.settle()
    assert waiting(mute) == [Respond]


def test_long_silence_takes_long(tmp_path: Path) -> None:
    order = Order(tmp_path, 2, hub_1=replace(QUICK, silent_ms=DAY_MS))
    order.liars[1] = Mute
    with order:
        held_by_both(order)
        one = order.nodes[0]
        for _ in range(10):
            one.peers.watch.challenge_any()
        assert order.waiting == []
        order.fleet.now += DAY_MS
        one.peers.watch.challenge_any()
        assert waiting(order) == [Summon]


def test_promises_of_another_key_than_the_hubs_own_are_passed_by(two: Order) -> None:
    gateway, _ = held_by_both(two)
    one, other = two.nodes
    foreign = issue_receipts(
        one.key, two.fleet.genesis.hash, [one.store.custody.promises(gateway.id, 1, 1)[0]], 1
    )
    other.store.custody.add(foreign)
    kept = one.store.database.value("SELECT count(*) FROM peer_batches")
    one.pull()
    assert one.store.database.value("SELECT count(*) FROM peer_batches") == kept
    assert one.store.bodies.mark(f"promises of {other.key.public.hex()}") == other.store.custody.last()


def test_promises_other_than_those_that_were_signed_are_not_taken(two: Order) -> None:
    gateway, _ = held_by_both(two)
    one, other = two.nodes
    (promise,) = other.store.custody.promises(gateway.id, 1, 1)
    (receipt,) = issue_receipts(other.key, two.fleet.genesis.hash, [promise], 1)
    other.store.custody.add([replace(receipt, promise=replace(promise, keep_until=promise.keep_until + 1))])
    assert one.puller("hub-2")._try() > 0
    assert "signed other promises" in one.peers.views()[0].trouble


def test_promises_without_end_are_not_kept(two: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    held_by_both(two)
    one, other = two.nodes
    monkeypatch.setattr("hub.peers.learn._SPARE", 0)
    monkeypatch.setattr("hub.peers.learn._PER_LEAF", 3)
    most = 3 * one.ledger.committed.app.log_size
    for height in range(2 * most):
        promise = Promise(seeded("nobody")[:16], 1, height + 1, seeded(height), 1, two.fleet.now + DAY_MS)
        other.store.custody.add(issue_receipts(other.key, two.fleet.genesis.hash, [promise], height))
    for _ in range(2):
        assert one.puller("hub-2")._try() > 0
    assert "more promises than there are blocks" in one.peers.views()[0].trouble
    assert one.store.database.value("SELECT count(*) FROM peer_promises") == most


def test_promises_are_taken_once_even_when_their_numbers_begin_anew(two: Order) -> None:
    gateway, _ = held_by_both(two)
    one, other = two.nodes
    one.store.bodies.set_mark(f"promises of {other.key.public.hex()}", 99)
    one.pull()
    assert len(one.store.peer_custody.receipts(gateway.id, 1, 1, 1)) == 1
    assert one.store.bodies.mark(f"promises of {other.key.public.hex()}") == other.store.custody.last()


def test_a_hub_restored_from_before_its_promise_gets_the_body_instead_of_signing_a_lack(two: Order) -> None:
    (gateway,) = two.enrol("a")
    one, other = two.nodes
    two.make()
    backup = other.directory / "backup.db"
    other.store.database.rows("VACUUM INTO ?", (str(backup),))
    block = gateway.block(20)
    one.bring(gateway, block)
    two.make()
    for node in (other, one):
        node.pull()
    other.store.close()
    for file in other.directory.glob("ledger.db*"):
        file.unlink()
    backup.rename(other.directory / "ledger.db")
    other.open()
    other.apply(two.last)
    two.fleet.now += 1000
    other.join_again()
    (receipt,) = one.store.peer_custody.receipts(gateway.id, 1, 1, 1)
    for _ in range(3):
        one.peers.watch.challenge_any()
    assert Breach not in waiting(two)
    assert Summon in waiting(two)
    final(two)
    other.peers.watch.docket.settle()
    assert two.waiting == [], "it has until the deadline"
    other.pull()
    other.peers.watch.docket.settle()
    final(two)
    assert member(one, "hub-2").breaches == 0
    assert receipt.promise not in other.store.custody.promises(gateway.id, 1, 1)
    assert other.holds(block)


def test_a_hub_with_a_new_key_promises_anew_what_it_is_brought_again(two: Order) -> None:
    gateway, block = held_by_both(two)
    one = two.nodes[0]
    one.bring(gateway, block)
    assert len(one.store.custody.promises(gateway.id, 1, 1)) == 1
    key = SigningKey(seeded("the next key"))
    core = replace(one.core, identity=replace(one.core.identity, key=key))
    BlockLane(core, one.outbox, one.refusals, one.view).take_in([(gateway.id, block.encode())])
    _, latest = one.store.custody.receipts(gateway.id, 1, 1, 1)
    assert CustodyBatch.decode(latest.batch.body).hub == key.public
    assert latest.promise.classes == 0b11
