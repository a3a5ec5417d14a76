"""A gateway's folder as a technician finds it: configuration, trust, and a scenario with whatever is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from firmware_tools.authority import found
from firmware_tools.cli import main
from gateway.chain.keys import SigningKey
from gateway.outputs.wire import end_simulated

PATIENCE = 20.0

HEAD = """
[gateway]
name = "flat 3"
region = "north"
data = "data"
trust = "trust"

[simulation]
scenario = "quiet"
speed = {speed}
"""
SENSORS = """
[[sensors]]
name = "gas"
driver = "mq"
period_ms = 200
options = { input = "a0", model = "mq4" }
series = [{ name = "kitchen.ch4", calibration = { kind = "mq", gas = "ch4", r0_ohm = 10000, source = "test" } }]

[[sensors]]
name = "smoke"
driver = "contact"
period_ms = 200
options = { pin = 17 }
series = [{ name = "hall.smoke", quantity = "active" }]

[[sensors]]
name = "beam"
driver = "strain"
period_ms = 200
options = { bridge = "quarter", gauge_factor = 2 }
series = [{ name = "slab.strain", quantity = "strain" }]

[[contracts.templates]]
template = "gas-ch4"
names = { series = "kitchen.ch4", pre_hold = "1s", hold = "1s", warm_up = "0s", clear_for = "0s" }

[[contracts.templates]]
template = "smoke-contact"
names = { series = "hall.smoke", clear_for = "1s" }
"""
SIREN = '[[outputs]]\nname = "siren"\nkind = "siren"\npin = 23\n'
VALVE = '[[outputs]]\nname = "valve"\nkind = "valve"\npin = 24\n'


def site(folder: Path, *more: str, sensors: str = SENSORS, speed: int = 50) -> Path:
    """Write the folder and return the configuration's path."""
    folder.mkdir(parents=True, exist_ok=True)
    desk = found(folder / "authority", "city-fire", "North", "hub-1", SigningKey(bytes(32)).public)
    (folder / "trust").write_bytes(desk.genesis.encode())
    path = folder / "gateway.toml"
    path.write_text(HEAD.format(speed=speed) + sensors + "".join(more))
    return path


@contextmanager
def running(config: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the gateway as a process until it can be asked; end it and its guardian."""
    command = [sys.executable, "-m", "gateway.cli", "run", "--config", str(config)]
    data = config.parent / "data"
    with (config.parent / "log").open("ab") as log:
        child = subprocess.Popen(command, stderr=log)
    try:
        ends = time.monotonic() + PATIENCE
        while not (data / "control.sock").exists():
            assert child.poll() is None, (config.parent / "log").read_text()
            assert time.monotonic() < ends, "the gateway does not start"
            time.sleep(0.05)
        yield child
    finally:
        child.terminate()
        child.wait(PATIENCE)
        end_simulated(data)


def scenario(folder: Path, *tables: str) -> Path:
    """Write a scenario with faults or events."""
    path = folder / "scenario.toml"
    path.write_text('title = "test"\n[rooms.flat]\nvolume_m3 = 30\n' + "\n".join(tables))
    return path


def fault(kind: str, sensor: str, amount: float = 0.0) -> str:
    return f'[[faults]]\nkind = "{kind}"\nsensor = "{sensor}"\nat_s = 0\namount = {amount}\n'


def tool(*arguments: object, text: str | None = None) -> Any:
    return CliRunner().invoke(main, [str(each) for each in arguments], input=text)


def findings(result: Any) -> dict[tuple[str, str], dict[str, str]]:
    """The findings of a test that was asked for JSON, by area and subject."""
    statement = json.loads(result.stdout)
    return {(each["area"], each["subject"]): each for each in statement["findings"]}
