"""What the engine of a hub alone does with anchors: what a federation's figures stand beside.

A program of its own, run as `python -m hub.bench_anchors COUNT`, so that nothing else shares its interpreter: the
same state machine and store as in a running hub, headers signed before the clock starts, one to a transaction and
then as many as a hub takes from its queue at once; and what final blocks take that are empty.
"""

from __future__ import annotations

import json
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Final

from gateway.chain.ordered import Headers, encode_transaction
from hub.auditing.audit import DATABASE
from hub.bench import BATCH, Sample, scratch
from hub.consensus.base import FinalEvent
from hub.consensus.embedded import Embedded
from hub.errors import ConsensusFull
from hub.ledger.ledger import Ledger
from hub.storage.store import Store, ease_collector

_READINGS: Final = 10  # a header is as long with more
_PATIENCE_S: Final = 60.0
_PAUSE_S: Final = 0.002
_IDLE_S: Final = 0.002
_HEARTBEATS: Final = 500


class Hub:
    """An engine with its ledger and store, and what it has told of."""

    def __init__(self, sample: Sample, directory: Path, interval: float) -> None:
        self._store = Store(directory / DATABASE)
        ledger, chain = Ledger(sample.genesis, self._store.chain), self._store.chain
        self.engine = Embedded(ledger, chain, sample.genesis, sample.hub, interval=interval)
        self._changed = threading.Condition()
        self._reached = 0
        self.times: list[float] = []
        self.engine.subscribe(self._follow)

    def _follow(self, event: FinalEvent) -> None:
        with self._changed:
            self._reached = event.checkpoint.app.log_size
            self.times.append(time.perf_counter())
            self._changed.notify_all()

    def submit(self, tx: bytes) -> None:
        """Submit a transaction as soon as there is room."""
        while True:
            try:
                self.engine.submit(tx)
                return
            except ConsensusFull:
                time.sleep(_PAUSE_S)

    def await_final(self, leaves: int, blocks: int = 0) -> None:
        """Wait until so many leaves and blocks are final. Raises TimeoutError."""
        with self._changed:
            done = self._changed.wait_for(
                lambda: self._reached >= leaves and len(self.times) >= blocks, _PATIENCE_S
            )
        if not done:
            raise TimeoutError(f"{self._reached} of {leaves} leaves became final within {_PATIENCE_S:.0f} s")

    def size(self) -> int:
        """Return the bytes of the database's pages, whether in its file or in its log."""
        count, size = (self._store.database.value(f"PRAGMA {name}") for name in ("page_count", "page_size"))
        return int(count) * int(size)

    def close(self) -> None:
        """End engine and store."""
        self.engine.stop()
        self._store.close()


@contextmanager
def running(sample: Sample, interval: float) -> Iterator[Hub]:
    """Give a running engine in a directory that is gone afterwards."""
    with scratch() as directory:
        hub = Hub(sample, directory, interval)
        try:
            hub.engine.start()
            yield hub
        finally:
            hub.close()


def measure_anchors(count: int, batch: int) -> dict[str, float]:
    """Return anchors final per second, of `count` in transactions of `batch`; bytes of disk for each; ms a block."""
    sample = Sample(_READINGS, count)
    signed = [block.signed for block in sample.blocks]
    transactions = [
        encode_transaction(Headers(tuple(signed[at : at + batch]))) for at in range(0, count, batch)
    ]
    with running(sample, interval=_PATIENCE_S) as hub:
        hub.submit(sample.enrolment())
        hub.await_final(1)
        before, blocks, begun = hub.size(), len(hub.times), time.perf_counter()
        for tx in transactions:
            hub.submit(tx)
        hub.await_final(1 + count)
        seconds = time.perf_counter() - begun
        between = [after - earlier for earlier, after in pairwise([begun, *hub.times[blocks:]])]
        return {
            "per_second": count / seconds,
            "bytes": (hub.size() - before) / count,
            "interval_ms": statistics.median(between) * 1000,
        }


def measure_heartbeats(count: int) -> float:
    """Return the bytes of disk that an empty final block takes, over `count` of them."""
    with running(Sample(_READINGS, 1), interval=_IDLE_S) as hub:
        before, blocks = hub.size(), len(hub.times)
        hub.await_final(0, blocks + count)
        return (hub.size() - before) / (len(hub.times) - blocks)


def main(count: int) -> None:
    """Measure, and print the figures as JSON."""
    ease_collector()
    found = {name: measure_anchors(count, batch) for name, batch in (("single", 1), ("batched", BATCH))}
    json.dump({**found, "heartbeat": {"bytes": measure_heartbeats(_HEARTBEATS)}}, sys.stdout)


if __name__ == "__main__":
    main(int(sys.argv[1]))
