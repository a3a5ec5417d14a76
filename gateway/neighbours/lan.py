"""The sockets between neighbours: one for each address of this gateway, one for each multicast group.

Owns opening them, joining groups, and waiting for datagrams. It does not own what is in them.

Invariants:
* What cannot be opened or joined yet (no network at the start, an interface that comes and goes) is tried again each
  minute, and keeps the rest from nothing; sending never waits and never fails.
* Groups are joined anew each minute: switches that nobody reminds forget who listens.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import selectors
import socket
import struct
from collections.abc import Iterable
from typing import Final

from gateway.chain.neighbour import MAX_DATAGRAM
from gateway.neighbours.config import NeighboursTable, parse_address

__all__ = ["Address", "Lan"]

_log = logging.getLogger(__name__)

Address = tuple[str, int]

_CARE_MS: Final = 60_000
_AT_ONCE: Final = 64


class Lan:
    """The network as neighbours use it. For one thread, but for `wake`."""

    def __init__(self, options: NeighboursTable) -> None:
        self._interface = options.interface
        self._listen = [parse_address(each) for each in options.listen]
        self._groups = [parse_address(each) for each in options.multicast]
        self._open: dict[Address, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = socket.socketpair()
        for each in (self._woken, self._waker):
            each.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._cared_ms: int | None = None
        self._troubles: set[str] = set()

    def care(self, now_ms: int) -> None:
        """Open what is not open and join all groups, once a minute."""
        if self._cared_ms is not None and now_ms - self._cared_ms < _CARE_MS:
            return
        self._cared_ms = now_ms
        for address in (*self._listen, *self._groups):
            try:
                self._keep(address)
            except OSError as error:
                self._trouble(f"{_text(address)} cannot be used yet: {error.strerror or error}")

    def rest(self) -> None:
        """Close all sockets until `care` is called again."""
        for each in self._open.values():
            self._selector.unregister(each)
            each.close()
        self._open, self._cared_ms = {}, None

    def send(self, data: bytes, addresses: Iterable[Address]) -> None:
        """Send a datagram to some addresses, from the first socket of each one's kind."""
        for host, port in addresses:
            family = _family(host)
            source = next(
                (self._open[a] for a in self._listen if a in self._open and _family(a[0]) == family), None
            )
            if source is None:
                continue
            at = (host, port) if family == socket.AF_INET else (host, port, 0, self._scope(host))
            with contextlib.suppress(OSError):  # no network, or none there: the next heartbeat tries again
                source.sendto(data, at)

    def send_all(self, data: bytes) -> None:
        """Send a datagram to the groups."""
        self.send(data, self._groups)

    def receive(self, timeout_s: float) -> list[tuple[bytes, Address]]:
        """Wait for datagrams or `wake`, and return some of what came, with their senders' addresses."""
        found = []
        for key, _ in self._selector.select(max(0.0, timeout_s)):
            given = key.fileobj
            assert isinstance(given, socket.socket)
            with contextlib.suppress(OSError):  # nothing left; or what an earlier datagram met is told here
                if given is self._woken:
                    given.recv(4096)
                    continue
                for _ in range(_AT_ONCE):
                    data, source = given.recvfrom(MAX_DATAGRAM + 1)
                    found.append((data, (source[0].partition("%")[0], source[1])))
        return found

    def wake(self) -> None:
        """End a wait under way, or the next one. May be called from any thread."""
        with contextlib.suppress(OSError):  # full: it wakes already; closed: nobody waits
            self._waker.send(b"\0")

    def close(self) -> None:
        """Close all sockets."""
        self._selector.close()
        for each in (*self._open.values(), self._woken, self._waker):
            each.close()

    def _keep(self, address: Address) -> None:
        opened = self._open.get(address)
        if opened is None:
            opened = _bound(address, self._interface, address in self._groups)
            self._open[address] = opened
            self._selector.register(opened, selectors.EVENT_READ)
        if address in self._groups:
            self._join(opened, address[0])
        else:
            self._send_groups_by(opened, _family(address[0]))

    def _join(self, opened: socket.socket, host: str) -> None:
        if _family(host) == socket.AF_INET:
            request = _request(host, self._interface)
            with contextlib.suppress(OSError):
                opened.setsockopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, request)
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        else:
            request6 = socket.inet_pton(socket.AF_INET6, host) + struct.pack("@I", _index(self._interface))
            with contextlib.suppress(OSError):
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_LEAVE_GROUP, request6)
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request6)

    def _send_groups_by(self, opened: socket.socket, family: int) -> None:
        if not self._interface or not self._groups:
            return
        if family == socket.AF_INET:
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, _request("0.0.0.0", self._interface))
        else:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, _index(self._interface))

    def _scope(self, host: str) -> int:
        at = ipaddress.ip_address(host)
        return _index(self._interface) if at.is_link_local or at.is_multicast else 0

    def _trouble(self, text: str) -> None:
        if text not in self._troubles:
            _log.warning("neighbours: %s", text)
            self._troubles.add(text)


def _bound(address: Address, interface: str, is_group: bool) -> socket.socket:
    family = _family(address[0])
    opened = socket.socket(family, socket.SOCK_DGRAM)
    try:
        opened.setblocking(False)
        if is_group:  # several gateways of one machine share a group
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        scope = _index(interface) if family == socket.AF_INET6 and is_group else 0
        opened.bind(address if family == socket.AF_INET else (*address, 0, scope))
    except OSError:
        opened.close()
        raise
    return opened


def _request(group: str, interface: str) -> bytes:
    """Return an `ip_mreqn`: the group, and the interface by address or index."""
    try:
        address, index = socket.inet_aton(interface) if "." in interface else bytes(4), 0
    except OSError:
        address = bytes(4)
    if address == bytes(4):
        index = _index(interface)
    return socket.inet_aton(group) + address + struct.pack("@i", index)


def _index(interface: str) -> int:
    try:
        return socket.if_nametoindex(interface) if interface else 0
    except OSError:
        return 0


def _family(host: str) -> int:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _text(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
