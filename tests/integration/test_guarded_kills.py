"""The guardian of the outputs beside a daemon that is killed, hangs, or is started anew, and killed itself."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from guarded import BUZZER, FAN, HEATER, HOLD_S, PANEL, SIREN, VALVE, Guarded, Pins, holds_for
from region import Region, wait_for

from gateway.outputs.orders import CONTRACT, FAULT, GONE, START

ALARM = {SIREN: True, VALVE: True, FAN: False, BUZZER: False, PANEL: True, HEATER: False}
SAFE = {SIREN: True, VALVE: False, FAN: True, BUZZER: True, PANEL: False, HEATER: False}
"""The alarm in force keeps its siren; "trip" shuts the valve, "alert" buzzes, "hold" leaves; the panel sees a fault."""


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Guarded]:
    made = Guarded(tmp_path / "gateway")
    yield made
    made.end()


def in_alarm(gateway: Guarded) -> Pins:
    gateway.start()
    gateway.pins.await_levels(ALARM, "the siren")
    return gateway.pins


def test_a_killed_daemon_that_comes_back_within_the_hold_changes_nothing(gateway: Guarded) -> None:
    pins = in_alarm(gateway)
    guardian, before = pins.guardian(), pins.changes(*ALARM)
    gateway.kill()
    gateway.start()
    assert holds_for(1.0, lambda: pins.levels(*ALARM) == list(ALARM.values()))
    assert (pins.guardian(), pins.changes(*ALARM)) == (guardian, before)


def test_a_planned_restart_neither_shuts_a_valve_nor_mutes_a_siren(gateway: Guarded) -> None:
    pins = in_alarm(gateway)
    before = pins.changes(*ALARM)
    for _ in range(2):
        assert gateway.stop() == 0
        gateway.start()
    wait_for(lambda: pins.ask(do="status")["daemon"] == gateway.process.pid, "the new daemon")  # type: ignore[union-attr]
    assert pins.changes(*ALARM) == before
    assert gateway.stop() == 0
    causes = [each[:3] for each in gateway.actuations()]
    assert sorted(causes) == [("panel", 0, START), ("siren", 1, CONTRACT), ("valve", 0, START)]


def test_without_a_daemon_the_contracts_safe_state_comes_after_the_hold_and_is_recorded_later(
    gateway: Guarded,
) -> None:
    pins = in_alarm(gateway)
    gateway.kill()
    assert holds_for(HOLD_S - 1.5, lambda: pins.levels(*ALARM) == list(ALARM.values()))
    pins.await_levels(SAFE, "the safe state")
    gateway.start()
    pins.await_levels(ALARM, "what the contracts want")
    gateway.stop()
    gone = [each for each in gateway.actuations() if each[2] == GONE]
    assert sorted(gone) == [
        ("buzzer", 0, GONE, "gas"),
        ("buzzer", 1, GONE, "gas"),
        ("fan", 0, GONE, "air"),
        ("fan", 1, GONE, "air"),
        ("panel", 0, GONE, ""),
        ("panel", 1, GONE, ""),
        ("valve", 0, GONE, "air"),
        ("valve", 1, GONE, "air"),
    ]


def test_a_hung_daemon_is_as_one_that_died_and_what_it_says_after_all_counts_again(gateway: Guarded) -> None:
    pins = in_alarm(gateway)
    gateway.signal(signal.SIGSTOP)
    pins.await_levels(SAFE, "the safe state")
    gateway.signal(signal.SIGCONT)
    pins.await_levels(ALARM, "what the contracts want")


def test_a_guardian_that_dies_is_a_fault_at_once_and_the_next_one_is_driven_as_before(
    gateway: Guarded,
) -> None:
    pins = in_alarm(gateway)
    guardian = pins.guardian()
    pins.kill()
    pins.await_levels(ALARM, "the siren on the next guardian's pin")
    assert pins.guardian() not in (None, guardian)
    gateway.stop()
    told = [each for each in gateway.actuations() if each[2] != START]
    assert told[0] == ("siren", 1, CONTRACT, "gas")
    assert sorted(told[1:4]) == [
        ("panel", 1, FAULT, "guardian"),
        ("siren", 0, FAULT, "guardian"),
        ("valve", 1, FAULT, "guardian"),
    ]
    assert told[4:] == [("siren", 1, CONTRACT, "gas"), ("panel", 0, FAULT, "outputs")]


def test_daemon_guardian_and_broker_killed_in_every_order_during_an_alarm(tmp_path: Path) -> None:
    with Region(tmp_path) as region:
        gateway = region.add("a", gateway="\n[guardian]\nhold_s = 60\n")
        rows = "\n".join(f"{row},200" for row in range(20_000))
        gateway.recording.write_text(f"row,level\n{rows}\n")
        pins = Pins(gateway.data)
        gateway.start()
        pins.await_levels({SIREN: True}, "the siren")
        for order in itertools.permutations(("daemon", "guardian", "broker")):
            for victim in order:
                before = pins.level(SIREN)
                if victim == "daemon":
                    gateway.kill()
                elif victim == "broker":
                    region.kill_broker()
                else:
                    pins.kill()
                if gateway.process is not None:  # whoever died, the daemon sees to it
                    pins.await_levels({SIREN: True}, f"the siren after {victim} of {order}")
                elif victim == "guardian":  # nobody is left: the pin has fallen to the side without power
                    assert pins.guardian() is None
                else:  # the guardian, if it still lives, goes on
                    assert holds_for(0.3, lambda before=before: pins.level(SIREN) is before), order  # type: ignore[misc]
            gateway.start()
            pins.await_levels({SIREN: True}, f"the siren after {order}")
