"""How hubs hold each other to their promises of custody: requests for bodies, challenges, summonses, breaches.

A challenge is asked and answered between two hubs and costs the chain nothing. A summons is the same question
before everybody: it is ordered, and whoever was asked has until its deadline to have an answer ordered.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Final

from gateway.chain.custody import Promise, Receipt
from gateway.chain.record import Hash, Many, Millis, Octets, PublicKey, Range, Record

SUMMONS_MS: Final = 10 * 60_000
"""How long a summoned hub has for its answer, from the ordered time on."""

MAX_WANTED: Final = 64
HELD: Final = 1
LACKED: Final = 2


@dataclass(frozen=True, slots=True)
class BodyRequest(Record):
    """A hub asks another for bodies (domain `tocsin/body-request/v1`). Bit c of `classes` asks for class c."""

    genesis: Hash
    hub: PublicKey
    of: PublicKey
    wanted: Annotated[tuple[Hash, ...], Many(1, MAX_WANTED)]
    classes: Annotated[int, Range(1, 7)]
    time: Millis


@dataclass(frozen=True, slots=True)
class Challenge(Record):
    """A hub asks another to show that it holds what it promised (domain `tocsin/challenge/v1`)."""

    genesis: Hash
    hub: PublicKey
    of: PublicKey
    promise: Promise
    nonce: Annotated[bytes, Octets(32, 32)]
    time: Millis


@dataclass(frozen=True, slots=True)
class Possession(Record):
    """The answer to a challenge (domain `tocsin/possession/v1`): what it asked of, and 1 held or 2 lacked.

    `proof` is `possession_proof` over the promised segments where held, else all zero.
    """

    genesis: Hash
    hub: PublicKey
    promise: Promise
    nonce: Annotated[bytes, Octets(32, 32)]
    says: Annotated[int, Range(HELD, LACKED)]
    proof: Hash
    time: Millis


@dataclass(frozen=True, slots=True)
class SummonsBody(Record):
    """A member calls another to account for a promise before all (domain `tocsin/summons/v1`)."""

    genesis: Hash
    hub: PublicKey
    receipt: Receipt
    time: Millis


@dataclass(frozen=True, slots=True)
class ResponseBody(Record):
    """The summoned hub's answer (domain `tocsin/response/v1`): as `Possession`, with the summons' hash for a nonce."""

    genesis: Hash
    hub: PublicKey
    summons: Hash
    says: Annotated[int, Range(HELD, LACKED)]
    proof: Hash


def possession_proof(nonce: bytes, segments: tuple[bytes, ...]) -> bytes:
    """Return SHA-256 over a nonce and each segment's hash under it: nothing short of the bytes yields it."""
    return sha256(nonce + b"".join(sha256(nonce + each).digest() for each in segments)).digest()
