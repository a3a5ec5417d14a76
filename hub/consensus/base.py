"""The seam between an engine that orders transactions and the machine that applies them.

It follows ABCI 2.0, so that a federation's engine is translation only. The engine decides what the next final
block is and when; the machine decides what its transactions do. Invariants that both sides keep:

- a final block is on disk before it is finalized, and `finalize` persists nothing;
- `commit` persists all effects of the last finalized block at once, or none;
- after a crash the engine finalizes again whatever the machine had not committed, with the same result;
- the same sequence of `finalize` gives the same bytes of state under every engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from typing import Final, Protocol

from gateway.chain.finality import AppState, Checkpoint

DUPLICATE_VOTE: Final = 1
LIGHT_CLIENT_ATTACK: Final = 2

ACCEPTED: Final = 0
REFUSED: Final = 1
ALREADY_FINAL: Final = 2
CROWDED: Final = 3


@dataclass(frozen=True, slots=True)
class Misbehaviour:
    """A validator's crime, proved to the engine: whose (address: first 20 bytes of the key's SHA-256), when, what.

    `height` is the final block at which it was committed; `kind` is DUPLICATE_VOTE or LIGHT_CLIENT_ATTACK.
    """

    address: bytes
    height: int
    kind: int


@dataclass(frozen=True, slots=True)
class ValidatorUpdate:
    """A voter's new power, in force two final blocks later. Power 0 removes it; a key stands once in a result."""

    key: bytes
    power: int


@dataclass(frozen=True, slots=True)
class FinalBlock:
    """A block of the consensus, not of a gateway. Heights count from 1; `time` is Unix ms and never goes back.

    `misbehaviour` is what voters were caught at, in the engine's order, the same on every hub.
    """

    height: int
    time: int
    hash: bytes
    txs: tuple[bytes, ...]
    misbehaviour: tuple[Misbehaviour, ...] = ()


@dataclass(frozen=True, slots=True)
class TxResult:
    """What became of one transaction.

    Code 0 (ACCEPTED): every item of it stands in the log, now or from before; `accepted` counts the new ones.
    Code 1 (REFUSED): at least one item was refused, alone: `refused` holds (item index, "ErrorName: text") of
    each, `error` the first text. Before their order, transactions are refused with two codes more. Code 2
    (ALREADY_FINAL): all its items stand in the log, so it is done. Code 3 (CROWDED): too many of its sources'
    items wait already; it may be offered again later.
    """

    code: int
    error: str
    accepted: int
    refused: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """What a final block did: the log and state after it, one result a transaction, changed validators."""

    app: AppState
    tx_results: tuple[TxResult, ...]
    validator_updates: tuple[ValidatorUpdate, ...] = ()

    @property
    def app_hash(self) -> bytes:
        """The application hash after the final block (32 bytes)."""
        return self.app.hash


@dataclass(frozen=True, slots=True)
class Info:
    """The last final block that the machine committed (0: none) and the application hash after it."""

    height: int
    app_hash: bytes


@dataclass(frozen=True, slots=True)
class FinalEvent:
    """A final block that is committed and sealed.

    What was committed just before a crash may never be told of: at start, a subscriber looks at the store.
    """

    block: FinalBlock
    result: Result
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """How the engine stands, for people.

    Attributes:
        height: the last final block that is sealed (0: none yet).
        time: that of its seal, Unix ms.
        peers: the addresses of other hubs' engines that are connected (first 20 bytes of the hub key's SHA-256).
        catching_up: whether final blocks that others have are still being fetched.
        voters: the public keys that signed the seal of `height`.
        standing: why no final block is made, in a sentence; empty while all is well.
    """

    height: int
    time: int
    peers: tuple[bytes, ...]
    catching_up: bool
    voters: tuple[bytes, ...]
    standing: str


