"""A gateway whose chain is taken over: it goes on in the new one by itself, with every block and alarm it had."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from gateway_site import CALM, LEAK, Site
from testchain import AUTHORITY, HUB_KEY, HUB_KEYS, TestChain, make_federation, make_genesis
from testhub import TestHub, wait_until

import gateway.region.answers
import gateway.region.sync
import gateway.region.window
from gateway.chain.alarm import Transition
from gateway.chain.block import Header
from gateway.chain.errors import ChainError
from gateway.chain.genesis import Genesis, Takeover, TakeoverBody
from gateway.chain.keys import TAKEOVER, SigningKey
from gateway.chain.messages import Successor
from gateway.chain.tenure import EpochChangeBody
from gateway.clock import SimulatedClock
from gateway.config import Config
from gateway.daemon import Gateway
from gateway.errors import ConfigError
from gateway.region.enrol import Trust
from gateway.region.succession import chains, check_successor, settle
from gateway.running import Running
from gateway.simulation.scenario import load_scenario
from gateway.simulation.simulation import Simulation
from gateway.storage.store import Store
from hub.broker import EmbeddedBroker
from hub.broker_config import BrokerConfig


class Moving:
    """A gateway that may move, with its hand at the sensor."""

    def __init__(self, config: Config) -> None:
        self.simulation = Simulation(load_scenario("quiet"), SimulatedClock())
        for table in config.sensors:
            self.simulation.attach(table.name, table.driver, table.options)
        self.simulation.hold("gas", CALM)
        self.running = Running(config, "test", self.simulation)
        self.running.start()
        self._thread = threading.Thread(target=self.running.wait)
        self._thread.start()

    @property
    def gateway(self) -> Gateway:
        return self.running.gateway

    def stop(self) -> None:
        self.running.end()
        self._thread.join()
        self.running.stop()


class Country:
    """An embedded chain with its hub, and the federation that will take it over."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory, self.stack = directory, stack
        self.old = TestChain(make_genesis())
        self.brokers = [self._broker(f"broker-{i}") for i in range(2)]
        self.hub = self._hub(self.old, 0)
        self.hubs: list[TestHub] = []
        self.site = Site(directory / "g", self.brokers[0].url, self.old.genesis)
        self.more = f'[[hubs]]\nname = "hub-1"\nurl = "{self.brokers[1].url}"\n'

    def _broker(self, name: str) -> EmbeddedBroker:
        broker = EmbeddedBroker(BrokerConfig(self.directory / name, redeliver_seconds=1))
        broker.start()
        self.stack.callback(broker.stop)
        return broker

    def _hub(self, chain: TestChain, place: int) -> TestHub:
        name = "hub" if place == 0 else f"hub-{place}"
        hub = TestHub(chain, self.brokers[place].url, name, HUB_KEYS[place])
        hub.start()
        self.stack.callback(hub.stop)
        return hub

    def start(self) -> Moving:
        run = Moving(self.site.config(readings=20, more=self.more))
        self.stack.callback(run.stop)
        if not self.old.entry:
            self.old.enrol(run.gateway.identity.gateway, run.gateway.identity.key.public)
        return run

    def take_over(self) -> Genesis:
        """Close the old chain; its hub goes on as one of the federation's, on the same broker."""
        self.hub.stop()
        founded = make_federation(4, custodians=2)
        genesis = replace(founded, takeovers=(self.old.close(founded),))
        self.new = TestChain(genesis)
        self.new.take_over(self.old)
        self.hubs = [self._hub(self.new, place) for place in range(2)]
        self.hubs[0].say_successor(self.successor())
        return genesis

    def successor(self, **changes: object) -> bytes:
        """What the new chain's hubs tell gateways of the old one."""
        said = Successor(self.new.genesis, self.new.checkpoint())
        return replace(said, **changes).encode()  # type: ignore[arg-type]


@pytest.fixture
def country(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Country]:
    monkeypatch.setattr(gateway.region.window, "_PATIENCE_S", (0.5,))
    monkeypatch.setattr(gateway.region.sync, "_ALARM_AGAIN_S", 0.5)
    monkeypatch.setattr(gateway.region.sync, "_BIRTH_AGAIN_S", (0.5,))
    monkeypatch.setattr(gateway.region.sync, "_CHANGE_AGAIN_S", 0.5)
    monkeypatch.setattr(gateway.region.answers, "_PATIENCE_S", 1.0)
    with ExitStack() as stack:
        yield Country(tmp_path, stack)


