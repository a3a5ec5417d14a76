"""Hashes, signatures and identities: SHA-256 and Ed25519 by libsodium, each under a domain.

A domain is an ASCII name with a version, such as `tocsin/block/v1`. It is followed by a zero byte wherever it
is hashed or signed, so no statement can be taken for one of another kind. Every signature names its suite;
suite 1 is Ed25519 with SHA-256, and others are refused by name until they exist.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import CryptoError

from gateway.chain.errors import BadSignature, UnsupportedSuite
from gateway.chain.record import Blob, Record, Signature, Suite

SUITE: Final = 1
NO_HASH: Final = bytes(32)

BLOCK: Final = "tocsin/block/v1"
SEGMENT: Final = "tocsin/segment/v1"
SALT: Final = "tocsin/salt/v1"
ALARM: Final = "tocsin/alarm/v1"
ALARM_UNRECORDED: Final = "tocsin/alarm-unrecorded/v1"
CONTRACT: Final = "tocsin/contract/v1"
GENESIS: Final = "tocsin/genesis/v1"
TAKEOVER: Final = "tocsin/takeover/v1"
TICKET: Final = "tocsin/ticket/v1"
ENROLMENT: Final = "tocsin/enrolment/v1"
ROTATION: Final = "tocsin/rotation/v1"
REVOCATION: Final = "tocsin/revocation/v1"
EPOCH: Final = "tocsin/epoch/v1"
EQUIVOCATION: Final = "tocsin/equivocation/v1"
GRANT: Final = "tocsin/contract-grant/v1"
APP: Final = "tocsin/app/v1"
SEAL: Final = "tocsin/seal/v1"
STATE_KEY: Final = "tocsin/state-key/v1"
CUSTODY: Final = "tocsin/custody/v1"
BIRTH: Final = "tocsin/birth/v1"
ANSWER: Final = "tocsin/answer/v1"
ALARM_RECEIPT: Final = "tocsin/alarm-receipt/v1"
HEARTBEAT: Final = "tocsin/heartbeat/v1"
HUB_STATE: Final = "tocsin/hub-state/v1"
REQUEST: Final = "tocsin/request/v1"
COMMAND: Final = "tocsin/command/v1"
JOIN: Final = "tocsin/join/v1"
OFFICE: Final = "tocsin/authority/v1"
PROPOSAL: Final = "tocsin/proposal/v1"
APPROVAL: Final = "tocsin/approval/v1"
SUSPENSION: Final = "tocsin/suspension/v1"
MISBEHAVIOUR: Final = "tocsin/misbehaviour/v1"
BODY_REQUEST: Final = "tocsin/body-request/v1"
CHALLENGE: Final = "tocsin/challenge/v1"
POSSESSION: Final = "tocsin/possession/v1"
SUMMONS: Final = "tocsin/summons/v1"
RESPONSE: Final = "tocsin/response/v1"
BREACHED: Final = "tocsin/breach/v1"
TRANSFER: Final = "tocsin/transfer/v1"
CALIBRATION: Final = "tocsin/calibration/v1"
COMMISSIONING: Final = "tocsin/commissioning/v1"
NEIGHBOUR: Final = "tocsin/neighbour/v1"


def digest(domain: str, data: bytes) -> bytes:
    """Return SHA-256 over the domain, a zero byte and the data (32 bytes)."""
    return sha256(domain.encode("ascii") + b"\x00" + data).digest()


def gateway_id(first_public_key: bytes) -> bytes:
    """Return a gateway's identity (16 bytes), kept through every rotation of its key."""
    return sha256(first_public_key).digest()[:16]


def signing_input(domain: str, suite: int, body: bytes) -> bytes:
    """Return the bytes that a signature covers."""
    return domain.encode("ascii") + b"\x00" + bytes((suite,)) + body


def verify(public: bytes, domain: str, suite: int, body: bytes, signature: bytes) -> None:
    """Check one signature. Raises UnsupportedSuite or BadSignature naming the domain."""
    if suite != SUITE:
        raise UnsupportedSuite(f"{domain}: suite {suite} is not known to this software, which knows {SUITE}")
    try:
        crypto_sign_open(signature + signing_input(domain, suite, body), public)
    except (CryptoError, ValueError) as error:
        raise BadSignature(
            f"{domain}: the signature does not verify under key {public.hex()[:16]}"
        ) from error


class SigningKey:
    """An Ed25519 key pair. The seed never leaves the object except through `seed`."""

    __slots__ = ("_secret", "public", "seed")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != 32:
            raise ValueError(f"a key's seed has 32 bytes, not {len(seed)}")
        self.seed = seed
        self.public, self._secret = crypto_sign_seed_keypair(seed)

    def __repr__(self) -> str:
        return f"SigningKey({self.public.hex()[:16]}…)"

    def sign(self, domain: str, body: bytes) -> bytes:
        """Return the signature (64 bytes) of a body under a domain."""
        return crypto_sign(signing_input(domain, SUITE, body), self._secret)[:64]

    def signed(self, domain: str, body: bytes) -> Signed:
        """Return the body with its signature."""
        return Signed(SUITE, body, self.sign(domain, body))


@dataclass(frozen=True, slots=True)
class Signed(Record):
    """A body and one signature over it. The domain is not inside: the reader must know what it asks for."""

    suite: Suite
    body: Blob
    signature: Signature

    def verify(self, domain: str, public: bytes) -> bytes:
        """Return the body once its signature holds. Raises UnsupportedSuite or BadSignature."""
        verify(public, domain, self.suite, self.body, self.signature)
        return self.body
