"""Signed questions to one other hub. What comes back is decoded; whether it is true is the asker's to find out."""

from __future__ import annotations

from typing import Final, TypeVar

from gateway.chain.custody import Promise
from gateway.chain.governance import Member
from gateway.chain.keys import BODY_REQUEST, CHALLENGE, Signed
from gateway.chain.possession import BodyRequest, Challenge
from gateway.chain.record import Record
from hub.core import Core
from hub.peers.link import Bucket, PeerLink
from hub.peers.state import PeerState
from hub.peers.wire import (
    ALARMS_REQUEST,
    HEADERS_REQUEST,
    LIBRARY_REQUEST,
    MAX_ANSWER,
    PROMISES_REQUEST,
    AlarmsAnswer,
    AlarmsRequest,
    BodiesAnswer,
    HeadersAnswer,
    HeadersRequest,
    LibraryAnswer,
    LibraryRequest,
    PromisesAnswer,
    PromisesRequest,
)

_PATH: Final = "/v1/peers"
A = TypeVar("A", bound=Record)


class Asker:
    """Asks one hub. For one thread. Every question raises PeerSilent, PeerRefusal or FormatError."""

    def __init__(self, core: Core, state: PeerState, link: PeerLink, bucket: Bucket) -> None:
        """`bucket` is charged for all that is received."""
        self._core, self._state, self._link, self._bucket = core, state, link, bucket
        self._asked_at = 0

    def member(self) -> Member | None:
        """Return what the roster says of this hub, None where it is no member."""
        core = self._core
        roster = core.ledger.committed.roster(core.genesis)
        return next((each for each in roster.members if each.name == self._state.name), None)

    def bodies(self, of: Member, hashes: tuple[bytes, ...], classes: int) -> BodiesAnswer:
        """Ask for the segments of some classes of blocks."""
        core = self._core
        request = BodyRequest(core.genesis.hash, core.key.public, of.key, hashes, classes, self._time())
        return self._ask("bodies", BODY_REQUEST, request, BodiesAnswer)

    def promises(self, of: Member, after: int) -> PromisesAnswer:
        """Ask for the batches of promises above a number; tells how far this hub has come."""
        core = self._core
        height = core.ledger.committed.height
        request = PromisesRequest(core.genesis.hash, core.key.public, of.key, after, height, self._time())
        answer = self._ask("receipts", PROMISES_REQUEST, request, PromisesAnswer)
        self._state.heard(core.now_ms(), height=answer.height)
        return answer

    def library(
        self, of: Member, catalogues: tuple[bytes, ...], contracts: tuple[bytes, ...]
    ) -> LibraryAnswer:
        """Ask for catalogues and contract sets by their roots."""
        core = self._core
        request = LibraryRequest(
            core.genesis.hash, core.key.public, of.key, catalogues, contracts, self._time()
        )
        return self._ask("library", LIBRARY_REQUEST, request, LibraryAnswer)

    def headers(self, of: Member, tip: bytes) -> HeadersAnswer:
        """Ask for the header of a hash and those before it."""
        core = self._core
        request = HeadersRequest(core.genesis.hash, core.key.public, of.key, tip, self._time())
        return self._ask("headers", HEADERS_REQUEST, request, HeadersAnswer)

    def alarms(self, of: Member, hashes: tuple[bytes, ...]) -> AlarmsAnswer:
        """Ask for alarms by their transitions' hashes."""
        core = self._core
        request = AlarmsRequest(core.genesis.hash, core.key.public, of.key, hashes, self._time())
        return self._ask("alarms", ALARMS_REQUEST, request, AlarmsAnswer)

    def possession(self, of: Member, promise: Promise, nonce: bytes) -> Signed:
        """Ask for a proof that a promise is kept, or a signed word that it is not."""
        core = self._core
        request = Challenge(core.genesis.hash, core.key.public, of.key, promise, nonce, self._time())
        return self._ask("possession", CHALLENGE, request, Signed)

    def _ask(self, path: str, domain: str, request: Record, answer: type[A]) -> A:
        signed = self._core.key.signed(domain, request.encode())
        before = self._link.received
        try:
            data = self._link.post(f"{_PATH}/{path}", signed.encode(), MAX_ANSWER)
        finally:
            got = self._link.received - before
            self._state.count(got=got)
            self._bucket.spend(got)
        self._state.heard(self._core.now_ms())
        return answer.decode(data, max_size=MAX_ANSWER)

    def _time(self) -> int:
        """Return the time of a request (Unix ms), another one each time, so that none is taken for a repeat."""
        self._asked_at = max(self._core.now_ms(), self._asked_at + 1)
        return self._asked_at
