"""One POST to another hub or an outside witness, bounded in time and size.

Nothing is followed, kept open or believed: whoever asks checks what comes back.
"""

from __future__ import annotations

import http.client
import ssl
from typing import Final
from urllib.parse import urlsplit

from hub.errors import HubError
from hub.timed_http import exchange

_SECONDS: Final = 5.0
_WHOLE_SECONDS: Final = 20.0


class Unreached(HubError):
    """Another hub or witness does not answer, or not in HTTP."""


def post(url: str, body: bytes, limit: int, ca_file: str = "") -> tuple[int, bytes]:
    """Return status and body (at most `limit` bytes) of a POST of plain text. Raises Unreached.

    `ca_file` has the authority that vouches for an https address; without it those count that this machine trusts.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file or None) if url.startswith("https:") else None
    except OSError as error:
        raise Unreached(f"{url} cannot be asked: {error}") from error
    try:
        with exchange(url, context, _SECONDS, _WHOLE_SECONDS) as connection:
            connection.request(
                "POST", urlsplit(url).path, body, {"Content-Type": "text/plain; charset=utf-8"}
            )
            answer = connection.getresponse()
            return answer.status, _read(answer, limit)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Unreached(f"{url} does not answer: {error}") from error


def _read(answer: http.client.HTTPResponse, limit: int) -> bytes:
    found = bytearray()
    while len(found) < limit and (chunk := answer.read1(limit - len(found))):
        found += chunk
    return bytes(found)
