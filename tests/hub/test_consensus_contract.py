"""One contract for every engine and for the machine behind it: the same finalizes, the same bytes of state."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from comets import Federation
from fleet import Fleet
from hubkit import MemoryStore
from hubs import eventually

from gateway.chain.errors import TooLarge
from gateway.chain.keys import SigningKey
from gateway.chain.leaf import ALARMS, HEADERS, LogLeaf
from hub.consensus.base import Consensus, FinalBlock, FinalEvent, Info, StateMachine, tx_id
from hub.consensus.comet import Comet
from hub.consensus.embedded import Embedded
from hub.errors import ConsensusError, ConsensusStopped
from hub.ledger.ledger import Ledger, LedgerStore
from hub.storage.store import Store

DEADLINE = 20.0


def a_life(fleet: Fleet) -> list[tuple[bytes, ...]]:
    """Return the transactions of some final blocks: all kinds, repeats, refusals, an empty one."""
    a, b = fleet.gateway("a"), fleet.gateway("b")
    enrol = [fleet.order_enrolment(each.enrol()) for each in (a, b)]
    alarm = fleet.order_alarms(a.alarm())
    blocks = [a.block(), b.block(), a.block(), b.block()]
    return [
        (enrol[0], enrol[1], enrol[0]),
        (alarm, fleet.order_headers(*blocks[:2])),
        (),
        (fleet.order_headers(*blocks), fleet.order_rotation(b.rotate()), b"noise"),
        (fleet.order_headers(b.stale_key(), a.skip(), b.block()), fleet.order_grant(fleet.grant(a.id))),
        (fleet.order_epoch(a.epoch_change()), fleet.order_epoch(b.epoch_change())),
        (fleet.order_revocation(fleet.revocation(a.id, a.head)), alarm),
        (fleet.order_equivocation(b.replay(3), b.fork(3)),),
    ]


def final_blocks(fleet: Fleet) -> list[FinalBlock]:
    return [
        FinalBlock(height, fleet.now + height, bytes(32), txs) for height, txs in enumerate(a_life(fleet), 1)
    ]


@pytest.fixture(params=["sqlite", "memory"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LedgerStore]:
    if request.param == "memory":
        yield MemoryStore()
        return
    store = Store(tmp_path / "ledger.db")
    yield store.chain
    store.close()


def apply_all(machine: StateMachine, blocks: list[FinalBlock]) -> list[object]:
    results: list[object] = []
    for block in blocks:
        results.append(machine.finalize(block))
        machine.commit()
    return results


def test_the_same_finalizes_give_the_same_results_and_bytes_on_every_store(stored: LedgerStore) -> None:
    fleet = Fleet()
    blocks = final_blocks(fleet)
    reference = MemoryStore()
    expected = apply_all(Ledger(fleet.genesis, reference), blocks)
    assert apply_all(Ledger(fleet.genesis, stored), blocks) == expected
    assert sorted(stored.entries()) == sorted(reference.entries())
    assert list(stored.log_hashes()) == list(reference.log_hashes())


def test_a_machine_taken_up_from_disk_at_any_height_goes_on_the_same(tmp_path: Path) -> None:
    fleet = Fleet()
    blocks = final_blocks(fleet)
    expected = apply_all(Ledger(fleet.genesis, MemoryStore()), blocks)
    found = []
    for block in blocks:
        store = Store(tmp_path / "ledger.db")
        found += apply_all(Ledger(fleet.genesis, store.chain), [block])
        store.close()
    assert found == expected


def test_finalize_persists_nothing_and_can_be_repeated(stored: LedgerStore) -> None:
    fleet = Fleet()
    first, second, *_ = final_blocks(fleet)
    ledger = Ledger(fleet.genesis, stored)
    apply_all(ledger, [first])
    before = ledger.info(), sorted(stored.entries()), list(stored.log_hashes())
    once = ledger.finalize(second)
    assert (ledger.info(), sorted(stored.entries()), list(stored.log_hashes())) == before
    other = ledger.finalize(FinalBlock(2, second.time, bytes(32), ()))
    assert other.app_hash == ledger.info().app_hash
    assert ledger.finalize(second) == once
    ledger.commit()
    assert ledger.info() == Info(2, once.app_hash)


def test_an_empty_final_block_changes_neither_log_nor_state(stored: LedgerStore) -> None:
    fleet = Fleet()
    ledger = Ledger(fleet.genesis, stored)
    apply_all(ledger, final_blocks(fleet)[:2])
    before = ledger.info().app_hash
    assert ledger.finalize(FinalBlock(3, fleet.now + 90_000, bytes(32), ())).app_hash == before


def test_a_final_block_out_of_order_is_a_fault_of_the_engine(stored: LedgerStore) -> None:
    ledger = Ledger(Fleet().genesis, stored)
    with pytest.raises(ConsensusError, match="does not follow"):
        ledger.finalize(FinalBlock(2, 1, bytes(32), ()))
    with pytest.raises(ConsensusError, match="no finalized block"):
        ledger.commit()


def test_another_chains_genesis_is_refused(stored: LedgerStore) -> None:
    ledger = Ledger(Fleet(1).genesis, stored)
    with pytest.raises(ConsensusError, match="genesis"):
        ledger.genesis(Fleet(2).genesis.encode())


def test_prepare_puts_alarms_first_and_keeps_the_rest_in_order_and_in_bounds(stored: LedgerStore) -> None:
    fleet = Fleet()
    gateway = fleet.gateway("a")
    ledger = Ledger(fleet.genesis, stored)
    apply_all(ledger, [FinalBlock(1, fleet.now, bytes(32), (fleet.order_enrolment(gateway.enrol()),))])
    headers = [fleet.order_headers(gateway.block()) for _ in range(3)]
    alarms = [fleet.order_alarms(gateway.alarm()) for _ in range(2)]
    assert ledger.prepare([headers[0], alarms[0], headers[1], alarms[1]], 1 << 20) == (
        *alarms,
        *headers[:2],
    )
    assert ledger.prepare(headers, len(headers[0]) + len(headers[1])) == tuple(headers[:2])
    assert ledger.process(headers + alarms)


# the engines


class Engine:
    """A hub's engine that can be taken up anew from its directory. Under CometBFT three other hubs run beside it."""

    def __init__(self, directory: Path, cometbft: Path | None) -> None:
        self.directory, self.fleet = directory, Fleet()
        self.opened: list[tuple[Consensus, Store]] = []
        self.federation = Federation(directory, str(cometbft)) if cometbft else None
        if self.federation is not None:
            self.fleet = self.federation.fleet
            for other in self.federation.members[1:]:
                other.comet.start()

    def open(self) -> tuple[Consensus, Ledger]:
        """Return the engine, not started yet, and its ledger."""
        store = Store(self.directory / "ledger.db")
        ledger = Ledger(self.fleet.genesis, store.chain)
        self.opened.append((self._engine(ledger, store), store))
        return self.opened[-1][0], ledger

    def _engine(self, ledger: Ledger, store: Store) -> Consensus:
        genesis, federation = self.fleet.genesis, self.federation
        if federation is None:
            return Embedded(ledger, store.chain, genesis, self.fleet.hub_key, wall_ms=lambda: self.fleet.now)
        return Comet(ledger, store.chain, genesis, federation.keys[0], federation.settings(0))

    def close(self) -> None:
        for consensus, store in self.opened:
            consensus.stop()
            store.close()
        if self.federation is not None:
            self.federation.close()


