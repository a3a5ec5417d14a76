"""Unix sockets by directory and name, because a socket's whole path must fit into 107 bytes and a hub's need not.

The engine's program is started in the directory and takes the bare name; this process goes by way of /proc.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

_BACKLOG = 16


def listen(directory: Path, name: str) -> socket.socket:
    """Return a listening socket, for this user alone, in place of what was left there. Raises OSError."""
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short(directory) as base:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{base}/{name}")
            found.bind(f"{base}/{name}")
            os.chmod(f"{base}/{name}", 0o600)
        found.listen(_BACKLOG)
    except OSError:
        found.close()
        raise
    return found


def connect(directory: Path, name: str, seconds: float) -> socket.socket:
    """Return a socket connected to the one of this name, with a timeout for each call. Raises OSError."""
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        found.settimeout(seconds)
        with _short(directory) as base:
            found.connect(f"{base}/{name}")
    except OSError:
        found.close()
        raise
    return found


@contextlib.contextmanager
def _short(directory: Path) -> Iterator[str]:
    handle = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)
