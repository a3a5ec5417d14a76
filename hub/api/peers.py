"""The part of the REST interface that other hubs of the federation use: six questions, each signed by its asker.

Bodies are the format's bytes both ways. Nobody is known here by address or certificate: the signature inside is all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from gateway.chain.errors import ChainError
from hub.api.backend import CBOR
from hub.api.bodies import TAKES_CBOR, read_body
from hub.errors import HubError
from hub.peers.door import refusal
from hub.peers.server import PeerServer
from hub.peers.wire import MAX_REQUEST

PREFIX: Final = "/v1/peers"


def add_peers(app: FastAPI, server: PeerServer) -> None:
    """Add these paths to the application."""

    @app.post(f"{PREFIX}/bodies", openapi_extra=TAKES_CBOR)
    async def bodies(request: Request) -> Response:
        """Give bodies: a Signed BodyRequest in, a BodiesAnswer out."""
        return await _answer(request, server.bodies)

    @app.post(f"{PREFIX}/receipts", openapi_extra=TAKES_CBOR)
    async def receipts(request: Request) -> Response:
        """Give what this hub promised to keep: a Signed PromisesRequest in, a PromisesAnswer out."""
        return await _answer(request, server.promises)

    @app.post(f"{PREFIX}/library", openapi_extra=TAKES_CBOR)
    async def library(request: Request) -> Response:
        """Give catalogues and contract sets: a Signed LibraryRequest in, a LibraryAnswer out."""
        return await _answer(request, server.library)

    @app.post(f"{PREFIX}/headers", openapi_extra=TAKES_CBOR)
    async def headers(request: Request) -> Response:
        """Give a gateway's headers from one downwards: a Signed HeadersRequest in, a HeadersAnswer out."""
        return await _answer(request, server.headers)

    @app.post(f"{PREFIX}/alarms", openapi_extra=TAKES_CBOR)
    async def alarms(request: Request) -> Response:
        """Give final alarms: a Signed AlarmsRequest in, an AlarmsAnswer out."""
        return await _answer(request, server.alarms)

    @app.post(f"{PREFIX}/possession", openapi_extra=TAKES_CBOR)
    async def possession(request: Request) -> Response:
        """Show that a promise is kept, or sign that it is not: a Signed Challenge in, a Signed Possession out."""
        return await _answer(request, server.possession)


async def _answer(request: Request, give: Callable[[bytes], bytes]) -> Response:
    try:
        body = await read_body(request, MAX_REQUEST, "request")
        return Response(await run_in_threadpool(give, body), media_type=CBOR)
    except (HubError, ChainError) as error:
        status, seconds = refusal(error)
        said = {"error": type(error).__name__, "detail": str(error)}
        return JSONResponse(said, status, headers={"Retry-After": f"{seconds:.1f}"})
