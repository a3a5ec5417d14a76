"""SIGKILL of gateways, hub and broker at random moments: nothing is lost, repeated or twisted."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from reconcile import check_region
from region import Region

VICTIMS = ("gateway", "gateway", "hub", "broker", "gateway and hub")


def survive(directory: Path, kills: int, seed: int) -> None:
    dice = random.Random(seed)
    with Region(directory) as region:
        a, b = region.add("a"), region.add("b", period_ms=50)
        for gateway in (a, b):
            gateway.start()
            region.await_alarms(gateway)
        for _ in range(kills):
            time.sleep(dice.uniform(0.0, 2.5))
            victim, gateway = dice.choice(VICTIMS), dice.choice((a, b))
            if "gateway" in victim:
                gateway.kill()
            if "hub" in victim:
                region.hub.kill()
                time.sleep(dice.uniform(0.0, dice.choice((0.1, 1.0, 4.0))))
            if victim == "broker":
                region.kill_broker()
            if gateway.process is None:
                gateway.start(wait=dice.random() < 0.5)
            if region.hub.process is None:
                region.hub.start()
        region.come_to_rest()
        check_region(region.hub.directory, a, b)


def test_killed_at_random_moments_nothing_is_lost_repeated_or_twisted(tmp_path: Path) -> None:
    survive(tmp_path, kills=10, seed=1)


@pytest.mark.soak
def test_killed_fifty_times_at_random_moments_nothing_is_lost_either(tmp_path: Path) -> None:
    survive(tmp_path, kills=50, seed=2)
