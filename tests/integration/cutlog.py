"""A disk as a power cut leaves it: what a process did to its files, logged by `cutlog.c`, and played up to a moment.

What was synced is there. Of what was not, each page of 4 KiB holds one of the states that it has had since, and the
last may be torn between its sectors; sizes and names have come some way. A name is durable with its directory's
sync, and a new file's with its own, as on ext4.
"""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_HEAD = struct.Struct("<cBqqI")
_PAGE, _SECTOR = 4096, 512
_CREAT_TRUNC = os.O_CREAT | os.O_TRUNC
_VOLATILE = ("-shm", ".sock")  # SQLite makes the one anew; a socket is nobody's any more


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing done: `o`pen, `w`rite, `f`/`p` to a size, `s`ync begun, `S`ync ended, `r`ename, `u`nlink."""

    kind: str
    fd: int
    ns: int
    at: int
    data: bytes


def read_log(path: Path) -> list[Entry]:
    data, position, entries = path.read_bytes(), 0, []
    while position + _HEAD.size <= len(data):
        kind, fd, ns, at, length = _HEAD.unpack_from(data, position)
        position += _HEAD.size
        if position + length > len(data):  # killed while it was written
            break
        entries.append(Entry(kind.decode(), fd, ns, at, data[position : position + length]))
        position += length
    return entries


@dataclass(slots=True)
class _File:
    durable: bytearray
    pending: list[Entry] = field(default_factory=list)
    begun: list[int] = field(default_factory=list)  # of `pending`, at each sync that has not ended


class Disk:
    """The disk below a directory: as it is there at first, then changed entry by entry."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._files: dict[str, _File] = {}  # by present name
        for path in root.rglob("*"):
            if path.is_file():
                self._files[self._name(str(path))] = _File(bytearray(path.read_bytes()))
        self._durable = dict(self._files)  # by the name that a cut leaves for sure
        self._changes: list[tuple[str, str, _File]] = []  # of names, not durable: (kind, name, file)
        self._open: dict[int, _File | None] = {}
        self._reached: dict[int, list[int]] = {}  # by a directory's fd: changes of names at its sync's begin

    def play(self, entry: Entry) -> None:
        match entry.kind:
            case "o":
                self._opened(entry)
            case "r":
                old, new = (self._name(name.decode()) for name in entry.data.split(b"\0"))
                file = self._files.pop(old)
                self._files[new] = file
                self._changes += [("-", old, file), ("+", new, file)]
            case "u":
                name = self._name(entry.data.decode())
                if (gone := self._files.pop(name, None)) is not None:
                    self._changes.append(("-", name, gone))
            case "w" | "f" | "p":
                if (file_ := self._open.get(entry.fd)) is not None:
                    file_.pending.append(entry)
            case "s":
                self._sync_begins(entry.fd)
            case "S":
                self._sync_ends(entry.fd)

    def cut(self, dice: random.Random, directory: Path) -> None:
        """Write what is left into an empty directory."""
        names = dict(self._durable)
        for kind, name, file in self._changes[: dice.randint(0, len(self._changes))]:
            if kind == "+":
                names[name] = file
            elif names.get(name) is file:
                del names[name]
        for name, file in names.items():
            if not name.endswith(_VOLATILE):
                path = directory / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(_left_of(file, dice))

    def _opened(self, entry: Entry) -> None:
        name = self._name(entry.data.decode())
        if os.path.isdir(entry.data):
            self._open[entry.fd] = None
            return
        if name not in self._files:
            self._files[name] = _File(bytearray())
            self._changes.append(("+", name, self._files[name]))
        elif entry.at & os.O_TRUNC:
            self._files[name].pending.append(Entry("f", entry.fd, entry.ns, 0, b""))
        self._open[entry.fd] = self._files[name]
        self._reached.pop(entry.fd, None)

    def _sync_begins(self, fd: int) -> None:
        file = self._open.get(fd)
        if file is None:
            self._reached.setdefault(fd, []).append(len(self._changes))
        else:
            file.begun.append(len(file.pending))

    def _sync_ends(self, fd: int) -> None:
        file = self._open.get(fd)
        if file is None:
            self._settle_names(self._reached[fd].pop(0))
            return
        count = file.begun.pop(0)
        for entry in file.pending[:count]:
            _apply(file.durable, entry)
        del file.pending[:count]
        file.begun = [max(0, each - count) for each in file.begun]
        made = [i for i, (kind, _, each) in enumerate(self._changes) if kind == "+" and each is file]
        if made and file not in self._durable.values():
            self._settle_names(made[0] + 1)

    def _settle_names(self, count: int) -> None:
        for kind, name, file in self._changes[:count]:
            if kind == "+":
                self._durable[name] = file
            elif self._durable.get(name) is file:
                del self._durable[name]
        del self._changes[:count]
        self._reached = {fd: [max(0, n - count) for n in each] for fd, each in self._reached.items()}

    def _name(self, path: str) -> str:
        return os.path.relpath(path, self._root)


def _left_of(file: _File, dice: random.Random) -> bytes:
    """What the medium has of a file: the durable bytes, and of each page some of the writes that came after."""
    content = bytearray(file.durable)
    share = dice.choice((0.0, 1.0, dice.random()))
    sizes = dice.randint(0, len(file.pending))
    versions: dict[int, int] = {}
    for entry in file.pending:
        for page, _, _ in _pages(entry):
            versions[page] = versions.get(page, 0) + 1
    taken = {p: n if dice.random() < share else dice.randint(0, n - 1) for p, n in versions.items()}
    for index, entry in enumerate(file.pending):
        if entry.kind != "w":
            if index < sizes:
                _apply(content, entry)
            continue
        for page, start, data in _pages(entry):
            if taken[page] <= 0:
                continue
            taken[page] -= 1
            if not taken[page] and dice.random() < 0.1:  # the cut came while this page was on its way
                data = data[: dice.randrange(0, _PAGE, _SECTOR)]
            _write(content, start, data)
    return bytes(content)


def _pages(entry: Entry) -> Iterator[tuple[int, int, bytes]]:
    """A write's parts by page: (page, offset in the file, bytes)."""
    if entry.kind != "w":
        return
    start, end = entry.at, entry.at + len(entry.data)
    while start < end:
        stop = min(end, start // _PAGE * _PAGE + _PAGE)
        yield start // _PAGE, start, entry.data[start - entry.at : stop - entry.at]
        start = stop


def _apply(content: bytearray, entry: Entry) -> None:
    if entry.kind == "w":
        _write(content, entry.at, entry.data)
    elif entry.kind == "f":
        del content[entry.at :]
        content.extend(bytes(entry.at - len(content)))
    else:
        content.extend(bytes(max(0, entry.at - len(content))))


def _write(content: bytearray, at: int, data: bytes) -> None:
    content.extend(bytes(max(0, at + len(data) - len(content))))
    content[at : at + len(data)] = data
