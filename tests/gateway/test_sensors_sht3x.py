"""The SHT3x's driver, and what Sensirion's chips have in common: words, checksums, silence while busy."""

from __future__ import annotations

from fractions import Fraction

import pytest
from simulated import kind_of, plug, simulate
from smbus2 import i2c_msg

from gateway.errors import SensorError
from gateway.sensors.base import SelfTesting, Sensor
from gateway.sensors.command_words import crc8
from gateway.simulation.chips.sht3x import Sht3xChip
from gateway.simulation.chips.words import checksum
from gateway.simulation.faults import Fault
from gateway.simulation.simulation import Simulation

# Of the data sheets of SHT3x-DIS, SGP40 and SCD4x.
CHECKSUMS = {
    0xBEEF: 0x92, 0x0000: 0x81, 0x8000: 0xA2, 0x6666: 0x93, 0xFFFF: 0xAC, 0x01E0: 0xB4, 0x7FCE: 0x7B, 0xF896: 0x31,
}  # fmt: skip


def fitted() -> tuple[Simulation, Sensor, Sht3xChip]:
    simulation = simulate()
    sensor = plug(simulation, "sht3x", {})
    chip = simulation.bus("i2c-1").chip_at(0x44)
    assert isinstance(chip, Sht3xChip)
    return simulation, sensor, chip


def test_checksums_are_the_data_sheets() -> None:
    for word, expected in CHECKSUMS.items():
        assert crc8(word.to_bytes(2, "big")) == expected
    # The model has its own arithmetic, so that a mistake in one shows.
    assert all(
        crc8(bytes((a, b))) == checksum(bytes((a, b))) for a in range(0, 256, 3) for b in range(0, 256, 5)
    )


@pytest.mark.parametrize("code", [0, 1, 13_107, 26_214, 32_768, 54_613, 60_000])
def test_codes_become_hundredths_half_to_even(code: int) -> None:
    _, sensor, chip = fitted()
    chip.air = lambda t: (-45 + 175 * code / 65_535, 100 * code / 65_535)
    celsius = round(Fraction(17_500 * code, 65_535)) - 4_500
    if -4_000 <= celsius <= 12_500:
        assert sensor.sample() == {"temperature": celsius, "humidity": round(Fraction(10_000 * code, 65_535))}
    else:
        assert kind_of(sensor) == "out-of-range"


def test_while_it_measures_it_does_not_acknowledge() -> None:
    simulation, _, _ = fitted()
    bus = simulation.bus("i2c-1")
    bus.i2c_rdwr(i2c_msg.write(0x44, [0x24, 0x00]))
    with pytest.raises(OSError, match="Remote I/O"):
        bus.i2c_rdwr(i2c_msg.read(0x44, 6))
    with pytest.raises(OSError, match="Remote I/O"):
        bus.i2c_rdwr(i2c_msg.write(0x44, [0xF3, 0x2D]))
    simulation.clock.sleep(0.015)
    answer = i2c_msg.read(0x44, 6)
    bus.i2c_rdwr(answer)
    data = bytes(answer)
    assert crc8(data[:2]) == data[2]
    with pytest.raises(OSError, match="Remote I/O"):  # it is given once
        bus.i2c_rdwr(i2c_msg.read(0x44, 6))


def test_unasked_it_cannot_be_read_but_acknowledges_its_address() -> None:
    simulation, _, _ = fitted()
    bus = simulation.bus("i2c-1")
    with pytest.raises(OSError, match="Remote I/O"):
        bus.i2c_rdwr(i2c_msg.read(0x44, 1))
    bus.i2c_rdwr(i2c_msg.write(0x44, ()))


@pytest.mark.parametrize("repeatability", ["low", "medium", "high"])
def test_every_repeatability_is_waited_for(repeatability: str) -> None:
    sensor = plug(simulate(), "sht3x", {"repeatability": repeatability})
    assert [kind_of(sensor) for _ in range(5)] == [""] * 5


def test_a_restart_is_a_power_fault_once() -> None:
    simulation, sensor, _ = fitted()
    assert kind_of(sensor) == ""
    simulation.inject("s", Fault("brown-out", simulation.seconds()))
    simulation.clock.sleep(0.1)
    assert [kind_of(sensor), kind_of(sensor)] == ["power", ""]


def test_a_heater_left_on_is_switched_off_and_no_value_given() -> None:
    simulation, sensor, _ = fitted()
    cool = sensor.sample()["temperature"]
    simulation.bus("i2c-1").i2c_rdwr(i2c_msg.write(0x44, [0x30, 0x6D]))
    assert [kind_of(sensor), kind_of(sensor)] == ["not-ready", ""]
    assert sensor.sample()["temperature"] == pytest.approx(cool, abs=20)


def test_damage_in_any_byte_is_a_checksum_fault() -> None:
    simulation, sensor, _ = fitted()
    simulation.inject("s", Fault("checksum", 0, 1))
    assert kind_of(sensor) == "checksum"
    simulation.clock.sleep(1)
    assert kind_of(sensor) == ""


def test_a_heater_that_does_not_switch_fails_the_self_test() -> None:
    _, sensor, chip = fitted()
    assert isinstance(sensor, SelfTesting)
    sensor.self_test()
    obey = chip.obey
    chip.obey = lambda command, words, now_ms: (  # type: ignore[method-assign]
        None if command == 0x306D else obey(command, words, now_ms)
    )
    with pytest.raises(SensorError, match="fails its self-test") as caught:
        sensor.self_test()
    assert caught.value.kind == "not-ready"


def test_a_command_with_a_wrong_checksum_is_noted_and_not_obeyed() -> None:
    simulation, _, chip = fitted()
    simulation.bus("i2c-1").i2c_rdwr(i2c_msg.write(0x44, [0x61, 0x1D, 0x12, 0x34, 0x00]))
    assert chip._status & 0x0001
