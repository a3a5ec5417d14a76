"""A series' state: at once when it gets worse, lasting before it gets better again, and never many."""

from __future__ import annotations

import itertools
import random

import pytest

from gateway.recording.health import DEGRADED, FAULT, WARMING, WELL, Health

PERIOD_MS = 100
DAY_MS = 86_400_000


def fresh(warm_at_ms: int = 0) -> Health:
    return Health(PERIOD_MS, warm_at_ms, 0)


def fails(health: Health, count: int, now: int, kind: str = "nack") -> list[bool]:
    return [health.fail(kind, now + PERIOD_MS * i) for i in range(count)]


def test_the_fifth_failure_is_a_fault_at_once_and_the_first_is_none() -> None:
    health = fresh()
    assert fails(health, 5, 1000) == [True, False, False, False, True]
    assert (health.state, health.reason) == (FAULT, "nack")


@pytest.mark.parametrize("kind", ["stuck", "silent", "unproven"])
def test_what_was_waited_for_is_a_fault_at_once(kind: str) -> None:
    health = fresh()
    assert health.fail(kind, 1000)
    assert (health.state, health.reason) == (FAULT, kind)


def test_a_flapping_series_changes_a_few_times_an_hour_and_is_in_fault_meanwhile() -> None:
    health, changes, now = fresh(), 0, 0
    chance = random.Random(4)
    while now < DAY_MS // 4:
        for _ in range(chance.randrange(5, 30)):
            now += PERIOD_MS
            changes += health.fail(chance.choice(["nack", "timeout"]), now)
        assert health.state == FAULT
        for _ in range(chance.randrange(1, 200)):
            now += PERIOD_MS
            changes += health.succeed(now)
    # Two for each of a few recoveries that last ten minutes, and a reason a minute.
    assert changes < 6 * (60 + 12)


def test_single_failures_now_and_then_do_not_fill_the_chain_either() -> None:
    health, changes, now = fresh(), 0, 0
    while now < DAY_MS // 4:
        now += PERIOD_MS
        changes += health.fail("checksum", now)
        for _ in range(20):
            now += PERIOD_MS
            changes += health.succeed(now)
    assert changes < 6 * 20


def test_a_fault_after_a_long_peace_ends_with_one_good_value_again() -> None:
    health = fresh()
    fails(health, 5, 1000)
    assert health.succeed(2000)
    fails(health, 5, 3000)
    assert not health.succeed(4000)  # it came back too soon
    assert health.state == FAULT
    now = 4000
    while health.state != WELL:
        now += PERIOD_MS
        health.succeed(now)
    assert now >= 4000 + 10_000
    now += 2 * 600_000
    health.succeed(now)
    fails(health, 5, now + PERIOD_MS)
    assert health.succeed(now + 6 * PERIOD_MS)
    assert health.state == WELL


def test_contracts_are_told_of_each_fault_once_and_of_one_that_comes_back_at_most_every_ten_seconds() -> None:
    health, told, now = fresh(), [], 0
    for _ in range(100):
        for _ in range(6):
            now += PERIOD_MS
            health.fail("nack", now)
            if health.tells(now):
                told.append(now)
        now += PERIOD_MS
        health.succeed(now)
    assert told[0] == 5 * PERIOD_MS
    assert all(b - a >= 10_000 for a, b in itertools.pairwise(told))
    for _ in range(150):  # and one that stands is told, however often it came before
        now += PERIOD_MS
        health.fail("nack", now)
        if health.tells(now):
            told.append(now)
    assert told[-1] > now - 15_000
    health.tell_anew()
    assert health.tells(now) == "nack"


def test_a_doubt_degrades_and_a_failure_weighs_more() -> None:
    health = fresh()
    health.doubt("calibration-expired", stands=True)
    assert health.succeed(100)
    assert (health.state, health.reason) == (DEGRADED, "calibration-expired")
    health.doubt("disagrees", stands=True)
    assert health.succeed(200)
    assert health.reason == "disagrees"
    fails(health, 5, 300)
    assert (health.state, health.reason) == (FAULT, "nack")
    health.succeed(1000)
    assert health.state == DEGRADED


def test_repeats_on_the_bus_degrade_when_they_are_frequent() -> None:
    often, seldom = fresh(), fresh()
    for i in range(300):
        if i % 5 == 0:
            often.retry()
        if i % 30 == 0:
            seldom.retry()
        often.succeed(100 * i)
        seldom.succeed(100 * i)
    assert (often.state, often.reason) == (DEGRADED, "retries")
    assert seldom.state == WELL


def test_warming_up_neither_hides_a_fault_nor_ends_early() -> None:
    health = fresh(warm_at_ms=60_000)
    health.succeed(100)
    assert health.state == WARMING
    fails(health, 5, 200)
    assert health.state == FAULT
    health.succeed(1000)
    assert health.state == WARMING
    health.succeed(60_000)
    assert health.state == WELL
