"""One directory, one process: the lock that a hub holds while it runs, and whoever must not work beside one."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from hub.errors import ConfigError


@contextlib.contextmanager
def only_one(directory: Path) -> Iterator[None]:
    """Hold the directory's lock, which the kernel lets go of however this process ends. Raises ConfigError."""
    with _open_lock(directory / "hub.lock") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(f"another hub runs in {directory}: stop it first") from error
        yield


def _open_lock(path: Path) -> IO[bytes]:
    try:
        return path.open("ab")
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path.parent}: there is no such directory; give the directory of a hub"
        ) from error
    except OSError as error:
        raise ConfigError(f"{path.parent} cannot be written: {error.strerror}") from error
