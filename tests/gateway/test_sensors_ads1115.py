"""The ADS1115's driver, and the MQ element's on top, against the register model."""

from __future__ import annotations

import statistics

import pytest
from simulated import kind_of, plug, simulate

from gateway.errors import SensorError
from gateway.sensors.base import SensorInfo
from gateway.simulation.chips.ads1115 import Ads1115Chip
from gateway.simulation.faults import Fault
from gateway.simulation.wiring import Placement

ADC = {"input": "a1"}
MQ = {"model": "mq4", "input": "a0"}


@pytest.mark.parametrize(
    ("range_mv", "volts", "code", "microvolts"),
    [
        (4096, 2.0, 16_000, 2_000_000),  # 125 µV a step
        (2048, 0.0625, 1000, 62_500),  # 62.5 µV
        (1024, 0.00003125, 1, 31),  # 31.25 µV: rounded down
        (512, -0.0000625, -4, -62),  # 15.625 µV: half, to even
        (256, -0.1, -12_800, -100_000),  # 7.8125 µV
        (6144, 0.0001875 * 3, 3, 562),  # 187.5 µV: half, to even
    ],
)
def test_a_code_is_turned_into_microvolts_half_to_even(
    range_mv: int, volts: float, code: int, microvolts: int
) -> None:
    simulation = simulate()
    sensor = plug(simulation, "ads1115", {**ADC, "range_mv": range_mv})
    # The chip's own pin, past the probe's noise.
    chip = simulation.bus("i2c-1").chip_at(0x48)
    assert isinstance(chip, Ads1115Chip)
    chip.inputs[1] = lambda t: volts
    assert sensor.sample() == {"raw": code, "voltage": microvolts}


@pytest.mark.parametrize(
    ("selected", "volts"),
    [
        *(("a0", 1.0), ("a1", 0.5), ("a2", 0.25), ("a3", 0.125)),
        *(("a0-a1", 0.5), ("a0-a3", 0.875), ("a1-a3", 0.375), ("a2-a3", 0.125)),
    ],
)
def test_each_input_and_difference_selects_its_pins(selected: str, volts: float) -> None:
    simulation = simulate()
    sensor = plug(simulation, "ads1115", {"input": selected})
    chip = simulation.bus("i2c-1").chip_at(0x48)
    assert isinstance(chip, Ads1115Chip)
    chip.inputs = {i: lambda t, i=i: 0.5**i for i in range(4)}
    assert sensor.sample()["voltage"] == volts * 1e6


@pytest.mark.parametrize(("rate", "least_ms"), [(8, 125), (128, 8), (860, 1)])
def test_a_sample_waits_for_its_own_conversion(rate: int, least_ms: int) -> None:
    simulation = simulate()
    sensor = plug(simulation, "ads1115", {**ADC, "rate": rate})
    before = simulation.clock.monotonic_ms()
    sensor.sample()
    assert least_ms <= simulation.clock.monotonic_ms() - before <= least_ms + 3


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault("nack", 0), "nack"),
        (Fault("timeout", 0), "timeout"),
        (Fault("brown-out", 0, 9), "nack"),
        (Fault("drift", -100, amount=0.1), "out-of-range"),
    ],
)
def test_each_fault_shows_as_its_kind(fault: Fault, kind: str) -> None:
    simulation = simulate()
    sensor = plug(simulation, "ads1115", ADC)
    assert kind_of(sensor) == ""
    simulation.inject("s", fault)
    assert kind_of(sensor) == kind
    simulation.repair("s")
    assert kind_of(sensor) == ""


def test_a_chip_that_restarts_during_a_conversion_is_a_power_fault_once() -> None:
    simulation = simulate()
    sensor = plug(simulation, "ads1115", {**ADC, "rate": 8})
    simulation.inject("s", Fault("brown-out", 0.05))
    assert [kind_of(sensor), kind_of(sensor)] == ["power", ""]


def test_a_held_bus_stops_every_chip_on_it() -> None:
    simulation = simulate()
    one = plug(simulation, "ads1115", ADC, "one")
    other = plug(simulation, "ads1115", {**ADC, "address": 0x49}, "other")
    simulation.inject("one", Fault("timeout", 0))
    assert (kind_of(one), kind_of(other)) == ("timeout", "timeout")


