"""A building: gateways as real processes on the loopback, each with its own directory, ports and hand at its sensor.

Run as a program it is one of those gateways: a word a line in, a JSON value a line out.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from firmware_tools.bench_neighbours import free_ports
from gateway.chain.events import Refusal
from gateway.chain.genesis import Genesis
from gateway.chain.keys import SigningKey
from gateway.chain.ordered import Grant, decode_transaction
from gateway.chain.reading import open_segment, parse_leaf
from gateway.errors import OutputError
from gateway.outputs.wire import ask, end_simulated, places
from gateway.storage.store import Store

CALM, LEAK = 0.25, 2.0  # volts
PATIENCE = 20.0
SIREN_PIN = 23
ROOT = Path(__file__).parents[2]
YEAR_MS = 365 * 86_400_000

TOML = """
[gateway]
name = "{name}"
region = "region"
data = "data"
loss_bound_ms = 200

[seal]
seconds = 1

[simulation]
scenario = "quiet"
sensors = {{ gas = {{ volts = {calm} }} }}

[neighbours]
listen = ["{host}:{port}"]
multicast = {multicast}
interface = "127.0.0.1"
heartbeat_s = 1
{roster}

[[sensors]]
name = "gas"
driver = "ads1115"
period_ms = 20
options = {{ input = "a0", rate = 860 }}
series = [
    {{ name = "own.ch4", calibration = {{ kind = "linear", quantity = "raw", unit = "ppm", scale = 0 }} }},
]

[[contracts.templates]]
template = "gas-ch4"
names = {{ series = "own.ch4", pre_hold = "0s", hold = "0s", warm_up = "0s", clear_for = "0s" }}

[[contracts.templates]]
template = "building-alarm"
names = {{ series = [{alarms}], clear_for = "0s" }}

[[contracts.templates]]
template = "neighbour-silent"
names = {{ series = [{alarms}] }}

[[outputs]]
name = "siren"
kind = "siren"
pin = 23

[[outputs]]
name = "valve"
kind = "valve"
pin = 24

[[outputs]]
name = "buzzer"
kind = "siren"
pin = 25
"""
NEIGHBOUR = """
[[sensors]]
name = "{name}"
driver = "neighbour"
options = {{ member = "{name}", silent_s = 3 }}
"""


class Flat:
    """One gateway of the building: its files, and its process while it runs."""

    def __init__(self, directory: Path, name: str, key: SigningKey, port: int) -> None:
        self.directory, self.name, self.key, self.port = directory, name, key, port
        self._process: subprocess.Popen[str] | None = None

    @property
    def config(self) -> Path:
        return self.directory / "gateway.toml"

    def start(self, *, clock_ms: int = 0) -> Flat:
        command = [sys.executable, __file__, str(self.config), str(clock_ms)]
        with (self.directory / "log").open("a") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip
        assert self._answer() == "ready"
        return self

    def ask(self, word: str) -> Any:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        return self._answer()

    @property
    def sounds(self) -> bool:
        """Whether the siren's pin is driven, as its guardian says; it is not before there is one."""
        try:
            return bool(ask(places(self.directory / "data"), {"do": "pin", "pin": SIREN_PIN})["level"])
        except OutputError:
            return False

    def standing(self, name: str) -> str:
        return str(self.ask("status")["neighbours"][name]["standing"])

    def condition(self, contract: str) -> str:
        return str(self.ask("status")["contracts"][contract]["condition"])

    def end_guardian(self) -> None:
        end_simulated(self.directory / "data")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _answer(self) -> Any:
        assert self._process is not None
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
        line = self._process.stdout.readline() if ready else ""
        assert line, f"{self.name} does not answer:\n" + (self.directory / "log").read_text()[-3000:]
        return json.loads(line)


