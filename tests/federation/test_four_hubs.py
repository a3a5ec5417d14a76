"""Four hubs agree, and go on without one of them; without two they stand still, say so, and lose nothing."""

from __future__ import annotations

import os
import signal
import time

import pytest
from agencies import PATIENCE, Agency, Federation, wait_for
from hubs import Caller


class Line:
    """A gateway that sends blocks to one hub, and what became of them."""

    def __init__(self, federation: Federation, name: str, at: Agency) -> None:
        self.federation, self.at = federation, at
        self.caller: Caller = federation.call(name, at)
        self.gateway = self.caller.gateway

    def send(self, count: int = 3) -> int:
        """Send blocks and return the height of the last one."""
        for _ in range(count):
            self.caller.say("block", self.gateway.block().encode())
        return self.gateway.head.height

    def await_final(self, height: int, *hubs: Agency) -> None:
        for hub in hubs or self.federation.living:
            wait_for(
                lambda hub=hub: self.federation.is_final(self.gateway.id, height, hub),  # type: ignore[misc]
                f"block {height} at {hub.name}",
            )

    def alarm(self) -> str:
        """Raise an alarm and return its hash."""
        alarm = self.gateway.alarm()
        self.caller.say("alarm", alarm.encode())
        return alarm.hash.hex()


def shows(hub: Agency, alarm: str) -> bool:
    return any(each["hash"] == alarm for each in hub.ask("/v1/alarms") or ())


def final_height(hub: Agency) -> int:
    return wait_for(lambda: max(hub.height, 0), f"the height of {hub.name}")


def check_all(federation: Federation) -> None:
    """All hubs have one history, and each one's disk proves it; nobody was caught signing twice."""
    federation.await_same()
    for hub in federation.living:
        found = hub.answer("/v1/findings")
        assert not [each for each in found if each["kind"] in ("misbehaviour", "equivocation")], found
    for hub in list(federation.living):
        assert federation.audit(hub)["verdict"] == "ok"


def test_what_one_hub_takes_in_is_final_at_all_four(federation: Federation) -> None:
    line = Line(federation, "flat", federation.hubs[1])
    line.await_final(line.send(5))
    federation.await_same(size=6)
    check_all(federation)


def test_one_killed_hub_is_not_waited_for_and_catches_up(federation: Federation) -> None:
    lost, *others = federation.hubs
    line = Line(federation, "flat", others[0])
    lost.signal_engine(signal.SIGKILL)  # its hub starts it again
    line.await_final(line.send(), *others)
    wait_for(lambda: lost.status.get("consensus"), "the engine's return")
    line.await_final(line.send())
    lost.kill()
    line.await_final(line.send(), *others)
    federation.start([lost])
    line.await_final(line.send())
    check_all(federation)


def test_without_two_of_four_nothing_is_final_alarms_are_shown_and_nothing_is_lost(
    federation: Federation,
) -> None:
    one, two, *gone = federation.hubs
    line = Line(federation, "flat", one)
    line.await_final(line.send())
    for hub in gone:
        hub.kill()
    height = line.send()
    alarm = line.alarm()
    wait_for(lambda: shows(one, alarm), "the alarm, final or not")
    before = final_height(one)
    wait_for(lambda: one.status.get("ok") is False, "the hub's word that its chain stands still")
    time.sleep(5)
    assert final_height(one) <= before + 1  # a block may have been decided when the two were killed
    assert not federation.is_final(line.gateway.id, height, two)
    federation.start(gone)
    line.await_final(height)
    for hub in federation.hubs:
        wait_for(lambda hub=hub: shows(hub, alarm), f"the alarm at {hub.name}")  # type: ignore[misc]
    check_all(federation)


@pytest.mark.parametrize("size", [1, pytest.param(2, marks=pytest.mark.soak)])
def test_a_parted_network_makes_one_history_on_the_greater_side_at_most(
    federation: Federation, size: int
) -> None:
    apart, rest = federation.hubs[:size], federation.hubs[size:]
    inner, outer = Line(federation, "here", apart[0]), Line(federation, "there", rest[0])
    for line in (inner, outer):
        line.await_final(line.send())
    federation.part(*apart)
    lonely, wide = inner.send(), outer.send()
    if size == 1:
        outer.await_final(wide, *rest)
    time.sleep(5)
    assert not federation.is_final(inner.gateway.id, lonely, apart[0])
    if size == 2:
        assert not federation.is_final(outer.gateway.id, wide, rest[0])
    federation.heal()
    inner.await_final(lonely)
    outer.await_final(wide)
    check_all(federation)


@pytest.mark.parametrize(
    "fault",
    [
        "killed_before_commit",
        *(
            pytest.param(fault, marks=pytest.mark.soak)
            for fault in ("killed_in_finalize", "killed_after_commit")
        ),
    ],
)
def test_a_hub_killed_at_any_point_of_a_final_block_comes_to_the_same_history(
    founding: Federation, fault: str
) -> None:
    dying, *others = founding.hubs
    with founding as federation:
        line = Line(federation, "flat", others[0])
        line.await_final(line.send())
        dying.stop()
        dying.fault = f"{fault}:{final_height(others[0]) + 4}"
        dying.start()
        process = dying.process
        assert process is not None
        end = time.monotonic() + PATIENCE
        while process.poll() is None and time.monotonic() < end:
            line.await_final(line.send(1), *others)  # each a final block at least
        assert process.poll() == -signal.SIGKILL, dying.log.read_text()[-2000:]
        dying.fault = ""
        federation.start([dying])
        line.await_final(line.send())
        check_all(federation)


@pytest.mark.soak
def test_a_hub_stopped_for_ten_seconds_holds_nobody_up_and_goes_on(federation: Federation) -> None:
    frozen, *others = federation.hubs
    line = Line(federation, "flat", others[0])
    line.await_final(line.send())
    assert frozen.process is not None
    pids = [frozen.process.pid, wait_for(frozen.engine_pid, "the engine")]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        end = time.monotonic() + 10
        while time.monotonic() < end:
            line.await_final(line.send(), *others)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    line.await_final(line.send())
    check_all(federation)


def test_what_a_bad_proposer_injects_is_voted_down_and_the_chain_goes_on(founding: Federation) -> None:
    founding.hubs[0].fault = "bad_proposer"
    with founding as federation:
        line = Line(federation, "flat", federation.hubs[1])
        for _ in range(6):  # so that each of the four is to propose
            line.await_final(line.send(1))
        federation.await_same()
        for hub in federation.hubs[1:]:
            assert federation.audit(hub)["verdict"] == "ok"


def test_a_hub_that_comes_to_another_hash_halts_alone(founding: Federation) -> None:
    wrong, *others = founding.hubs
    with founding as federation:
        line = Line(federation, "flat", others[0])
        line.await_final(line.send())
        wrong.stop()
        wrong.fault = f"other_hash:{final_height(others[0]) + 3}"
        federation.start([wrong])
        line.await_final(line.send(), *others)
        line.await_final(line.send(), *others)
        wait_for(lambda: wrong.status.get("ok") is False, "the word of the hub that has halted")
        assert wrong.height < final_height(others[0])
        for hub in others:
            assert federation.audit(hub)["verdict"] == "ok"
