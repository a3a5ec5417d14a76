"""The ledger: the state machine over the log of everything accepted and the state as it stands.

It owns the two trees in memory and what is committed of them; the rules of application are
`hub.transactions`', durability the `LedgerStore`'s. Invariants:

- `committed` is what the store holds, swapped whole after each commit: any thread may read it;
- `finalize` works beside it and can be repeated; leaves beyond the committed size are taken back first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.chain.entries import GatewayEntry, gateway_key, roster_key
from gateway.chain.errors import ChainError
from gateway.chain.finality import AppState, Checkpoint, Entry, FinalityProof
from gateway.chain.genesis import Genesis
from gateway.chain.governance import Roster, founding_roster
from gateway.chain.keys import NO_HASH
from gateway.chain.leaf import ALARMS, LogLeaf
from gateway.chain.ordered import decode_transaction
from gateway.chain.state import StateTree
from gateway.chain.trees import EMPTY_ROOT, LogTree, leaf_hash
from hub.consensus.base import FinalBlock, Info, Result, TxResult
from hub.errors import ConsensusError
from hub.transactions import HeaderCache, NewLeaf, View, apply, check, named

START = AppState(0, EMPTY_ROOT, NO_HASH)
"""Log and state before the first final block."""

_LATEST = 16


@dataclass(frozen=True, slots=True)
class Commit:
    """All effects of one final block.

    `leaves` are the log's from index `first` on; `entries` the state's added or replaced ones; `records` the
    accepted ones as (hash, kind, gateway, transaction bytes).
    """

    height: int
    time: int
    app: AppState
    first: int
    leaves: tuple[NewLeaf, ...]
    entries: dict[bytes, bytes]
    records: tuple[tuple[bytes, int, bytes, bytes], ...]


class LedgerStore(Protocol):
    """Where the ledger keeps what it commits."""

    def begin(self, document: bytes) -> None:
        """Keep the genesis, durably, unless it is there. Raises ConsensusError when another one is."""
        ...

    def committed(self) -> tuple[int, int, AppState] | None:
        """Return the last committed final block's height and time (Unix ms) and the log and state after it."""
        ...

    def log_hashes(self) -> Iterator[bytes]:
        """Yield the hashes of the log's leaves in order."""
        ...

    def entries(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the state's keys and values."""
        ...

    def log_index(self, leaf: bytes) -> int | None:
        """Return the index of the leaf of this hash, or None."""
        ...

    def commit(self, commit: Commit) -> None:
        """Write all of it durably, or nothing. Raises StoreError."""
        ...


@dataclass(frozen=True, slots=True)
class Committed:
    """What stands after the last committed final block."""

    height: int
    time: int
    app: AppState
    tree: StateTree

    def entry(self, gateway: bytes) -> GatewayEntry | None:
        """Return what the chain knows of a gateway, None where it was never enrolled."""
        value = self.tree.get(gateway_key(gateway))
        return None if value is None else GatewayEntry.decode(value)

    def roster(self, genesis: Genesis) -> Roster:
        """Return who belongs to the federation."""
        value = self.tree.get(roster_key())
        return founding_roster(genesis) if value is None else Roster.decode(value)

    def prove(self, key: bytes) -> Entry:
        """Return a state entry with the proof of its presence or absence under this state's root."""
        return Entry(self.tree.get(key) or b"", self.tree.prove(key))


class Ledger:
    """The `StateMachine` of a chain."""

    def __init__(self, genesis: Genesis, store: LedgerStore) -> None:
        """Load what the store holds. Raises StoreError, or ConsensusError when it does not add up."""
        self.chain, self.headers = genesis, HeaderCache(genesis)
        self._store = store
        self._staged: tuple[Commit, StateTree] | None = None
        self._log = LogTree(tuple(store.log_hashes()))
        tree = StateTree()
        for key, value in store.entries():
            tree = tree.put(key, value)
        height, time, app = store.committed() or (0, genesis.created, START)
        if AppState(len(self._log), self._log.root(), tree.root) != app:
            raise ConsensusError(
                f"log and state on disk are not those of final block {height}: run tocsin-hub audit"
            )
        self.committed = Committed(height, time, app, tree)
        self._latest: tuple[Committed, ...] = (self.committed,)

    def genesis(self, document: bytes) -> None:
        if Genesis.decode(document) != self.chain:
            raise ConsensusError("the engine's genesis is not the ledger's")
        self._store.begin(document)

    def info(self) -> Info:
        return Info(self.committed.height, self.committed.app.hash if self.committed.height else b"")

    def check(self, tx: bytes) -> TxResult:
        at = self.committed
        try:
            return check(self._view(at), decode_transaction(tx), at.time)
        except ChainError as error:
            return _refused(error)

    def prepare(self, txs: Sequence[bytes], max_bytes: int) -> tuple[bytes, ...]:
        """As the seam says; alarms go first, all else keeps its order."""
        taken, size = [], 0
        for tx in sorted(txs, key=lambda tx: not is_alarms(tx)):
            if size + len(tx) > max_bytes:
                break
            taken.append(tx)
            size += len(tx)
        return tuple(taken)

    def process(self, txs: Sequence[bytes]) -> bool:
        return all(_is_transaction(tx) for tx in txs)

    def finalize(self, block: FinalBlock) -> Result:
        at = self.committed
        if block.height != at.height + 1:
            raise ConsensusError(f"final block {block.height} does not follow the committed {at.height}")
        self._log.truncate(at.app.log_size)
        view = self._view(at)
        results, records = [], []
        for tx in block.txs:
            known = len(view.records)
            results.append(_apply(view, tx, block.time))
            records += [(*record, tx) for record in view.records[known:]]
        entries, tree = view.entries(), at.tree
        for key, value in entries.items():
            tree = tree.put(key, value)
        for leaf in view.leaves:
            self._log.append(leaf.hash)
        app = AppState(len(self._log), self._log.root(), tree.root)
        leaves = tuple(view.leaves)
        commit = Commit(block.height, block.time, app, at.app.log_size, leaves, entries, tuple(records))
        self._staged = commit, tree
        return Result(app, tuple(results))

    def commit(self) -> int:
        """As the seam says; final blocks are evidence, so none may be pruned."""
        if self._staged is None:
            raise ConsensusError("there is no finalized block to commit")
        commit, tree = self._staged
        self._store.commit(commit)
        self.committed = Committed(commit.height, commit.time, commit.app, tree)
        self._latest = (*self._latest[1 - _LATEST :], self.committed)
        self._staged = None
        return 0

    def committed_as(self, app: AppState) -> Committed | None:
        """Return what stood under an application hash lately: a final block's seal comes when others stand on it."""
        return next((each for each in self._latest if each.app == app), None)

    def index(self, leaf: LogLeaf) -> int | None:
        """Return the place of an item in the committed log, None where it is not final."""
        return self._store.log_index(leaf_hash(leaf.encode()))

    def finality(self, index: int, checkpoint: Checkpoint) -> FinalityProof:
        """Return the proof that a leaf stands in the log of a checkpoint. Raises BadProof when it does not."""
        return FinalityProof(index, self._log.inclusion(index, checkpoint.app.log_size), checkpoint)

    def inclusion(self, index: int, size: int) -> tuple[bytes, ...]:
        """Return the way from a leaf to the root over the log's first `size` leaves. Raises BadProof."""
        return self._log.inclusion(index, size)

    def log_root(self, size: int) -> bytes:
        """Return the root over the log's first `size` leaves. Raises BadProof when it has fewer."""
        return self._log.root(size)

    def consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        """Return the RFC 6962 proof that the log of `new` leaves extends the one of `old`. Raises BadProof."""
        return self._log.consistency(old, new)

    def _view(self, at: Committed) -> View:
        size = at.app.log_size

        def in_log(leaf: bytes) -> bool:
            return self._store.log_index(leaf) is not None

        return View(self.chain, at.tree, size, in_log, self.headers)


def is_alarms(tx: bytes) -> bool:
    """Tell whether a transaction's bytes start as a batch of alarms do."""
    return len(tx) > 1 and tx[1] == ALARMS


def _apply(view: View, tx: bytes, time: int) -> TxResult:
    try:
        return apply(view, decode_transaction(tx), time)
    except ChainError as error:
        return _refused(error)


def _refused(error: ChainError) -> TxResult:
    return TxResult(1, named(error), 0, ((0, named(error)),))


def _is_transaction(tx: bytes) -> bool:
    try:
        decode_transaction(tx)
    except ChainError:
        return False
    return True
