"""How soon an output pin follows a gas sensor's register, beside a thread that only looks at a variable.

Both meet rises at the same random instants of their own periods, in processes of their own, at the same time: what
the machine does to the one it does to the other. The register changes when the input does: the chip converts what
is there at the end of its conversion. A DHT22 is read beside it, more often than in use.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from firmware_tools.authority import found
from firmware_tools.bench_config import PERIOD_MS, write_gateway
from firmware_tools.bench_figure import Figure, percentile
from firmware_tools.bench_site import Child
from firmware_tools.demo_site import HUB

__all__ = ["measure_alarm"]

_ONSETS: Final = 120
_ALLOWED_MS: Final = 5.0
_DHT_MS: Final = 2500
_SEED: Final = 2


def measure_alarm(onsets: int = _ONSETS) -> Iterator[Figure]:
    """Measure; about 200 ms an onset. Raises ToolError."""
    with TemporaryDirectory(prefix="tocsin-bench-") as name:
        ours, bare = _latencies(Path(name), onsets)
    worst, bare_worst = percentile(ours, 99), percentile(bare, 99)
    yield Figure("alarm-p50", percentile(ours, 50), "ms", peer=percentile(bare, 50))
    yield Figure("alarm-p99", worst, "ms", limit=PERIOD_MS + _ALLOWED_MS, peer=bare_worst)
    above, bare_above = worst - PERIOD_MS, bare_worst - PERIOD_MS
    yield Figure("alarm-above-period", above, "ms", limit=_ALLOWED_MS, peer=bare_above)


def _latencies(directory: Path, onsets: int) -> tuple[list[float], list[float]]:
    desk = found(directory / "authority", "bench", "Bench", HUB, bytes(32))
    config = write_gateway(directory / "gateway", desk, gas=1, dht_ms=_DHT_MS)
    log = directory / "log"
    with Child(log, "gateway", config) as gateway, Child(log, "loop", PERIOD_MS) as loop:
        for child in (gateway, loop):
            child.tell("toggle", onsets, PERIOD_MS, _SEED)
        return gateway.answer(), loop.answer()
