"""What gateways of one building are to each other: the building's roster, and what each tells the others.

The roster is a document of form 2 that stands in a contract set beside the contracts (form 1): it is granted, hashed
and listed with them. A gateway's message states its whole present state, so that none depends on an earlier one.

Freshness needs neither clocks nor memory: whoever listens hands out challenges, and only a message that echoes
its present or its previous one was certainly made since. A message names no chain: neighbours warn each other also
while one of them follows a takeover before the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final

from gateway.chain.alarm import ALARMED, LATCHED, MAX_CONTRACT, NORMAL, PRE_ALARM
from gateway.chain.canonical import INT_MAX
from gateway.chain.errors import OtherBuilding, TooLarge, UnknownNeighbour, WrongShape
from gateway.chain.keys import NEIGHBOUR, Signed, SigningKey
from gateway.chain.record import (
    BootNonce,
    GatewayId,
    Many,
    Name,
    Octets,
    PublicKey,
    Range,
    Record,
    Text,
)

__all__ = [
    "BUILDING",
    "MAX_DATAGRAM",
    "MAX_ECHOES",
    "MAX_NEIGHBOURS",
    "MAX_RAISED",
    "Building",
    "Neighbour",
    "NeighbourState",
    "Raised",
    "is_building",
    "read_message",
    "sign_message",
    "verify_message",
]

BUILDING: Final = 2  # the document's form
MAX_NEIGHBOURS: Final = 32
MAX_DATAGRAM: Final = 1_200  # passes every Ethernet and Wi-Fi in one piece, IPv6 headers included
MAX_RAISED: Final = 8
MAX_ECHOES: Final = MAX_NEIGHBOURS - 1

Address = Annotated[str, Text(64, r"(?:[0-9.]{7,15}|\[[0-9a-f:.]{2,45}\]):[0-9]{1,5}")]
Nonce = Annotated[bytes, Octets(16, 16)]
Small = Annotated[int, Range(0, 65_535)]


@dataclass(frozen=True, slots=True)
class Neighbour(Record):
    """One gateway of a building: its name there, its id, the key it signs with, and where it listens (host:port)."""

    name: Name
    gateway: GatewayId
    key: PublicKey
    addresses: Annotated[tuple[Address, ...], Many(0, 4)]


@dataclass(frozen=True, slots=True)
class Building(Record):
    """The roster of a building's gateways: a document of form 2.

    Members stand in order of name; no name, id or key stands twice.
    """

    form: Annotated[int, Range(BUILDING, BUILDING)]
    name: Name
    members: Annotated[tuple[Neighbour, ...], Many(1, MAX_NEIGHBOURS)]

    def check(self, where: str) -> None:
        names = [each.name for each in self.members]
        if names != sorted(set(names)):
            raise WrongShape(f"{where}.members: in order of name, each name once")
        if any(len({each[i] for each in map(_marks, self.members)}) < len(names) for i in (0, 1)):
            raise WrongShape(f"{where}.members: a gateway or a key stands twice")

    @classmethod
    def read(cls, document: bytes) -> Building:
        """Return the roster whose canonical bytes a document is. Raises FormatError."""
        return cls.decode(document, max_size=MAX_CONTRACT)

    @property
    def by_gateway(self) -> Mapping[bytes, Neighbour]:
        """The members by their ids."""
        return {each.gateway: each for each in self.members}


def is_building(document: bytes) -> bool:
    """Whether a document is of form 2: its first field says so."""
    return document[1:2] == bytes((BUILDING,))


def _marks(member: Neighbour) -> tuple[bytes, bytes]:
    return member.gateway, member.key


@dataclass(frozen=True, slots=True)
class Raised(Record):
    """A contract that is not normal: 1 pre-alarm, 2 alarm, 3 latched."""

    contract: Name
    condition: Annotated[int, Range(PRE_ALARM, LATCHED)]


@dataclass(frozen=True, slots=True)
class NeighbourState(Record):
    """A gateway's whole present state, told to its neighbours (domain `tocsin/neighbour/v1`).

    `counter` rises from message to message within the boot. `challenge` is the sender's present one. `echoes` are the
    latest challenges that it has of those whom the message is for. `asks` is 1 where it wants an answer at once.
    `raised` are the contracts that read no neighbour's series and are not normal, the worst first, then by id; `more`
    counts those left out for want of room. `faults` counts its series in fault that are no neighbour's.
    """

    building: Name
    gateway: GatewayId
    boot: BootNonce
    counter: Annotated[int, Range(1, INT_MAX)]
    challenge: Nonce
    asks: Annotated[int, Range(0, 1)]
    raised: Annotated[tuple[Raised, ...], Many(0, MAX_RAISED)]
    more: Small
    faults: Small
    echoes: Annotated[tuple[Nonce, ...], Many(0, MAX_ECHOES)]

    def check(self, where: str) -> None:
        order = [(-each.condition, each.contract) for each in self.raised]
        if order != sorted(order) or len({each.contract for each in self.raised}) < len(order):
            raise WrongShape(f"{where}.raised: the worst first, then by id, each contract once")
        if self.more and len(self.raised) < MAX_RAISED:
            raise WrongShape(f"{where}.more: contracts are left out while there is room")

    @property
    def alarm(self) -> int:
        """0 normal, 1 pre-alarm, 2 alarm (latched ones too): the worst of its contracts."""
        return min(self.raised[0].condition, ALARMED) if self.raised else NORMAL


def sign_message(key: SigningKey, state: NeighbourState) -> bytes:
    """Return a message's bytes. Raises TooLarge where they do not fit a datagram."""
    data = key.signed(NEIGHBOUR, state.encode()).encode()
    if len(data) > MAX_DATAGRAM:
        raise TooLarge(f"a message to neighbours of {len(data)} bytes, at most {MAX_DATAGRAM} are allowed")
    return data


def read_message(data: bytes) -> tuple[Signed, NeighbourState]:
    """Return a message as it claims to be; its signature is not checked yet. Raises FormatError."""
    signed = Signed.decode(data, max_size=MAX_DATAGRAM)
    return signed, NeighbourState.decode(signed.body)


def verify_message(signed: Signed, state: NeighbourState, building: Building) -> Neighbour:
    """Return the member of a building that signed a message.

    Raises:
        OtherBuilding, UnknownNeighbour: it is not of this building; its signature is not looked at then.
        UnsupportedSuite, BadSignature: it is not signed under the member's key.
    """
    if state.building != building.name:
        raise OtherBuilding(f"a message is for building {state.building}, and this one is {building.name}")
    sender = building.by_gateway.get(state.gateway)
    if sender is None:
        raise UnknownNeighbour(f"gateway {state.gateway.hex()} is not in the roster of {building.name}")
    signed.verify(NEIGHBOUR, sender.key)
    return sender
