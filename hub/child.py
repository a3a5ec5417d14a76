"""Programs that live no longer than this process, however it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

# The kernel ends the program with its parent. The call must be made in the child, and code between fork and
# exec is not safe in a process with threads: a fresh interpreter makes it and then becomes the program.
_LAUNCHER: Final = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent ended first")
os.execv(sys.argv[2], sys.argv[2:])
"""


def launch(
    command: Sequence[str], output: IO[bytes], directory: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start a program that the kernel kills when the calling *thread* ends, which it takes for the parent.

    Ctrl-C is not for it: whoever started it stops it in order. Raises OSError.
    """
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        cwd=directory,
        start_new_session=True,
    )
