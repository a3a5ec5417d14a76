"""One POST to another hub or an outside witness, bounded in time and size.

Nothing is followed, kept open or believed: whoever asks checks what comes back.
"""

from __future__ import annotations

import http.client
import ssl
import time
from typing import Final
from urllib.parse import SplitResult, urlsplit

from hub.errors import HubError

_SECONDS: Final = 5.0
_WHOLE_SECONDS: Final = 20.0


class Unreached(HubError):
    """Another hub or witness does not answer, or not in HTTP."""


def post(url: str, body: bytes, limit: int, ca_file: str = "") -> tuple[int, bytes]:
    """Return status and body (at most `limit` bytes) of a POST of plain text. Raises Unreached.

    `ca_file` has the authority that vouches for an https address; without it those count that this machine trusts.
    """
    try:
        parts = urlsplit(url)
        connection = _connection(parts, ca_file)
    except (OSError, ValueError) as error:
        raise Unreached(f"{url} cannot be asked: {error}") from error
    try:
        connection.request("POST", parts.path, body, {"Content-Type": "text/plain; charset=utf-8"})
        answer = connection.getresponse()
        return answer.status, _read(answer, limit)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Unreached(f"{url} does not answer: {error}") from error
    finally:
        connection.close()


def _connection(parts: SplitResult, ca_file: str) -> http.client.HTTPConnection:
    host, port = parts.hostname or "", parts.port
    if parts.scheme != "https":
        return http.client.HTTPConnection(host, port, timeout=_SECONDS)
    context = ssl.create_default_context(cafile=ca_file or None)
    return http.client.HTTPSConnection(host, port, timeout=_SECONDS, context=context)


def _read(answer: http.client.HTTPResponse, limit: int) -> bytes:
    """Return the body up to a limit; a whole answer has its time, however slowly it drips."""
    end, found = time.monotonic() + _WHOLE_SECONDS, bytearray()
    while len(found) < limit and (chunk := answer.read1(limit - len(found))):
        found += chunk
        if time.monotonic() > end:
            raise TimeoutError("its answer takes too long")
    return bytes(found)
