"""The hub's configuration, and the two files that make it somebody: its key and its genesis.

Owned: `hub.toml` as a tree of frozen dataclasses, the hub's directory, its key file. Not owned: the genesis,
which an authority founds (`tocsin-tools authority found`); here it is only read and held against the key.

Invariants:
- A configuration is understood whole or refused, naming file, key and remedy; paths are relative to the file.
- The key file is readable by its owner alone and is never written over.
- Nothing listens beyond this machine without TLS.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from gateway.chain.errors import ChainError, UnknownSigner
from gateway.chain.genesis import COMETBFT, Genesis, Hub
from gateway.chain.keys import SigningKey
from gateway.contracts.tables import TableError, loads_toml, read_table
from gateway.mqtt.config import LinkConfig, Will
from hub.broker_config import BrokerConfig
from hub.errors import ConfigError
from hub.federation.config import BodiesTable, FederationTable, KeepTable, PeerTable, WitnessTable
from hub.files import create_private

__all__ = [
    "ApiTable",
    "BodiesTable",
    "BrokerTable",
    "Config",
    "FederationTable",
    "HubTable",
    "Identity",
    "KeepTable",
    "LogTable",
    "PeerTable",
    "WitnessTable",
    "init_directory",
    "load_config",
    "load_genesis",
    "load_identity",
    "make_key",
    "read_key",
]

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")
_DAY_MS: Final = 86_400_000

_TEMPLATE: Final = """\
# The hub of one region. Put the authority's genesis.cbor beside this file, then: tocsin-hub run --config hub.toml
[hub]
name = "{name}"
region = "{region}"

[broker]
port = 1883        # embedded; for Mosquitto leave it out and write url = "mqtts://hub-1@broker.example"

[api]
port = 8080
"""


@dataclass(frozen=True, slots=True)
class HubTable:
    """`[hub]`: who this is.

    Attributes:
        name: as in the genesis.
        region: the region whose topics it hears.
        directory: where ledger, key and broker are kept.
        genesis: the chain's first document, within `directory`.
        keep_days: how long a custody receipt promises to keep a body.
    """

    name: str
    region: str
    directory: str = "."
    genesis: str = "genesis.cbor"
    keep_days: int = 3650

    def __post_init__(self) -> None:
        for key, value in (("name", self.name), ("region", self.region)):
            if len(value) > 64 or not _NAME.fullmatch(value):
                raise ValueError(f"{key} {value!r} is not lower-case letters, digits, dots and dashes")
        if not 1 <= self.keep_days <= 36_500:
            raise ValueError("keep_days must be 1 to 36500")


@dataclass(frozen=True, slots=True)
class BrokerTable:
    """`[broker]`: an embedded broker at `host` and `port` (0: any), or, with `url`, another one.

    Attributes:
        url: `mqtt://` or `mqtts://`, see `gateway.mqtt.config.LinkConfig`, as are the files.
        advertise: the address told to gateways at their enrolment; the broker's own by default.
    """

    url: str = ""
    host: str = "127.0.0.1"
    port: int = 1883
    advertise: str = ""
    password_file: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError("port must be 0 to 65535")
        if not self.url and not _is_loopback(self.host):
            raise ValueError(
                "the embedded broker listens on loopback only; for a region run Mosquitto and set url"
            )


@dataclass(frozen=True, slots=True)
class ApiTable:
    """`[api]`: the REST interface. Beyond loopback it needs a certificate."""

    host: str = "127.0.0.1"
    port: int = 8080
    cert_file: str = ""
    key_file: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError("port must be 0 to 65535")
        if bool(self.cert_file) != bool(self.key_file):
            raise ValueError("cert_file and key_file go together")
        if not self.cert_file and not _is_loopback(self.host):
            raise ValueError(
                f"on {self.host} the API needs cert_file and key_file: only loopback may go without"
            )


@dataclass(frozen=True, slots=True)
class LogTable:
    """`[log]`: what is written to stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"


@dataclass(frozen=True, slots=True)
class Config:
    """The whole of `hub.toml`, its paths absolute once it is loaded."""

    hub: HubTable
    broker: BrokerTable = field(default_factory=BrokerTable)
    api: ApiTable = field(default_factory=ApiTable)
    log: LogTable = field(default_factory=LogTable)
    federation: FederationTable = field(default_factory=FederationTable)
    bodies: BodiesTable = field(default_factory=BodiesTable)
    witnesses: tuple[WitnessTable, ...] = ()

    @property
    def directory(self) -> Path:
        """The hub's directory."""
        return Path(self.hub.directory)

    @property
    def ledger(self) -> Path:
        """The database."""
        return self.directory / "ledger.db"

    @property
    def keep_ms(self) -> int:
        """How long a body is kept from its receipt on, in ms."""
        return self.hub.keep_days * _DAY_MS

    def embedded_broker(self) -> BrokerConfig | None:
        """Return the settings of the embedded broker, None where another one is named."""
        broker = self.broker
        if broker.url:
            return None
        return BrokerConfig(self.directory / "broker", broker.host, broker.port, name=self.hub.name)

    def link(self, url: str, client_id: str, subscriptions: tuple[str, ...], will: Will | None) -> LinkConfig:
        """Return the settings of one connection to the broker."""
        broker = self.broker
        return LinkConfig(
            url,
            client_id,
            subscriptions,
            will,
            password_file=_optional(broker.password_file),
            ca_file=_optional(broker.ca_file),
            cert_file=_optional(broker.cert_file),
            key_file=_optional(broker.key_file),
        )


