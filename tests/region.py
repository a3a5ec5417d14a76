"""A region of real processes in one directory: a hub with its broker, and gateways that replay a known recording.

What a gateway samples is a row counter (class internal) and a level (public) that rises above its contract's limit
for a few rows in each wave. So what was recorded, and which transitions had to follow, is known exactly.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from fleet import Fleet
from hubs import Caller, Daemon, HubProcess, Rest, new_fleet

from gateway.chain.genesis import Genesis
from gateway.chain.keys import SigningKey, gateway_id
from gateway.control import ask
from gateway.errors import TransportError
from gateway.outputs.wire import end_simulated

T = TypeVar("T")
PATIENCE = 90.0  # machines are slow at times; nothing here waits that long on one that is well
PERIOD_MS = 20
WAVE = 75  # rows from one alarm to the next
HIGH = 25  # rows of them above the limit
ROWS = 30_000

CONFIG = """\
[gateway]
name = "{name}"
region = "{region}"
data = "data"
loss_bound_ms = 200
heartbeat_s = 1
ring_s = 0
{gateway}

[enrolment]
url = "{api}"
ticket = "ticket"

[[hubs]]
name = "hub"
url = "{broker}"

[seal]
readings = 400
seconds = 1
min_interval_ms = 100

[[sensors]]
name = "recorded"
driver = "recording"
period_ms = {period_ms}
series = [
    {{ name = "room.level", quantity = "level" }},
    {{ name = "room.row", quantity = "row", class = "internal" }},
]

[sensors.options]
path = "{recording}"
columns = {{ level = {{ column = "level", unit = "ppm" }}, row = {{ column = "row", unit = "1" }} }}

[contracts]
files = ["wave.toml"]

[[outputs]]
name = "siren"
kind = "siren"
pin = 23

[simulation]
scenario = "quiet"
"""

CONTRACT = """\
id = "wave"
version = 1
title = "The level is high"
severity = "critical"
kind = "rapid"

[inputs.level]
series = "room.level"
unit = "ppm"
scale = 0
max_age = "10s"

[alarm]
when = "level >= 100"

[actions]
alarm = ["siren"]
"""


def wait_for(look: Callable[[], T], what: str) -> T:
    """Return the first true value, however long a slow machine takes for it."""
    end = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < end, f"{what} did not come within {PATIENCE:g} s"
        time.sleep(0.05)
    return found


def write_recording(path: Path, *, waves: bool = True) -> None:
    """A recording of numbered rows; without waves its level stays low."""
    rows = (f"{row},{200 if waves and row % WAVE >= WAVE - HIGH else 5}" for row in range(ROWS))
    draft = path.with_suffix(".new")
    draft.write_text("row,level\n" + "\n".join(rows) + "\n")
    draft.replace(path)


class GatewayProcess(Daemon):
    """`tocsin-gateway run` as a process of its own, on a directory that outlives it."""

    patience = PATIENCE

    def __init__(
        self,
        directory: Path,
        name: str,
        fleet: Fleet,
        endpoints: Mapping[str, str],
        *,
        broker: str = "",
        gateway: str = "",
        period_ms: int = PERIOD_MS,
    ) -> None:
        self.directory, self.name, self.genesis = directory, name, fleet.genesis
        directory.mkdir(parents=True)
        (directory / "trust").write_bytes(fleet.genesis.encode())
        ticket = {"ticket": fleet.ticket(name).encode().hex(), "seed": fleet.ticket_key(name).seed.hex()}
        (directory / "ticket").write_text(json.dumps(ticket))
        (directory / "wave.toml").write_text(CONTRACT)
        self.recording = directory / "recording.csv"
        write_recording(self.recording)
        text = CONFIG.format(
            name=name,
            region=fleet.region,
            api=endpoints["api"],
            broker=broker or endpoints["broker"],
            recording=self.recording,
            period_ms=period_ms,
            gateway=gateway,
        )
        (directory / "gateway.toml").write_text(text)

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def log(self) -> Path:
        return self.directory / "gateway.log"

    @property
    def id(self) -> bytes:
        seed = bytes.fromhex((self.data / "key").read_text().strip())
        return gateway_id(SigningKey(seed).public)

    def start(self, *, wait: bool = True) -> None:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "gateway.cli", "run", "--config"]
            command.append(str(self.directory / "gateway.toml"))
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if wait:
            wait_for(self.status, f"the answer of gateway {self.name}")

    def status(self) -> dict[str, Any] | None:
        """What it says at its control socket, None while it says nothing."""
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()[-2000:]
        try:
            return dict(ask(self.data / "control.sock", {"do": "status"}))
        except TransportError:
            return None

    def freeze(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)
        stat = Path(f"/proc/{self.process.pid}/stat")
        wait_for(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "the gateway's halt")

    def thaw(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of its database, beside the running gateway or without it."""
        return read_rows(self.data / "gateway.db", sql, *values)

    def transitions(self) -> list[bytes]:
        """Hashes of all its transitions, oldest first."""
        if not (self.data / "gateway.db").exists():
            return []
        return [hashed for (hashed,) in self.rows("SELECT hash FROM transitions ORDER BY ordinal")]


