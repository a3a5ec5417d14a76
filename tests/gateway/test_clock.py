"""Rules of the clocks."""

from __future__ import annotations

import time

import pytest

from gateway.clock import Clock, SimulatedClock, SystemClock


@pytest.mark.parametrize("clock", [SystemClock(), SimulatedClock(100)])
def test_sleep_takes_its_time_on_the_clock_itself(clock: Clock) -> None:
    before = clock.monotonic_ms()
    clock.sleep(0.05)
    assert clock.monotonic_ms() - before >= 49


def test_the_system_clock_tells_unix_time() -> None:
    assert abs(SystemClock().wall_ms() - time.time() * 1000) < 1000


def test_at_speed_zero_only_sleeping_and_advancing_move_time() -> None:
    clock = SimulatedClock(0, start_wall_ms=1_000_000)
    time.sleep(0.01)
    assert (clock.monotonic_ms(), clock.wall_ms()) == (0, 1_000_000)
    clock.sleep(0.25)
    clock.advance(10)
    assert (clock.monotonic_ms(), clock.wall_ms()) == (10_250, 1_010_250)


def test_a_fast_clock_makes_an_hour_of_a_moment() -> None:
    clock = SimulatedClock(1_000_000)
    begun = time.monotonic()
    clock.sleep(3600)
    assert clock.monotonic_ms() >= 3_600_000
    assert time.monotonic() - begun < 60


def test_a_step_of_the_wall_clock_leaves_the_monotonic_one_alone() -> None:
    clock = SimulatedClock(0, start_wall_ms=5000)
    clock.step_wall(-4000)
    assert (clock.monotonic_ms(), clock.wall_ms()) == (0, 1000)


def test_a_clock_never_runs_backwards() -> None:
    with pytest.raises(ValueError, match="cannot run backwards"):
        SimulatedClock(-1)
    with pytest.raises(ValueError, match="cannot go back"):
        SimulatedClock(0).advance(-1)
