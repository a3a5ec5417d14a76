"""The engine of a hub alone: one thread orders what is submitted and seals it with the hub's key.

It makes a final block as soon as transactions wait, of all that wait, and an empty one when `interval` went by
without any. Durability is that of a federation's engine: the final block's row, then its effects, then its
seal. The seal is deterministic, so whatever a crash cut off is made again at start, byte for byte. A disk that
is full stops the chain and never breaks it: each write is tried again until it succeeds.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final, Protocol, TypeVar

from gateway.chain.canonical import encode
from gateway.chain.errors import TooLarge
from gateway.chain.finality import AppState, Checkpoint, EmbeddedSeal, Seal
from gateway.chain.genesis import EMBEDDED, Genesis
from gateway.chain.keys import NO_HASH, SigningKey, digest
from gateway.chain.ordered import MAX_TRANSACTION
from hub.consensus.base import ACCEPTED, EngineStatus, FinalBlock, FinalEvent, StateMachine, TxResult, tx_id
from hub.errors import ConsensusError, ConsensusFull, ConsensusStopped, StoreError

DOMAIN: Final = "tocsin/final-block/v1"
MAX_BYTES: Final = 1 << 20
MAX_WAITING: Final = 1024
RETRY_SECONDS: Final = 1.0

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class BlockStore(Protocol):
    """Where the engine keeps final blocks and seals. Every write is durable when it returns, or StoreError."""

    def append_final(self, block: FinalBlock) -> None: ...
    def final_blocks(self, first: int = 1) -> Iterator[FinalBlock]: ...
    def last_final(self) -> FinalBlock | None: ...
    def add_seal(self, height: int, seal: Seal) -> None: ...
    def unsealed(self) -> list[tuple[int, int, AppState]]: ...


class Embedded:
    """The `Consensus` of one hub."""

    def __init__(
        self,
        machine: StateMachine,
        blocks: BlockStore,
        genesis: Genesis,
        key: SigningKey,
        *,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        interval: float = 30.0,
    ) -> None:
        """Bind machine, store and key. `interval` is the seconds between final blocks when nothing waits."""
        if genesis.engine != EMBEDDED or genesis.hubs[0].key != key.public:
            raise ConsensusError("the genesis names another engine or another hub than this one's key")
        self._machine, self._blocks, self._chain, self._key = machine, blocks, genesis, key
        self._wall_ms, self._interval = wall_ms, interval
        self._callbacks: list[Callable[[FinalEvent], None]] = []
        self._refusals: list[Callable[[bytes, TxResult], None]] = []
        self._changed = threading.Condition()
        self._waiting: dict[bytes, bytes] = {}  # guarded by _changed
        self._running = False  # guarded by _changed
        self._last: FinalBlock | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Bring the machine up to date, seal what is not sealed, and begin. Raises StoreError, ConsensusError.

        A new chain has its first, empty final block afterwards, so that there is always a checkpoint.
        """
        self._machine.genesis(self._chain.encode())
        self._catch_up()
        if self._last is None:
            self._make(())
        self._running = True
        self._thread = threading.Thread(target=self._run, name="consensus")
        self._thread.start()

    def stop(self) -> None:
        """Finish the final block in hand and end; what still waits is dropped. Idempotent."""
        with self._changed:
            self._running = False
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    @property
    def running(self) -> bool:
        """Whether final blocks are being made."""
        return self._running

    def submit(self, tx: bytes) -> bytes:
        """As the seam says; what waits already is not taken twice."""
        if len(tx) > MAX_TRANSACTION:
            raise TooLarge(f"a transaction of {len(tx)} bytes, at most {MAX_TRANSACTION} are allowed")
        identity = tx_id(tx)
        with self._changed:
            if not self._running:
                raise ConsensusStopped("the consensus engine is not running")
            if len(self._waiting) >= MAX_WAITING and identity not in self._waiting:
                raise ConsensusFull(f"{MAX_WAITING} transactions wait already; offer this one again later")
            self._waiting[identity] = tx
            self._changed.notify_all()
        return identity

    def subscribe(self, callback: Callable[[FinalEvent], None]) -> None:
        """As the seam says."""
        self._callbacks.append(callback)

    def subscribe_refusals(self, callback: Callable[[bytes, TxResult], None]) -> None:
        """As the seam says: of what the machine leaves out of a final block that had room for it."""
        self._refusals.append(callback)

    def status(self) -> EngineStatus:
        """As the seam says; the one voter is this hub."""
        last = self._last or FinalBlock(0, 0, NO_HASH, ())
        standing = "" if self._running else "the engine is not running"
        return EngineStatus(last.height, last.time, (), False, (self._key.public,), standing)

    def _run(self) -> None:
        try:
            while (work := self._take()) is not None:
                txs, left = work
                self._make(txs)
                self._judge(left)
        except StoreError as error:
            _log.error("stopped with a final block in hand, to be made again at the next start: %s", error)
        finally:
            with self._changed:
                self._running = False

    def _take(self) -> tuple[tuple[bytes, ...], tuple[bytes, ...]] | None:
        """Wait for transactions, at most for the interval; None means stop.

        Returns those for the next final block, and those that had room in it and are left out all the same.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or not self._running, self._interval)
            if not self._running:
                return None
            waiting = tuple(self._waiting.values())
        txs = self._machine.prepare(waiting, MAX_BYTES)  # unlocked: whoever submits must not wait for it
        taken = set(txs)
        has_room = sum(map(len, waiting)) <= MAX_BYTES
        left = tuple(tx for tx in waiting if has_room and tx not in taken)
        with self._changed:
            for tx in (*txs, *left):
                del self._waiting[tx_id(tx)]
        return txs, left

    def _judge(self, left: tuple[bytes, ...]) -> None:
        """Tell why transactions were left out; those that only came too early are dropped, to be offered again."""
        for tx in left:
            verdict = self._machine.check(tx)
            if verdict.code == ACCEPTED:
                continue
            for callback in self._refusals:
                try:
                    callback(tx_id(tx), verdict)
                except Exception:
                    _log.exception("a subscriber failed at a refusal")

    def _make(self, txs: tuple[bytes, ...]) -> None:
        last = self._last or FinalBlock(0, 0, NO_HASH, ())
        block = with_hash(
            FinalBlock(last.height + 1, max(last.time + 1, self._wall_ms()), NO_HASH, txs), last.hash
        )
        self._insist(lambda: self._blocks.append_final(block))
        self._settle(block)

    def _settle(self, block: FinalBlock) -> None:
        """Apply, commit, seal and tell of a final block whose row is on disk."""
        result = self._machine.finalize(block)
        self._insist(self._machine.commit)
        seal = self._seal(block.height, block.time, result.app)
        self._last = block
        event = FinalEvent(block, result, Checkpoint(result.app, seal))
        for callback in self._callbacks:
            try:
                callback(event)
            except Exception:
                # A reader's fault must not stop the chain.
                _log.exception("a subscriber failed at final block %d", block.height)

    def _seal(self, height: int, final_time: int, app: AppState) -> Seal:
        seal = Seal.embedded(self._key, EmbeddedSeal(self._chain.hash, height, final_time, app.hash))
        self._insist(lambda: self._blocks.add_seal(height, seal))
        return seal

    def _catch_up(self) -> None:
        """Do what a crash cut off: seal what was committed, then settle what was only written down."""
        for height, final_time, app in self._blocks.unsealed():
            self._seal(height, final_time, app)
        committed, self._last = self._machine.info().height, self._blocks.last_final()
        if committed > (self._last.height if self._last else 0):
            raise ConsensusError(f"the ledger is at final block {committed}, beyond the last one kept")
        for block in self._blocks.final_blocks(committed + 1):
            self._settle(block)

    def _insist(self, write: Callable[[], _T]) -> _T:
        """Try a write until it succeeds. Raises StoreError while the engine starts or once it is being stopped."""
        while True:
            try:
                return write()
            except StoreError as error:
                _log.error("the chain stands still until this succeeds: %s", error)
                with self._changed:
                    if self._changed.wait_for(lambda: not self._running, RETRY_SECONDS):
                        raise


def with_hash(block: FinalBlock, previous: bytes) -> FinalBlock:
    """Return a final block with its hash: over its predecessor's, height, time and transactions."""
    body = encode([previous, block.height, block.time, [tx_id(tx) for tx in block.txs]])
    return replace(block, hash=digest(DOMAIN, body))
