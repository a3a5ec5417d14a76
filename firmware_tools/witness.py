"""A witness outside all hubs: for a university, an NGO, a newspaper. It needs a genesis and a directory, no hub.

It speaks C2SP's tlog-witness: `POST /add-checkpoint` is answered by a cosignature once the checkpoint is signed by
hubs that hold more than two thirds of the votes, and extends the one cosigned before. One
hub alone cannot lead it astray. Should more than a third of the votes be given to two logs, both notes are in its
directory.

Files: `witness.key` (name and seed), `<origin>.note` (the last checkpoint cosigned, as it came), `disputed/` (what
hubs signed and nobody showed to extend it). Invariant: a checkpoint is on the disk before its cosignature leaves.
"""

from __future__ import annotations

import secrets
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from firmware_tools.errors import BadFile
from firmware_tools.files import write_whole
from firmware_tools.trusted_log import TrustedLog
from gateway.chain.errors import BadProof, BadSignature, ChainError, FormatError, OtherHead, WrongChain
from gateway.chain.keys import SigningKey
from gateway.chain.notes import (
    COSIGNATURE,
    MAX_SUBMISSION,
    LogHead,
    Note,
    NoteKey,
    Submission,
    advance,
    cosign_note,
)
from gateway.files import create_private

_REQUEST_SECONDS: Final = 10.0
_MAX_CONNECTIONS: Final = 64
_DRAINED: Final = 1 << 20
_MAX_DISPUTED: Final = 100


class Witness:
    """The witness of one directory. Safe for several threads of one process."""

    def __init__(self, directory: Path, name: str, logs: Sequence[TrustedLog]) -> None:
        """Open the directory, and make it with a key where there is none. Raises BadFile."""
        self._directory, self._logs = directory, {log.origin: log for log in logs}
        self._lock = threading.Lock()
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.name, self._key = _own_key(directory / "witness.key", name)
        except (OSError, ValueError) as error:
            raise BadFile(f"{directory}: {error}") from error
        self.vkey = NoteKey(self.name, COSIGNATURE, self._key.public)

    def known(self, origin: str) -> LogHead | None:
        """Return the head of a log that was cosigned last. Raises BadFile where its note is damaged."""
        path = self._note(origin)
        try:
            return LogHead.parse(Note.parse(path.read_bytes()).text)
        except FileNotFoundError:
            return None
        except (OSError, FormatError) as error:
            raise BadFile(
                f"{path}: {error}; bring it back from a copy, or the witness might cosign a fork"
            ) from error

    def add_checkpoint(self, data: bytes) -> str:
        """Return the cosignature line for a submission, by the present time. Raises ChainError or BadFile."""
        submitted = Submission.parse(data)
        head = LogHead.parse(submitted.note.text)
        log = self._logs.get(head.origin)
        if log is None:
            raise WrongChain(f"this witness does not follow {head.origin!r:.100}")
        log.check(submitted.note)
        with self._lock:
            known = self.known(head.origin)
            try:
                advance(known, submitted)
            except OtherHead:
                raise  # a question where to begin
            except BadProof:
                self._dispute(submitted.note)
                raise
            if known is None or head.size > known.size:
                write_whole(self._note(head.origin), submitted.note.encode())
        return str(cosign_note(self._key, self.name, head.text, int(time.time())))

    def _note(self, origin: str) -> Path:
        return self._directory / f"{origin}.note"

    def _dispute(self, note: Note) -> None:
        """Keep a note that hubs signed and that does not extend what they signed before."""
        place, data = self._directory / "disputed", note.encode()
        place.mkdir(exist_ok=True)
        if len(list(place.iterdir())) < _MAX_DISPUTED:
            write_whole(place / f"{sha256(note.text.encode()).hexdigest()[:16]}.note", data)


def _own_key(path: Path, name: str) -> tuple[str, SigningKey]:
    """Return name and key, made at the first start. Raises OSError or ValueError."""
    if not path.exists():
        if not name:
            raise ValueError("give the witness a name at its first start, such as university.example/tocsin")
        NoteKey(name, COSIGNATURE, bytes(32))
        create_private(path, f"{name}\n{secrets.token_hex(32)}\n")
    own, seed = path.read_text(encoding="utf-8").splitlines()
    if name not in ("", own):
        raise ValueError(f"its witness is {own!r}, not {name!r}: another name needs a directory of its own")
    return own, SigningKey(bytes.fromhex(seed))


def serve(witness: Witness, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, and call `ready` with the submission prefix before. Raises BadFile."""
    with Server(witness, host, port) as server:

        def stop(*_: object) -> None:
            threading.Thread(target=server.shutdown).start()  # it waits for the loop that this interrupts

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        ready(server.url)
        server.serve_forever()


class Server(ThreadingHTTPServer):
    """Serves one witness. A context manager; `serve_forever` works until `shutdown`."""

    daemon_threads = True

    def __init__(self, witness: Witness, host: str, port: int) -> None:
        """Bind the address. Raises BadFile."""
        self.witness = witness
        self._free = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise BadFile(f"{host}:{port}: {error.strerror}") from error

    @property
    def url(self) -> str:
        """The submission prefix."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}"

    def process_request(self, request: object, client_address: object) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)  # type: ignore[arg-type]
        else:
            self.shutdown_request(request)  # type: ignore[arg-type]

    def process_request_thread(self, request: object, client_address: object) -> None:
        try:
            super().process_request_thread(request, client_address)  # type: ignore[arg-type]
        finally:
            self._free.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that breaks off is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = _REQUEST_SECONDS
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self._body()
        if body is None:
            self._answer(413, f"a submission has at most {MAX_SUBMISSION} bytes\n")
        elif self.path.rpartition("/")[2] != "add-checkpoint":
            self._answer(404, "there is only add-checkpoint\n")
        else:
            self._add_checkpoint(body)

    def _add_checkpoint(self, body: bytes) -> None:
        try:
            self._answer(200, self.server.witness.add_checkpoint(body))
        except OtherHead as error:
            self._answer(409, f"{error.size}\n", "text/x.tlog.size")
        except (ChainError, BadFile) as error:
            self._answer(_status(error), f"{error}\n")

    def _body(self) -> bytes | None:
        """Return the body, None where it is too long; what is not read here would be taken for the next request."""
        text = self.headers.get("Content-Length", "")
        length = int(text) if text.isdecimal() and len(text) < 10 else _DRAINED + 1
        body = self.rfile.read(min(length, _DRAINED))
        self.close_connection |= length > _DRAINED
        return body if length <= MAX_SUBMISSION else None

    def _answer(self, status: int, text: str, kind: str = "text/plain; charset=utf-8") -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """What is worth knowing is in the directory."""


def _status(error: Exception) -> int:
    statuses = ((FormatError, 400), (WrongChain, 404), (BadSignature, 403), (BadProof, 422))
    return next((status for kind, status in statuses if isinstance(error, kind)), 503)
