"""The engine's process: one `cometbft node`, kept running beside the hub.

Owned: finding the program, its process, its restarts, its log. Not owned: its files (`hub.consensus.comet_home`)
and what it is asked (`hub.consensus.comet_rpc`).

Invariants:
- It lives no longer than the process that started it, however that ends.
- It is started again whenever it ends; what it keeps is never reset, least of all the state of its signing.
- Its log takes a bounded place.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from pathlib import Path
from typing import Final

from hub.child import launch
from hub.consensus.comet_home import RPC_SOCKET
from hub.errors import ConsensusError

LOG: Final = "cometbft.log"
MAX_LOG: Final = 8 << 20
_LOOK_SECONDS: Final = 0.5
_FIRST_SECONDS: Final = 15.0  # it may have much to replay; it goes on doing so after `start` has returned
_STOP_SECONDS: Final = 10.0
_BACK_OFF_SECONDS: Final = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_STEADY_SECONDS: Final = 30.0
_TAIL: Final = 64 << 10
_FAILURE: Final = re.compile(rb'CONSENSUS FAILURE!!!.*?err="((?:[^"\\]|\\.)*)')

_log = logging.getLogger(__name__)


class Node:
    """A `cometbft` process. Thread-safe; start it once."""

    def __init__(
        self, home: Path, program: str, look: Callable[[], str], restarted: Callable[[], None]
    ) -> None:
        """Run a program in a home.

        `look` is called twice a second while it runs, and returns why it should be started anew, or nothing;
        `restarted` each time before it is started.
        """
        self._home, self._program = home.absolute(), program
        self._look, self._restarted = look, restarted
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._answered: Future[None] = Future()
        self.restarts = 0
        self.ended = ""
        """How it ended last, in its own words; empty while it runs."""
        self.halted = ""
        """Why it votes no more although it runs, in its own words; empty while it does."""
        self._read = 0  # how much of its log was looked through

    @property
    def pid(self) -> int | None:
        """Process id, None while there is none."""
        process = self._process
        return process.pid if process and process.poll() is None else None

    def start(self) -> None:
        """Start it, and wait until it answers, has ended, or a while has gone by.

        One that ended is started again and again, `ended` says how. Raises ConsensusError where there is no such
        program.
        """
        found = shutil.which(self._program)
        if found is None:
            raise ConsensusError(
                f"{self._program} is missing: go install github.com/cometbft/cometbft/cmd/cometbft@v0.38.25"
            )
        # The kernel takes the forking *thread's* end for the parent's, so this thread lives as long as it does.
        self._thread = threading.Thread(target=self._run, args=(found,), name="comet", daemon=True)
        self._thread.start()
        try:
            self._answered.result(_FIRST_SECONDS)
        except TimeoutError:
            self.answers()

    def answers(self) -> None:
        """Hear that it answers, so that whoever waits for its start need wait no more."""
        with contextlib.suppress(InvalidStateError):
            self._answered.set_result(None)

    def stop(self) -> None:
        """End it; idempotent. It finishes what it is writing, within a time."""
        self._stopping.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                _log.warning("the engine did not stop within %g s and is killed", _STOP_SECONDS)
                process.kill()
                process.wait()
        if self._thread is not None:
            self._thread.join()

    def _run(self, program: str) -> None:
        attempt = 0
        while not self._stopping.is_set():
            started = time.monotonic()
            try:
                self._live(program)
            except OSError as error:
                self.ended = f"the engine cannot be started: {error}"
                _log.error("%s", self.ended)
            self.answers()  # the hub shows alarms meanwhile, and says why its chain stands still
            if time.monotonic() - started > _STEADY_SECONDS:
                attempt = 0
            self._stopping.wait(_BACK_OFF_SECONDS[min(attempt, len(_BACK_OFF_SECONDS) - 1)])
            attempt += 1

    def _live(self, program: str) -> None:
        """Start it and return when it has ended. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            (self._home / RPC_SOCKET).unlink()  # what a killed one leaves, the next one trips over
        self._restarted()
        with (self._home / LOG).open("ab") as output:
            self._read = output.tell()
            process = launch([program, "node", "--home", str(self._home)], output, self._home)
        self._process, self.ended, self.halted = process, "", ""
        if self._stopping.is_set():  # `stop` may have looked before there was a process
            process.terminate()
        code = self._watch(process)
        if not self._stopping.is_set():
            self.restarts += 1
            self.ended = f"the engine ended (code {code}): {self.last_words()}"
            _log.error("%s", self.ended)

    def _watch(self, process: subprocess.Popen[bytes]) -> int:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(_LOOK_SECONDS)
            with contextlib.suppress(OSError):
                self._follow_log()
            if self._stopping.is_set():
                continue
            if reason := self._look():
                _log.error("the engine is started anew: %s", reason)
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_STOP_SECONDS)
                process.kill()

    def _follow_log(self) -> None:
        """Look for the words with which it halts, and keep the log and one before it. Raises OSError.

        The engine goes on to run when its consensus has failed, and answers as before. It appends to its log, so
        that an emptied file goes on from its start.
        """
        log = self._home / LOG
        with log.open("rb") as file:
            file.seek(self._read)
            said = file.read()
            self._read = file.tell()
        if failure := _FAILURE.search(said):
            self.halted = f"the engine has halted: {failure[1].decode('utf-8', 'replace')}"
            _log.error("%s", self.halted)
        if self._read > MAX_LOG:
            shutil.copyfile(log, log.with_suffix(".log.1"))
            os.truncate(log, 0)
            self._read = 0

    def last_words(self) -> str:
        """Return the last line of its log that tells why it ended, as far as that can be told."""
        try:
            with (self._home / LOG).open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
                lines = file.read().decode("utf-8", "replace").splitlines()
        except OSError:
            return "it said nothing"
        told = [line for line in lines if line.strip()]
        reasons = [
            line for line in told if line.startswith(("E[", "ERROR", "Error", "panic")) or "panic" in line
        ]
        return next(reversed(reasons or told), "it said nothing")[:500]
