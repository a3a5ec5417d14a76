"""What a gateway writes to its card: device bytes a day and flushes an hour, beside what it is to keep.

Gateways with gas sensors run side by side, each on a device of its own, enrolled at a real hub that signs for their
blocks; bodies are pruned as soon as that is allowed. The payload is their blocks as they are sent: headers,
signatures and readings. A block is sealed at N = 4,000 readings or after T = 120 s, what is recorded is synced within
10 s, and ext4 has blocks of 4 KiB and is mounted with noatime,commit=60. The slowest gateway runs faster than its
sensors would, and its file system commits as much sooner; what waits for a checkpoint at the end counts as written.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from firmware_tools.bench_database import age_log, write_back
from firmware_tools.bench_device import Device, own_device
from firmware_tools.bench_figure import Figure
from firmware_tools.bench_site import Child, RunningRegion, region
from gateway.chain.block import Header
from gateway.chain.reading import reading_leaf
from gateway.storage.store import Store

__all__ = ["measure_wear"]

_SIGNATURE: Final = 64
_A_READING: Final = (9, 15_000, 400)  # series, offset, value: as long as most
_DAY_S: Final = 86_400
_EXT4_COMMIT_S: Final = 60
_SETTLE_S: Final = 8.0
_MB_A_DAY: Final = {8: 120.0}
_TIMES_PAYLOAD: Final = {100: 6.0}
_EXCEPTION: Final = "dead_band = 50\nlongest_s = 60"


@dataclass(frozen=True, slots=True)
class _Kind:
    """A gateway: how many gas sensors at which period; how much faster than these it runs."""

    sensors: int
    period_ms: int
    speed: int
    by_exception: bool

    @property
    def rate(self) -> int:
        return self.sensors * 1000 // self.period_ms

    @property
    def name(self) -> str:
        return f"wear-{self.rate}{'-exception' if self.by_exception else ''}"


_RATES: Final = ((8, 1000, 5), (10, 100, 1), (24, 100, 1))


def measure_wear(seconds: float = 180.0, kinds: Sequence[tuple[int, int, int]] = _RATES) -> Iterator[Figure]:
    """Measure; `kinds` are (sensors, period in ms, speed). Raises ToolError."""
    with region() as running, ExitStack() as stack:
        gateways = [
            stack.enter_context(_Gateway(running, _Kind(*kind, by_exception)))
            for kind in kinds
            for by_exception in (False, True)
        ]
        time.sleep(_SETTLE_S)
        for gateway in gateways:
            gateway.begin()
        time.sleep(seconds)
        for gateway in gateways:
            gateway.end()
        for gateway in gateways:
            yield from gateway.figures()


class _Gateway:
    """One of them: its process, its device, and what was measured."""

    def __init__(self, running: RunningRegion, kind: _Kind) -> None:
        self._running, self._kind = running, kind
        self._stack = ExitStack()
        self._begun = self._took = self._payload = 0.0

    def __enter__(self) -> _Gateway:
        kind, directory = self._kind, self._running.directory
        commit_s = max(1, _EXT4_COMMIT_S // kind.speed)
        self._device: Device = self._stack.enter_context(
            own_device(directory / f"{kind.name}-card", commit_s)
        )
        self._data = self._device.directory / "data"
        config = self._running.write_gateway(
            kind.name,
            gas=kind.sensors,
            dht_ms=60_000,
            period_ms=kind.period_ms,
            policy=_EXCEPTION if kind.by_exception else "",
            data=str(self._data),
            storage="sd",
            seal=4_000,
            more="retain_h = 0\n",
            speed=kind.speed,
        )
        self._child = self._stack.enter_context(Child(directory / "log", "gateway", config))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def begin(self) -> None:
        """Begin to count, on a database that has been in use for a while."""
        age_log(self._data / "gateway.db")
        self._payload = _payload(self._data)
        self._before, self._begun = self._device.written(sync=True), time.monotonic()

    def end(self) -> None:
        """Count, and with it what a checkpoint would write now."""
        self._took = (time.monotonic() - self._begun) * self._kind.speed
        self._flushes = (self._device.written() - self._before).flushes
        write_back(self._data / "gateway.db")
        self._written = self._device.written(sync=True) - self._before
        self._payload = _payload(self._data) - self._payload

    def figures(self) -> Iterator[Figure]:
        """Return what came of it, by a day and by an hour."""
        kind, days = self._kind, self._took / _DAY_S
        mb, payload = (each / 1e6 / days for each in (self._written.bytes, self._payload))
        limit = _MB_A_DAY.get(kind.rate)
        if limit is None and kind.rate in _TIMES_PAYLOAD and not kind.by_exception:
            limit = _TIMES_PAYLOAD[kind.rate] * payload
        yield Figure(
            kind.name, mb, f"MB a day{'' if self._device.is_own else ', all of the disk'}", limit, payload
        )
        yield Figure(f"{kind.name}-flushes", self._flushes / days / 24, "an hour", peer=kind.rate * 3600)


def _payload(data: Path) -> float:
    """Return the bytes of all blocks there as they were sent; what was pruned counts by those that are still there."""
    store = Store(data / "gateway.db")
    try:
        rows = [*store.above(0), *store.drafts()]
        heads = [Header.decode(row.header) for row in rows]
        held = [row for row in rows if row.held]
        bodies = sum(len(body) for row in held for body in store.message(row).segments)
    finally:
        store.close()
    leaves = {
        row.number: sum(each.count for each in head.segments) for row, head in zip(rows, heads, strict=True)
    }
    counted = sum(leaves[row.number] for row in held)
    each_leaf = bodies / counted if counted else len(reading_leaf(*_A_READING))
    return sum(len(row.header) + _SIGNATURE for row in rows) + sum(leaves.values()) * each_leaf
