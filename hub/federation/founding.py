"""An agency's part in founding or joining a federation: its keys, its statement, the genesis it agrees to.

Owned: what `tocsin-hub federation init`, `join` and `close` leave in a hub's directory, and the statement files
that agencies hand each other. Not owned: how statements become a genesis (`gateway.chain.ceremony`), changes of a
federation that exists (`hub.federation.changes`).

Invariants:
- Private keys are made here and never leave the directory; a statement file holds none.
- A genesis is put in place only when its hash was given, which the operator compared with the others.
- Nothing that is there is written over: keys, configuration, a genesis in place.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.chain.ceremony import ClosedChain, assemble, state_member, with_takeovers
from gateway.chain.errors import ChainError
from gateway.chain.genesis import COMETBFT, Genesis
from gateway.chain.governance import JoinBody, Joining, founding_roster
from gateway.chain.keys import NO_HASH, Signed, SigningKey
from hub.config import Config, HubTable, load_config, load_genesis, make_key, read_key
from hub.consensus.comet_home import make_validator_key, read_validator_key
from hub.errors import ConfigError
from hub.federation.config import FederationTable, PeerTable
from hub.federation.takeover import close

GENESIS: Final = "genesis.cbor"
DRAFT: Final = "genesis.draft"
MEMBER, AUTHORITY, CLOSED = ".member", ".authority", ".takeover"

_TEMPLATE: Final = """\
# A hub of a federation. The genesis comes beside this file by: tocsin-hub federation join
[hub]
name = "{name}"
region = "{region}"

[broker]
port = {broker}        # embedded; for Mosquitto leave it out and write url = "mqtts://{name}@broker.example"

[api]
port = {api}        # other machines need host, cert_file and key_file as well

