"""Starts a guardian that outlives whoever started it.

Owns the process's start, its log beside the socket, and reaping it. Under systemd the guardian has a unit of its own,
and this is not used.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gateway.errors import OutputError

__all__ = ["Spawned"]

_LOG: Final = "guardian.log"
_MAX_LOG: Final = 256 << 10


class Spawned:
    """A guardian of these directories."""

    def __init__(self, directories: Sequence[Path]) -> None:
        self._directories = directories
        self._pid: int | None = None
        self._log = self._directories[0] / _LOG

    def start(self) -> None:
        """Start it, in a session of its own. Raises OutputError."""
        self.reap()
        arguments = [sys.executable, "-m", "gateway.outputs.guardian", "--spawned", "--in"]
        arguments += map(str, self._directories)
        output = self._open_log()
        try:
            self._pid = os.posix_spawn(
                sys.executable,
                arguments,
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, output, 1),
                    (os.POSIX_SPAWN_DUP2, output, 2),
                ],
                setsid=True,
            )
        except OSError as error:
            raise OutputError(f"the guardian cannot be started: {error.strerror}") from error
        finally:
            os.close(output)

    def check(self) -> None:
        """Raise OutputError where it has ended by itself."""
        pid = self._pid
        if pid is not None and self.reap():
            raise OutputError(f"the guardian ended at once: {self._last_line()}")

    def reap(self) -> bool:
        """Take note of its end; say whether it has ended."""
        if self._pid is None:
            return True
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(self._pid, os.WNOHANG)[0] == 0:
                return False
        self._pid = None
        return True

    def _open_log(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        with contextlib.suppress(OSError):
            if self._log.stat().st_size > _MAX_LOG:
                flags |= os.O_TRUNC
        try:
            return os.open(self._log, flags, 0o600)
        except OSError:  # no disk keeps a siren from sounding
            return os.open(os.devnull, os.O_WRONLY)

    def _last_line(self) -> str:
        with contextlib.suppress(OSError):
            lines = self._log.read_text(errors="replace").strip().splitlines()
            return lines[-1] if lines else "no output"
        return f"no log at {self._log}"
