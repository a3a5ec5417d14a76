"""What a dead sensor costs the others of its bus, and what a chip has to pass before its first sample."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from simulated import plug, simulate

from gateway.catalogue import SensorPlan, make_catalogue
from gateway.clock import SimulatedClock
from gateway.config import SensorTable
from gateway.errors import SensorError
from gateway.sampler import Samplers
from gateway.sensors.base import SelfTesting
from gateway.sensors.bus import BusOptions
from gateway.sensors.registry import DRIVERS, describe_sensor
from gateway.sensors.sht3x import Sht3x
from gateway.simulation.faults import Fault, FaultKind
from gateway.simulation.scenario import load_scenario
from gateway.simulation.simulation import Simulation
from gateway.simulation.subjects import DRILLS

FAST = SensorTable("fast", "ads1115", 100, {"input": "a0", "rate": 860})


class Counted:
    """Counts what comes of each sensor; when each failed is kept, in the clock's ms."""

    def __init__(self, simulation: Simulation) -> None:
        self.clock = simulation.clock
        self.good: dict[str, int] = {}
        self.bad: dict[str, list[tuple[int, str]]] = {}
        self.repeated: list[str] = []

    def sample(self, plan: SensorPlan, values: Mapping[str, int]) -> None:
        self.good[plan.name] = self.good.get(plan.name, 0) + 1

    def fail(self, plan: SensorPlan, error: SensorError) -> None:
        self.bad.setdefault(plan.name, []).append((self.clock.monotonic_ms(), error.kind))

    def retried(self, plan: SensorPlan) -> None:
        self.repeated.append(plan.name)


class Bench:
    def __init__(self, *tables: SensorTable, buses: tuple[BusOptions, ...] = ()) -> None:
        self.clock = SimulatedClock(speed=0)
        self.simulation = Simulation(load_scenario("quiet"), self.clock, buses=buses)
        for table in tables:
            self.simulation.attach(table.name, table.driver, table.options)
        self.taken = Counted(self.simulation)
        self.samplers = Samplers(make_catalogue(tables, "test").sensors, self.simulation, self.taken)

    def play(self, seconds: float) -> None:
        end = self.clock.monotonic_ms() + round(seconds * 1000)
        while self.clock.monotonic_ms() < end:
            self.samplers.play()

    def strike(self, sensor: str, kind: FaultKind) -> None:
        self.simulation.inject(sensor, Fault(kind, self.simulation.seconds(), 1e6))


def test_a_dead_sensor_that_costs_a_third_of_a_second_makes_nobody_late() -> None:
    bench = Bench(FAST, SensorTable("dead", "sgp40", 1000, {}))
    bench.strike("dead", "checksum")  # it never passes its self-test, which takes 321 ms each time
    bench.play(10)
    before = bench.taken.good["fast"]
    bench.play(60)
    assert bench.taken.good["fast"] - before >= 560
    assert len(bench.taken.bad["dead"]) >= 10
    bench.simulation.repair("dead")
    bench.play(11)
    failed = len(bench.taken.bad["dead"])
    bench.play(60)  # the index takes most of a minute to begin
    assert len(bench.taken.bad["dead"]) == failed
    assert bench.taken.good["dead"] >= 1


def test_several_dead_sensors_share_that_part_of_the_bus() -> None:
    dead = [
        SensorTable("dead1", "sgp40", 1000, {}),
        SensorTable("dead2", "scd41", 1000, {}),
    ]
    bench = Bench(FAST, *dead)
    for each in dead:
        bench.strike(each.name, "checksum")
    bench.play(20)
    before = bench.taken.good["fast"]
    bench.play(60)
    assert bench.taken.good["fast"] - before >= 540


def test_a_cheap_failure_is_tried_again_at_every_period() -> None:
    bench = Bench(FAST, SensorTable("dead", "ads1115", 100, {"input": "a0", "address": 0x49, "rate": 860}))
    bench.strike("dead", "nack")
    bench.play(5)
    assert len(bench.taken.bad["dead"]) >= 45


def test_a_bus_that_is_well_again_makes_nobody_wait() -> None:
    tables = [SensorTable(f"s{i}", "ads1115", 1000, {"input": f"a{i}", "rate": 860}) for i in range(4)]
    bench = Bench(*tables)
    bench.play(2)
    bench.strike("s0", "timeout")
    bench.play(60)
    bench.taken.good.clear()
    bench.simulation.repair("s0")
    bench.play(4 * 0.035 * 19 + 2)
    assert set(bench.taken.good) == {"s0", "s1", "s2", "s3"}


def test_sensors_whose_bus_was_freed_by_its_supply_are_told_to_have_had_none() -> None:
    options = BusOptions("i2c-7", power_pin=26)
    tables = [
        SensorTable(f"s{i}", "ads1115", 1000, {"input": f"a{i}", "rate": 860, "bus": "i2c-7"})
        for i in range(2)
    ]
    bench = Bench(*tables, buses=(options,))
    bench.play(2)
    bench.strike("s0", "held")
    bench.play(3)
    assert {name: [kind for _, kind in bad] for name, bad in bench.taken.bad.items()} == {
        "s0": ["power"],
        "s1": ["power"],
    }
    assert bench.taken.repeated


# tests of their own


def test_a_chip_that_fails_its_own_test_gives_no_sample_until_it_passes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tested: list[Sht3x] = []

    def failing(self: Sht3x) -> None:
        tested.append(self)
        if len(tested) < 4:
            raise SensorError("not-ready", "fails its self-test")

    monkeypatch.setattr(Sht3x, "self_test", failing)
    bench = Bench(SensorTable("air", "sht3x", 1000, {}))
    bench.play(6)
    assert [kind for _, kind in bench.taken.bad["air"]] == ["not-ready"] * 3
    assert bench.taken.good["air"] >= 2
    assert len(tested) == 4  # passed once, it is not tested again


def test_a_chip_whose_test_takes_long_is_not_kept_from_measuring_by_it() -> None:
    bench = Bench(SensorTable("air", "scd41", 1000, {}))
    bench.play(8)
    assert bench.taken.good["air"] == 1


@pytest.mark.parametrize("driver", sorted(set(DRIVERS) & set(DRILLS)))
def test_a_driver_that_can_test_itself_says_how_long_that_takes(driver: str) -> None:
    options = DRILLS[driver].options
    simulation = simulate()
    sensor = plug(simulation, driver, options)
    assert isinstance(sensor, SelfTesting) == (describe_sensor(driver, options).self_test_ms > 0)
    if isinstance(sensor, SelfTesting):
        began = simulation.clock.monotonic_ms()
        sensor.self_test()
        assert simulation.clock.monotonic_ms() - began <= sensor.info.self_test_ms
    sensor.close()
