"""The journal file's layout: what its bytes mean, and how the file comes to be.

Owns slots, marks, frames and the reading of them; when anything is written or synced is `gateway.storage.journal`'s.

The file is preallocated and filled with zeros when it is made, so that a sync writes the data page or
two that were filled since, in place, and no metadata. In pages of 4096 bytes, integers big-endian:

    page 0, 1   slots, used in turn: magic 8, version 4, file size 8, generation 8, first sequence 8,
                salt 16, SHA-256 of these truncated to 16
    page 2...   marks and frames
    frame       length 2 (1..65534), digest 8, record; two zero bytes follow the last one
    mark        0xFFFF, number of durable records 4, digest so far 8, check 8; only at a page's start

A digest is SHA-256 truncated to 8 bytes: it finds damage, it is no defence. A frame's digest covers the
digest before it, and the first one covers salt and generation; a mark's check covers the salt. So a
frame says which generation and which place in it it has, and stale bytes of an earlier generation, or
of a tail that was lost and written anew, are never taken for a record.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.errors import JournalError
from gateway.files import settle

PAGE: Final = 4096
MIN_SIZE: Final = 16 * PAGE
MAX_RECORD_BYTES: Final = 0xFFFE
DATA: Final = 2 * PAGE

_MAGIC: Final = b"TOCSIN-J"
_VERSION: Final = 1
_SLOT: Final = struct.Struct(">8sIQQQ16s")
_SLOT_CHECK: Final = 16
DIGEST: Final = 8
LENGTH: Final = struct.Struct(">H")
_MARK: Final = struct.Struct(">HI8s")
_MARK_LENGTH: Final = 0xFFFF
MARK_BYTES: Final = _MARK.size + DIGEST
END: Final = b"\0\0"


@dataclass(frozen=True, slots=True)
class Slot:
    """The head of one generation."""

    size: int
    generation: int
    first_sequence: int
    salt: bytes
    version: int = _VERSION

    @property
    def offset(self) -> int:
        return self.generation % 2 * PAGE

    @property
    def seed(self) -> bytes:
        """The digest before the first record."""
        return digest_of(self.salt, self.generation.to_bytes(8, "big"))

    def following(self, first_sequence: int) -> Slot:
        return Slot(self.size, self.generation + 1, first_sequence, secrets.token_bytes(16))

    def pack(self) -> bytes:
        head = _SLOT.pack(_MAGIC, self.version, self.size, self.generation, self.first_sequence, self.salt)
        return head + hashlib.sha256(head).digest()[:_SLOT_CHECK]

    @classmethod
    def unpack(cls, data: bytes) -> Slot | None:
        head, check = data[: _SLOT.size], data[_SLOT.size : _SLOT.size + _SLOT_CHECK]
        if len(head) < _SLOT.size or hashlib.sha256(head).digest()[:_SLOT_CHECK] != check:
            return None
        magic, version, size, generation, first, salt = _SLOT.unpack(head)
        return cls(size, generation, first, salt, version) if magic == _MAGIC else None


@dataclass(frozen=True, slots=True)
class Mark:
    """The start of a page after a sync: how many records were durable, and the digest so far."""

    durable: int
    digest: bytes

    def pack(self, slot: Slot) -> bytes:
        head = _MARK.pack(_MARK_LENGTH, self.durable, self.digest)
        return head + digest_of(slot.salt, head)


@dataclass(frozen=True, slots=True)
class Scan:
    """What reading a generation found: `position` is behind the last whole record, `digest` is its own."""

    records: tuple[bytes, ...]
    position: int
    digest: bytes
    torn: bool
    damaged: bool


def read_generation(data: bytes, slot: Slot) -> Scan:
    """Read the generation `slot` out of the file's bytes, which may be anything."""
    records: list[bytes] = []
    position, digest, begun = DATA, slot.seed, False
    while True:
        if (frame := _read_frame(data, position, digest)) is not None:
            record, digest = frame
            records.append(record)
            position += LENGTH.size + DIGEST + len(record)
            begun = any(data[position : position + LENGTH.size])
            continue
        start = page_end(position)
        mark = _read_mark(data, start, slot)
        if mark is None or mark.digest != digest:
            break
        position, begun = start + MARK_BYTES, True  # a mark is written together with a record
    beyond = (_read_mark(data, page, slot) for page in range(page_end(position), len(data), PAGE))
    lost = any(mark.durable > len(records) for mark in beyond if mark is not None)
    return Scan(tuple(records), position, digest, torn=begun, damaged=lost)


