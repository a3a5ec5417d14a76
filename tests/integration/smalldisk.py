"""A small file system of its own for a test, which it may fill to the last byte. Needs root."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


class SmallDisk:
    """A mounted file system, and a file that takes its room away."""

    def __init__(self, path: Path) -> None:
        self.path, self._filler = path, path / "filler"

    @property
    def free(self) -> int:
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def fill(self, leave: int = 0) -> None:
        """Take all but `leave` bytes, now."""
        with self._filler.open("ab") as file, contextlib.suppress(OSError):
            while (room := self.free - leave) > 0:
                os.posix_fallocate(file.fileno(), file.tell(), min(room, 1 << 20))
                file.seek(0, os.SEEK_END)

    def empty(self) -> None:
        """Give all of it back."""
        self._filler.unlink(missing_ok=True)


@contextlib.contextmanager
def small_disk(path: Path, size: int) -> Iterator[SmallDisk]:
    """Mount a file system of `size` bytes; skips the test where that is not allowed."""
    path.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted: {done.stderr.decode().strip() or 'no root'}")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=False)
