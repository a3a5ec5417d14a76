"""From samples to sealed blocks: order, times, classes, decisions, policy, and what a crash leaves."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rig import AIR, GAS, START_MS, Rig, gas_contract
from testhub import PATIENCE

from gateway.chain.alarm import ALARMED, NORMAL, Transition
from gateway.chain.block import Header
from gateway.chain.events import ClockStep, Status
from gateway.chain.reading import Segment, open_segment, parse_leaf
from gateway.clock import SimulatedClock, SystemClock
from gateway.config import SealTable, SeriesTable
from gateway.contracts.errors import MismatchError
from gateway.errors import StoreFull
from gateway.outputs.options import OutputOptions
from gateway.recording.feed import Feed
from gateway.storage.journal import Journal
from gateway.storage.store import Store, Stored


def opened(store: Store, stored: Stored) -> dict[int, Segment]:
    header, block = Header.decode(stored.header), store.message(stored)
    return {
        head.klass: open_segment(head.klass, data)
        for head, data in zip(header.segments, block.segments, strict=True)
    }


def blocks(store: Store) -> list[Stored]:
    return sorted([*store.drafts(), *store.above(0)], key=lambda each: each.number)


def values(store: Store, series: int) -> list[int]:
    found = []
    for stored in blocks(store):
        for segment in opened(store, stored).values():
            pairs = zip(segment.series, segment.values, strict=True)
            found += [value for index, value in pairs if index == series]
    return found


def test_readings_keep_order_class_and_time(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    for value in range(5):
        rig.advance(0.1)
        rig.gas(100 + value)
    rig.air(215, 480)
    rig.stop()
    store = Store(tmp_path / "gateway.db")
    (stored,) = store.drafts()
    header, segments = Header.decode(stored.header), opened(store, stored)
    store.close()
    assert (header.wall, header.mono, header.span, header.clock) == (START_MS + 100, 100, 400, 1)
    assert sorted(segments) == [0, 1]
    assert list(segments[0].series) == [0, 0, 0, 0, 0, 1]
    assert list(segments[0].offsets) == [0, 100, 200, 300, 400, 400]
    assert list(segments[1].values) == [480]


def test_a_block_is_sealed_at_its_number_of_readings(tmp_path: Path) -> None:
    rig = Rig(tmp_path, seal=SealTable(readings=10))
    for value in range(35):
        rig.advance(0.1)
        rig.gas(value)
        rig.settle()
    assert rig.store.last_number() == 3
    rig.stop()


def test_a_block_is_sealed_at_its_age_without_any_sample(tmp_path: Path) -> None:
    rig = Rig(tmp_path, seal=SealTable(seconds=10))
    rig.advance(1)
    rig.gas(1)
    assert rig.recorder.due_ms() <= 11_000
    rig.advance(11)
    rig.recorder.tick()
    rig.settle()
    assert rig.store.last_number() == 1
    rig.stop()


def test_a_transition_drives_the_pin_and_is_durable_announced_and_sealed(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.advance(5)
    rig.gas(9000)
    assert rig.siren
    assert rig.announced.wait(PATIENCE)
    (row,) = rig.store.unacknowledged("hub")
    moved = Transition.decode(row.body)
    assert (moved.before, moved.after, moved.counter) == (NORMAL, ALARMED, 1)
    assert (moved.wall, moved.mono) == (START_MS + 5000, 5000)
    rig.settle()
    (stored,) = rig.store.drafts()
    assert stored.transitions == 1
    rig.stop()


def test_a_decision_is_acted_on_whatever_else_goes_wrong_with_its_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = SeriesTable("kitchen.volts", "voltage")
    rig = Rig(tmp_path, sensors=(replace(GAS, series=(*GAS.series, more)), AIR))
    rig._sample("gas", {"raw": 100, "voltage": 1.5})  # type: ignore[dict-item]
    assert rig.recorder.latest()["kitchen.ch4"][0] == 100

    def broken(*_: object) -> bool:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(rig.recorder._gauges, "keeps", broken)
    with pytest.raises(ZeroDivisionError):
        rig.gas(9000)
    assert rig.siren
    assert rig.announced.wait(PATIENCE)
    monkeypatch.undo()
    rig.stop()


def test_a_deadline_is_met_whatever_goes_wrong_with_what_was_refused_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path, contracts=gas_contract(hold="5s"))

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(rig.recorder.refusals, "flush", fails)
    rig.gas(9000)
    rig.advance(5)
    with pytest.raises(RuntimeError):
        rig.recorder.tick()
    assert rig.siren
    monkeypatch.undo()
    rig.stop()


def test_a_flapping_contract_seals_no_more_often_than_the_least_interval(tmp_path: Path) -> None:
    rig = Rig(tmp_path, seal=SealTable(min_interval_ms=2000))
    for second in range(20):
        rig.advance(0.5)
        rig.gas(5000 if second % 2 else 0)
    rig.fail("gas")
    for _ in range(10):
        rig.fail("gas")
        rig.gas(1)
    rig.settle()
    assert rig.store.last_number() <= 5
    rig.stop()


def test_the_pin_is_driven_when_nothing_can_be_written(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.advance(1)
    rig.store.close()  # as a card that is gone
    rig.gas(9000)
    assert rig.siren
    assert rig.announced.wait(PATIENCE)
    (row,) = rig.writer.unwritten()
    assert row.mark == 1
    rig.stop()


@pytest.fixture
def quick_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory where there is one: what is measured is the gateway, not a slow disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as directory:
        yield Path(directory)


def test_no_reading_waits_longer_than_the_loss_bound_for_its_sync(quick_disk: Path) -> None:
    clock = SystemClock()
    rig = Rig(quick_disk, clock, bound_ms=200)
    overdue = []
    for value in range(100):
        rig.gas(value)
        clock.sleep(0.02)
        now = clock.monotonic_ms()
        overdue += [now - due for each in rig.found.journals if (due := each.next_sync_ms) is not None]
    assert max(overdue) < 1000
    rig.stop()


def test_no_block_is_stored_while_a_transition_in_it_has_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path)
    rig.advance(5)

    def full(*_: object) -> None:
        raise StoreFull("no room for the row, as it happens")

    monkeypatch.setattr(rig.store, "add_transitions", full)
    rig.gas(9000)
    assert rig.announced.wait(PATIENCE)
    assert [row.mark for row in rig.writer.unwritten()] == [1]
    assert rig.store.last_number() == 0
    monkeypatch.undo()
    rig.stop()
    store = Store(tmp_path / "gateway.db")
    assert [row.mark for row in store.unacknowledged("hub")] == [1]
    assert [stored.transitions for stored in store.drafts()] == [1]
    store.close()


def test_five_failures_are_a_fault_beside_the_condition_and_one_good_value_ends_it(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.advance(1)
    rig.gas(100)
    for _ in range(4):
        rig.advance(0.1)
        rig.fail("gas", "timeout")
    assert rig.recorder.conditions()["gas-ch4"] == ("normal", ())
    rig.fail("gas", "timeout")
    assert rig.recorder.conditions()["gas-ch4"] == ("normal", ("gas:timeout",))
    rig.gas(100)
    assert rig.recorder.conditions()["gas-ch4"] == ("normal", ())
    rig.stop()
    store = Store(tmp_path / "gateway.db")
    leaves = [leaf for each in blocks(store) for _, leaf in opened(store, each)[0].events]
    states = [(e.state, e.reason) for leaf in leaves if isinstance(e := parse_leaf(leaf), Status)]
    store.close()
    assert states == [(1, "timeout"), (2, "timeout"), (0, "")]


def test_a_silent_sensor_is_a_fault_without_any_call_of_its_sampler(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.advance(1)
    rig.gas(100)
    rig.advance(20)
    rig.recorder.tick()
    assert rig.recorder.conditions()["gas-ch4"][1] == ("gas:missing",)
    assert rig.recorder.faults == 3
    rig.stop()


def test_report_by_exception_leaves_out_what_is_within_the_dead_band(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    for temperature in (200, 203, 205, 206, 204, 220, *[219] * 20):
        rig.advance(3)
        rig.gas(1)
        rig.air(temperature)
    rig.stop()
    store = Store(tmp_path / "gateway.db")
    kept = values(store, 1)
    store.close()
    assert kept == [200, 206, 220, 219]


def test_around_a_transition_everything_is_kept(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    for temperature in (200, 201, 202, 203):
        rig.advance(3)
        rig.air(temperature)
    rig.gas(9000)
    rig.advance(3)
    rig.air(202)
    rig.stop()
    store = Store(tmp_path / "gateway.db")
    kept = values(store, 1)
    spans = [(h.mono, h.mono + h.span) for each in blocks(store) for h in [Header.decode(each.header)]]
    store.close()
    assert sorted(kept) == [200, 201, 202, 202, 203]
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))


def test_a_clock_step_is_signed_and_bends_no_block(tmp_path: Path) -> None:
    clock = SimulatedClock(speed=0, start_wall_ms=START_MS)
    rig = Rig(tmp_path, clock)
    rig.advance(1)
    rig.gas(1)
    clock.step_wall(3_600_000)
    rig.advance(1)
    rig.gas(2)
    rig.advance(1)
    rig.gas(3)
    rig.stop()
    store = Store(tmp_path / "gateway.db")
    first, second = (Header.decode(each.header) for each in blocks(store))
    leaves = [leaf for each in blocks(store) for _, leaf in opened(store, each)[0].events]
    store.close()
    assert (first.wall, first.mono, first.span) == (START_MS + 1000, 1000, 1000)
    assert (second.wall, second.mono) == (START_MS + 3_602_000, 2000)
    assert [parse_leaf(leaf) for leaf in leaves] == [ClockStep(1000, 3_600_000, 1)]


def test_a_restart_keeps_the_alarm_and_its_outputs(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.advance(1)
    rig.gas(9000)
    rig.stop()
    rig = Rig(tmp_path, boot=2)
    assert rig.siren
    assert rig.recorder.conditions()["gas-ch4"][0] == "alarm"
    rig.stop()


def test_warm_up_follows_the_sensors_power_and_holds_the_alarm(tmp_path: Path) -> None:
    contracts = gas_contract(warm_up="3m")
    rig = Rig(tmp_path, contracts=contracts, powered_since_ms=0)
    rig.advance(10)
    rig.gas(9000)
    assert not rig.siren
    rig.advance(175)
    rig.gas(9000)
    assert rig.siren
    rig.stop()


def test_a_siren_that_has_run_out_sounds_again_for_a_new_alarm(tmp_path: Path) -> None:
    siren = OutputOptions("siren", "siren", 17, max_runtime_s=60)
    rig = Rig(tmp_path, siren=siren, contracts=gas_contract(clear_for="0s", max_age="30d"))
    rig.gas(9000)
    rig.advance(61)
    rig.recorder.tick()
    assert not rig.siren
    rig.gas(1)
    assert rig.recorder.conditions()["gas-ch4"][0] == "latched"
    rig.gas(9000)
    assert rig.siren
    rig.stop()


def swapped(rig: Rig) -> list[Transition]:
    rig.settle()
    return [Transition.decode(row.body) for row in rig.store.unacknowledged("hub")]


def test_a_contract_set_in_force_during_warm_up_waits_for_it_too(tmp_path: Path) -> None:
    rig = Rig(tmp_path, contracts=gas_contract(warm_up="3m"), powered_since_ms=0)
    rig.advance(1)
    rig.gas(9000)
    rig.recorder.swap(gas_contract(1, warm_up="3m", id="gas-v2"))
    rig.gas(9000)
    assert not rig.siren
    rig.advance(180)
    rig.gas(9000)
    assert rig.siren
    rig.stop()


def test_a_contract_that_is_taken_away_in_alarm_ends_by_a_transition_in_its_own_block(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.advance(2)
    rig.gas(9000)
    rig.recorder.swap(gas_contract(1, id="gas-v2"))
    assert not rig.siren
    rig.gas(9000)
    assert rig.siren
    moves = [(each.contract, each.before, each.after) for each in swapped(rig)]
    assert moves == [("gas-ch4", 0, 2), ("gas-ch4", 2, 0), ("gas-v2", 0, 2)]
    rig.stop()
    store = Store(tmp_path / "gateway.db")
    by_set: dict[bytes, list[str]] = {}
    for stored in blocks(store):
        leaves = [leaf for _, leaf in opened(store, stored)[0].events]
        names = [Transition.decode(e).contract for leaf in leaves if isinstance(e := parse_leaf(leaf), bytes)]
        by_set.setdefault(Header.decode(stored.header).contracts.root, []).extend(names)
    store.close()
    assert list(by_set.values()) == [["gas-ch4", "gas-ch4"], ["gas-v2"]]


def test_a_contract_that_a_new_configuration_lacks_ends_by_a_transition(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.gas(9000)
    rig.stop()
    rig = Rig(tmp_path, boot=2, contracts=gas_contract(id="gas-v2"))
    assert not rig.siren
    assert [(each.contract, each.after) for each in swapped(rig)] == [("gas-ch4", 2), ("gas-ch4", 0)]
    rig.stop()


def test_a_contract_set_that_would_drive_nothing_is_refused(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    with pytest.raises(MismatchError, match="no output is called horn; there are siren, valve"):
        rig.recorder.swap(gas_contract(1, siren="horn"))
    rig.gas(9000)
    assert rig.siren
    rig.stop()


def test_what_was_open_at_a_kill_is_sealed_with_its_own_boot(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.advance(1)
    rig.gas(7)
    rig.air(210)
    rig.close()  # no seal: as by SIGKILL, what the journal holds is all there is
    again = Rig(tmp_path, boot=2)
    (stored,) = again.store.drafts()
    header = Header.decode(stored.header)
    assert header.boot == (1).to_bytes(8, "big")
    assert (header.wall, header.mono) == (START_MS + 1000, 1000)
    assert again.found.whole
    assert values(again.store, 0) == [7]
    assert opened(again.store, stored)[1].values == (500,)
    again.stop()


def test_what_follows_in_the_other_journal_is_never_found_without_what_went_before(tmp_path: Path) -> None:
    clock = SimulatedClock(0)
    journals = [Journal(tmp_path / name, loss_bound_ms=1000, clock=clock) for name in "ab"]
    one, two = (Feed(journal, clock) for journal in journals)

    def found() -> list[tuple[bytes, ...]]:
        return [each.recover().records for each in journals]

    one.append(b"1")
    two.follow(one)
    two.append(b"2")
    two.tick()
    assert found() == [(b"1",), (b"2",)]
    two.sync()
    assert [each.next_sync_ms for each in journals] == [None, None]
    one.reset()
    two.append(b"3")
    one.follow(two)
    one.append(b"4")
    one.sync()
    assert found() == [(b"4",), (b"2", b"3")]
    assert [each.next_sync_ms for each in journals] == [None, None]
    for each in journals:
        each.close()


CHILD = """
import sys
from pathlib import Path
from rig import Rig, gas_contract
from gateway.clock import SystemClock
from gateway.config import SealTable, SeriesTable
from gateway.contracts.errors import MismatchError
from gateway.errors import StoreFull
from gateway.outputs.options import OutputOptions
seal = SealTable(readings=50, min_interval_ms=20)
contracts = gas_contract(clear_for="0s")
rig = Rig(Path(sys.argv[1]), SystemClock(), boot=int(sys.argv[2]), seal=seal, contracts=contracts)
value = int(sys.argv[3])
while True:
    value += 1
    rig.gas(value if value % 40 else 9_000_000 + value)
    print(value, rig.clock.monotonic_ms(), flush=True)
    rig.clock.sleep(0.0005)
