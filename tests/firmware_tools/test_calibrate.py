"""Calibration as a technician does it, on simulated sensors: what is accepted and signed, and all that is not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from firmware_tools.calibrate.fit import Climate, Measured, fit_span
from firmware_tools.calibrate.strain import bridge_strain, fit_shunt, fit_zero, shunt_output
from firmware_tools.cli import main
from firmware_tools.errors import FitRefused
from firmware_tools.verify import calibrated
from gateway.calibration.application import Calibration, Correction, Linear, Validity
from gateway.chain.canonical import encode
from gateway.chain.keys import SigningKey, gateway_id
from gateway.chain.workmanship import read_calibration_record
from gateway.config import load_config
from gateway.control import Control
from gateway.inspection.checking import examine
from gateway.machine import configured_catalogue
from gateway.sensors import strain

KEY = SigningKey(b"\x11" * 32)
SITE = """
[gateway]
name = "flat"
region = "north"
data = "data"

[[sensors]]
name = "gas"
driver = "mq"
options = { model = "mq4", input = "a0" }
[[sensors.series]]
name = "kitchen.ch4"
calibration = { kind = "mq", gas = "ch4", r0_ohm = 9500 }

[[sensors]]
name = "heated"
driver = "mq"
options = { model = "mq7", input = "a1", heater_pin = 21 }
[[sensors.series]]
name = "boiler.co"
calibration = { kind = "mq", gas = "co", r0_ohm = 10000 }

[[sensors]]
name = "cell"
driver = "ads1115"
options = { input = "a2" }
[[sensors.series]]
name = "cell.co"
calibration = { kind = "linear", quantity = "voltage", unit = "ppm", scale = 0, denominator = 900, offset = -360000 }

