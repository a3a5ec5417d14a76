"""The way to another hub's REST interface, and how much may go over it.

Owned: one request at a time, bounded in bytes and in time, and buckets that bound bytes per second. Not owned: what
is asked, and whether the answer is true.
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from hub.errors import HubError
from hub.timed_http import exchange

_CHUNK: Final = 64 * 1024
_SECONDS: Final = 10.0
_WHOLE_SECONDS: Final = 60.0
_MAX_ERROR: Final = 4096
_TYPE: Final = "application/cbor"


class PeerSilent(HubError):
    """Another hub does not answer, or not in the protocol's words."""


class PeerRefusal(HubError):
    """Another hub says no. `seconds` is how long it wants to be left alone."""

    def __init__(self, text: str, seconds: float) -> None:
        super().__init__(text)
        self.seconds = seconds


class Bucket:
    """Bytes per second, saved up for at most a few. Safe for several threads."""

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = rate, clock
        self._lock = threading.Lock()
        self._left, self._at = float(rate), clock()

    def wait(self) -> float:
        """Return how many seconds are left until more may be spent; 0 means now."""
        with self._lock:
            self._fill()
            return max(-self._left / self._rate, 0.0)

    def spend(self, count: int) -> None:
        """Take bytes out, beyond what there is if need be: whoever comes next waits for it."""
        with self._lock:
            self._fill()
            self._left -= count

    def _fill(self) -> None:
        now = self._clock()
        self._left = min(self._left + (now - self._at) * self._rate, float(self._rate))
        self._at = now


class PeerLink:
    """One hub's address. For one thread; `received` counts bytes of answers."""

    def __init__(self, url: str, ca_file: str = "") -> None:
        """Prepare; connects to nothing. Raises OSError where the certificates cannot be read."""
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        self._base = parts.path
        self._context = (
            ssl.create_default_context(cafile=ca_file or None) if parts.scheme == "https" else None
        )
        self.received = 0

    def post(self, path: str, body: bytes, limit: int) -> bytes:
        """Return the answer, of at most `limit` bytes. Raises PeerSilent or PeerRefusal."""
        return self._ask("POST", path, body, {"Content-Type": _TYPE}, limit)

    def get(self, path: str, limit: int) -> bytes:
        """Return what stands at a path, of at most `limit` bytes; the format's own bytes where it has both.

        Raises PeerSilent or PeerRefusal.
        """
        return self._ask("GET", path, None, {"Accept": _TYPE}, limit)

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str], limit: int) -> bytes:
        try:
            with exchange(self.url, self._context, _SECONDS, _WHOLE_SECONDS) as connection:
                # No proxy of the environment, no redirect to elsewhere: this address or none.
                connection.request(method, self._base + path, body, headers | {"Connection": "close"})
                answer = connection.getresponse()
                if not 200 <= answer.status < 300:
                    raise self._refusal(answer)
                return self._read(answer, limit)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise PeerSilent(f"{self.url}: {error}") from error

    def _read(self, answer: http.client.HTTPResponse, limit: int) -> bytes:
        found = bytearray()
        while chunk := answer.read1(_CHUNK):
            found += chunk
            self.received += len(chunk)
            if len(found) > limit:
                raise PeerSilent(f"{self.url}: an answer of more than {limit} bytes")
        return bytes(found)

    def _refusal(self, answer: http.client.HTTPResponse) -> HubError:
        try:
            said = json.loads(answer.read(_MAX_ERROR))
            text, seconds = (
                f"{said['error']}: {said['detail']}",
                float(answer.headers.get("Retry-After", "30")),
            )
        except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
            return PeerSilent(f"{self.url}: HTTP {answer.status}")
        return PeerRefusal(f"{self.url}: {text:.300}", min(max(seconds, 0.1), 300.0))
