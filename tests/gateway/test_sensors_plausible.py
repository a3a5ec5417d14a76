"""Frozen values and impossible jumps."""

from __future__ import annotations

import pytest

from gateway.errors import SensorError
from gateway.sensors.base import divide_half_even
from gateway.sensors.plausible import Slew, Stuck


def test_the_nth_equal_value_is_stuck_until_it_moves() -> None:
    stuck = Stuck(3, "x")
    stuck.check(7)
    stuck.check(7)
    for _ in range(2):
        with pytest.raises(SensorError, match="x gave 7 ") as caught:
            stuck.check(7)
        assert caught.value.kind == "stuck"
    stuck.check(8)
    stuck.check(8)


def test_a_limit_of_zero_turns_the_detector_off() -> None:
    stuck = Stuck(0, "x")
    for _ in range(1000):
        stuck.check(7)


def test_a_single_jump_is_refused_and_what_follows_it_is_not() -> None:
    slew = Slew(per_second=10, floor=2, name="x")
    slew.check(200, 0)
    with pytest.raises(SensorError, match="jumped from 200 to 400") as caught:
        slew.check(400, 2000)
    assert caught.value.kind == "slew"
    slew.check(201, 4000)


def test_a_second_value_like_the_jump_is_believed() -> None:
    slew = Slew(per_second=10, floor=2, name="x")
    slew.check(200, 0)
    with pytest.raises(SensorError):
        slew.check(400, 2000)
    slew.check(402, 4000)
    slew.check(404, 4100)


@pytest.mark.parametrize("value", [222, 178])
def test_a_change_within_the_slope_and_floor_is_believed(value: int) -> None:
    slew = Slew(per_second=10, floor=2, name="x")
    slew.check(200, 0)
    slew.check(value, 2000)


@pytest.mark.parametrize(
    ("numerator", "denominator", "rounded"),
    [
        (5, 2, 2),
        (7, 2, 4),
        (-5, 2, -2),
        (-7, 2, -4),
        (5, -2, -2),
        (9, 4, 2),
        (11, 4, 3),
        (-11, 4, -3),
        (0, 9, 0),
    ],
)
def test_division_rounds_half_to_even(numerator: int, denominator: int, rounded: int) -> None:
    assert divide_half_even(numerator, denominator) == rounded
