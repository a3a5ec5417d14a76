"""A link to one broker: MQTT 3.1.1, the only module that knows paho. Gateways and hubs use the same.

Owned: the connection, its TLS, back-off, persistent session, subscriptions and last will, the bounded ways
in and out. Not owned: topics, what a payload means, whether to trust it, and what is to be sent again: a
PUBACK says only that a broker took a message over, so a sender keeps what has no signed receipt.

Invariants:
- Nothing is carried from one connection to the next here. What was on its way out is the caller's to
  send again; what came in and was not acknowledged, the broker's persistent session brings again.
- An inbound message is acknowledged after its handler took it, never before: at least once, in order.
- Neither way is unbounded: `publish` waits for room in the window and then fails; what does not fit the
  inbox is left to the broker, and asked for by a new connection once the inbox is empty.
- Callbacks run one at a time in the link's own thread, where they may block; paho's thread never waits.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import queue
import random
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import SplitResult, urlsplit

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from gateway.errors import TransportError

__all__ = ["MAX_PAYLOAD", "Link", "LinkConfig", "LinkDown", "LinkUrlError", "PayloadTooLarge", "Will"]

_log = logging.getLogger(__name__)

MAX_PAYLOAD: Final = 132 * 1024  # a block of 128 KiB in its envelope
_BACK_OFF_SECONDS: Final = (0.1, 0.3, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
_STEADY_SECONDS: Final = 10.0  # having held so long, a connection starts over with the shortest back-off
_ANSWER_SECONDS: Final = 10.0  # for CONNACK and SUBACK together
_FAREWELL_SECONDS: Final = 2.0
_CLOSE_SECONDS: Final = 5.0
_MESSAGE_OVERHEAD: Final = 1024  # what a queued message costs beside its payload, roughly


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

    def check(self) -> None:
        """Check that the URL and the files that go with it can be used. Raises LinkUrlError."""
        _parse_url(self)


class Link:
    """A connection to the broker that is taken up again whenever it falls. Thread-safe; start it once.

    Args:
        config: how to connect.
        on_message: called with topic and payload. True acknowledges: the message is dealt with, be it by
            refusing it. False, or LinkDown raised, does not: the connection ends and the broker delivers
            the message again after a back-off. Any other exception is a defect: it is logged, counted and
            acknowledged, so that one message cannot block all others.
        on_up: called when connected and subscribed, before any message of that connection.
        on_down: called when such a connection is over.

    Raises:
        LinkUrlError: `config` cannot be used.
    """

    def __init__(
        self,
        config: LinkConfig,
        on_message: Callable[[str, bytes], bool],
        *,
        on_up: Callable[[], None] = lambda: None,
        on_down: Callable[[], None] = lambda: None,
    ) -> None:
        self._config = config
        self._url = _parse_url(config)
        self._on_message = on_message
        self._on_up = on_up
        self._on_down = on_down
        self._counts: Counter[str] = Counter()
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._inbox_bytes = 0
        self._lock = threading.Lock()  # guards _counts, _inbox_bytes
        self._closing = threading.Event()
        self._session: _Session | None = None
        name = f"link-{config.client_id}"
        self._threads = (
            threading.Thread(target=self._keep_connected, name=name, daemon=True),
            threading.Thread(target=self._work, name=f"{name}-inbox", daemon=True),
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Begin to connect, and return at once."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Take leave of the broker, so that the will is not published; idempotent. Call no callback after.

        A callback may call this; its own thread then ends after it returns.
        """
        self._closing.set()
        if session := self._session:
            session.end("closed by this side")
        for thread in self._threads:
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join(_CLOSE_SECONDS)  # not for ever: a TLS handshake with a dead peer takes its time

    @property
    def is_connected(self) -> bool:
        """Whether the broker has accepted the connection and every subscription, and no end was seen."""
        session = self._session
        return session is not None and session.is_up

    def counts(self) -> dict[str, int]:
        """Return what was dropped, by reason: `oversized`, `bad-topic`, `handler-error`."""
        with self._lock:
            return dict(self._counts)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, timeout: float = 5.0) -> None:
        """Hand a message to the broker with QoS 1; returning says no more than that it is on its way.

        Args:
            topic: where to; no wildcards.
            payload: at most `MAX_PAYLOAD` bytes.
            retain: whether the broker keeps it for later subscribers.
            timeout: seconds to wait for room in the window.

        Raises:
            LinkDown: not connected, the connection fell, or the window stayed full.
            PayloadTooLarge: it will never pass.
        """
        if len(payload) > MAX_PAYLOAD:
            raise PayloadTooLarge(
                f"{len(payload)} bytes for {topic}, but a message has at most {MAX_PAYLOAD}"
            )
        session = self._session
        if session is None or not session.is_up:
            raise LinkDown(f"not connected to {self._config.url}")
        session.publish(topic, payload, retain=retain, timeout=timeout)

    def _keep_connected(self) -> None:
        attempt = 0
        while not self._closing.is_set():
            began = time.monotonic()
            self._session = session = _Session(self._config, self._url, self._receive, self._enqueue_up)
            if self._closing.is_set():
                break
            reason = session.run()
            _log.log(logging.DEBUG if self._closing.is_set() else logging.WARNING, "%s", reason)
            if session.was_up:
                self._inbox.put(self._call_down)
            if time.monotonic() - began > _STEADY_SECONDS:
                attempt = 0
            # Spread, so that a region does not come back in one instant.
            delay = _BACK_OFF_SECONDS[min(attempt, len(_BACK_OFF_SECONDS) - 1)]
            self._closing.wait(delay * random.uniform(0.5, 1.0))
            attempt += 1
        self._inbox.put(None)

    def _work(self) -> None:
        while item := self._inbox.get():
            item()

    def _enqueue_up(self, session: _Session) -> None:
        self._inbox.put(lambda: self._call_up(session))

    def _call_up(self, session: _Session) -> None:
        session.settled.wait()
        if session.was_up:
            _log.info("link to %s is up", self._config.url)
            self._guarded(self._on_up)

    def _call_down(self) -> None:
        self._guarded(self._on_down)

    def _guarded(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except LinkDown as error:
            _log.info("link fell while it was being reported: %s", error)
        except Exception:
            self._count("handler-error")
            _log.exception("callback of the link to %s failed", self._config.url)

    def _receive(self, session: _Session, message: paho.MQTTMessage) -> None:
        """Put one message in the inbox; called in paho's thread, returns at once."""
        if len(message.payload) > MAX_PAYLOAD:
            self._drop("oversized", session, message)
            return
        try:
            topic = message.topic
        except UnicodeDecodeError:
            self._drop("bad-topic", session, message)
            return
        cost = len(message.payload) + _MESSAGE_OVERHEAD
        with self._lock:
            session.is_full |= self._inbox_bytes > 0 and self._inbox_bytes + cost > self._config.inbox_bytes
            if session.is_full:  # for good, lest a later message overtake the ones left out
                return
            self._inbox_bytes += cost
        self._inbox.put(lambda: self._handle(session, message, topic, cost))

    def _handle(self, session: _Session, message: paho.MQTTMessage, topic: str, cost: int) -> None:
        try:
            # What an ended connection brought will come again; handling it now would be for nothing.
            if not session.is_over:
                self._deliver(session, message, topic)
        finally:
            with self._lock:
                self._inbox_bytes -= cost
                is_drained = session.is_full and self._inbox_bytes == 0
            if is_drained:
                session.end("inbox was full: the broker is asked again for what did not fit")

    def _deliver(self, session: _Session, message: paho.MQTTMessage, topic: str) -> None:
        try:
            taken = self._on_message(topic, bytes(message.payload))
        except LinkDown as error:
            taken = False
            _log.info("link fell while %s was handled: %s", topic, error)
        except Exception:
            taken = True
            self._count("handler-error")
            _log.exception("handler failed on %s (%d bytes), which is given up", topic, len(message.payload))
        if taken:
            session.acknowledge(message)
        else:
            session.end(f"handler could not take {topic} now")

    def _drop(self, reason: str, session: _Session, message: paho.MQTTMessage) -> None:
        self._count(reason)
        _log.warning("dropped a message of %d bytes from the broker: %s", len(message.payload), reason)
        session.acknowledge(message)

    def _count(self, reason: str) -> None:
        with self._lock:
            self._counts[reason] += 1


class _Session:
    """One connection, from the first packet to the last. A new paho client each time: it carries nothing over.

    Life: `run` blocks from connecting to the end. `settled` is set when the connection is up or will never
    be. `end` may be called from any thread, any number of times; the first reason counts.
    """

    def __init__(
        self,
        config: LinkConfig,
        url: SplitResult,
        receive: Callable[[_Session, paho.MQTTMessage], None],
        connected: Callable[[_Session], None],
    ) -> None:
        self._config = config
        self._url = url
        self._receive = receive
        self._connected = connected
        self.settled = threading.Event()
        self.was_up = False
        self.is_full = False
        self._over = threading.Event()
        self._gone = threading.Event()  # paho has seen the connection's end
        self._reason = "connection ended"
        self._room = threading.Condition()  # guards the three below
        self._on_the_way = 0
        self._unacknowledged: set[int] = set()
        self._client = self._new_client()

    @property
    def is_up(self) -> bool:
        return self.was_up and not self._over.is_set()

    @property
    def is_over(self) -> bool:
        return self._over.is_set()

    def run(self) -> str:
        """Connect, stay until the end, and return its reason."""
        config, url = self._config, self._url
        try:
            self._authenticate()
            self._client.connect(url.hostname or "", _port(url), config.keepalive_seconds)
        except (OSError, ValueError) as error:  # ValueError: a host name or password that cannot be encoded
            self.end(f"cannot connect: {error}")
            return self._told()
        self._client.loop_start()
        if not self.settled.wait(_ANSWER_SECONDS):
            self.end(f"broker did not answer within {_ANSWER_SECONDS:g} s")
        if not self._over.wait(1.0):
            self._subscribe()  # again: nats-server may pass over a retained message while it stores or loads it
        # paho reports every end; the look at the socket is for the one it might not.
        while not self._over.wait(1.0):
            if self._client.socket() is None:
                self.end("connection vanished")
        self._leave()
        return self._told()

    def end(self, reason: str) -> None:
        """Ask for the end of this connection; `run` carries it out."""
        with self._room:
            if self._over.is_set():
                return
            self._reason = reason
            self._over.set()
            self.settled.set()
            self._room.notify_all()

    def publish(self, topic: str, payload: bytes, *, retain: bool, timeout: float) -> None:
        with self._room:
            if not self._room.wait_for(lambda: self.is_over or self._has_room(), timeout):
                raise LinkDown(f"broker has acknowledged nothing for {timeout:g} s: {topic} must wait")
            if self.is_over:
                raise LinkDown(f"{self._config.url}: {self._reason}")
            self._on_the_way += 1
        sent = self._client.publish(topic, payload, qos=1, retain=retain)
        if sent.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self.end(f"publishing failed: {paho.error_string(sent.rc)}")
            raise LinkDown(f"{self._config.url}: {self._reason}")

    def acknowledge(self, message: paho.MQTTMessage) -> None:
        if message.qos == 1:
            with self._room:
                self._unacknowledged.discard(message.mid)
            self._client.ack(message.mid, message.qos)

    def _has_room(self) -> bool:
        return self._on_the_way < self._config.window

    def _told(self) -> str:
        return f"link to {self._config.url}: {self._reason}"

    def _new_client(self) -> paho.Client:
        config = self._config
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=config.client_id,
            clean_session=False,
            protocol=paho.MQTTv311,
            reconnect_on_failure=False,  # the link's own back-off, and a new client each time
            manual_ack=True,
        )
        client.max_inflight_messages_set(config.window)
        if config.will:
            client.will_set(config.will.topic, config.will.payload, qos=1, retain=config.will.retain)
        client.on_socket_open = _send_at_once
        client.on_connect = self._connect_answered
        client.on_subscribe = self._subscribe_answered
        client.on_message = self._message_arrived
        client.on_publish = self._publish_acknowledged
        client.on_disconnect = self._disconnected
        return client

    def _authenticate(self) -> None:
        config = self._config
        if self._url.username:
            self._client.username_pw_set(self._url.username, _read_password(config.password_file))
        if self._url.scheme == "mqtts":
            self._client.tls_set_context(_tls_context(config))

    def _leave(self) -> None:
        """Send DISCONNECT, but do not insist: a dead peer must not hold us."""
        self._client.disconnect()
        if not self._gone.wait(_FAREWELL_SECONDS) and isinstance(
            sock := self._client.socket(), socket.socket
        ):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._client.loop_stop()

    def _connect_answered(self, _client: Any, _data: Any, _flags: Any, code: Any, _props: Any) -> None:
        if code.is_failure:
            self.end(f"broker refused the connection: {code}")
            return
        self._connected(self)
        if self._config.subscriptions:
            self._subscribe()
        else:
            self._settle()

    def _subscribe(self) -> None:
        if self._config.subscriptions:
            self._client.subscribe([(topic, 1) for topic in self._config.subscriptions])

    def _subscribe_answered(self, _client: Any, _data: Any, _mid: int, codes: list[Any], _props: Any) -> None:
        pairs = zip(self._config.subscriptions, codes, strict=False)
        if refused := [topic for topic, code in pairs if code.is_failure]:
            self.end(f"broker refused to let {self._config.client_id} subscribe to {', '.join(refused)}")
        else:
            self._settle()

    def _settle(self) -> None:
        with self._room:
            self.was_up |= not self._over.is_set()
        self.settled.set()

    def _message_arrived(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        if self.is_over:
            return
        if message.qos == 1:
            with self._room:
                # Some brokers repeat, within one connection, what is not acknowledged soon: it is queued already.
                if message.mid in self._unacknowledged:
                    return
                self._unacknowledged.add(message.mid)
        self._receive(self, message)

    def _publish_acknowledged(self, _client: Any, _data: Any, _mid: int, _code: Any, _props: Any) -> None:
        with self._room:
            self._on_the_way -= 1
            self._room.notify_all()

    def _disconnected(self, _client: Any, _data: Any, _flags: Any, code: Any, _props: Any) -> None:
        self.end(f"connection lost: {code}")
        self._gone.set()


def _send_at_once(_client: Any, _data: Any, sock: Any) -> None:
    """Keep the kernel from holding back small packets: it would cost an alarm 40 ms on each side."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _parse_url(config: LinkConfig) -> SplitResult:
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


def _port(url: SplitResult) -> int:
    return url.port or (8883 if url.scheme == "mqtts" else 1883)


def _is_local(url: SplitResult) -> bool:
    try:
        return ipaddress.ip_address(url.hostname or "").is_loopback
    except ValueError:
        return url.hostname == "localhost"


def _read_password(file: Path | None) -> str:
    try:
        return file.read_text(encoding="utf-8").strip() if file else ""
    except UnicodeDecodeError as error:
        raise LinkUrlError(f"{file} is not UTF-8 text: {error}") from error


def _tls_context(config: LinkConfig) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(config.ca_file) if config.ca_file else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if config.cert_file and config.key_file:
        context.load_cert_chain(config.cert_file, config.key_file)
    return context
