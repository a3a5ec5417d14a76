"""Programs of this installation as processes: started with a log, watched, ended first by asking.

Owns how one is started and ended. Invariant: whatever is started is on the caller's stack before anything can fail.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from firmware_tools.errors import ProcessFailed, ToolError

_STOP_S = 10.0


@dataclass(frozen=True, slots=True)
class Process:
    """A started program with its log."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self.popen.poll() is None

    def check(self) -> None:
        """Raise ProcessFailed where it has ended by itself."""
        if (code := self.popen.poll()) is not None:
            lines = self.log.read_text(errors="replace").strip().splitlines()
            raise ProcessFailed(f"{self.name} ended with code {code}: {lines[-1] if lines else 'no output'}")


def spawn(stack: ExitStack, name: str, folder: Path, program: str, *arguments: object) -> Process:
    """Start a console script of this installation; its output goes to the folder's `log`."""
    log = folder / "log"
    with log.open("ab") as output:
        popen = subprocess.Popen(
            [script(program), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is ours to hand on, in order
        )
    stack.callback(_end, popen)
    return Process(name, popen, log)


def stop(processes: Iterable[Process]) -> None:
    """End processes together, first by asking; what does not listen is killed."""
    chosen = list(processes)
    for process in chosen:
        if process.is_alive:
            process.popen.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + _STOP_S
    for process in chosen:
        try:
            process.popen.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            _end(process.popen)


def run(program: str, *arguments: object) -> str:
    """Run a console script to its end and return what it printed. Raises ProcessFailed."""
    done = subprocess.run([script(program), *map(str, arguments)], capture_output=True, check=False)
    if done.returncode:
        raise ProcessFailed(f"{program} {arguments[0]}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode()


def script(name: str) -> str:
    """Return a console script that was installed beside this interpreter. Raises ToolError."""
    path = Path(sys.executable).parent / name
    if not path.exists():
        raise ToolError(f"{path} is missing: install with pip install '.[hub,tools]'")
    return str(path)


def _end(popen: subprocess.Popen[bytes]) -> None:
    if popen.poll() is None:
        popen.kill()
        popen.wait()
