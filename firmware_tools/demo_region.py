"""The demo's region as processes: one hub, or a federation of several agencies' hubs, and gateways.

Owns founding, starting, asking and stopping. What gateways are is `demo_site`'s. Hubs are reached as everybody
reaches them, by their REST interfaces; nothing of them is imported.

Invariant: a region goes on without as many hubs as its federation can bear, and says so when more are gone.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import socket
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from firmware_tools.authority import Desk, found, open_desk
from firmware_tools.demo_process import Process, run, spawn, stop
from firmware_tools.demo_site import HUB, REGION, Post, prepare
from firmware_tools.errors import ProcessFailed, ToolError
from gateway.outputs.wire import end_simulated

AGENCIES = ("city-fire", "gas-works", "building-control", "civil-protection", "police", "health-service")
_START_S = 60.0

_ALONE = """\
[hub]
name = "{name}"
region = "{region}"

[broker]
port = 0

[api]
port = 0
"""


@dataclass(slots=True)
class HubPost:
    """One hub of the demo: its name, agency and directory, and where it is reached once it runs."""

    name: str
    agency: str
    directory: Path
    api: str = ""
    broker: str = ""
    process: Process | None = field(default=None, repr=False)

    @property
    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.is_alive

    def ask(self, path: str, *, text: bool = False) -> Any:
        """Return what it answers, as JSON or as text; None where it does not (yet)."""
        try:
            with urllib.request.urlopen(self.api + path, timeout=5) as answer:
                return answer.read().decode() if text else json.load(answer)
        except (OSError, ValueError):
            return None


class Region:
    """The running region."""

    def __init__(self, directory: Path, plan: Sequence[Post], stack: ExitStack, hubs: int = 1) -> None:
        self._directory, self._stack = directory, stack
        self.plan = plan
        self.hubs = hub_posts(directory, hubs)
        self._gateways: list[Process] = []

    @property
    def bears(self) -> int:
        """How many hubs may be gone before the others can make nothing final."""
        return (len(self.hubs) - 1) // 3

    def start(self, note: Callable[[str], None]) -> None:
        """Found the chain and start everything. Raises ProcessFailed."""
        note("founding the chain")
        desk = self.found()
        note("starting the hub and its broker" if len(self.hubs) == 1 else "starting the hubs")
        self.start_hubs(self.hubs)
        for index, post in enumerate(self.plan):
            note(f"starting {post.name}")
            reached_at = [(hub.name, hub.broker) for hub in self.hubs]
            path = prepare(
                post, self._directory / "gateways", desk, self.hubs[0].api, reached_at, seed=index + 1
            )
            self._stack.callback(end_simulated, path.parent / "data")
            gateway = spawn(self._stack, post.folder, path.parent, "tocsin-gateway", "run", "--config", path)
            self._gateways.append(gateway)

    def found(self) -> Desk:
        """Found the chain, so that every hub has its directory, and return its authority's desk. Raises ToolError."""
        return _found_alone(self) if len(self.hubs) == 1 else _found_federation(self)

    def start_hubs(self, hubs: Sequence[HubPost]) -> None:
        """Start hubs and wait until each is healthy. Raises ProcessFailed."""
        for hub in hubs:
            config = hub.directory / "hub.toml"
            hub.process = spawn(
                self._stack, hub.directory.name, hub.directory, "tocsin-hub", "run", "--config", config
            )
        for hub in hubs:
            reached = self._endpoints(hub)
            hub.api, hub.broker = reached["api"], reached["broker"]
        for hub in hubs:
            self._wait(lambda hub=hub: hub.ask("/healthz") is not None, f"{hub.name} does not become healthy")  # type: ignore[misc]

    def ask(self, path: str) -> Any:
        """Return what the first hub that answers says, None where none does (yet)."""
        for hub in self.hubs:
            if hub.is_alive and (answer := hub.ask(path)) is not None:
                return answer
        return None

    def check(self) -> None:
        """Raise ProcessFailed where a gateway has ended by itself, or more hubs than the region can bear."""
        for gateway in self._gateways:
            gateway.check()
        gone = [hub for hub in self.hubs if hub.process and not hub.is_alive]
        if len(gone) > self.bears:
            assert gone[0].process is not None
            gone[0].process.check()

    def stop_gateways(self) -> None:
        """End the gateways."""
        stop(self._gateways)
        self._gateways = []

    def stop_hubs(self) -> None:
        """End the hubs, and their brokers and engines with them."""
        stop(hub.process for hub in self.hubs if hub.process)

    def _endpoints(self, hub: HubPost) -> dict[str, str]:
        path = hub.directory / "endpoints.json"
        self._wait(path.exists, f"{hub.name} does not say where it is reached")
        found_at: dict[str, str] = json.loads(path.read_text())
        return found_at

    def _wait(self, ready: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + _START_S
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise ProcessFailed(f"{otherwise} within {_START_S:.0f} s; see {self._directory}")
            time.sleep(0.02)


def hub_posts(directory: Path, count: int) -> list[HubPost]:
    """Return the hubs of a demo: one alone, or as many agencies as can bear that one of them fails.

    Raises ToolError for a number between, and where the consensus engine of a federation is missing.
    """
    if count == 1:
        return [HubPost(HUB, AGENCIES[0], directory / "hub")]
    if not 4 <= count <= len(AGENCIES):
        raise ToolError(f"{count} hubs: a demo has 1, or 4 to {len(AGENCIES)}, which can bear that one fails")
    if shutil.which("cometbft") is None:
        raise ToolError(
            "a federation needs CometBFT on PATH: CGO_ENABLED=0 go install"
            " github.com/cometbft/cometbft/cmd/cometbft@v0.38.25"
        )
    names = [f"hub-{number}" for number in range(1, count + 1)]
    return [HubPost(name, agency, directory / name) for name, agency in zip(names, AGENCIES, strict=False)]


def _found_alone(region: Region) -> Desk:
    """Found a chain of one hub whose agency is the regulator too."""
    (hub,) = region.hubs
    made = json.loads(
        run("tocsin-hub", "init", "--dir", hub.directory, "--name", hub.name, "--region", REGION, "--json")
    )
    authority = hub.directory.parent / "authority"
    desk = found(authority, hub.agency, "Demonstration", hub.name, bytes.fromhex(made["key"]))
    (hub.directory / "genesis.cbor").write_bytes(desk.genesis.encode())
    text = _ALONE.format(name=hub.name, region=REGION)
    (hub.directory / "hub.toml").write_text(text, encoding="utf-8")
    return desk


def _found_federation(region: Region) -> Desk:
    """Found a federation as its agencies do: keys made by each, one genesis that all come to, its hash compared."""
    directory = region.hubs[0].directory.parent
    authority, ports = directory / "authority", {hub.name: _free_port() for hub in region.hubs}
    run("tocsin-tools", "authority", "init", "--dir", authority, "--name", "regulator", "--regulator")
    for hub in region.hubs:
        peers = [f"--peer={name}=127.0.0.1:{port}" for name, port in ports.items() if name != hub.name]
        who = ("--name", hub.name, "--agency", hub.agency, "--region", REGION)
        where = ("--p2p", f"127.0.0.1:{ports[hub.name]}", "--api", _free_port(), "--broker", 0)
        run("tocsin-hub", "federation", "init", hub.directory, *who, *where, *peers)
    statements = [hub.directory / f"{hub.name}.member" for hub in region.hubs]
    said = (*statements, authority / "regulator.authority", "--chain", "Demonstration")
    for hub in region.hubs:
        shown = json.loads(run("tocsin-hub", "federation", "join", hub.directory, *said, "--json"))
        run("tocsin-hub", "federation", "join", hub.directory, *said, "--hash", shown["hash"])
    shutil.copy(region.hubs[0].directory / "genesis.cbor", authority)
    return open_desk(authority)


def _free_port() -> int:
    """Return a port that is free, and of none that the kernel gives to whoever connects in the meantime."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
