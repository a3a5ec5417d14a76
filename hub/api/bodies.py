"""The bodies of requests: read up to a bound, and how the OpenAPI document says what they are."""

from __future__ import annotations

from typing import Any, Final

from fastapi import Request

from gateway.chain.canonical import MAX_MESSAGE
from gateway.chain.errors import TooLarge
from hub.api.backend import CBOR

TAKES_CBOR: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {CBOR: {"schema": {"type": "string", "format": "binary"}}},
    }
}
"""For `openapi_extra` of a path whose body is the format's bytes."""


async def read_body(request: Request, most: int = MAX_MESSAGE, what: str = "body") -> bytes:
    """Return a request's body, but never more than `most` bytes of it. Raises TooLarge."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise TooLarge(f"a {what} has at most {most} bytes")
    return bytes(body)
