"""What 24 gas sensors at 10 Hz cost a gateway, and how late their samples are, beside bare programs.

Processor and memory are of all the gateway's processes; what the simulated room and its chips compute is not counted.
Lateness is a sample's distance from the time at which it was due, on the bus thread that takes it; beside it stands a
process whose threads only sleep until as many moments as often.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from firmware_tools.authority import found
from firmware_tools.bench_config import PERIOD_MS, write_gateway
from firmware_tools.bench_figure import Figure, percentile
from firmware_tools.bench_site import Child, cpu_seconds, family, memory
from firmware_tools.demo_site import HUB

__all__ = ["measure_load"]

_SENSORS: Final = 24
_SETTLE_S: Final = 3.0
_THREADS: Final = 2  # buses
_CPU_LIMIT, _RSS_LIMIT = 25.0, 96.0  # % of a core, MB
_DHT_MS: Final = 60_000


def measure_load(seconds: float = 20.0) -> Iterator[Figure]:
    """Measure. Raises ToolError."""
    with TemporaryDirectory(prefix="tocsin-bench-") as name:
        directory = Path(name)
        desk = found(directory / "authority", "bench", "Bench", HUB, bytes(32))
        config = write_gateway(directory / "gateway", desk, gas=_SENSORS, dht_ms=_DHT_MS, seal=3_000)
        log = directory / "log"
        with (
            Child(log, "gateway", config) as gateway,
            Child(log, "pace", _THREADS, _SENSORS, PERIOD_MS) as bare,
        ):
            time.sleep(_SETTLE_S)
            for child in (gateway, bare):
                child.ask("lateness")  # of the start, which does not count
            begun, model = time.monotonic(), gateway.ask("model-seconds")
            before = _taken(gateway.pid), _taken(bare.pid)
            time.sleep(seconds)
            after = _taken(gateway.pid), _taken(bare.pid)
            took, model = time.monotonic() - begun, gateway.ask("model-seconds") - model
            ours, others = (100 * (b - a) / took for a, b in zip(before, after, strict=True))
            late, bare_late = gateway.ask("lateness"), bare.ask("lateness")
            sizes = [memory(pid)[0] for pid in family(gateway.pid)]
            bare_size = memory(bare.pid)[0]
    yield Figure("load-cpu", ours - 100 * model / took, "% of a core", _CPU_LIMIT, others)
    yield Figure("load-rss", sum(sizes), "MB", _RSS_LIMIT, bare_size)
    yield Figure("load-lateness-p50", percentile(late, 50), "ms", peer=percentile(bare_late, 50))
    yield Figure("load-lateness-p99", percentile(late, 99), "ms", peer=percentile(bare_late, 99))


def _taken(pid: int) -> float:
    return sum(map(cpu_seconds, family(pid)))
