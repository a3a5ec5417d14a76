"""The NAU7802's driver and the strain bridge on top, against the register model."""

from __future__ import annotations

import statistics
from decimal import Decimal
from fractions import Fraction

import pytest
from simulated import kind_of, plug, simulate

from gateway.errors import SensorError
from gateway.sensors.strain import Bridge, nanostrain
from gateway.simulation.chips.nau7802 import Nau7802Chip
from gateway.simulation.faults import Fault
from gateway.simulation.simulation import Simulation

QUARTER = {"bridge": "quarter", "gauge_factor": 2}
LOADED = 'title = ""\n[rooms.r]\nload_kg = 2000\nstrain_per_kg = 0.05\n'  # 100 µm/m


def chip_of(simulation: Simulation) -> Nau7802Chip:
    chip = simulation.bus("i2c-1").chip_at(0x2A)
    assert isinstance(chip, Nau7802Chip)
    return chip


@pytest.mark.parametrize(
    ("gain", "ratio", "code"), [(128, 0.001, 2_147_484), (1, 0.25, 4_194_304), (64, -0.002, -2_147_484)]
)
def test_a_code_is_the_ratio_times_gain_on_24_bits(gain: int, ratio: float, code: int) -> None:
    simulation = simulate()
    sensor = plug(simulation, "nau7802", {"gain": gain})
    chip_of(simulation).bridge = lambda t: ratio
    assert sensor.sample() == {"raw": code}


@pytest.mark.parametrize("bridge", ["quarter", "half", "full"])
@pytest.mark.parametrize("factor", ["2", "2.085"])
def test_a_loaded_beam_reads_its_strain(bridge: str, factor: str) -> None:
    options = {"bridge": bridge, "gauge_factor": Decimal(factor)}
    sensor = plug(simulate(LOADED), "strain", options)
    values = [sensor.sample()["strain"] for _ in range(40)]
    assert statistics.mean(values) == pytest.approx(100_000, abs=400)


@pytest.mark.parametrize(
    ("bridge", "code", "nano"),
    [
        # v = 0.4995005 mV/V is 1000 µm/m in a quarter bridge with k = 2.
        ("quarter", round(0.0004995004995 * 2**31), 1_000_000),
        ("half", round(0.001 * 2**31), 1_000_000),
        ("full", round(0.002 * 2**31), 1_000_000),
        ("quarter", -round(0.0005005005005 * 2**31), -1_000_000),
        ("full", 0, 0),
    ],
)
def test_strain_follows_the_bridge_equation(bridge: Bridge, code: int, nano: int) -> None:
    assert nanostrain(bridge, Fraction(2), code, 128) == pytest.approx(nano, abs=1)


def test_strain_is_rounded_once_half_to_even() -> None:
    # Full bridge, k = 1, gain 1: a code is 10**9 / 2**24 = 1953125 / 32768 nm/m; 2**14 codes end in .5.
    assert nanostrain("full", Fraction(1), 1 << 14, 1) == 976_562  # 976562.5
    assert nanostrain("full", Fraction(1), 3 << 14, 1) == 2_929_688  # 2929687.5


def test_the_first_sample_starts_and_calibrates_the_chip() -> None:
    simulation = simulate()
    sensor = plug(simulation, "strain", QUARTER)
    assert simulation.clock.monotonic_ms() == 0
    sensor.sample()
    started_ms = simulation.clock.monotonic_ms()
    assert started_ms > 300
    sensor.sample()
    assert simulation.clock.monotonic_ms() - started_ms <= 13 + 2


def test_a_conversion_is_never_read_twice() -> None:
    simulation = simulate()
    sensor = plug(simulation, "nau7802", {"rate": 10})
    sensor.sample()
    before = simulation.clock.monotonic_ms()
    for _ in range(5):
        sensor.sample()
    assert simulation.clock.monotonic_ms() - before >= 500


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(Fault("nack", 0), "nack"), (Fault("timeout", 0), "timeout"), (Fault("cut", 0), "out-of-range")],
)
def test_each_fault_shows_as_its_kind_and_recovers(fault: Fault, kind: str) -> None:
    simulation = simulate()
    sensor = plug(simulation, "strain", QUARTER)
    assert kind_of(sensor) == ""
    simulation.inject("s", fault)
    assert kind_of(sensor) == kind
    simulation.repair("s")
    assert kind_of(sensor) == ""


def test_after_a_brown_out_the_chip_is_started_anew() -> None:
    simulation = simulate(LOADED)
    sensor = plug(simulation, "strain", QUARTER)
    sensor.sample()
    simulation.inject("s", Fault("brown-out", simulation.seconds()))
    assert kind_of(sensor) == "power"
    assert sensor.sample()["strain"] == pytest.approx(100_000, abs=2000)


def test_a_frozen_bridge_is_stuck() -> None:
    simulation = simulate()
    sensor = plug(simulation, "strain", {**QUARTER, "stuck_after": 4})
    assert {kind_of(sensor) for _ in range(20)} == {""}
    simulation.inject("s", Fault("stuck", 0))
    assert [kind_of(sensor) for _ in range(4)] == ["", "", "stuck", "stuck"]


def test_a_chip_that_does_not_power_up_is_not_ready() -> None:
    simulation = simulate()
    sensor = plug(simulation, "nau7802", {})
    chip_of(simulation)._POWER_UP_MS = 10_000  # type: ignore[misc]
    with pytest.raises(SensorError, match="did not power up within 100 ms") as caught:
        sensor.sample()
    assert caught.value.kind == "not-ready"


def test_a_calibration_without_end_is_not_ready() -> None:
    simulation = simulate()
    sensor = plug(simulation, "nau7802", {})
    chip_of(simulation)._CALIBRATION_MS = 10_000  # type: ignore[misc]
    with pytest.raises(SensorError, match="did not end its calibration") as caught:
        sensor.sample()
    assert caught.value.kind == "not-ready"


def test_two_chips_cannot_share_the_one_address() -> None:
    from gateway.errors import SimulationError

    simulation = simulate()
    simulation.attach("a", "strain", QUARTER)
    with pytest.raises(SimulationError, match="b cannot be simulated: address 0x2a of i2c-1 is taken"):
        simulation.attach("b", "nau7802", {})
