"""Who this gateway is: its key, the chain it trusts, and how it joined it.

Owns the key, the files `key` and `genesis.cbor` of the data directory, the trust file's reading, and enrolment at a
hub's REST interface. It does not own what the chain makes of an enrolment.

Invariants:
* The key's seed is readable by its owner alone, and never overwritten. It comes as a service's credential
  (`CREDENTIAL`), where there is one, or else stands in the data directory; never both, unless they are the same.
* A genesis is taken from anyone, but only with the hash that the trust file names.
* A ticket's seed is erased once the enrolment is accepted and noted, not before.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.chain.errors import ChainError
from gateway.chain.genesis import Genesis, read_trust
from gateway.chain.keys import ENROLMENT, SUITE, Signed, SigningKey, gateway_id
from gateway.chain.tenure import Enrolment, EnrolmentBody, Ticket
from gateway.errors import ConfigError, StoreError, TransportError
from gateway.files import create_private, replace_whole

if TYPE_CHECKING:
    from gateway.config import EnrolmentTable

__all__ = [
    "CREDENTIAL",
    "EnrolmentRefused",
    "Trust",
    "enrol",
    "erase_ticket",
    "known_gateway",
    "load_key",
    "load_trust",
    "read_ticket",
]

CREDENTIAL: Final = "tocsin-gateway-key"
_TIMEOUT_S: Final = 30.0
_MAX_ANSWER: Final = 1 << 20


class EnrolmentRefused(TransportError):
    """The hub does not accept the enrolment; the message says why."""


@dataclass(frozen=True, slots=True)
class Trust:
    """The chain's genesis by its hash, and itself where it is known."""

    hash: bytes
    genesis: Genesis | None


def load_key(directory: Path, environ: Mapping[str, str] = os.environ) -> tuple[SigningKey, bool]:
    """Return the gateway's key, made at the first start, and whether it was made now.

    Raises:
        ConfigError: the file cannot be read or written, or holds no key; or two keys are there.
    """
    path = directory / "key"
    try:
        given = _credential(environ)
        kept = _read_key(path) if path.exists() else None
        if given and kept and given.seed != kept.seed:
            raise ConfigError(f"{path} is another key than the credential {CREDENTIAL}; remove the wrong one")
        if found := given or kept:
            return found, False
        key = SigningKey(secrets.token_bytes(32))
        create_private(path, key.seed.hex() + "\n")
    except OSError as error:
        raise ConfigError(f"{path}: the gateway's key cannot be read or made: {error}") from error
    return key, True


def _credential(environ: Mapping[str, str]) -> SigningKey | None:
    directory = environ.get("CREDENTIALS_DIRECTORY")
    path = Path(directory, CREDENTIAL) if directory else None
    return _read_key(path) if path and path.exists() else None


def _read_key(path: Path) -> SigningKey:
    try:
        return SigningKey(bytes.fromhex(path.read_text(encoding="ascii").strip()))
    except ValueError as error:
        raise ConfigError(f"{path}: not a key: its seed stands there as 64 hexadecimal digits") from error


def known_gateway(directory: Path, environ: Mapping[str, str] = os.environ) -> bytes | None:
    """Return the gateway's id where its key can be seen, and make nothing. Raises ConfigError as `load_key`."""
    if not os.access(directory / "key", os.R_OK) and _credential(environ) is None:
        return None
    return gateway_id(load_key(directory, environ)[0].public)


def load_trust(trust_file: Path, directory: Path) -> Trust:
    """Return the chain that a trust file names, with the genesis that was found out earlier.

    Raises:
        ConfigError: the file cannot be read, or is no trust file.
    """
    try:
        digest, genesis = read_trust(trust_file.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"{trust_file}: {error.strerror}; put the genesis of the chain, or its hash, there"
        ) from error
    except ChainError as error:
        raise ConfigError(f"{trust_file}: {error}") from error
    kept = directory / "genesis.cbor"
    if genesis is None and kept.exists():
        with contextlib.suppress(ChainError, OSError):
            found = Genesis.decode(kept.read_bytes())
            genesis = found if found.hash == digest else None
    return Trust(digest, genesis)


