"""What gateways and hubs say to each other besides blocks and alarms. Each is a body in a `Signed` envelope.

Retained messages can be replayed by anyone, so each carries what lets a reader refuse to go back: the boot
nonce it belongs to, or a version.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from gateway.chain.alarm import MAX_CONTRACT
from gateway.chain.block import Seen
from gateway.chain.custody import Receipt
from gateway.chain.finality import Checkpoint, Entry, FinalityProof
from gateway.chain.genesis import Genesis
from gateway.chain.reading import Catalogue
from gateway.chain.record import (
    BootNonce,
    GatewayId,
    Hash,
    Label,
    Many,
    Maybe,
    Millis,
    Name,
    Octets,
    PublicKey,
    Range,
    Record,
    UInt,
)
from gateway.chain.tenure import MAX_ORPHANS, Position

Documents = Annotated[tuple[Annotated[bytes, Octets(1, MAX_CONTRACT)], ...], Many(0, 64)]
MAX_RECEIPTS: Final = 64

RESET: Final = 1
SILENCE: Final = 2
NEW_EPOCH: Final = 3
TEST: Final = 4


@dataclass(frozen=True, slots=True)
class Birth(Record):
    """Gateway to hubs, at each connection and change (domain `tocsin/birth/v1`).

    `version` rises within a boot. `whole` is 1 where the store recovered whole. `head` is the highest block the
    gateway signed, of any epoch. `catalogue` and `contracts` are those in force. `heartbeat` is the ms between
    heartbeats that a hub may count on.
    """

    genesis: Hash
    gateway: GatewayId
    boot: BootNonce
    version: UInt
    wall: Millis
    whole: Annotated[int, Range(0, 1)]
    head: Position
    seen: Seen
    catalogue: Catalogue
    contracts: Documents
    heartbeat: Millis
    software: Label


@dataclass(frozen=True, slots=True)
class Answer(Record):
    """Hub to gateway, in answer to the birth of this boot and version (domain `tocsin/answer/v1`).

    `standing` is the gateway's, 255 where it is not enrolled. `head` is its final head in `epoch`; `known` the
    signed blocks above it, `alarms` the hashes of its latest alarms, oldest first. `epoch` is the one in force.
    `entry` is the gateway's state entry (state key 1) under the checkpoint, or the proof of its absence: in a
    federation no hub's word for standing, epoch and head is believed without it.
    """

    genesis: Hash
    hub: PublicKey
    gateway: GatewayId
    boot: BootNonce
    version: UInt
    standing: Annotated[int, Range(0, 255)]
    epoch: UInt
    head: Position
    known: Annotated[tuple[Position, ...], Many(0, MAX_ORPHANS)]
    alarms: Annotated[tuple[Hash, ...], Many(0, 64)]
    checkpoint: Checkpoint
    time: Millis
    entry: Annotated[Entry | None, Maybe()]


@dataclass(frozen=True, slots=True)
class HeaderFinality(Record):
    """That the header at a position is final, and with it every one below."""

    position: Position
    proof: FinalityProof


@dataclass(frozen=True, slots=True)
class Receipts(Record):
    """Hub to gateway: custody receipts and the finality of the highest header they cover.

    Not signed as a whole: its parts are, each by itself.
    """

    genesis: Hash
    hub: PublicKey
    custody: Annotated[tuple[Receipt, ...], Many(0, MAX_RECEIPTS)]
    finality: Annotated[HeaderFinality | None, Maybe()]


@dataclass(frozen=True, slots=True)
class AlarmReceipt(Record):
    """Hub to gateway (domain `tocsin/alarm-receipt/v1`): these alarms, by transition hash, are on the hub's disk."""

    genesis: Hash
    hub: PublicKey
    gateway: GatewayId
    alarms: Annotated[tuple[Hash, ...], Many(1, 256)]


@dataclass(frozen=True, slots=True)
class Heartbeat(Record):
    """Gateway to hubs (domain `tocsin/heartbeat/v1`). `counter` rises within a boot; `waiting` blocks lack receipts.

    `faults` counts series that are not well; `full` is the store's fill in per mille of its quota.
    """

    genesis: Hash
    gateway: GatewayId
    boot: BootNonce
    counter: UInt
    wall: Millis
    head: Position
    waiting: UInt
    faults: UInt
    full: Annotated[int, Range(0, 100_000)]


@dataclass(frozen=True, slots=True)
class HubState(Record):
    """Hub to all, retained (domain `tocsin/hub-state/v1`). `version` never falls; `online` is 1 or 0.

    `roster` is the state's key 6 under the checkpoint beside it, with its proof; none while the state has none.
    """

    genesis: Hash
    hub: PublicKey
    version: UInt
    online: Annotated[int, Range(0, 1)]
    checkpoint: Checkpoint
    roster: Annotated[Entry | None, Maybe()]


@dataclass(frozen=True, slots=True)
class Successor(Record):
    """Hub to gateways of a chain taken over, retained: the genesis that continues it, and a checkpoint of that chain.

    The checkpoint shows all changes of the validators. It tells that they run this very genesis: the signature in a
    takeover leaves open which other chains stand beside it.
    """

    genesis: Genesis
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class Request(Record):
    """Hub to gateway (domain `tocsin/request/v1`): send blocks `first` to `last` again, or (0, 0) your birth."""

    genesis: Hash
    hub: PublicKey
    gateway: GatewayId
    boot: BootNonce
    first: UInt
    last: UInt


@dataclass(frozen=True, slots=True)
class Command(Record):
    """An authority or hub to a gateway (domain `tocsin/command/v1`).

    Action 1 resets a latched contract, 2 silences the sirens of a contract, 3 asks for a new epoch, 4 tests the
    output whose name is in `contract`. `signer` is the key of an authority in office or of a member; a command is
    valid for one boot, once, until `not_after`.
    """

    genesis: Hash
    signer: PublicKey
    gateway: GatewayId
    boot: BootNonce
    nonce: Annotated[bytes, Octets(16, 16)]
    action: Annotated[int, Range(RESET, TEST)]
    contract: Name
    not_after: Millis