class StateMachine(Protocol):
    """What transactions do. One thread, the engine's, calls `finalize` and `commit`; `check` is for any thread."""

    def genesis(self, document: bytes) -> None:
        """Take up a chain's genesis. Raises ConsensusError when another chain is there already."""
        ...

    def info(self) -> Info:
        """Return what is committed."""
        ...

    def check(self, tx: bytes) -> TxResult:
        """Judge whether a transaction is fit to wait for its order: shape, chain, standing, signatures.

        It may still be refused when its turn comes: what stands before it decides.
        """
        ...

    def prepare(self, txs: Sequence[bytes], max_bytes: int) -> tuple[bytes, ...]:
        """Return the transactions for the next final block, in its order, together at most `max_bytes` long."""
        ...

    def process(self, txs: Sequence[bytes]) -> bool:
        """Tell whether a final block of these transactions is well-formed; what is refused singly does not count."""
        ...

    def finalize(self, block: FinalBlock) -> Result:
        """Apply a final block to a copy. Deterministic; persists nothing; may be repeated before `commit`."""
        ...

    def commit(self) -> int:
        """Persist the last finalized block's effects at once; return the height below which none is needed (0: all).

        Raises StoreError, after which nothing of it is there and `commit` may be called again.
        """
        ...


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """A snapshot of the machine after final block `height`, in chunks of at most 16 MB. The same on every hub."""

    height: int
    format: int
    chunks: int
    hash: bytes
    metadata: bytes = b""


class Applied(IntEnum):
    """What became of a snapshot's chunk."""

    ACCEPTED = 1
    ABORTED = 2
    AGAIN = 3
    """This chunk is to be had again, from another hub."""
    FROM_START = 4
    REFUSED = 5
    """The snapshot is worth nothing; another one is to be tried."""


class SnapshotProvider(Protocol):
    """Snapshots for hubs that join. One thread of the engine's calls it, another one `committed`."""

    def committed(self, height: int) -> int:
        """Hear that a final block is committed and the next one is not begun; must be quick.

        Return the height below which the engine needs to keep no block for hubs that join (0: it keeps all).
        """
        ...

    def snapshots(self) -> list[SnapshotInfo]:
        """Return what may be had here."""
        ...

    def chunk(self, height: int, form: int, index: int) -> bytes:
        """Return one chunk of the snapshot of this height and format; empty where it is not kept any more."""
        ...

    def offer(self, info: SnapshotInfo, app_hash: bytes) -> bool:
        """Tell whether to take a snapshot up. Only `app_hash` was verified; all else is a stranger's word."""
        ...

    def apply(self, index: int, chunk: bytes) -> Applied:
        """Take in a chunk of the snapshot taken up; with the last one, become what it says, durably."""
        ...


class Consensus(Protocol):
    """One order of transactions. All methods are for any thread."""

    @property
    def running(self) -> bool:
        """Whether final blocks are made or followed, as far as this hub can tell."""
        ...

    def start(self) -> None:
        """Bring the machine up to date with the final blocks on disk, then begin to make or follow new ones.

        A federation's engine returns before there is a final block where too few others are there.
        """
        ...

    def stop(self) -> None:
        """Finish the final block in hand and end. Idempotent."""
        ...

    def submit(self, tx: bytes) -> bytes:
        """Offer a transaction and return its id (SHA-256). A promise of nothing: only its finality counts.

        What waits does not survive a crash; the submitter offers it again. Raises ConsensusFull,
        ConsensusStopped, or TooLarge.
        """
        ...

    def subscribe(self, callback: Callable[[FinalEvent], None]) -> None:
        """Call back for each final block, in order, from the engine's thread; the callback must be quick."""
        ...

    def subscribe_refusals(self, callback: Callable[[bytes, TxResult], None]) -> None:
        """Call back with id and verdict of a submitted transaction that is refused before its order.

        It may still become final when another hub offers it. The callback must be quick.
        """
        ...

    def status(self) -> EngineStatus:
        """Return how the engine stands; quick, and never an error."""
        ...


def tx_id(tx: bytes) -> bytes:
    """Return the identity of a transaction's bytes (32 bytes)."""
    return sha256(tx).digest()
