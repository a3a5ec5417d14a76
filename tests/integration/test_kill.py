"""SIGKILL of gateways, hub and broker at random moments: nothing is lost, repeated or twisted."""

from __future__ import annotations

import random
import sqlite3
import time
from pathlib import Path

import pytest
from proving import run_audit
from reconcile import check_region
from region import PATIENCE, Region

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


def test_a_block_whose_promise_a_crash_prevented_is_promised_when_it_comes_again(tmp_path: Path) -> None:
    with Region(tmp_path) as region:
        caller = region.call("a")
        for _ in range(3):
            caller.say("block", caller.gateway.block().encode())
        caller.final(3)
        region.hub.stop()
        forget_promises(region.hub.directory / "ledger.db")
        region.hub.start()
        caller.up.get(timeout=PATIENCE)
        while not caller.queue("receipt1").empty():
            caller.receipts()
        caller.say("block", caller.gateway.replay(2).encode())
        assert [each.promise.height for each in caller.receipts().custody] == [2]
        assert region.hub.stop() == 0
        assert run_audit(region.hub.directory)[0] == 0


def forget_promises(path: Path) -> None:
    """As after a kill between the transaction that stores blocks and the one that promises them."""
    db = sqlite3.connect(path)
    triggers = db.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name IN ('promises', 'custody_batches')"
    ).fetchall()
    for name, _ in triggers:
        db.execute(f"DROP TRIGGER {name}")
    db.execute("DELETE FROM promises")
    db.execute("DELETE FROM custody_batches")
    for _, sql in triggers:
        db.execute(sql)
    db.commit()
    db.close()


def test_killed_at_random_moments_nothing_is_lost_repeated_or_twisted(tmp_path: Path) -> None:
    survive(tmp_path, kills=6, seed=1)


@pytest.mark.soak
def test_killed_fifty_times_at_random_moments_nothing_is_lost_either(tmp_path: Path) -> None:
    survive(tmp_path, kills=50, seed=2)
