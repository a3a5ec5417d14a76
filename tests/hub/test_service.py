"""A hub as a whole: enrolment, blocks and alarms through a real broker, to finality and receipts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hubs import RunningHub, eventually

from gateway.chain.keys import HUB_STATE, Signed
from gateway.chain.messages import HubState
from gateway.chain.ordered import NOWHERE


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RunningHub]:
    with RunningHub(tmp_path / "hub") as running:
        yield running


def test_an_enrolled_gateways_birth_is_answered_with_where_the_chain_stands(hub: RunningHub) -> None:
    gateway = hub.enrol("a")
    answer = hub.call(gateway).birth()
    assert (answer.standing, answer.epoch, answer.head, answer.known) == (0, 1, NOWHERE, ())
    assert answer.checkpoint.verify(hub.fleet.genesis).height >= 2


def test_a_block_becomes_final_and_is_receipted(hub: RunningHub) -> None:
    gateway, caller = hub.join("a")
    block = gateway.block(60)
    caller.say("block", block.encode())
    receipts = caller.final(1)
    assert [each.promise.hash for each in receipts.custody] == [block.hash]
    assert receipts.custody[0].promise.classes == 1
    assert receipts.finality is not None
    assert receipts.finality.position == gateway.head


def test_an_alarm_is_acknowledged_shown_and_final(hub: RunningHub) -> None:
    gateway, caller = hub.join("a")
    alarm = gateway.alarm()
    caller.say("alarm", alarm.encode())
    assert caller.alarm_receipt().alarms == (alarm.hash,)
    shown = eventually(lambda: [a for a in hub.rest.json("/v1/alarms") if a["final_ms"]], "finality")
    assert shown[0]["hash"] == alarm.hash.hex()
    assert (shown[0]["name"], shown[0]["level"], shown[0]["marks"]) == ("a", "alarm", [])


def test_the_hubs_state_is_retained_and_says_when_it_leaves(tmp_path: Path) -> None:
    with RunningHub(tmp_path / "hub") as hub:
        gateway = hub.enrol("a")
        caller = hub.call(gateway)
        payload = caller.queue("state").get(timeout=10)
        state = HubState.decode(Signed.decode(payload).verify(HUB_STATE, hub.fleet.hub_key.public))
        assert state.online == 1
