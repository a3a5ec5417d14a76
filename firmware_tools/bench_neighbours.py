"""How soon a neighbour's output pin follows a gas sensor's register, beside the gateway's own pin and a bare datagram.

Two gateways of a building, as processes, without hub or broker: gas rises at one, both sirens sound. What the second
needs beyond the first is the neighbours' part: contract to datagram, signature, proof, contract, guardian, pin. A
datagram that a program without us sends and takes, at the same times, is the least that the machine needs for it.
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Final

from firmware_tools.authority import found
from firmware_tools.bench_config import PERIOD_MS, write_gateway
from firmware_tools.bench_figure import Figure, percentile
from firmware_tools.bench_process import SIREN_PIN
from firmware_tools.bench_site import Child
from firmware_tools.demo_site import HUB
from firmware_tools.errors import ProcessFailed
from gateway.chain.keys import SigningKey
from gateway.contracts.library import template
from gateway.errors import OutputError
from gateway.outputs.wire import ask, places

__all__ = ["free_ports", "measure_neighbours"]

_ONSETS: Final = 100
_LIMIT_MS: Final = 1_000.0
_DHT_MS: Final = 2500
_SEED: Final = 3
_LOOK_S: Final = 0.005
_PATIENCE_S: Final = 10.0

_NEIGHBOURS: Final = """
[neighbours]
building = "bench"
listen = ["127.0.0.1:{port}"]
multicast = []
members = [
    {{ name = "a", key = "{keys[0]}", addresses = ["127.0.0.1:{ports[0]}"] }},
    {{ name = "b", key = "{keys[1]}", addresses = ["127.0.0.1:{ports[1]}"] }},
]

[[sensors]]
name = "{other}"
driver = "neighbour"
options = {{ member = "{other}" }}
"""


def measure_neighbours(onsets: int = _ONSETS) -> Iterator[Figure]:
    """Measure; about two seconds an onset. Raises ToolError."""
    with TemporaryDirectory(prefix="tocsin-bench-") as name:
        own, neighbour, bare = _latencies(Path(name), onsets)
    above = [b - a for a, b in zip(own, neighbour, strict=True)]
    yield Figure("neighbours-p50", percentile(neighbour, 50), "ms", peer=percentile(own, 50))
    worst, own_worst = percentile(neighbour, 99), percentile(own, 99)
    yield Figure("neighbours-p99", worst, "ms", limit=_LIMIT_MS, peer=own_worst)
    yield Figure("neighbours-above-own-p50", percentile(above, 50), "ms", peer=percentile(bare, 50))
    yield Figure("neighbours-above-own-p99", percentile(above, 99), "ms", peer=percentile(bare, 99))


def _latencies(directory: Path, onsets: int) -> tuple[list[float], list[float], list[float]]:
    configs = _write(directory)
    log, random = directory / "log", Random(_SEED)
    own, neighbour, bare = list[float](), list[float](), list[float]()
    with (
        Child(log, "gateway", configs[0]) as a,
        Child(log, "gateway", configs[1]),
        Child(log, "datagrams") as c,
    ):
        _follow([config.parent / "data" for config in configs], False, 0)
        for _ in range(onsets):
            time.sleep(random.uniform(0, PERIOD_MS / 1000))
            bare.append(_datagram(int(c.ready)))
            onset = int(a.ask("hold", True))
            first, second = _follow([config.parent / "data" for config in configs], True, onset)
            own.append(first)
            neighbour.append(second)
            a.ask("hold", False)
            _follow([config.parent / "data" for config in configs], False, onset)
    return own, neighbour, bare


def _write(directory: Path) -> list[Path]:
    """Write both gateways' folders and return their configurations' paths."""
    desk = found(directory / "authority", "bench", "Bench", HUB, bytes(32))
    seeds = [secrets.token_bytes(32) for _ in range(2)]
    keys, ports = [SigningKey(seed).public.hex() for seed in seeds], free_ports(2)
    configs = []
    for i, (name, other) in enumerate((("a", "b"), ("b", "a"))):
        config = write_gateway(directory / name, desk, gas=1, dht_ms=_DHT_MS)
        (config.parent / "data").mkdir(mode=0o700)
        (config.parent / "data" / "key").write_text(seeds[i].hex(), encoding="ascii")
        with config.open("a", encoding="utf-8") as file:
            file.write(_NEIGHBOURS.format(port=ports[i], ports=ports, keys=keys, other=other))
        configs.append(config)
    text = template("building-alarm", series="a.alarm", clear_for="0s")
    (configs[1].parent / "contract.toml").write_text(text, encoding="utf-8")
    return configs


def _follow(datas: Sequence[Path], level: bool, onset: int) -> list[float]:
    """Wait until the sirens of all are at a level; return the ms from the onset to each one's change."""
    end, found_ms = time.monotonic() + _PATIENCE_S, dict[Path, float]()
    while len(found_ms) < len(datas):
        if time.monotonic() > end:
            raise ProcessFailed(f"not every siren went to {level} within {_PATIENCE_S:.0f} s")
        time.sleep(_LOOK_S)
        for data in datas:
            at, now = _siren(data)
            if now == level:
                found_ms.setdefault(data, (at - onset) / 1e6)
    return [found_ms[data] for data in datas]


def _siren(data: Path) -> tuple[int, bool | None]:
    """Return when a siren's pin changed last, and its level; None while there is no guardian."""
    try:
        answer = ask(places(data), {"do": "pin", "pin": SIREN_PIN})
    except OutputError:
        return 0, None
    changes = answer["changes"]
    return (int(changes[-1][0]) if changes else 0), bool(answer["level"])


def _datagram(port: int) -> float:
    """Return the ms that a datagram takes to a process that only waits for it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bare:
        bare.settimeout(_PATIENCE_S)
        sent = time.monotonic_ns()
        bare.sendto(bytes(300), ("127.0.0.1", port))
        return (int(bare.recv(64)) - sent) / 1e6


def free_ports(count: int) -> list[int]:
    """Return UDP ports of this machine that nobody has."""
    opened = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    try:
        for each in opened:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in opened]
    finally:
        for each in opened:
            each.close()
