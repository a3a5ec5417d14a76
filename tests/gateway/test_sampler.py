"""When sensors are sampled: at their rates, without drift, bursts or one holding up another bus."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Mapping
from typing import Any

from simulated import simulate

from gateway.catalogue import SensorPlan, make_catalogue
from gateway.clock import SimulatedClock
from gateway.config import SensorTable
from gateway.errors import SensorError
from gateway.sampler import Samplers, _Bus
from gateway.simulation.faults import Fault
from gateway.simulation.scenario import load_scenario
from gateway.simulation.simulation import Simulation


class Taken:
    """Notes what was taken, and when by the simulation's clock."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.samples: list[tuple[str, int]] = []
        self.faults: list[tuple[str, str]] = []
        self.repeats: list[str] = []
        self.stall_ms: dict[int, int] = {}
        self.enough = threading.Event()
        self.limit = 10

    def sample(self, plan: SensorPlan, values: Mapping[str, int]) -> None:
        self.samples.append((plan.name, self.simulation.clock.monotonic_ms()))
        self._count()

    def fail(self, plan: SensorPlan, error: SensorError) -> None:
        self.faults.append((plan.name, error.kind))
        self._count()

    def retried(self, plan: SensorPlan) -> None:
        self.repeats.append(plan.name)

    def _count(self) -> None:
        done = len(self.samples) + len(self.faults)
        if done in self.stall_ms:
            time.sleep(self.stall_ms[done] / 1000)
        if done >= self.limit:
            self.enough.set()


def contact(name: str, period_ms: int, pin: int = 5) -> SensorTable:
    return SensorTable(name, "contact", period_ms, {"pin": pin})


def adc(name: str, period_ms: int, pin: str = "a0") -> SensorTable:
    return SensorTable(name, "ads1115", period_ms, {"input": pin, "rate": 860})


def run(
    *tables: SensorTable, limit: int = 10, stall_ms: Mapping[int, int] | None = None, fault: Any = None
) -> Taken:
    simulation = Simulation(load_scenario("quiet"), SimulatedClock())
    for table in tables:
        simulation.attach(table.name, table.driver, table.options)
    if fault:
        simulation.inject(*fault)
    taken = Taken(simulation)
    taken.limit, taken.stall_ms = limit, dict(stall_ms or {})
    samplers = Samplers(make_catalogue(tables, "test").sensors, simulation, taken)
    samplers.start()
    assert taken.enough.wait(60)
    samplers.stop()
    return taken


def test_each_sensor_keeps_its_own_rate_without_drift() -> None:
    taken = run(contact("fast", 20), adc("slow", 100), limit=40)
    fast = [at for name, at in taken.samples if name == "fast"]
    slow = [at for name, at in taken.samples if name == "slow"]
    assert len(fast) > len(slow)
    for times, period in ((fast, 20), (slow, 100)):  # the first may come late, the others are never ahead
        assert min(at - times[0] - period * i for i, at in enumerate(times)) >= -period - 1


def test_a_stall_is_followed_by_no_burst_and_keeps_the_phase() -> None:
    taken = run(contact("only", 20), stall_ms={3: 150}, limit=10)
    times = [at for _, at in taken.samples]
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert max(gaps) >= 140
    # The one sample that was due meanwhile comes at once, and no other before its time.
    assert min(c - a for a, c in zip(times, times[2:], strict=False)) >= 20 - 1
    assert (times[-1] - times[0]) >= 20 * 8 + 120


def test_next_due_is_a_multiple_of_the_period_after_the_last_one() -> None:
    simulation = simulate()
    clock = simulation.clock
    assert isinstance(clock, SimulatedClock)
    bus = _Bus([], simulation, Taken(simulation), 1.0, threading.Event())
    clock.advance(1.0)
    assert bus._next(1000, 100) == 1100
    assert bus._next(950, 100) == 1050
    assert bus._next(900, 100) == 1000
    assert bus._next(899, 100) == 1099
    assert bus._next(0, 300) == 1200


def test_a_fault_of_one_sensor_leaves_the_others_of_its_bus() -> None:
    taken = run(
        adc("good", 20, "a0"), adc("bad", 20, "a1"), limit=20, fault=("bad", Fault("stuck", 0.0, None, 0))
    )
    assert sum(name == "good" for name, _ in taken.samples) >= 5


def test_a_chip_that_does_not_answer_is_a_fault_again_and_again() -> None:
    taken = run(adc("gone", 10), limit=5, fault=("gone", Fault("nack", 0.0, None)))
    assert taken.faults[:3] == [("gone", "nack")] * 3


def test_a_driver_that_cannot_be_opened_is_tried_again() -> None:
    simulation = Simulation(load_scenario("quiet"), SimulatedClock())
    taken = Taken(simulation)
    taken.limit = 3
    plans = make_catalogue(
        (
            SensorTable(
                "r", "recording", 10, {"path": "none.csv", "columns": {"x": {"column": "x", "unit": "1"}}}
            ),
        ),
        "t",
    )
    samplers = Samplers(plans.sensors, simulation, taken)
    samplers.start()
    assert taken.enough.wait(60)
    samplers.stop()
    assert len(taken.faults) >= 3
