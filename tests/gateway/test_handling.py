"""Buttons, tests, silence, reset, fault relays, read-backs and supervised lines of a whole gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from gateway_site import TOML, Site, Started
from testhub import wait_until

from gateway.chain.events import Actuation
from gateway.chain.reading import PUBLIC, open_segment, parse_leaf
from gateway.cli import main
from gateway.config import load_config
from gateway.control import ask
from gateway.errors import ConfigError, TransportError
from gateway.outputs.buttons import Button
from gateway.outputs.options import ButtonOptions
from gateway.outputs.orders import CONTRACT, DID_NOT_MOVE, FAULT, MOVED, RESET, SILENCE, TEST
from gateway.simulation.faults import Fault
from gateway.storage.store import Store

SIREN, VALVE, PANEL, FAN, BUTTON = 23, 24, 27, 22, 5
PARTS = """
[[outputs]]
name = "panel"
kind = "fault"
pin = 27

[[outputs]]
name = "fan"
kind = "relay"
pin = 22
read_back = { pin = 6, within_ms = 200 }
line = "kitchen.volts"

[[buttons]]
name = "hall"
pin = 5
"""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "g")


@pytest.fixture
def started(site: Site, request: pytest.FixtureRequest) -> Iterator[Started]:
    run = site.start(more=PARTS + request.param)
    wait_until(lambda: run.guardian.level(VALVE) and run.guardian.level(PANEL), "all is well")
    yield run
    run.stop()


def doing(does: str) -> Any:
    return pytest.mark.parametrize("started", [does], indirect=True)


def press(run: Started) -> None:
    wait_until(lambda: run.gateway.buttons.are_ready, "buttons that were seen at rest")
    run.simulation.pins().pin(BUTTON).drive_low()


def actuations(run: Started) -> list[Actuation]:
    """What its blocks say of outputs, once it has stopped."""
    run.stop()
    store, found = Store(Path(run.guardian.places[0]) / "gateway.db", writable=False), []
    for row in sorted([*store.drafts(), *store.above(0)], key=lambda each: each.number):
        for _, leaf in open_segment(PUBLIC, store.message(row).segments[0]).events:
            event = parse_leaf(leaf)
            found += [event] if isinstance(event, Actuation) else []
    store.close()
    return found


def told(run: Started) -> list[tuple[str, int, int, str]]:
    return [(each.output, each.active, each.cause, each.by) for each in actuations(run)]


@doing('does = "silence"')
def test_a_button_silences_what_sounds_and_leaves_the_alarm(started: Started) -> None:
    started.leak()
    wait_until(lambda: started.guardian.level(SIREN), "the siren")
    press(started)
    wait_until(lambda: not started.guardian.level(SIREN), "silence")
    assert not started.guardian.level(VALVE)
    assert started.gateway.recorder.conditions()["gas-ch4"][0] == "alarm"
    assert told(started)[-3:] == [
        ("siren", 1, CONTRACT, "gas-ch4"),
        ("valve", 1, CONTRACT, "gas-ch4"),
        ("siren", 0, SILENCE, "button hall"),
    ]


@doing('does = "reset"\nhold_ms = 400')
def test_a_button_held_long_enough_resets_what_is_latched(started: Started) -> None:
    started.leak()
    wait_until(lambda: started.guardian.level(SIREN), "the siren")
    started.calm()
    wait_until(lambda: started.gateway.recorder.conditions()["gas-ch4"][0] == "latched", "the latch")
    assert started.guardian.level(SIREN)
    press(started)
    wait_until(lambda: not started.guardian.level(SIREN), "the reset")
    assert told(started)[-2:] == [
        ("siren", 0, RESET, "button hall"),
        ("valve", 0, RESET, "button hall"),
    ]


@doing('does = "test"\nseconds = 1')
def test_a_button_tests_all_sirens_for_its_time(started: Started) -> None:
    press(started)
    wait_until(lambda: started.guardian.level(SIREN), "the siren")
    assert started.guardian.level(VALVE)
    wait_until(lambda: not started.guardian.level(SIREN), "its end")
    up, down = started.guardian.changes(SIREN)[-2:]
    assert 0.9 < (down[0] - up[0]) / 1e9 < 3
    assert told(started)[-2:] == [("siren", 1, TEST, "button hall"), ("siren", 0, TEST, "button hall")]


def test_a_button_counts_once_after_its_time_and_not_while_it_bounces() -> None:
    button = Button(ButtonOptions("hall", BUTTON, "reset", hold_ms=1000))
    levels = {0: True, 500: False, 600: True, 620: False, 640: True, 900: False}  # held at the start; bounces
    closed, taken = True, []
    for now in range(0, 8000, 10):
        closed = levels.get(now, closed)
        closed = {2000: True, 2400: False, 3000: True, 6000: False}.get(now, closed)
        if button.look(closed, now):
            taken.append(now)
    assert taken == [4000]


@pytest.mark.parametrize("contact", ["no", "nc"])
def test_a_button_is_pressed_as_it_is_wired(contact: Any) -> None:
    button = Button(ButtonOptions("hall", BUTTON, "silence", contact=contact))
    rest = contact == "nc"
    assert not any(button.look(rest, now) for now in range(0, 200, 10))
    assert any(button.look(not rest, now) for now in range(200, 400, 10))


@doing('does = "silence"')
def test_a_fault_relay_acts_on_any_fault_and_nothing_keeps_it_from_that(started: Started) -> None:
    gateway = started.gateway
    started.simulation.inject("gas", Fault("nack", started.simulation.seconds()))
    wait_until(lambda: not started.guardian.level(PANEL), "the fault at the panel")
    press(started)
    gateway.recorder.silence("gas-ch4", "console")
    gateway.recorder.reset("gas-ch4", "console")
    gateway.recorder.test("panel", 1, "console")
    gateway.recorder.test("panel", 0, "console")
    gateway.recorder.tick()
    assert not started.guardian.level(PANEL)
    assert "its line is in fault, see kitchen.volts" in str(gateway.status()["output_states"])
    started.simulation.repair("gas")
    wait_until(lambda: started.guardian.level(PANEL), "its end")
    assert [each[1:3] for each in told(started) if each[0] == "panel"][-2:] == [(1, FAULT), (0, FAULT)]


@doing('does = "silence"')
def test_a_relay_that_does_not_move_is_recorded_a_fault_and_in_the_status(started: Started) -> None:
    started.gateway.recorder.test("fan", 1, "console")
    wait_until(lambda: "fan" not in started.gateway.outputs.active, "the end of the test")
    started.guardian.ask(do="jam", output="fan", jammed=True)
    started.gateway.recorder.test("fan", 2, "console")
    wait_until(lambda: not started.guardian.level(PANEL), "the fault at the panel")
    fan = next(each for each in started.gateway.status()["output_states"] if each["name"] == "fan")
    assert fan["faults"] == ["output fan: its read-back on GPIO6 shows that it did not move"]
    assert any("did not move" in each for each in started.gateway.status()["troubles"])
    started.guardian.ask(do="jam", output="fan", jammed=False)
    wait_until(lambda: started.guardian.level(PANEL), "its end")
    moved = [(each.active, each.moved) for each in actuations(started) if each.output == "fan"]
    assert moved[:3] == [(1, MOVED), (0, MOVED), (1, DID_NOT_MOVE)]


@doing('does = "silence"')
def test_a_gateway_without_its_guardian_says_so_at_once_and_what_fell(started: Started) -> None:
    started.leak()
    wait_until(lambda: started.guardian.level(SIREN), "the siren")
    started.guardian.stop()
    wait_until(lambda: started.gateway.outputs.trouble, "the fault")
    status = started.gateway.status()
    assert status["guardian"]
    assert any("guardian" in each for each in status["troubles"])


@doing('does = "silence"')
def test_the_console_tests_an_output_and_shows_all_with_their_causes(started: Started, site: Site) -> None:
    socket = site.directory / "data" / "control.sock"
    ask(socket, {"do": "test", "output": "siren", "seconds": 5})
    wait_until(lambda: started.guardian.level(SIREN), "the siren")
    with pytest.raises(
        TransportError, match="no output is called 'bell'; there are siren, valve, panel, fan"
    ):
        ask(socket, {"do": "test", "output": "bell", "seconds": 5})
    path = site.directory / "gateway.toml"
    text = TOML.format(url=site.url, region="r", readings=50, seconds=60, extra="")
    path.write_text(text + PARTS + 'does = "silence"\n')
    shown = CliRunner().invoke(main, ["status", "--config", str(path)])
    assert "output siren acts (test console)" in shown.output
    assert "output valve is at rest (start)" in shown.output
    ended = CliRunner().invoke(main, ["test", "--config", str(path), "siren", "--seconds", "0"])
    assert "its test is over" in ended.output
    wait_until(lambda: not started.guardian.level(SIREN), "its end")
    states = json.loads(CliRunner().invoke(main, ["status", "--config", str(path), "--json"]).output)
    assert [each["name"] for each in states["output_states"]] == ["siren", "valve", "panel", "fan"]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ('[[buttons]]\nname = "x"\npin = 23\ndoes = "test"\n', r"two outputs have the pin 23"),
        (PARTS.replace("kitchen.volts", "kitchen.volt") + 'does = "test"', "did you mean 'kitchen.volts'"),
    ],
)
def test_an_impossible_part_is_refused_by_the_check_and_by_the_start(
    part: str, message: str, site: Site
) -> None:
    with pytest.raises(ConfigError, match=message):
        site.start(more=part)
    path = site.directory / "gateway.toml"
    path.write_text(TOML.format(url=site.url, region="r", readings=50, seconds=60, extra="") + part)
    assert load_config(path).outputs
    checked = CliRunner().invoke(main, ["check", "--config", str(path)])
    assert checked.exit_code == 1
