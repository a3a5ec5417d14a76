"""Where a bench's gateway keeps its data, and what the device below it is written.

Owns a small ext4 file system of its own on a loop device, where this may be had (root, losetup), so that nobody else
writes to what is measured; else the device that the temporary directory is on. It reads /proc/diskstats: what
processes are said to have written is neither what a card is written, nor how often it has to flush.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Device", "Written", "own_device"]

_SECTOR: Final = 512
_WRITTEN, _FLUSHES = 9, 18  # fields of /proc/diskstats, from 0
_MB: Final = 256


@dataclass(frozen=True, slots=True)
class Written:
    """What a device was asked to do since it came up."""

    bytes: int
    flushes: int

    def __sub__(self, other: Written) -> Written:
        return Written(self.bytes - other.bytes, self.flushes - other.flushes)


@dataclass(frozen=True, slots=True)
class Device:
    """A directory and the block device below it; `is_own` says whether nobody else writes there."""

    directory: Path
    number: tuple[int, int]
    is_own: bool

    def written(self, *, sync: bool = False) -> Written:
        """Return what it was asked to do until now; with `sync`, once all that waits is written."""
        if sync:
            handle = os.open(self.directory, os.O_RDONLY)
            try:
                os.fsync(handle)
                subprocess.run(["sync", "--file-system", self.directory], check=True)
            finally:
                os.close(handle)
        for line in Path("/proc/diskstats").read_text(encoding="ascii").splitlines():
            fields = line.split()
            if (int(fields[0]), int(fields[1])) == self.number:
                flushes = int(fields[_FLUSHES]) if len(fields) > _FLUSHES else 0
                return Written(int(fields[_WRITTEN]) * _SECTOR, flushes)
        return Written(0, 0)


@contextmanager
def own_device(directory: Path, commit_s: int) -> Iterator[Device]:
    """Give a device below a new directory.

    Args:
        commit_s: seconds between the file system's own commits; ext4's default is 5.
    """
    directory.mkdir()
    with ExitStack() as stack:
        is_own = _mounted(directory, commit_s, stack)
        number = os.stat(directory).st_dev
        yield Device(directory, (os.major(number), os.minor(number)), is_own)


def _mounted(directory: Path, commit_s: int, stack: ExitStack) -> bool:
    if os.geteuid() or not all(map(shutil.which, ("losetup", "mkfs.ext4", "mount"))):
        return False
    image = directory.with_suffix(".img")
    with image.open("wb") as file:
        file.truncate(_MB << 20)
    stack.callback(image.unlink)
    try:
        loop = _run("losetup", "--find", "--show", str(image))
        stack.callback(_run, "losetup", "--detach", loop)
        _run("mkfs.ext4", "-q", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0", loop)
        _run("mount", "-o", f"noatime,commit={commit_s}", loop, str(directory))
    except subprocess.CalledProcessError:
        return False
    stack.callback(_run, "umount", str(directory))
    return True


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
