"""Who is let in to ask this hub: members in good standing, freshly, each request once, at their share of bytes.

Owned: that judgement, and what is refused in which words. Not owned: the answers (`hub.peers.server`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from gateway.chain.errors import ChainError
from gateway.chain.governance import MEMBER_GOOD, Member
from gateway.chain.keys import Signed
from gateway.chain.record import Record
from hub.core import Core
from hub.errors import HubError
from hub.peers.link import Bucket
from hub.peers.policy import Policy
from hub.peers.wire import MAX_REQUEST

FRESH_MS: Final = 120_000
"""How far a request's time may lie from this hub's clock."""

_LEAST_COST: Final = 2048  # bytes that any request is charged, so that small ones are bounded too


class NotWelcome(HubError):
    """Whoever asks is no member in good standing, or asks another hub than this one."""


class NotFresh(HubError):
    """A request is too old, too new, or was made before."""


class TooFast(HubError):
    """Ask again after `seconds`."""

    def __init__(self, text: str, seconds: float) -> None:
        super().__init__(text)
        self.seconds = seconds


class _Request(Protocol):
    """What all requests have."""

    @property
    def genesis(self) -> bytes: ...
    @property
    def hub(self) -> bytes: ...
    @property
    def of(self) -> bytes: ...
    @property
    def time(self) -> int: ...


R = TypeVar("R", bound=Record)


class Doorkeeper:
    """Decides whose requests are answered. Safe for several threads."""

    def __init__(self, core: Core, policy: Policy, heard: Callable[[bytes], None]) -> None:
        """`heard` is told the key of each member whose request is let in."""
        self._core, self._policy, self._heard = core, policy, heard
        self._lock = threading.Lock()
        self._seen: dict[
            bytes, int
        ] = {}  # signatures by the time at which they are stale anyway, oldest first
        self._buckets: dict[bytes, Bucket] = {}

    def admit(self, payload: bytes, domain: str, kind: type[R]) -> tuple[R, Member]:
        """Return a request and its member. Raises ChainError, NotWelcome, NotFresh or TooFast."""
        signed = Signed.decode(payload, max_size=MAX_REQUEST)
        request = kind.decode(signed.body, max_size=MAX_REQUEST)
        member = self._check(request, signed, domain)  # type: ignore[arg-type]
        self._heard(member.key)
        return request, member

    def _check(self, request: _Request, signed: Signed, domain: str) -> Member:
        core, now = self._core, self._core.now_ms()
        core.genesis.require(request.genesis, "the request")
        member = core.ledger.committed.roster(core.genesis).hub(request.hub)
        if request.of != core.key.public:
            raise NotWelcome(
                f"{member.name} asks hub {request.of.hex()[:16]}, this is {core.key.public.hex()[:16]}"
            )
        if wait := self._bucket(member.key).wait():
            raise TooFast(f"{member.name} has had its share for now", wait)
        signed.verify(domain, member.key)
        if member.standing != MEMBER_GOOD:
            raise NotWelcome(f"{member.name} is not in good standing: the federation took its vote")
        if abs(request.time - now) > FRESH_MS:
            raise NotFresh(
                f"the request of {member.name} is of {request.time}, it is {now}: compare the clocks"
            )
        self._once(signed.signature, now, member)
        self.charge(member, _LEAST_COST)
        return member

    def charge(self, member: Member, count: int) -> None:
        """Note bytes that a member had."""
        self._bucket(member.key).spend(count)

    def _once(self, signature: bytes, now: int, member: Member) -> None:
        with self._lock:
            while self._seen and (oldest := next(iter(self._seen))) and self._seen[oldest] < now:
                del self._seen[oldest]
            if signature in self._seen:
                raise NotFresh(f"the request of {member.name} was answered before")
            self._seen[signature] = now + 2 * FRESH_MS

    def _bucket(self, key: bytes) -> Bucket:
        with self._lock:
            if key not in self._buckets:
                self._buckets[key] = Bucket(self._policy.bytes_per_second)
            return self._buckets[key]


def refusal(error: HubError | ChainError) -> tuple[int, float]:
    """Return the HTTP status of a refused request, and after how many seconds to ask again."""
    match error:
        case TooFast():
            return 429, error.seconds
        case NotFresh():
            return 409, 1.0
        case NotWelcome():
            return 403, 60.0
        case ChainError():
            return 403 if not isinstance(error, ValueError) else 400, 60.0
        case _:
            return 503, 5.0
