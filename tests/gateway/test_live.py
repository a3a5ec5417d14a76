"""What `read` shows: the value, its state and reason, how old it is and how often it comes; and when it refuses."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console
from simulated import QUIET, scenario

from gateway.catalogue import Catalogue, make_catalogue
from gateway.cli import main
from gateway.clock import SimulatedClock
from gateway.config import SensorTable, parse_config
from gateway.control import Control
from gateway.errors import SensorError
from gateway.inspection.live import Board, decimal, table
from gateway.simulation.simulation import Simulation

TOML = """
[gateway]
name = "flat 3"
region = "north"
data = "data"

[[sensors]]
name = "gas"
driver = "mq"
period_ms = 100
options = { input = "a0", model = "mq4" }
series = [{ name = "kitchen.raw", quantity = "raw" }]
"""


def board() -> tuple[Board, Catalogue, SimulatedClock]:
    catalogue = make_catalogue((SensorTable("volts", "ads1115", 100, {"input": "a0"}),), "test")
    clock = SimulatedClock(speed=0)
    return Board(catalogue, Simulation(scenario(QUIET), clock)), catalogue, clock


def rendered(shown: Board) -> str:
    console = Console(width=120, record=True, file=StringIO())
    console.print(table("flat 3", shown))
    return console.export_text()


def test_the_table_shows_value_state_age_and_rate() -> None:
    shown, catalogue, clock = board()
    for _ in range(11):
        shown.sample(catalogue.sensors[0], {"raw": 12000, "voltage": 1500250})
        clock.advance(0.1)
    clock.advance(0.4)
    lines = rendered(shown).splitlines()
    row = next(line for line in lines if "volts.voltage" in line)
    for part in ("1.500250", " V ", "OK", "0.5 s", "10.0 Hz"):
        assert part in row


def test_a_sensor_that_fails_is_degraded_then_in_fault_with_its_reason_and_its_last_value_ages() -> None:
    shown, catalogue, clock = board()
    plan = catalogue.sensors[0]
    shown.sample(plan, {"raw": 12000, "voltage": 1500250})
    shown.fail(plan, SensorError("nack", "no answer"))
    assert "DEGRADED nack" in rendered(shown)
    for _ in range(5):
        clock.advance(1)
        shown.fail(plan, SensorError("nack", "no answer"))
    text = rendered(shown)
    assert "FAULT nack" in text
    assert "5.0 s" in text


def test_without_a_terminal_there_is_a_line_a_sample_and_with_one_a_table(tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(TOML)
    arguments = ["read", "--config", str(config), "--simulate", "quiet", "--seconds", "1"]
    plain = CliRunner().invoke(main, arguments)
    assert plain.exit_code == 0, plain.output
    assert plain.stdout.count("kitchen.raw") >= 5
    assert "age" not in plain.stdout
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "gateway.cli", *arguments], stdout=theirs, stdin=theirs
    ) as child:
        os.close(theirs)
        drawn = b""
        ends = time.monotonic() + 20
        while time.monotonic() < ends and select.select([ours], [], [], 20)[0]:
            try:
                drawn += os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
        assert child.wait(20) == 0
    os.close(ours)
    for part in (b"series", b"state", b"age", b"rate", b"kitchen.raw", b"Hz"):
        assert part in drawn


def test_a_scenario_that_is_not_known_is_named_with_the_nearest(tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(TOML)
    result = CliRunner().invoke(main, ["read", "--config", str(config), "--simulate", "smolder"])
    assert result.exit_code == 1
    assert "did you mean 'smoulder'?" in result.stderr


@pytest.fixture
def occupied(tmp_path: Path) -> Any:
    data = tmp_path / "data"
    data.mkdir()
    control = Control(data / "control.sock", lambda request: {})
    control.start()
    yield tmp_path
    control.stop()


def test_real_buses_are_not_read_beside_the_running_gateway(occupied: Path) -> None:
    config = occupied / "gateway.toml"
    config.write_text(TOML)
    assert parse_config(TOML, config).simulation is None
    result = CliRunner().invoke(main, ["read", "--config", str(config), "--seconds", "1", "--json"])
    assert result.exit_code == 1
    assert "the gateway runs and owns the buses" in result.stderr
    assert "systemctl stop tocsin-gateway" in result.stderr
    simulated = CliRunner().invoke(
        main, ["read", "--config", str(config), "--simulate", "quiet", "--seconds", "1", "--json"]
    )
    assert simulated.exit_code == 0
    assert json.loads(simulated.stdout.splitlines()[0])["state"] in ("OK", "WARMING")


@pytest.mark.parametrize(
    ("value", "scale", "text"),
    [(5, 0, "5"), (5, 2, "500"), (-5, -3, "-0.005"), (12345, -2, "123.45"), (0, -1, "0.0")],
)
def test_a_scaled_integer_is_written_exactly(value: int, scale: int, text: str) -> None:
    assert decimal(value, scale) == text
