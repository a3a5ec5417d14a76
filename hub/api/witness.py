"""The log in the open, in C2SP's forms: checkpoints, proofs and leaves for auditors, and this hub as a witness.

`<url>/v1/log` is the log's prefix in the sense of tlog-tiles as far as its checkpoint goes; `<url>/v1/witness` is the
submission prefix of tlog-witness. What is asked for in JSON elsewhere is text here: it is what other software reads.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import FastAPI, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from gateway.chain.entries import roster_key
from gateway.chain.errors import (
    BadProof,
    BadSignature,
    ChainError,
    FormatError,
    OtherHead,
    TooLarge,
    UnknownSigner,
    WrongChain,
)
from gateway.chain.members import members_file
from gateway.chain.notes import MAX_SUBMISSION, Submission, hub_key, log_key, proof_text
from hub.api.backend import CBOR, NotFound
from hub.api.bodies import read_body
from hub.core import Core
from hub.witnessing.publisher import Publisher
from hub.witnessing.witness import NotYet, Witness

TEXT: Final = "text/plain; charset=utf-8"
_MOST: Final = 1 << 48
Place = Annotated[int, Path(ge=0, lt=_MOST)]
Size = Annotated[int, Query(ge=1, lt=_MOST)]
_STATUS: Final[tuple[tuple[type[ChainError], int], ...]] = (
    (TooLarge, 413),
    (FormatError, 400),
    (WrongChain, 404),
    (BadSignature, 403),
    (UnknownSigner, 503),
    (OtherHead, 409),
    (BadProof, 422),
)


def add_log(app: FastAPI, core: Core, witness: Witness, publisher: Publisher) -> None:
    """Add these paths to the application."""
    _add_checkpoints(app, witness, publisher)
    _add_members(app, core, witness)
    _add_proofs(app, core)
    _add_witness(app, witness)


def _text(text: str) -> Response:
    return Response(text.encode(), media_type=TEXT)


def _add_checkpoints(app: FastAPI, witness: Witness, publisher: Publisher) -> None:
    @app.get("/v1/log/checkpoint")
    def checkpoint() -> Response:
        """Return the latest checkpoint of the log, a note signed by this hub, with all cosignatures so far."""
        note = publisher.note()
        if note is None:
            raise NotFound("no checkpoint of the log is published yet")
        return Response(note.encode(), media_type=TEXT, headers={"Cache-Control": "max-age=1"})


def _add_members(app: FastAPI, core: Core, witness: Witness) -> None:
    @app.get("/v1/log/keys")
    def keys() -> Response:
        """Return the members' verifier keys: for each, the one it signs the log with, and the one it cosigns with."""
        members, origin = witness.roster().members, witness.origin
        lines = [f"{log_key(origin, each.key)}\n{hub_key(origin, each)}\n" for each in members]
        return _text("".join(lines))

    @app.get("/v1/log/members")
    def members() -> Response:
        """Return who belongs to the federation, as bytes that a genesis suffices to verify (gateway.chain.members)."""
        sealed = core.checkpoint()
        at = core.ledger.committed_as(sealed.app)
        if at is None:
            raise NotFound("the state has gone on, and its seal is on the way: ask again")
        return Response(members_file(sealed, at.prove(roster_key())), media_type=CBOR)

    @app.get("/v1/log/splits")
    def splits() -> list[dict[str, Any]]:
        """Return pairs of notes that cannot both be true: what some hub signed, and what this one holds."""
        found = witness.store.splits()
        return [
            {"at": s.at, "signer": s.signer.hex(), "theirs": s.theirs.decode(), "ours": s.ours.decode()}
            for s in found
        ]


def _add_proofs(app: FastAPI, core: Core) -> None:
    ledger, chain = core.ledger, core.store.chain

    @app.get("/v1/log/proof")
    def proof(old: Size, new: Size) -> Response:
        """Return the proof that the log of `new` leaves extends that of `old`, as tlog-witness spells it."""
        return _text(proof_text(old, ledger.consistency(old, new)))

    @app.get("/v1/log/leaf/{index}")
    def leaf(index: Place, size: Size | None = None) -> dict[str, Any]:
        """Return a leaf's bytes and its way to the root over the first `size` leaves, by default all."""
        size = ledger.committed.app.log_size if size is None else size
        path, data = ledger.inclusion(index, size), chain.log_leaf(index)
        if data is None:
            raise NotFound(f"leaf {index} is not here")
        shown = {"index": index, "leaf": data.hex(), "size": size, "root": ledger.log_root(size).hex()}
        return shown | {"path": [each.hex() for each in path]}


def _add_witness(app: FastAPI, witness: Witness) -> None:
    takes = {
        "requestBody": {"required": True, "content": {"text/plain": {"schema": {"type": "string"}}}},
    }

    @app.post("/v1/witness/add-checkpoint", openapi_extra=takes)
    async def add_checkpoint(request: Request) -> Response:
        """Cosign a checkpoint as tlog-witness says: 200, 400, 403, 404, 409 or 422; 503 when it is too early."""
        try:
            submitted = Submission.parse(await read_body(request, MAX_SUBMISSION, "submission"))
            return _text(await run_in_threadpool(witness.add_checkpoint, submitted))
        except OtherHead as error:
            # As a header: a media type would get a charset, which tlog-witness does not have.
            return Response(f"{error.size}\n", 409, {"Content-Type": "text/x.tlog.size"})
        except NotYet as error:
            return Response(f"{error}\n", 503, {"Retry-After": "1"}, TEXT)
        except ChainError as error:
            status = next(status for kind, status in _STATUS if isinstance(error, kind))
            return Response(f"{error}\n", status, media_type=TEXT)
