"""The BME280's driver: its arithmetic against the data sheet's real numbers, its sequence against the registers."""

from __future__ import annotations

from typing import Any

import pytest
from simulated import kind_of, plug, simulate

from gateway.errors import SensorError
from gateway.sensors.base import Sensor
from gateway.sensors.bme280 import Trim
from gateway.simulation.chips.bme280 import Bme280Chip
from gateway.simulation.faults import Fault
from gateway.simulation.simulation import Simulation

# Three specimens' trimming values; the third has signs where they are seldom.
SPECIMENS = {
    "example": (
        (27_504, 26_435, -1_000),
        (36_477, -10_685, 3_024, 2_855, 140, -7, 15_500, -14_600, 6_000),
        (75, 362, 0, 313, 50, 30),
    ),
    "other": (
        (28_381, 26_621, 50),
        (36_738, -10_635, 3_024, 6_980, -4, -7, 9_900, -10_230, 4_285),
        (75, 353, 0, 340, 0, 30),
    ),
    "signs": (
        (28_009, 25_654, 50),
        (39_145, -10_750, 3_024, 5_667, -120, -7, 15_500, -14_600, 6_000),
        (80, 380, 0, 290, -16, -20),
    ),
}


# No specimen is like this; every sign is where it may be.
NEGATIVE = (28_009, -25_654, -50), (39_145, *[-7] * 8), (255, -380, 255, -2_047, -2_048, -128)


def fitted(**options: Any) -> tuple[Simulation, Sensor, Bme280Chip]:
    simulation = simulate()
    sensor = plug(simulation, "bme280", options)
    chip = simulation.bus("i2c-1").chip_at(0x76)
    assert isinstance(chip, Bme280Chip)
    return simulation, sensor, chip


def test_the_makers_example_comes_out() -> None:
    trim = Trim(*SPECIMENS["example"])
    fine = trim.fine(519_888)
    assert fine == 128_422
    assert trim.celsius(fine) == 2_508
    assert trim.pascal(415_148, fine) == 25_767_233  # 100653.25 Pa, where real numbers give 100653.27


@pytest.mark.parametrize("specimen", SPECIMENS)
@pytest.mark.parametrize("celsius", [-38.0, -5.5, 0.0, 21.37, 60.0, 84.0])
@pytest.mark.parametrize(("humidity", "pascal"), [(5.0, 31_000.0), (45.0, 101_325.0), (97.0, 109_000.0)])
def test_what_is_in_the_air_comes_out_of_codes_and_trimming_values(
    specimen: str, celsius: float, humidity: float, pascal: float
) -> None:
    _, sensor, chip = fitted(oversampling=16)
    chip.t, chip.p, chip.h = SPECIMENS[specimen]
    chip.reset(-1000)
    chip.air = lambda t: (celsius, humidity, pascal)
    values = sensor.sample()
    assert values["temperature"] == pytest.approx(celsius * 100, abs=2)
    assert values["humidity"] == pytest.approx(humidity * 100, abs=8)
    assert values["pressure"] == pytest.approx(pascal, abs=4)


@pytest.mark.parametrize("specimen", [*SPECIMENS.values(), NEGATIVE])
def test_trimming_values_are_read_with_their_signs(specimen: Any) -> None:
    simulation, _, chip = fitted()
    chip.t, chip.p, chip.h = specimen
    chip.reset(-1000)
    bus = simulation.i2c("i2c-1")
    low, high = bus.read_i2c_block_data(0x76, 0x88, 26), bus.read_i2c_block_data(0x76, 0xE1, 7)
    assert Trim.read(bytes(low), bytes(high)) == Trim(*specimen)


def test_more_oversampling_is_finer_and_takes_longer() -> None:
    steps, times = [], []
    for oversampling in (1, 16):
        simulation, sensor, chip = fitted(oversampling=oversampling)
        sensor.sample()
        before = simulation.clock.monotonic_ms()
        for step in range(40):
            chip.air = lambda t, step=step: (20.0, 50.0, 100_000 + step / 2)
            sensor.sample()
            steps.append((oversampling, chip.read(1, simulation.clock.monotonic_ms()) and _pressure(chip)))
        times.append(simulation.clock.monotonic_ms() - before)
    coarse, fine = ({code for each, code in steps if each == n} for n in (1, 16))
    assert len(coarse) < len(fine)
    assert 40 * 8 <= times[0] <= 40 * 12 < times[1] <= 40 * 116


def _pressure(chip: Bme280Chip) -> int:
    return int.from_bytes(chip._registers[0xF7:0xFA], "big")


