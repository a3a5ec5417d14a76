"""The part of the REST interface that concerns the ledger: blocks, checkpoints, proofs and evidence.

Proofs leave as the format's own bytes, so that whoever asked checks exactly what the hub holds. Of a block's
segments only the public one leaves by here; the others' hashes stand in the header.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Final

from fastapi import FastAPI, Header, Path, Query, Response

from gateway.chain.block import Header as BlockHeader
from gateway.chain.finality import Checkpoint
from gateway.chain.leaf import ALARMS, HEADERS, LogLeaf
from gateway.chain.messages import HeaderFinality
from gateway.chain.reading import PUBLIC
from hub.api.backend import CBOR, Backend, NotFound, identity
from hub.evidence import alarm_evidence, reading_evidence
from hub.storage.store import StoredHeader

Accept = Annotated[str, Header()]
_MOST: Final = 1 << 48
"""Heights, sizes and places lie below; beyond it they would not fit the database's integers either."""
Place = Annotated[int, Path(ge=0, lt=_MOST)]
Size = Annotated[int, Query(ge=0, lt=_MOST)]


def add_proofs(app: FastAPI, backend: Backend) -> None:
    """Add these paths to the application."""
    _add_chain(app, backend)
    _add_blocks(app, backend)
    _add_items(app, backend)


def _cbor(data: bytes) -> Response:
    return Response(data, media_type=CBOR)


def _add_chain(app: FastAPI, backend: Backend) -> None:
    core = backend.core

    @app.get("/v1/genesis")
    def genesis() -> Response:
        """Return the chain's genesis, as bytes."""
        return _cbor(core.genesis.encode())

    @app.get("/v1/checkpoint", response_model=None)
    def checkpoint(height: Size | None = None, accept: Accept = "") -> Response | dict[str, Any]:
        """Return a final block's checkpoint, by default the latest: bytes for `Accept: application/cbor`, else JSON."""
        found = core.store.chain.checkpoint(height)
        if found is None:
            raise NotFound(f"there is no sealed final block {height}")
        return _cbor(found.encode()) if CBOR in accept else _show_checkpoint(backend, found)

    @app.get("/v1/proofs/consistency")
    def consistency(old: Size, new: Size) -> dict[str, Any]:
        """Return the RFC 6962 proof that the log of `new` leaves extends that of `old`."""
        return {"old": old, "new": new, "path": [each.hex() for each in core.ledger.consistency(old, new)]}


def _add_blocks(app: FastAPI, backend: Backend) -> None:
    core = backend.core

    @app.get("/v1/blocks/{gateway}")
    def blocks(gateway: str, limit: Annotated[int, Query(ge=1, le=500)] = 50) -> list[dict[str, Any]]:
        """Return a gateway's latest blocks, latest first."""
        wanted = identity(gateway, 16)
        return [_show_header(backend, wanted, each) for each in core.store.latest_headers(wanted, limit)]

    @app.get("/v1/blocks/{gateway}/{height}", response_model=None)
    def block(gateway: str, height: Place, accept: Accept = "") -> Response | dict[str, Any]:
        """Return a block: its public bytes for `Accept: application/cbor`, else its header and summaries as JSON."""
        wanted = identity(gateway, 16)
        found = _at(backend, wanted, height)
        if CBOR not in accept:
            return _show_header(backend, wanted, found)
        whole = core.store.block(wanted, found.position)
        if whole is None:
            raise NotFound(f"block {height} of {gateway} is not here")
        pairs = zip(found.header.segments, whole.segments, strict=True)
        shown = tuple(data if head.klass == PUBLIC else b"" for head, data in pairs)
        return _cbor(replace(whole, segments=shown).encode())


