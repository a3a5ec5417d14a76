"""The SCD41's driver: one value in five seconds, a bus that is never held up, settings that reach the chip."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from simulated import kind_of, plug, simulate
from smbus2 import i2c_msg

from gateway.errors import SensorError
from gateway.sensors.base import SelfTesting, Sensor
from gateway.simulation.chips.scd41 import Scd41Chip
from gateway.simulation.faults import Fault
from gateway.simulation.simulation import Simulation


def fitted(text: str = 'title = ""\n[rooms.r]\n', **options: Any) -> tuple[Simulation, Sensor, Scd41Chip]:
    simulation = simulate(text)
    sensor = plug(simulation, "scd41", options)
    chip = simulation.bus("i2c-1").chip_at(0x62)
    assert isinstance(chip, Scd41Chip)
    return simulation, sensor, chip


def watch(simulation: Simulation, sensor: Sensor, seconds: float) -> list[tuple[float, Any]]:
    """Sample every second; return what came, a value or a fault's kind, and when."""
    heard: list[tuple[float, Any]] = []
    end = simulation.seconds() + seconds
    while simulation.seconds() < end:
        begun = simulation.seconds()
        try:
            if values := sensor.sample():
                heard.append((begun, dict(values)))
        except SensorError as error:
            heard.append((begun, error.kind))
        assert simulation.seconds() - begun < 0.02  # neither its start nor its cycle holds up the bus
        simulation.clock.sleep(1 - (simulation.seconds() - begun))
    return heard


def test_a_value_comes_every_five_seconds_and_nothing_in_between() -> None:
    simulation, sensor, _ = fitted()
    heard = watch(simulation, sensor, 63)
    times = [at for at, _ in heard]
    assert times[0] <= 7
    assert {round(b - a) for a, b in itertools.pairwise(times)} == {5}
    assert set(heard[-1][1]) == {"co2", "temperature", "humidity"}
    assert heard[-1][1]["co2"] == pytest.approx(420, abs=30)


def test_however_often_it_is_asked_its_start_is_given_its_time() -> None:
    simulation, sensor, _ = fitted()
    kinds = []
    while simulation.seconds() < 12:
        kinds.append(kind_of(sensor))
        simulation.clock.sleep(0.1)
    assert set(kinds) == {""}


def test_what_people_breathe_out_shows_within_minutes() -> None:
    simulation, sensor, _ = fitted('title = ""\n[rooms.r]\npeople = 4\nair_changes_per_h = 0\n')
    heard = watch(simulation, sensor, 1200)
    # 4 persons, 0.3 l/min each, in 40 m³: 30 ppm a minute.
    assert heard[-1][1]["co2"] == pytest.approx(420 + 20 * 30 - 30, abs=40)


@pytest.mark.parametrize("wanted", [True, False])
def test_self_calibration_is_as_the_options_say(wanted: bool) -> None:
    simulation, sensor, chip = fitted(self_calibration=wanted)
    assert chip.calibrates_itself  # as it comes
    watch(simulation, sensor, 10)
    assert chip.calibrates_itself == wanted


@pytest.mark.parametrize(("altitude_m", "expected"), [(2000, 420), (0, 331)])
def test_thin_air_counts_as_less_unless_it_is_told(altitude_m: int, expected: int) -> None:
    simulation, sensor, chip = fitted('title = ""\n[rooms.r]\npressure_pa = 79940\n', altitude_m=altitude_m)
    heard = watch(simulation, sensor, 60)
    assert chip.altitude_m == altitude_m
    assert heard[-1][1]["co2"] == pytest.approx(expected, abs=20)


def test_a_chip_that_restarted_unnoticed_is_a_power_fault_and_measures_again() -> None:
    simulation, sensor, _ = fitted()
    watch(simulation, sensor, 20)
    simulation.inject("s", Fault("brown-out", simulation.seconds()))
    simulation.clock.sleep(2)
    heard = watch(simulation, sensor, 30)
    kinds = [value for _, value in heard if isinstance(value, str)]
    assert kinds == ["power"]
    assert heard[0][1] == "power"
    assert heard[0][0] - 22 <= 12
    assert isinstance(heard[-1][1], dict)


def test_at_work_it_refuses_to_be_configured() -> None:
    simulation, sensor, _ = fitted()
    watch(simulation, sensor, 20)
    with pytest.raises(OSError, match="Remote I/O"):
        simulation.bus("i2c-1").i2c_rdwr(i2c_msg.write(0x62, [0x24, 0x16, 0, 0, 0x81]))


def test_a_measurement_is_given_out_once() -> None:
    simulation, sensor, _ = fitted()
    watch(simulation, sensor, 20)
    simulation.clock.sleep(5)
    bus = simulation.bus("i2c-1")
    for expected in ("data", "nothing"):
        bus.i2c_rdwr(i2c_msg.write(0x62, [0xEC, 0x05]))
        simulation.clock.sleep(0.001)
        if expected == "data":
            bus.i2c_rdwr(i2c_msg.read(0x62, 9))
        else:
            with pytest.raises(OSError, match="Remote I/O"):
                bus.i2c_rdwr(i2c_msg.read(0x62, 9))


def test_damaged_data_costs_one_value_and_no_restart() -> None:
    simulation, sensor, _ = fitted()
    watch(simulation, sensor, 20)
    now = simulation.seconds()
    simulation.inject("s", Fault("checksum", now, now + 5))
    heard = watch(simulation, sensor, 12)
    assert {value for at, value in heard if isinstance(value, str)} == {"checksum"}
    good = [at for at, value in heard if isinstance(value, dict)]
    assert good[0] - now <= 10


def test_its_self_test_names_the_specimen_that_fails() -> None:
    simulation, sensor, chip = fitted()
    watch(simulation, sensor, 20)
    assert isinstance(sensor, SelfTesting)
    sensor.self_test()
    assert isinstance(watch(simulation, sensor, 20)[-1][1], dict)
    chip.is_well = False
    with pytest.raises(SensorError, match="serial number f8969f073bbe, fails") as caught:
        sensor.self_test()
    assert caught.value.kind == "not-ready"


@pytest.mark.parametrize("co2", [-5.0, 50_000.0])
def test_no_carbon_dioxide_at_all_or_too_much_is_out_of_range(co2: float) -> None:
    simulation, sensor, _ = fitted()
    simulation.hold("s.co2", co2)
    assert {value for _, value in watch(simulation, sensor, 20)} == {"out-of-range"}


def test_closing_leaves_the_chip_at_rest() -> None:
    simulation, sensor, chip = fitted()
    watch(simulation, sensor, 20)
    sensor.close()
    assert chip._next_ms is None
    assert kind_of(sensor) == "nack"  # it takes half a second to come to rest
