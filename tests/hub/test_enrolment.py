"""Enrolment and records over REST: ordered to finality, or refused by the rule's name."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fleet import DAY_MS, Fleet, seeded
from hubs import RunningHub, eventually
from peerkit import Order

from gateway.chain.canonical import MAX_MESSAGE
from gateway.chain.genesis import Genesis
from gateway.chain.keys import SigningKey
from gateway.chain.tenure import Position
from hub.alarms import AlarmLane
from hub.enrolment import AT_ONCE, NotFinalYet, Registry
from hub.errors import ConsensusFull
from hub.finality import Finality
from hub.hails import HailLane


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with RunningHub(tmp_path_factory.mktemp("enrolment") / "hub") as running:
        yield running


def test_an_enrolment_is_final_when_it_is_answered(hub: RunningHub) -> None:
    gateway = hub.fleet.gateway("first")
    status, answer = hub.rest.post("/v1/enrolment", gateway.enrol().encode())
    assert status == 201
    assert (answer["gateway"], answer["region"]) == (gateway.id.hex(), "north")
    assert answer["broker"] == hub.service.broker_url
    assert Genesis.decode(bytes.fromhex(answer["genesis"])) == hub.fleet.genesis
    assert hub.rest.json(f"/v1/gateways/{gateway.id.hex()}")["standing"] == "good"


def test_a_repeated_enrolment_is_answered_again(hub: RunningHub) -> None:
    body = hub.fleet.gateway("again").enrol().encode()
    assert hub.rest.post("/v1/enrolment", body) == hub.rest.post("/v1/enrolment", body)


def test_a_spent_ticket_does_not_enrol_another_gateway(hub: RunningHub) -> None:
    fleet = hub.fleet
    hub.enrol("spender")
    thief = fleet.gateway("thief").enrol(
        ticket=fleet.ticket("spender"), ticket_key=fleet.ticket_key("spender")
    )
    status, answer = hub.rest.post("/v1/enrolment", thief.encode())
    assert (status, answer["error"]) == (422, "BadRecord")
    assert "used already" in answer["detail"]


def test_a_ticket_that_ran_out_or_is_nobodys_is_refused(hub: RunningHub) -> None:
    fleet = hub.fleet
    late = fleet.gateway("late").enrol(ticket=fleet.ticket("late", not_after=fleet.now - DAY_MS))
    assert hub.rest.post("/v1/enrolment", late.encode())[1]["error"] == "BadRecord"
    forger = SigningKey(seeded("forger"))
    forged = fleet.gateway("forged").enrol(ticket=fleet.ticket("forged", authority=forger))
    assert hub.rest.post("/v1/enrolment", forged.encode())[1]["error"] == "UnknownSigner"


def test_a_ticket_is_good_in_its_own_region_only(hub: RunningHub) -> None:
    south = Fleet(hub.fleet.seed, region="south")
    south.now = hub.fleet.now
    status, answer = hub.rest.post("/v1/enrolment", south.gateway("southern").enrol().encode())
    assert (status, answer["error"]) == (422, "BadRecord")
    assert "for region south, this hub serves north" in answer["detail"]


def test_another_chains_enrolment_is_refused(hub: RunningHub) -> None:
    other = Fleet(7).gateway("elsewhere").enrol()
    assert hub.rest.post("/v1/enrolment", other.encode())[1]["error"] == "WrongChain"


@pytest.mark.parametrize(
    ("body", "error"), [(b"", "NotCanonical"), (b"\x80", "WrongShape"), (b"{}", "NotCanonical")]
)
def test_bytes_that_are_no_enrolment_are_refused(hub: RunningHub, body: bytes, error: str) -> None:
    assert hub.rest.post("/v1/enrolment", body)[1]["error"] == error
    assert hub.rest.post("/v1/records", body)[1]["error"] == error


def test_a_body_beyond_a_messages_size_is_cut_off(hub: RunningHub) -> None:
    assert hub.rest.post("/v1/enrolment", bytes(MAX_MESSAGE + 1))[0] == 413


def test_an_enrolment_is_no_record_and_headers_are_none_either(hub: RunningHub) -> None:
    fleet = hub.fleet
    gateway = hub.enrol("poster")
    for tx in (
        fleet.order_enrolment(fleet.gateway("x").enrol()),
        fleet.order_headers(gateway.block()),
        fleet.order_alarms(gateway.alarm()),
    ):
        assert hub.rest.post("/v1/records", tx)[1]["error"] == "WrongShape"


def test_a_strangers_revocation_is_refused(hub: RunningHub) -> None:
    gateway = hub.enrol("wanted")
    forged = hub.fleet.revocation(gateway.id, by=SigningKey(seeded("forger")))
    status, answer = hub.rest.post("/v1/records", hub.fleet.order_revocation(forged))
    assert (status, answer["error"]) == (422, "UnknownSigner")


def test_a_revocation_after_a_block_that_nobody_knows_is_refused(hub: RunningHub) -> None:
    gateway = hub.enrol("unknown block")
    revocation = hub.fleet.revocation(gateway.id, Position(1, 9, seeded("nothing")))
    assert hub.rest.post("/v1/records", hub.fleet.order_revocation(revocation))[1]["error"] == "BadRecord"


def test_a_contract_set_of_no_higher_version_is_refused(hub: RunningHub) -> None:
    gateway = hub.enrol("granted")
    assert hub.rest.post("/v1/records", hub.fleet.order_grant(hub.fleet.grant(gateway.id, 2)))[0] == 201
    for version in (1, 2):
        grant = hub.fleet.grant(gateway.id, version, (b"another",))
        assert hub.rest.post("/v1/records", hub.fleet.order_grant(grant))[1]["error"] == "BadRecord"


def test_records_that_wait_while_the_chain_stands_still_leave_room_for_other_questions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.enrolment.FINALITY_SECONDS", 1.5)
    with Order(tmp_path) as order, ThreadPoolExecutor(AT_ONCE) as pool:
        (gateway,) = order.enrol("a")
        node = order.nodes[0]
        parts = node.core, node.outbox, node.refusals, node.view
        finality = Finality(node.core, node.outbox, AlarmLane(*parts), HailLane(*parts), node.view)
        registry = Registry(node.core, finality, node.refusals, lambda: "")
        record = order.fleet.order_grant(order.fleet.grant(gateway.id))
        waiting = [pool.submit(registry.record, record) for _ in range(AT_ONCE)]
        eventually(lambda: len(order.waiting) == AT_ONCE, "the records")
        with pytest.raises(ConsensusFull, match="wait for finality"):
            registry.record(record)
        for each in waiting:
            with pytest.raises(NotFinalYet):
                each.result(10)
