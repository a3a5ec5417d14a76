"""A gateway with several hubs of one federation over real brokers: each by itself, none able to hold up the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gateway_site import Site, Started
from test_sync import is_unbroken, outcomes
from testchain import HUB_KEYS, VOTERS, TestChain, make_federation
from testhub import TestHub, wait_until

import gateway.region.answers
import gateway.region.sync
import gateway.region.window
from gateway.chain.block import Header
from gateway.chain.governance import Member
from gateway.chain.keys import SigningKey
from gateway.chain.leaf import SUSPEND
from gateway.chain.tenure import Position
from hub.broker import EmbeddedBroker
from hub.broker_config import BrokerConfig

STRANGE = Position(9, 900, b"9" * 32)


class Region:
    """A federation's chain, and its hubs with a broker each."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._directory, self._stack = directory, stack
        self.chain = TestChain(make_federation(4, custodians=2))
        self.hubs: list[TestHub] = []

    def hub(
        self, name: str = "hub", key: SigningKey | None = None, chain: TestChain | None = None
    ) -> TestHub:
        place = len(self.hubs)
        broker = EmbeddedBroker(BrokerConfig(self._directory / f"broker-{place}", redeliver_seconds=1))
        broker.start()
        self._stack.callback(broker.stop)
        hub = TestHub(chain or self.chain, broker.url, name, key or HUB_KEYS[place])
        hub.start()
        self._stack.callback(hub.stop)
        self.hubs.append(hub)
        return hub

    def start(self, readings: int = 20, more: str = "") -> Started:
        first, *others = self.hubs
        tables = "".join(f'[[hubs]]\nname = "{each.name}"\nurl = "{each.url}"\n' for each in others)
        site = Site(self._directory / "g", first.url, self.chain.genesis)
        run = site.start(
            enrol_at=self.hubs[0] if not self.chain.entry else None, readings=readings, more=tables + more
        )
        self._stack.callback(run.stop)
        return run


@pytest.fixture
def region(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Region]:
    monkeypatch.setattr(gateway.region.window, "_PATIENCE_S", (0.5,))
    monkeypatch.setattr(gateway.region.sync, "_ALARM_AGAIN_S", 0.5)
    monkeypatch.setattr(gateway.region.sync, "_BIRTH_AGAIN_S", (0.5,))
    monkeypatch.setattr(gateway.region.sync, "_CHANGE_AGAIN_S", 0.5)
    monkeypatch.setattr(gateway.region.answers, "_PATIENCE_S", 1.0)
    with ExitStack() as stack:
        yield Region(tmp_path, stack)


def more_blocks(hub: TestHub, count: int = 3) -> None:
    before = len(hub.blocks)
    wait_until(lambda: len(hub.blocks) >= before + count, "blocks")


def test_every_hub_has_births_blocks_and_alarms_of_its_own(region: Region) -> None:
    hubs = [region.hub(), region.hub("hub-1")]
    run = region.start()
    for hub in hubs:
        more_blocks(hub)
    hubs[1].deaf = True
    run.leak()
    wait_until(lambda: bool(hubs[0].alarms), "the alarm at one")
    wait_until(lambda: not run.gateway.store.unacknowledged("hub"), "its acknowledgement")
    assert run.gateway.store.unacknowledged("hub-1")
    hubs[1].deaf = False
    wait_until(lambda: not run.gateway.store.unacknowledged("hub-1"), "the other's")
    wait_until(lambda: all(run.gateway.store.waiting(each.name) <= 1 for each in hubs), "receipts of both")
    assert all(is_unbroken(hub) for hub in hubs)
    assert all(hub.births and not hub.equivocations for hub in hubs)
    assert [hub.changes for hub in hubs] == [[], []]
    assert run.gateway.status()["troubles"] == []


def test_a_dead_a_slow_and_a_foreign_hub_hold_up_nothing(region: Region) -> None:
    good, slow = region.hub(), region.hub("hub-1")
    foreign = region.hub("hub-2", chain=TestChain(make_federation(4, name="another")))
    foreign.chain.enrol(b"g" * 16, b"k" * 32)
    slow.deaf = True
    dead = '[[hubs]]\nname = "hub-3"\nurl = "mqtt://127.0.0.1:1"\n'
    run = region.start(more=dead)
    more_blocks(good)
    run.leak()
    wait_until(lambda: bool(good.alarms), "the alarm")
    assert run.siren
    wait_until(lambda: run.gateway.store.waiting("hub") <= 1, "receipts")
    assert foreign.blocks == {}
    slow.deaf = False
    more_blocks(slow)
    assert run.gateway.identity.genesis == region.chain.genesis.hash


