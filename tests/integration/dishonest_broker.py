"""A broker that lies: a proxy before a real one that acknowledges what it drops, or is away altogether."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from hubs import free_port

PUBLISH, PUBACK = 3, 4


@dataclass
class Seen:
    """A message from the gateway's side: its topic's last word, and whether it was passed on."""

    kind: str
    payload: bytes = field(repr=False)
    passed: bool


class DishonestBroker:
    """Passes MQTT on to a real broker; PUBLISH of the kinds in `swallows` is acknowledged and dropped."""

    def __init__(self, broker: str) -> None:
        host, _, port = broker.removeprefix("mqtt://").rpartition(":")
        self._target = host, int(port)
        self._port = free_port()
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self.swallows: frozenset[str] = frozenset()
        self.seen: list[Seen] = []
        self.back()

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self._port}"

    def count(self, kind: str, *, passed: bool) -> int:
        return sum((each.kind, each.passed) == (kind, passed) for each in self.seen)

    def away(self) -> None:
        """Cut every connection and refuse new ones. Idempotent."""
        with self._lock:
            ended, self._sockets = self._sockets, []
            if self._listener is not None:
                ended.append(self._listener)
                self._listener = None
        for each in ended:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def back(self) -> None:
        """Listen (again)."""
        listener = socket.create_server(("127.0.0.1", self._port))
        with self._lock:
            self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
                server = socket.create_connection(self._target)
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                if self._listener is not listener:
                    client.close()
                    server.close()
                    return
                self._sockets += [client, server]
            writing = threading.Lock()
            for run in (self._up, self._down):
                threading.Thread(target=run, args=(client, server, writing), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket, writing: threading.Lock) -> None:
        with contextlib.suppress(OSError):
            for packet in _packets(client):
                if packet[0] >> 4 != PUBLISH or self._passes(packet):
                    server.sendall(packet)
                elif identity := _packet_id(packet):
                    with writing:
                        client.sendall(bytes((PUBACK << 4, 2)) + identity)
        _end(client, server)

    def _down(self, client: socket.socket, server: socket.socket, writing: threading.Lock) -> None:
        with contextlib.suppress(OSError):
            for packet in _packets(server):
                with writing:
                    client.sendall(packet)
        _end(client, server)

    def _passes(self, packet: bytes) -> bool:
        topic, payload = _publication(packet)
        kind = topic.rpartition("/")[2]
        passed = kind not in self.swallows
        self.seen.append(Seen(kind, payload, passed))
        return passed


def _packets(stream: socket.socket) -> Iterator[bytes]:
    """Whole MQTT packets as they come, until the stream ends."""
    with stream.makefile("rb") as file:
        while first := file.read(1):
            head, size, shift = first, 0, 0
            while digit := file.read(1):
                head += digit
                size |= (digit[0] & 127) << shift
                shift += 7
                if digit[0] < 128:
                    break
            body = file.read(size)
            if len(body) < size:
                return
            yield head + body


def _body(packet: bytes) -> bytes:
    at = 1
    while packet[at] >= 128:
        at += 1
    return packet[at + 1 :]


def _packet_id(packet: bytes) -> bytes:
    """The packet identifier of a PUBLISH, empty for QoS 0."""
    body = _body(packet)
    at = 2 + int.from_bytes(body[:2], "big")
    return body[at : at + 2] if packet[0] & 0b110 else b""


def _publication(packet: bytes) -> tuple[str, bytes]:
    body = _body(packet)
    end = 2 + int.from_bytes(body[:2], "big")
    return body[2:end].decode(), body[end + len(_packet_id(packet)) :]


def _end(*sockets: socket.socket) -> None:
    for each in sockets:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()
