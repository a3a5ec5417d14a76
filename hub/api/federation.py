"""The part of the REST interface that concerns the federation: how it stands, and requests to be admitted."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool

from gateway.chain.errors import ChainError
from hub.api.backend import Backend, NotFound
from hub.api.bodies import read_body
from hub.enrolment import Refused
from hub.federation.desk import FederationDesk


def add_federation(app: FastAPI, backend: Backend) -> None:
    """Add these paths to the application."""

    def desk() -> FederationDesk:
        if backend.federation is None:
            raise NotFound("this hub is alone: it has no federation; tocsin-hub status shows how it is")
        return backend.federation

    @app.get("/v1/federation")
    def federation() -> dict[str, Any]:
        """Members and their votes, proposals, height, lag, disk."""
        return desk().show()

    @app.post("/v1/federation/requests", status_code=202)
    async def ask(request: Request) -> dict[str, str]:
        """Ask to be admitted: the body is a hub's signed statement. An operator has to propose it."""
        body = await read_body(request)
        try:
            return {"name": await run_in_threadpool(desk().ask, body)}
        except ChainError as error:
            raise Refused(type(error).__name__, str(error)) from error