"""
MOMENT_MS = 500  # generous: a journal is handed on twenty times a second


def run_until_killed(directory: Path, boot: int, first: int, seconds: float) -> tuple[int, int]:
    """The last value that the killed gateway had taken a moment before its end, and at its end."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(directory), str(boot), str(first)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parent,
        text=True,
    )
    assert child.stdout is not None
    child.stdout.readline()
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.kill()
    told = [[int(word) for word in line.split()] for line in child.stdout.read().split("\n")[:-1]]
    child.stdout.close()
    child.wait()
    last, end = told[-1] if told else (first + 1, 0)
    return max([first, *(value for value, at in told if at < end - MOMENT_MS)]), last


def test_sigkill_at_random_moments_loses_the_last_moment_at_most_and_no_transition(quick_disk: Path) -> None:
    chance, runs, last = random.Random(5), list[tuple[int, int, int]](), -1
    for boot in range(1, 7):
        first = last + 1  # a value beyond the last one printed may have been recorded too
        sure, last = run_until_killed(quick_disk, boot, first, chance.uniform(0.1, 1.1))
        runs.append((first, sure, last + 1))
    rig = Rig(quick_disk, boot=100, contracts=gas_contract(clear_for="0s"))
    assert rig.found.whole
    found = [value % 9_000_000 for value in values(rig.store, 0)]
    assert found == sorted(set(found))
    for first, sure, end in runs:
        mine = [value for value in found if first < value <= end]
        assert mine == list(range(first + 1, first + 1 + len(mine)))  # nothing is missing in between
        assert first + len(mine) >= sure
    assert any(sure > first for first, sure, _ in runs)
    alarms = [each for stored in blocks(rig.store) for each in opened(rig.store, stored)[0].events]
    held = {leaf for _, leaf in alarms if isinstance(parse_leaf(leaf), bytes)}
    assert len(held) == len(rig.store.unacknowledged("hub", limit=10_000)) > 2
    numbers = [stored.number for stored in blocks(rig.store)]
    assert numbers == list(range(1, len(numbers) + 1))
    rig.stop()


@pytest.mark.parametrize("bound_ms", [0, 1000])
def test_a_transition_whose_row_is_missing_is_found_in_the_journal(tmp_path: Path, bound_ms: int) -> None:
    rig = Rig(tmp_path, bound_ms=bound_ms)
    rig.advance(1)
    rig.writer.stop()  # nothing is written any more, as when the kill comes between journal and row
    rig.gas(9000)
    rig.close()
    again = Rig(tmp_path, boot=2)
    assert len(again.store.unacknowledged("hub")) == 1
    assert again.siren
    assert again.recorder.conditions()["gas-ch4"][0] == "alarm"
    again.stop()
