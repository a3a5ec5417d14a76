"""What the packaged contracts for carbon monoxide, heat, loops and power promise, stated in minutes and degrees."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from gateway.contracts.document import Contract, SeriesInfo
from gateway.contracts.engine import Engine
from gateway.contracts.library import template
from gateway.contracts.machine import Transition
from gateway.contracts.source import read_contract

SERIES = {
    "co": SeriesInfo("ppm", 0),
    "air": SeriesInfo("Cel", -1),
    "loop": SeriesInfo("1", 0),
    "mains": SeriesInfo("1", 0),
    "supply": SeriesInfo("V", -3),
}
MINUTE = 60_000
MQ7 = {"max_age": "5m"}
CELL, CYCLE = 1_000, 150_000  # ms from one value to the next: an electrochemical cell's, an MQ-7's


def contract(name: str, series: str, **names: str | int) -> Contract:
    return read_contract(template(name, series=series, **names), name)


def dose(period_ms: int) -> list[Contract]:
    slow = MQ7 if period_ms == CYCLE else {}
    quick = {**MQ7, "hold": "0s"} if period_ms == CYCLE else {}
    return [
        contract("co-50", "co", **slow),
        contract("co-100", "co", **slow),
        contract("co-300", "co", **quick),
    ]


def play(
    contracts: list[Contract], series: str, values: Iterable[tuple[int, int]], until: int
) -> list[Transition]:
    """Let samples come at their times, and time pass until `until`."""
    engine = Engine(contracts, SERIES, 0)
    heard: list[Transition] = []
    for at, value in values:
        heard += engine.sample(series, value, at)
    return heard + engine.expire(until)


def exposure(ppm: int, period_ms: int, minutes: int, phase: int) -> Iterable[tuple[int, int]]:
    """Clean air, then `ppm` from second 10 000 on; samples come `phase` ms into each period."""
    start = 10_000_000
    for at in range(phase, start + minutes * MINUTE, period_ms):
        yield at, ppm if at >= start else 0


def first(heard: list[Transition], condition: int) -> float | None:
    """Minutes from the exposure's start to the first time that any contract was in a condition."""
    times = [each.at_ms for each in heard if each.after == condition]
    return (min(times) - 10_000_000) / MINUTE if times else None


@pytest.mark.parametrize(
    ("period_ms", "phase"), [(CELL, 0), (CYCLE, 0), (CYCLE, 1), (CYCLE, 74_999), (CYCLE, 149_999)]
)
@pytest.mark.parametrize(
    ("ppm", "earliest", "latest"), [(33, None, None), (55, 60, 90), (110, 10, 40), (330, 0, 3), (5000, 0, 3)]
)
def test_carbon_monoxide_alarms_within_the_windows_of_en_50291(
    ppm: int, earliest: float | None, latest: float | None, period_ms: int, phase: int
) -> None:
    minutes = 240 if latest is None else int(latest) + 5
    heard = play(
        dose(period_ms), "co", exposure(ppm, period_ms, minutes, phase), 10_000_000 + minutes * MINUTE
    )
    alarm, early = first(heard, 2), first(heard, 1)
    if earliest is None or latest is None:
        assert alarm is None
        assert early is not None
        assert 120 <= early <= 123
    else:
        assert alarm is not None
        assert earliest <= alarm <= latest


def test_29_ppm_are_never_even_a_pre_alarm() -> None:
    heard = play(dose(CELL), "co", exposure(29, CELL, 300, 0), 10_000_000 + 300 * MINUTE)
    assert [each for each in heard if each.after] == []


def test_air_that_clears_before_its_time_was_no_dose() -> None:
    minutes = 55
    clears = [
        (at, value if at < 10_000_000 + 24 * MINUTE else 0) for at, value in exposure(110, CELL, minutes, 0)
    ]
    assert first(play(dose(CELL), "co", clears, 10_000_000 + minutes * MINUTE), 2) is None


def test_a_co_sensor_that_falls_silent_is_a_fault_and_never_an_end() -> None:
    values = [(at, ppm) for at, ppm in exposure(110, CELL, 5, 0) if at < 10_000_000 + 4 * MINUTE]
    heard = play(dose(CELL), "co", values, 10_000_000 + 60 * MINUTE)
    assert {each.faults_after for each in heard if each.faults_after} == {("co:missing",)}
    assert first(heard, 2) == 25  # what has begun runs on through what is missing


def ramp(celsius: float, kelvin_per_minute: float, minutes: int) -> Iterable[tuple[int, int]]:
    for second in range(0, minutes * 60, 2):
        yield second * 1000, round(10 * (celsius + kelvin_per_minute * second / 60))


@pytest.mark.parametrize(
    ("start", "rise", "condition"),
    [
        (21, 8, 0),  # slower than 8.3 K a minute, and not yet warm
        (40, 8, 0),  # slower
        (10, 9, 0),  # faster, below 35 degC
        (36, 9, 1),
    ],
)
def test_a_rise_of_8_3_kelvin_a_minute_counts_above_35_degrees(
    start: float, rise: float, condition: int
) -> None:
    heard = play([contract("heat", "air")], "air", ramp(start, rise, 2), 2 * MINUTE)
    assert max((each.after for each in heard), default=0) == condition


def test_57_degrees_for_ten_seconds_are_an_alarm_however_slowly_they_came() -> None:
    heard = play([contract("heat", "air")], "air", ramp(50, 1, 8), 8 * MINUTE)
    alarms = [each.at_ms for each in heard if each.after == 2]
    assert alarms
    assert 7 * MINUTE + 8_000 <= alarms[0] <= 7 * MINUTE + 12_000
    warm = [(second * 1000, 569) for second in range(600)]
    assert play([contract("heat", "air")], "air", warm, 600_000) == []


def test_a_loops_alarm_is_at_once_and_stays_until_it_is_reset() -> None:
    loop = contract("loop-alarm", "loop")
    heard = play([loop], "loop", [(0, 0), (1000, 1), *((s * 1000, 0) for s in range(2, 90))], 89_000)
    assert [(each.at_ms, each.after) for each in heard] == [(1000, 2), (62_000, 3)]


def test_a_loops_fault_is_no_alarm_of_its_detectors() -> None:
    both = [contract("loop-alarm", "loop"), contract("loop-fault", "loop")]
    engine = Engine(both, SERIES, 0)
    engine.sample("loop", 0, 0)
    heard = engine.fault("loop", "wiring", 1000) + engine.expire(5000)
    assert [(each.contract_id, each.at_ms, each.after) for each in heard] == [
        ("loop-alarm", 1000, 0),
        ("loop-fault", 1000, 0),
        ("loop-fault", 4000, 2),
    ]


def test_a_dip_of_the_mains_is_none_and_their_loss_is_one() -> None:
    mains = [contract("mains-failed", "mains")]
    dip = [(s * 1000, 0 if 10 <= s < 35 else 1) for s in range(100)]
    assert play(mains, "mains", dip, 100_000) == []
    gone = [(s * 1000, 0 if s >= 10 else 1) for s in range(100)]
    assert [(each.at_ms, each.after) for each in play(mains, "mains", gone, 99_000)] == [(40_000, 2)]


def test_a_battery_that_runs_down_is_told_early() -> None:
    falling = [(s * 1000, 12_600 - s) for s in range(2400)]
    heard = play([contract("supply-low", "supply")], "supply", falling, 2_400_000)
    assert [each.after for each in heard] == [1, 2]
    assert heard[0].at_ms == 601_000 + 300_000
    assert heard[1].at_ms == 1_201_000 + 60_000
