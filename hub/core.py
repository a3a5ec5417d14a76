"""What every part of a running hub works on, and the one way in which anything is refused.

Owned: `Core`, the bundle of identity, store, ledger, engine and clock; `Refusals`. Not owned: any of its parts.
Invariant: a refusal is named and noted; a flood of one kind from one gateway takes one row in ten seconds.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from gateway.chain.entries import GatewayEntry
from gateway.chain.errors import ChainError, UnknownGateway
from gateway.chain.finality import Checkpoint, FinalityProof
from gateway.chain.genesis import EMBEDDED, Genesis
from gateway.chain.keys import SigningKey
from gateway.chain.leaf import LogLeaf
from hub.clock import wall_ms
from hub.config import Identity
from hub.consensus.base import Consensus
from hub.errors import ConsensusError, StoreError
from hub.ledger.ledger import Ledger
from hub.storage.store import Store

_log = logging.getLogger(__name__)

_NOTE_EVERY_SECONDS: Final = 10.0
_MAX_NOTED: Final = 4096
_DETAIL: Final = 300


class Misdirected(ChainError):
    """A message came on another gateway's topic than its own, or to another region's hub."""


def check_region(entry: GatewayEntry, region: str) -> None:
    """Check that a gateway is of the region that a hub serves. Raises Misdirected."""
    if entry.region != region:
        raise Misdirected(f"the gateway is of region {entry.region}, this hub serves {region}")


@dataclass(frozen=True, slots=True)
class Core:
    """A hub's identity, its store, ledger and engine. `keep_ms` is the promise of a custody receipt."""

    identity: Identity
    region: str
    store: Store
    ledger: Ledger
    consensus: Consensus
    keep_ms: int
    now_ms: Callable[[], int] = wall_ms

    @property
    def genesis(self) -> Genesis:
        return self.identity.genesis

    @property
    def key(self) -> SigningKey:
        return self.identity.key

    def entry(self, gateway: bytes) -> GatewayEntry | None:
        """Return what the chain knows of a gateway, None where it was never enrolled."""
        return self.ledger.committed.entry(gateway)

    def checkpoint(self) -> Checkpoint:
        """Return the latest checkpoint; there is one once the engine has started. Raises ConsensusError."""
        found = self.store.chain.checkpoint()
        if found is None:
            raise ConsensusError("there is no final block yet: the engine was not started")
        return found

    @property
    def is_current(self) -> bool:
        """Whether this hub knows where the chain stands, as far as it can tell: only then may it say so.

        A gateway that lost its store would take up an older head, and sign a block height for the second time.
        A hub alone is the chain, whatever its engine does.
        """
        if self.genesis.engine == EMBEDDED:
            return True
        engine = self.consensus.status()
        return engine.height > 0 and not engine.catching_up and not engine.standing

    def prove(self, leaf: LogLeaf) -> FinalityProof | None:
        """Return the proof that an item stands in the log of the latest checkpoint.

        None where it is not final, or committed only and its seal still on the way to the disk.
        """
        index, checkpoint = self.ledger.index(leaf), self.checkpoint()
        if index is None or index >= checkpoint.app.log_size:
            return None
        return self.ledger.finality(index, checkpoint)

    def offer(self, tx: bytes) -> None:
        """Submit a transaction; where the engine cannot take it, whoever stored its items offers them again."""
        try:
            self.consensus.submit(tx)
        except ConsensusError as error:
            _log.warning("a transaction must wait: %s", error)


class Refusals:
    """What was refused, by the names of the errors. Safe for several threads."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._noted: dict[tuple[bytes, str], float] = {}

    def counts(self) -> dict[str, int]:
        """Return how often each error refused something since the start."""
        with self._lock:
            return dict(self._counts)

    def note(self, gateway: bytes, error: ChainError, item: bytes) -> None:
        """Count a refusal, and record it unless the same was recorded just now."""
        self.note_named(gateway, type(error).__name__, str(error), item)

    def note_named(self, gateway: bytes, name: str, detail: str, item: bytes) -> None:
        """As `note`, of an error that is known by its name and text."""
        now = time.monotonic()
        # Strangers are as many as they like to be, so they share one row.
        kind = (b"" if name == UnknownGateway.__name__ else gateway, name)
        with self._lock:
            self._counts[name] += 1
            if now - self._noted.get(kind, -_NOTE_EVERY_SECONDS) < _NOTE_EVERY_SECONDS:
                return
            if len(self._noted) > _MAX_NOTED:
                self._noted.clear()
            self._noted[kind] = now
        _log.warning("refused from %s: %s: %s", gateway.hex(), name, detail)
        core, identity = self._core, sha256(item).digest()
        try:
            core.store.notes.add_refusal(core.now_ms(), gateway, name, detail[:_DETAIL], identity)
        except StoreError as failure:
            _log.error("the refusal could not be recorded: %s", failure)
