"""Days in seconds: what a gateway takes of memory and disk does not grow with the time that it runs.

The recording half samples on a simulated clock; hubs sign for its blocks, and what they keep is pruned. Headers,
signatures, receipts and transitions stay for ever by design: some kilobytes an hour, which are counted here.
"""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from rig import GAS, Rig, gas_contract
from test_pruning import FOREVER_MS, answer

from gateway.config import SealTable, SensorTable, SeriesTable
from gateway.storage.holdings import Holdings, Receipt
from gateway.storage.pruning import Pruner

HOUR_S = 3600
PERIOD_S = 2
A_BLOCK_S = 600
A_BLOCK_BYTES = 4096  # that stay of it: header, signature, receipt, their places in the indices
MEMORY_BYTES = 6 << 20
KEPT = SensorTable("kept", "ads1115", 2000, {"input": "a1"}, (SeriesTable("kept", "raw", class_="internal"),))


class Run:
    """A gateway that is well looked after by its hubs, hour after hour."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.rig = rig = Rig(
            directory,
            contracts=gas_contract(max_age="30d", clear_for="0s"),
            seal=SealTable(readings=3000, seconds=A_BLOCK_S),
            sensors=(GAS, KEPT),
        )
        rig.keeper.consider(answer(rig))
        self.receipted = 0
        self.pruner = Pruner(
            rig.store,
            directory,
            rig.clock,
            quota=64 << 20,
            retain_h=2,
            custodians=lambda: 1,
            note=rig.recorder.note,
        )

    def live(self, hours: int) -> None:
        for hour in range(hours):
            for second in range(0, HOUR_S, PERIOD_S):
                self.rig.advance(PERIOD_S)
                self.rig.gas(9000 if hour % 6 == 5 and second < 20 else 100 + second % 50)
                self.rig._sample("kept", {"raw": second % 1000, "voltage": 0})
                if second % A_BLOCK_S == 0:  # the writer's time does not run faster
                    self.rig.settle()
            self.rig.settle()
            self._sign()
            self.pruner.care()

    def _sign(self) -> None:
        """A hub's receipts for all that is sealed."""
        last = self.rig.store.last_number()
        rows = [
            Receipt(number, "hub", "agency", 7, FOREVER_MS, bytes(400))
            for number in range(self.receipted + 1, last + 1)
        ]
        Holdings(self.rig.store).add_receipts(rows, last)
        for row in self.rig.store.unacknowledged("hub", 1000):
            self.rig.store.acknowledge("hub", [row.hash])
        self.receipted = last

    def memory(self) -> int:
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    def disk(self) -> int:
        """Bytes of the database; the journals' never change, and its log has a size of its own."""
        return (self.directory / "gateway.db").stat().st_size

    def held(self) -> int:
        return sum(1 for each in self.rig.store.above(0) if each.held)


def outlive(directory: Path, hours: int) -> None:
    run = Run(directory)
    run.live(hours // 4)
    memory, disk, blocks = run.memory(), run.disk(), run.rig.store.last_number()
    fixed = {each.name: each.stat().st_size for each in directory.glob("*.journal")}
    run.live(hours - hours // 4)
    more = run.rig.store.last_number() - blocks
    assert more >= hours // 2 * 6  # it did record
    assert run.held() <= 3 * 6 + 2  # two hours and what is under way
    assert run.memory() - memory < MEMORY_BYTES
    assert run.disk() - disk < more * A_BLOCK_BYTES
    assert {each.name: each.stat().st_size for each in directory.glob("*.journal")} == fixed
    assert (directory / "gateway.db-wal").stat().st_size < 8 << 20
    assert run.rig.recorder.lost == 0
    run.rig.stop()


def test_a_day_leaves_memory_and_disk_as_they_were(tmp_path: Path) -> None:
    outlive(tmp_path, 24)


@pytest.mark.soak
def test_a_week_leaves_memory_and_disk_as_they_were(tmp_path: Path) -> None:
    outlive(tmp_path, 7 * 24)


def test_what_no_hub_keeps_fills_the_disk(tmp_path: Path) -> None:
    """The test of the tests above: without receipts the same hours take more than is allowed there."""
    run = Run(tmp_path)
    run.live(1)
    disk, blocks = run.disk(), run.rig.store.last_number()
    run._sign = lambda: None  # type: ignore[method-assign]
    run.live(6)
    run.rig.store.all("PRAGMA wal_checkpoint(PASSIVE)")
    assert run.held() > 30
    assert run.disk() - disk > (run.rig.store.last_number() - blocks) * A_BLOCK_BYTES
    run.rig.stop()
