"""A gateway's process whose outputs a test looks at on the guardian's pins, and what its blocks say of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hubs import Daemon
from region import wait_for

from gateway.chain.events import Actuation
from gateway.chain.reading import PUBLIC, open_segment, parse_leaf
from gateway.control import ask as ask_gateway
from gateway.errors import OutputError, TransportError
from gateway.outputs.wire import ask, end_simulated, meet, peer, places
from gateway.storage.store import Store

SIREN, VALVE, FAN, BUZZER, PANEL, HEATER = 23, 24, 25, 26, 27, 22
HOLD_S = 3
CONFIG = """
contracts.files = ["gas.toml", "air.toml", "lamp.toml"]

[gateway]
name = "guarded"
region = "r"
data = "data"
loss_bound_ms = 200

[guardian]
hold_s = {hold}

[seal]
seconds = 1
min_interval_ms = 100

[[sensors]]
name = "gas"
driver = "ads1115"
period_ms = 50
options = {{ input = "a0", rate = 860 }}
series = [
    {{ name = "kitchen.ch4", calibration = {{ kind = "linear", quantity = "raw", unit = "ppm", scale = 0 }} }},
]

[simulation]
scenario = "quiet"
sensors = {{ gas = {{ volts = {volts} }} }}
"""
OUTPUT = """
[[outputs]]
name = "{name}"
kind = "{kind}"
pin = {pin}
"""
OUTPUTS = (
    ("siren", "siren", SIREN),
    ("valve", "valve", VALVE),
    ("fan", "relay", FAN),
    ("buzzer", "siren", BUZZER),
    ("panel", "fault", PANEL),
    ("heater", "relay", HEATER),
)
CONTRACT = """
id = "{name}"
version = 1
title = "{name}"
severity = "critical"
kind = "rapid"
on_fault = "{on_fault}"

[inputs.gas]
series = "kitchen.ch4"
unit = "ppm"
scale = 0
max_age = "30s"

[alarm]
when = "gas >= {limit}"

[actions]
{actions}
"""


class Guarded(Daemon):
    """A gateway without hubs.

    In alarm (`leak`) "gas" sounds the siren, and shuts the valve if it loses its inputs; "air" never comes to an alarm
    but buzzes when it loses its inputs; "lamp" never does, and drives the heater neither way.
    """

    def __init__(self, directory: Path, *, leak: bool = True) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)
        (directory / "trust").write_text("ab" * 32)
        for name, on_fault, limit, actions in (
            ("gas", "alert", 8000, 'alarm = ["siren"]\nfault = ["buzzer"]'),
            ("air", "trip", 30000, 'alarm = ["fan", "valve"]'),
            ("lamp", "hold", 30000, 'alarm = ["heater"]'),
        ):
            text = CONTRACT.format(name=name, on_fault=on_fault, limit=limit, actions=actions)
            (directory / f"{name}.toml").write_text(text)
        text = CONFIG.format(hold=HOLD_S, volts=2.0 if leak else 0.25)
        for name, kind, pin in OUTPUTS:
            text += OUTPUT.format(name=name, kind=kind, pin=pin)
        self.config = directory / "gateway.toml"
        self.config.write_text(text)

    @property
    def data(self) -> Path:
        return self.directory / "data"

    def start(self) -> None:
        with (self.directory / "log").open("ab") as log:
            command = [sys.executable, "-m", "gateway.cli", "run", "--config", str(self.config)]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(self.status, "the gateway's answer")

    def status(self) -> dict[str, Any] | None:
        try:
            return dict(ask_gateway(self.data / "control.sock", {"do": "status"}))
        except TransportError:
            return None

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def end(self) -> None:
        if self.process is not None:
            self.signal(signal.SIGCONT)
        self.kill()
        end_simulated(self.data)

    @property
    def pins(self) -> Pins:
        return Pins(self.data)

    def actuations(self) -> list[tuple[str, int, int, str]]:
        """What the stored blocks say of outputs: output, whether it acts, cause, by whom. It must not run."""
        store, found = Store(self.data / "gateway.db", writable=False), []
        try:
            for row in sorted([*store.drafts(), *store.above(0)], key=lambda each: each.number):
                for _, leaf in open_segment(PUBLIC, store.message(row).segments[0]).events:
                    event = parse_leaf(leaf)
                    if isinstance(event, Actuation):
                        found.append((event.output, event.active, event.cause, event.by))
        finally:
            store.close()
        return found


class Pins:
    """The guardian's pins of a data directory, as a test sees them."""

    def __init__(self, data: Path) -> None:
        self._places = places(data)

    def guardian(self) -> int | None:
        """The guardian's process, None where there is none."""
        try:
            with meet(self._places) as connection:
                return peer(connection)[0]
        except OutputError:
            return None

    def kill(self) -> None:
        pid = self.guardian()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: self.guardian() != pid, "the guardian's end")

    def ask(self, **request: Any) -> dict[str, Any]:
        return ask(self._places, request)

    def level(self, pin: int) -> bool | None:
        """A pin's level, None where nobody holds it: it has fallen to the side without power."""
        try:
            return bool(self.ask(do="pin", pin=pin)["level"])
        except OutputError:
            return None

    def levels(self, *pins: int) -> list[bool | None]:
        return [self.level(pin) for pin in pins]

    def await_levels(self, wanted: dict[int, bool], what: str) -> None:
        wait_for(lambda: all(self.level(pin) is level for pin, level in wanted.items()), what)

    def changes(self, *pins: int) -> list[tuple[int, bool]]:
        return [tuple(each) for pin in pins for each in self.ask(do="pin", pin=pin)["changes"]]  # type: ignore[misc]


def holds_for(seconds: float, look: Callable[[], bool]) -> bool:
    """Whether something stays so for a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not look():
            return False
        time.sleep(0.02)
    return True
