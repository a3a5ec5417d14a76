"""What a gateway costs: processor, memory, time to its first sample, bytes on the wire.

It has ten gas sensors at 10 Hz, each with the packaged contract, and a DHT22 at its own pace; it enrols at a real
hub and syncs to it. Beside each figure stands a bare program: threads that only sleep as often and listen as long,
interpreters that only import the same modules, one line of JSON a reading.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from firmware_tools.bench_config import DHT_BUSY_MS, PERIOD_MS, RATE
from firmware_tools.bench_figure import Figure, percentile
from firmware_tools.bench_site import Child, cpu_seconds, end_process, family, memory, region
from firmware_tools.errors import ProcessFailed
from gateway.catalogue import make_catalogue
from gateway.chain.block import Header
from gateway.chain.reading import open_segment
from gateway.config import load_config
from gateway.control import ask
from gateway.errors import TransportError
from gateway.storage.store import Store, Stored

__all__ = ["measure_gateway"]

_SENSORS: Final = 10
_DHT_S: Final = 5
_OTHER_THREADS: Final = 8  # ticker, writer, control, sync and those of its link
_DHT_SERIES: Final = 2  # the first of the catalogue; gas sensors' follow
_DHT_MODULES: Final = ("gateway.sensors.dht_process", "adafruit_dht")
_GUARDIAN_MODULES: Final = ("gateway.outputs.guardian", "gateway.outputs.mock", "gpiozero")
_CPU_LIMIT, _RSS_LIMIT, _START_LIMIT = 10.0, 80.0, 1.0  # % of a core, MB, s
_BYTES_LIMITS: Final = {60: 17.0, 600: 11.0}
_SETTLE_S: Final = 2.0
_START_S: Final = 60.0
_STOP_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class _Block:
    """A stored block: its boot, its size on the wire (0 while it is unsigned), its readings as
    (Unix ms, series, value)."""

    boot: bytes
    size: int
    readings: Sequence[tuple[int, int, int]]


@dataclass(frozen=True, slots=True)
class _Run:
    """A gateway run for a while: its processes' modules, and what they took. Memory is (all, by share), MB."""

    at_first_sample: list[str]
    modules: list[str]
    total: float
    dht: float
    idle: float
    sizes: list[tuple[float, float]]


def measure_gateway(
    seconds: float = 20.0, starts: int = 3, sizes: tuple[int, int] = (60, 600)
) -> Iterator[Figure]:
    """Measure; `sizes` are the readings a block, smaller first. Raises ToolError."""
    with region() as running:
        small, large = (
            running.write_gateway(f"blocks-of-{size}", gas=_SENSORS, dht_ms=_DHT_S * 1000, seal=size)
            for size in sizes
        )
        log = running.directory / "log"
        run = _run(log, large, seconds)
        yield _rate_figure(large)
        yield Figure("gateway-cpu", run.total, "% of a core", _CPU_LIMIT, run.idle)
        yield Figure("gateway-cpu-dht", run.dht, "% of a core", peer=DHT_BUSY_MS / _DHT_S / 10)
        yield from _memory_figures(log, run)
        took = [_start(log, small) for _ in range(starts)]
        bare = [_load(log, run.at_first_sample)[0] for _ in range(starts)]
        first = _first_readings(small)
        delays = [sampled - exec_ms for sampled, exec_ms in zip(first, took, strict=True)]
        yield Figure("gateway-start", percentile(delays, 50) / 1000, "s", _START_LIMIT, percentile(bare, 50))
        for size, config in zip(sizes, (small, large), strict=True):
            yield _bytes_figure(config, size)


# processor and memory