def headers(hub: TestHub) -> list[Header]:
    return [Header.decode(block.header) for _, block in sorted(hub.blocks.items())]


def refusals(country: Country) -> list[str]:
    """What was refused, but for the change of epochs that another hub had ordered already, and what was on its way."""
    assert all(hub.equivocations == [] for hub in country.hubs)
    known = ("moves once", f"belongs to chain {country.old.genesis.hash.hex()[:16]}")
    return [each for hub in country.hubs for each in hub.refusals if not any(part in each for part in known)]


def blocks(hub: TestHub, count: int) -> Callable[[], bool]:
    return lambda: len(hub.blocks) >= count


def test_a_gateway_goes_on_in_the_chain_that_takes_its_own_over(country: Country) -> None:
    run = country.start()
    wait_until(blocks(country.hub, 4), "blocks in the old chain")
    run.simulation.hold("gas", LEAK)
    wait_until(lambda: bool(country.hub.alarms), "the alarm in the old chain")
    run.simulation.hold("gas", CALM)
    wait_until(lambda: run.gateway.recorder.conditions()["gas-ch4"][0] == "latched", "the latch")
    country.hub.hold = True
    before = len(country.hub.blocks)
    wait_until(blocks(country.hub, before + 2), "blocks that never become final")
    country.hub.deaf = True
    head = country.old.entry[run.gateway.identity.gateway].head
    genesis = country.take_over()
    wait_until(lambda: run.gateway.identity.genesis == genesis.hash, "the move")
    wait_until(lambda: run.gateway.recorder.conditions()["gas-ch4"][0] == "latched", "the latch, held")
    wait_until(lambda: all(len(hub.blocks) > 4 for hub in country.hubs), "blocks in the new chain")
    run.simulation.hold("gas", LEAK)
    wait_until(lambda: len(country.hubs[1].alarms) >= 1, "the next alarm")
    store = run.gateway.store
    wait_until(lambda: all(store.waiting(hub.name, store.moved) <= 1 for hub in country.hubs), "receipts")
    (change,) = {each.hash: each for hub in country.hubs for each in hub.changes}.values()
    body = EpochChangeBody.decode(change.body)
    assert (body.reason, body.closes, body.epoch) == (4, head, 2)
    assert len(body.orphans) >= 2
    new = headers(country.hubs[0])
    assert [each.height for each in new] == list(range(head.height + 1, head.height + 1 + len(new)))
    assert {(each.genesis, each.epoch) for each in new} == {(genesis.hash, 2)}
    assert new[0].previous == head.hash
    assert refusals(country) == []
    orphaned = {headers_[0].segments for headers_ in [headers(country.hub)[head.height :]]}
    assert orphaned <= {each.segments for each in new}
    genesis_of = {Transition.decode(each.transition).genesis for each in country.hubs[1].alarms.values()}
    assert genesis.hash in genesis_of
    assert all(row.final for row in store.above(0) if row.number <= store.moved)
    assert [each.hash for each in chains(store)] == [country.old.genesis.hash, genesis.hash]


def test_a_gateway_that_was_away_for_weeks_moves_when_it_comes_back_and_starts_there_ever_after(
    country: Country,
) -> None:
    run = country.start()
    wait_until(blocks(country.hub, 3), "blocks")
    run.stop()
    country.hub.deaf = True
    run = country.start()  # nobody answers: what it records waits, and so does its alarm
    run.simulation.hold("gas", LEAK)
    wait_until(lambda: run.gateway.store.last_ordinal() > 0, "the alarm")
    run.stop()
    genesis = country.take_over()
    run = country.start()
    wait_until(lambda: all(hub.alarms for hub in country.hubs), "the alarm of the old chain at both hubs")
    wait_until(lambda: all(len(hub.blocks) > 2 for hub in country.hubs), "blocks")
    run.stop()
    run = country.start()
    assert run.gateway.identity.genesis == genesis.hash
    count = len(country.hubs[0].blocks)
    wait_until(blocks(country.hubs[0], count + 2), "more blocks")
    assert len({each.hash for hub in country.hubs for each in hub.changes}) == 1
    assert refusals(country) == []