[[sensors]]
name = "beam"
driver = "strain"
options = { bridge = "quarter", gauge_factor = 2 }
[[sensors.series]]
name = "beam.strain"
quantity = "strain"
"""
SIMULATED = '\n[simulation]\nscenario = "calibration"\n[simulation.sensors.gas]\nr0_ohm = 10400\n'
WARM = 'title = "t"\n[rooms.r]\nair_changes_per_h = 0\n'


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "key").write_text(KEY.seed.hex() + "\n")
    (tmp_path / "gateway.toml").write_text(SITE + SIMULATED)
    assert run(tmp_path, "technician", "Fitter 12", "-o", tmp_path / "technician.key").exit_code == 0
    return tmp_path


def run(_site: Path, *arguments: object, given: str | None = None) -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments], input=given)


def calibrate(
    site: Path, method: str, series: str, *more: object, scenario: str = "", sure: bool = True
) -> Result:
    if scenario:
        (site / "scenario.toml").write_text(scenario)
        more = (*more, "--simulate", site / "scenario.toml")
    return run(
        site, "calibrate", method, series, "--config", site / "gateway.toml", "--technician", site / "technician.key",
        "--speed", 0, *(["--yes"] if sure else []), *more,
    )  # fmt: skip


def records(site: Path) -> list[str]:
    return sorted(each.name for each in site.iterdir() if "calibration" in each.name)


def refused(site: Path, result: Result, message: str) -> None:
    assert result.exit_code == 1, result.output
    assert message in result.output
    assert records(site) == []


def r0_of(output: str) -> int:
    return int(output.split("R0 = ")[1].split()[0])


def fault(kind: str, amount: float = 0.0, at_s: float = 5, sensor: str = "gas") -> str:
    return f'{WARM}[[faults]]\nsensor = "{sensor}"\nkind = "{kind}"\nat_s = {at_s}\namount = {amount}\n'


def test_clean_air_finds_the_elements_true_r0_after_it_is_warm(site: Path) -> None:
    result = calibrate(site, "clean-air", "kitchen.ch4")
    assert result.exit_code == 0, result.output
    assert "warming up" in result.output
    assert r0_of(result.output) == pytest.approx(10_400, rel=0.003)
    record = read_calibration_record((site / "kitchen.ch4.calibration").read_bytes())
    assert (record.name, record.gateway, record.series) == (
        "Fitter 12",
        gateway_id(KEY.public),
        "kitchen.ch4",
    )
    assert record.until - record.made == 365 * 86_400_000
    assert record.points[0].count >= 55


def test_the_printed_configuration_puts_the_record_in_force(site: Path) -> None:
    result = calibrate(site, "clean-air", "kitchen.ch4", "--json", "--days", 30)
    printed = json.loads(result.stdout)["configuration"]
    line = next(each for each in printed.splitlines() if each.startswith("calibration"))
    config = site / "gateway.toml"
    config.write_text(
        config.read_text().replace('calibration = { kind = "mq", gas = "ch4", r0_ohm = 9500 }', line)
    )
    catalogue = configured_catalogue(load_config(config), "test", runs=True)
    found = catalogue.sensors[0].channels[0].calibration
    assert found is not None
    assert found.validity is not None
    code = 5 * 10_000 / (10_000 + 10_400 * (2200 / 1012.7) ** (-1 / 2.786)) / 4.096 * 32_768
    assert found.apply(round(code)) == pytest.approx(2200, rel=0.03)
    # And again, from the record on: its R0 is what is expected now.
    again = calibrate(site, "clean-air", "kitchen.ch4")
    assert int(again.output.split("expected were ")[1].split()[0]) == pytest.approx(10_400, rel=0.003)


def test_a_calibration_that_is_over_is_noted(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = calibrate(site, "clean-air", "kitchen.ch4", "--json", "--days", 30)
    line = json.loads(result.stdout)["configuration"].splitlines()[-1]
    config = site / "gateway.toml"
    config.write_text(
        config.read_text().replace('calibration = { kind = "mq", gas = "ch4", r0_ohm = 9500 }', line)
    )
    (site / "trust").write_text("00" * 32 + "\n")
    now = time.time_ns()
    for days, expired in ((29, False), (31, True)):
        monkeypatch.setattr(time, "time_ns", lambda days=days: now + days * 86_400 * 10**9)
        warnings = examine(load_config(config), "test").warnings
        assert any("kitchen.ch4" in each and "expired" in each for each in warnings) == expired


def test_a_clock_that_was_never_set_signs_nothing(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 86_400 * 10**9)
    refused(site, calibrate(site, "clean-air", "kitchen.ch4", scenario=WARM), "clock was never set")


@pytest.mark.parametrize(
    ("scenario", "message"),
    [
        (WARM + "inflow_l_per_min = { ch4 = 3 }\n", "not settled"),
        (WARM + "hood = { ch4 = 800 }\n", "is gas in the air"),
        (fault("noise", 0.1), "too noisy"),
        (fault("drift", 0.005), "not settled"),
        (fault("cut", at_s=20), "the sensor failed while it was measured: wiring"),
        (fault("nack", at_s=20), "the sensor failed while it was measured: nack"),
    ],
)
def test_a_measurement_that_proves_nothing_is_refused_and_nothing_written(
    site: Path, scenario: str, message: str
) -> None:
    refused(site, calibrate(site, "clean-air", "kitchen.ch4", scenario=scenario), message)


def test_a_stuck_sensor_is_refused(site: Path) -> None:
    config = site / "gateway.toml"
    config.write_text(config.read_text().replace('input = "a0" }', 'input = "a0", stuck_after = 0 }'))
    result = calibrate(site, "clean-air", "kitchen.ch4", "--seconds", 30, scenario=fault("stuck", at_s=-5))
    refused(site, result, "the sensor is stuck")


def test_a_cold_sensor_is_waited_for_or_refused(site: Path) -> None:
    refused(site, calibrate(site, "clean-air", "kitchen.ch4", "--no-wait"), "still cold")


def test_a_new_element_may_be_far_from_what_is_expected(site: Path) -> None:
    far = SITE.replace("9500", "30000") + SIMULATED
    (site / "gateway.toml").write_text(far)
    refused(site, calibrate(site, "clean-air", "kitchen.ch4", scenario=WARM), "0.3")
    assert calibrate(site, "clean-air", "kitchen.ch4", "--new-element", scenario=WARM).exit_code == 0


def test_a_no_ends_it_and_nothing_is_written(site: Path) -> None:
    result = CliRunner().invoke(
        main,
        ["calibrate", "clean-air", "kitchen.ch4", "--config", str(site / "gateway.toml"),
         "--technician", str(site / "technician.key"), "--speed", "0"],
        input="n\n",
    )  # fmt: skip
    refused(site, result, "not confirmed")


@pytest.mark.parametrize("ppm", ["0.1%", "-5", "1/0", "10/2", "nan", ""])
def test_a_gas_that_is_no_number_of_ppm_is_refused_before_anything_is_measured(site: Path, ppm: str) -> None:
    refused(site, calibrate(site, "span", "cell.co", f"--ppm={ppm}"), "is no number of ppm")


def test_where_nobody_can_answer_nothing_is_confirmed(site: Path) -> None:
    refused(site, calibrate(site, "clean-air", "kitchen.ch4", sure=False), "--yes: it has been seen to")


def test_a_series_that_the_configuration_does_not_name_is_calibrated_and_the_sensors_others_stay(
    site: Path,
) -> None:
    unnamed = SITE.replace('[[sensors.series]]\nname = "beam.strain"\nquantity = "strain"\n', "")
    (site / "gateway.toml").write_text(unnamed + SIMULATED)
    result = calibrate(site, "zero", "beam.strain")
    assert result.exit_code == 0, result.output
    printed = result.output[result.output.index("[[sensors.series]]") :]
    (site / "gateway.toml").write_text(unnamed + printed + SIMULATED)
    series = {each.name for each in configured_catalogue(load_config(site / "gateway.toml"), "").series}
    assert {"beam.strain", "beam.raw"} <= series


def test_each_step_is_asked_for_and_then_counted_down(site: Path) -> None:
    (site / "warm.toml").write_text(WARM)
    result = run(
        site, "calibrate", "span", "kitchen.ch4", "--ppm", 0, "--ppm", 2200, "--config", site / "gateway.toml",
        "--technician", site / "technician.key", "--speed", 0, "--simulate", site / "warm.toml", given="y\ny\n",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    said = [
        next(i for i, line in enumerate(result.output.splitlines()) if part in line)
        for part in (
            "Is it clean?",
            "0 ppm settling",
            "Does it flow?",
            "2200 ppm settling",
            "R0 = ",
            "kind = ",
        )
    ]
    assert said == sorted(said)


def test_test_gas_finds_r0_and_gases_that_disagree_are_refused(site: Path) -> None:
    result = calibrate(site, "span", "kitchen.ch4", "--ppm", 0, "--ppm", 2200, scenario=WARM)
    assert result.exit_code == 0, result.output
    assert r0_of(result.output) == pytest.approx(10_400, rel=0.003)
    assert "residual 0." in result.output
    (site / "kitchen.ch4.calibration").unlink()
    # Said to be 2200 ppm, while the bottle holds 400.
    bottle = WARM + "hood = { ch4 = 400 }\n" + "[[events]]\nat_s = 150\nset = { hood = { ch4 = 400 } }\n"
    refused(
        site,
        calibrate(site, "span", "kitchen.ch4", "--ppm", 0, "--ppm", 2200, scenario=bottle),
        "the gases disagree",
    )


def test_a_heated_cycle_is_calibrated_by_one_value_a_cycle(site: Path) -> None:
    result = calibrate(site, "span", "boiler.co", "--ppm", 100, "--json", scenario=WARM)
    assert result.exit_code == 0, result.output
    point = json.loads(result.stdout)["points"][0]
    assert 3 <= point["count"] <= 4
    assert "R0 = 100" in json.loads(result.stdout)["result"][0]


def test_a_cell_gets_the_straight_line_through_its_gases(site: Path) -> None:
    result = calibrate(
        site, "span", "cell.co", "--ppm", 0, "--ppm", 100, "--ppm", 200, "--json", scenario=WARM
    )
    assert result.exit_code == 0, result.output
    record = read_calibration_record((site / "cell.co.calibration").read_bytes())
    assert [each.expected for each in record.points] == [0, 100, 200]
    assert record.residual <= 5
    (site / "cell.co.calibration").unlink()
    refused(site, calibrate(site, "span", "cell.co", "--ppm", 100, scenario=WARM), "two gases at least")


def test_zero_and_shunt_of_a_strain_sensor(site: Path) -> None:
    loaded = WARM + "load_kg = 1000\n"
    result = calibrate(site, "zero", "beam.strain", scenario=loaded)
    assert result.exit_code == 0, result.output
    assert "zero at 50.0" in result.output or "zero at 49.9" in result.output
    result = calibrate(site, "shunt", "beam.strain", "--shunt-ohm", 59880, scenario=loaded)
    assert result.exit_code == 0, result.output
    assert "gain 1.000" in result.output or "gain 0.999" in result.output


def test_a_beam_that_moves_has_no_zero(site: Path) -> None:
    refused(
        site, calibrate(site, "zero", "beam.strain", scenario=WARM + "creep_per_s = 0.1\n"), "not settled"
    )
    refused(site, calibrate(site, "zero", "beam.strain", scenario=WARM + "load_kg = 80000\n"), "without load")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("zero", "kitchen.ch4"), "no strain"),
        (("clean-air", "beam.strain"), "not of an MQ element"),
        (("clean-air", "kitchen.ch5"), "no series is called"),
        (("clean-air", "kitchen.ch4", "--gas", "co"), "no curve of mq4"),
        (("span", "kitchen.ch4", "--ppm", "0.5"), "not a whole number"),
    ],
)
def test_what_cannot_be_calibrated_so_is_refused(
    site: Path, arguments: tuple[str, ...], message: str
) -> None:
    refused(site, calibrate(site, *arguments, scenario=WARM), message)


def test_the_running_gateway_is_never_disturbed(site: Path) -> None:
    (site / "gateway.toml").write_text(SITE)
    control = Control(site / "data" / "control.sock", lambda request: {})
    control.start()
    try:
        refused(site, calibrate(site, "clean-air", "kitchen.ch4"), "the gateway runs")
    finally:
        control.stop()


def test_a_rehearsal_makes_a_record_that_no_gateway_takes(site: Path) -> None:
    (site / "gateway.toml").write_text(SITE)
    result = calibrate(site, "clean-air", "kitchen.ch4", scenario=WARM)
    assert result.exit_code == 0, result.output
    assert "rehearsal" in result.output
    assert read_calibration_record((site / "kitchen.ch4.calibration").read_bytes()).gateway == bytes(16)


def test_a_gateway_without_a_key_cannot_be_named_in_a_record(site: Path) -> None:
    (site / "data" / "key").unlink()
    refused(site, calibrate(site, "clean-air", "kitchen.ch4"), "no key yet")
    assert calibrate(site, "clean-air", "kitchen.ch4", "--gateway", "ab" * 16).exit_code == 0


def test_ctrl_c_leaves_nothing_behind(site: Path) -> None:
    arguments = [
        "-c", "from firmware_tools.cli import main; main()", "calibrate", "clean-air", "kitchen.ch4", "--yes",
        "--speed", "1",
        "--config", str(site / "gateway.toml"), "--technician", str(site / "technician.key"),
    ]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    assert process.stderr is not None
    assert "warming up" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 1
    assert records(site) == []


def test_a_technicians_key_is_never_overwritten(site: Path) -> None:
    before = (site / "technician.key").read_text()
    assert run(site, "technician", "Stranger", "-o", site / "technician.key").exit_code == 1
    assert (site / "technician.key").read_text() == before
    assert (site / "technician.key").stat().st_mode & 0o777 == 0o600


# The fits by themselves.

LINE = Calibration("strain", "um/m", -3, (Linear(1, 1),))


def steady(
    value: float, expected: int = 0, *, count: int = 40, noise: int = 30, drift: float = 0.0
) -> Measured:
    readings = tuple((i * 1000, round(value + noise * (-1) ** i + drift * i / count)) for i in range(count))
    return Measured(expected, readings)


def test_a_measurement_knows_its_mean_noise_and_drift() -> None:
    found = steady(1000, noise=10, drift=400)
    assert found.mean == pytest.approx(1195, abs=3)
    assert found.drift == pytest.approx(390, abs=3)
    assert found.deviation == pytest.approx(10, abs=0.5)


def test_a_zero_keeps_the_gain_and_what_the_temperature_takes() -> None:
    thermal = Correction("subtract", "t", "", 0, 1100, 0, 0, 1)  # 11 um/m per kelvin, t in tenths
    before = replace(LINE, stages=(Linear(3, 2, 7),), correction=thermal)
    fit = fit_zero(before, steady(42_000), Climate(temperature=210))
    assert fit.calibration.apply(42_000, 210) == 0
    assert fit.calibration.apply(44_000, 210) == 3000
    assert fit.calibration.apply(42_000, 220) == -11_000


@pytest.mark.parametrize(
    ("gain", "accepted"), [(1.0, True), (1.09, True), (0.91, True), (0.85, False), (1.2, False)]
)
def test_a_shunt_finds_the_gain_or_says_that_it_cannot_be(gain: float, accepted: bool) -> None:
    pretended = -1_000_000
    bare, shunted = steady(10_000), steady(10_000 + pretended / gain, pretended)
    if not accepted:
        with pytest.raises(FitRefused, match="the gain would be"):
            fit_shunt(LINE, bare, shunted)
        return
    calibration = fit_shunt(LINE, bare, shunted).calibration
    assert calibration.apply(10_000) - calibration.apply(round(10_000 + pretended / gain)) == pytest.approx(
        1_000_000, abs=200
    )
    assert calibration.apply(0) == 0


@pytest.mark.parametrize(
    ("bridge", "up", "expected"),
    [  # 59,880 ohm across 120 ohm pretend 1000 um/m to a gauge of factor 2 (Vishay TN-514), a quarter in a full bridge
        ("quarter", False, -1_000_000),
        ("half", False, -500_500),
        ("full", False, -250_250),
        ("full", True, 250_250),
    ],
)
def test_what_a_shunt_pretends_depends_on_the_bridge(bridge: Any, up: bool, expected: int) -> None:
    output = shunt_output(Fraction(120), Fraction(59_880), up=up)
    assert bridge_strain(strain.Options(bridge, Decimal(2)), output) == pytest.approx(expected, abs=10)


def test_a_shunt_that_is_not_connected_is_noticed() -> None:
    with pytest.raises(FitRefused, match="does it lie across one gauge"):
        fit_shunt(LINE, steady(0), steady(10, -1_000_000))


def test_a_bend_in_the_line_is_refused() -> None:
    gas: Any = replace(LINE, unit="ppm", scale=0)
    points = [steady(400_000, 0), steady(500_000, 100), steady(560_000, 200)]
    with pytest.raises(FitRefused, match="misses a gas by"):
        fit_span(gas, points)


@pytest.mark.parametrize(
    ("validity", "time_ms", "words"),
    [
        (None, 5, "no technician signed it"),
        (
            Validity(10, 2_000_000, KEY.public, bytes(32)),
            1_999_999,
            "good until 1970-01-01 00:33:20.000 UTC.",
        ),
        (Validity(10, 2_000_000, KEY.public, bytes(32)), 2_000_000, "it was over by then"),
    ],
)
def test_evidence_says_whose_calibration_made_the_value(
    validity: Validity | None, time_ms: int, words: str
) -> None:
    told = calibrated(encode(replace(LINE, source="Fitter, zero", validity=validity).to_item()), time_ms)
    assert told.startswith("Calibration: Fitter, zero; ")
    assert words in told


def test_evidence_of_a_calibration_that_cannot_be_read_says_so() -> None:
    assert "cannot read" in calibrated(b"\x07", 0)
