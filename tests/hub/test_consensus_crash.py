"""A crash between a final block's row, its effects and its seal; a disk that is full for a while."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import deque
from pathlib import Path

import pytest
from fleet import Fleet
from hubkit import MemoryStore

from gateway.chain.finality import verify_seal
from hub.auditing.audit import audit
from hub.consensus import embedded
from hub.consensus.base import FinalBlock, FinalEvent
from hub.consensus.embedded import Embedded
from hub.errors import ConsensusFull, StoreError
from hub.ledger.ledger import Ledger
from hub.storage.chainstore import ChainStore
from hub.storage.store import Store

CHILD = Path(__file__).with_name("crash_child.py")


@pytest.mark.parametrize("point", ["append", "append+", "commit", "commit+", "seal", "seal+"])
def test_a_killed_engine_replays_to_the_same_hashes(tmp_path: Path, point: str) -> None:
    child = subprocess.run(
        [sys.executable, str(CHILD), str(tmp_path), point, "3"], capture_output=True, timeout=120, check=False
    )
    assert child.returncode == -9, child.stderr
    told = dict(line.split() for line in child.stdout.decode().splitlines())
    fleet, store = Fleet(), Store(tmp_path / "ledger.db")
    ledger = Ledger(fleet.genesis, store.chain)
    consensus = Embedded(ledger, store.chain, fleet.genesis, fleet.hub_key, wall_ms=lambda: fleet.now)
    consensus.start()
    consensus.stop()

    fresh = Ledger(fleet.genesis, MemoryStore())
    for block in store.chain.final_blocks():
        app = fresh.finalize(block).app
        fresh.commit()
        checkpoint = store.chain.checkpoint(block.height)
        assert checkpoint is not None
        assert checkpoint.app == app
        assert verify_seal(checkpoint.seal, fleet.genesis).app_hash == app.hash
        assert told.get(str(block.height), app.hash.hex()) == app.hash.hex()
    assert ledger.info() == fresh.info()
    assert fresh.info().height == (2 if point == "append" else 3)
    store.close()
    (tmp_path / "genesis.cbor").write_bytes(fleet.genesis.encode())
    report = audit(tmp_path)
    # The child's engine had no intake: its headers' blocks were never kept, and nothing else is amiss.
    assert all("not among the blocks kept" in fault.text for fault in report.faults)


@pytest.mark.parametrize("point", ["append+", "commit+"])
def test_what_a_crash_cut_off_is_no_fault_to_an_audit(tmp_path: Path, point: str) -> None:
    subprocess.run(
        [sys.executable, str(CHILD), str(tmp_path), point, "2"], capture_output=True, timeout=120, check=False
    )
    (tmp_path / "genesis.cbor").write_bytes(Fleet().genesis.encode())
    report = audit(tmp_path)
    assert all("not among the blocks kept" in fault.text for fault in report.faults)
    assert any("cut off by a crash" in finding for finding in report.findings)


class FullDisk(ChainStore):
    """A chain store whose writes fail as those on a full disk do."""

    full = False

    def append_final(self, block: FinalBlock) -> None:
        self._fail()
        super().append_final(block)

    def commit(self, commit: object) -> None:
        self._fail()
        super().commit(commit)  # type: ignore[arg-type]

    def _fail(self) -> None:
        if self.full:
            raise StoreError("disk full")


def test_a_full_disk_stops_the_chain_and_breaks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(embedded, "MAX_WAITING", 4)
    fleet, store = Fleet(), Store(tmp_path / "ledger.db")
    chain = FullDisk(store.database)
    ledger = Ledger(fleet.genesis, chain)
    consensus = Embedded(ledger, chain, fleet.genesis, fleet.hub_key, wall_ms=lambda: fleet.now)
    events: list[FinalEvent] = []
    came = threading.Event()
    consensus.subscribe(lambda event: (events.append(event), came.set()))  # type: ignore[func-returns-value]
    consensus.start()
    came.clear()
    chain.full = True
    txs = [fleet.order_enrolment(fleet.gateway(f"g{number}").enrol()) for number in range(100)]
    with pytest.raises(ConsensusFull):
        deque(map(consensus.submit, txs), maxlen=0)
    assert not came.is_set()
    assert ledger.info().height == 1
    chain.full = False
    assert came.wait(60)
    consensus.stop()
    assert events[1].result.tx_results[0].accepted == 1
    assert ledger.info().height == events[-1].block.height == chain.last_final().height  # type: ignore[union-attr]
    store.close()


def test_an_engine_stops_on_a_full_disk_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    fleet, store = Fleet(), Store(tmp_path / "ledger.db")
    chain = FullDisk(store.database)
    tx = fleet.order_enrolment(fleet.gateway("a").enrol())

    def engine() -> tuple[Embedded, Ledger]:
        ledger = Ledger(fleet.genesis, chain)
        return Embedded(ledger, chain, fleet.genesis, fleet.hub_key, wall_ms=lambda: fleet.now), ledger

    consensus, _ = engine()
    consensus.start()
    chain.full = True
    consensus.submit(tx)
    consensus.stop()
    assert not consensus.running
    chain.full = False
    consensus, ledger = engine()
    consensus.start()
    consensus.stop()
    assert ledger.info().height == 1
    store.close()


def test_a_subscriber_that_fails_does_not_stop_the_chain(tmp_path: Path) -> None:
    fleet, store = Fleet(), Store(tmp_path / "ledger.db")
    consensus = Embedded(
        Ledger(fleet.genesis, store.chain), store.chain, fleet.genesis, fleet.hub_key, interval=0.01
    )
    heights: list[int] = []
    third = threading.Event()

    def fail(event: FinalEvent) -> None:
        raise RuntimeError("a reader's fault")

    def note(event: FinalEvent) -> None:
        heights.append(event.block.height)
        if event.block.height == 3:
            third.set()

    consensus.subscribe(fail)
    consensus.subscribe(note)
    consensus.start()
    assert third.wait(60), "empty final blocks come by themselves"
    consensus.stop()
    assert heights[:3] == [1, 2, 3]
    store.close()
