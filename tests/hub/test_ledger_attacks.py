"""Every lie is refused by its own named error, alone, while honest gateways beside it go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fleet import CONTRACT_DOCUMENT, DAY_MS, Fleet, FleetGateway, flip, seeded
from hubkit import Hub, MemoryStore
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chain.block import Block
from gateway.chain.entries import KeyEnd, key_end_key
from gateway.chain.errors import BadSegment
from gateway.chain.keys import BLOCK, ENROLMENT, REVOCATION, Signed, SigningKey
from gateway.chain.leaf import EQUIVOCATE, REVOKE
from gateway.chain.tenure import NOWHERE, Position, Revocation, RotationBody
from gateway.chain.verify import open_block
from hub.consensus.base import FinalBlock, TxResult
from hub.ledger.ledger import Ledger


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    hub = Hub(tmp_path / "hub", Fleet())
    yield hub
    hub.close()


@pytest.fixture
def liar(hub: Hub) -> FleetGateway:
    """A gateway with two final blocks, the second of which has seen a seal; an honest one is beside it."""
    liar, honest = hub.enrol("liar", "honest")
    hub.take(liar.block(), honest.block())
    liar.see(hub.checkpoint)
    hub.take(liar.block())
    return liar


def name(text: str) -> str:
    return text.split(":")[0]


def refused_alone(hub: Hub, *blocks: Block) -> list[str]:
    """Submit blocks beside an honest one; return the names of the errors that refused them."""
    honest = hub.fleet.gateway("honest").block()
    result = hub.order(hub.fleet.order_headers(*blocks, honest)).tx_results[0]
    assert result.accepted == 1
    assert [index for index, _ in result.refused] == list(range(len(blocks)))
    assert hub.fleet.gateway("honest").head == hub.ledger.committed.entry(hub.fleet.gateway("honest").id).head
    return [name(text) for _, text in result.refused]


def one(result: TxResult) -> str:
    """The name of the error that refused a record."""
    assert (result.code, result.accepted, len(result.refused)) == (1, 0, 1)
    return name(result.error)


@pytest.mark.parametrize(
    ("lie", "error"),
    [
        (lambda g: g.fork(2), "HeightRepeated"),
        (lambda g: g.skip(), "HeightSkipped"),
        (lambda g: g.skip(by=1000), "HeightSkipped"),
        (lambda g: g.forge_epoch(), "WrongEpoch"),
        (lambda g: g.detach(), "NotSuccessor"),
        (lambda g: g.back_date(), "BackDated"),
        (lambda g: g.unsee(), "BackDated"),
        (lambda g: g.elsewhere(), "WrongChain"),
        (lambda g: g.impersonate(), "BadSignature"),
        (lambda g: g.tamper(g.block(), "signature"), "BadSignature"),
        (lambda g: g.tamper(g.block(), "header", 60 * 8), "BadSignature"),
        (lambda g: g.tamper(g.block(), "header", 41 * 8), "UnknownGateway"),
        (lambda g: g.tamper(g.block(), "header", 10 * 8), "WrongChain"),
        (lambda g: g.tamper(g.block(), "header", 3), "NotCanonical"),
        (lambda g: replace(g.block(), suite=2), "UnsupportedSuite"),
        (lambda g: g.fleet.gateway("stranger").block(), "UnknownGateway"),
        (lambda g: replace(g.block(), header=bytes(3000)), "TooLarge"),
        (lambda g: replace(g.block(), header=b"\x81" * 2000), "TooLarge"),
        (lambda g: replace(g.block(), header=b"\x9f\xff"), "NotCanonical"),
        (lambda g: replace(g.block(), header=g.block().header + b"\x00"), "NotCanonical"),
    ],
)
def test_a_lying_header_is_refused_alone_by_its_own_name(
    hub: Hub, liar: FleetGateway, lie: Callable[[FleetGateway], Block], error: str
) -> None:
    before = hub.ledger.committed.entry(liar.id)
    assert refused_alone(hub, lie(liar)) == [error]
    assert hub.ledger.committed.entry(liar.id) == before


def test_a_replayed_header_changes_nothing_and_is_no_error(hub: Hub, liar: FleetGateway) -> None:
    before = hub.ledger.committed.app
    result = hub.order(hub.fleet.order_headers(liar.replay(1), liar.replay(2), liar.replay(1)))
    assert result.tx_results == (TxResult(0, "", 0),)
    assert hub.ledger.committed.app == before


def test_reordered_headers_are_taken_as_far_as_they_follow(hub: Hub, liar: FleetGateway) -> None:
    three, four, five = liar.block(), liar.block(), liar.block()
    result = hub.order(hub.fleet.order_headers(five, three, four)).tx_results[0]
    assert (result.accepted, [name(text) for _, text in result.refused]) == (2, ["HeightSkipped"])
    assert hub.take(five).tx_results[0].accepted == 1


def test_segments_that_their_header_does_not_commit_to_are_refused(hub: Hub, liar: FleetGateway) -> None:
    block = liar.block()
    for lie in (
        liar.tamper(block),
        liar.misroot(),
        liar.miscount(),
        liar.overreach(),
        replace(block, segments=(block.segments[0], b"")),
    ):
        header = hub.ledger.headers.read(lie.signed)[0]
        with pytest.raises(BadSegment):
            open_block(lie, header, liar.classes, hub.fleet.genesis)


def test_no_block_is_taken_after_a_revocation(hub: Hub, liar: FleetGateway) -> None:
    last = liar.head
    hub.order(hub.fleet.order_revocation(hub.fleet.revocation(liar.id, last)))
    assert refused_alone(hub, liar.block()) == ["RevokedKey"]
    assert one(hub.order(hub.fleet.order_alarms(liar.alarm())).tx_results[0]) == "RevokedKey"
    assert one(hub.order(hub.fleet.order_rotation(liar.rotate())).tx_results[0]) == "RevokedKey"
    assert one(hub.order(hub.fleet.order_epoch(liar.epoch_change(last))).tx_results[0]) == "RevokedKey"
    end = hub.ledger.committed.tree.get(key_end_key(liar.id, liar.keys[0][1].public))
    assert end is not None
    assert (KeyEnd.decode(end).kind, KeyEnd.decode(end).last) == (REVOKE, last)


def test_equivocation_ends_a_gateway_at_its_final_head(hub: Hub, liar: FleetGateway) -> None:
    order = hub.fleet.order_equivocation(liar.replay(1), liar.fork(1))
    assert hub.order(order).tx_results[0].accepted == 1
    assert refused_alone(hub, liar.block()) == ["RevokedKey"]
    end = hub.ledger.committed.tree.get(key_end_key(liar.id, liar.key.public))
    assert end is not None
    assert KeyEnd.decode(end).kind == EQUIVOCATE
    assert hub.order(order).tx_results == (TxResult(0, "", 0),)


def test_nobody_is_framed_for_equivocation(hub: Hub, liar: FleetGateway) -> None:
    block = liar.replay(2)
    forged = replace(liar.fork(2), signature=SigningKey(seeded("forger")).sign(BLOCK, liar.fork(2).header))
    for first, second, error in (
        (block, block, "BadRecord"),
        (block, liar.replay(1), "BadRecord"),
        (block, forged, "BadSignature"),
        (block, hub.fleet.gateway("honest").replay(1), "BadRecord"),
    ):
        assert one(hub.order(hub.fleet.order_equivocation(first, second)).tx_results[0]) == error
    assert hub.take(liar.block()).tx_results[0].accepted == 1


def test_an_honest_epoch_change_needs_its_order_to_be_seen(hub: Hub, liar: FleetGateway) -> None:
    orphan, checkpoint = liar.block(), hub.checkpoint
    change = liar.epoch_change(liar.position(liar.replay(2)))
    assert hub.order(hub.fleet.order_epoch(change)).tx_results[0].accepted == 1
    liar.see(checkpoint)
    assert refused_alone(hub, orphan) == ["WrongEpoch"]
    assert refused_alone(hub, liar.old_epoch()) == ["WrongEpoch"]
    unseen = liar.block()
    assert refused_alone(hub, unseen) == ["UnseenEpoch"]
    liar.head, liar.mono = liar.position(liar.replay(2)), liar.mono + 1
    liar.see(hub.checkpoint)
    assert hub.take(liar.block()).tx_results[0].accepted == 1


def test_epoch_changes_are_refused_out_of_time_out_of_place_and_beyond_the_free_number(
    hub: Hub, liar: FleetGateway
) -> None:
    head, epoch = liar.head, liar.epoch

    def changed(
        closes: Position | None = None, approver: SigningKey | None = None, drift: int = 0
    ) -> TxResult:
        liar.head, liar.epoch = head, epoch
        change = liar.epoch_change(closes, approver=approver)
        return hub.order(hub.fleet.order_epoch(change, hub.last.time + drift)).tx_results[0]

    assert "too early" in changed(drift=3_600_000).error
    assert "too late" in changed(drift=-3_600_000).error
    assert one(changed(closes=liar.position(liar.replay(1)))) == "BadRecord"
    assert one(changed(closes=NOWHERE)) == "BadRecord"
    for _ in range(3):
        assert changed().accepted == 1
        epoch += 1
    assert "authority's approval" in changed().error
    assert one(changed(approver=SigningKey(seeded("nobody")))) == "UnknownSigner"
    assert changed(approver=hub.fleet.agency).accepted == 1


def test_a_rotated_key_signs_nothing_from_the_named_height_on(hub: Hub, liar: FleetGateway) -> None:
    hub.order(hub.fleet.order_rotation(liar.rotate()))
    assert refused_alone(hub, liar.stale_key()) == ["BadSignature"]
    assert hub.take(liar.block()).tx_results[0].accepted == 1


def test_rotations_that_do_not_lead_on_from_the_latest_key_are_refused(hub: Hub, liar: FleetGateway) -> None:
    low = liar.rotate(first=1)
    assert one(hub.order(hub.fleet.order_rotation(low)).tx_results[0]) == "BadRecord"
    liar.keys.pop()
    good = liar.rotate()
    forged = replace(good, by_old=flip(good.by_old, 5))
    assert one(hub.order(hub.fleet.order_rotation(forged)).tx_results[0]) == "BadSignature"
    assert hub.order(hub.fleet.order_rotation(good)).tx_results[0].accepted == 1
    hub.take(liar.block())
    body = RotationBody.decode(good.body)
    back = replace(body, old=body.new, new=body.old, first=liar.head.height + 5)
    assert (
        one(hub.order(hub.fleet.order_rotation(replace(good, body=back.encode()))).tx_results[0])
        == "BadRecord"
    )


def test_tickets_enrol_once_in_time_and_by_an_authority(hub: Hub) -> None:
    fleet = hub.fleet

    def enrolled(gateway: FleetGateway, **how: object) -> TxResult:
        return hub.order(fleet.order_enrolment(gateway.enrol(**how))).tx_results[0]  # type: ignore[arg-type]

    assert enrolled(fleet.gateway("a")).accepted == 1
    assert enrolled(fleet.gateway("a")) == TxResult(0, "", 0)
    used = {"ticket": fleet.ticket("a"), "ticket_key": fleet.ticket_key("a")}
    assert "ticket was used" in enrolled(fleet.gateway("b"), **used).error
    assert (
        "ran out"
        in enrolled(fleet.gateway("b"), ticket=fleet.ticket("b", not_after=fleet.now - DAY_MS)).error
    )
    stranger = SigningKey(seeded("stranger"))
    assert one(enrolled(fleet.gateway("b"), ticket=fleet.ticket("b", authority=stranger))) == "UnknownSigner"
    assert one(enrolled(fleet.gateway("b"), ticket_key=stranger)) == "BadSignature"
    twice = fleet.gateway("a").enrol(ticket=fleet.ticket("a2"), ticket_key=fleet.ticket_key("a2"))
    assert "enrolled already" in hub.order(fleet.order_enrolment(twice)).tx_results[0].error
    honest = fleet.gateway("b").enrol()
    forged = replace(honest, by_gateway=fleet.gateway("a").key.sign(ENROLMENT, honest.body))
    assert one(hub.order(fleet.order_enrolment(forged)).tx_results[0]) == "BadSignature"
    assert hub.order(fleet.order_enrolment(honest)).tx_results[0].accepted == 1


def test_revocations_come_from_authorities_and_name_a_block_in_the_log(hub: Hub, liar: FleetGateway) -> None:
    fleet = hub.fleet

    def revoked(signed: Signed) -> TxResult:
        return hub.order(fleet.order_revocation(signed)).tx_results[0]

    assert one(revoked(fleet.revocation(liar.id, liar.head, by=fleet.hub_key))) == "UnknownSigner"
    assert one(revoked(fleet.revocation(liar.id, Position(1, 2, seeded("other"))))) == "BadRecord"
    assert one(revoked(fleet.revocation(fleet.gateway("nobody").id))) == "UnknownGateway"
    body = Revocation(fleet.genesis.hash, fleet.regulator.public, liar.id, NOWHERE, "", 0).encode()
    assert one(revoked(fleet.agency.signed(REVOCATION, body))) == "BadSignature"
    assert hub.take(liar.block()).tx_results[0].accepted == 1


def test_contract_sets_only_rise_and_come_from_authorities(hub: Hub, liar: FleetGateway) -> None:
    fleet = hub.fleet
    assert hub.order(fleet.order_grant(fleet.grant(liar.id, 5))).tx_results[0].accepted == 1
    assert hub.order(fleet.order_grant(fleet.grant(liar.id, 5))).tx_results == (TxResult(0, "", 0),)
    other = fleet.grant(liar.id, 5, (CONTRACT_DOCUMENT, b"other"))
    assert one(hub.order(fleet.order_grant(other)).tx_results[0]) == "BadRecord"
    assert one(hub.order(fleet.order_grant(fleet.grant(liar.id, 4))).tx_results[0]) == "BadRecord"
    forged = replace(fleet.grant(liar.id, 6), signature=bytes(64))
    assert one(hub.order(fleet.order_grant(forged)).tx_results[0]) == "BadSignature"


def test_alarms_are_taken_once_and_only_from_their_gateway(hub: Hub, liar: FleetGateway) -> None:
    fleet, alarm = hub.fleet, liar.alarm()
    forged = replace(alarm, signature=flip(alarm.signature, 9))
    marked = replace(alarm, mark=1)  # the mark is in the domain
    results = hub.order(fleet.order_alarms(forged, marked, fleet.gateway("nobody").alarm(), alarm, alarm))
    result = results.tx_results[0]
    assert [name(text) for _, text in result.refused] == ["BadSignature", "BadSignature", "UnknownGateway"]
    assert result.accepted == 1
    assert hub.order(fleet.order_alarms(alarm)).tx_results == (TxResult(0, "", 0),)


@pytest.mark.parametrize(
    ("tx", "error"),
    [
        (b"", "NotCanonical"),
        (b"\x00", "WrongShape"),
        (b"\x82\x09\x80", "WrongShape"),
        (b"\x82\x01\x80", "WrongShape"),
        (b"\x82\x18\x01\x80", "NotCanonical"),
        (b"\x81" * 60_000 + b"\x00", "TooLarge"),
        (bytes(65_537), "TooLarge"),
        (b"\xbf\xff", "NotCanonical"),
        (b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff", "NotCanonical"),
    ],
)
def test_bytes_that_are_no_transaction_are_refused_by_name(hub: Hub, tx: bytes, error: str) -> None:
    assert one(hub.order(tx).tx_results[0]) == error
    assert name(hub.ledger.check(tx).error) == error
    assert not hub.ledger.process([tx])


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 1 << 20))
def test_no_bytes_bring_the_ledger_down(noise: bytes, bit: int) -> None:
    fleet = Fleet()
    gateway = fleet.gateway("a")
    enrolment = fleet.order_enrolment(gateway.enrol())
    headers = fleet.order_headers(gateway.block())
    ledger = Ledger(fleet.genesis, MemoryStore())
    for tx in (noise, b"\x82\x01" + noise, flip(enrolment, bit), flip(headers, bit), enrolment, headers):
        ledger.check(tx)
        result = ledger.finalize(FinalBlock(1, fleet.now, b"", (enrolment, tx, headers)))
        assert result.tx_results[0].accepted == 1
        assert all(each.code == 0 or name(each.error).isidentifier() for each in result.tx_results)


def test_check_lets_headers_wait_but_not_lies(hub: Hub, liar: FleetGateway) -> None:
    liar.block()
    ahead = liar.block()  # two above the final head: its predecessor may be on its way
    assert hub.ledger.check(hub.fleet.order_headers(ahead)) == TxResult(0, "", 0)
    assert name(hub.ledger.check(hub.fleet.order_headers(liar.impersonate())).error) == "BadSignature"
    assert (
        name(hub.ledger.check(hub.fleet.order_headers(hub.fleet.gateway("x").block())).error)
        == "UnknownGateway"
    )
