"""The part of the REST interface that hubs use which join by a snapshot. Bodies are JSON both ways."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from hub.api.bodies import read_body
from hub.federation.engine_window import MAX_QUESTION, BadQuestion, EngineWindow


def add_engine(app: FastAPI, window: EngineWindow) -> None:
    """Add these paths to the application."""

    @app.get("/v1/snapshots")
    def snapshots() -> list[dict[str, Any]]:
        """Return the snapshots that may be had here: height, chunks and hash."""
        return window.snapshots()

    @app.post("/v1/engine", response_model=None)
    async def engine(request: Request) -> dict[str, Any] | JSONResponse:
        """Answer a light client's JSON-RPC: commit, validators, consensus_params."""
        body = await read_body(request, MAX_QUESTION, "question")
        try:
            return await run_in_threadpool(window.answer, body)
        except BadQuestion as error:
            return JSONResponse({"error": type(error).__name__, "detail": str(error)}, 400)
