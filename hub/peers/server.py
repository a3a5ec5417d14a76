"""What this hub answers to other hubs: bodies, promises, proofs of possession, catalogues and contracts.

Owned: who is let in, how often, and what each may have. Not owned: HTTP (`hub.api.peers`).

Invariants:
- Only members in good standing are answered, each request once and freshly, and only if it names this hub.
- Strangers cost one look at the roster; members cost at most their share of bytes per second.
- What is promised and not held is said not to be held, over this hub's signature.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from gateway.chain.block import Header
from gateway.chain.canonical import encode
from gateway.chain.custody import Promise
from gateway.chain.keys import BODY_REQUEST, CHALLENGE, NO_HASH, POSSESSION, Signed
from gateway.chain.possession import (
    HELD,
    LACKED,
    BodyRequest,
    Challenge,
    Possession,
    possession_proof,
)
from hub.core import Core
from hub.peers.door import Doorkeeper, TooFast
from hub.peers.policy import Policy
from hub.peers.wire import (
    ALARMS_REQUEST,
    ENOUGH,
    GIVEN,
    HEADERS_REQUEST,
    LACKING,
    LIBRARY_REQUEST,
    MAX_HEADERS,
    PROMISES_REQUEST,
    SHED,
    WITHHELD,
    AlarmsAnswer,
    AlarmsRequest,
    BodiesAnswer,
    Body,
    BodySegment,
    ContractSet,
    HeadersAnswer,
    HeadersRequest,
    LibraryAnswer,
    LibraryRequest,
    PromiseBatch,
    PromisesAnswer,
    PromisesRequest,
)
from hub.storage.bodies import Kept

_AT_ONCE: Final = 8
_RECOVERY_SECONDS: Final = 300.0
_BATCHES: Final = 64
_PROMISES: Final = 4096


class PeerServer:
    """Answers signed requests: bytes in, bytes out. Safe for several threads."""

    def __init__(self, core: Core, policy: Policy, heard: Callable[[bytes], None] = lambda _: None) -> None:
        self._core, self._policy = core, policy
        self._door = Doorkeeper(core, policy, heard)
        self._slots = threading.BoundedSemaphore(_AT_ONCE)

    def bodies(self, payload: bytes) -> bytes:
        """Answer a signed `BodyRequest` with a `BodiesAnswer`. Raises as `Doorkeeper.admit`."""
        request, member = self._door.admit(payload, BODY_REQUEST, BodyRequest)
        core = self._core
        own = core.ledger.committed.roster(core.genesis).hub(core.key.public)
        allowed = self._policy.allows(member, own)
        found: list[Body] = []
        size = 0
        with self._slot():
            for identity in request.wanted:
                found.append(self._body(identity, request.classes, allowed))
                size += sum(len(each.data) for each in found[-1].segments)
                if size >= ENOUGH:
                    break
            answer = BodiesAnswer(tuple(found)).encode()
        self._door.charge(member, len(answer))
        return answer

    def _body(self, identity: bytes, classes: int, allowed: int) -> Body:
        kept = self._core.store.bodies.find(identity)
        if kept is None:
            return Body(identity, ())
        pairs = zip(kept.header.segments, kept.segments, strict=True)
        return Body(
            identity,
            tuple(
                _segment(head.klass, data, is_allowed=bool(allowed >> head.klass & 1))
                for head, data in pairs
                if classes >> head.klass & 1
            ),
        )

    def promises(self, payload: bytes) -> bytes:
        """Answer a signed `PromisesRequest` with a `PromisesAnswer`. Raises as `Doorkeeper.admit`."""
        request, member = self._door.admit(payload, PROMISES_REQUEST, PromisesRequest)
        core, count = self._core, 0
        batches: list[PromiseBatch] = []
        for number, batch, promises in core.store.custody.batches_after(request.after, _BATCHES):
            count += len(promises)
            if batches and count > _PROMISES:
                break
            batches.append(PromiseBatch(number, batch, tuple(promises)))
        height, last = core.ledger.committed.height, core.store.custody.last()
        answer = PromisesAnswer(height, last, tuple(batches)).encode()
        self._door.charge(member, len(answer))
        return answer

    def library(self, payload: bytes) -> bytes:
        """Answer a signed `LibraryRequest` with a `LibraryAnswer`. Raises as `Doorkeeper.admit`."""
        request, member = self._door.admit(payload, LIBRARY_REQUEST, LibraryRequest)
        library = self._core.store.library
        catalogues = [library.catalogue(root) for root in request.catalogues]
        sets = [library.contracts(root) for root in request.contracts]
        answer = LibraryAnswer(
            tuple(encode([s.to_item() for s in each]) for each in catalogues if each is not None),
            tuple(ContractSet(tuple(each)) for each in sets if each is not None),
        ).encode()
        self._door.charge(member, len(answer))
        return answer

    def headers(self, payload: bytes) -> bytes:
        """Answer a signed `HeadersRequest` with a `HeadersAnswer`. Raises as `Doorkeeper.admit`."""
        request, member = self._door.admit(payload, HEADERS_REQUEST, HeadersRequest)
        found: list[Signed] = []
        tip = request.tip
        with self._slot():
            while len(found) < MAX_HEADERS and (signed := self._core.store.bodies.signed(tip)) is not None:
                found.append(signed)
                tip = Header.decode(signed.body).previous
        answer = HeadersAnswer(tuple(found)).encode()
        self._door.charge(member, len(answer))
        return answer

    def alarms(self, payload: bytes) -> bytes:
        """Answer a signed `AlarmsRequest` with an `AlarmsAnswer`. Raises as `Doorkeeper.admit`."""
        request, member = self._door.admit(payload, ALARMS_REQUEST, AlarmsRequest)
        store = self._core.store
        found = [store.alarms(transition=identity, flaw="", limit=1) for identity in request.wanted]
        answer = AlarmsAnswer(tuple(stored.alarm for each in found for stored in each)).encode()
        self._door.charge(member, len(answer))
        return answer

    def possession(self, payload: bytes) -> bytes:
        """Answer a signed `Challenge` with a signed `Possession`. Raises as `Doorkeeper.admit`."""
        request, member = self._door.admit(payload, CHALLENGE, Challenge)
        core, promise = self._core, request.promise
        with self._slot():
            segments = promised_segments(core.store.bodies.find(promise.hash), promise.classes)
            if segments is None and not remembers(core, promise):
                # Restored from a backup, it has what it promised since to get from the others first.
                raise TooFast("this hub knows nothing of that promise yet", _RECOVERY_SECONDS)
            says = LACKED if segments is None else HELD
            proof = NO_HASH if segments is None else possession_proof(request.nonce, segments)
        body = Possession(
            core.genesis.hash, core.key.public, promise, request.nonce, says, proof, core.now_ms()
        )
        answer = core.key.signed(POSSESSION, body.encode()).encode()
        self._door.charge(member, len(answer))
        return answer

    @contextmanager
    def _slot(self) -> Iterator[None]:
        """Hold one of the few places in which the disk is read for others. Raises TooFast."""
        if not self._slots.acquire(blocking=False):
            raise TooFast(f"{_AT_ONCE} requests are being answered already", 1.0)
        try:
            yield
        finally:
            self._slots.release()


def promised_segments(kept: Kept | None, classes: int) -> tuple[bytes, ...] | None:
    """Return the segments that a promise covers, None where any of them is not held."""
    return None if kept is None else kept.promised(classes)


def remembers(core: Core, promise: Promise) -> bool:
    """Tell whether this hub gave a promise, as far as its disk goes back."""
    return promise in core.store.custody.promises(promise.gateway, promise.epoch, promise.height)


def _segment(klass: int, data: bytes | None, *, is_allowed: bool) -> BodySegment:
    if not is_allowed:
        return BodySegment(klass, WITHHELD, b"")
    if data is None:
        return BodySegment(klass, SHED, b"")
    return BodySegment(klass, GIVEN if data else LACKING, data)