[federation]
p2p = "{p2p}"        # where the other hubs' engines reach this one's
timeouts = "lan"        # "wan" between cities; the same on all hubs
{predecessor}{snapshot}"""
_PEER: Final = """
[[federation.peers]]
name = "{name}"
p2p = "{p2p}"
url = "{url}"
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Who a new hub is, and where it listens."""

    name: str
    agency: str
    region: str
    power: int = 1
    p2p: str = "127.0.0.1:26656"
    api: int = 8080
    broker: int = 1883
    peers: tuple[PeerTable, ...] = ()
    predecessor: str = ""
    snapshot: bool = False
    """Whether it begins by a snapshot from those peers of which a URL is given."""


def init(directory: Path, place: Place, now_ms: int | None = None) -> Path:
    """Make a hub's directory, keys and configuration, and its statement for the founding; return that file.

    What is there is kept, so that a hub alone can go on under its own key. Raises ConfigError, ConsensusError.
    """
    try:
        HubTable(place.name, place.region)
        HubTable(place.agency, place.region)
        FederationTable(p2p=place.p2p, peers=place.peers)
        key = make_key(directory)
        config_file = directory / "hub.toml"
        if not config_file.exists():
            config_file.write_text(_configuration(place), encoding="utf-8")
    except ValueError as error:
        raise ConfigError(str(error)) from error
    except OSError as error:
        raise ConfigError(f"{directory} cannot be written: {error}") from error
    config = load_config(config_file)
    if config.hub.name != place.name:
        raise ConfigError(f"{config_file} names this hub {config.hub.name!r}: take another directory")
    validator = own_validator(config) if place.power else None
    if _is_stated(directory, place, key, validator):
        return directory / f"{place.name}{MEMBER}"
    return write_statement(directory, place, NO_HASH, key, validator, now_ms)


def _is_stated(directory: Path, place: Place, key: SigningKey, validator: SigningKey | None) -> bool:
    """Tell whether the statement is there: another one of the same, with its own time, would found another chain."""
    try:
        body = JoinBody.decode(Joining.decode((directory / f"{place.name}{MEMBER}").read_bytes()).body)
    except (OSError, ChainError):
        return False
    keys = (key.public, validator.public if validator else b"")
    said = (body.genesis, body.name, body.agency, body.power, body.key, body.validator)
    return said == (NO_HASH, place.name, place.agency, place.power, *keys)


def write_statement(
    directory: Path,
    place: Place,
    genesis: bytes,
    key: SigningKey,
    validator: SigningKey | None,
    now_ms: int | None = None,
) -> Path:
    """Write `<name>.member`: what this hub says of itself, under both its keys. Raises ConfigError."""
    now = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    public = validator.public if validator else b""
    try:
        body = JoinBody(genesis, place.name, place.agency, key.public, public, place.power, now)
        data = state_member(body, key, validator).encode()
    except ChainError as error:
        raise ConfigError(f"{place.name} cannot be stated: {error}") from error
    path = directory / f"{place.name}{MEMBER}"
    write(path, data)
    return path


def own_validator(config: Config) -> SigningKey:
    """Return the key that this hub votes with, which is made when there is none. Raises ConsensusError."""
    home = Path(config.federation.engine_home)
    make_validator_key(home)
    return read_validator_key(home / "config" / "priv_validator_key.json")


@dataclass(frozen=True, slots=True)
class Statements:
    """What the files say that the agencies handed each other."""

    members: tuple[Joining, ...]
    authorities: tuple[Signed, ...]
    closed: tuple[ClosedChain, ...]

    def founded(self, name: str, custodians: int) -> Genesis:
        """Return the genesis they come to. Raises ConfigError saying what is wrong with them."""
        try:
            genesis = assemble(name, custodians, self.members, self.authorities)
        except ChainError as error:
            raise ConfigError(f"these statements found no federation: {error}") from error
        try:
            return with_takeovers(genesis, self.closed)
        except ChainError as error:
            raise ConfigError(
                f"the chain was not closed for this federation: give the statements, --chain and --custodians with"
                f" which the draft was made that it was closed for ({error})"
            ) from error


def read_statements(paths: Iterable[Path]) -> Statements:
    """Read statement files, told apart by their suffixes. Raises ConfigError naming the one that is unfit."""
    members, authorities, closed = [], [], []
    for path in paths:
        data = read(path)
        try:
            match path.suffix:
                case ".member":
                    members.append(Joining.decode(data))
                case ".authority":
                    authorities.append(Signed.decode(data))
                case ".takeover":
                    closed.append(ClosedChain.decode(data))
                case _:
                    raise ConfigError(f"{path} is no {MEMBER}, {AUTHORITY} or {CLOSED} file")
        except ChainError as error:
            raise ConfigError(f"{path} is damaged, ask for it again: {error}") from error
    return Statements(tuple(members), tuple(authorities), tuple(closed))


def found(directory: Path, statements: Statements, name: str, custodians: int) -> Genesis:
    """Assemble a federation's genesis beside a hub's files, as a draft to be compared. Raises ConfigError."""
    config = load_config(directory / "hub.toml")
    genesis = statements.founded(name, custodians)
    _check_own(config, genesis)
    write(directory / DRAFT, genesis.encode())
    return genesis


def agree(directory: Path, genesis: Genesis, spoken: str) -> Path:
    """Put a genesis in place, once its hash is the one that the operator gives. Raises ConfigError."""
    if spoken_hash(spoken) != genesis.hash:
        raise ConfigError(
            f"the hash is {readable(genesis.hash)}, not the one given: somebody has other statements or options;"
            " compare the files"
        )
    path = directory / GENESIS
    if path.exists() and load_genesis(path) != genesis:
        raise ConfigError(f"{path} is of another chain: take another directory, or close that chain first")
    write(path, genesis.encode())
    (directory / DRAFT).unlink(missing_ok=True)
    return path


def close_chain(directory: Path, successor: Genesis, output: Path) -> int:
    """End an embedded chain for a federation, write the `.takeover` file, and return the chain's last height.

    Raises HubError.
    """
    takeover = close(directory, successor)
    genesis = load_genesis(directory / load_config(directory / "hub.toml").hub.genesis)
    write(output, ClosedChain(genesis.encode(), takeover).encode())
    return takeover.height


def joined(path: Path) -> Genesis:
    """Read the genesis of a federation that exists. Raises ConfigError."""
    try:
        genesis = Genesis.decode(read(path))
    except ChainError as error:
        raise ConfigError(f"{path} is no genesis: {error}") from error
    if genesis.engine != COMETBFT:
        raise ConfigError(f"{path} is the genesis of a hub alone: its chain can be taken over, not joined")
    return genesis


def ask_to_join(directory: Path, genesis: Genesis, agency: str, power: int) -> Path:
    """Write this hub's statement for a federation that exists, and return the file. Raises ConfigError."""
    config = load_config(directory / "hub.toml")
    place = Place(config.hub.name, agency, config.hub.region, power)
    key = read_key(directory / "hub.key")
    return write_statement(directory, place, genesis.hash, key, own_validator(config) if power else None)


