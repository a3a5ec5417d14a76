"""What a federation's figures are measured at: a region of one hub or four, real processes, on two cores.

Owned: which cores processes may use, what they weigh, in memory and on disk. Not owned: what is brought to them.

Invariant: hubs, engines, brokers and the gateway share two cores where the machine has more; whoever brings load
then has others.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Final

from firmware_tools.bench_config import PERIOD_MS, write_gateway
from firmware_tools.bench_database import database_size
from firmware_tools.bench_site import Child, family, memory
from firmware_tools.demo_process import stop
from firmware_tools.demo_region import HubPost, Region
from firmware_tools.errors import ProcessFailed

__all__ = ["Site", "site"]

_IDLE_S: Final = 5
"""The seconds between final blocks when nothing waits: many enough to be counted; all else is as in use."""

_CORES: Final = 2
_ENGINE: Final = "cometbft"
_DHT_MS: Final = 5000
_SEAL: Final = 30  # so that the first block is soon final
_MAX_ALARMS: Final = 1000
_SETTLE_S: Final = 30.0
_APART_S: Final = (0.1, 1.1)
_SEED: Final = 5
_DONE: Final = re.compile(r"\[(\S+)\|(\S+)\] executed block .*height=(\d+)")


class Site:
    """A running region with its authority's desk."""

    def __init__(self, directory: Path, stack: ExitStack, hubs: int) -> None:
        self.directory = directory
        self._region = Region(directory, (), stack, hubs)
        self.hubs = self._region.hubs
        self.desk = self._region.found()
        stack.callback(self._region.stop_hubs)
        if hubs > 1:
            for hub in self.hubs:
                _often(hub.directory / "hub.toml")
        self.start(self.hubs)

    @property
    def all(self) -> list[int]:
        """The places of all hubs."""
        return list(range(len(self.hubs)))

    def start(self, hubs: list[HubPost]) -> None:
        """Start hubs, on their cores, and wait until they answer."""
        with _pinned(_ours()):
            self._region.start_hubs(hubs)

    def stop(self) -> None:
        """End all hubs."""
        self._region.stop_hubs()

    def end(self, hub: HubPost) -> None:
        """End one hub, by asking."""
        assert hub.process is not None
        stop([hub.process])

    def load(self) -> Child:
        """Start a load program; it shares no interpreter with the hubs, and no core where there are enough."""
        hubs = [
            (hub.api, hub.broker, str(hub.directory / "engine") if len(self.hubs) > 1 else "")
            for hub in self.hubs
        ]
        with _pinned(_others()):
            return Child(self.directory / "log", "crowd", self.directory / "authority", json.dumps(hubs))

    def beside(self, module: str, *arguments: object) -> str:
        """Run a Python module to its end on the hubs' cores, and return what it prints. Raises ProcessFailed."""
        with _pinned(_ours()):
            command = [sys.executable, "-m", module, *map(str, arguments)]
            done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            raise ProcessFailed(f"{module}: {lines[-1] if lines else 'no output'}")
        return done.stdout.decode()

    def alarms(self, onsets: int) -> tuple[list[float], str]:
        """Return the ms from each transition at a gateway to finality on every hub, and the hash of an alarm.

        Each onset is two transitions, and comes at a random instant of the final blocks.
        """
        hubs = [(hub.name, hub.broker) for hub in self.hubs]
        api, random = self.hubs[0].api, Random(_SEED)
        config = write_gateway(
            self.directory / "gateway", self.desk, gas=1, dht_ms=_DHT_MS, seal=_SEAL, api=api, hubs=hubs
        )
        with _pinned(_ours()):
            gateway = Child(self.directory / "log", "gateway", config)
        with gateway:
            self.wait(self._is_known, "the gateway's first block did not become final", 90.0)
            for onset in range(onsets):
                time.sleep(random.uniform(*_APART_S))
                gateway.ask("toggle", 1, PERIOD_MS, onset)
            self.wait(lambda: len(self._final()) >= 2 * onsets, "alarms did not become final", _SETTLE_S)
        final = self._final()
        return list(final.values()), next(iter(final))

    def evidence(self, alarm: str, path: Path) -> Path:
        """Have a hub export the evidence of an alarm. Raises ProcessFailed."""
        api = self.hubs[0].api
        self.wait(lambda: _fetch(f"{api}/v1/evidence/alarms/{alarm}", path), "there is no evidence")
        return path

    def weigh(self) -> tuple[float, float]:
        """Return the MB of memory, shared pages by share, of an engine and of a hub with broker, on average."""
        engines = hubs = 0.0
        for hub in self.hubs:
            assert hub.process is not None
            for pid in family(hub.process.popen.pid):
                size = memory(pid)[1]
                if Path(f"/proc/{pid}/comm").read_text().strip() == _ENGINE:
                    engines += size
                else:
                    hubs += size
        return engines / len(self.hubs), hubs / len(self.hubs)

    def disk(self) -> float:
        """Return the bytes in a hub's directory, on average; of a database its pages, wherever they stand."""
        return sum(_size(hub.directory) for hub in self.hubs) / len(self.hubs)

    def height(self, hub: HubPost) -> int:
        """Return a hub's last final block, 0 while it does not say."""
        return int((hub.ask("/v1/status") or {}).get("final_height", 0))

    def catch_up(self, hub: HubPost) -> float:
        """Start a hub that was away, and return the final blocks per second at which it comes to where the others are.

        The clock runs from its engine's first block to its last, as the engine notes them: not while it starts.
        """
        log = hub.directory / "engine" / "cometbft.log"
        known, target = log.stat().st_size, self.height(self.hubs[0])
        self.start([hub])
        self.wait(lambda: self.height(hub) >= target, f"{hub.name} does not catch up", 60.0)
        with log.open(encoding="utf-8", errors="replace") as file:
            file.seek(known)
            done = [
                (_moment(found[1], found[2]), int(found[3])) for found in map(_DONE.search, file) if found
            ]
        done = [each for each in done if each[1] <= target]
        if len(done) < 2:
            raise ProcessFailed(f"{hub.name} missed {len(done)} final blocks: too few to measure")
        return (len(done) - 1) / max(done[-1][0] - done[0][0], 0.001)

    def wait(self, ready: Callable[[], bool], otherwise: str, seconds: float = 20.0) -> None:
        """Wait until something is so. Raises ProcessFailed saying what is not."""
        end = time.monotonic() + seconds
        while not ready():
            self._region.check()
            if time.monotonic() > end:
                raise ProcessFailed(f"{otherwise} within {seconds:.0f} s")
            time.sleep(0.05)

    def _is_known(self) -> bool:
        return all(any(each["head"] for each in hub.ask("/v1/gateways") or ()) for hub in self.hubs)

    def _final(self) -> dict[str, float]:
        """Return the ms from transition to finality on the last of the hubs, of every alarm final on all, by hash."""
        latest: dict[str, list[float]] = {}
        for hub in self.hubs:
            for each in hub.ask(f"/v1/alarms?limit={_MAX_ALARMS}") or ():
                if each["final_ms"] is not None:
                    latest.setdefault(each["hash"], []).append(each["final_ms"] - each["wall_ms"])
        return {name: max(each) for name, each in latest.items() if len(each) == len(self.hubs)}