def _run(log: Path, config: Path, seconds: float) -> _Run:
    idle = (_SENSORS * 1000 // PERIOD_MS, 1000 // RATE, _DHT_S, DHT_BUSY_MS, _OTHER_THREADS)
    with Child(log, "gateway", config):
        pass  # a gateway's first start of all makes its database and parses its contracts; every other one does not
    with Child(log, "gateway", config) as gateway, Child(log, "idle", *idle) as bare:
        time.sleep(_SETTLE_S)
        processes = [*family(gateway.pid), bare.pid]
        begun, model = time.monotonic(), gateway.ask("model-seconds")
        before = [cpu_seconds(pid) for pid in processes]
        time.sleep(seconds)
        after = [cpu_seconds(pid) for pid in processes]
        took, model = time.monotonic() - begun, gateway.ask("model-seconds") - model
        shares = [100 * (b - a) / took for a, b in zip(before, after, strict=True)]
        guardian = next(i for i, pid in enumerate(processes) if _is_guardian(pid))
        total = sum(shares[:-1]) - 100 * model / took
        dht = sum(shares[1:-1]) - shares[guardian]
        sizes = [memory(pid) for pid in family(gateway.pid)]
        return _Run(gateway.ready, gateway.ask("modules"), total, dht, shares[-1], sizes)


def _is_guardian(pid: int) -> bool:
    return b"gateway.outputs.guardian" in Path(f"/proc/{pid}/cmdline").read_bytes()


def _rate_figure(config: Path) -> Figure:
    """Return how often each gas sensor was sampled: what the processor's share is the price of."""
    times = [at for block in _blocks(config) for at, series, _ in block.readings if series >= _DHT_SERIES]
    hertz = len(times) / _SENSORS / (times[-1] - times[0]) * 1000
    return Figure("gateway-rate", hertz, "samples/s of each sensor", limit=1000 / PERIOD_MS)


def _memory_figures(log: Path, run: _Run) -> Iterator[Figure]:
    bare = [_load(log, modules)[1] for modules in (run.modules, _DHT_MODULES, _GUARDIAN_MODULES)]
    (rss, pss), (bare_rss, bare_pss) = (map(sum, zip(*sizes, strict=True)) for sizes in (run.sizes, bare))
    yield Figure("gateway-rss", rss, "MB", _RSS_LIMIT, bare_rss)
    yield Figure("gateway-pss", pss, "MB", peer=bare_pss)


def _load(log: Path, modules: Sequence[str]) -> tuple[float, tuple[float, float]]:
    """Return the seconds in which an interpreter starts and imports these modules, and its memory then."""
    begun = time.monotonic()
    with Child(log, "load") as bare:
        bare.ask(*modules)
        return time.monotonic() - begun, memory(bare.pid)


# time to the first sample


def _start(log: Path, config: Path) -> int:
    """Run the real command until it has signed blocks; return the Unix ms at which it was executed."""
    with log.open("ab") as output:
        at = time.time_ns() // 1_000_000
        popen = subprocess.Popen(
            [sys.executable, "-m", "gateway.cli", "run", "--config", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        end = time.monotonic() + _START_S
        while not _has_sealed(config) and popen.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        popen.send_signal(signal.SIGTERM)
    finally:
        end_process(popen, _STOP_S)
    if popen.returncode:
        raise ProcessFailed(
            f"tocsin-gateway run ended with code {popen.returncode}: {log.read_text().strip()}"
        )
    return at


def _has_sealed(config: Path) -> bool:
    """Whether the gateway that runs there signs blocks, and has signed more than its first."""
    try:
        status = ask(config.parent / "data" / "control.sock", {"do": "status"})
    except TransportError:
        return False
    return bool(status["publishing"] and status["head"][1] > 1)


def _first_readings(config: Path) -> list[int]:
    """Return the Unix ms of the first reading of each boot."""
    first: dict[bytes, int] = {}
    for block in _blocks(config):
        if block.readings:
            first.setdefault(block.boot, block.readings[0][0])
    return list(first.values())


# bytes on the wire


def _bytes_figure(config: Path, size: int) -> Figure:
    blocks = [block for block in _blocks(config) if block.size and len(block.readings) >= size]
    if not blocks:
        raise ProcessFailed(f"the gateway sealed no block of {size} readings; let it run for longer")
    series = [each.name for each in make_catalogue(load_config(config).sensors, str(config)).series]
    count = sum(len(block.readings) for block in blocks)
    lines = (
        json.dumps({"time": at, "series": series[index], "value": value}, separators=(",", ":"))
        for block in blocks
        for at, index, value in block.readings
    )
    plain = sum(len(line) + 1 for line in lines)
    ours = sum(block.size for block in blocks)
    return Figure(
        f"gateway-bytes-{size}", ours / count, "bytes/reading", _BYTES_LIMITS.get(size), plain / count
    )


def _blocks(config: Path) -> list[_Block]:
    """Return what a stopped gateway has stored, in the order of recording."""
    store = Store(config.parent / "data" / "gateway.db")
    try:
        rows = sorted([*store.above(0), *store.drafts()], key=lambda row: row.number)
        return [_block(store, row) for row in rows]
    finally:
        store.close()


def _block(store: Store, row: Stored) -> _Block:
    header, block = Header.decode(row.header), store.message(row)
    readings = []
    for head, data in zip(header.segments, block.segments, strict=True):
        segment = open_segment(head.klass, data)
        columns = zip(segment.offsets, segment.series, segment.values, strict=True)
        readings += [(header.wall + offset, series, value) for offset, series, value in columns]
    return _Block(header.boot, len(block.encode()) if row.signature else 0, readings)
