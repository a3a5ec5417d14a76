"""One connection to a broker, from its first packet to the last: the only module that knows paho.

Owns the client, its subscriptions, will and window, and the farewell. It does not own what follows a connection
(`gateway.mqtt.link`).

Invariant: paho's thread never waits; nothing is carried from one session to the next.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import SplitResult

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from gateway.mqtt.config import LinkConfig, LinkDown, port_of, read_password, tls_context

__all__ = ["Message", "Session"]

Message = paho.MQTTMessage

_ANSWER_SECONDS: Final = 10.0  # for CONNACK and SUBACK together
_FAREWELL_SECONDS: Final = 2.0


class Session:
    """One connection, from the first packet to the last. A new paho client each time: it carries nothing over.

    Life: `run` blocks from connecting to the end. `settled` is set when the connection is up or will never
    be. `end` may be called from any thread, any number of times; the first reason counts.
    """

    def __init__(
        self,
        config: LinkConfig,
        url: SplitResult,
        receive: Callable[[Session, Message], None],
        connected: Callable[[Session], None],
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
            self._client.connect(url.hostname or "", port_of(url), config.keepalive_seconds)
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

    def acknowledge(self, message: Message) -> None:
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
            self._client.username_pw_set(self._url.username, read_password(config.password_file))
        if self._url.scheme == "mqtts":
            self._client.tls_set_context(tls_context(config))

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

    def _message_arrived(self, _client: Any, _data: Any, message: Message) -> None:
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
