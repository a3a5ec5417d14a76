"""A clock that leaps ahead does not become the chain's time, and a chain that is ahead goes on all the same."""

from __future__ import annotations

from pathlib import Path

from hubs import RunningHub, eventually

from gateway.chain.canonical import encode
from hub.clock import MAX_LEAP_MS, PROBATION_MS, HeldClock, wall_ms

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


class Hands:
    """A wall and a running clock in a test's hands."""

    def __init__(self) -> None:
        self.wall, self.running = 1_760_000_000_000, 5_000
        self.clock = HeldClock(lambda: self.wall, lambda: self.running)

    def pass_by(self, ms: int) -> None:
        self.wall, self.running = self.wall + ms, self.running + ms


def test_a_clock_is_followed_as_it_runs_drifts_and_is_set_back() -> None:
    hands = Hands()
    for step in (0, MAX_LEAP_MS, -DAY_MS, 1):
        hands.pass_by(1000)
        hands.wall += step
        assert hands.clock() == hands.wall
        assert not hands.clock.is_held


def test_a_leap_ahead_is_not_followed_while_it_may_pass() -> None:
    hands = Hands()
    before = hands.clock()
    hands.wall += 400 * DAY_MS
    hands.pass_by(PROBATION_MS - 1)
    assert hands.clock() == before + PROBATION_MS - 1
    assert hands.clock.is_held
    hands.wall -= 400 * DAY_MS
    assert hands.clock() == hands.wall
    assert not hands.clock.is_held


def test_a_leap_that_lasts_is_followed() -> None:
    hands = Hands()
    hands.wall += 400 * DAY_MS
    hands.clock()
    hands.pass_by(PROBATION_MS)
    assert hands.clock() == hands.wall
    assert not hands.clock.is_held


def test_a_clock_that_is_wrong_for_a_moment_leaves_the_chains_times_right(tmp_path: Path) -> None:
    shift = [0]
    with RunningHub(tmp_path / "hub", now_ms=lambda: wall_ms() + shift[0]) as hub:
        gateway, caller = hub.join("a")
        shift[0] = 400 * DAY_MS
        caller.say("block", gateway.block().encode())
        caller.final(1)
        health = hub.service.health()
        assert (health["ok"], health["clock"]) == (False, False)
        shift[0] = 0
        eventually(lambda: hub.rest.status_of("/healthz") == 200, "health")
        assert abs(hub.rest.json("/v1/checkpoint")["time_ms"] - wall_ms()) < DAY_MS
        hub.enrol("b")


def test_a_chain_that_is_ahead_says_so_and_still_changes_epochs(tmp_path: Path) -> None:
    shift = [HOUR_MS]
    directory = tmp_path / "hub"
    with RunningHub(directory, now_ms=lambda: wall_ms() + shift[0]) as hub:
        gateway, caller = hub.join("a")
        shift[0] = 0
        health = hub.service.health()
        assert (health["ok"], health["clock"]) == (False, False)
        assert health["final_age_ms"] < 0
        caller.say("record", encode([1, gateway.epoch_change().to_item()]))
        assert caller.answer().epoch == 2
