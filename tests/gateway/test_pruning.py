"""What leaves the disk and in which order, and what a full disk may never stop."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from rig import GENESIS, Rig, gas_contract
from testhub import HUB_KEY, wait_until

from gateway.chain.block import Header
from gateway.chain.events import Shedding
from gateway.chain.finality import AppState, Checkpoint, EmbeddedSeal, Seal
from gateway.chain.messages import Answer
from gateway.chain.tenure import NOWHERE
from gateway.config import SealTable
from gateway.storage.holdings import Holdings, Receipt
from gateway.storage.pruning import Pruner
from gateway.storage.store import Store

HOUR_MS = 3_600_000
FOREVER_MS = 1 << 50


def answer(rig: Rig) -> Answer:
    app = AppState(0, bytes(32), bytes(32))
    seal = Seal.embedded(HUB_KEY, EmbeddedSeal(GENESIS, 1, 1, app.hash))
    identity = rig.identity
    return Answer(
        GENESIS,
        HUB_KEY.public,
        identity.gateway,
        identity.boot,
        1,
        0,
        1,
        NOWHERE,
        (),
        (),
        Checkpoint(app, seal),
        0,
        None,
    )


class Old:
    """A gateway with one block an hour for three days, an alarm in hour 20 and its end a minute later."""

    def __init__(self, directory: Path, *, hours: int = 72) -> None:
        contracts = gas_contract(max_age="30d", clear_for="0s")
        self.rig = rig = Rig(directory, contracts=contracts, seal=SealTable(readings=4, seconds=86_400))
        rig.keeper.consider(answer(rig))
        for hour in range(hours):
            rig.advance(3597)
            for second in range(4 if hour % 2 else 3):
                rig.advance(1)
                rig.gas(9000 if hour == 20 and second == 1 else 100)
                rig.settle()
            if hour % 2 == 0:
                rig.air(210)  # a block with an internal segment
            rig.settle()
        self.store = rig.store
        self.notes: list[Shedding] = []
        self.directory = directory

    def pruner(self, *, quota: int = 1 << 30, custodians: int | None = 1, retain_h: int = 24) -> Pruner:
        return Pruner(
            self.store,
            self.directory,
            self.rig.clock,
            quota=quota,
            retain_h=retain_h,
            custodians=lambda: custodians,
            note=self.notes.append,
        )

    def receipt(self, numbers: range, agency: str = "a", classes: int = 7, final: bool = True) -> None:
        rows = [Receipt(each, f"hub-{agency}", agency, classes, FOREVER_MS, b"r") for each in numbers]
        Holdings(self.store).add_receipts(rows, numbers[-1] if final else None)

    def held(self) -> set[int]:
        return {each.number for each in self.store.above(0) if each.held}


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Old]:
    old = Old(tmp_path)
    yield old
    old.rig.stop()


def test_bodies_are_pruned_when_final_and_kept_by_enough_agencies_for_long_enough(old: Old) -> None:
    every = old.held()
    old.receipt(range(1, 11), "a")
    old.receipt(range(1, 6), "b")
    old.receipt(range(6, 11), "b", classes=0)  # a promise that leaves out what the block has
    old.pruner(custodians=2).care()
    assert old.held() == every - set(range(1, 6))
    old.pruner(custodians=1, retain_h=70).care()
    assert min(old.held()) == 6
    old.pruner(custodians=None).care()
    assert min(old.held()) == 6
    old.pruner(custodians=1).care()
    assert old.held() == every - set(range(1, 11))
    assert old.notes == []
    headers = old.store.above(0)
    assert [each.height for each in headers] == list(range(1, len(headers) + 1))


def test_without_finality_nothing_is_pruned(old: Old) -> None:
    every = old.held()
    old.receipt(range(1, 11), final=False)
    old.pruner().care()
    assert old.held() == every


def test_at_the_quota_summaries_go_then_quiet_public_bodies_then_the_oldest(old: Old) -> None:
    old.receipt(range(1, 9), final=False)
    old.pruner(quota=1).care()
    assert [each.what for each in old.notes] == [1, 2, 3]
    assert old.notes[1].last <= 8
    assert len(old.store.summaries(1)) == 0
    assert len(old.store.above(0)) == old.store.last_number()


def test_never_shed_are_the_last_day_and_ten_minutes_around_a_transition(old: Old) -> None:
    now = old.rig.clock.wall_ms()
    old.pruner(quota=1).care()
    rows = dict(old.store.all("SELECT number, ended_ms FROM blocks"))
    held = old.held()
    assert {number for number, ended in rows.items() if ended > now - 24 * HOUR_MS} <= held
    walls = [wall for (wall,) in old.store.all("SELECT wall_ms FROM transitions")]
    assert len(walls) >= 2
    near = {n for n, ended in rows.items() if any(abs(ended - wall) < 600_000 for wall in walls)}
    assert near
    assert near <= held
    assert len(held) < len(rows) / 2


def test_while_there_is_room_nothing_is_shed(old: Old) -> None:
    every = old.held()
    old.pruner().care()
    assert (old.held(), old.notes) == (every, [])


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond 1.25 MiB: for SQLite that is a full disk. Journals are allocated already."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_files")
def test_on_a_full_disk_outputs_act_alarms_go_out_marked_and_all_is_written_later(tmp_path: Path) -> None:
    rig = Rig(tmp_path, seal=SealTable(readings=3000, seconds=3600), contracts=gas_contract(clear_for="0s"))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100 * 1024, hard))
    for value in range(30_000):
        rig.advance(0.01)
        rig.gas(value % 1000)
    for _ in range(500):  # even now a transition's small row finds room for a while
        rig.advance(0.01)
        rig.gas(9000)
        assert rig.siren
        rig.gas(1)
        wait_until(lambda: not rig.writer._decisions, "the writer")
        if rig.writer.unwritten():
            break
    late = rig.writer.unwritten()
    assert {row.mark for row in late} == {1}
    assert rig.recorder.lost > 0
    before = rig.store.last_number()
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    rig.settle()
    wait_until(lambda: rig.store.last_number() > before, "what the disk refused")
    wait_until(lambda: not rig.writer.unwritten(), "the rows")
    rows = rig.store.unacknowledged("hub", limit=10_000)
    assert {row.hash for row in rows if row.mark == 1} >= {row.hash for row in late}
    rig.stop()
    store = Store(tmp_path / "gateway.db")
    assert store.loose_transitions() == []
    store.close()


@pytest.mark.usefixtures("small_files")
def test_a_start_on_a_full_disk_acts_at_once_and_stores_what_was_open_when_there_is_room(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path, seal=SealTable(readings=4000, seconds=3600))
    values = Random(0)
    for _ in range(3999):
        rig.advance(0.01)
        rig.gas(values.randrange(1 << 20, 1 << 60))  # so that deflating makes no room
    rig.close()  # as by SIGKILL
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40 * 1024, hard))
    rig = Rig(tmp_path, boot=2)
    assert len(rig.found.left) == 1
    assert rig.siren  # the alarm that stood
    rig.gas(9000)
    rig.air(215)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    rig.settle()  # a write that the disk refused before is not the last one
    rig.stop()
    store = Store(tmp_path / "gateway.db")
    boots = [int.from_bytes(Header.decode(stored.header).boot, "big") for stored in store.drafts()]
    assert boots == [1, 1, 2]
    assert store.loose_transitions() == []
    store.close()
