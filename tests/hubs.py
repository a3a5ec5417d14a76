"""A whole hub for a test, in this process or in one of its own, and gateways that speak to it over the broker."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from fleet import Fleet, FleetGateway

from gateway.chain.canonical import decode
from gateway.chain.finality import Sealed
from gateway.chain.governance import founding_roster
from gateway.chain.keys import ALARM_RECEIPT, ANSWER, REQUEST, Signed
from gateway.chain.leaf import HEADERS, LogLeaf
from gateway.chain.messages import AlarmReceipt, Answer, Receipts, Request
from gateway.chain.record import Record
from gateway.mqtt.config import LinkConfig
from gateway.mqtt.link import Link
from hub.clock import wall_ms
from hub.config import Config, load_config
from hub.endpoints import read_endpoints
from hub.service import Service

PATIENCE = 60.0  # seconds; machines are slow at times; nothing waits that long on one that is well
GIVEN: set[int] = set()
"""Ports that were given out: what is chosen now is used later, and no two may have chosen one."""
T = TypeVar("T")
R = TypeVar("R", bound=Record)


def new_fleet(seed: int = 0, **settings: Any) -> Fleet:
    """A fleet whose clock is this machine's."""
    fleet = Fleet(seed, **settings)
    fleet.now = time.time_ns() // 1_000_000
    return fleet


def make_directory(directory: Path, fleet: Fleet, broker: int = 0, api: int = 0) -> Config:
    """A hub's directory for the fleet's hub; ports are any by default."""
    directory.mkdir(parents=True, exist_ok=True)
    key = directory / "hub.key"
    key.write_text(fleet.hub_key.seed.hex())
    key.chmod(0o600)
    (directory / "genesis.cbor").write_bytes(fleet.genesis.encode())
    who = f'[hub]\nname = "{fleet.genesis.hubs[0].name}"\nregion = "{fleet.region}"\n'
    (directory / "hub.toml").write_text(who + f"[broker]\nport = {broker}\n[api]\nport = {api}\n")
    return load_config(directory / "hub.toml")


def free_port() -> int:
    """A port below those that the system gives to connections: none takes it before it is used, or used again."""
    while True:
        port = random.SystemRandom().randrange(15_000, 32_000)
        if port in GIVEN:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            GIVEN.add(port)
            return port


