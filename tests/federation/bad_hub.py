"""`tocsin-hub` with one fault, for tests: `python bad_hub.py FAULT run --config FILE`.

FAULT is one of those below; numbers after a colon say at which final block, or how often.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace

from gateway.chain.finality import AppState
from hub.cli import main
from hub.consensus.base import FinalBlock, Result
from hub.ledger.ledger import Ledger
from hub.peers import server
from hub.peers.server import PeerServer
from hub.peers.wire import Body


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed_in_finalize(height: int) -> None:
    """Dies after final block `height` was applied in memory, before the engine hears of it."""
    finalize = Ledger.finalize

    def dying(self: Ledger, block: FinalBlock) -> Result:
        result = finalize(self, block)
        if block.height == height:
            die()
        return result

    Ledger.finalize = dying  # type: ignore[method-assign]


def killed_before_commit(height: int) -> None:
    """Dies when final block `height` is to be committed."""
    commit = Ledger.commit

    def dying(self: Ledger) -> int:
        if self.committed.height == height - 1:
            die()
        return commit(self)

    Ledger.commit = dying  # type: ignore[method-assign]


def killed_after_commit(height: int) -> None:
    """Dies when final block `height` is on disk, before the engine hears of it."""
    commit = Ledger.commit

    def dying(self: Ledger) -> int:
        retain = commit(self)
        if self.committed.height == height:
            die()
        return retain

    Ledger.commit = dying  # type: ignore[method-assign]


def other_hash(height: int) -> None:
    """Comes to another application hash than everyone else from final block `height` on."""
    finalize = Ledger.finalize

    def wrong(self: Ledger, block: FinalBlock) -> Result:
        result = finalize(self, block)
        if block.height < height:
            return result
        return replace(result, app=AppState(result.app.log_size, bytes(32), result.app.state_root))

    Ledger.finalize = wrong  # type: ignore[method-assign]


def bad_proposer(_: int) -> None:
    """Puts what is no transaction into each final block that it proposes."""
    prepare = Ledger.prepare

    def injecting(self: Ledger, txs: Sequence[bytes], max_bytes: int) -> tuple[bytes, ...]:
        return (b"\xffno transaction", *prepare(self, txs, max_bytes - 64))

    Ledger.prepare = injecting  # type: ignore[method-assign]


def withholding(_: int) -> None:
    """Says to other hubs that it lacks every body, whatever it promised."""
    server.promised_segments = lambda kept, classes: None
    PeerServer._body = lambda self, identity, classes, allowed: Body(identity, ())  # type: ignore[method-assign]


FAULTS = {
    each.__name__: each
    for each in (
        killed_in_finalize,
        killed_before_commit,
        killed_after_commit,
        other_hash,
        bad_proposer,
        withholding,
    )
}

if __name__ == "__main__":
    name, _, at = sys.argv.pop(1).partition(":")
    FAULTS[name](int(at or 0))
    main()
