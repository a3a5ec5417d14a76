"""The ledger: the state machine over the log of everything accepted and the state as it stands.

It owns the two trees in memory and what is committed of them; the rules of application are
`hub.ledger.transactions`', durability the `LedgerStore`'s, shares of what waits `hub.ledger.quota`'s. Invariants:

- `committed` is what the store holds, swapped whole after each commit: any thread may read it;
- `finalize` works beside it and can be repeated; leaves beyond the committed size are taken back first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from gateway.chain.entries import GOOD, GatewayEntry, gateway_key, roster_key
from gateway.chain.errors import ChainError, HeightSkipped
from gateway.chain.finality import AppState, Checkpoint, Entry, FinalityProof
from gateway.chain.genesis import COMETBFT, Genesis
from gateway.chain.governance import Roster, founding_roster
from gateway.chain.keys import NO_HASH
from gateway.chain.leaf import LogLeaf
from gateway.chain.state import StateTree
from gateway.chain.trees import EMPTY_ROOT, LogTree, leaf_hash
from gateway.chain.voting import check_roster
from hub.consensus.base import (
    ACCEPTED,
    CROWDED,
    REFUSED,
    FinalBlock,
    Info,
    Result,
    TxResult,
    tx_id,
)
from hub.errors import ConsensusError
from hub.ledger.draft import Draft, NewLeaf, read_roster
from hub.ledger.facts import Facts
from hub.ledger.governance import changed_voters, misbehave
from hub.ledger.items import HEADER_LANE, Item, lane
from hub.ledger.packing import Candidate, Packing
from hub.ledger.quota import Quota
from hub.ledger.transactions import apply, check, named

START: Final = AppState(0, EMPTY_ROOT, NO_HASH)
"""Log and state before the first final block."""

MAX_BYTES: Final = 1 << 20
"""The most that the transactions of one final block have together."""

_LATEST: Final = 16


@dataclass(frozen=True, slots=True)
class Commit:
    """All effects of one final block.

    `leaves` are the log's from index `first` on; `entries` the state's added or replaced ones; `records` the
    accepted ones as (hash, kind, gateway, transaction bytes); misbehaviour has its own record's bytes there.
    """

    block: FinalBlock
    app: AppState
    first: int
    leaves: tuple[NewLeaf, ...]
    entries: dict[bytes, bytes]
    records: tuple[tuple[bytes, int, bytes, bytes], ...]

    @property
    def height(self) -> int:
        """The final block's height."""
        return self.block.height

    @property
    def time(self) -> int:
        """The final block's time, Unix ms."""
        return self.block.time


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
        return read_roster(self.tree.get(roster_key()), genesis)

    def prove(self, key: bytes) -> Entry:
        """Return a state entry with the proof of its presence or absence under this state's root."""
        return Entry(self.tree.get(key) or b"", self.tree.prove(key))