class Building:
    """Flats that know each other by the configuration's roster; with a genesis by none, until one is granted."""

    def __init__(
        self,
        directory: Path,
        count: int = 3,
        *,
        unicast: bool = True,
        multicast: bool = True,
        tapped: bool = False,
        genesis: bytes = b"",
        host: str = "127.0.0.1",
    ) -> None:
        self._host = host
        *ports, group, self.tap = free_ports(count + 2)
        keys = [SigningKey(bytes([i + 1]) * 32) for i in range(count)]
        self.flats = [
            Flat(directory / f"flat-{i + 1}", f"flat-{i + 1}", keys[i], ports[i]) for i in range(count)
        ]
        groups = [f"239.255.84.{os.getpid() % 250 + 1}:{group}"] if multicast else []
        for each in self.flats:
            tap = {self.flats[1].name: self.tap} if tapped and each is self.flats[0] else {}
            roster = "" if genesis else self._roster(unicast, tap)
            self._write(each, json.dumps(groups), roster, genesis)

    def _roster(self, unicast: bool, tap: Mapping[str, int]) -> str:
        """The roster, as one of them knows it: with a tap it believes a neighbour to be elsewhere."""
        members = "".join(
            f'    {{ name = "{each.name}", key = "{each.key.public.hex()}"'
            f", addresses = {[f'{self._host}:{tap.get(each.name, each.port)}'] if unicast else []} }},\n"
            for each in self.flats
        )
        return f'building = "test-house"\nmembers = [\n{members}]'

    def _write(self, flat: Flat, multicast: str, roster: str, genesis: bytes) -> None:
        (flat.directory / "data").mkdir(parents=True)
        (flat.directory / "data" / "key").write_text(flat.key.seed.hex())
        (flat.directory / "trust").write_bytes(genesis or bytes(32).hex().encode())
        others = [each.name for each in self.flats if each is not flat]
        text = TOML.format(
            name=flat.name, host=self._host, port=flat.port, multicast=multicast, roster=roster, calm=CALM,
            alarms=", ".join(f'"{each}.alarm"' for each in others),
        )  # fmt: skip
        flat.config.write_text(text + "".join(NEIGHBOUR.format(name=each) for each in others))

    def __enter__(self) -> list[Flat]:
        return [each.start() for each in self.flats]

    def __exit__(self, *_: object) -> None:
        for each in self.flats:
            each.kill()
            each.end_guardian()


class Tap:
    """Somebody on the network, by whom all that one gateway sends to another passes, and who can say what they like."""

    def __init__(self, port: int, target: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", port))
        self._socket.settimeout(0.1)
        self._target, self._seen = target, list[bytes]()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Tap:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        self._socket.close()

    def taken(self) -> list[bytes]:
        return list(self._seen)

    def say(self, data: bytes) -> None:
        self._socket.sendto(data, ("127.0.0.1", self._target))

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                data, source = self._socket.recvfrom(2048)
            except OSError:  # nothing for a while, or what was sent met nobody
                continue
            if source[1] != self._target:
                self._seen.append(data)
                self.say(data)


def until(what: str, flats: Iterable[Any], seconds: float = PATIENCE) -> float:
    """Wait until all are true, asked again and again as calls; return how long it took."""
    begun, checks = time.monotonic(), list(flats)
    while checks:
        checks = [each for each in checks if not each()]
        assert time.monotonic() < begun + seconds, f"{what} did not come within {seconds:g} s"
        time.sleep(0.005)
    return time.monotonic() - begun


def acquainted(flats: list[Flat], seconds: float = PATIENCE) -> None:
    """Wait until each has every other's proof."""
    until(
        "acquaintance",
        [lambda a=a, b=b: a.standing(b.name) == "proven" for a in flats for b in flats if a is not b],
        seconds,
    )


def leaves(store: Store) -> list[Any]:
    """What stands in the chain, but for the block that is open: readings as tuples, events as records."""
    messages = [store.message(each) for each in store.drafts()]
    segments = [open_segment(0, each.segments[0]) for each in messages if each.segments]
    return [parse_leaf(leaf) for each in segments for leaf in each.leaves]


def obey(gateway: Any, directory: Path, path: Path) -> int:
    """Hand a granted set to the gateway as a hub would; return the version in force then."""
    from gateway.region.federation import Federation
    from gateway.region.orders import Orders

    federation = Federation(Genesis.decode((directory / "trust").read_bytes()), gateway.store)
    clock, series = gateway.hardware.clock, gateway.catalogue.series
    parts = gateway.identity, federation, gateway.recorder, gateway.store, gateway.keeper, clock, series
    granted = decode_transaction(path.read_bytes())
    assert isinstance(granted, Grant)
    Orders(*parts, lambda: None).grant(granted.grant.encode())
    return int(gateway.recorder.contracts.version)


def main(config: str, clock_ms: str) -> None:
    from gateway.config import load_config
    from gateway.daemon import Gateway

    gateway = Gateway(load_config(Path(config)), config)
    simulation: Any = gateway.hardware
    simulation.clock.step_wall(int(clock_ms))
    gateway.start()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        match line.split():
            case ["grant", path]:
                answer: Any = obey(gateway, Path(config).parent, Path(path))
            case ["leak"]:
                answer = simulation.hold("gas", LEAK)
            case ["calm"]:
                answer = simulation.hold("gas", CALM)
            case ["reset"]:
                answer = gateway.recorder.reset("gas-ch4", "test")
            case ["status"]:
                answer = gateway.status()
            case ["refusals"]:
                answer = [each.reason for each in leaves(gateway.store) if isinstance(each, Refusal)]
            case ["readings", series]:
                index = next(each.index for each in gateway.catalogue.series if each.name == series)
                found = [each for each in leaves(gateway.store) if isinstance(each, tuple)]
                answer = [value for which, _, value in found if which == index]
        print(json.dumps(answer), flush=True)
    gateway.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
