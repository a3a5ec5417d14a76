"""Sync over a real broker with an honest hub: blocks, alarms, receipts, orders, and what brokers do to them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway_site import Site, enrolled
from testhub import AUTHORITY, HUB_KEY, TestHub, make_genesis, wait_until

import gateway.region.sync
import gateway.region.window
from gateway.chain.alarm import ALARMED, UNRECORDED, Transition
from gateway.chain.block import Header
from gateway.chain.events import Outcome, Refusal
from gateway.chain.keys import NO_HASH
from gateway.chain.reading import open_segment, parse_leaf
from gateway.chain.state import StateTree
from gateway.contracts.library import template
from gateway.contracts.source import read_contract
from hub.broker import EmbeddedBroker
from hub.broker_config import BrokerConfig


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker(BrokerConfig(tmp_path / "broker", redeliver_seconds=1))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def hub(broker: EmbeddedBroker) -> Iterator[TestHub]:
    hub = TestHub(make_genesis(), broker.url)
    hub.start()
    yield hub
    hub.stop()
    assert hub.equivocations == []


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is sent again sooner than a hub would need it."""
    monkeypatch.setattr(gateway.region.window, "_PATIENCE_S", (0.3,))
    monkeypatch.setattr(gateway.region.sync, "_ALARM_AGAIN_S", 0.3)
    monkeypatch.setattr(gateway.region.sync, "_BIRTH_AGAIN_S", (0.5,))
    monkeypatch.setattr(gateway.region.sync, "_CHANGE_AGAIN_S", 0.5)


def is_unbroken(hub: TestHub) -> bool:
    """Whether the hub has every height once, from the first; more may arrive while this looks."""
    heights = sorted(height for _, height in list(hub.blocks))
    return heights == list(range(1, len(heights) + 1))


def test_blocks_become_final_and_receipted_in_one_chain(tmp_path: Path, hub: TestHub) -> None:
    run = Site(tmp_path / "g", hub.url).start(readings=20)
    enrolled(hub, run)
    run.gateway.hubs or wait_until(lambda: bool(run.gateway.hubs), "the hub's link")
    run.gateway.hubs[0].rebirth()
    wait_until(lambda: len(hub.blocks) >= 4, "four blocks")
    wait_until(lambda: run.gateway.store.waiting("hub") <= 1, "receipts")
    stored = run.gateway.store.above(0)
    run.stop()
    assert stored[0].final
    headers = [Header.decode(block.header) for _, block in sorted(hub.blocks.items())]
    assert [header.height for header in headers] == list(range(1, len(headers) + 1))
    assert headers[0].previous == NO_HASH
    assert headers[-1].seen.height > 0
    assert hub.refusals == []


def test_nothing_but_births_and_alarms_goes_out_before_the_answer(tmp_path: Path, hub: TestHub) -> None:
    run = Site(tmp_path / "g", hub.url).start(readings=10)  # a stranger to the hub, which says so
    wait_until(lambda: run.gateway.store.last_number() > 2, "three blocks")
    wait_until(lambda: bool(hub.births), "a birth")
    assert run.gateway.store.head() is None
    assert {kind for kind, _ in hub.arrivals} <= {"birth", "heartbeat"}
    enrolled(hub, run)
    run.gateway.hubs[0].rebirth()
    wait_until(lambda: len(hub.blocks) > 3, "the blocks that waited")
    run.stop()
    assert is_unbroken(hub)


