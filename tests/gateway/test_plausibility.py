"""Values that cannot be, and series that disagree: what is withheld, what is doubted, and what is recorded."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rig import Rig
from test_recorder import blocks, opened, values

from gateway.catalogue import make_catalogue
from gateway.chain.events import Status
from gateway.chain.reading import parse_leaf
from gateway.config import SensorTable, SeriesTable
from gateway.decider import ContractSet
from gateway.errors import ConfigError, SensorError
from gateway.recording.plausibility import Agreement, Judge, PlausibleTable
from gateway.storage.store import Store


def judge(**table: int) -> Judge:
    return Judge(PlausibleTable(**table), "series")  # type: ignore[arg-type]


def kinds(judge: Judge, given: Iterable[int], step_ms: int = 1000) -> list[str]:
    found = []
    for i, value in enumerate(given):
        try:
            judge.check(value, i * step_ms)
        except SensorError as error:
            found.append(error.kind)
        else:
            found.append("")
    return found


def test_a_value_outside_its_range_is_refused_and_one_at_its_edge_is_not() -> None:
    assert kinds(judge(low=-5, high=10), [-6, -5, 10, 11]) == ["out-of-range", "", "", "out-of-range"]


def test_the_drivers_limits_hold_whatever_is_configured() -> None:
    strict = Judge(PlausibleTable(low=-100, high=100), "series", (0, 10))
    with pytest.raises(SensorError, match="11"):
        strict.check_raw(11)


def test_a_jump_is_refused_once_and_believed_the_second_time() -> None:
    assert kinds(judge(slew=10, slew_floor=1), [0, 5, 500, 501, 502]) == ["", "", "slew", "", ""]


def test_a_frozen_value_is_refused_after_its_time_and_until_it_moves() -> None:
    found = kinds(judge(still_s=10), [7] * 13 + [8])
    assert found == [""] * 10 + ["stuck"] * 3 + [""]


def test_few_equal_values_of_a_slow_sensor_are_not_frozen() -> None:
    assert set(kinds(judge(still_s=10), [7] * 4, step_ms=60_000)) == {""}


def test_noise_and_silence_are_doubted_over_whole_windows() -> None:
    noisy = judge(noise=10, quiet=1)
    kinds(noisy, [0, 2] * 40)
    assert noisy.doubt == ""
    kinds(noisy, [0, 50] * 40)
    assert noisy.doubt == "noise"
    kinds(noisy, [3] * 80)
    assert noisy.doubt == "quiet"


@given(st.lists(st.integers(-(1 << 63), (1 << 63) - 1), min_size=33, max_size=33))
def test_noise_is_the_exact_mean_of_the_differences(column: list[int]) -> None:
    judged = judge(noise=1 << 40)
    kinds(judged, column)
    total = sum(abs(b - a) for a, b in itertools.pairwise(column))
    assert (judged.doubt == "noise") == (total > (1 << 40) * 32)


def agreement(*others: str, for_s: int = 5) -> Agreement:
    return Agreement(PlausibleTable(agrees_with=others, within=10, for_s=for_s), "a", 10_000)


def compared(group: Agreement, seconds: int, start: int = 0, **latest: int) -> frozenset[str]:
    for now in range(start * 1000, (start + seconds) * 1000 + 1, 1000):
        group.judge({name: (value, now) for name, value in latest.items()}, now)
    return group.doubts


def test_of_two_series_that_disagree_both_are_doubtful_after_their_time() -> None:
    group = agreement("b")
    assert compared(group, 4, a=0, b=11) == frozenset()
    assert compared(group, 5, a=0, b=11) == {"a", "b"}
    assert compared(group, 1, 6, a=0, b=10) == frozenset()


def test_of_three_series_only_the_one_far_from_the_middle_is_doubtful() -> None:
    assert compared(agreement("b", "c"), 5, a=0, b=3, c=100) == {"c"}


def test_where_half_stands_against_half_all_are_doubtful() -> None:
    assert compared(agreement("b", "c", "d"), 5, a=0, b=1, c=100, d=101) == set("abcd")


def test_a_value_that_is_old_is_not_compared() -> None:
    group = agreement("b")
    for now in range(20_000, 30_000, 1000):
        group.judge({"a": (0, now), "b": (100, 0)}, now)
    assert not group.doubts


@pytest.mark.parametrize(
    "wrong",
    [{"low": 5, "high": 5}, {"slew": -1}, {"noise": 3, "quiet": 3}, {"agrees_with": ("b",)}, {"within": 3}],
)
def test_a_table_that_contradicts_itself_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"low|slew|quiet|agrees_with"):
        PlausibleTable(**wrong)  # type: ignore[arg-type]


def adc(name: str, pin: str, series: SeriesTable) -> SensorTable:
    return SensorTable(name, "ads1115", 100, {"input": pin}, (series,))


@pytest.mark.parametrize("other", ["nobody", "one", "volts"])
def test_a_series_can_only_agree_with_another_of_its_unit(other: str) -> None:
    mine = SeriesTable("one", "raw", plausible=PlausibleTable(agrees_with=(other,), within=3))
    with pytest.raises(ConfigError, match=f"agrees_with names {other}"):
        make_catalogue((adc("x", "a0", mine), adc("y", "a1", SeriesTable("volts", "voltage"))), "test")


# in the recorder

LIMITS = PlausibleTable(low=0, high=1000)
PPM = {"kind": "linear", "quantity": "raw", "unit": "ppm", "scale": 0}
SENSOR = SensorTable(
    "gas",
    "ads1115",
    100,
    {"input": "a0"},
    (
        SeriesTable("bare", "raw", plausible=LIMITS),
        SeriesTable("kitchen.ch4", calibration=PPM, plausible=LIMITS),
    ),
)


def test_a_refused_value_reaches_no_contract_and_is_recorded_only_as_what_the_sensor_said(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path, sensors=(SENSOR,))
    rig.advance(1)
    rig.gas(900)
    for _ in range(6):
        rig.advance(0.1)
        rig.gas(50_000)
    assert rig.recorder.conditions()["gas-ch4"] == ("normal", ("gas:out-of-range",))
    assert rig.recorder.latest()["kitchen.ch4"][0] == 900
    rig.advance(0.1)
    rig.gas(901)
    rig.stop()
    store = Store(tmp_path / "gateway.db")
    assert values(store, 0) == [900, *[50_000] * 6, 901]
    assert values(store, 1) == [900, 901]
    store.close()


def test_disagreeing_series_are_degraded_by_signed_events_and_stay_in_use(tmp_path: Path) -> None:
    table = PlausibleTable(agrees_with=("two",), within=10, for_s=5)
    sensors = (
        adc("gas", "a0", SeriesTable("one", "raw", plausible=table)),
        adc("y", "a1", SeriesTable("two", "raw")),
    )
    rig = Rig(tmp_path, sensors=sensors, contracts=ContractSet.of([]))
    for _ in range(8):
        rig.advance(1)
        rig.gas(100)
        rig._sample("y", {"raw": 300, "voltage": 0})
        rig.recorder.tick()
    assert rig.recorder.latest()["one"][0] == 100
    rig.stop()
    store = Store(tmp_path / "gateway.db")
    leaves = [leaf for each in blocks(store) for _, leaf in opened(store, each)[0].events]
    store.close()
    events = [e for leaf in leaves if isinstance(e := parse_leaf(leaf), Status)]
    assert [(e.series, e.state, e.reason) for e in events] == [(0, 1, "disagrees"), (1, 1, "disagrees")]
