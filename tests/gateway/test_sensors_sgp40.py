"""The SGP40's driver: heat, compensation, and an index that anyone can compute again."""

from __future__ import annotations

from typing import Any

import pytest
from adafruit_sgp41.gas_index_algorithm import GasIndexAlgorithm
from simulated import kind_of, plug, simulate

from gateway.errors import SensorError
from gateway.sensors.base import SelfTesting, Sensor
from gateway.simulation.chips.sgp40 import Sgp40Chip
from gateway.simulation.faults import Fault
from gateway.simulation.simulation import Simulation

BLIND = 45


def fitted(**options: Any) -> tuple[Simulation, Sensor, Sgp40Chip]:
    simulation = simulate()
    sensor = plug(simulation, "sgp40", options)
    chip = simulation.bus("i2c-1").chip_at(0x59)
    assert isinstance(chip, Sgp40Chip)
    return simulation, sensor, chip


def warm(simulation: Simulation, sensor: Sensor, samples: int = 60) -> list[dict[str, int]]:
    """Sample every second, as the algorithm wants it; the first sample says that it heats."""
    assert kind_of(sensor) == "power"
    return follow(simulation, sensor, samples)


def follow(simulation: Simulation, sensor: Sensor, samples: int) -> list[dict[str, int]]:
    values = []
    for _ in range(samples):
        simulation.clock.sleep(0.969)
        values.append(dict(sensor.sample()))
    return values


def test_the_first_measurement_heats_and_is_discarded() -> None:
    simulation, sensor, chip = fitted()
    assert chip._hot_since is None
    with pytest.raises(SensorError, match="begins to heat") as caught:
        sensor.sample()
    assert caught.value.kind == "power"
    assert chip._hot_since == 0
    assert sensor.info.warm_up_ms == 60_000
    simulation.clock.sleep(1)
    assert set(sensor.sample()) == {"raw", "voc_index"}


def test_the_index_can_be_computed_again_from_the_raw_values() -> None:
    simulation, sensor, _ = fitted()
    values = warm(simulation, sensor, 300)
    simulation.hold("s.voc", 3_000)
    values += follow(simulation, sensor, 200)
    algorithm = GasIndexAlgorithm()
    assert [each["voc_index"] for each in values] == [algorithm.process(each["raw"]) for each in values]


def test_the_index_is_0_only_while_it_is_blind_and_warms_up() -> None:
    simulation, sensor, _ = fitted()
    indices = [each["voc_index"] for each in warm(simulation, sensor, 120)]
    assert indices[:BLIND] == [0] * BLIND
    assert min(indices[60:]) > 0
    assert sensor.info.warm_up_ms > BLIND * 1000


def test_compounds_lower_the_signal_and_raise_the_index() -> None:
    simulation, sensor, _ = fitted()
    before = warm(simulation, sensor, 400)[-1]
    simulation.hold("s.voc", 5_000)
    after = follow(simulation, sensor, 60)[-1]
    assert after["raw"] < before["raw"] - 3_000
    assert after["voc_index"] > before["voc_index"] + 150


@pytest.mark.parametrize(("climate", "most"), [(0x44, 60), (0, 10_000)])
def test_compensated_by_an_sht3x_humidity_does_not_matter(climate: int, most: int) -> None:
    simulation, sensor, _ = fitted(climate=climate, index=False)
    raws = []
    for humidity in (20.0, 80.0):
        simulation.hold("s.humidity", humidity)
        if climate:
            simulation.hold("s.climate.humidity", humidity)
        raws.append((warm if not raws else follow)(simulation, sensor, 60)[-1]["raw"])
    assert abs(raws[1] - raws[0]) < most
    assert climate or abs(raws[1] - raws[0]) > 500


def test_an_sht3x_that_fails_is_a_fault_here_too() -> None:
    simulation = simulate()
    plug(simulation, "sht3x", {}, name="climate")
    sensor = plug(simulation, "sgp40", {"climate": 0x44, "index": False})
    warm(simulation, sensor, 3)
    simulation.inject("climate", Fault("nack", 0))
    assert kind_of(sensor) == "nack"
    simulation.repair("climate")
    assert kind_of(sensor) == ""  # its own element stayed hot


@pytest.mark.parametrize("order", [("sht3x", "sgp40"), ("sgp40", "sht3x")])
def test_the_sht3x_it_is_compensated_by_may_be_a_sensor_of_its_own(order: tuple[str, str]) -> None:
    simulation = simulate()
    options: dict[str, dict[str, Any]] = {"sht3x": {}, "sgp40": {"climate": 0x44, "index": False}}
    sensors = {driver: plug(simulation, driver, options[driver], name=driver) for driver in order}
    simulation.hold("sht3x.humidity", 77.0)
    assert sensors["sht3x"].sample()["humidity"] == pytest.approx(7_700, abs=30)
    warm(simulation, sensors["sgp40"], 3)


def test_after_a_pause_the_index_begins_anew() -> None:
    simulation, sensor, _ = fitted()
    warm(simulation, sensor, 60)
    simulation.clock.sleep(15)
    assert kind_of(sensor) == "power"
    assert follow(simulation, sensor, 1)[0]["voc_index"] == 0


def test_where_it_did_not_answer_it_may_have_been_cold() -> None:
    simulation, sensor, _ = fitted()
    warm(simulation, sensor, 60)
    now = simulation.seconds()
    simulation.inject("s", Fault("brown-out", now, now + 1))
    assert kind_of(sensor) == "nack"
    simulation.clock.sleep(1.1)
    assert [kind_of(sensor), kind_of(sensor)] == ["power", ""]


def test_damaged_data_says_nothing_of_the_heat() -> None:
    simulation, sensor, _ = fitted()
    warm(simulation, sensor, 60)
    now = simulation.seconds()
    simulation.inject("s", Fault("checksum", now, now + 0.5))
    assert kind_of(sensor) == "checksum"
    simulation.clock.sleep(1)
    assert sensor.sample()["voc_index"] > 0


def test_a_broken_element_is_out_of_range_and_fails_the_self_test() -> None:
    simulation, sensor, chip = fitted()
    warm(simulation, sensor, 3)
    assert isinstance(sensor, SelfTesting)
    sensor.self_test()
    chip.is_well = False
    assert kind_of(sensor) == "out-of-range"
    with pytest.raises(SensorError, match=r"fails its self-test \(0x4b00\)") as caught:
        sensor.self_test()
    assert caught.value.kind == "not-ready"


def test_closing_switches_the_heater_off() -> None:
    simulation, sensor, chip = fitted()
    warm(simulation, sensor, 3)
    sensor.close()
    assert chip._hot_since is None