def read_ticket(path: Path) -> tuple[Signed, SigningKey]:
    """Return a ticket and the key that may spend it. Raises ConfigError."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        return Signed.decode(bytes.fromhex(table["ticket"])), SigningKey(bytes.fromhex(table["seed"]))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; ask the authority for a ticket") from error
    except (ValueError, KeyError, TypeError, ChainError) as error:
        raise ConfigError(f"{path}: not a ticket file: {error}") from error


def enrol(
    table: EnrolmentTable,
    key: SigningKey,
    name: str,
    region: str,
    trust: Trust,
    directory: Path,
    doubt_ms: int | None = None,
) -> Genesis:
    """Join the chain: post the enrolment and keep the genesis. May be repeated, until the ticket is erased.

    Args:
        doubt_ms: the earliest wall time that it can be, where wall time is not vouched for.

    Raises:
        ConfigError: the ticket cannot be used.
        EnrolmentRefused: the hub refuses it.
        TransportError: the hub cannot be reached; try again later.
    """
    path = Path(table.ticket)
    signed, spender = read_ticket(path)
    try:
        ticket = Ticket.decode(signed.body)
    except ChainError as error:
        raise ConfigError(f"{path}: not a ticket file: {error}") from error
    if (ticket.genesis, ticket.region) != (trust.hash, region):
        raise ConfigError(f"{path}: the ticket is for region {ticket.region} or for another chain")
    body = EnrolmentBody(signed, key.public, name).encode()
    enrolment = Enrolment(SUITE, body, spender.sign(ENROLMENT, body), key.sign(ENROLMENT, body))
    answer = _post(table.url.rstrip("/") + "/v1/enrolment", enrolment.encode(), table.ca_file, doubt_ms)
    genesis = trust.genesis or _genesis(answer, trust.hash)
    try:
        replace_whole(directory / "genesis.cbor", genesis.encode())
    except OSError as error:
        raise StoreError(
            f"{directory / 'genesis.cbor'}: {error.strerror}; the enrolment is tried again"
        ) from error
    return genesis


def _post(url: str, body: bytes, ca_file: str, doubt_ms: int | None) -> dict[str, Any]:
    # Here, not above: nothing else speaks HTTP, and this happens once in a gateway's life.
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    from gateway.tls import client_context

    request = Request(url, data=body, headers={"Content-Type": "application/cbor"}, method="POST")
    try:
        context = client_context(ca_file or None, doubt_ms) if url.startswith("https:") else None
        with urlopen(request, timeout=_TIMEOUT_S, context=context) as response:
            answer = json.loads(response.read(_MAX_ANSWER))
    except HTTPError as error:
        with error:
            text = error.read(2048).decode("utf-8", "replace")
        if error.code >= 500:
            raise TransportError(f"{url}: the hub cannot enrol now ({error.code}): {text}") from error
        raise EnrolmentRefused(f"{url}: the hub refuses the enrolment ({error.code}): {text}") from error
    except (OSError, HTTPException, ValueError) as error:
        raise TransportError(f"{url}: no answer of a hub: {error}") from error
    if not isinstance(answer, dict):
        raise TransportError(f"{url}: the answer is none of a hub's")
    return answer


def _genesis(answer: dict[str, Any], digest: bytes) -> Genesis:
    try:
        genesis = Genesis.decode(bytes.fromhex(answer["genesis"]))
    except (KeyError, TypeError, ValueError) as error:
        raise TransportError(f"the hub's answer holds no genesis: {error}") from error
    if genesis.hash != digest:
        raise EnrolmentRefused(
            f"the hub is of chain {genesis.hash.hex()[:16]}, the trust file names {digest.hex()[:16]}"
        )
    return genesis


def erase_ticket(path: Path) -> None:
    """Overwrite and remove a file; on flash the old bytes may outlive this, so a ticket is also good but once."""
    with contextlib.suppress(OSError):
        with path.open("r+b") as file:
            file.write(b"\0" * path.stat().st_size)
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
