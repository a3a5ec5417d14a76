"""Who has connected to the guardian: newcomers let in or refused, who has said something, and the wake from outside.

Owns the listener, the connections and the waiting for them. What peers say is `gateway.outputs.server`'s.
"""

from __future__ import annotations

import logging
import selectors
import socket
from collections.abc import Iterator
from typing import Any

from gateway.outputs import wire

__all__ = ["Peers"]

_log = logging.getLogger(__name__)


class Peers:
    """The connections of a guardian's socket; but for `wake` one thread calls it."""

    def __init__(self, listener: wire.Listener) -> None:
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()
        for each in (listener.socket, self._wake_out):
            self._watch(each)

    def wake(self) -> None:
        """Let `heard` return; callable from a signal's handler and from other threads."""
        self._wake_in.send(b"x")

    def heard(self, seconds: float) -> Iterator[socket.socket]:
        """Wait for as long at most, and yield those who have said something, or have gone."""
        for key, _ in self._selector.select(seconds):
            source: Any = key.fileobj
            if source is self._wake_out:
                self._wake_out.recv(64)
            elif source is self._listener.socket:
                self._accept()
            else:
                yield source

    def drop(self, connection: socket.socket) -> bool:
        """Close a connection; False where that was done before, while its end was waiting to be read."""
        if connection.fileno() < 0:
            return False
        self._selector.unregister(connection)
        connection.close()
        return True

    def close(self) -> None:
        """Close all connections and the listener."""
        for key in list(self._selector.get_map().values()):
            source: Any = key.fileobj
            self._selector.unregister(source)
            if source is not self._listener.socket:
                source.close()
        self._wake_in.close()
        self._selector.close()
        self._listener.close()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.socket.accept()
        except OSError:
            return
        if wire.is_ours(connection):
            self._watch(connection)
        else:
            _log.error("a process of user %d was refused", wire.peer(connection)[1])
            connection.close()

    def _watch(self, source: socket.socket) -> None:
        source.setblocking(False)
        self._selector.register(source, selectors.EVENT_READ)
