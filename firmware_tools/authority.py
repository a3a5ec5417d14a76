"""An authority's desk: its key, the genesis it founds a chain with, and what only it may sign.

The directory of an authority holds `authority.key` (the seed in hexadecimal, readable by its owner alone) and
`genesis.cbor`. What it issues (tickets, grants, revocations) are files to hand over; the private half of a
ticket travels with it to one gateway, which spends it at its enrolment.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from firmware_tools.errors import BadFile
from gateway.chain.alarm import contract_hash
from gateway.chain.ceremony import state_authority
from gateway.chain.errors import ChainError
from gateway.chain.genesis import EMBEDDED, REGULATOR, Authority, Genesis, Hub
from gateway.chain.governance import SuspensionBody
from gateway.chain.keys import COMMAND, GRANT, REVOCATION, SUITE, SUSPENSION, TICKET, Signed, SigningKey
from gateway.chain.messages import Command
from gateway.chain.tenure import ContractGrant, Position, Revocation, Ticket
from gateway.contracts.source import read_contract
from gateway.files import create_private
from gateway.neighbours.config import read_building

DAY = 86_400_000
ACTIONS = ("reset", "silence", "new-epoch", "test")


@dataclass(frozen=True, slots=True)
class Desk:
    """An authority with its key and the chain it belongs to."""

    directory: Path
    key: SigningKey
    genesis: Genesis

    def ticket(self, region: str, days: int = 30, seed: bytes | None = None) -> tuple[Signed, SigningKey]:
        """Issue a ticket for one gateway of a region, valid for `days`, with the key pair that may spend it."""
        spender = SigningKey(seed or secrets.token_bytes(32))
        not_after = int(time.time() * 1000) + days * DAY
        body = Ticket(self.genesis.hash, self.key.public, spender.public, region, not_after)
        return self.key.signed(TICKET, body.encode()), spender

    def grant(self, gateway: bytes, version: int, documents: Sequence[bytes]) -> Signed:
        """Sign a contract set for a gateway; the set with the highest version is in force."""
        body = ContractGrant(self.genesis.hash, self.key.public, gateway, version, tuple(documents))
        return self.key.signed(GRANT, body.encode())

    def revoke(self, gateway: bytes, last: Position, reason: str) -> Signed:
        """Sign the end of a gateway's keys after block `last` (`NOWHERE`: after none)."""
        now = int(time.time() * 1000)
        body = Revocation(self.genesis.hash, self.key.public, gateway, last, reason, now)
        return self.key.signed(REVOCATION, body.encode())

    def suspend(self, member: str, reason: str) -> Signed:
        """Sign the end of a federation member's vote, which the regulator alone can; a proposal restores it."""
        body = SuspensionBody(self.genesis.hash, self.key.public, member, reason, int(time.time() * 1000))
        return self.key.signed(SUSPENSION, body.encode())

    def command(self, gateway: bytes, boot: bytes, action: str, contract: str, minutes: int) -> Signed:
        """Sign a command to a gateway: one of `ACTIONS`, good once, for one boot and so many minutes."""
        not_after = int(time.time() * 1000) + minutes * 60_000
        nonce = secrets.token_bytes(16)
        number = ACTIONS.index(action) + 1
        body = Command(self.genesis.hash, self.key.public, gateway, boot, nonce, number, contract, not_after)
        return self.key.signed(COMMAND, body.encode())


def write_ticket(desk: Desk, region: str, days: int, path: Path) -> None:
    """Write a ticket file for one gateway: the signed ticket, and the seed that may spend it."""
    signed, spender = desk.ticket(region, days)
    try:
        create_private(path, json.dumps({"ticket": signed.encode().hex(), "seed": spender.seed.hex()}) + "\n")
    except FileExistsError as error:
        raise BadFile(f"{path} is there already: a ticket is never overwritten") from error
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror}") from error


def read_documents(contracts: Sequence[Path], building: Path | None = None) -> list[bytes]:
    """Return the canonical bytes of contracts and a roster in TOML files, by rising hash as a header lists them."""
    documents = [read_contract(_text(path), str(path)).encode() for path in contracts]
    if building is not None:
        documents.append(read_building(_text(building), str(building)).encode())
    return sorted(documents, key=contract_hash)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror}") from error


def make_key(directory: Path) -> SigningKey:
    """Make an authority's key in a directory of its own, or read the one that is there."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "authority.key"
    if not path.exists():
        create_private(path, secrets.token_bytes(32).hex() + "\n")
    return read_key(path)


def read_key(path: Path) -> SigningKey:
    """Read a key's seed from a file of 64 hexadecimal digits. Raises BadFile."""
    try:
        return SigningKey(bytes.fromhex(path.read_text().strip()))
    except (OSError, ValueError) as error:
        raise BadFile(f"{path}: a key file holds its seed as 64 hexadecimal digits: {error}") from error


def found(directory: Path, name: str, chain: str, hub: str, hub_key: bytes) -> Desk:
    """Found a chain of one hub on the embedded engine, whose one authority is the regulator; write its genesis."""
    key = make_key(directory)
    genesis = Genesis(
        version=1,
        suite=SUITE,
        engine=EMBEDDED,
        name=chain,
        created=int(time.time() * 1000),
        authorities=(Authority(name, REGULATOR, key.public),),
        hubs=(Hub(hub, name, hub_key),),
        validators=(),
        epoch_changes=3,
        epoch_window=30 * DAY,
        custodians=1,
        takeovers=(),
    )
    path = directory / "genesis.cbor"
    try:
        data = genesis.encode()
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError as error:
        raise BadFile(f"{path} is there already: a chain is founded once; use another directory") from error
    except ChainError as error:
        raise BadFile(f"the genesis cannot be written: {error}") from error
    return Desk(directory, key, genesis)


def state(directory: Path, name: str, role: int) -> Path:
    """Make an authority's key and its statement for a federation's founding; return that file. Raises BadFile."""
    key, path = make_key(directory), directory / f"{name}.authority"
    try:
        path.write_bytes(state_authority(Authority(name, role, key.public), key).encode())
    except (ChainError, OSError) as error:
        raise BadFile(f"{path}: {error}") from error
    return path


def open_desk(directory: Path) -> Desk:
    """Read an authority's directory. Raises BadFile naming what is missing."""
    path = directory / "genesis.cbor"
    try:
        genesis = Genesis.decode(path.read_bytes())
    except OSError as error:
        raise BadFile(
            f"{path}: {error.strerror}; found the chain first: tocsin-tools authority found"
        ) from error
    except ChainError as error:
        raise BadFile(f"{path}: {error}") from error
    return Desk(directory, read_key(directory / "authority.key"), genesis)
