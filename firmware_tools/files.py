"""Files that people name on a command line."""

from __future__ import annotations

from pathlib import Path

from firmware_tools.errors import BadFile
from gateway.files import replace_whole


def read_file(path: Path, limit: int) -> bytes:
    """Return a file's bytes, one more than `limit` at most. Raises BadFile."""
    try:
        with path.open("rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror}") from error


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a crash leaves the old or the new one, and the new one stays. Raises BadFile."""
    try:
        replace_whole(path, data)
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror}") from error
