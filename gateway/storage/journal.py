"""The open block's journal: a preallocated file that records are appended to until their block is stored.

Owns the moment of each sync and what may be promised after a crash. It knows nothing of readings or
blocks: a record is opaque bytes, and its sequence number is how the daemon tells what the store already
holds. The bytes in the file are `gateway.storage.journal_file`'s.

Why a file and not the database: a row a second in SQLite would rewrite whole pages of table, index and
log each time; here a sync writes the page or two that were filled within the loss bound.

Invariants:
* What a sync made durable is never written again within its generation: after each sync writing goes
  on at the next page, with a mark. A torn write cannot reach back.
* A generation's slot is durable before its first record is written, into the slot that the generation
  before does not use. A crash inside `reset` leaves the old generation whole.
* After a failed write or sync nothing more is accepted until `reset`: the kernel forgets pages that it
  failed to write, so a later sync would succeed without them.

A record whose append returned survives the death of the process at once, and of the machine after the
next sync. Methods may be called from several threads; a sync does not hold up appends.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.clock import Clock
from gateway.errors import JournalError, JournalFull
from gateway.storage.journal_file import (
    DATA,
    DIGEST,
    END,
    LENGTH,
    MARK_BYTES,
    MAX_RECORD_BYTES,
    MIN_SIZE,
    PAGE,
    Mark,
    Scan,
    Slot,
    create_file,
    digest_of,
    open_file,
    page_end,
    read_generation,
    read_start,
    write_at,
)

__all__ = ["MAX_RECORD_BYTES", "MIN_SIZE", "PAGE", "Journal", "Recovered"]


@dataclass(frozen=True, slots=True)
class Recovered:
    """What the journal holds of the generation that was open.

    Attributes:
        generation: number of resets since the file was made, from 1.
        first_sequence: sequence number of the first record.
        records: the records in order, up to the first that is not whole.
        torn: the last write is not whole. Normal after a power cut: it was still waiting for its sync.
        damaged: records that had been durable are missing, or the file had to be begun anew. The
            gateway cannot know what it last signed and must take a new epoch. Damage to the records
            of the very last sync cannot be told from a tail that never arrived, and counts as torn.
    """

    generation: int
    first_sequence: int
    records: tuple[bytes, ...]
    torn: bool
    damaged: bool

    @property
    def next_sequence(self) -> int:
        """Sequence number that the next record gets."""
        return self.first_sequence + len(self.records)

    def since(self, sequence: int) -> tuple[bytes, ...]:
        """The records numbered `sequence` and above: those that the store does not hold yet."""
        return self.records[max(0, sequence - self.first_sequence) :]


class Journal:
    """The append journal in one preallocated file, open in one process at a time.

    A missing file is made (its directory must exist). A file whose slots are both unreadable is renamed
    to `<name>.damaged` and begun anew, which `recover` reports as damage: recording must go on. A file
    of another size is used as it stands and replaced at the next `reset`. Everything else that is not
    this version's journal is an error, and left alone.

    Args:
        path: the file.
        size: its size in bytes, a multiple of `PAGE`, at least `MIN_SIZE`. Each sync uses up at least
            one page until the next `reset`.
        loss_bound_ms: the longest a record may wait for its sync; 0 syncs each append.
        clock: only its monotonic time is read.

    Raises:
        JournalError: the file cannot be opened or made, is no journal, or is open elsewhere.
    """

    def __init__(self, path: Path, *, size: int = 1 << 20, loss_bound_ms: int, clock: Clock) -> None:
        if size < MIN_SIZE or size % PAGE:
            raise ValueError(f"journal size must be a multiple of {PAGE}, at least {MIN_SIZE}, not {size}")
        if loss_bound_ms < 0:
            raise ValueError(f"the loss bound must not be negative, but is {loss_bound_ms} ms")
        self.path, self._wanted_size, self._loss_bound_ms, self._clock = path, size, loss_bound_ms, clock
        self._state = threading.RLock()  # guards everything below
        self._syncing = threading.Lock()  # one sync at a time; taken before _state
        self._failure: OSError | None = None
        self._oldest_unsynced_ms: int | None = None
        self._count = self._durable = 0  # records of this generation
        self._position, self._digest, self._mark_due = DATA, b"", True
        with self._translated("open"):
            self._file, self._slot, self._doubt = open_file(path, size)
        try:
            self._continue(self._scan())
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def generation(self) -> int:
        """Number of resets since the file was made, from 1."""
        return self._slot.generation

    @property
    def next_sequence(self) -> int:
        """Sequence number that the next record gets."""
        return self._slot.first_sequence + self._count

    @property
    def room(self) -> int:
        """Bytes that a single record may still have; at most `MAX_RECORD_BYTES`, 0 when full."""
        with self._state:
            free = self._slot.size - self._position - (MARK_BYTES if self._mark_due else 0)
            return max(0, min(MAX_RECORD_BYTES, free - LENGTH.size - DIGEST))

    @property
    def loss_bound_ms(self) -> int:
        """The longest a record may wait for its sync."""
        return self._loss_bound_ms

    @property
    def next_sync_ms(self) -> int | None:
        """Monotonic time by which `tick` must be called; None while all is durable."""
        oldest = self._oldest_unsynced_ms
        return None if oldest is None else oldest + self._loss_bound_ms

    def append(self, record: bytes) -> int:
        """Append one record and return its sequence number.

        Raises:
            JournalFull: no room; nothing was written.
            JournalError: the device failed; the record may or may not be found again.
            ValueError: the record is empty or longer than `MAX_RECORD_BYTES`.
        """
        if not 0 < len(record) <= MAX_RECORD_BYTES:
            raise ValueError(f"a journal record has 1 to {MAX_RECORD_BYTES} bytes, not {len(record)}")
        with self._state:
            self._refuse_after_failure()
            if len(record) > self.room:
                raise JournalFull(
                    f"{self.path}: no room for {len(record)} bytes; seal the open block and reset"
                )
            sequence = self.next_sequence
            self._write(record)
        if self._loss_bound_ms == 0:
            self.sync()
        return sequence

    def tick(self, now_ms: int | None = None) -> bool:
        """Sync if the oldest waiting record has reached the loss bound; say whether it did.

        Raises:
            JournalError: as `sync`.
        """
        now_ms = self._clock.monotonic_ms() if now_ms is None else now_ms
        due = self.next_sync_ms
        if due is None or now_ms < due:
            return False
        self.sync()
        return True

    def sync(self) -> None:
        """Make every record appended so far durable.

        Raises:
            JournalError: the device failed. What was not yet durable may be lost; nothing is accepted
                until `reset`.
        """
        with self._syncing:
            with self._state:
                self._refuse_after_failure()
                reached = self._count
                if reached == self._durable:
                    return
                self._oldest_unsynced_ms = None
                # Records that arrive meanwhile go to a page that this sync need not have written.
                self._position, self._mark_due = page_end(self._position), True
            with self._translated("sync"):
                os.fdatasync(self._file)
            with self._state:
                self._durable = reached

    def reset(self, next_sequence: int | None = None) -> None:
        """Forget the records, whose block is now stored, and begin the next generation durably.

        Args:
            next_sequence: number of the next record; default is to count on.

        Raises:
            JournalError: the device failed; the old generation is still found on recovery.
            ValueError: `next_sequence` was used already.
        """
        with self._syncing, self._state:
            first = self.next_sequence if next_sequence is None else next_sequence
            if first < self.next_sequence:
                raise ValueError(f"sequence {first} was used already; the next is {self.next_sequence}")
            slot = self._slot.following(first)
            with self._translated("reset"):
                if self._wanted_size == slot.size == os.fstat(self._file).st_size:
                    write_at(self._file, slot.pack(), slot.offset)
                    os.fdatasync(self._file)
                else:
                    self._replace_file(replace(slot, size=self._wanted_size))
                    slot = replace(slot, size=self._wanted_size)
            self._slot, self._doubt, self._failure, self._oldest_unsynced_ms = slot, False, None, None
            self._continue(Scan((), DATA, slot.seed, torn=False, damaged=False))

    def recover(self) -> Recovered:
        """Read the current generation's records back from the file.

        Raises:
            JournalError: the file cannot be read.
        """
        with self._state:
            scan = self._scan()
            damaged = scan.damaged or self._doubt
            return Recovered(self.generation, self._slot.first_sequence, scan.records, scan.torn, damaged)

    def close(self) -> None:
        """Sync if possible and release the file; may be called again."""
        with self._syncing, self._state:
            if self._file < 0:
                return
            with contextlib.suppress(OSError):  # the records are on the device or were reported lost
                os.fdatasync(self._file)
            os.close(self._file)
            self._file = -1
            self._failure = OSError("the journal is closed")

    def _scan(self) -> Scan:
        with self._translated("read"):
            data = read_start(self._file, self._slot.size)
        return read_generation(data, self._slot)

    def _continue(self, scan: Scan) -> None:
        """Go on behind what was found, on a fresh page: what is there already must not be rewritten."""
        if scan.records:
            with self._translated("sync"):
                os.fdatasync(self._file)
        self._count = self._durable = len(scan.records)
        self._digest, self._position, self._mark_due = scan.digest, page_end(scan.position), True

    def _write(self, record: bytes) -> None:
        digest = digest_of(self._digest, LENGTH.pack(len(record)), record)
        frame = LENGTH.pack(len(record)) + digest + record
        if self._mark_due:
            frame = Mark(self._durable, self._digest).pack(self._slot) + frame
        end = self._position + len(frame)
        with self._translated("write"):
            write_at(self._file, (frame + END)[: self._slot.size - self._position], self._position)
        self._position, self._digest, self._mark_due = end, digest, False
        self._count += 1
        if self._oldest_unsynced_ms is None:
            self._oldest_unsynced_ms = self._clock.monotonic_ms()

    def _replace_file(self, slot: Slot) -> None:
        file = create_file(self.path, slot)
        os.close(self._file)
        self._file = file

    def _refuse_after_failure(self) -> None:
        if self._failure is not None:
            raise JournalError(
                f"{self.path}: unusable until the open block is stored and this reset: {self._failure}"
            ) from self._failure

    @contextlib.contextmanager
    def _translated(self, action: str) -> Iterator[None]:
        try:
            yield
        except JournalError:
            raise
        except OSError as error:
            self._failure = error
            raise JournalError(
                error.errno, f"cannot {action} the journal: {error.strerror}", str(self.path)
            ) from error
