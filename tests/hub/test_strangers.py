"""Alarms from gateways that are not enrolled: shown, never trusted, and judged once their gateway is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fleet import FleetGateway, seeded
from hubs import RunningHub, eventually

from gateway.chain.alarm import NORMAL, Alarm
from gateway.chain.evidence import verify_evidence
from gateway.chain.keys import SigningKey
from hub.auditing.audit import audit
from hub.loading import load_view
from hub.view import KEPT_UNPROVEN, View


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RunningHub]:
    with RunningHub(tmp_path / "hub") as running:
        yield running


def shown(hub: RunningHub, alarm: Alarm) -> dict[str, Any]:
    found: list[dict[str, Any]] = [
        each for each in hub.rest.json("/v1/alarms") if each["hash"] == alarm.hash.hex()
    ]
    return found[0] if found else {}


def forge(alarm: Alarm, number: int = 0) -> Alarm:
    """The same transition under a stranger's signature."""
    return Alarm.sign(SigningKey(seeded("forger", number)), alarm.transition)


def enrol(hub: RunningHub, gateway: FleetGateway) -> None:
    status, answer = hub.rest.post("/v1/enrolment", gateway.enrol().encode())
    assert status == 201, answer


def test_an_alarm_that_came_before_its_gateways_enrolment_becomes_final_after_it(hub: RunningHub) -> None:
    gateway = hub.fleet.gateway("a")
    caller, alarm = hub.call(gateway), gateway.alarm()
    caller.say("alarm", alarm.encode())
    eventually(lambda: "UnknownGateway" in shown(hub, alarm).get("marks", ()), "the alarm")
    assert caller.queue("receipt3").empty()
    enrol(hub, gateway)
    assert caller.alarm_receipt().alarms == (alarm.hash,)
    eventually(lambda: shown(hub, alarm)["final_ms"], "its finality")
    assert (shown(hub, alarm)["marks"], shown(hub, alarm)["name"]) == ([], "a")
    data = hub.rest.cbor(f"/v1/evidence/alarms/{alarm.hash.hex()}")
    assert verify_evidence(data, hub.fleet.genesis.hash).raised is not None
    state = hub.rest.json(f"/v1/gateways/{gateway.id.hex()}")["contracts"]
    assert [(each["contract"], each["condition"]) for each in state] == [("gas-ch4", "alarm")]
    assert caller.birth().alarms == (alarm.hash,)


def test_a_crash_between_enrolment_and_judgement_loses_no_alarm(tmp_path: Path) -> None:
    hub = RunningHub(tmp_path / "hub")
    with hub:
        gateway = hub.enrol("a")
        alarm = gateway.alarm()
        store = hub.service._core.store
        store.add_alarms([(gateway.id, alarm, "UnknownGateway")], hub.fleet.now)
    with hub:
        eventually(lambda: shown(hub, alarm).get("final_ms"), "its finality")
        assert "UnknownGateway" not in shown(hub, alarm)["marks"]


def test_an_alarm_forged_before_enrolment_neither_accuses_nor_speaks_for_the_gateway(tmp_path: Path) -> None:
    hub = RunningHub(tmp_path / "hub")
    with hub:
        gateway = hub.fleet.gateway("victim")
        caller, forged = hub.call(gateway), forge(gateway.alarm())
        caller.say("alarm", forged.encode())
        eventually(lambda: shown(hub, forged), "the forged alarm")
        enrol(hub, gateway)
        eventually(lambda: "BadSignature" in shown(hub, forged)["marks"], "its judgement")
        assert caller.birth().alarms == ()
        assert caller.queue("receipt3").empty()
    with hub:
        assert "BadSignature" in shown(hub, forged)["marks"]
        assert hub.rest.json(f"/v1/gateways/{gateway.id.hex()}")["contracts"] == []
    assert audit(hub.directory).verdict == "ok"


def test_a_copy_of_a_good_alarm_under_another_signature_does_not_spoil_it(hub: RunningHub) -> None:
    gateway = hub.fleet.gateway("victim")
    caller, alarm = hub.call(gateway), gateway.alarm(NORMAL)
    for each in (forge(alarm), alarm, forge(alarm, 1)):
        caller.say("alarm", each.encode())
    store = hub.service._core.store
    eventually(lambda: len(store.alarms(gateway=gateway.id)) == 3, "all three")
    enrol(hub, gateway)
    assert caller.alarm_receipt().alarms == (alarm.hash,)
    eventually(lambda: shown(hub, alarm)["final_ms"], "its finality")
    eventually(lambda: store.alarms(gateway=gateway.id, flaw="UnknownGateway") == [], "all judgements")
    assert shown(hub, alarm)["marks"] == []
    data = hub.rest.cbor(f"/v1/evidence/alarms/{alarm.hash.hex()}")
    assert verify_evidence(data, hub.fleet.genesis.hash).raised is not None
    assert hub.rest.status_of(f"/v1/proofs/alarms/{alarm.hash.hex()}") == 200


def test_strangers_cannot_crowd_alarms_out_of_what_is_shown(hub: RunningHub) -> None:
    gateway, caller = hub.join("a")
    alarm = gateway.alarm()
    caller.say("alarm", alarm.encode())
    caller.alarm_receipt()
    core, stranger = hub.service._core, hub.fleet.gateway("stranger")
    for number in range(KEPT_UNPROVEN + 20):
        noise = replace(stranger.alarm(), signature=bytes([number % 256]) * 64)
        core.store.add_alarms([(stranger.id, noise, "UnknownGateway")], hub.fleet.now)
    view = View()
    load_view(core, view)
    listed = view.alarms(limit=10_000)
    assert len(listed) == KEPT_UNPROVEN + 1
    assert listed[-1]["hash"] == alarm.hash.hex()