def test_an_absent_chip_does_not_acknowledge() -> None:
    simulation = simulate()
    simulation.attach("s", "ads1115", ADC)
    absent = plug(simulation, "ads1115", {**ADC, "address": 0x4A}, "other")
    simulation.bus("i2c-1")._sockets.pop(0x4A)
    with pytest.raises(SensorError, match=r"i2c-1/0x4a does not answer; check its wiring") as caught:
        absent.sample()
    assert caught.value.kind == "nack"


def test_a_conversion_that_never_ends_is_a_timeout() -> None:
    simulation = simulate()
    sensor = plug(simulation, "ads1115", ADC)
    chip = simulation.bus("i2c-1").chip_at(0x48)
    assert isinstance(chip, Ads1115Chip)
    chip._convert = lambda now_ms: None  # type: ignore[method-assign]
    with pytest.raises(SensorError, match="did not finish its conversion") as caught:
        sensor.sample()
    assert caught.value.kind == "timeout"


def test_a_frozen_input_is_stuck_after_so_many_equal_codes() -> None:
    simulation = simulate()
    sensor = plug(simulation, "ads1115", {**ADC, "stuck_after": 5})
    assert {kind_of(sensor) for _ in range(50)} == {""}
    simulation.inject("s", Fault("stuck", 0))
    assert [kind_of(sensor) for _ in range(6)] == ["", "", "", "stuck", "stuck", "stuck"]


def test_what_a_sensor_gives_is_known_without_touching_it() -> None:
    sensor = plug(simulate(), "mq", MQ)
    info = sensor.info
    assert isinstance(info, SensorInfo)
    assert (info.driver, info.model, info.warm_up_ms, info.bus) == ("mq", "MQ-4", 180_000, "i2c-1")
    assert [q.name for q in info.quantities] == ["raw"]


def test_an_mq_element_gives_the_codes_of_its_curve_and_circuit() -> None:
    # 4400 ppm of methane: Rs = 10 kOhm * (4400/1012.7)**(-1/2.786) = 5903 Ohm; 5 V * 10000 / 15903.
    text = 'title = ""\n[rooms.r]\n[[events]]\nat_s = 0\nset = {inflow_l_per_min = {ch4 = 10560}}\n'
    text += "[[events]]\nat_s = 1\nset = {inflow_l_per_min = {ch4 = 0}, air_changes_per_h = 0}\n"
    simulation = simulate(text)
    sensor = plug(simulation, "mq", MQ)
    simulation.clock.sleep(2)
    codes = [sensor.sample()["raw"] for _ in range(50)]
    assert statistics.mean(codes) == pytest.approx(5 * 10_000 / 15_903 / 4.096 * 32_768, rel=0.003)


def test_a_divider_lowers_the_voltage_at_the_pin() -> None:
    simulation = simulate()
    whole = plug(simulation, "mq", MQ, "whole")
    half = plug(simulation, "mq", {**MQ, "input": "a1", "divider": 2}, "half")
    assert half.sample()["raw"] == pytest.approx(whole.sample()["raw"] / 2, abs=30)


def test_an_element_without_voltage_is_a_wiring_fault_not_clean_air() -> None:
    simulation = simulate()
    sensor = plug(simulation, "mq", MQ)
    simulation.inject("s", Fault("cut", 0))
    assert kind_of(sensor) == "wiring"


def test_a_cold_element_reads_high_until_it_is_warm() -> None:
    cold = plug(simulate('title = ""\nwarm = false\n[rooms.r]\n'), "mq", MQ)
    warm_simulation = simulate('title = ""\nwarm = true\n[rooms.r]\n')
    warm = plug(warm_simulation, "mq", MQ)
    assert cold.sample()["raw"] > 1.5 * warm.sample()["raw"]
    assert warm_simulation.powered_since_ms < -warm.info.warm_up_ms


def test_a_placement_chooses_gas_room_and_r0() -> None:
    text = 'title = ""\n[rooms.a]\n[rooms.b]\n[[events]]\nat_s = 0\nroom = "b"\n'
    text += "set = {inflow_l_per_min = {lpg = 900}}\n"
    simulation = simulate(text, lpg=Placement(room="b", gas="lpg"), far=Placement(room="a", gas="lpg"))
    near = plug(simulation, "mq", MQ, "lpg")
    far = plug(simulation, "mq", {**MQ, "input": "a1"}, "far")
    simulation.clock.sleep(10)
    assert near.sample()["raw"] > 2 * far.sample()["raw"]
