"""What was recorded on its way to a journal: whoever records hands it over and never waits for the disk.

Owns the queue before one journal, its bound, and the loss bound's clock, which runs from the handing over. It does
not own the file (`gateway.storage.journal`) nor the thread that writes it (`gateway.recording.writer`).

Invariants:
* `append` touches neither the disk nor a lock that is held over it.
* Records reach the journal in the order of their appending. After one that does not, none follows until `reset`.
* They reach it, and are durable in it, after all that was appended before to the journal that it follows: whatever
  a crash takes is the end of what was recorded.
* What is handed on together is one record of the journal, so that its frame costs a reading little: a canonical
  array of byte strings, which no record is that comes alone, deflated where that is shorter, which none begins like.
* The queue is bounded; what exceeds it counts as a journal that is full.

A record survives the death of the process once `tick` has handed it on, and of the machine once it was synced,
within the loss bound.
"""

from __future__ import annotations

import contextlib
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from gateway.chain.canonical import Item, decode, encode
from gateway.chain.errors import NotCanonical
from gateway.clock import Clock
from gateway.errors import JournalError
from gateway.storage.journal import Journal

__all__ = ["Feed", "pack", "unpack"]

_MAX_PACKED: Final = 16 << 10
_ZLIB: Final = b"\x78"  # a deflated pack's first byte; an item that begins so is a text
_MAX_BYTES: Final = 512 << 10  # more than a block has, while no more than a few contracts change in it


class Feed:
    """The way into one journal. Methods may be called from any thread; all but `append` may wait for the disk."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal, self._clock = journal, clock
        self._writing = threading.RLock()  # keeps the records in order; taken before _lock
        self._lock = threading.Lock()  # guards all below; never held over the disk
        self._queue: list[bytes] = []
        self._bytes = 0
        self._whole = True
        self._since_ms: int | None = None  # when the oldest record that waits for its sync was appended
        self._earlier: Feed | None = None  # that holds the block before, until it is stored
        self._later: Feed | None = None  # whose `_earlier` this is

    @property
    def is_whole(self) -> bool:
        """Whether every record since the last reset was taken; where not, the open block lives in memory alone."""
        return self._whole

    def follow(self, earlier: Feed | None) -> None:
        """Take over from the journal of the block before, to which nothing is appended any more; this one is empty."""
        self._earlier = earlier
        if earlier is not None:
            earlier._later = self

    def append(self, record: bytes) -> None:
        """Hand one record over; `is_whole` says whether it counts."""
        with self._lock:
            self._whole = self._whole and self._bytes + len(record) <= _MAX_BYTES
            if self._whole:
                self._queue.append(record)
                self._bytes += len(record)
                if self._since_ms is None:
                    self._since_ms = self._clock.monotonic_ms()

    @property
    def loss_bound_ms(self) -> int:
        """The longest a record may wait for its sync."""
        return self._journal.loss_bound_ms

    @property
    def next_sync_ms(self) -> int | None:
        """Monotonic time by which `tick` must sync; None while nothing waits for it."""
        since = self._since_ms
        return None if since is None else since + self._journal.loss_bound_ms

    def tick(self, now_ms: int | None = None) -> None:
        """Hand on what was appended, and sync where the oldest has waited for the loss bound.

        Raises:
            JournalError: the journal is full, or the device failed.
        """
        now = self._clock.monotonic_ms() if now_ms is None else now_ms
        if (due := self.next_sync_ms) is not None and now >= due:
            self.sync()
        else:
            self._hand_on()

    def sync(self) -> None:
        """Make everything that was appended durable. Raises JournalError."""
        with self._writing:
            with self._lock:
                self._since_ms = None
            try:
                self._hand_on()
            finally:
                try:
                    if self._earlier is not None:
                        self._earlier.sync()
                finally:
                    self._journal.sync()

    def reset(self) -> None:
        """Forget the records: their block is stored. Raises JournalError."""
        with self._writing:
            with self._lock:
                self._whole, self._queue, self._bytes, self._since_ms = False, [], 0, None
            if self._later is not None:  # before this one is given out again, to follow that one
                self._later._earlier = None
            self._later = None
            self._journal.reset()
            self._whole = True

    def close(self) -> None:
        """Hand on what is left, as far as the journal takes it, and release the file."""
        with contextlib.suppress(JournalError):
            self._hand_on()
        self._journal.close()

    def _hand_on(self) -> None:
        with self._writing:
            with self._lock:
                records, self._queue, self._bytes = self._queue, [], 0
            try:
                if records and self._earlier is not None:
                    self._earlier._hand_on()
            finally:
                self._write(records)

    def _write(self, records: Sequence[bytes]) -> None:
        try:
            for record in pack(records):
                self._journal.append(record)
        except JournalError:
            with self._lock:
                self._whole, self._queue, self._bytes = False, [], 0
            raise


def pack(records: Sequence[bytes]) -> Iterator[bytes]:
    """Yield what is written of records that come together."""
    together: list[Item] = []
    size = 0
    for record in records:
        if together and size + len(record) > _MAX_PACKED:
            yield _packed(together)
            together, size = [], 0
        together.append(record)
        size += len(record)
    if together:
        yield _packed(together)


def _packed(records: list[Item]) -> bytes:
    first = records[0]
    if len(records) == 1 and isinstance(first, bytes):
        return first
    together = encode(records)
    deflated = zlib.compress(together, 1)
    return deflated if len(deflated) < len(together) else together


def unpack(written: Iterable[bytes]) -> tuple[bytes, ...]:
    """Return the records that were written. Raises FormatError."""
    records: list[bytes] = []
    for each in written:
        item = decode(_inflated(each) if each[:1] == _ZLIB else each)
        together = item if isinstance(item, list) and item and isinstance(item[0], bytes) else [each]
        records += [record for record in together if isinstance(record, bytes)]
    return tuple(records)


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompress(data)
    except zlib.error as error:
        raise NotCanonical(f"a pack of the journal cannot be inflated: {error}") from error
