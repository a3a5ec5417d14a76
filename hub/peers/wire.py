"""What hubs ask each other over REST, besides the ledger format's own requests, and what they answer.

Requests are signed by the hub key of a member and name the hub that they are for. Answers are not signed: every
part of them is held against what the chain says, or carries a signature of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from gateway.chain.alarm import MAX_CONTRACT, Alarm
from gateway.chain.custody import Promise
from gateway.chain.errors import WrongShape
from gateway.chain.keys import Signed
from gateway.chain.reading import MAX_SEGMENT, Class
from gateway.chain.record import Hash, Many, Millis, Octets, PublicKey, Range, Record, UInt

PROMISES_REQUEST: Final = "tocsin/promises-request/v1"
LIBRARY_REQUEST: Final = "tocsin/library-request/v1"
HEADERS_REQUEST: Final = "tocsin/headers-request/v1"
ALARMS_REQUEST: Final = "tocsin/alarms-request/v1"

MAX_REQUEST: Final = 16 * 1024
MAX_ANSWER: Final = 4 << 20
ENOUGH: Final = 1 << 20
"""An answer that has come to this size (bytes) takes no further item."""

GIVEN: Final = 0
LACKING: Final = 1
SHED: Final = 2
WITHHELD: Final = 3

MAX_ROOTS: Final = 16
MAX_HEADERS: Final = 128
MAX_ALARMS: Final = 64


@dataclass(frozen=True, slots=True)
class PromisesRequest(Record):
    """What did you promise after your batch number `after`? `height` is the asking hub's last final block."""

    genesis: Hash
    hub: PublicKey
    of: PublicKey
    after: UInt
    height: UInt
    time: Millis


@dataclass(frozen=True, slots=True)
class PromiseBatch(Record):
    """A signed batch of promises under its hub's own number for it."""

    number: UInt
    batch: Signed
    promises: Annotated[tuple[Promise, ...], Many(1, 4096)]


@dataclass(frozen=True, slots=True)
class PromisesAnswer(Record):
    """Batches in rising order of number. `last` is the highest there is, `height` the hub's last final block."""

    height: UInt
    last: UInt
    batches: Annotated[tuple[PromiseBatch, ...], Many(0, 4096)]


@dataclass(frozen=True, slots=True)
class BodySegment(Record):
    """One segment that was asked for: 0 given, 1 lacking, 2 shed, 3 withheld from the asking hub."""

    klass: Class
    state: Annotated[int, Range(GIVEN, WITHHELD)]
    data: Annotated[bytes, Octets(0, MAX_SEGMENT)]

    def check(self, where: str) -> None:
        if self.data and self.state != GIVEN:
            raise WrongShape(f"{where}: a segment that is not given has no bytes")


@dataclass(frozen=True, slots=True)
class Body(Record):
    """The segments of the block of this header hash; none where the block is not known at all."""

    hash: Hash
    segments: Annotated[tuple[BodySegment, ...], Many(0, 3)]


@dataclass(frozen=True, slots=True)
class BodiesAnswer(Record):
    """Bodies in the order asked for, until the answer was full; at least one."""

    bodies: Annotated[tuple[Body, ...], Many(1, 64)]


@dataclass(frozen=True, slots=True)
class LibraryRequest(Record):
    """What explains headers: catalogues and contract sets by the roots that stand in them."""

    genesis: Hash
    hub: PublicKey
    of: PublicKey
    catalogues: Annotated[tuple[Hash, ...], Many(0, MAX_ROOTS)]
    contracts: Annotated[tuple[Hash, ...], Many(0, MAX_ROOTS)]
    time: Millis


@dataclass(frozen=True, slots=True)
class ContractSet(Record):
    """The documents of one listing."""

    documents: Annotated[tuple[Annotated[bytes, Octets(1, MAX_CONTRACT)], ...], Many(0, 64)]


@dataclass(frozen=True, slots=True)
class LibraryAnswer(Record):
    """Whatever of it is known: catalogues as their bytes, contract sets."""

    catalogues: Annotated[tuple[Annotated[bytes, Octets(1, MAX_ANSWER)], ...], Many(0, MAX_ROOTS)]
    contracts: Annotated[tuple[ContractSet, ...], Many(0, MAX_ROOTS)]


@dataclass(frozen=True, slots=True)
class HeadersRequest(Record):
    """The header of this hash and those before it, as many as fit."""

    genesis: Hash
    hub: PublicKey
    of: PublicKey
    tip: Hash
    time: Millis


@dataclass(frozen=True, slots=True)
class HeadersAnswer(Record):
    """Signed headers, each the predecessor of the one before it."""

    headers: Annotated[tuple[Signed, ...], Many(0, MAX_HEADERS)]


@dataclass(frozen=True, slots=True)
class AlarmsRequest(Record):
    """Alarms by their transitions' hashes."""

    genesis: Hash
    hub: PublicKey
    of: PublicKey
    wanted: Annotated[tuple[Hash, ...], Many(1, MAX_ALARMS)]
    time: Millis


@dataclass(frozen=True, slots=True)
class AlarmsAnswer(Record):
    """Those that are known."""

    alarms: Annotated[tuple[Alarm, ...], Many(0, MAX_ALARMS)]