class Region:
    """A hub and its gateways; whatever was started is ended with the `with` block, however it ends."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.fleet = directory, new_fleet()
        self.hub = HubProcess(directory / "hub", self.fleet)
        self.gateways: list[GatewayProcess] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._stack.callback(self.hub.kill)
        with contextlib.ExitStack() as stack:
            stack.push(self._stack)
            self.rest: Rest = self.hub.start()
            self.endpoints = dict(self.hub.endpoints)
            stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def genesis(self) -> Genesis:
        return self.fleet.genesis

    def add(self, name: str, **options: Any) -> GatewayProcess:
        """A gateway's directory with its ticket; `start` it."""
        made = GatewayProcess(self.directory / name, name, self.fleet, self.endpoints, **options)
        self.gateways.append(made)
        self._stack.callback(end_simulated, made.data)
        self._stack.callback(made.kill)
        return made

    def call(self, name: str) -> Caller:
        """A gateway of the fleet that says what the test tells it to: enrolled, connected, its birth answered."""
        gateway = self.fleet.gateway(name)
        status, answer = self.rest.post("/v1/enrolment", gateway.enrol().encode())
        assert status == 201, answer
        caller = self.stranger(name)
        caller.birth()
        return caller

    def stranger(self, name: str) -> Caller:
        """The same without enrolment and birth."""
        caller = Caller(self.fleet, self.fleet.gateway(name), self.endpoints["broker"])
        self._stack.callback(caller.close)
        return caller

    def broker_pid(self) -> int | None:
        """The process id of the hub's broker, None while there is none."""
        if self.hub.process is None:
            return None
        children = ""
        with contextlib.suppress(OSError):
            for file in Path(f"/proc/{self.hub.process.pid}/task").glob("*/children"):
                children += file.read_text()
        return int(children.split()[0]) if children else None

    def kill_broker(self) -> None:
        if (pid := self.broker_pid()) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def shown(self, gateway: GatewayProcess) -> dict[str, Any]:
        """What the hub shows of a gateway; empty before it is enrolled, or while no hub answers."""
        with contextlib.suppress(OSError):
            found: dict[str, Any] = self.rest.json(f"/v1/gateways/{gateway.id.hex()}")
            return found
        return {}

    def findings(self, gateway: GatewayProcess) -> list[str]:
        return [each["kind"] for each in self.shown(gateway)["findings"]]

    def alarms(self, gateway: GatewayProcess) -> list[dict[str, Any]]:
        """What the hub shows of its alarms, oldest first."""
        with contextlib.suppress(OSError):
            found: list[dict[str, Any]] = self.rest.json(f"/v1/alarms?limit=1000&gateway={gateway.id.hex()}")
            return found[::-1]
        return []

    def await_blocks(self, gateway: GatewayProcess, more: int = 3) -> int:
        """Wait until so many further blocks of a gateway are final; return the final height."""
        first = self.shown(gateway).get("head", 0)
        wait_for(
            lambda: self.shown(gateway).get("head", 0) >= first + more, f"{more} blocks of {gateway.name}"
        )
        return int(self.shown(gateway)["head"])

    def await_alarms(self, gateway: GatewayProcess, more: int = 1) -> None:
        """Wait until so many further transitions of a gateway are recorded there and final at the hub."""
        count = len(gateway.transitions()) + more

        def are_final() -> bool:
            wanted = {each.hex() for each in gateway.transitions()[:count]}
            final = {each["hash"] for each in self.alarms(gateway) if each["final_ms"] is not None}
            return len(wanted) == count and wanted <= final

        wait_for(are_final, f"{more} alarms of {gateway.name}")

    def come_to_rest(self) -> None:
        """End everything once all that gateways hold has arrived: no transition is new, no block lacks a receipt."""
        for each in self.gateways:
            each.kill()
            write_recording(each.recording, waves=False)
            each.start()
        for each in self.gateways:
            wait_for(lambda each=each: self._has_all(each), f"the rest of {each.name}")  # type: ignore[misc]
        for each in self.gateways:
            assert each.stop() == 0
        assert self.hub.stop() == 0

    def _has_all(self, gateway: GatewayProcess) -> bool:
        """Whether a gateway of now calm readings has receipts for all but its very latest blocks."""
        status = gateway.status()
        if status is None or not status["publishing"]:
            return False
        lacking = gateway.rows(
            "SELECT count(*) FROM transitions t WHERE hash NOT IN (SELECT hash FROM acknowledged)"
            " OR hash NOT IN (SELECT p.hash FROM placed p JOIN blocks b USING (number) JOIN receipts USING (number)"
            " WHERE final = 1)"
        )[0][0]
        waiting = gateway.rows(
            "SELECT count(*) FROM blocks WHERE number < (SELECT max(number) FROM blocks) - 3"
            " AND (final = 0 OR number NOT IN (SELECT number FROM receipts))"
        )[0][0]
        return lacking == 0 and waiting == 0


def read_rows(path: Path, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """Rows of a database that another process may be writing; `inflate` opens a gateway's stored bodies."""
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
    db.create_function("inflate", 1, zlib.decompress)
    try:
        return db.execute(sql, values).fetchall()
    finally:
        db.close()
