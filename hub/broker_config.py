"""What the embedded broker is told: its settings, its users' rights, and the configuration file made of them.

Owned: `BrokerConfig`, `BrokerUser`, `BrokerTls`, who may publish and subscribe what, the translation of
MQTT topics to NATS subjects, the rendering. Not owned: the process (`hub.broker`). No I/O but the reading
of password files.

Invariants:
- Without users every client may do everything; that, and plain TCP, are accepted on loopback only.
- A user has exactly the rights listed; a gateway's are the topics under its own name (DESIGN: Sync).
- Users speak MQTT only: the NATS port, which the server cannot do without, admits nobody then.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hub.errors import BrokerError

__all__ = ["BrokerConfig", "BrokerTls", "BrokerUser", "gateway_user", "hub_user", "render"]

MAX_PAYLOAD: Final = 256 * 1024  # twice the largest block; larger packets end their sender's connection
_IN_FLIGHT: Final = 64  # unacknowledged messages per subscription
_FROM_GATEWAY: Final = ("birth", "death", "heartbeat", "alarm", "block", "record")
_OF_HUB: Final = ("state", "successor")
_TO_GATEWAY: Final = ("receipt", "contract", "request", "command")


@dataclass(frozen=True, slots=True)
class BrokerUser:
    """One MQTT user: its name, the file with its password (or bcrypt hash), the topic filters it may use."""

    name: str
    password_file: Path
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BrokerTls:
    """PEM files of the MQTT listener; with `client_ca_file`, clients must show one of its certificates."""

    cert_file: Path
    key_file: Path
    client_ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class BrokerConfig:
    """The embedded broker's settings.

    Attributes:
        data_dir: directory owned by the broker: store, configuration, log.
        host: address of the MQTT listener.
        port: its port; 0 lets the server choose a free one, which it keeps over restarts.
        name: the server's name; a store belongs to one name.
        users: who may connect; empty means anybody.
        tls: certificate of the listener; None means plain TCP.
        max_store_bytes: disk the queues may take; they are thrown away at nine tenths of it.
        session_hours: an absent client's queue is forgotten after so long, lest it fill the store.
        redeliver_seconds: a message not acknowledged is sent again after so long, and not sooner, not even
            to a client that connects again; clients must know it from a new one by its packet id.
    """

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 0
    name: str = "tocsin"
    users: tuple[BrokerUser, ...] = ()
    tls: BrokerTls | None = None
    max_store_bytes: int = 1 << 30
    session_hours: int = 24
    redeliver_seconds: int = 5


def gateway_user(region: str, gateway: str, password_file: Path) -> BrokerUser:
    """Return the user of one gateway: it publishes under its own name and reads what is meant for it.

    Raises:
        BrokerError: `region` or `gateway` cannot be one level of a topic, or `gateway` is the hubs' level.
    """
    root = f"tocsin/v1/{_level(region)}"
    if gateway == "hub":
        raise BrokerError("a gateway cannot be called 'hub': that topic level belongs to the hubs")
    own = f"{root}/{_level(gateway)}"
    return BrokerUser(
        name=gateway,
        password_file=password_file,
        publish=tuple(f"{own}/{leaf}" for leaf in _FROM_GATEWAY),
        subscribe=(*(f"{root}/hub/+/{leaf}" for leaf in _OF_HUB), *(f"{own}/{leaf}" for leaf in _TO_GATEWAY)),
    )


def hub_user(region: str, hub: str, password_file: Path) -> BrokerUser:
    """Return the user of one hub: it hears every gateway and hub of its region and speaks to every gateway.

    Raises:
        BrokerError: `region` or `hub` cannot be one level of a topic.
    """
    root = f"tocsin/v1/{_level(region)}"
    return BrokerUser(
        name=f"hub-{hub}",
        password_file=password_file,
        publish=(
            *(f"{root}/hub/{_level(hub)}/{leaf}" for leaf in _OF_HUB),
            *(f"{root}/+/{leaf}" for leaf in _TO_GATEWAY),
        ),
        subscribe=(f"{root}/hub/+/state", *(f"{root}/+/{leaf}" for leaf in _FROM_GATEWAY)),
    )


def render(config: BrokerConfig, *, port: int) -> str:
    """Return the server's configuration file: JSON, a subset of its language, so quoting cannot go wrong.

    Raises:
        BrokerError: the settings are unsafe, a password cannot be read, or a topic cannot be expressed.
    """
    if not _is_loopback(config.host) and not (config.users and config.tls):
        raise BrokerError(f"the broker on {config.host} needs users and TLS: only loopback may go without")
    document: dict[str, Any] = {
        "server_name": config.name,
        "host": "127.0.0.1",
        "port": -1,
        "http": "127.0.0.1:-1",
        "max_payload": MAX_PAYLOAD,
        "ports_file_dir": str(config.data_dir),
        "log_file": str(config.data_dir / "broker.log"),
        "logfile_size_limit": 8 << 20,
        "logfile_max_num": 3,
        "jetstream": {
            "store_dir": str(config.data_dir / "store"),
            "max_memory_store": 64 << 20,
            "max_file_store": config.max_store_bytes,
            "limits": {"default_max_consumers": -1},  # one per subscription: 1000 would be 200 gateways
        },
        "mqtt": {
            "host": config.host,
            "port": port or -1,
            "max_ack_pending": _IN_FLIGHT,
            "ack_wait": f"{config.redeliver_seconds}s",
            "consumer_inactive_threshold": f"{config.session_hours}h",
            **({"tls": _tls(config.tls)} if config.tls else {}),
        },
    }
    if config.users:
        _check_names(config.users)
        document["authorization"] = {"users": [_user(user) for user in config.users]}
    return json.dumps(document, indent=1, ensure_ascii=False)


def _user(user: BrokerUser) -> dict[str, Any]:
    return {
        "user": user.name,
        "password": _password(user),
        "allowed_connection_types": ["MQTT"],
        "permissions": {
            "publish": {"allow": list(_subjects(user.publish))},
            "subscribe": {"allow": list(_subjects(user.subscribe))},
        },
    }


def _password(user: BrokerUser) -> str:
    try:
        password = user.password_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BrokerError(f"password file of broker user {user.name!r} cannot be read: {error}") from error
    if not password or not password.isprintable():
        raise BrokerError(f"{user.password_file} holds no printable password for broker user {user.name!r}")
    return password


def _tls(tls: BrokerTls) -> dict[str, Any]:
    block: dict[str, Any] = {"cert_file": str(tls.cert_file), "key_file": str(tls.key_file)}
    if tls.client_ca_file:
        block |= {"ca_file": str(tls.client_ca_file), "verify": True}
    return block


def _subjects(filters: Sequence[str]) -> Iterator[str]:
    """Translate MQTT topic filters: '/' separates with '.', '.' is written '//', '+' is '*', '#' is '>'."""
    for topic_filter in filters:
        levels = topic_filter.split("/")
        if levels[-1] == "#":
            yield ".".join(_subject_level(level) for level in levels[:-1])  # a/# covers a itself
        yield ".".join(_subject_level(level) for level in levels)


def _subject_level(level: str) -> str:
    if level in ("+", "#"):
        return {"+": "*", "#": ">"}[level]
    return _level(level).replace(".", "//")


def _level(name: str) -> str:
    if not name or not name.isprintable() or set(name) & set("+#/*> "):
        raise BrokerError(
            f"{name!r} cannot be one level of a topic: printable, without '+', '#', '/', '*', '>', ' '"
        )
    return name


def _check_names(users: Sequence[BrokerUser]) -> None:
    names = [user.name for user in users]
    if doubles := {name for name in names if names.count(name) > 1}:
        raise BrokerError(f"broker users must differ in name, but there are two of {sorted(doubles)}")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