def test_a_trust_file_of_the_successor_moves_the_gateway_and_a_lost_store_finds_the_way_again(
    country: Country,
) -> None:
    run = country.start()
    wait_until(blocks(country.hub, 3), "blocks")
    run.stop()
    genesis = country.take_over()
    country.hubs[0].say_successor(b"")  # nobody tells it
    trust = country.site.directory / "trust"
    old = trust.read_bytes()
    trust.write_bytes(genesis.encode())
    run = country.start()
    assert run.gateway.identity.genesis == genesis.hash
    wait_until(blocks(country.hubs[0], 3), "blocks")
    run.stop()
    trust.write_bytes(old)
    for file in (country.site.directory / "data").glob("gateway.db*"):
        file.unlink()
    country.hubs[0].say_successor(country.successor())
    count = len(country.hubs[0].blocks)
    run = country.start()
    wait_until(lambda: run.gateway.identity.genesis == genesis.hash, "the move")
    wait_until(blocks(country.hubs[0], count + 2), "more blocks")


# forgeries

OLD = make_genesis()


def successor(key: SigningKey = HUB_KEY, old: Genesis = OLD, height: int = 50, **changes: object) -> Genesis:
    founded = make_federation(4)
    body = TakeoverBody(old.hash, height, b"a" * 32, founded.successor)
    takeover = Takeover(old.hash, height, b"a" * 32, key.sign(TAKEOVER, body.encode()))
    return replace(founded, takeovers=(takeover,), **changes)  # type: ignore[arg-type]


def refused(genesis: Genesis, seen: int = 50) -> str:
    with pytest.raises(ChainError) as caught:
        check_successor(genesis, OLD, seen)
    return f"{type(caught.value).__name__}: {caught.value}"


def test_a_successor_is_signed_by_the_old_hub_for_exactly_that_genesis() -> None:
    check_successor(successor(), OLD, 50)
    assert refused(successor(AUTHORITY)).startswith("BadSignature")
    assert refused(successor(name="renamed")).startswith("BadSignature")
    assert refused(make_federation(4)).startswith("WrongChain")
    assert refused(successor(old=make_genesis(name="another"))).startswith("WrongChain")


def test_a_successor_that_leaves_out_what_was_final_is_refused() -> None:
    assert "was verified here" in refused(successor(height=49))


def test_forged_successors_move_nobody(country: Country) -> None:
    run = country.start()
    wait_until(blocks(country.hub, 3), "blocks")
    genesis = successor(old=country.old.genesis, height=1 << 20)
    real = TestChain(genesis).checkpoint()
    beside = Takeover(bytes(32), 1, bytes(32), bytes(64))
    country.hub.say_successor(Successor(successor(AUTHORITY, country.old.genesis), real).encode())
    country.hub.say_successor(Successor(successor(height=1), real).encode())
    country.hub.say_successor(
        Successor(replace(genesis, takeovers=(*genesis.takeovers, beside)), real).encode()
    )
    country.hub.say_successor(Successor(genesis, country.old.checkpoint()).encode())
    country.hub.say_successor(genesis.encode())
    country.hub.say_successor(b"\x80")
    count = len(country.hub.blocks)
    wait_until(blocks(country.hub, count + 3), "more blocks of the old chain")
    assert run.gateway.identity.genesis == country.old.genesis.hash
    assert not run.gateway.succession.is_over


def test_a_trust_file_that_neither_descends_nor_is_descended_from_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "gateway.db")
    settle(store, Trust(OLD.hash, OLD), tmp_path)
    for other in (make_genesis(name="another"), successor(AUTHORITY)):
        with pytest.raises(ConfigError, match="is of chain"):
            settle(store, Trust(other.hash, other), tmp_path)
    new = successor()
    assert settle(store, Trust(new.hash, new), tmp_path).hash == new.hash
    assert settle(store, Trust(OLD.hash, None), tmp_path).genesis == new
    assert all(row.final for row in store.above(0) if row.number <= store.moved)
    assert [each.hash for each in chains(store)] == [OLD.hash, new.hash]
    store.close()
