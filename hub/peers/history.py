"""Headers from before this hub's first final block: had from other hubs by one that joined with a snapshot.

Owned: up to which header each gateway's chain is known backwards from its final head. Not owned: the asking
(`hub.peers.pull`). A header is believed for its hash alone: its successor, or the state, names it.

Invariant: what is missing is found again after a restart, until the mark `gap` is cleared.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Final

from gateway.chain.block import Block, Header, header_hash
from gateway.chain.canonical import decode
from gateway.chain.entries import GatewayEntry
from gateway.chain.errors import BadProof
from gateway.chain.keys import NO_HASH, Signed
from hub.core import Core
from hub.storage.store import NewBlock

GAP: Final = "gap"
PAST_ALARMS: Final = "past alarms"
_GATEWAYS: Final = 1
_NOT_THERE_SECONDS: Final = 600.0


class History:
    """What is missing below. Safe for several threads."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._lock = threading.Lock()
        self._loaded = False
        self._tips: dict[bytes, bytes] = {}  # gateway: the hash of the highest header that is not here
        self._taken: set[bytes] = set()
        self._deferred: dict[tuple[bytes, bytes], float] = {}

    def take(self, hub: bytes) -> tuple[bytes, bytes] | None:
        """Return (gateway, header hash) to ask a hub (by key) for, None where there is nothing. Give it back."""
        with self._lock:
            self._load()
            now = time.monotonic()
            for gateway, tip in self._tips.items():
                if gateway not in self._taken and self._deferred.get((hub, gateway), 0.0) <= now:
                    self._taken.add(gateway)
                    return gateway, tip
        return None

    def release(self, gateway: bytes) -> None:
        """Let others ask for a gateway's headers."""
        with self._lock:
            self._taken.discard(gateway)

    def defer(self, hub: bytes, gateway: bytes) -> None:
        """Do not ask a hub for a gateway's headers for some time: it has none."""
        with self._lock:
            self._deferred[hub, gateway] = time.monotonic() + _NOT_THERE_SECONDS

    def keep(self, gateway: bytes, tip: bytes, headers: Sequence[Signed]) -> list[NewBlock]:
        """Keep headers, highest first, from `tip` downwards; return their rows.

        Raises BadProof where one is not the predecessor of the one before it, BadSignature, StoreError.
        """
        core = self._core
        entry, rows = core.entry(gateway), []
        assert entry is not None, "only gateways in the state are asked for"
        for signed in headers:
            if header_hash(signed.body) != tip:
                raise BadProof(
                    f"a header of gateway {gateway.hex()[:16]} is not the one that its successor names"
                )
            header, identity = core.ledger.headers.read(signed)
            core.ledger.headers.check_signature(signed, identity, entry.key_at(header.height))
            count = len(header.segments)
            block = Block(signed.suite, signed.body, signed.signature, (b"",) * count)
            rows.append(NewBlock(block, header, [None] * count, core.now_ms(), entry.region))
            tip = header.previous
        core.store.add_blocks(rows)
        with self._lock:
            self._go_on(gateway, tip)
        return rows

    def _load(self) -> None:
        """Look once, where there is a gap, how far down each gateway's chain is known."""
        core = self._core
        if self._loaded or not core.store.bodies.mark(GAP):
            return
        self._loaded = True
        for key, value in core.store.chain.entries_of(_GATEWAYS):
            _, gateway = decode(key)  # type: ignore[misc]
            assert isinstance(gateway, bytes)
            self._tips[gateway] = GatewayEntry.decode(value).head.hash
        for gateway, tip in list(self._tips.items()):
            self._go_on(gateway, tip)

    def _go_on(self, gateway: bytes, tip: bytes) -> None:
        """Go down from a header, over what is here, to the next one that is not."""
        while tip != NO_HASH and (signed := self._core.store.bodies.signed(tip)) is not None:
            tip = Header.decode(signed.body).previous
        self._tips[gateway] = tip
        if tip == NO_HASH:
            del self._tips[gateway]
        if not self._tips:
            self._core.store.bodies.set_mark(GAP, 0)