def eventually(look: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """Return the first true value; fail after some seconds."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, f"{what} did not come within {seconds:g} s"
        time.sleep(0.01)
    return found


class Rest:
    """A client of the REST interface."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, accept: str = "application/json") -> bytes:
        request = urllib.request.Request(self.url + path, headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            data: bytes = answer.read()
        return data

    def json(self, path: str) -> Any:
        return json.loads(self.get(path))

    def cbor(self, path: str) -> bytes:
        return self.get(path, "application/cbor")

    def post(self, path: str, body: bytes) -> tuple[int, Any]:
        request = urllib.request.Request(self.url + path, body, {"Content-Type": "application/cbor"})
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def status_of(self, path: str) -> int:
        try:
            self.get(path)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        return 200


class Caller:
    """A fleet's gateway on the broker of a hub. It says what a test tells it to, and keeps what the hub says."""

    def __init__(self, fleet: Fleet, gateway: FleetGateway, broker: str, hub: bytes = b"") -> None:
        self.fleet, self.gateway, self.hub = fleet, gateway, hub or fleet.hub_key.public
        self.root = f"tocsin/v1/{fleet.region}/{gateway.id.hex()}"
        self.heard: dict[str, queue.Queue[bytes]] = {}
        topics = tuple(f"{self.root}/{kind}" for kind in ("receipt", "request", "contract", "command"))
        state = f"tocsin/v1/{fleet.region}/hub/+/state"
        self.up = queue.Queue[None]()
        self.link = Link(
            LinkConfig(broker, gateway.id.hex(), (*topics, state)),
            self._hear,
            on_up=lambda: self.up.put(None),
        )
        self.link.start()
        self.up.get(timeout=PATIENCE)

    def close(self) -> None:
        self.link.close()

    def _hear(self, topic: str, payload: bytes) -> bool:
        kind = topic.rpartition("/")[2]
        if kind == "receipt":
            kind += str(decode(payload)[0])  # type: ignore[index]
        self.queue(kind).put(payload)
        return True

    def queue(self, kind: str) -> queue.Queue[bytes]:
        return self.heard.setdefault(kind, queue.Queue())

    def say(self, kind: str, payload: bytes, *, retain: bool = False) -> None:
        self.link.publish(f"{self.root}/{kind}", payload, retain=retain)

    def birth(self) -> Answer:
        """Say a birth and return the answer to it."""
        birth = self.gateway.birth()
        self.say("birth", birth.encode(), retain=True)
        while True:
            answer = self.answer()
            if (answer.boot, answer.version) == (self.gateway.boot, self.gateway.births):
                return answer

    def answer(self) -> Answer:
        item = decode(self.queue("receipt2").get(timeout=PATIENCE))
        signed = Signed.from_item(item[1])  # type: ignore[index]
        return Answer.decode(signed.verify(ANSWER, self.hub))

    def receipts(self) -> Receipts:
        """The next receipts, every part of them verified."""
        item = decode(self.queue("receipt1").get(timeout=PATIENCE))
        receipts = Receipts.from_item(item[1])  # type: ignore[index]
        for each in receipts.custody:
            each.verify(self.fleet.genesis, founding_roster(self.fleet.genesis))
        self.finality(receipts)
        return receipts

    def finality(self, receipts: Receipts) -> Sealed | None:
        if receipts.finality is None:
            return None
        at = receipts.finality.position
        leaf = LogLeaf(HEADERS, self.gateway.id, at.epoch, at.height, at.hash)
        return receipts.finality.proof.verify(leaf, self.fleet.genesis)

    def final(self, height: int) -> Receipts:
        """Wait for the finality of a height."""
        while True:
            receipts = self.receipts()
            if receipts.finality and receipts.finality.position.height >= height:
                return receipts

    def alarm_receipt(self) -> AlarmReceipt:
        item = decode(self.queue("receipt3").get(timeout=PATIENCE))
        signed = Signed.from_item(item[1])  # type: ignore[index]
        return AlarmReceipt.decode(signed.verify(ALARM_RECEIPT, self.hub))

    def request(self) -> Request:
        signed = Signed.decode(self.queue("request").get(timeout=PATIENCE))
        return Request.decode(signed.verify(REQUEST, self.hub))


class RunningHub:
    """A hub with its fleet, in this process. Its directory outlives it."""

    def __init__(
        self, directory: Path, fleet: Fleet | None = None, now_ms: Callable[[], int] = wall_ms
    ) -> None:
        self.fleet = fleet or new_fleet()
        self.directory, self.now_ms = directory, now_ms
        self.config = make_directory(directory, self.fleet)
        self.callers: list[Caller] = []

    def __enter__(self) -> Self:
        self.service = Service(self.config, self.now_ms)
        self.service.__enter__()
        self.rest = Rest(self.service.api_url)
        eventually(lambda: self.rest.status_of("/healthz") == 200, "health")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for caller in self.callers:
            caller.close()
        self.callers.clear()
        self.service.__exit__(kind, error, trace)

    def enrol(self, name: str) -> FleetGateway:
        gateway = self.fleet.gateway(name)
        status, answer = self.rest.post("/v1/enrolment", gateway.enrol().encode())
        assert status == 201, answer
        # It is answered when it is final, and shown a moment later.
        eventually(lambda: self.rest.status_of(f"/v1/gateways/{gateway.id.hex()}") == 200, "the gateway")
        return gateway

    def call(self, gateway: FleetGateway) -> Caller:
        caller = Caller(self.fleet, gateway, self.service.broker_url)
        self.callers.append(caller)
        return caller

    def join(self, name: str) -> tuple[FleetGateway, Caller]:
        """Enrol a gateway, connect it, and have its birth answered."""
        gateway = self.enrol(name)
        caller = self.call(gateway)
        caller.birth()
        return gateway, caller

    def refusals(self, gateway: FleetGateway) -> list[str]:
        return [each["kind"] for each in self.rest.json(f"/v1/gateways/{gateway.id.hex()}")["refusals"]]

    def findings(self, gateway: FleetGateway) -> list[str]:
        return [each["kind"] for each in self.rest.json(f"/v1/gateways/{gateway.id.hex()}")["findings"]]


class Daemon:
    """A program of ours as a process of its own, None while it does not run."""

    process: subprocess.Popen[bytes] | None = None
    patience = PATIENCE

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> int:
        if self.process is None:
            return 0
        if self.process.poll() is None:
            os.kill(self.process.pid, number)
        code = self.process.wait(self.patience)
        self.process = None
        return code


class HubProcess(Daemon):
    """`tocsin-hub run` as a process of its own; its addresses stay over restarts."""

    def __init__(self, directory: Path, fleet: Fleet) -> None:
        self.directory, self.fleet = directory, fleet
        self.config = make_directory(directory, fleet, free_port(), free_port())

    def start(self) -> Rest:
        (self.directory / "endpoints.json").unlink(missing_ok=True)
        with (self.directory / "hub.log").open("ab") as log:
            command = [sys.executable, "-m", "hub", "run", "--config", str(self.directory / "hub.toml")]
            self.process = process = subprocess.Popen(command, stdout=log, stderr=log)

        def answers() -> bool:
            assert process.poll() is None, (self.directory / "hub.log").read_text()
            if not (self.directory / "endpoints.json").exists():
                return False
            return Rest(self.endpoints["api"]).status_of("/healthz") == 200

        eventually(answers, "the hub's start")
        return Rest(self.endpoints["api"])

    @property
    def endpoints(self) -> dict[str, Any]:
        return read_endpoints(self.directory)