@dataclass(frozen=True, slots=True)
class Identity:
    """A hub with its key and its chain. Whether a federation knows `hub` by now is its roster's word."""

    key: SigningKey
    genesis: Genesis
    hub: Hub


def load_config(path: Path) -> Config:
    """Read `hub.toml`. Raises ConfigError naming file, key and remedy."""
    try:
        config = read_table(Config, loads_toml(path.read_text(encoding="utf-8"), str(path)), where=str(path))
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}; name the hub's hub.toml, or make one with tocsin-hub init or"
            " tocsin-hub federation init"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no TOML file: {error}") from error
    except TableError as error:
        raise ConfigError(str(error)) from error
    return _from_directory(config, path.absolute().parent)


def load_genesis(path: Path) -> Genesis:
    """Read a genesis. Raises ConfigError."""
    try:
        return Genesis.decode(path.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}; put the authority's genesis.cbor there, or a federation's by tocsin-hub"
            " federation join"
        ) from error
    except ChainError as error:
        raise ConfigError(f"{path} is no genesis: {error}") from error


def load_identity(config: Config) -> Identity:
    """Read key and genesis, and hold them against each other and the name. Raises ConfigError.

    A federation's hub may have joined later or have another key by now, so its genesis need not know the key.
    """
    key_file = config.directory / "hub.key"
    genesis = load_genesis(config.directory / config.hub.genesis)
    key = read_key(key_file)
    try:
        hub = genesis.hub(key.public)
    except UnknownSigner as error:
        if genesis.engine == COMETBFT:
            return Identity(key, genesis, Hub(config.hub.name, config.hub.name, key.public))
        raise ConfigError(
            f"the genesis names no hub with the key of {key_file}: it was founded for another one"
        ) from error
    if hub.name != config.hub.name:
        raise ConfigError(f"the genesis calls this hub {hub.name!r}, the configuration {config.hub.name!r}")
    return Identity(key, genesis, hub)


def init_directory(directory: Path, name: str, region: str) -> SigningKey:
    """Make a hub's directory with its key and a configuration, leaving what is there; return the key.

    Raises:
        ConfigError: the name cannot be used, or the directory or key cannot be written or read.
    """
    try:
        HubTable(name, region)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    key, config_file = make_key(directory), directory / "hub.toml"
    try:
        if not config_file.exists():
            config_file.write_text(_TEMPLATE.format(name=name, region=region), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{directory} cannot be written: {error}") from error
    return key


def make_key(directory: Path, file: str = "hub.key") -> SigningKey:
    """Return a hub's key from its directory; both are made where they are not there. Raises ConfigError."""
    path = directory / file
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            create_private(path, secrets.token_bytes(32).hex() + "\n")
    except OSError as error:
        raise ConfigError(f"{directory} cannot be written: {error}") from error
    return read_key(path)


def read_key(path: Path) -> SigningKey:
    """Read a key from a file of its owner's alone. Raises ConfigError."""
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"{path} can be read by others: chmod 600 {path}")
        return SigningKey(bytes.fromhex(path.read_text(encoding="ascii").strip()))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; make it with tocsin-hub init") from error
    except ValueError as error:
        raise ConfigError(f"{path} does not hold a key's seed as 64 hexadecimal digits") from error


def _from_directory(config: Config, base: Path) -> Config:
    """Return the configuration with its relative paths found from a directory."""

    def at(name: str) -> str:
        return str(base / name) if name else ""

    hub, broker, api = config.hub, config.broker, config.api
    return replace(
        config,
        hub=replace(hub, directory=at(hub.directory)),
        broker=replace(
            broker,
            password_file=at(broker.password_file),
            ca_file=at(broker.ca_file),
            cert_file=at(broker.cert_file),
            key_file=at(broker.key_file),
        ),
        api=replace(api, cert_file=at(api.cert_file), key_file=at(api.key_file)),
        federation=config.federation.within(base / hub.directory),
        witnesses=tuple(replace(each, ca_file=at(each.ca_file)) for each in config.witnesses),
    )


def _optional(file: str) -> Path | None:
    return Path(file) if file else None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