def _read_frame(data: bytes, position: int, digest: bytes) -> tuple[bytes, bytes] | None:
    """The record at `position` and its digest, if it follows on `digest`."""
    head = data[position : position + LENGTH.size + DIGEST]
    if len(head) < LENGTH.size + DIGEST:
        return None
    length = head[: LENGTH.size]
    start = position + len(head)
    record = data[start : start + LENGTH.unpack(length)[0]]
    if not record or digest_of(digest, length, record) != head[LENGTH.size :]:
        return None
    return record, head[LENGTH.size :]


def _read_mark(data: bytes, position: int, slot: Slot) -> Mark | None:
    head = data[position : position + _MARK.size]
    if len(head) < _MARK.size or head[: LENGTH.size] != LENGTH.pack(_MARK_LENGTH):
        return None
    if digest_of(slot.salt, head) != data[position + _MARK.size : position + MARK_BYTES]:
        return None
    _, durable, digest = _MARK.unpack(head)
    return Mark(durable, digest)


def digest_of(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()[:DIGEST]


def page_end(position: int) -> int:
    return -(-position // PAGE) * PAGE


def open_file(path: Path, size: int) -> tuple[int, Slot, bool]:
    """Open or make the file: its descriptor, the slot in force, and whether something of it was lost."""
    first = Slot(size, 1, 0, secrets.token_bytes(16))
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return create_file(path, first), first, False
    try:
        _lock(file, path)
        heads = read_start(file, DATA)
        slot = _choose(path, heads)
        if slot is not None:
            return file, slot, _doubtful(file, heads, slot)
        os.replace(path, path.with_name(path.name + ".damaged"))
    except BaseException:
        os.close(file)
        raise
    os.close(file)
    return create_file(path, first), first, True


def read_records(path: Path) -> tuple[bytes, ...]:
    """Return the records of a journal that cannot be written, as far as they are whole.

    Raises:
        OSError: it cannot be read; a JournalError without `errno` where it is in use, or is no journal of ours.
    """
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _lock(file, path)
        slot = _choose(path, read_start(file, DATA))
        return () if slot is None else read_generation(read_start(file, slot.size), slot).records
    finally:
        os.close(file)


def _choose(path: Path, heads: bytes) -> Slot | None:
    """The newest readable slot; None if both were ours once and are damaged."""
    pages = heads[:PAGE], heads[PAGE:]
    if any(heads) and not any(page.startswith(_MAGIC) for page in pages):
        raise JournalError(f"{path}: is not a Tocsin journal; name another file, or move this one away")
    slots = [slot for page in pages if (slot := Slot.unpack(page)) is not None]
    if not slots:
        return None
    slot = max(slots, key=lambda slot: slot.generation)
    if slot.version != _VERSION:
        raise JournalError(
            f"{path}: has version {slot.version}, this program writes version {_VERSION};"
            " run the version that wrote it until its block is stored, or move the file away"
        )
    return slot


def _doubtful(file: int, heads: bytes, slot: Slot) -> bool:
    """Whether a newer slot may be lost: the other one is unreadable and this one's records are overwritten.

    A power cut within `reset` leaves such a slot too, but the records of the one before beside it.
    """
    if os.fstat(file).st_size < slot.size:
        return True
    other = heads[PAGE - slot.offset :][:PAGE]
    return (
        any(other)
        and Slot.unpack(other) is None
        and not read_generation(read_start(file, slot.size), slot).records
    )


def create_file(path: Path, slot: Slot) -> int:
    """Make the whole file under another name first: at `path` there is never half a journal."""
    new = path.with_name(path.name + ".new")
    file = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        _lock(file, path)
        write_at(file, bytes(slot.size), 0)
        write_at(file, slot.pack(), slot.offset)
        os.fsync(file)
        os.replace(new, path)
        settle(path.parent)
    except BaseException:
        os.close(file)
        new.unlink(missing_ok=True)
        raise
    return file


def _lock(file: int, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise JournalError(f"{path}: is in use by another process; stop that gateway first") from error


def read_start(file: int, size: int) -> bytes:
    """The file's first `size` bytes, or all if it is shorter."""
    parts, offset = [], 0
    while offset < size and (part := os.pread(file, size - offset, offset)):
        parts.append(part)
        offset += len(part)
    return b"".join(parts)


def write_at(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written
