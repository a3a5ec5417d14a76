"""The same final blocks give the same bytes on every hub, whatever else a hub saw, forgot or was stopped at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from fedkit import Federation
from fleet import FleetGateway, flip, seeded

from gateway.chain.keys import SigningKey
from gateway.chain.possession import LACKED, SUMMONS_MS
from hub.consensus.base import FinalBlock, Misbehaviour, Result
from hub.ledger.ledger import Ledger
from hub.storage.store import Store

BLOCKS = 14
TABLES = ("log", "state", "records", "commits", "final_blocks")


class Story:
    """Final blocks of a seed: honest records, lies, repeats and junk of every kind, in any order."""

    def __init__(self, seed: int) -> None:
        self.random, self.federation = Random(seed), Federation(5)
        self.fleet = self.federation.fleet
        self.gateways = [self.fleet.gateway(name) for name in "abc"]
        self.pool = [self.fleet.order_enrolment(each.enrol()) for each in self.gateways]
        self.summons: list[tuple[bytes, int]] = []
        self.proposals: list[bytes] = []

    def block(self, height: int) -> FinalBlock:
        """Make the next final block."""
        for _ in range(self.random.randrange(2, 10)):
            self.pool.append(self._record())
        txs = self.random.sample(self.pool, min(len(self.pool), self.random.randrange(1, 16)))
        if (
            self.random.random() < 0.7
        ):  # mostly in the order in which they were made, so that much is accepted
            txs.sort(key=self.pool.index)
        caught = (self._crime(height),) if self.random.random() < 0.1 else ()
        self.fleet.now += self.random.choice((1, 1000, SUMMONS_MS))
        return FinalBlock(height, self.fleet.now, seeded(height), tuple(txs), caught)

    def some(self) -> tuple[bytes, ...]:
        """Transactions that may come before a hub at any time."""
        return tuple(self.random.sample(self.pool, min(len(self.pool), 8)))

    def _crime(self, height: int) -> Misbehaviour:
        return Misbehaviour(self.federation.address(self.random.randrange(6)), height, 1)

    def _record(self) -> bytes:
        gateway, place = self.random.choice(self.gateways), self.random.randrange(7)
        kinds = (self._of_gateway, self._of_gateway, self._of_members, self._of_custody)
        tx = self.random.choice(kinds)(gateway, place)
        return flip(tx, self.random.randrange(1 << 16)) if self.random.random() < 0.1 else tx

    def _of_gateway(self, gateway: FleetGateway, _: int) -> bytes:
        fleet = self.fleet
        verbs: list[Callable[[], bytes]] = [
            lambda: fleet.order_headers(gateway.block()),
            lambda: fleet.order_headers(*(gateway.block(2) for _ in range(4))),
            lambda: fleet.order_alarms(gateway.alarm(), *(each.alarm() for each in self.gateways)),
            lambda: fleet.order_headers(gateway.skip()),
            lambda: fleet.order_rotation(gateway.rotate()),
            lambda: fleet.order_epoch(gateway.epoch_change()),
            lambda: fleet.order_grant(fleet.grant(gateway.id, self.random.randrange(4))),
        ]
        if self.random.random() < 0.05 and gateway.blocks:
            return fleet.order_equivocation(gateway.blocks[0], gateway.fork(1))
        if self.random.random() < 0.03:
            return fleet.order_revocation(fleet.revocation(gateway.id))
        return self.random.choice(verbs)()

    def _of_members(self, _: FleetGateway, place: int) -> bytes:
        four, by = self.federation, self.random.randrange(6)
        if self.proposals and self.random.random() < 0.7:
            return four.approve(by, self.random.choice(self.proposals[-3:]))
        if self.random.random() < 0.1:
            return four.suspend(place)
        verbs: list[Callable[[], bytes]] = [
            lambda: four.admit(by, place),
            lambda: four.change(by, place, turn=self.random.randrange(2)),
            lambda: four.remove(by, place),
            lambda: four.appoint(by, "fire", SigningKey(seeded("fire", place))),
            lambda: four.dismiss(by, "agency"),
        ]
        self.proposals.append(self.random.choice(verbs)())
        return self.proposals[-1]

    def _of_custody(self, _: FleetGateway, place: int) -> bytes:
        four, receipt = self.federation, self.federation.receipt(place % 5, self.random.randrange(1, 4))
        if not self.summons or self.random.random() < 0.4:
            self.summons.append((four.summon(self.random.randrange(5), receipt), place % 5))
            return self.summons[-1][0]
        summons, hub = self.random.choice(self.summons)
        verbs: list[Callable[[], bytes]] = [
            lambda: four.lack(place % 5, receipt),
            lambda: four.respond(hub, summons, self.random.choice((1, LACKED))),
            lambda: four.unanswered(four.receipt(hub, 1), summons),
        ]
        return self.random.choice(verbs)()


class Machine:
    """One hub's ledger in a directory."""

    def __init__(self, directory: Path, federation: Federation) -> None:
        directory.mkdir()
        self.directory, self.genesis = directory, federation.genesis
        self.open()
        self.ledger.genesis(self.genesis.encode())

    def open(self) -> None:
        self.store = Store(self.directory / "ledger.db")
        self.ledger = Ledger(self.genesis, self.store.chain)

    def restart(self) -> None:
        self.store.close()
        self.open()

    def rows(self) -> dict[str, list[tuple[object, ...]]]:
        """Return all that consensus has written."""
        return {table: self.store.database.rows(f"SELECT * FROM {table} ORDER BY 1") for table in TABLES}


def busily(machine: Machine, block: FinalBlock, story: Story) -> Result:
    """Make a final block after much was checked, packed and finalized that is not in it."""
    ledger = machine.ledger
    for tx in (*story.some(), *block.txs, *story.some()):
        ledger.check(tx)
    ledger.process(ledger.prepare(story.some(), 1 << 16))
    ledger.finalize(FinalBlock(block.height, block.time + 5, seeded("another round"), story.some()))
    return ledger.finalize(block)


def stopped(machine: Machine, block: FinalBlock) -> Result:
    """Make a final block that a crash came upon before its commit, and another one after it."""
    machine.ledger.finalize(block)
    machine.restart()
    return machine.ledger.finalize(block)


@pytest.mark.parametrize("seed", range(6))
def test_what_a_hub_saw_or_forgot_changes_no_byte_of_a_final_block(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story(seed)
    busy, fresh, bare = (Machine(tmp_path / name, story.federation) for name in ("busy", "fresh", "bare"))
    accepted = 0
    for height in range(1, BLOCKS + 1):
        block = story.block(height)
        results = [busily(busy, block, story), stopped(fresh, block)]
        with monkeypatch.context() as context:
            context.setattr("hub.ledger.facts._CACHE", 0)
            context.setattr("hub.ledger.facts._CACHE_BYTES", -1)
            results.append(bare.ledger.finalize(block))
        for machine in (busy, fresh, bare):
            machine.ledger.commit()
        fresh.restart()
        assert results[0] == results[1] == results[2]
        accepted += sum(each.accepted for each in results[0].tx_results)
    assert accepted > BLOCKS, "a story in which nothing happens shows nothing"
    assert busy.rows() == fresh.rows() == bare.rows()
    for machine in (busy, fresh, bare):
        machine.store.close()
