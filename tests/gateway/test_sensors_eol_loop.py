"""A supervised loop's four states, and what lies between them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated import kind_of, plug, simulate

from gateway.contracts.errors import ContractError
from gateway.errors import SensorError
from gateway.sensors.eol_loop import Options
from gateway.sensors.registry import read_options
from gateway.simulation.faults import Fault

LOOP = {"input": "a0"}
SMOKY = 'title = ""\n[rooms.r]\n[[events]]\nat_s = 1\nset = {smoulder_g_per_min = 600}\n'
EOL, ALARM, PULL, SUPPLY = 4700, 680, 2200, 3.3


def volts(ohm: float) -> float:
    return SUPPLY * ohm / (ohm + PULL)


def in_alarm(detectors: int) -> float:
    return 1 / (1 / EOL + detectors / ALARM)


def test_smoke_turns_normal_into_alarm_and_both_have_their_resistance() -> None:
    simulation = simulate(SMOKY)
    sensor = plug(simulation, "eol_loop", LOOP)
    rest = sensor.sample()
    simulation.clock.sleep(3)
    alarm = sensor.sample()
    assert (rest["state"], alarm["state"]) == (0, 1)
    assert rest["resistance"] == pytest.approx(EOL, abs=30)
    assert alarm["resistance"] == pytest.approx(in_alarm(1), abs=10)


@pytest.mark.parametrize("detectors", range(1, 9))
def test_any_number_of_detectors_in_alarm_at_once_is_an_alarm(detectors: int) -> None:
    simulation = simulate()
    sensor = plug(simulation, "eol_loop", LOOP)
    simulation.hold("s", volts(in_alarm(detectors)))
    assert sensor.sample()["state"] == 1


@pytest.mark.parametrize(
    ("ohm", "word"),
    [
        (0, "shorted"),
        (20, "shorted"),
        (50, "neither normal nor alarm"),  # less than all detectors, more than a short
        (1500, "neither normal nor alarm"),
        (3500, "neither normal nor alarm"),
        (7500, "neither normal nor alarm"),
        (15_000, "open"),
        (1e9, "open"),
    ],
)
def test_what_is_in_no_band_is_a_wiring_fault_and_never_a_number(ohm: float, word: str) -> None:
    simulation = simulate()
    sensor = plug(simulation, "eol_loop", LOOP)
    simulation.hold("s", volts(ohm))
    with pytest.raises(SensorError, match=word) as caught:
        sensor.sample()
    assert caught.value.kind == "wiring"


@pytest.mark.parametrize(("kind", "word"), [("cut", "open"), ("shorted", "shorted")])
def test_a_cut_and_a_shorted_loop_are_told_by_name_even_in_smoke(kind: str, word: str) -> None:
    simulation = simulate(SMOKY)
    sensor = plug(simulation, "eol_loop", LOOP)
    simulation.clock.sleep(3)
    simulation.inject("s", Fault(kind, 0))  # type: ignore[arg-type]
    with pytest.raises(SensorError, match=word):
        sensor.sample()
    simulation.repair("s")
    assert sensor.sample()["state"] == 1


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(Fault("nack", 0), "nack"), (Fault("timeout", 0), "timeout"), (Fault("brown-out", 0, 9), "nack")],
)
def test_a_fault_of_the_adc_is_a_fault_of_the_loop(fault: Fault, kind: str) -> None:
    simulation = simulate()
    sensor = plug(simulation, "eol_loop", LOOP)
    simulation.inject("s", fault)
    assert kind_of(sensor) == kind
    simulation.repair("s")
    assert kind_of(sensor) == ""


@pytest.mark.parametrize(("measured", "state"), [("", 1), ("a3", 0)])
def test_a_sagging_supply_that_is_measured_is_no_alarm(measured: str, state: int) -> None:
    simulation = simulate()
    sensor = plug(simulation, "eol_loop", {**LOOP, "supply_input": measured})
    chip = simulation.bus("i2c-1").chip_at(0x48)
    assert chip is not None
    sag = 0.3  # a loop of 4700 ohm then shows the voltage of 550 ohm
    chip.inputs[0] = lambda t: volts(EOL) * sag  # type: ignore[attr-defined]
    chip.inputs[3] = lambda t: SUPPLY * sag  # type: ignore[attr-defined]
    assert sensor.sample()["state"] == state


def test_a_loop_without_supply_is_a_power_fault_and_no_short() -> None:
    simulation = simulate()
    sensor = plug(simulation, "eol_loop", {**LOOP, "supply_input": "a3"})
    chip = simulation.bus("i2c-1").chip_at(0x48)
    assert chip is not None
    chip.inputs[0] = chip.inputs[3] = lambda t: 0.0  # type: ignore[attr-defined]
    assert kind_of(sensor) == "power"


def test_one_spike_is_no_alarm() -> None:
    simulation = simulate()
    sensor = plug(simulation, "eol_loop", LOOP)
    assert sensor.sample()["state"] == 0
    chip = simulation.bus("i2c-1").chip_at(0x48)
    readings = iter([volts(in_alarm(1))])
    assert chip is not None
    chip.inputs[0] = lambda t: next(readings, volts(EOL))  # type: ignore[attr-defined]
    assert sensor.sample()["state"] == 0


def test_a_loop_that_chatters_is_a_wiring_fault() -> None:
    simulation = simulate()
    sensor = plug(simulation, "eol_loop", LOOP)
    chip = simulation.bus("i2c-1").chip_at(0x48)
    states = [volts(EOL), volts(in_alarm(1))] * 10
    assert chip is not None
    chip.inputs[0] = lambda t: states.pop()  # type: ignore[attr-defined]
    assert kind_of(sensor) == "wiring"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alarm_ohm": 20_000}, "too near the end-of-line resistor"),
        ({"detectors": 30}, "too near a short"),
        ({"supply_input": "a0"}, "another input"),
        ({"range_mv": 2048}, "must reach supply_mv"),
        ({"eol_ohm": 0}, "above 0"),
    ],
)
def test_resistors_that_cannot_be_told_apart_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        read_options("eol_loop", {**LOOP, **options})


@given(
    eol=st.integers(1, 100_000),
    alarm=st.integers(1, 100_000),
    detectors=st.integers(1, 64),
    tolerance=st.integers(1, 40),
    short=st.integers(1, 10_000),
)
def test_whatever_is_accepted_has_bands_with_gaps_between(
    eol: int, alarm: int, detectors: int, tolerance: int, short: int
) -> None:
    try:
        options = Options(
            "a0",
            eol_ohm=eol,
            alarm_ohm=alarm,
            detectors=detectors,
            tolerance_percent=tolerance,
            short_ohm=short,
        )
    except ValueError:
        return
    (most, one), (low, high) = options.alarm_band, options.normal_band
    assert short < most < one < low < high < options.open_ohm
    assert most < in_parallel(eol, alarm, detectors) <= in_parallel(eol, alarm, 1) < one
    assert low < eol < high


def in_parallel(eol: int, alarm: int, detectors: int) -> float:
    return 1 / (1 / eol + detectors / alarm)