@contextmanager
def site(hubs: int) -> Iterator[Site]:
    """Give a running region in a temporary directory. Raises ToolError."""
    with ExitStack() as stack:
        directory = stack.enter_context(TemporaryDirectory(prefix="tocsin-bench-"))
        yield Site(Path(directory), stack, hubs)


def _often(config: Path) -> None:
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("[federation]\n", f"[federation]\nidle_seconds = {_IDLE_S}\n"), "utf-8")


def _ours() -> set[int]:
    return set(sorted(os.sched_getaffinity(0))[:_CORES])


def _others() -> set[int]:
    return os.sched_getaffinity(0) - _ours() or _ours()


@contextmanager
def _pinned(cores: set[int]) -> Iterator[None]:
    """Have what is started meanwhile use these cores only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _size(directory: Path) -> int:
    total = 0
    for file in directory.rglob("*"):
        if file.name == "ledger.db":
            total += database_size(file)
        elif file.is_file() and not file.name.startswith("ledger.db-"):
            total += file.stat().st_size
    return total


def _fetch(url: str, path: Path) -> bool:
    """Keep an answer in a file; False where there is none yet."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            path.write_bytes(answer.read())
    except OSError:
        return False
    return True


def _moment(day: str, time_of_day: str) -> float:
    return datetime.fromisoformat(f"{day}T{time_of_day}").timestamp()