def test_an_alarm_sounds_and_arrives_although_blocks_wait_for_the_hub(tmp_path: Path, hub: TestHub) -> None:
    run = Site(tmp_path / "g", hub.url).start()  # a stranger, whose blocks wait for the answer
    hub.say_state(online=False)
    wait_until(lambda: bool(run.gateway.hubs) and run.gateway.hubs[0]._online is False, "the hub's state")
    enrolled(hub, run)
    run.gateway.hubs[0].rebirth()
    wait_until(lambda: run.gateway.keeper.is_confirmed, "the answer")
    run.leak()
    wait_until(lambda: run.siren, "the siren")
    wait_until(lambda: bool(hub.alarms), "the alarm")
    (alarm,) = hub.alarms.values()
    assert Transition.decode(alarm.transition).after == ALARMED
    wait_until(lambda: not run.gateway.store.unacknowledged("hub"), "the acknowledgement")
    wait_until(lambda: run.gateway.store.waiting("hub") > 0, "a block that waits")
    beats = len(hub.heartbeats)
    wait_until(lambda: len(hub.heartbeats) >= beats + 2, "two more rounds of sending")
    assert hub.blocks == {}
    hub.say_state(online=True)
    wait_until(lambda: bool(hub.blocks), "the blocks")
    wait_until(lambda: not run.gateway.store.unacknowledged("hub"), "the acknowledgement")
    run.stop()


def test_a_store_that_answers_nobody_holds_up_neither_siren_nor_alarm(tmp_path: Path, hub: TestHub) -> None:
    run = Site(tmp_path / "g", hub.url).start(readings=20)
    enrolled(hub, run)
    wait_until(lambda: len(hub.blocks) >= 2, "blocks, and receipts on their way")
    with run.gateway.store._lock:  # as while a transaction waits for its disk
        run.leak()
        wait_until(lambda: run.siren, "the siren")
        wait_until(lambda: bool(hub.alarms), "the alarm")
    (alarm,) = hub.alarms.values()
    assert alarm.mark == UNRECORDED
    wait_until(lambda: run.gateway.store.last_ordinal() == 1, "the row")
    wait_until(lambda: not run.gateway.store.unacknowledged("hub"), "the acknowledgement")
    run.stop()


@pytest.mark.usefixtures("hurried")
def test_a_broker_that_acknowledges_and_drops_loses_nothing(tmp_path: Path, hub: TestHub) -> None:
    run = Site(tmp_path / "g", hub.url).start(readings=20)
    enrolled(hub, run)
    wait_until(lambda: len(hub.blocks) >= 1, "a block")
    hub.deaf = True
    run.leak()
    wait_until(lambda: {"alarm", "block"} <= set(hub.dropped), "what the hub drops")
    assert not hub.alarms
    hub.deaf = False
    wait_until(lambda: bool(hub.alarms), "the alarm")
    wait_until(lambda: run.gateway.store.waiting("hub") <= 1, "receipts")
    run.stop()
    assert is_unbroken(hub)


def test_blocks_without_receipts_are_not_believed_to_have_arrived(
    tmp_path: Path, hub: TestHub, hurried: None
) -> None:
    run = Site(tmp_path / "g", hub.url).start(readings=20)
    hub.mute = True
    enrolled(hub, run)
    wait_until(lambda: len(hub.blocks) >= 2, "blocks")
    assert run.gateway.store.waiting("hub") >= 2
    hub.mute = False
    wait_until(lambda: run.gateway.store.waiting("hub") <= 1, "receipts")
    run.stop()


def test_a_gateway_without_a_broker_records_and_catches_up_alarms_first(tmp_path: Path) -> None:
    site = Site(tmp_path / "g")
    run = site.start(readings=10)
    run.leak()
    wait_until(lambda: run.siren, "the siren without any network")
    wait_until(lambda: run.gateway.store.last_number() > 5, "blocks")
    run.stop()
    broker = EmbeddedBroker(BrokerConfig(tmp_path / "broker"))
    broker.start()
    hub = TestHub(site.genesis, broker.url)
    hub.start()
    site.url = broker.url
    run = site.start(readings=10)
    enrolled(hub, run)
    wait_until(lambda: len(hub.blocks) > 6, "the backlog")
    run.stop()
    hub.stop()
    broker.stop()
    kinds = [kind for kind, _ in hub.arrivals]
    assert kinds.index("alarm") < kinds.index("block")
    assert is_unbroken(hub)
    assert hub.refusals == []
    assert hub.equivocations == []


