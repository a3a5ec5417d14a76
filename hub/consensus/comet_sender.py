"""What this hub wants ordered: handed to the engine's mempool, and again until it is final or refused.

Owned: the set of what waits, and the thread that hands it over in the order in which it came. Not owned: what
survives a crash; as with every engine, the submitter offers it again.

Invariants:
- The mempool forgets when the engine restarts, and may drop what it took; so the same bytes are offered again.
- A transaction leaves the set when it is final, or when the machine refuses it; then its submitter is told.
- The mempool knows what became final and will not take it twice; whoever submits it again is told so at once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.chain.errors import TooLarge
from gateway.chain.ordered import MAX_TRANSACTION
from hub.consensus.base import ACCEPTED, ALREADY_FINAL, CROWDED, FinalBlock, Result, TxResult, tx_id
from hub.consensus.comet_rpc import MAX_BATCH, MAX_BATCH_BYTES, Broadcast, RpcClient
from hub.errors import ConsensusFull, ConsensusStopped, EngineSilent

MAX_WAITING: Final = 1024
MAX_KNOWN: Final = 20_000  # more than the mempool's cache remembers
AGAIN_BLOCKS: Final = 4
AGAIN_SECONDS: Final = 20.0
_LEAST_SECONDS: Final = 3.0
_PAUSE_SECONDS: Final = 0.2
_DONE: Final = TxResult(ACCEPTED, "", 0)

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Offer:
    """A transaction that waits. `height` and `at` (monotonic seconds) are of its handing over, if it was."""

    tx: bytes
    height: int = 0
    at: float | None = None
    is_crowded: bool = False


class Sender:
    """Hands transactions to the engine. All methods are for any thread."""

    def __init__(self, rpc: RpcClient, refused: Callable[[bytes, TxResult], None]) -> None:
        """`refused` is told, from the sender's thread, of what will not be ordered or is final already."""
        self._rpc, self._refused = rpc, refused
        self._changed = threading.Condition()
        # All guarded by _changed.
        self._waiting: dict[bytes, _Offer] = {}
        self._known: dict[bytes, None] = {}
        self._verdicts: list[tuple[bytes, TxResult]] = []
        self._height, self._running = 0, False
        self._thread = threading.Thread(target=self._run, name="sender")

    def start(self) -> None:
        """Begin to take and to hand over."""
        self._running = True
        self._thread.start()

    def stop(self) -> None:
        """End; what waits is dropped. Idempotent."""
        with self._changed:
            self._running = False
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()
        self._rpc.close()

    def submit(self, tx: bytes) -> bytes:
        """Take a transaction and return its id. Raises ConsensusFull, ConsensusStopped, TooLarge."""
        if len(tx) > MAX_TRANSACTION:
            raise TooLarge(f"a transaction of {len(tx)} bytes, at most {MAX_TRANSACTION} are allowed")
        identity = tx_id(tx)
        with self._changed:
            if not self._running:
                raise ConsensusStopped("the consensus engine is not running")
            if identity in self._known:
                self._verdicts.append((identity, _DONE))
            elif identity not in self._waiting:
                if len(self._waiting) >= MAX_WAITING:
                    raise ConsensusFull(
                        f"{MAX_WAITING} transactions wait already; offer this one again later"
                    )
                self._waiting[identity] = _Offer(tx)
            self._changed.notify_all()
        return identity

    def committed(self, block: FinalBlock, result: Result) -> None:
        """Hear of a final block: what it holds waits no more, unless it was refused and is only dropped."""
        with self._changed:
            self._height = block.height
            for tx, outcome in zip(block.txs, result.tx_results, strict=True):
                identity = tx_id(tx)
                self._waiting.pop(identity, None)
                if outcome.code == ACCEPTED:  # the mempool forgets what had another code
                    self._known[identity] = None
            while len(self._known) > MAX_KNOWN:
                del self._known[next(iter(self._known))]
            self._changed.notify_all()

    def checked(self, tx: bytes, result: TxResult) -> None:
        """Hear the machine's judgement of what is in the mempool or would be, from here or from others.

        What is crowded out is offered again after the next final block, with which the shares begin anew.
        """
        if result.code == ACCEPTED:
            return
        if result.code == ALREADY_FINAL:
            result = _DONE
        identity = tx_id(tx)
        with self._changed:
            if result.code == CROWDED:
                if (offer := self._waiting.get(identity)) is not None:
                    offer.height, offer.is_crowded = self._height, True
            elif self._waiting.pop(identity, None) is not None:
                self._verdicts.append((identity, result))
                self._changed.notify_all()

    def restarted(self) -> None:
        """Hear that the engine runs anew, with an empty mempool."""
        with self._changed:
            for offer in self._waiting.values():
                offer.at = None
            self._changed.notify_all()

    def _run(self) -> None:
        while (work := self._take()) is not None:
            batch, verdicts = work
            for identity, verdict in verdicts:
                try:
                    self._refused(identity, verdict)
                except Exception:
                    _log.exception("a subscriber failed at a refusal")
            if batch and not self._hand_over(batch):
                with self._changed:
                    self._changed.wait_for(lambda: not self._running, _PAUSE_SECONDS)

    def _take(self) -> tuple[list[_Offer], list[tuple[bytes, TxResult]]] | None:
        """Wait for something to hand over or to tell; None means stop."""
        with self._changed:
            while self._running:
                batch, verdicts, self._verdicts = self._due(), self._verdicts, []
                if batch or verdicts:
                    return batch, verdicts
                self._changed.wait(_PAUSE_SECONDS if self._waiting else None)
            return None

    def _due(self) -> list[_Offer]:
        """Return what is to be handed over now, in order of submission."""
        batch: list[_Offer] = []
        size, now = 0, time.monotonic()
        for offer in self._waiting.values():
            if offer.at is None or self._is_overdue(offer, now):
                size += len(offer.tx)
                if len(batch) == MAX_BATCH or size > MAX_BATCH_BYTES:
                    break
                batch.append(offer)
        return batch

    def _is_overdue(self, offer: _Offer, now: float) -> bool:
        assert offer.at is not None
        waited, passed = now - offer.at, self._height - offer.height
        if offer.is_crowded and passed:
            return True
        return (passed >= AGAIN_BLOCKS and waited > _LEAST_SECONDS) or waited > AGAIN_SECONDS

    def _hand_over(self, batch: list[_Offer]) -> bool:
        """Offer a batch; tell whether the mempool has all of it."""
        now = time.monotonic()
        with self._changed:
            for offer in batch:
                offer.at, offer.height, offer.is_crowded = now, self._height, False
        try:
            answers = self._rpc.broadcast([offer.tx for offer in batch])
        except EngineSilent as error:
            _log.debug("transactions wait for the engine: %s", error)
            answers = [Broadcast(str(error))] * len(batch)
        left = [
            (offer, answer)
            for offer, answer in zip(batch, answers, strict=True)
            if answer.error and not answer.is_known
        ]
        with self._changed:
            for offer, _ in left:
                offer.at = None
        if left:
            _log.info("%d transactions must wait: %s", len(left), left[0][1].error)
        return not left
