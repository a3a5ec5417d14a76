"""What benches run: the processes of `bench_process`, a region's hub, and what the kernel says of processes.

Owned: processes and their end. Not owned: gateways' configurations (`bench_config`), what is measured.

Invariant: every process started here is ended here, whatever happens.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Final, Self

from firmware_tools.authority import open_desk
from firmware_tools.bench_config import write_gateway
from firmware_tools.demo_region import Region
from firmware_tools.demo_site import HUB
from firmware_tools.errors import ProcessFailed

__all__ = [
    "Child",
    "RunningRegion",
    "cpu_seconds",
    "family",
    "memory",
    "region",
]

_ANSWER_S: Final = 120.0
_STOP_S: Final = 15.0
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


class Child:
    """A program of `bench_process`; it has said that it is ready when this is made. Use it as a context manager.

    Attributes:
        ready: what it said then.

    Raises:
        ProcessFailed: it ended, or does not answer.
    """

    def __init__(self, log: Path, program: str, *arguments: object) -> None:
        self._program, self._log = program, log
        with log.open("ab") as errors:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "firmware_tools.bench_process", program, *map(str, arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        try:
            self.ready: Any = None if program == "load" else self.answer()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._popen.kill()  # it may be at a request that nobody waits for any more
        self.close()

    @property
    def pid(self) -> int:
        return self._popen.pid

    def ask(self, *request: object) -> Any:
        """Return the answer to a request."""
        self.tell(*request)
        return self.answer()

    def tell(self, *request: object) -> None:
        """Send a request, whose answer is to be fetched with `answer`."""
        assert self._popen.stdin is not None
        try:
            self._popen.stdin.write(json.dumps(request).encode() + b"\n")
            self._popen.stdin.flush()
        except OSError as error:
            raise self._failed("does not listen") from error

    def answer(self) -> Any:
        """Wait for what it says next."""
        assert self._popen.stdout is not None
        if not select.select([self._popen.stdout], [], [], _ANSWER_S)[0]:
            raise self._failed(f"said nothing for {_ANSWER_S:.0f} s")
        line = self._popen.stdout.readline()
        if not line:
            raise self._failed("ended")
        return json.loads(line)

    def close(self) -> None:
        """Let it end; what does not is killed. Idempotent."""
        if self._popen.stdin is not None and not self._popen.stdin.closed:
            with contextlib.suppress(BrokenPipeError):  # it has ended already, with a request unread
                self._popen.stdin.close()
        end_process(self._popen, _STOP_S)
        if self._popen.stdout is not None:
            self._popen.stdout.close()

    def _failed(self, what: str) -> ProcessFailed:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return ProcessFailed(f"the bench's {self._program} {what}: {lines[-1] if lines else 'no output'}")


def end_process(popen: subprocess.Popen[bytes], patience_s: float) -> None:
    """Wait for a process to end, and kill it after that."""
    try:
        popen.wait(patience_s)
    except subprocess.TimeoutExpired:
        popen.kill()
        popen.wait()


class RunningRegion:
    """A hub with its broker, as real processes, and its authority's desk."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self._region = Region(directory, (), stack)
        self._region.start(lambda note: None)
        self.desk = open_desk(directory / "authority")
        endpoints = json.loads((directory / "hub" / "endpoints.json").read_text())
        self.api, self.broker = str(endpoints["api"]), str(endpoints["broker"])

    def write_gateway(self, name: str, **options: Any) -> Path:
        """Write the folder of a gateway of this region; see the function of that name."""
        reached = [(HUB, self.broker)]
        return write_gateway(self.directory / name, self.desk, api=self.api, hubs=reached, **options)

    def ask(self, path: str) -> Any:
        """Return what the hub answers. Raises ProcessFailed where it has ended."""
        self._region.check()
        return self._region.ask(path)

    def wait(self, ready: Callable[[], bool], otherwise: str, seconds: float = 20.0) -> None:
        """Wait until something is so. Raises ProcessFailed saying what is not."""
        end = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > end:
                raise ProcessFailed(f"{otherwise} within {seconds:.0f} s")
            time.sleep(0.05)

    def stop(self) -> None:
        """End the hub, and its broker with it."""
        self._region.stop_hubs()


@contextmanager
def region() -> Iterator[RunningRegion]:
    """Give a running region in a temporary directory. Raises ToolError."""
    with ExitStack() as stack:
        directory = stack.enter_context(TemporaryDirectory(prefix="tocsin-bench-"))
        running = RunningRegion(Path(directory), stack)
        stack.callback(running.stop)
        yield running


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    found = [pid]
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in file.read_text().split():
            found += family(int(child))
    return found


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process and its ended children have taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS_PER_S


def memory(pid: int) -> tuple[float, float]:
    """Return a process's resident memory in MB: all of it, and with shared pages counted by their share."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    sizes = {line.split()[0]: int(line.split()[1]) for line in lines[1:]}
    return sizes["Rss:"] * 1024 / 1e6, sizes["Pss:"] * 1024 / 1e6