def test_a_restart_goes_on_in_the_same_epoch(tmp_path: Path, hub: TestHub) -> None:
    site = Site(tmp_path / "g", hub.url)
    for _ in range(3):
        run = site.start(readings=20)
        enrolled(hub, run) if not hub.entry else None
        before = len(hub.blocks)
        wait_until(lambda before=before: len(hub.blocks) > before + 2, "more blocks")
        run.stop()
    assert hub.changes == []
    assert is_unbroken(hub)
    assert len({Header.decode(block.header).boot for block in list(hub.blocks.values())}) == 3


@pytest.mark.usefixtures("hurried")
def test_blocks_of_an_earlier_configuration_come_with_its_birth(tmp_path: Path) -> None:
    site = Site(tmp_path / "g")
    run = site.start(readings=10)
    wait_until(lambda: run.gateway.store.last_number() > 2, "blocks")
    run.stop()
    broker = EmbeddedBroker(BrokerConfig(tmp_path / "broker"))
    broker.start()
    hub = TestHub(site.genesis, broker.url)
    hub.start()
    site.url = broker.url
    more = '[[sensors]]\nname = "bell"\ndriver = "contact"\noptions = { pin = 5 }\n'
    run = site.start(readings=10, more=more)
    enrolled(hub, run)
    wait_until(lambda: len(hub.blocks) > 6, "blocks of both")
    wait_until(lambda: len(hub.births[-1].catalogue) == 3, "the present birth")
    run.stop()
    hub.stop()
    broker.stop()
    counts = [Header.decode(block.header).catalogue.count for _, block in sorted(hub.blocks.items())]
    assert counts[0] == 2
    assert counts[-1] == 3
    assert is_unbroken(hub)


def test_a_hub_gets_the_blocks_it_asks_for_again(tmp_path: Path, hub: TestHub) -> None:
    run = Site(tmp_path / "g", hub.url).start(readings=20)
    enrolled(hub, run)
    wait_until(lambda: len(hub.blocks) >= 3, "three blocks")
    wait_until(lambda: run.gateway.store.waiting("hub") <= 1, "receipts")
    with hub._lock:  # not in the midst of a block
        seen, known = sum(kind == "block" for kind, _ in hub.arrivals), len(hub.blocks)
    hub.say_request(run.id, run.gateway.identity.boot, 1, 2)
    wait_until(
        lambda: sum(kind == "block" for kind, _ in hub.arrivals) - seen >= len(hub.blocks) - known + 2,
        "repeats",
    )
    hub.say_request(run.id, run.gateway.identity.boot, 0, 0)
    births = len(hub.births)
    wait_until(lambda: len(hub.births) > births, "a birth")
    run.stop()


def test_a_granted_contract_set_is_put_in_force_and_outlives_a_restart(tmp_path: Path, hub: TestHub) -> None:
    site = Site(tmp_path / "g", hub.url)
    run = site.start(readings=20)
    enrolled(hub, run)
    names = {"series": "kitchen.ch4", "hold": "0s", "warm_up": "0s", "id": "granted"}
    document = read_contract(template("gas-ch4", **names), "test").encode()
    wait_until(lambda: bool(hub.births), "a birth")
    wait_until(lambda: run.gateway.store.last_number() > 0, "a block under the configured contract")
    hub.say_grant(run.id, 5, (document,), HUB_KEY)  # a hub is no authority
    hub.say_grant(run.id, 5, (document,), AUTHORITY)
    wait_until(lambda: hub.births[-1].contracts == (document,), "the new birth")
    hub.say_grant(run.id, 4, (), AUTHORITY)  # an older one, replayed
    blocks = len(hub.blocks)
    wait_until(lambda: len(hub.blocks) > blocks + 2, "blocks")
    assert list(run.gateway.recorder.conditions()) == ["granted"]
    run.stop()
    counts = [Header.decode(block.header).contracts.root for _, block in sorted(hub.blocks.items())]
    assert len(set(counts)) == 2
    run = site.start()
    assert list(run.gateway.recorder.conditions()) == ["granted"]
    assert run.gateway.recorder.contracts.version == 5
    run.stop()


