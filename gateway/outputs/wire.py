"""The socket between daemon and guardian: where it is, who may speak, and one message a packet.

Owns the places of the socket, its packets (one JSON object each) and the check of who is at the other end. What is
said is `gateway.outputs.server`'s and `gateway.outputs.client`'s.

Invariants:
* Only processes of the guardian's own user, and root, are heard; the directory is private, the socket of mode 0600.
* A path may be longer than a socket's address: it is reached through its open directory.
* A full or dead disk under the data directory keeps nobody from meeting: there are other places.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import socket
import struct
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gateway.errors import OutputError

__all__ = [
    "SYSTEM",
    "Listener",
    "ask",
    "end_simulated",
    "is_ours",
    "is_readable",
    "meet",
    "meeting_point",
    "peer",
    "places",
    "receive",
    "send",
]

SYSTEM: Final = "TOCSIN_GUARDIAN"  # names the directory of a guardian that the system starts
_NAME: Final = "guardian.sock"
_LOCK: Final = "guardian.lock"
_RUN: Final = Path("/run/tocsin-guardian")
_PACKET: Final = 128 << 10
_TIMEOUT_S: Final = 5.0
_CREDENTIALS: Final = struct.Struct("3i")


def places(data: Path) -> tuple[Path, ...]:
    """Return the directories in which the guardian of a data directory may be met, best first."""
    # Here, not above: it brings OpenSSL, and the guardian is to be small.
    from hashlib import sha256

    data = data.resolve()
    name = sha256(str(data).encode()).hexdigest()[:24]
    others = [Path("/run/user") / str(os.getuid()), Path(tempfile.gettempdir())]
    return (data, *(each / f"tocsin-{os.getuid()}-{name}" for each in others))


def meeting_point(data: Path, *, simulated: bool) -> tuple[tuple[Path, ...], bool]:
    """Return where the guardian of a data directory is to be met, and whether the system starts it.

    The system's own holds real pins only: what is simulated has one of its own.
    """
    if not simulated and (system := _system()) is not None:
        return (system,), True
    return places(data), False


def _system() -> Path | None:
    named = os.environ.get(SYSTEM)
    if named:
        return Path(named)
    return _RUN if (_RUN / _NAME).exists() else None  # for tools, which the system has told nothing


class Listener:
    """A guardian's socket in the first of some directories that takes it.

    Attributes:
        socket: accepts daemons and others.

    Raises:
        OutputError: another guardian is there, or no directory takes it.
    """

    def __init__(self, directories: Sequence[Path]) -> None:
        refused = []
        for directory in directories:
            try:
                self._directory = _private(directory)
            except OSError as error:
                refused.append(f"{directory}: {error.strerror or error}")
                continue
            self._lock = -1
            try:
                self.socket = self._listen()
            except OSError as error:
                self._close()
                if isinstance(error, BlockingIOError):
                    raise OutputError(f"another guardian holds {directory / _NAME}") from error
                refused.append(f"{directory}: {error.strerror or error}")
            else:
                return
        raise OutputError(
            f"no socket for the guardian: {'; '.join(refused)}; give it a directory that its user owns and can write"
        )

    def close(self) -> None:
        """End; the socket is gone."""
        with contextlib.suppress(OSError):
            os.unlink(_NAME, dir_fd=self._directory)
        self.socket.close()
        self._close()

    def _close(self) -> None:
        for each in (self._directory, self._lock):
            if each >= 0:
                os.close(each)

    def _listen(self) -> socket.socket:
        # Not the directory itself: whoever may read that could lock it, and keep every siren silent.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        self._lock = os.open(_LOCK, flags, 0o600, dir_fd=self._directory)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_NAME, dir_fd=self._directory)  # of one that died: the lock is ours
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            listener.bind(f"/proc/self/fd/{self._directory}/{_NAME}")
            os.chmod(_NAME, 0o600, dir_fd=self._directory)  # before anybody can connect
            listener.listen(8)
        except OSError:
            listener.close()
            raise
        return listener


def meet(directories: Sequence[Path]) -> socket.socket:
    """Return a socket to the guardian, which never waits. Raises OutputError: none answers there."""
    refused = []
    for directory in directories:
        try:
            return _connect(directory)
        except OSError as error:
            refused.append(f"{directory / _NAME}: {error.strerror or error}")
    raise OutputError(f"no guardian answers at {refused[0]}; is it running?")


def peer(connection: socket.socket) -> tuple[int, int]:
    """Return the process and the user at the other end."""
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, user, _ = _CREDENTIALS.unpack(packed)
    return pid, user


def is_ours(connection: socket.socket) -> bool:
    """Whether the other end is of our own user, or root's."""
    return peer(connection)[1] in (os.getuid(), 0)


def send(connection: socket.socket, message: Mapping[str, Any]) -> None:
    """Send one message without waiting. Raises OSError, where nobody reads too."""
    connection.send(
        json.dumps(message, separators=(",", ":")).encode(), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
    )


def receive(connection: socket.socket) -> dict[str, Any] | None:
    """Return the next message, None at the end. Raises OSError, and ValueError for what is no message."""
    packet = connection.recv(_PACKET)
    if not packet:
        return None
    try:
        message = json.loads(packet)
    except RecursionError as error:
        raise ValueError("a message is nested too deeply") from error
    if not isinstance(message, dict):
        raise ValueError("a message is a JSON object")
    return message


def is_readable(connection: socket.socket, seconds: float) -> bool:
    """Wait until a message or the end has come, or the time is over."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def ask(directories: Sequence[Path], request: Mapping[str, Any]) -> dict[str, Any]:
    """Ask a guardian one thing, as whoever looks after it. Raises OutputError: none answers, or it refuses."""
    with meet(directories) as connection:
        connection.settimeout(_TIMEOUT_S)
        try:
            send(connection, request)
            answer = receive(connection)
        except (OSError, ValueError) as error:
            raise OutputError(f"the guardian does not answer: {error}") from error
    if answer is None or not answer.get("ok"):
        raise OutputError(str((answer or {}).get("error", "the guardian ended")))
    return answer


def end_simulated(data: Path) -> None:
    """Let the guardian of a data directory end, if there is one and its pins are simulated; return when it has."""
    with contextlib.suppress(OutputError, OSError, ValueError), meet(places(data)) as connection:
        send(connection, {"do": "end"})
        while is_readable(connection, _TIMEOUT_S) and receive(connection) is not None:
            pass


def _connect(directory: Path) -> socket.socket:
    with _opened(directory) as folder:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            connection.setblocking(False)  # before: one that hangs takes no connections after a few
            connection.connect(f"/proc/self/fd/{folder}/{_NAME}")
            if not is_ours(connection):
                raise PermissionError(f"it belongs to user {peer(connection)[1]}")
        except OSError:
            connection.close()
            raise
        return connection


@contextlib.contextmanager
def _opened(directory: Path) -> Iterator[int]:
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield folder
    finally:
        os.close(folder)


def _private(directory: Path) -> int:
    """Open a directory, made where it was missing, that nobody else may enter. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    found = os.fstat(folder)
    if found.st_uid not in (os.getuid(), 0) or found.st_mode & 0o022:
        os.close(folder)
        raise PermissionError(f"others can write there; chown it to user {os.getuid()} and chmod it to 0700")
    return folder
