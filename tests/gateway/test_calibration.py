"""Calibration records: exact, refusing what they do not cover, the same bytes everywhere."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.calibration.application import Calibration, Correction, Divider, Linear, Stage, Table
from gateway.calibration.tables import mq_table, read_calibration
from gateway.chain.canonical import encode
from gateway.contracts.tables import TableError, loads_toml
from gateway.errors import CalibrationError, SensorError
from gateway.sensors import mq
from gateway.sensors.curves import CURVES, Curve

MQ4 = mq.Options("mq4", "a0")
integers = st.integers(-(10**9), 10**9)


def record(*stages: Stage, correction: Correction | None = None) -> Calibration:
    return Calibration("raw", "u", 0, stages, correction)


@given(integers, integers.filter(bool), st.integers(1, 10**6), integers)
def test_a_linear_stage_is_exact_and_rounds_half_to_even(x: int, n: int, d: int, offset: int) -> None:
    # Python's round of a Fraction is half to even, computed independently of ours.
    assert record(Linear(n, d, offset)).apply(x) == round(Fraction(x * n + offset, d))


@given(st.lists(st.tuples(integers, integers), min_size=2, max_size=9, unique_by=lambda p: p[0]), st.data())
def test_a_table_is_the_straight_line_between_its_points(
    points: list[tuple[int, int]], data: st.DataObject
) -> None:
    points.sort()
    i = data.draw(st.integers(0, len(points) - 2))
    (x0, y0), (x1, y1) = points[i], points[i + 1]
    x = data.draw(st.integers(x0, x1))
    assert record(Table(tuple(points))).apply(x) == round(y0 + Fraction((x - x0) * (y1 - y0), x1 - x0))


@pytest.mark.parametrize("x", [9, 31])
def test_outside_a_table_is_a_fault_not_a_clamp(x: int) -> None:
    with pytest.raises(SensorError, match="is outside the calibrated 10 to 30") as caught:
        record(Table(((10, 1), (20, 5), (30, 2)))).apply(x)
    assert caught.value.kind == "out-of-range"


def test_the_ends_of_a_table_belong_to_it() -> None:
    table = record(Table(((10, 1), (20, 5), (30, 2))))
    assert [table.apply(x) for x in (10, 20, 30)] == [1, 5, 2]


def test_there_is_one_rounding_however_many_stages() -> None:
    # Rounded in between, 1/3 of 1 would be 0.
    assert record(Linear(1, 3), Linear(3, 1)).apply(1) == 1


def test_a_divider_gives_the_ratio_of_element_to_load() -> None:
    # 5 V at 4.096 V full scale are 40000 codes; a fifth of that over the load is Rs = 4 RL.
    stage = Divider(1, 1, 40_000, 1)
    assert record(stage, Linear(1000, 1)).apply(8000) == 4000
    with pytest.raises(SensorError, match="no voltage") as caught:
        record(stage).apply(0)
    assert caught.value.kind == "out-of-range"


def test_a_gas_reading_follows_the_curve_through_circuit_and_table() -> None:
    table = {"kind": "mq", "gas": "ch4", "r0_ohm": 10_000}
    calibration = read_calibration(table, MQ4, where="t")
    assert (calibration.quantity, calibration.unit, calibration.scale) == ("raw", "ppm", 0)
    for ppm in (200, 2200, 4400, 8800, 20_000):
        ohm = 10_000 * (ppm / 1012.7) ** (1 / -2.786)
        code = round(5 * 10_000 / (10_000 + ohm) / 4.096 * 32_768)
        assert calibration.apply(code) == pytest.approx(ppm, rel=0.006)


def test_a_divider_before_the_adc_is_accounted_for() -> None:
    plain = read_calibration({"kind": "mq", "gas": "ch4", "r0_ohm": 10_000}, MQ4, where="t")
    halved = mq.Options("mq4", "a0", divider=Decimal(2))
    other = read_calibration({"kind": "mq", "gas": "ch4", "r0_ohm": 10_000}, halved, where="t")
    assert other.apply(10_000) == plain.apply(20_000)


def test_very_much_gas_is_a_number_and_a_dead_heater_a_fault() -> None:
    calibration = read_calibration({"kind": "mq", "gas": "ch4", "r0_ohm": 10_000}, MQ4, where="t")
    assert calibration.apply(32_766) > 50_000
    with pytest.raises(SensorError) as caught:
        calibration.apply(300)
    assert caught.value.kind == "out-of-range"


@pytest.mark.parametrize("curve", CURVES, ids=lambda c: f"{c.model}-{c.gas}")
def test_every_curve_makes_a_table_close_to_it(curve: Curve) -> None:
    table = mq_table(curve)
    lowest, highest = math.log(table.points[0][0] / 1e6), math.log(float(curve.clean_air))
    for i in range(1, 200):
        ratio = math.exp(lowest + (highest - lowest) * i / 199)
        n, d = table.apply((round(ratio * 10**6), 10**6))
        expected = float(curve.a) * ratio ** float(curve.b) + curve.offset
        assert abs(n / d - expected) <= 0.0035 * expected + 0.5


def test_a_table_is_the_same_on_every_machine() -> None:
    points = mq_table(next(c for c in CURVES if (c.model, c.gas) == ("mq4", "ch4"))).points
    assert (len(points), points[0], points[-1]) == (128, (84_169, 1_000_016), (8_800_000, 2))


CLIMATE = {"kind": "mq", "gas": "ch4", "r0_ohm": 10_000, "temperature": "t", "humidity": "h"}


@pytest.mark.parametrize(
    ("celsius", "percent", "factor"), [(20, 33, 0.99178), (35, 85, 0.77923), (0, 30, 1.40078)]
)
def test_climate_divides_the_ratio(celsius: int, percent: int, factor: float) -> None:
    calibration = read_calibration(CLIMATE, MQ4, where="t")
    plain = read_calibration({"kind": "mq", "gas": "ch4", "r0_ohm": 10_000}, MQ4, where="t")
    ppm = calibration.apply(20_000, celsius * 10, percent * 10)
    assert ppm == pytest.approx(plain.apply(20_000) * factor**2.786, rel=0.01)


@pytest.mark.parametrize(("celsius", "percent", "missing"), [(None, 450, "t"), (200, None, "h")])
def test_a_correction_without_its_climate_is_no_data(
    celsius: int | None, percent: int | None, missing: str
) -> None:
    with pytest.raises(SensorError, match=f"no value of {missing}") as caught:
        read_calibration(CLIMATE, MQ4, where="t").apply(20_000, celsius, percent)
    assert caught.value.kind == "no-data"


def test_thermal_strain_is_subtracted_from_the_result() -> None:
    # 11 µm/m per kelvin above 20.0 °C, in nm/m and tenths: 1100 a tenth.
    correction = Correction("subtract", "t", "", 0, 1100, -220_000, 0, 1)
    calibration = record(Linear(1, 1, -5000), correction=correction)
    assert calibration.apply(100_000, 250) == 100_000 - 5000 - 55_000


def test_a_correction_that_would_turn_the_sign_is_out_of_range() -> None:
    correction = Correction("divide", "t", "", 0, 1, 0, 0, 1)
    with pytest.raises(SensorError, match="outside the correction's range") as caught:
        record(Linear(1, 1), correction=correction).apply(5, 0)
    assert caught.value.kind == "out-of-range"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Linear(0, 1), "numerator other than 0"),
        (lambda: Linear(1, 0), "denominator above 0"),
        (lambda: Linear(2**63, 1), "fit 64 bits"),
        (lambda: Divider(1, 1, 0, 1), "must be above 0"),
        (lambda: Table(((1, 1),)), "2 to 400 points"),
        (lambda: Table(tuple((i, i) for i in range(401))), "2 to 400 points"),
        (lambda: Table(((1, 1), (1, 2))), "in order of x"),
        (lambda: Table(((2, 1), (1, 2))), "in order of x"),
        (lambda: record(), "at least one stage"),
        (lambda: Correction("divide", "", "", 0, 1, 0, 0, 1), "a temperature"),
        (lambda: Correction("divide", "t", "", 0, 1, 0, 1, 1), "just where h1 counts"),
        (lambda: Correction("divide", "t", "h", 0, 1, 0, 1, 0), "denominator above 0"),
    ],
)
def test_impossible_records_are_refused(build: Any, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        build()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('kind = "lienar"', "kind must be one of linear, table, mq"),
        ('kind = "mq"\ngas = "argon"\nr0_ohm = 1', "no curve of 'mq4' for 'argon'; known are ch4, lpg"),
        ('kind = "mq"\ngas = "ch4"\nr0_ohm = 0', "r0_ohm must be above 0"),
        ('kind = "mq"\ngas = "ch4"\nr0_ohm = 1\nhumidity = "h"', "go together"),
        (
            'kind = "linear"\nquantity = "raw"\nunit = "u"\nscale = 0\nnumeratr = 1',
            "did you mean 'numerator'",
        ),
        ('kind = "table"\nquantity = "raw"\nunit = "u"\nscale = 0\npoints = [[1, 2]]', "2 to 400 points"),
    ],
)
def test_a_wrong_table_is_refused_with_the_remedy(text: str, message: str) -> None:
    with pytest.raises((CalibrationError, TableError), match=message):
        read_calibration(loads_toml(text, "t"), MQ4, where="t")


def test_the_curves_are_for_gas_elements_only() -> None:
    with pytest.raises(CalibrationError, match="for sensors of the driver mq"):
        read_calibration({"kind": "mq", "gas": "ch4", "r0_ohm": 1}, None, where="t")


def test_linear_and_points_are_read_from_tables() -> None:
    zero = 'kind = "linear"\nquantity = "strain"\nunit = "um/m"\nscale = -3\noffset = -250\nsource = "2026"'
    calibration = read_calibration(loads_toml(zero, "t"), None, where="t")
    assert calibration.apply(1000) == 750
    assert calibration.to_item() == [1, "strain", "um/m", -3, [["linear", 1, 1, -250]], [], "2026", []]
    points = 'kind = "table"\nquantity = "raw"\nunit = "u"\nscale = 0\npoints = [[0, 0], [10, 100]]'
    assert read_calibration(loads_toml(points, "t"), None, where="t").apply(3) == 30


def test_a_record_has_one_canonical_encoding() -> None:
    one = read_calibration(CLIMATE, MQ4, where="t")
    again = read_calibration(dict(reversed(CLIMATE.items())), MQ4, where="t")
    assert encode(one.to_item()) == encode(again.to_item())
    other = read_calibration({**CLIMATE, "r0_ohm": 10_001}, MQ4, where="t")
    assert encode(one.to_item()) != encode(other.to_item())


def test_the_largest_record_fits_its_catalogue_entry() -> None:
    huge = 2**63 - 1
    points = tuple((huge - 400 + i, -huge + i) for i in range(400))
    correction = Correction("divide", "t" * 64, "h" * 64, huge, huge, huge, huge, huge)
    stages = (Divider(huge, huge, huge, huge), Table(points, per=huge))
    biggest = Calibration("q" * 64, "u" * 64, 0, stages, correction, "s" * 200)
    assert len(encode(biggest.to_item())) <= 8192
