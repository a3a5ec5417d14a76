"""What gateways tell in their blocks: shown by leaf, told as few findings, counted by the audit, and provable."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fleet import FleetGateway
from hubkit import Hub, lived
from hubs import PATIENCE, Caller, RunningHub, eventually

from gateway.chain.events import Actuation, Outcome, Refusal, Shedding, Status
from gateway.chain.evidence import verify_evidence
from gateway.chain.keys import COMMAND, Signed, digest
from gateway.chain.messages import TEST, Command
from gateway.chain.reading import event_leaf, reading_leaf
from hub.auditing.audit import audit
from hub.cli import main

LEAVES = [
    reading_leaf(0, 0, 7),
    event_leaf(Status(0, 0, 2, "nack")),
    event_leaf(Actuation(0, "siren", 1, 1, "gas-ch4", 1)),
    event_leaf(Actuation(0, "valve", 1, 1, "gas-ch4", 2)),
    event_leaf(Refusal(0, 1, "Repeated", 3, bytes(32))),
    event_leaf(Outcome(bytes(32), 0, 0)),
    event_leaf(Shedding(3, 1, 9, 9)),
]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with RunningHub(tmp_path_factory.mktemp("doings") / "hub") as running:
        yield running


@pytest.fixture
def joined(hub: RunningHub) -> tuple[FleetGateway, Caller]:
    return hub.join(f"gateway {len(hub.fleet.gateways)}")


def call(hub: RunningHub, *arguments: str) -> Result:
    config = str(hub.config.directory / "hub.toml")
    return CliRunner().invoke(
        main, [arguments[0], "--config", config, *arguments[1:]], catch_exceptions=False
    )


def test_events_are_shown_by_leaf_and_each_can_be_proved(
    hub: RunningHub, joined: tuple[FleetGateway, Caller]
) -> None:
    gateway, caller = joined
    block = gateway.block_of({0: LEAVES})
    caller.say("block", block.encode())
    caller.final(1)
    shown = hub.rest.json(f"/v1/gateways/{gateway.id.hex()}/events")
    assert [(each["leaf"], each["kind"]) for each in shown] == [
        (6, "shedding"),
        (5, "outcome"),
        (4, "refusal"),
        (3, "actuation"),
        (2, "actuation"),
        (1, "status"),
    ]
    siren = shown[4]
    assert siren["says"].startswith("output siren acts because of contract gas-ch4")
    assert (siren["is"]["output"], siren["is"]["cause"], siren["epoch"], siren["height"]) == (
        "siren",
        1,
        1,
        1,
    )
    assert shown[5]["says"] == f"series {gateway.catalogue[0].name} is in fault: nack"
    proof = hub.rest.cbor(f"/v1/evidence/blocks/{gateway.id.hex()}/1/2")
    stood = verify_evidence(proof, hub.fleet.genesis.hash).stood
    assert stood is not None
    assert stood.event == Actuation(0, "siren", 1, 1, "gas-ch4", 1)
    said = call(hub, "events", "--gateway", gateway.id.hex())
    assert "block 1/1 leaf 3: output valve acts" in said.stdout
    assert len(hub.rest.json(f"/v1/gateways/{gateway.id.hex()}/events?limit=2")) == 2


def test_what_people_should_look_at_is_a_finding_and_the_rest_is_not(
    hub: RunningHub, joined: tuple[FleetGateway, Caller]
) -> None:
    gateway, caller = joined
    caller.say("block", gateway.block_of({0: LEAVES}).encode())
    caller.final(1)
    found = hub.rest.json(f"/v1/gateways/{gateway.id.hex()}")["findings"]
    assert sorted(each["kind"] for each in found) == ["refusal", "shedding", "stuck-output"]
    (stuck,) = (each["detail"] for each in found if each["kind"] == "stuck-output")
    assert stuck.startswith("block 1/1: output valve acts")


def test_a_gateway_that_fills_its_blocks_with_refusals_has_few_findings(
    hub: RunningHub, joined: tuple[FleetGateway, Caller]
) -> None:
    gateway, caller = joined
    for number in range(20):
        leaves = [event_leaf(Refusal(0, 1, f"Reason{number}-{i}", 1, bytes(32))) for i in range(50)]
        caller.say("block", gateway.block_of({0: leaves}).encode())
    caller.final(20)
    found = hub.rest.json(f"/v1/gateways/{gateway.id.hex()}")["findings"]
    assert [each["kind"] for each in found] == ["refusal"] * 8
    assert found[0]["detail"].endswith("; and 47 more")


def test_an_operator_orders_a_test_of_an_output_with_the_hubs_own_key(
    hub: RunningHub, joined: tuple[FleetGateway, Caller]
) -> None:
    gateway, caller = joined
    done = call(hub, "command", "--gateway", gateway.id.hex(), "--action", "test", "--on", "siren", "--json")
    assert done.exit_code == 0
    signed = Signed.decode(caller.queue("command").get(timeout=PATIENCE))
    ordered = Command.decode(signed.verify(COMMAND, hub.fleet.hub_key.public))
    assert (ordered.action, ordered.contract, ordered.boot) == (TEST, "siren", gateway.boot)
    assert json.loads(done.stdout)["command"] == digest(COMMAND, signed.body).hex()
    (found,) = hub.rest.json(f"/v1/gateways/{gateway.id.hex()}")["findings"]
    assert found["detail"] == f"command of {hub.config.hub.name}: test of output siren"


def test_an_order_without_its_object_or_to_a_stranger_is_refused(hub: RunningHub) -> None:
    stranger = "00" * 16
    assert call(hub, "command", "--gateway", stranger, "--action", "test").exit_code == 2
    assert call(hub, "command", "--gateway", stranger, "--action", "new-epoch").exit_code == 1
    eventually(lambda: call(hub, "events", "--gateway", stranger).exit_code == 0, "no events of nobody")


def test_audit_counts_what_outputs_did_and_what_was_refused(tmp_path: Path) -> None:
    hub: Hub = lived(tmp_path / "hub")
    gateway = hub.fleet.gateway("a")
    for _ in range(2):
        hub.take(gateway.block_of({0: LEAVES}))
    hub.close()
    report = audit(hub.directory)
    assert (report.verdict, report.actuations, report.refused) == ("ok", 4, 6)
    short = f"gateway {gateway.id.hex()[:16]}…"
    assert report.findings == [
        f"{short}: it gave up the oldest bodies for want of space, 2 times",
        f"{short}: it refused a command: Repeated, 6 times",
        f"{short}: its output valve was driven and did not move, 2 times",
    ]
    said = CliRunner().invoke(main, ["audit", "--dir", str(hub.directory)]).stdout
    assert "4 actuations, 6 refused messages" in said
