"""A local socket by which the machine's administrator speaks to the running gateway.

Owns the socket `control.sock` in the data directory and its small protocol: one JSON object a line each way,
`{"do": "status"}`, or one of `gateway.handling`, such as `{"do": "reset", "contract": NAME}`; the answer has `ok`
and `error` or what was asked for. It does not own what is done.

Invariant: only the owner of the data directory reaches it (mode 0600); it is never reachable over a network.
"""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from gateway.errors import GatewayError, TransportError

__all__ = ["Control", "ask", "is_running"]

_log = logging.getLogger(__name__)

_LINE: Final = 4096
_ANSWER: Final = 1 << 20
_TIMEOUT_S: Final = 5.0

Handler = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class Control:
    """Answers requests in a thread of its own; where the socket cannot be made, there is none, and a log line."""

    def __init__(self, path: Path, handler: Handler) -> None:
        self._path, self._handler = path, handler
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        new = self._path.with_suffix(".new")
        listener = socket.socket(socket.AF_UNIX)
        try:
            new.unlink(missing_ok=True)
            listener.bind(str(new))
            new.chmod(0o600)
            listener.listen(4)
            new.replace(self._path)  # whoever finds it gets an answer
        except OSError as error:
            listener.close()
            _log.warning("no control socket at %s: %s", self._path, error)
            return
        self._socket = listener
        self._thread.start()

    def stop(self) -> None:
        """End; idempotent."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
            self._thread.join()
            self._socket = None
            self._path.unlink(missing_ok=True)

    def _run(self) -> None:
        assert self._socket is not None
        while True:
            try:
                peer, _ = self._socket.accept()
            except OSError:
                return
            with peer, contextlib.suppress(OSError):
                peer.settimeout(_TIMEOUT_S)
                peer.sendall(json.dumps(self._answer(_line(peer, _LINE))).encode() + b"\n")

    def _answer(self, line: bytes) -> Mapping[str, Any]:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError) as error:
            return {"ok": False, "error": f"not JSON: {error}"}
        if not isinstance(request, dict):
            return {"ok": False, "error": "a request is a JSON object"}
        try:
            return {"ok": True, **self._handler(request)}
        except (GatewayError, LookupError) as error:
            return {"ok": False, "error": str(error)}
        except Exception as error:  # the next request must find this thread alive
            _log.exception("request %s failed", request)
            return {"ok": False, "error": f"a defect, see the log: {error}"}


def ask(path: Path, request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Ask the running gateway whose data directory holds the socket.

    Raises:
        TransportError: no gateway runs there, or it refuses.
    """
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(_TIMEOUT_S)
        try:
            peer.connect(str(path))
            peer.sendall(json.dumps(dict(request)).encode() + b"\n")
            answer = json.loads(_line(peer, _ANSWER))
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise TransportError(f"no gateway answers at {path}: {why}; is it running?") from error
    if not answer.get("ok"):
        raise TransportError(str(answer.get("error", "the gateway refuses")))
    return dict(answer)


def is_running(path: Path) -> bool:
    """Whether a gateway listens at this socket; one that may not be asked counts."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(_TIMEOUT_S)
        try:
            peer.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            return False
        except OSError:
            return True
    return True


def _line(peer: socket.socket, limit: int) -> bytes:
    data = b""
    while b"\n" not in data and len(data) < limit and (part := peer.recv(limit)):
        data += part
    return data
