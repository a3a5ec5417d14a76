"""One exchange over HTTP that has its time as a whole: handshake, head and body, however slowly they come.

A timeout bounds each wait for a byte alone, so that who sends one byte now and then is waited for without end.
Nothing is followed, kept open or believed.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit


class Timed(http.client.HTTPConnection):
    """A connection that another thread may cut."""

    _guard: socket.socket | None = None
    is_cut = False

    def connect(self) -> None:
        super().connect()
        self._guard = self.sock.dup()  # TLS takes the socket itself away
        if self.is_cut:
            self.cut()

    def cut(self) -> None:
        """End it: whoever waits for a byte has the end of the answer."""
        self.is_cut = True
        if self._guard is not None:
            with contextlib.suppress(OSError):
                self._guard.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        """Close it for good."""
        self.close()
        if self._guard is not None:
            self._guard.close()


class _TimedTls(http.client.HTTPSConnection, Timed):
    """The same over TLS."""


@contextlib.contextmanager
def exchange(
    url: str, context: ssl.SSLContext | None, seconds: float, whole: float
) -> Iterator[http.client.HTTPConnection]:
    """Connect for one exchange: `seconds` for each wait, `whole` for all of it; `context` is for https alone.

    Raises OSError (TimeoutError once its time is over), ValueError, HTTPException.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    if parts.scheme == "https":
        connection: Timed = _TimedTls(host, port, timeout=seconds, context=context)
    else:
        connection = Timed(host, port, timeout=seconds)
    timer = threading.Timer(whole, connection.cut)
    timer.daemon = True
    timer.start()
    try:
        yield connection
    finally:
        timer.cancel()
        connection.release()
        if connection.is_cut:  # what came till then may look like a whole answer, or like a broken one
            raise TimeoutError(f"its answer takes too long: more than {whole:g} s")
