"""The REST interface as one FastAPI application: records in, the read model out.

Owned: paths, shapes and status codes; `hub.api.proofs` adds what concerns the ledger. Not owned: what is shown
(`hub.view`), what is taken (`hub.enrolment`), who may connect: it listens on loopback unless configured.

Errors are `{"error": name, "detail": text}`. Bytes are hexadecimal in JSON, times Unix ms. The OpenAPI document
is /openapi.json; pages that would load scripts from elsewhere are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any, Final

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from gateway.chain.errors import BadProof, TooLarge
from hub.api.backend import Backend, NotFound, identity
from hub.api.bodies import TAKES_CBOR, read_body
from hub.api.engine import add_engine
from hub.api.federation import add_federation
from hub.api.peers import add_peers
from hub.api.proofs import add_proofs
from hub.api.witness import add_log
from hub.doings import latest_events
from hub.enrolment import NotFinalYet, Refused
from hub.errors import ConsensusError, HubError
from hub.evidence import NoEvidence
from hub.storage.notes import Note

Limit = Annotated[int, Query(ge=1, le=1000)]


_STATUS: Final[dict[type[Exception], int]] = {
    Refused: 422,
    TooLarge: 413,
    NotFound: 404,
    NoEvidence: 404,
    BadProof: 404,
    NotFinalYet: 504,
    ConsensusError: 503,
    HubError: 503,
    ClientDisconnect: 400,  # nobody reads it; but a fault it is not, or strangers could fill the log with them
}


def create_app(backend: Backend, version: str) -> FastAPI:
    """Return the application."""
    app = FastAPI(title="Tocsin hub", version=version, docs_url=None, redoc_url=None)
    for kind, status in _STATUS.items():
        app.add_exception_handler(kind, _answer_with(status))
    _add_records(app, backend)
    _add_health(app, backend)
    _add_views(app, backend)
    add_proofs(app, backend)
    add_federation(app, backend)
    if backend.peers is not None:
        add_peers(app, backend.peers.server)
    if backend.window is not None:
        add_engine(app, backend.window)
    add_log(app, backend.core, backend.witness, backend.publisher)
    return app


def _answer_with(status: int) -> Callable[[Request, Exception], JSONResponse]:
    def answer(_request: Request, error: Exception) -> JSONResponse:
        named = isinstance(error, Refused)
        name = error.name if named else type(error).__name__  # type: ignore[attr-defined]
        detail = error.detail if named else str(error)  # type: ignore[attr-defined]
        return JSONResponse({"error": name, "detail": detail}, status)

    return answer


def _add_records(app: FastAPI, backend: Backend) -> None:
    registry = backend.registry

    @app.post("/v1/enrolment", status_code=201, openapi_extra=TAKES_CBOR)
    async def enrol(request: Request) -> dict[str, str]:
        """Enrol a gateway: the body is an Enrolment's bytes. Answers once it is final."""
        done = await run_in_threadpool(registry.enrol, await read_body(request))
        return asdict(done) | {"gateway": done.gateway.hex(), "genesis": done.genesis.hex()}

    @app.post("/v1/records", status_code=201, openapi_extra=TAKES_CBOR)
    async def record(request: Request) -> dict[str, str]:
        """Order a record that carries every signature it needs: the body is a transaction's bytes."""
        return {"gateway": (await run_in_threadpool(registry.record, await read_body(request))).hex()}

    @app.post("/v1/commands", status_code=202, openapi_extra=TAKES_CBOR)
    async def command(request: Request) -> dict[str, str]:
        """Hand a command to its gateway: the body is a Signed Command's bytes. Its outcome comes in a block."""
        return {"gateway": (await run_in_threadpool(backend.commands.take, await read_body(request))).hex()}


def _add_health(app: FastAPI, backend: Backend) -> None:
    @app.get("/healthz")
    def healthz(response: Response) -> dict[str, Any]:
        """Whether the hub does its work; 503 where it does not."""
        health = backend.health()
        response.status_code = 200 if health["ok"] else 503
        return health

    @app.get("/v1/status")
    def status() -> dict[str, Any]:
        """Totals, final height, connections, refusals by name."""
        return backend.status()


def _add_views(app: FastAPI, backend: Backend) -> None:
    view, notes = backend.view, backend.core.store.notes

    @app.get("/v1/gateways")
    def gateways() -> list[dict[str, Any]]:
        """Return every gateway with its latest values and contract states."""
        return view.gateways()

    @app.get("/v1/gateways/{gateway}")
    def gateway(gateway: str) -> dict[str, Any]:
        """One gateway, with its findings and refusals."""
        wanted = identity(gateway, 16)
        found = view.gateway(wanted)
        if found is None:
            raise NotFound(f"gateway {gateway} is not known here")
        return found | {
            "findings": _show_notes(notes.findings(wanted)),
            "refusals": _show_notes(notes.refusals(wanted)),
        }

    @app.get("/v1/gateways/{gateway}/events")
    def events(gateway: str, limit: Limit = 100) -> list[dict[str, Any]]:
        """Return what a gateway's latest blocks tell of outputs, refusals, commands and sensors, latest first."""
        return latest_events(backend.core.store, identity(gateway, 16), limit)

    @app.get("/v1/alarms")
    def alarms(gateway: str | None = None, limit: Limit = 100) -> list[dict[str, Any]]:
        """Return the latest alarms, latest first."""
        return view.alarms(None if gateway is None else identity(gateway, 16), limit)

    @app.get("/v1/findings")
    def findings(limit: Limit = 100) -> list[dict[str, Any]]:
        """Return what people should look at, latest last."""
        return _show_notes(notes.findings(limit=limit))

    @app.get("/v1/refusals")
    def refusals(limit: Limit = 100) -> list[dict[str, Any]]:
        """Return what was refused, by the errors' names, latest last."""
        return _show_notes(notes.refusals(limit=limit))


def _show_notes(notes: list[Note]) -> list[dict[str, Any]]:
    return [
        {"at": n.at, "gateway": n.gateway.hex(), "kind": n.kind, "detail": n.detail, "item": n.item.hex()}
        for n in notes
    ]