class Ledger:
    """The `StateMachine` of a chain."""

    def __init__(self, genesis: Genesis, store: LedgerStore) -> None:
        """Load what the store holds. Raises StoreError, or ConsensusError when it does not add up."""
        self.chain, self.facts = genesis, Facts(genesis)
        self.headers = self.facts.headers
        self._store, self._quota = store, Quota()
        self._staged: tuple[Commit, StateTree] | None = None
        self.load()

    def load(self) -> None:
        """Take up what the store holds; again once a snapshot was put there. Raises StoreError, ConsensusError."""
        store = self._store
        self._log = LogTree(tuple(store.log_hashes()))
        tree = StateTree()
        for key, value in store.entries():
            tree = tree.put(key, value)
        height, time, app = store.committed() or (0, self.chain.created, START)
        if AppState(len(self._log), self._log.root(), tree.root) != app:
            raise ConsensusError(
                f"log and state on disk are not those of final block {height}: run tocsin-hub audit"
            )
        self.committed = Committed(height, time, app, tree)
        self._latest: tuple[Committed, ...] = (self.committed,)

    def genesis(self, document: bytes) -> None:
        if Genesis.decode(document) != self.chain:
            raise ConsensusError("the engine's genesis is not the ledger's")
        if self.chain.engine == COMETBFT:
            try:
                check_roster(founding_roster(self.chain))
            except ChainError as error:
                raise ConsensusError(f"no federation can be founded on this genesis: {error}") from error
        self._store.begin(document)

    def info(self) -> Info:
        return Info(self.committed.height, self.committed.app.hash if self.committed.height else b"")

    def check(self, tx: bytes) -> TxResult:
        """As the seam says. What is fit is counted against the shares of its sources until the next final block."""
        at = self.committed
        try:
            transaction, items = self.facts.read(tx)
        except ChainError as error:
            return _refused(error)
        verdict = check(self._draft(at), transaction, at.time)
        if verdict.code != ACCEPTED:
            return verdict
        new = [each for each in items if not any(map(self._in_log, each.leaves))]
        return self._admit(at, tx_id(tx), new)

    def prepare(self, txs: Sequence[bytes], max_bytes: int) -> tuple[bytes, ...]:
        """As the seam says: what brings something new, alarms first, everyone in turn."""
        at = self.committed

        def head(gateway: bytes) -> int | None:
            entry = at.entry(gateway)
            return entry.head.height if entry is not None and entry.standing == GOOD else None

        return Packing(min(max_bytes, MAX_BYTES), self._in_log, head).pack(self._candidates(txs))

    def process(self, txs: Sequence[bytes]) -> bool:
        """As the seam says: every transaction is one, and together they are not too large."""
        return sum(map(len, txs)) <= MAX_BYTES and len(list(self._candidates(txs))) == len(txs)

    def finalize(self, block: FinalBlock) -> Result:
        at = self.committed
        if block.height != at.height + 1:
            raise ConsensusError(f"final block {block.height} does not follow the committed {at.height}")
        self._log.truncate(at.app.log_size)
        draft = self._draft(at)
        before, records = draft.roster, []
        for caught in block.misbehaviour:
            if (record := misbehave(draft, caught)) is not None:
                records.append((*draft.records[-1], record))
        results = []
        for tx in block.txs:
            known = len(draft.records)
            results.append(self._apply(draft, tx, block.time))
            records += [(*new, tx) for new in draft.records[known:]]
        entries, tree = draft.entries(), at.tree
        for key, value in entries.items():
            tree = tree.put(key, value)
        for leaf in draft.leaves:
            self._log.append(leaf.hash)
        app = AppState(len(self._log), self._log.root(), tree.root)
        commit = Commit(block, app, at.app.log_size, tuple(draft.leaves), entries, tuple(records))
        self._staged = commit, tree
        updates = changed_voters(before, draft.roster) if self.chain.engine == COMETBFT else ()
        return Result(app, tuple(results), updates)

    def commit(self) -> int:
        """As the seam says; final blocks are evidence, so none may be pruned."""
        if self._staged is None:
            raise ConsensusError("there is no finalized block to commit")
        commit, tree = self._staged
        self._store.commit(commit)
        self.committed = Committed(commit.height, commit.time, commit.app, tree)
        self._latest = (*self._latest[1 - _LATEST :], self.committed)
        self._staged = None
        self._quota.clear()
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

    def _draft(self, at: Committed) -> Draft:
        return Draft(self.chain, at.tree, at.app.log_size, self._in_log, self.facts)

    def _in_log(self, leaf: bytes) -> bool:
        return self._store.log_index(leaf) is not None

    def _apply(self, draft: Draft, tx: bytes, time: int) -> TxResult:
        try:
            return apply(draft, self.facts.read(tx)[0], time)
        except ChainError as error:
            return _refused(error)

    def _candidates(self, txs: Sequence[bytes]) -> Iterator[Candidate]:
        for tx in txs:
            try:
                transaction, items = self.facts.read(tx)
            except ChainError:
                continue
            yield Candidate(tx, lane(transaction), items)

    def _admit(self, at: Committed, identity: bytes, new: Sequence[Item]) -> TxResult:
        """Count a transaction that is fit, by its new items, against the shares of their sources."""

        def is_next(item: Item) -> bool:
            kind, gateway = item.source
            entry = at.entry(gateway) if kind == HEADER_LANE else None
            return entry is not None and item.height == entry.head.height + 1

        if (
            all(each.height for each in new)
            and not any(map(is_next, new))
            and self._quota.is_overdue(identity)
        ):
            return _refused(
                HeightSkipped("its headers wait for one that does not come; offer it again after that")
            )
        if not self._quota.admit(identity, new, is_next):
            return TxResult(
                CROWDED, "Crowded: too much of its sources waits already; offer it again later", 0
            )
        return TxResult(ACCEPTED, "", 0)


def _refused(error: ChainError) -> TxResult:
    return TxResult(REFUSED, named(error), 0, ((0, named(error)),))