def events(hub: TestHub) -> list[object]:
    return [
        parse_leaf(leaf)
        for _, block in sorted(hub.blocks.items())
        for _, leaf in open_segment(0, block.segments[0]).events
    ]


def outcomes(hub: TestHub) -> list[int]:
    return [event.code for event in events(hub) if isinstance(event, Outcome)]


def refused(hub: TestHub) -> list[str]:
    return sorted(event.reason for event in events(hub) if isinstance(event, Refusal))


def test_commands_are_carried_out_once_in_time_for_this_boot_and_recorded(
    tmp_path: Path, hub: TestHub
) -> None:
    run = Site(tmp_path / "g", hub.url).start(readings=20)
    enrolled(hub, run)
    boot = run.gateway.identity.boot
    run.leak()
    wait_until(lambda: run.siren, "the alarm")
    wait_until(lambda: bool(hub.births), "a birth, and ears for commands")
    hub.say_command(run.id, boot, 2, nonce=b"2" * 16)
    wait_until(lambda: not run.siren, "silence")
    assert "valve" in run.gateway.outputs.active
    run.calm()
    wait_until(lambda: run.gateway.recorder.conditions()["gas-ch4"][0] == "latched", "the latch")
    hub.say_command(run.id, boot, 1, nonce=b"3" * 16, not_after=1)
    hub.say_command(run.id, bytes(8), 1, nonce=b"4" * 16)
    hub.say_command(run.id, boot, 1, nonce=b"5" * 16, contract="no-such")
    hub.say_command(run.id, boot, 1, nonce=b"2" * 16)  # used already
    hub.say_command(run.id, boot, 1, nonce=b"6" * 16, signer=HUB_KEY.public)  # signed by another than it says
    wait_until(lambda: outcomes(hub) == [0, 1, 2, 3], "outcomes")
    assert run.gateway.recorder.conditions()["gas-ch4"][0] == "latched"
    hub.say_command(run.id, boot, 1, nonce=b"7" * 16)
    wait_until(lambda: run.gateway.recorder.conditions()["gas-ch4"][0] == "normal", "the reset")
    wait_until(lambda: outcomes(hub) == [0, 1, 2, 3, 0], "outcomes")
    assert refused(hub) == ["AnotherBoot", "BadSignature", "Delayed", "Repeated"]
    run.stop()


def test_heartbeats_say_what_is_wrong(tmp_path: Path, hub: TestHub) -> None:
    run = Site(tmp_path / "g", hub.url).start(readings=20, enrol_at=hub)
    wait_until(lambda: bool(hub.heartbeats), "a heartbeat")
    run.simulation.hold("gas", 5.0)  # beyond the range: saturated
    wait_until(lambda: hub.heartbeats[-1].faults == 2, "faults")
    run.stop()
    assert [each.counter for each in hub.heartbeats] == list(range(1, len(hub.heartbeats) + 1))


def test_a_hub_whose_chain_went_back_is_noticed(tmp_path: Path, hub: TestHub) -> None:
    run = Site(tmp_path / "g", hub.url).start(readings=10)
    enrolled(hub, run)
    wait_until(lambda: run.gateway.keeper.seen.height > 20, "final blocks")
    assert run.gateway.status()["troubles"] == []
    with hub._lock:  # its ledger is lost, and founded anew
        entry = hub.entry.pop(run.id)
        hub.chain.height, hub.chain.tree = 1, StateTree()
        hub.hold = True
    run.gateway.hubs[0].rebirth()
    wait_until(lambda: bool(run.gateway.status()["troubles"]), "the notice")
    assert "its chain went back" in run.gateway.status()["troubles"][0]
    hub.entry[run.id] = entry
    run.stop()
