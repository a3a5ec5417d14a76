"""The thread that makes things durable: transitions first, then sealed blocks, then the journals' syncs.

Owns when the store is written and what is done when it cannot be. It does not own what is signed
(`gateway.region.keeper`) or sent (`gateway.region.sync`); it tells when there is something to send.

Invariants:
* A transition is announced after its row and the journals before it are durable; where that fails, or takes
  longer than two seconds, it is announced all the same, marked unrecorded, and written later.
* A journal is handed back only when its block is in the store, and a block is stored only when every transition
  in it has its row.
* Nothing waits for it but what it stores: decisions and pins do not, and `unwritten` answers while a disk hangs.
* No journal waits longer for its sync than its loss bound, and no error ends the thread: alarms go through it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from gateway.chain.alarm import RECORDED, UNRECORDED
from gateway.clock import Clock
from gateway.errors import StoreError
from gateway.recording.decision import Decision
from gateway.recording.feed import Feed
from gateway.recording.openblock import Draft, OpenBlock
from gateway.region.keeper import Identity, Keeper
from gateway.storage.store import Store, Transition

__all__ = ["Writer"]

_log = logging.getLogger(__name__)

_RETRY_S: Final = 2.0
_CARE_S: Final = 30.0
_DRAIN_S: Final = 10.0
_PATIENCE_S: Final = 2.0  # a decision that is not durable by then is published unrecorded
_HAND_ON_S: Final = 1.0  # so much is lost at the most with the process, if the machine goes on


@dataclass(frozen=True, slots=True)
class _Waiting:
    draft: Callable[[], Draft]
    journal: Feed | None
    state: bytes


class Writer:
    """Writes what the recorder hands over. `decided` and `sealed` return at once.

    Args:
        left: blocks of the boot before that could not be stored yet, with the journals that hold them.
        unwritten: transitions of the boot before that have no row yet.
        release: gives a journal back to the recorder.
        care: prunes and sheds as needed; called now and then, and when the disk is full.
        announce: called when there is something new to send.
        speed: how many of the clock's seconds pass in one, for simulations.
    """

    def __init__(
        self,
        identity: Identity,
        store: Store,
        keeper: Keeper,
        journals: Sequence[Feed],
        clock: Clock,
        *,
        left: Sequence[tuple[Draft, Feed]] = (),
        unwritten: Sequence[Transition] = (),
        release: Callable[[Feed], None],
        care: Callable[[], None],
        announce: Callable[[], None],
        speed: float = 1.0,
    ) -> None:
        self._identity, self._store, self._keeper = identity, store, keeper
        self._journals = (*journals, *(journal for _, journal in left))
        self._clock, self._speed = clock, speed
        self._release, self._care, self._announce = release, care, announce
        self._wake = threading.Condition()
        self._decisions: list[
            tuple[float, Decision]
        ] = []  # with their time.monotonic(), until they are durable
        self._blocks = deque(_Waiting(partial(_as_it_is, each), journal, b"") for each, journal in left)
        self._retry_at: float | None = None  # time.monotonic() at which a store that failed is tried again
        self._unwritten = list(unwritten)
        self._state = b""
        self._stopping = False
        self._cared = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is waiting, as far as the store takes it, and end."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join(_DRAIN_S)

    def decided(self, decisions: Sequence[Decision]) -> None:
        """Take over decisions, to be written and announced before anything else."""
        now = time.monotonic()
        with self._wake:
            self._decisions += [(now, each) for each in decisions]
            self._wake.notify()

    def sealed(self, block: OpenBlock, state: bytes) -> None:
        """Take over a sealed block."""
        with self._wake:
            identity = self._identity
            draft = partial(block.draft, identity.genesis, identity.gateway)
            self._blocks.append(_Waiting(draft, block.journal, state))
            self._wake.notify()

    def unwritten(self) -> list[Transition]:
        """Return the transitions that could not be written yet, or take too long; their alarms are sent from here."""
        late = time.monotonic() - _PATIENCE_S
        with self._wake:
            return [*self._unwritten, *(_row(each, UNRECORDED) for at, each in self._decisions if at <= late)]

    def _run(self) -> None:
        while True:
            with self._wake:
                if not self._has_work():
                    if self._stopping:
                        return
                    self._wake.wait(self._patience())
                # As it is before the work: what is handed over meanwhile is stored in another turn.
                decisions, stopping = list(self._decisions), self._stopping
            try:
                if not self._work(decisions) and stopping and not self._decisions:
                    return
            except Exception:  # whatever it is, the next alarm must find this thread alive
                _log.exception("the writer goes on after an error that it does not know")
                self._retry_at = time.monotonic() + _RETRY_S

    def _work(self, decisions: Sequence[tuple[float, Decision]]) -> bool:
        """Do what there is to do now; False where nothing was stored or announced."""
        if decisions:
            self._write(decisions)
        stored = self._may_store() and self._store_next()
        for journal in self._journals:
            self._guarded(journal.tick)
        if time.monotonic() - self._cared > _CARE_S:
            self._cared = time.monotonic()
            self._guarded(self._care)
        return bool(decisions) or stored

    def _has_work(self) -> bool:
        return bool(self._decisions or (self._blocks and self._may_store()))

    def _may_store(self) -> bool:
        return self._stopping or self._retry_at is None or time.monotonic() >= self._retry_at

    def _patience(self) -> float:
        """Return how long nothing is to be done, in seconds.

        A journal that has nothing to take now may have by the next moment.
        """
        now = self._clock.monotonic_ms()
        # Together they take less of the card; but never more than a tenth of the loss bound is at stake.
        longest = min(
            [_RETRY_S, *(min(_HAND_ON_S, max(0.05, each.loss_bound_ms / 10_000)) for each in self._journals)]
        )
        waits = [
            each.loss_bound_ms if (due := each.next_sync_ms) is None else due - now for each in self._journals
        ]
        return max(0.001, min([longest, *(wait / 1000 / self._speed for wait in waits)]))

    # transitions

    def _write(self, decisions: Sequence[tuple[float, Decision]]) -> None:
        written = False
        try:
            for journal in self._journals:
                self._guarded(journal.sync)
            self._state = decisions[-1][1].state
            late = time.monotonic() - _PATIENCE_S  # what is published already
            rows = [_row(each, UNRECORDED if at <= late else RECORDED) for at, each in decisions]
            written = self._try_write(rows, logging.ERROR)
        finally:
            with self._wake:
                del self._decisions[: len(decisions)]
                if not written:
                    self._unwritten += [_row(each, UNRECORDED) for _, each in decisions]
        self._announce()

    def _try_write(self, rows: Sequence[Transition], level: int) -> bool:
        try:
            self._store.add_transitions(rows, self._values(self._state))
        except Exception as error:  # whatever keeps them from the disk must not keep them from the hub
            _log.log(level, "transitions cannot be recorded, and are published all the same: %s", error)
            return False
        return True

    def _write_late(self) -> bool:
        """Write the rows that are missing; False where they cannot be written yet."""
        with self._wake:
            late = list(self._unwritten)
        if late and not self._try_write(late, logging.DEBUG):
            return False
        with self._wake:
            del self._unwritten[: len(late)]
        return True

    # blocks

    def _store_next(self) -> bool:
        """Store the oldest sealed block; False when there is none, or the store does not take it.

        A block that holds a transition follows it here, so none is stored while a transition has no row: with the
        block's journal gone, a crash would leave that alarm with nobody to send it.
        """
        if not self._write_late():
            self._retry_at = time.monotonic() + _RETRY_S
            return False
        with self._wake:
            if self._decisions or not self._blocks:
                return False
            block = self._blocks[0]
        try:
            self._keeper.keep(block.draft(), self._values(block.state))
        except StoreError as error:
            if self._retry_at is None:
                _log.error("a sealed block cannot be stored yet: %s", error)
            self._retry_at = time.monotonic() + _RETRY_S
            self._guarded(self._care)
            return False
        self._retry_at = None
        with self._wake:
            self._blocks.popleft()
        if block.journal is not None:
            self._guarded(block.journal.reset)
            self._release(block.journal)
        self._announce()
        return True

    def _values(self, state: bytes) -> Mapping[str, bytes]:
        return {"engine": state} if state else {}

    def _guarded(self, action: Callable[[], object]) -> None:
        try:
            action()
        except (StoreError, OSError) as error:  # a JournalError is an OSError
            _log.error("%s", error)


def _row(decision: Decision, mark: int) -> Transition:
    return Transition(decision.hash, decision.body, mark, decision.wall_ms)


def _as_it_is(draft: Draft) -> Draft:
    return draft
