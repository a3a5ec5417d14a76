"""How a broker is reached and as whom: the settings of a link, checked, and the errors of all links.

Owns URLs, passwords and TLS. It does not own the connection (`gateway.mqtt.session`).
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from gateway.errors import TransportError
from gateway.tls import client_context

__all__ = [
    "LinkConfig",
    "LinkDown",
    "LinkError",
    "LinkUrlError",
    "PayloadTooLarge",
    "Will",
    "parse_url",
    "port_of",
    "read_password",
    "tls_context",
]


class LinkError(TransportError):
    """A link failed, or was used wrongly."""


class LinkDown(LinkError):
    """There is no connection, or it takes no more: keep the message and send it later."""


class LinkUrlError(LinkError, ValueError):
    """The broker's URL, or a file it needs, cannot be used; the message says what to write instead."""


class PayloadTooLarge(LinkError, ValueError):
    """The payload exceeds `MAX_PAYLOAD` and would be refused by every reader."""


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes, with QoS 1, when this client vanishes without a farewell."""

    topic: str
    payload: bytes
    retain: bool = False


@dataclass(frozen=True, slots=True)
class LinkConfig:
    """How to reach the broker and as whom.

    Attributes:
        url: `mqtt://[user@]host[:port]`, or `mqtts://` for TLS; ports 1883 and 8883 by default.
        client_id: fixed and unique at the broker: the persistent session belongs to it.
        subscriptions: topic filters, all with QoS 1.
        will: last will, or None.
        password_file: file with the password of the URL's user; read again at every connection, as are
        ca_file: the authority of the broker's certificate; None means the system's authorities,
        cert_file: this client's certificate chain, and
        key_file: its key; all PEM.
        keepalive_seconds: a silent connection is given up after one and a half times this.
        window: messages published and not yet acknowledged, at most.
        inbox_bytes: messages received and not yet handled, at most, with 1 KiB counted for each.
        doubt_ms: says the earliest wall time that it can be, where wall time is not vouched for, else None.
    """

    url: str
    client_id: str
    subscriptions: tuple[str, ...] = ()
    will: Will | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    keepalive_seconds: int = 30
    window: int = 16
    inbox_bytes: int = 16 << 20
    doubt_ms: Callable[[], int | None] = lambda: None

    def check(self) -> None:
        """Check that the URL and the files that go with it can be used. Raises LinkUrlError."""
        parse_url(self)


def parse_url(config: LinkConfig) -> SplitResult:
    """Check the URL and the files that go with it, so that a mistake shows at the start and not at night."""
    try:
        url = urlsplit(config.url)
        has_port = url.port != 0
    except ValueError as error:
        raise LinkUrlError(f"broker URL {config.url!r} cannot be read: {error}") from error
    if url.password is not None:
        raise LinkUrlError("broker URL must not hold a password: write mqtts://user@host and a password_file")
    is_plain = url.scheme == "mqtt"
    tls_files = config.ca_file or config.cert_file or config.key_file
    for fault, is_present in (
        ("must begin with mqtt:// or mqtts://", url.scheme not in ("mqtt", "mqtts")),
        ("names no host, or port 0", not url.hostname or not has_port),
        ("must end after host and port", url.path.strip("/") or url.query or url.fragment),
        ("needs a user and a password_file together", bool(url.username) != bool(config.password_file)),
        ("needs cert_file and key_file together", bool(config.cert_file) != bool(config.key_file)),
        ("must begin with mqtts:// for certificates", is_plain and tls_files),
        ("shows a password to the network: write mqtts://", is_plain and url.username and not _is_local(url)),
    ):
        if is_present:
            raise LinkUrlError(f"broker URL {config.url!r} {fault}")
    return url


def port_of(url: SplitResult) -> int:
    return url.port or (8883 if url.scheme == "mqtts" else 1883)


def _is_local(url: SplitResult) -> bool:
    try:
        return ipaddress.ip_address(url.hostname or "").is_loopback
    except ValueError:
        return url.hostname == "localhost"


def read_password(file: Path | None) -> str:
    try:
        return file.read_text(encoding="utf-8").strip() if file else ""
    except UnicodeDecodeError as error:
        raise LinkUrlError(f"{file} is not UTF-8 text: {error}") from error


def tls_context(config: LinkConfig) -> ssl.SSLContext:
    context = client_context(str(config.ca_file) if config.ca_file else None, config.doubt_ms())
    if config.cert_file and config.key_file:
        context.load_cert_chain(config.cert_file, config.key_file)
    return context
