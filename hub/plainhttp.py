"""One POST to another hub or an outside witness, bounded in time and size.

Nothing is followed, kept open or believed: whoever asks checks what comes back.
"""

from __future__ import annotations

import http.client
from typing import Final
from urllib.parse import urlsplit

from hub.errors import HubError

SECONDS: Final = 5.0


class Unreached(HubError):
    """Another hub or witness does not answer, or not in HTTP."""


def post(url: str, body: bytes, limit: int, seconds: float = SECONDS) -> tuple[int, bytes]:
    """Return status and body (at most `limit` bytes) of a POST of plain text. Raises Unreached."""
    try:
        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=seconds)
    except ValueError as error:
        raise Unreached(f"{url} is no address: {error}") from error
    try:
        connection.request("POST", parts.path, body, {"Content-Type": "text/plain; charset=utf-8"})
        answer = connection.getresponse()
        return answer.status, answer.read(limit)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Unreached(f"{url} does not answer: {error}") from error
    finally:
        connection.close()