def test_another_chip_at_its_address_is_named() -> None:
    simulation, sensor, chip = fitted()
    chip._registers[0xD0] = 0x58
    with pytest.raises(SensorError, match="no BME280 but a BMP280, which has no humidity") as caught:
        sensor.sample()
    assert caught.value.kind == "wiring"
    assert simulation.clock.monotonic_ms() == 0


def test_a_chip_without_trimming_values_is_not_ready() -> None:
    _, sensor, chip = fitted()
    chip.t = (0, 0, 0)
    chip.reset(-1000)
    assert kind_of(sensor) == "not-ready"


def test_losing_its_supply_in_a_measurement_is_a_power_fault_and_no_value() -> None:
    simulation, sensor, _ = fitted(oversampling=16)
    assert kind_of(sensor) == ""
    simulation.inject("s", Fault("brown-out", simulation.seconds() + 0.05))
    assert [kind_of(sensor), kind_of(sensor)] == ["power", ""]


def test_after_a_failure_the_trimming_values_are_read_anew() -> None:
    simulation, sensor, chip = fitted(oversampling=16)
    chip.air = lambda t: (20.0, 50.0, 100_000.0)
    sensor.sample()
    now = simulation.seconds()
    simulation.inject("s", Fault("nack", now, now + 1))
    assert kind_of(sensor) == "nack"
    chip.t, chip.p, chip.h = SPECIMENS["other"]  # somebody has changed it for another one
    chip.reset(simulation.clock.monotonic_ms())
    simulation.clock.sleep(1)
    assert sensor.sample()["pressure"] == pytest.approx(100_000, abs=4)


def test_a_measurement_that_was_skipped_is_no_data() -> None:
    _, sensor, chip = fitted()
    chip._measure = lambda *air: None  # type: ignore[method-assign]
    assert kind_of(sensor) == "no-data"


def test_a_single_code_like_a_skipped_one_is_a_value() -> None:
    """0x8000 lies in the middle of what humidity's code can be; a room may well stay there for hours."""
    simulation, sensor, chip = fitted(oversampling=16)
    fine = chip._fine(520_000)
    percent = chip._humid(0x8000, fine)
    chip.air = lambda t: (fine / 5120, percent, 100_000.0)
    assert sensor.sample()["humidity"] == pytest.approx(percent * 100, abs=8)
    assert simulation.i2c("i2c-1").read_i2c_block_data(0x76, 0xFD, 2) == [0x80, 0x00]


def test_a_measurement_without_end_is_a_timeout() -> None:
    simulation, sensor, chip = fitted()
    assert kind_of(sensor) == ""
    chip._finish = lambda at_ms: setattr(chip, "_ends_ms", at_ms + 1000)  # type: ignore[method-assign]
    before = simulation.clock.monotonic_ms()
    assert kind_of(sensor) == "timeout"
    assert simulation.clock.monotonic_ms() - before < 200


def test_what_the_chip_cannot_measure_is_out_of_range() -> None:
    simulation, sensor, _ = fitted()
    simulation.hold("s.temperature", 120.0)
    assert kind_of(sensor) == "out-of-range"
    simulation.hold("s.temperature", None)
    assert kind_of(sensor) == ""


@pytest.mark.parametrize("humidity", [-300.0, 400.0])
def test_saturated_humidity_is_no_0_or_100_percent(humidity: float) -> None:
    simulation, sensor, _ = fitted()
    simulation.hold("s.humidity", humidity)
    with pytest.raises(SensorError, match="is saturated") as caught:
        sensor.sample()
    assert caught.value.kind == "out-of-range"


def test_humidity_s_setting_takes_effect_with_the_next_control_of_the_others() -> None:
    simulation, _, _ = fitted()
    bus = simulation.i2c("i2c-1")
    bus.write_byte_data(0x76, 0xF4, 0x25)
    bus.write_byte_data(0x76, 0xF2, 0x01)  # too late
    simulation.clock.sleep(0.05)
    assert bus.read_i2c_block_data(0x76, 0xFD, 2) == [0x80, 0x00]
    bus.write_byte_data(0x76, 0xF4, 0x25)
    simulation.clock.sleep(0.05)
    assert bus.read_i2c_block_data(0x76, 0xFD, 2) != [0x80, 0x00]


def test_drift_moves_the_first_quantity_alone() -> None:
    simulation, sensor, _ = fitted()
    before = sensor.sample()
    simulation.inject("s", Fault("drift", simulation.seconds(), amount=0.1))
    simulation.clock.sleep(100)
    after = sensor.sample()
    assert after["temperature"] - before["temperature"] == pytest.approx(1000, abs=30)
    assert after["pressure"] == pytest.approx(before["pressure"], abs=20)
