"""What a gateway says of itself: births and heartbeats, made and signed.

Owns their contents and their rising numbers, which all hubs share. It does not own when they are sent.

Invariant: a birth names the catalogue and contracts of the blocks that follow it, so a hub can always open them;
for blocks of an earlier configuration that is an earlier catalogue.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final

from gateway.chain.keys import BIRTH, HEARTBEAT, Signed
from gateway.chain.messages import Birth, Heartbeat
from gateway.chain.reading import Series
from gateway.clock import Clock
from gateway.errors import ConfigError, StoreError
from gateway.region.keeper import Identity, Keeper
from gateway.storage.store import Store

__all__ = ["Herald", "check_birth"]

_MAX_BYTES: Final = 120 * 1024


def check_birth(series: Sequence[Series], documents: Sequence[bytes]) -> None:
    """Check that a birth with this catalogue and these contracts fits one message. Raises ConfigError."""
    size = sum(len(each.encode()) for each in series) + sum(len(each) + 3 for each in documents)
    if size > _MAX_BYTES:
        raise ConfigError(
            f"the catalogue and the contracts take {size} bytes, and a birth has room for {_MAX_BYTES}:"
            " use fewer contracts, or shorter calibrations"
        )


class Herald:
    """Makes births and heartbeats. Methods may be called from any thread.

    Args:
        software: name and version of this program.
        faults: says how many series are in fault.
        fill: says how full the store is, in per mille of its quota.
    """

    def __init__(
        self,
        identity: Identity,
        store: Store,
        keeper: Keeper,
        clock: Clock,
        *,
        heartbeat_ms: int,
        software: str,
        faults: Callable[[], int],
        fill: Callable[[], int],
    ) -> None:
        self._identity, self._store, self._keeper, self._clock = identity, store, keeper, clock
        self._heartbeat_ms, self._software, self._faults, self._fill = heartbeat_ms, software, faults, fill
        self._lock = threading.Lock()
        self._births = self._beats = 0

    def birth(self, catalogue: bytes, contracts: bytes) -> tuple[int, Signed]:
        """Return a birth and its version, for the catalogue and contract set with these roots. Raises StoreError."""
        with self._lock:
            self._births += 1
            version = self._births
        identity = self._identity
        series, documents = self._store.listing(catalogue), self._store.listing(contracts)
        if series is None or documents is None:  # on a full disk they could not be stored at the start
            raise StoreError("the catalogue or contract set that a birth has to name is not in the store yet")
        body = Birth(
            identity.genesis,
            identity.gateway,
            identity.boot,
            version,
            max(0, self._clock.wall_ms()),
            int(self._keeper.whole),
            self._keeper.head,
            self._keeper.seen,
            tuple(map(Series.decode, series)),
            documents,
            self._heartbeat_ms,
            self._software,
        )
        return version, identity.key.signed(BIRTH, body.encode())

    def heartbeat(self, waiting: int) -> Signed:
        """Return the next heartbeat, with the number of blocks that its hub has not signed for."""
        with self._lock:
            self._beats += 1
            counter = self._beats
        identity = self._identity
        body = Heartbeat(
            identity.genesis,
            identity.gateway,
            identity.boot,
            counter,
            max(0, self._clock.wall_ms()),
            self._keeper.head,
            waiting,
            self._faults(),
            self._fill(),
        )
        return identity.key.signed(HEARTBEAT, body.encode())
