"""Files that a crash leaves whole or not at all: secrets, marks, what a hub may not lose. Raises OSError.

Not owned: what is in them. A name is durable once its directory is settled; what can be made again may do without.
"""

from __future__ import annotations

import os
from pathlib import Path


def create_private(path: Path, text: str) -> None:
    """Write a new file durably, for its owner alone. Raises FileExistsError too."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def replace_private(path: Path, text: str) -> None:
    """Write a file durably, for its owner alone, whole or not at all."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(
        missing_ok=True
    )  # what a crash left; whoever laid one there does not get the next one's text
    create_private(draft, text)
    draft.replace(path)


def write_durably(path: Path, data: bytes) -> None:
    """Write a file's bytes so that they are on disk afterwards; its name may not be yet."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def settle(directory: Path) -> None:
    """Make a directory's names durable."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