def _add_items(app: FastAPI, backend: Backend) -> None:
    core, archive = backend.core, backend.archive

    @app.get("/v1/proofs/blocks/{gateway}/{height}")
    def block_proof(gateway: str, height: Place) -> Response:
        """Return a block's HeaderFinality, as bytes."""
        wanted = identity(gateway, 16)
        at = _at(backend, wanted, height).position
        proof = core.prove(LogLeaf(HEADERS, wanted, at.epoch, at.height, at.hash))
        if proof is None:
            raise NotFound(f"block {height} of {gateway} is not final")
        return _cbor(HeaderFinality(at, proof).encode())

    @app.get("/v1/proofs/alarms/{alarm}")
    def alarm_proof(alarm: str) -> Response:
        """Return an alarm's FinalityProof by its transition's hash, as bytes."""
        wanted = identity(alarm, 32)
        for stored in core.store.alarms(transition=wanted, flaw=""):
            proof = core.prove(LogLeaf(ALARMS, stored.gateway, 0, stored.alarm.mark, wanted))
            if proof is not None:
                return _cbor(proof.encode())
        raise NotFound(f"alarm {alarm} is not final here")

    @app.get("/v1/evidence/alarms/{alarm}")
    def evidence_of_alarm(alarm: str) -> Response:
        """Return an alarm's evidence file."""
        return _cbor(alarm_evidence(archive, identity(alarm, 32)))

    @app.get("/v1/evidence/blocks/{gateway}/{height}/{leaf}")
    def evidence_of_reading(gateway: str, height: Place, leaf: Place) -> Response:
        """Return the evidence file of one leaf of a block's public segment."""
        return _cbor(reading_evidence(archive, identity(gateway, 16), height, leaf))


def _at(backend: Backend, gateway: bytes, height: int) -> StoredHeader:
    """Return a gateway's block at a height, of the latest epoch that has one there. Raises NotFound."""
    found = backend.core.store.latest_headers(gateway, 1, before=height + 1)
    if not found or found[0].position.height != height:
        raise NotFound(f"gateway {gateway.hex()} has no block {height} here")
    return found[0]


def _show_header(backend: Backend, gateway: bytes, stored: StoredHeader) -> dict[str, Any]:
    header, at, core = stored.header, stored.position, backend.core
    index = core.ledger.index(LogLeaf(HEADERS, gateway, at.epoch, at.height, at.hash))
    return {
        "gateway": gateway.hex(),
        "epoch": at.epoch,
        "height": at.height,
        "hash": at.hash.hex(),
        "previous": header.previous.hex(),
        "boot": header.boot.hex(),
        "wall_ms": header.wall,
        "span_ms": header.span,
        "clock": header.clock,
        "seen": header.seen.height,
        "segments": [{"class": each.klass, "count": each.count} for each in header.segments],
        "series": _summaries(backend, header, stored),
        "received_ms": stored.received,
        "index": index,
        "final": index is not None,
    }


def _summaries(backend: Backend, header: BlockHeader, stored: StoredHeader) -> list[dict[str, Any]]:
    """Return the summaries of the public series; scaled integers, as their series declares."""
    catalogue = backend.core.store.library.catalogue(header.catalogue.root)
    return [
        {
            "name": series.name,
            "unit": series.unit,
            "scale": series.scale,
            "count": each.count,
            "min": each.least,
            "max": each.most,
            "last": each.last,
            "sum": each.total,
        }
        for each in stored.summaries
        if catalogue is not None
        and each.series < len(catalogue)
        and (series := catalogue[each.series]).klass == PUBLIC
    ]


def _show_checkpoint(backend: Backend, checkpoint: Checkpoint) -> dict[str, Any]:
    sealed, app = checkpoint.verify(backend.core.genesis), checkpoint.app
    return {
        "genesis": backend.core.genesis.hash.hex(),
        "height": sealed.height,
        "time_ms": sealed.time,
        "log_size": app.log_size,
        "log_root": app.log_root.hex(),
        "state_root": app.state_root.hex(),
        "app_hash": app.hash.hex(),
        "seal_hash": sealed.hash.hex(),
        "word": sealed.word,
        "checkpoint": checkpoint.encode().hex(),
    }