@pytest.fixture(params=["embedded", "comet"])
def engine(
    request: pytest.FixtureRequest, tmp_path: Path, require: Callable[[str], Path]
) -> Iterator[Engine]:
    made = Engine(tmp_path, require("cometbft") if request.param == "comet" else None)
    yield made
    made.close()


class Watcher:
    """Collects events and waits for them."""

    def __init__(self, consensus: Consensus) -> None:
        self.events: list[FinalEvent] = []
        self._came = threading.Condition()
        consensus.subscribe(self._on_final)

    def _on_final(self, event: FinalEvent) -> None:
        with self._came:
            self.events.append(event)
            self._came.notify_all()

    def until(self, done: Callable[[list[FinalEvent]], bool]) -> list[FinalEvent]:
        with self._came:
            assert self._came.wait_for(lambda: done(self.events), DEADLINE)
            return list(self.events)

    def final(self, *identities: bytes) -> list[FinalEvent]:
        wanted = set(identities)
        return self.until(lambda events: wanted <= {tx_id(tx) for event in events for tx in event.block.txs})


def test_what_is_submitted_becomes_final_with_a_checkpoint_that_verifies(engine: Engine) -> None:
    fleet = engine.fleet
    gateway = fleet.gateway("a")
    consensus, ledger = engine.open()
    watcher = Watcher(consensus)
    consensus.start()
    watcher.final(consensus.submit(fleet.order_enrolment(gateway.enrol())))
    alarm, block = gateway.alarm(), gateway.block()
    events = watcher.final(
        consensus.submit(fleet.order_headers(block)), consensus.submit(fleet.order_alarms(alarm))
    )
    assert [event.block.height for event in events] == list(range(1, len(events) + 1))
    assert all(event.result.app_hash == event.checkpoint.app.hash for event in events)
    sealed = events[-1].checkpoint.verify(fleet.genesis)
    assert sealed.height == events[-1].block.height
    assert sealed.time >= events[-1].block.time
    for leaf in (
        LogLeaf(HEADERS, gateway.id, 1, 1, block.hash),
        LogLeaf(ALARMS, gateway.id, 0, alarm.mark, alarm.hash),
    ):
        index = ledger.index(leaf)
        assert index is not None
        ledger.finality(index, events[-1].checkpoint).verify(leaf, fleet.genesis)