def read_member(path: Path, genesis: Genesis) -> Joining:
    """Read a statement for a federation that exists, and check its signatures. Raises ConfigError."""
    try:
        joining = Joining.decode(read(path))
        joining.verify(genesis.hash)
    except ChainError as error:
        raise ConfigError(f"{path} cannot be proposed: {error}") from error
    return joining


def readable(identity: bytes) -> str:
    """Return a hash in groups that can be read out over a telephone."""
    text = identity.hex()
    return " ".join(text[at : at + 8] for at in range(0, len(text), 8))


def spoken_hash(text: str) -> bytes:
    """Return a hash as it was typed, with or without groups. Raises ConfigError."""
    try:
        found = bytes.fromhex("".join(text.split()).replace("-", ""))
    except ValueError:
        found = b""
    if len(found) != 32:
        raise ConfigError(f"{text!r:.100} is no hash of 64 hexadecimal digits")
    return found


def read(path: Path) -> bytes:
    """Return a file's bytes. Raises ConfigError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error


def write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all. Raises ConfigError."""
    draft = path.with_name(f"{path.name}.new")
    try:
        draft.write_bytes(data)
        draft.replace(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error


def _configuration(place: Place) -> str:
    peers = [_PEER.format(name=each.name, p2p=each.p2p, url=each.url) for each in place.peers]
    before = f"predecessor = {json.dumps(place.predecessor)}\n" if place.predecessor else ""
    givers = json.dumps([each.name for each in place.peers if each.url])
    begins = f"snapshot_from = {givers}\n" if place.snapshot else ""
    where = {"broker": place.broker, "api": place.api, "p2p": place.p2p, "predecessor": before}
    where |= {"snapshot": begins}
    return _TEMPLATE.format(name=place.name, region=place.region, **where) + "".join(peers)


def _check_own(config: Config, genesis: Genesis) -> None:
    """Check that the genesis knows this hub as it is. Raises ConfigError."""
    key = read_key(config.directory / "hub.key")
    member = next((each for each in founding_roster(genesis).members if each.key == key.public), None)
    if member is None or member.name != config.hub.name:
        raise ConfigError(
            f"this hub's own statement, {config.hub.name}{MEMBER} under its present key, is not among the files"
        )
    if member.validator and member.validator != own_validator(config).public:
        raise ConfigError(
            f"{config.hub.name}{MEMBER} states another validator key than the engine's: init anew"
        )


def described(genesis: Genesis) -> Sequence[tuple[str, str, str, str]]:
    """Return (name, agency, voice, key's beginning) of everyone in a genesis, for people to compare."""
    roster = founding_roster(genesis)
    rows = [
        (each.name, each.agency, f"power {each.power}" if each.power else "reads", each.key.hex()[:16])
        for each in roster.members
    ]
    roles = {1: "regulator", 2: "authority"}
    return rows + [(each.name, "", roles[each.role], each.key.hex()[:16]) for each in roster.authorities]
