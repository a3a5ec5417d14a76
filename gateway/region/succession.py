"""Which chain a gateway belongs to when another takes its own over, and the chains that it came through.

Owns the check on a successor, its durable adoption, and the choice between the trust file and what the store has
adopted. It does not own the assembly that is started anew under it (`gateway.running`) nor the epoch that follows
(`gateway.region.keeper`).

Invariants:
* A chain is followed only into one that its own hub signed for when it closed it, at or above everything that this
  gateway has verified of it. Whoever brings the successor is of no account.
* The store's chain wins over the trust file where it descends from the file's; where the file's descends from the
  store's, that is adopted at the start; any other is refused.
* Earlier chains' genesis stay: their blocks and receipts are of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, cast

from gateway.chain.block import Header
from gateway.chain.canonical import Item, decode, encode
from gateway.chain.errors import BadRecord, ChainError
from gateway.chain.genesis import Genesis
from gateway.chain.takeover import find_takeover, verify_takeover
from gateway.errors import ConfigError
from gateway.region.enrol import Trust
from gateway.region.federation import ROSTER, VOTERS
from gateway.region.keeper import EPOCH_STATE, Keeper
from gateway.storage.store import Store

__all__ = ["Succession", "adopt", "chains", "check_successor", "remember", "settle"]

_log = logging.getLogger(__name__)

_GENESIS: Final = "genesis"
_CHAINS: Final = "chains"
_MAX_BYTES: Final = 1 << 22


def check_successor(successor: Genesis, genesis: Genesis, seen: int) -> None:
    """Check that a chain takes another over, which was verified up to final block `seen`. Raises ChainError."""
    takeover = find_takeover(successor, genesis.hash)
    verify_takeover(takeover, successor, genesis)
    if takeover.height < seen:
        raise BadRecord(
            f"chain {successor.hash.hex()[:16]} takes this one over at final block {takeover.height},"
            f" and final block {seen} was verified here: what was final would be lost"
        )


def chains(store: Store) -> tuple[Genesis, ...]:
    """Return the chains this gateway came through, oldest first; the last is its own. Raises StoreError."""
    kept = store.get(_CHAINS)
    items = cast(list[bytes], decode(kept, max_size=_MAX_BYTES)) if kept else []
    return tuple(Genesis.decode(each) for each in items)


def remember(store: Store, genesis: Genesis) -> None:
    """Keep the genesis of this gateway's chain, so that its successor can be told. Raises StoreError."""
    if not chains(store):
        store.put({_CHAINS: encode([genesis.encode()])})


def adopt(store: Store, genesis: Genesis, successor: Genesis) -> None:
    """Belong to a checked successor from now on. The gateway has to be assembled anew. Raises StoreError."""
    items: list[Item] = [each.encode() for each in (*(chains(store) or (genesis,)), successor)]
    of_old = dict.fromkeys((ROSTER, VOTERS, *EPOCH_STATE))
    store.put({_GENESIS: successor.hash, _CHAINS: encode(items), **of_old})


def settle(store: Store, trust: Trust, directory: Path) -> Trust:
    """Return the chain of a data directory under a trust file. Raises ConfigError, StoreError."""
    kept, known = store.get(_GENESIS), chains(store)
    if kept is None or kept == trust.hash:
        if kept is None and store.is_writable:
            store.put({_GENESIS: trust.hash})
        own = next((each for each in known if each.hash == trust.hash), trust.genesis)
        if own is not None and store.is_writable:
            remember(store, own)
        return Trust(trust.hash, own)
    if any(each.hash == trust.hash for each in known):
        return Trust(kept, known[-1])
    if trust.genesis is None or not known:
        raise _is_other(directory, kept, trust)
    try:
        check_successor(trust.genesis, known[-1], _seen(store, kept))
    except ChainError as error:
        raise _is_other(directory, kept, trust) from error
    if store.is_writable:
        adopt(store, known[-1], trust.genesis)
    return trust


class Succession:
    """What a running gateway does about its successor: adopt it as soon as the disk takes that, and end.

    Args:
        hubs: names of the hubs it speaks to, who need not be told what others of the old chain had acknowledged.
        turn: called once the gateway is to be assembled anew.

    Attributes:
        is_over: the directory belongs to the successor now.
    """

    def __init__(self, store: Store, keeper: Keeper, hubs: Sequence[str], turn: Callable[[], None]) -> None:
        self._store, self._keeper, self._hubs, self._turn = store, keeper, hubs, turn
        self._waiting: tuple[Genesis, Genesis] | None = None
        self.is_over = False

    def follow(self, genesis: Genesis, successor: Genesis) -> None:
        """Belong to a checked successor. Raises StoreError; then `care` tries again."""
        if self.is_over:
            return
        self._keeper.close()
        self._waiting = genesis, successor
        self.care()

    def care(self) -> None:
        """Adopt the successor that waits for the disk. Raises StoreError."""
        if self._waiting is None or self.is_over:
            return
        self._store.acknowledge_for(self._hubs)
        adopt(self._store, *self._waiting)
        self.is_over = True
        _log.warning("chain %s takes this one over: on to it", self._waiting[1].hash.hex()[:16])
        self._turn()


def _seen(store: Store, genesis: bytes) -> int:
    head = store.head()
    header = Header.decode(head.header) if head else None
    return header.seen.height if header and header.genesis == genesis else 0


def _is_other(directory: Path, kept: bytes, trust: Trust) -> ConfigError:
    return ConfigError(
        f"{directory} is of chain {kept.hex()[:16]}, the trust file names {trust.hash.hex()[:16]};"
        " give another data directory, or the trust file that belongs to this one"
    )