def test_many_submitters_get_one_order_and_lose_nothing(engine: Engine) -> None:
    fleet = engine.fleet
    consensus, ledger = engine.open()
    watcher = Watcher(consensus)
    consensus.start()
    gateways = [fleet.gateway(name) for name in "abcd"]
    watcher.final(*(consensus.submit(fleet.order_enrolment(each.enrol())) for each in gateways))
    txs = {each.id: [fleet.order_headers(each.block(1)) for _ in range(20)] for each in gateways}
    threads = [
        threading.Thread(target=lambda own=own: [consensus.submit(tx) for tx in own]) for own in txs.values()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = watcher.final(*(tx_id(tx) for own in txs.values() for tx in own))
    ordered = [tx for event in events for tx in event.block.txs]
    assert all([tx for tx in ordered if tx in own] == own for own in txs.values())
    assert all(ledger.committed.entry(each.id).head.height == 20 for each in gateways)  # type: ignore[union-attr]
    times = [event.block.time for event in events]
    assert times == sorted(set(times))


def test_an_engine_started_again_goes_on_where_it_stood(engine: Engine) -> None:
    fleet = engine.fleet
    consensus, ledger = engine.open()
    watcher = Watcher(consensus)
    consensus.start()
    watcher.final(consensus.submit(fleet.order_enrolment(fleet.gateway("a").enrol())))
    consensus.stop()
    consensus.stop()
    before = ledger.info()
    consensus, ledger = engine.open()
    watcher = Watcher(consensus)
    assert ledger.info() == before
    consensus.start()
    events = watcher.final(consensus.submit(fleet.order_headers(fleet.gateway("a").block())))
    assert events[0].block.height == before.height + 1
    assert [result.accepted for event in events for result in event.result.tx_results] == [1]


def test_an_engine_refuses_what_is_too_large_and_everything_once_stopped(engine: Engine) -> None:
    consensus, _ = engine.open()
    with pytest.raises(ConsensusStopped):
        consensus.submit(b"early")
    consensus.start()
    with pytest.raises(TooLarge):
        consensus.submit(bytes(65_537))
    consensus.stop()
    with pytest.raises(ConsensusStopped):
        consensus.submit(b"late")


def test_the_embedded_engine_seals_only_with_the_key_that_the_genesis_names(tmp_path: Path) -> None:
    fleet, store = Fleet(), Store(tmp_path / "ledger.db")
    with pytest.raises(ConsensusError, match="another hub"):
        Embedded(Ledger(fleet.genesis, store.chain), store.chain, fleet.genesis, SigningKey(bytes(32)))
    store.close()


def test_an_engine_says_how_it_stands(engine: Engine) -> None:
    consensus, _ = engine.open()
    watcher = Watcher(consensus)
    assert not consensus.running
    assert "not running" in consensus.status().standing
    consensus.start()
    event = watcher.until(bool)[-1]
    eventually(lambda: consensus.running and not consensus.status().catching_up, "a running engine")
    status = consensus.status()
    sealed = event.checkpoint.verify(engine.fleet.genesis)
    assert status.standing == ""
    assert (status.height, status.time) >= (sealed.height, sealed.time)
    genesis = engine.fleet.genesis
    assert set(status.voters) <= {each.key for each in (*genesis.validators, *genesis.hubs)}
    voters = genesis.validators or genesis.hubs
    assert 3 * len(status.voters) > 2 * len(voters)
    consensus.stop()
    assert not consensus.running


def test_the_same_bytes_submitted_again_do_not_wait_for_ever(engine: Engine) -> None:
    consensus, _ = engine.open()
    answered: list[bytes] = []
    watcher = Watcher(consensus)
    consensus.subscribe_refusals(lambda identity, verdict: answered.append(identity))
    consensus.start()
    fleet = engine.fleet
    tx = fleet.order_enrolment(fleet.gateway("a").enrol())
    watcher.final(consensus.submit(tx))
    heard = len(watcher.events)
    consensus.submit(tx)

    def again() -> bool:
        return bool(answered) or any(tx in event.block.txs for event in watcher.events[heard:])

    eventually(again, "an answer")


def test_what_an_engine_made_final_gives_the_same_bytes_anywhere(engine: Engine) -> None:
    consensus, ledger = engine.open()
    watcher = Watcher(consensus)
    consensus.start()
    fleet = engine.fleet
    a, b = fleet.gateway("a"), fleet.gateway("b")
    watcher.final(*(consensus.submit(fleet.order_enrolment(each.enrol())) for each in (a, b)))
    txs = [
        fleet.order_alarms(a.alarm()),
        fleet.order_headers(a.block(), b.block()),
        fleet.order_rotation(b.rotate()),
    ]
    watcher.final(*map(consensus.submit, txs))
    watcher.final(consensus.submit(fleet.order_headers(b.block(), a.block())))
    events = watcher.final(consensus.submit(fleet.order_epoch(a.epoch_change())))
    consensus.stop()
    reference = MemoryStore()
    results = apply_all(Ledger(fleet.genesis, reference), [event.block for event in events])
    assert results == [event.result for event in events]
    assert ledger.info().app_hash == events[-1].result.app_hash
    store = engine.opened[-1][1].chain
    assert sorted(store.entries()) == sorted(reference.entries())
    assert list(store.log_hashes()) == list(reference.log_hashes())
