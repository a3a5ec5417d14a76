"""Every driver under every fault that its hardware can have: seen in its stated time, signed with its reason, over when
it is over, and nobody beside it disturbed. Real samplers, drivers and recorder, on a simulated bus and clock."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from rig import Rig
from simulated import plug, simulate
from test_recorder import blocks, opened

from gateway.catalogue import Catalogue
from gateway.chain.events import Status
from gateway.chain.reading import parse_leaf
from gateway.config import SensorTable
from gateway.decider import ContractSet
from gateway.errors import SensorError
from gateway.recording.health import FAULT, WARMING, WELL
from gateway.sampler import Taker
from gateway.sensors.registry import DRIVERS
from gateway.simulation.drill import Drill
from gateway.simulation.faults import FaultKind
from gateway.simulation.simulation import Simulation
from gateway.simulation.subjects import BY_DESIGN, DRILLS, STATED
from gateway.storage.store import Store

CASES = [(driver, kind) for driver, subject in DRILLS.items() for kind in subject.kinds]


class RecorderGround:
    """A gateway's recording half as the ground of a drill."""

    def __init__(self, directory: Path, tables: tuple[SensorTable, ...], simulation: Simulation) -> None:
        since = simulation.powered_since_ms
        self.rig = Rig(
            directory, simulation.clock, contracts=ContractSet.of([]), sensors=tables, powered_since_ms=since
        )

    @property
    def taker(self) -> Taker:
        return self.rig.recorder

    def tick(self) -> None:
        self.rig.recorder.tick()

    def state(self, series: str) -> tuple[int, str]:
        status = self.rig.recorder.statuses()[series]
        return status.state, status.reason


@contextlib.contextmanager
def drilled(directory: Path, driver: str, kind: FaultKind) -> Iterator[tuple[Drill, RecorderGround]]:
    grounds: list[RecorderGround] = []
    subject = DRILLS[driver]

    def ground(catalogue: Catalogue, simulation: Simulation) -> RecorderGround:
        grounds.append(RecorderGround(directory, subject.tables, simulation))
        return grounds[0]

    drill = Drill(subject, kind, ground)
    try:
        yield drill, grounds[0]
    finally:
        drill.close()


def signed(directory: Path) -> list[tuple[int, int, str]]:
    """The signed states: series, state, reason."""
    store = Store(directory / "gateway.db")
    leaves = [leaf for each in blocks(store) for _, leaf in opened(store, each)[0].events]
    found = [(e.series, e.state, e.reason) for leaf in leaves if isinstance(e := parse_leaf(leaf), Status)]
    store.close()
    return found


def test_every_driver_with_hardware_is_drilled() -> None:
    assert set(DRILLS) == set(DRIVERS) - {"recording", "neighbour"}


def test_every_fault_that_can_be_simulated_has_its_stated_time_and_a_driver() -> None:
    assert set(STATED) == set(get_args(FaultKind))
    assert set(STATED) == {kind for _, kind in CASES}


@functools.cache
def said(driver: str, kind: FaultKind | None) -> list[object]:
    """What a driver says, beside a fault from its sixth sample on."""
    subject, simulation = DRILLS[driver], simulate()
    sensor = plug(simulation, driver, subject.options, "subject")
    found: list[object] = []
    for i in range(20):
        if i == 5 and kind is not None:
            simulation.inject("subject", subject.fault(kind, simulation.seconds()))
        try:
            found.append(sensor.sample())
        except SensorError as error:
            found.append(error.kind)
        simulation.clock.sleep(subject.period_ms / 1000)
    sensor.close()
    return found


REST = [(driver, kind) for driver in DRILLS for kind in STATED if (driver, kind) not in CASES]


@pytest.mark.parametrize(("driver", "kind"), REST)
def test_a_fault_that_is_not_drilled_changes_nothing_or_says_why_it_cannot_be_seen(
    driver: str, kind: FaultKind
) -> None:
    assert BY_DESIGN.get(driver, {}).get(kind) or said(driver, kind) == said(driver, None)


@pytest.mark.parametrize(("driver", "kind"), CASES)
def test_a_fault_is_seen_in_time_signed_and_over_when_it_ends(
    tmp_path: Path, driver: str, kind: FaultKind
) -> None:
    subject, stated = DRILLS[driver], STATED[kind]
    with drilled(tmp_path, driver, kind) as (drill, ground):
        seen = drill.run()
        ground.rig.stop()
    assert seen.after_ms is not None, seen
    if stated.state != WELL:
        assert seen.after_ms <= subject.limit_ms(kind), seen
    assert seen.over_ms is not None, seen
    assert seen.over_ms <= subject.over_ms(kind), seen
    events = [(state, reason) for series, state, reason in signed(tmp_path) if series == 0]
    if stated.state == WELL:
        assert {state for state, _ in events} <= {WELL, WARMING}
    else:
        assert (seen.state, seen.reason) in events
        assert events[-1][0] == WELL
    if not stated.whole_bus:
        assert seen.companion <= {WELL}, seen
        assert seen.taken >= seen.expected - 1, seen
        assert all(state != FAULT for series, state, _ in signed(tmp_path) if series)
