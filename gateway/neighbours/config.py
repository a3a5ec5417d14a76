"""`[neighbours]` of the configuration, and the roster of a building as a file.

Owns their shape. A roster that was granted with the contracts takes the place of the configuration's; how this
gateway listens stays its own.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from gateway.chain.errors import FormatError
from gateway.chain.keys import gateway_id
from gateway.chain.neighbour import BUILDING, Building, Neighbour
from gateway.contracts.errors import ContractError
from gateway.contracts.tables import loads_toml, read_table
from gateway.errors import ConfigError

__all__ = ["MemberTable", "NeighboursTable", "make_building", "parse_address", "read_building"]

PORT: Final = 47470


@dataclass(frozen=True, slots=True)
class MemberTable:
    """One gateway of the building.

    Attributes:
        key: its public key, 64 hexadecimal digits; `tocsin-gateway identity` prints it.
        gateway: its id, 32 hexadecimal digits; only where the key was replaced since the first one.
        addresses: where it listens, such as "192.168.1.11:47470" or "[fd00::11]:47470"; with none it is reached by
            multicast alone.
    """

    name: str
    key: str
    gateway: str = ""
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NeighboursTable:
    """`[neighbours]`: the gateways of one building, which warn each other without hub or broker.

    Attributes:
        building: its name, the same at all of them.
        members: all gateways of the building, this one too, until a roster is granted with the contracts.
        listen: addresses and ports of this gateway.
        multicast: groups and ports beside; none where the network carries no multicast.
        interface: the network interface of the groups, by name or IPv4 address; the system's choice if left out.
        heartbeat_s: seconds between messages while nothing changes.
    """

    building: str = ""
    members: tuple[MemberTable, ...] = ()
    listen: tuple[str, ...] = (f"0.0.0.0:{PORT}", f"[::]:{PORT}")
    multicast: tuple[str, ...] = (f"239.255.84.79:{PORT}",)
    interface: str = ""
    heartbeat_s: int = 5

    def __post_init__(self) -> None:
        if not 1 <= self.heartbeat_s <= 10:
            raise ValueError("heartbeat_s must be 1 to 10")
        if bool(self.building) != bool(self.members):
            raise ValueError("building and members go together; both are left out where they are granted")
        for address in (*self.listen, *self.multicast):
            parse_address(address)


@dataclass(frozen=True, slots=True)
class _File:
    building: str
    members: tuple[MemberTable, ...]


@lru_cache(maxsize=256)
def parse_address(text: str) -> tuple[str, int]:
    """Return host and port of "192.0.2.1:47470" or "[2001:db8::1]:47470". Raises ValueError."""
    host, _, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    try:
        version = ipaddress.ip_address(bare).version
        number = int(port)
    except ValueError as error:
        raise ValueError(f"{text!r} is no address with a port, such as 192.168.1.11:{PORT}") from error
    if not 0 < number < 65536 or host != (bare if version == 4 else f"[{bare}]"):
        raise ValueError(f"{text!r} is no address with a port, such as [fd00::11]:{PORT}")
    return bare, number


def make_building(name: str, members: Sequence[MemberTable], where: str) -> Building:
    """Return the roster of some tables. Raises ConfigError."""
    try:
        building = Building(BUILDING, name, tuple(sorted(_neighbours(members), key=lambda each: each.name)))
        building.encode()
    except (ValueError, FormatError) as error:
        raise ConfigError(f"{where}: the building's roster: {error}") from error
    return building


def read_building(text: str, where: str) -> Building:
    """Read a roster from TOML: `building` and `[[members]]`, as in `[neighbours]`. Raises ConfigError."""
    try:
        table = read_table(_File, loads_toml(text, where), where=where)
    except ContractError as error:
        raise ConfigError(str(error)) from error
    return make_building(table.building, table.members, where)


def _neighbours(members: Sequence[MemberTable]) -> Iterator[Neighbour]:
    for each in members:
        key = _octets(each.key, 32, f"the key of {each.name}")
        given = _octets(each.gateway, 16, f"the id of {each.name}") if each.gateway else gateway_id(key)
        for address in each.addresses:
            parse_address(address)
        yield Neighbour(each.name, given, key, each.addresses)


def _octets(digits: str, length: int, what: str) -> bytes:
    try:
        found = bytes.fromhex(digits)
    except ValueError:
        found = b""
    if len(found) != length:
        raise ValueError(f"{what} is not {2 * length} hexadecimal digits")
    return found
