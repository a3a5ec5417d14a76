"""The INA219's driver against its registers."""

from __future__ import annotations

from typing import Any

import pytest
from simulated import kind_of, plug, simulate

from gateway.contracts.errors import ContractError
from gateway.sensors.base import Sensor
from gateway.sensors.registry import read_options
from gateway.simulation.faults import Fault
from gateway.simulation.simulation import Simulation


def fitted(**options: Any) -> tuple[Simulation, Sensor, Any]:
    simulation = simulate()
    sensor = plug(simulation, "ina219", options)
    return simulation, sensor, simulation.bus("i2c-1").chip_at(0x40)


@pytest.mark.parametrize(
    ("shunt_mohm", "volts", "shunt", "millivolts", "microamps"),
    [
        (100, 12.6, 0.04, 12_600, 400_000),
        (100, 0.0, -0.32 + 2e-5, 0, -3_199_800),  # charging
        (10, 25.998, 0.01, 26_000, 1_000_000),
        (3, 5.0, 0.00001, 5_000, 3_333),  # 10 uV over 3 mohm, to the nearest
        (7, 5.0, 0.00005, 5_000, 7_143),
    ],
)
def test_steps_become_millivolts_and_microamps(
    shunt_mohm: int, volts: float, shunt: float, millivolts: int, microamps: int
) -> None:
    _, sensor, chip = fitted(shunt_mohm=shunt_mohm)
    chip.supply = lambda t: (volts, shunt)
    assert sensor.sample() == {"voltage": millivolts, "current": microamps}


@pytest.mark.parametrize(("average", "least_ms"), [(1, 1), (8, 9), (128, 137)])
def test_a_sample_waits_for_its_own_conversion(average: int, least_ms: int) -> None:
    simulation, sensor, chip = fitted(average=average)
    chip.supply = lambda t: (12.0, 0.01)
    sensor.sample()
    chip.supply = lambda t: (5.0, 0.02)
    before = simulation.clock.monotonic_ms()
    assert sensor.sample()["voltage"] == 5000
    assert least_ms <= simulation.clock.monotonic_ms() - before <= least_ms + 4


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(Fault("nack", 0), "nack"), (Fault("timeout", 0), "timeout"), (Fault("brown-out", 0, 9), "nack")],
)
def test_each_fault_shows_as_its_kind_and_ends(fault: Fault, kind: str) -> None:
    simulation, sensor, _ = fitted()
    assert kind_of(sensor) == ""
    simulation.inject("s", fault)
    assert kind_of(sensor) == kind
    simulation.repair("s")
    assert kind_of(sensor) == ""


def test_a_chip_that_lost_its_calibration_is_a_power_fault_and_never_no_current() -> None:
    simulation, sensor, _ = fitted(average=128)
    simulation.inject("s", Fault("brown-out", 0.05))
    assert [kind_of(sensor), kind_of(sensor)] == ["power", ""]


@pytest.mark.parametrize("shunt", [0.32, -0.32, 0.4])
def test_a_shunt_at_the_end_of_its_range_is_a_fault(shunt: float) -> None:
    _, sensor, chip = fitted()
    chip.supply = lambda t: (12.0, shunt)
    assert kind_of(sensor) == "out-of-range"


def test_the_chips_overflow_bit_is_a_fault() -> None:
    _, sensor, chip = fitted()
    convert = chip._convert

    def overflow(now_ms: int) -> None:
        convert(now_ms)
        chip._registers[2] |= 1

    chip._convert = overflow
    assert kind_of(sensor) == "out-of-range"


def test_a_conversion_that_never_ends_is_a_timeout() -> None:
    _, sensor, chip = fitted()
    chip._convert = lambda now_ms: None
    assert kind_of(sensor) == "timeout"


def test_the_smallest_range_that_holds_the_current_is_taken() -> None:
    ranges = [read_options("ina219", {"max_ma": ma}).range for ma in (400, 401, 1600, 3200)]
    assert ranges == [0, 1, 2, 3]
    with pytest.raises(ContractError, match="more than the chip's 320 mV"):
        read_options("ina219", {"max_ma": 3201})


def test_a_supply_without_mains_runs_down() -> None:
    simulation = simulate('title = ""\n[rooms.r]\n[[events]]\nat_s = 1\nset = {mains = false}\n')
    sensor = plug(simulation, "ina219", {})
    charged = sensor.sample()["voltage"]
    simulation.clock.sleep(2)
    early = sensor.sample()["voltage"]
    simulation.clock.sleep(3600)
    assert charged > early > sensor.sample()["voltage"] + 250
