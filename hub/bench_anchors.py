"""How many anchors the engine of a hub alone makes final in a second: what a federation's figure stands beside.

A program of its own, run as `python -m hub.bench_anchors COUNT`, so that nothing else shares its interpreter: the
same state machine and store as in a running hub, headers signed before the clock starts, one to a transaction and
then as many as a hub takes from its queue at once.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Final

from gateway.chain.ordered import Headers, encode_transaction
from hub.audit import DATABASE
from hub.bench import BATCH, Sample, scratch
from hub.consensus.base import FinalEvent
from hub.consensus.embedded import Embedded
from hub.errors import ConsensusFull
from hub.ledger import Ledger
from hub.store import Store, ease_collector

_READINGS: Final = 10  # a header is as long with more
_PATIENCE_S: Final = 60.0
_PAUSE_S: Final = 0.002


def measure_anchors(count: int, batch: int, directory: Path) -> tuple[float, float]:
    """Return the anchors final per second, of `count` in transactions of `batch`, and the bytes of disk for each."""
    sample, store = Sample(_READINGS, count), Store(directory / DATABASE)
    engine = Embedded(Ledger(sample.genesis, store.chain), store.chain, sample.genesis, sample.hub)
    reached, changed = 0, threading.Condition()

    def follow(event: FinalEvent) -> None:
        nonlocal reached
        with changed:
            reached = event.checkpoint.app.log_size
            changed.notify_all()

    def await_log(size: int) -> None:
        with changed:
            if not changed.wait_for(lambda: reached >= size, _PATIENCE_S):
                raise TimeoutError(f"{reached} of {size} leaves became final within {_PATIENCE_S:.0f} s")

    engine.subscribe(follow)
    engine.start()
    try:
        engine.submit(sample.enrolment())
        await_log(1)
        signed = [block.signed for block in sample.blocks]
        batches = [Headers(tuple(signed[at : at + batch])) for at in range(0, count, batch)]
        before, begun = _pages(store), time.perf_counter()
        for tx in map(encode_transaction, batches):
            _submit(engine, tx)
        await_log(1 + count)
        seconds = time.perf_counter() - begun
        return count / seconds, (_pages(store) - before) / count
    finally:
        engine.stop()
        store.close()


def _submit(engine: Embedded, tx: bytes) -> None:
    while True:
        try:
            engine.submit(tx)
            return
        except ConsensusFull:
            time.sleep(_PAUSE_S)


def _pages(store: Store) -> int:
    """Return the bytes of the database's pages, whether in its file or in its log."""
    count, size = (store.database.value(f"PRAGMA {name}") for name in ("page_count", "page_size"))
    return int(count) * int(size)


def main(count: int) -> None:
    """Measure, and print the figures as JSON."""
    ease_collector()
    found = {}
    for name, batch in (("single", 1), ("batched", BATCH)):
        with scratch() as directory:
            rate, size = measure_anchors(count, batch, directory)
            found[name] = {"per_second": rate, "bytes": size}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(int(sys.argv[1]))