def test_a_hub_that_lags_behind_makes_no_new_epoch_after_a_restart(region: Region) -> None:
    good, lagging = region.hub(), region.hub("hub-1")
    run = region.start()
    more_blocks(good)
    lagging.lag = region.chain.view()
    good.say_command(run.id, run.gateway.identity.boot, 3)
    wait_until(lambda: run.gateway.keeper.epoch == 2, "epoch 2")
    more_blocks(good)
    run.stop()
    good.deaf = True  # so that the other is alone, with what it knew long ago
    run = region.start()
    births = len(lagging.births)
    wait_until(lambda: len(lagging.births) >= births + 4, "births at the lagging one, again and again")
    assert run.gateway.keeper.change is None
    assert not run.gateway.keeper.is_confirmed
    good.deaf = False
    more_blocks(good)
    lagging.lag = None
    more_blocks(lagging)
    assert len({change.hash for hub in region.hubs for change in hub.changes}) == 1
    assert run.gateway.keeper.epoch == 2


@pytest.mark.parametrize(
    "changes",
    [{"epoch": 7}, {"head": STRANGE}, {"standing": 6}, {"entry": None, "epoch": 7}],
    ids=["epoch", "head", "revoked", "unproved"],
)
def test_a_hub_that_lies_about_this_gateway_is_not_believed(region: Region, changes: dict[str, Any]) -> None:
    good, liar = region.hub(), region.hub("hub-1")
    run = region.start()
    more_blocks(good)
    good.deaf = True  # so that the liar is alone, and has the last word
    liar.lies = lambda answer: replace(answer, **changes)
    births, beats = len(liar.births), len(liar.heartbeats)
    run.gateway.hubs[1].rebirth()
    wait_until(lambda: len(liar.births) >= births + 2, "births, for want of a good answer")
    wait_until(lambda: len(liar.heartbeats) >= beats + 2, "a while")
    assert run.gateway.keeper.is_confirmed
    assert run.gateway.keeper.change is None
    good.deaf = False
    more_blocks(good)
    assert run.gateway.keeper.epoch == 1


def test_blocks_that_enough_others_keep_are_not_sent_to_a_hub_that_was_away(region: Region) -> None:
    one, two, away = region.hub(), region.hub("hub-1"), region.hub("hub-2")
    away.deaf = True
    run = region.start()
    more_blocks(one, 5)

    def first_wanted() -> int:
        found = run.gateway.store.unreceipted("hub-2", 0, 1, 2)
        return found[0].number if found else 0

    wait_until(lambda: first_wanted() > 10, "blocks that two keep")
    assert run.gateway.store.waiting("hub-2") >= 10
    assert two.blocks
    first = first_wanted() or run.gateway.store.last_number()
    away.deaf = False
    more_blocks(away, 2)
    assert min(height for _, height in list(away.blocks)) > first - 8  # what was on its way comes yet


def test_receipts_count_whichever_hub_brings_them(region: Region) -> None:
    relay, silent = region.hub(), region.hub("hub-1")
    relay.relays = silent.mute = True
    run = region.start()
    more_blocks(relay, 6)
    wait_until(lambda: run.gateway.store.waiting("hub-1") < len(silent.blocks), "the silent one's receipts")


def test_a_hub_that_only_the_roster_names_waits_until_it_is_shown(region: Region) -> None:
    good, new = region.hub(), region.hub("hub-4", HUB_KEYS[4])
    run = region.start()
    more_blocks(good)
    run.leak()
    wait_until(lambda: bool(new.alarms), "the alarm, which goes to anybody")
    assert new.blocks == {}
    assert "hub hub-4 is no member" in run.gateway.status()["troubles"][0]
    member = Member("hub-4", "agency-4", HUB_KEYS[4].public, VOTERS[4].public, 1, 0, 0)
    region.chain.put_roster(region.chain.roster.with_member(member))
    region.chain.vote(VOTERS[:5])
    new.say_state(online=True)
    more_blocks(new)
    assert run.gateway.status()["troubles"] == []
    assert Header.decode(max(new.blocks.items())[1].header).epoch == 1


def test_the_word_of_a_suspended_hub_counts_no_more(region: Region) -> None:
    good, bad = region.hub(), region.hub("hub-1")
    run = region.start()
    more_blocks(bad)
    boot = run.gateway.identity.boot
    run.leak()
    wait_until(lambda: run.siren, "the siren")
    region.chain.put_roster(region.chain.roster.punished("hub-1", SUSPEND))
    good.say_state(online=True)
    wait_until(lambda: bool(run.gateway.status()["troubles"]), "the suspension")
    assert "hub hub-1 is suspended" in run.gateway.status()["troubles"][0]
    bad.say_command(run.id, boot, 2, HUB_KEYS[1], nonce=b"1" * 16)
    good.say_command(run.id, boot, 2, HUB_KEYS[0], nonce=b"2" * 16, contract="no-such")
    wait_until(lambda: outcomes(good) == [3], "the outcome of the other's command")
    assert run.siren
    newest = run.gateway.store.last_number()
    wait_until(lambda: max(list(good.blocks))[1] >= newest + 4, "blocks made since then")
    assert max(list(bad.blocks))[1] <= newest + 1  # the one that was being made
