"""A hub's engine that is killed at a named point: run as `python crash_child.py DIR POINT NTH`.

POINT is "append", "commit" or "seal": at the NTH such write, SIGKILL comes right before it, and for "append+",
"commit+", "seal+" right after. Prints the height and application hash of each final block that was told of.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fleet import Fleet

from hub.consensus.base import FinalEvent
from hub.consensus.embedded import Embedded
from hub.ledger.ledger import Ledger
from hub.storage.store import Store

METHODS = {"append": "append_final", "commit": "commit", "seal": "add_seal"}


def killed_at(write: Callable[..., Any], nth: int, after: bool) -> Callable[..., Any]:
    calls = 0

    def call(*values: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = write(*values)
        if calls == nth and after:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return call


def main(directory: Path, point: str, nth: int) -> None:
    fleet = Fleet()
    store = Store(directory / "ledger.db")
    method = METHODS[point.rstrip("+")]
    setattr(store.chain, method, killed_at(getattr(store.chain, method), nth, point.endswith("+")))
    consensus = Embedded(
        Ledger(fleet.genesis, store.chain),
        store.chain,
        fleet.genesis,
        fleet.hub_key,
        wall_ms=lambda: fleet.now,
    )

    settled = threading.Event()

    def tell(event: FinalEvent) -> None:
        print(event.block.height, event.result.app_hash.hex(), flush=True)
        settled.set()

    consensus.subscribe(tell)
    consensus.start()
    gateway = fleet.gateway("a")
    tx = fleet.order_enrolment(gateway.enrol())
    for _ in range(nth + 1):  # each in a final block of its own, however slow the machine is
        settled.clear()
        consensus.submit(tx)
        settled.wait()
        tx = fleet.order_headers(gateway.block(1))
    consensus.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
