"""Files that a crash leaves whole or not at all: keys, marks, archives. Raises OSError.

Not owned: what is in them.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["create_private", "replace_whole", "settle"]


def create_private(path: Path, text: str) -> None:
    """Write a new file durably, for its owner alone. Raises FileExistsError too."""
    _create(path, text.encode(), 0o600)


def replace_whole(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a file durably, whole or not at all, whatever was there before.

    Args:
        mode: its permissions, less what the umask takes.
    """
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(
        missing_ok=True
    )  # what a crash left; whoever laid one there does not get the next one's text
    try:
        _create(draft, data, mode)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    settle(path.parent)


def settle(directory: Path) -> None:
    """Make a directory's names durable."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _create(path: Path, data: bytes, mode: int) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
