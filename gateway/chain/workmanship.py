"""What technicians sign: that they calibrated a series, how and for how long; that they tried a site's detectors.

A record stands for itself: it names its signer's key, and whoever relies on it must know that key. A gateway takes a
calibration from it, and the series' entry in the catalogue names signer and record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, TypeVar

from gateway.chain.canonical import MAX_MESSAGE
from gateway.chain.errors import WrongShape
from gateway.chain.keys import CALIBRATION, COMMISSIONING, Signed, SigningKey, digest
from gateway.chain.record import (
    GatewayId,
    Hash,
    Int,
    Label,
    Many,
    Millis,
    Octets,
    PublicKey,
    Range,
    Record,
    Text,
    UInt,
)

__all__ = [
    "CLEAN_AIR",
    "FAILED",
    "KNOWN_GAS",
    "PASSED",
    "SHUNT",
    "UNTRIED",
    "ZERO",
    "CalibrationPoint",
    "CalibrationRecord",
    "Commissioning",
    "InForce",
    "Moving",
    "Trial",
    "read_calibration_record",
    "read_commissioning",
    "sign_calibration",
    "sign_commissioning",
]

CLEAN_AIR: Final = 1
KNOWN_GAS: Final = 2
ZERO: Final = 3
SHUNT: Final = 4

UNTRIED: Final = 0
PASSED: Final = 1
FAILED: Final = 2


@dataclass(frozen=True, slots=True)
class CalibrationPoint(Record):
    """One reference and what the sensor gave under it.

    `expected` is the reference in the series' unit and scale. `count` values of the quantity were taken over `span` ms;
    their `mean`, standard `deviation` and `drift` (the straight line through them, last minus first) are in thousandths
    of the quantity's steps.
    """

    expected: Int
    count: UInt
    span: Millis
    mean: Int
    deviation: UInt
    drift: Int


@dataclass(frozen=True, slots=True)
class CalibrationRecord(Record):
    """A technician's word on one series of one gateway (domain `tocsin/calibration/v1`).

    `technician` is the signer's key, `name` how people call them. `sensor` is as in the series' entry; `options` is the
    SHA-256 of the sensor's options as configured. `method` is 1 clean air, 2 known gas, 3 zero, 4 shunt. `residual` is
    the fit's largest error at a point, in per mille of the largest expected (0 where there is one point). `calibration`
    are the bytes of the item below, its validity left empty. It holds from `made` until `until`.
    """

    technician: PublicKey
    name: Annotated[str, Text(64)]
    gateway: GatewayId
    series: Annotated[str, Text(96, r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")]
    sensor: Label
    options: Hash
    method: Annotated[int, Range(CLEAN_AIR, SHUNT)]
    points: Annotated[tuple[CalibrationPoint, ...], Many(1, 16)]
    residual: UInt
    calibration: Annotated[bytes, Octets(1, 8192)]
    made: Millis
    until: Millis

    def check(self, where: str) -> None:
        if self.until <= self.made:
            raise WrongShape(f"{where}: it ends before it begins")

    @property
    def hash(self) -> bytes:
        """The record's identity (32 bytes)."""
        return digest(CALIBRATION, self.encode())


def sign_calibration(record: CalibrationRecord, key: SigningKey) -> bytes:
    """Return the record's file: the Signed under the technician's key.

    Raises:
        WrongShape: it names another technician, or a field is out of its range.
    """
    return _sign(CALIBRATION, record, key)


def read_calibration_record(data: bytes) -> CalibrationRecord:
    """Read a record's file once its signature holds under the key that it names, which is the reader's to trust.

    Raises:
        FormatError: these are not a record's bytes.
        BadSignature, UnsupportedSuite: its technician did not sign it.
    """
    return _read(CALIBRATION, CalibrationRecord, data)


@dataclass(frozen=True, slots=True)
class Trial(Record):
    """One detector, and what became of it when it was set off.

    `sensor` is as in its series' entries, `serial` what is printed on it, or "". `outcome` is 0 not tried, 1 passed,
    2 failed, `remark` why. A detector that passed brought `contract` to alarm: it was set off at `begun`, and
    its alarm stood here `here` ms and at the hub `hub` ms later, as the transition whose hash is `alarm`. Otherwise
    these are empty or 0. `until` is when the first of its calibrations ends, 0 where none does.
    """

    sensor: Label
    serial: Annotated[str, Text(64)]
    outcome: Annotated[int, Range(UNTRIED, FAILED)]
    contract: Annotated[str, Text(64)]
    begun: Millis
    here: Millis
    hub: Millis
    alarm: Annotated[bytes, Octets(0, 32)]
    until: Millis
    remark: Annotated[str, Text(200)]

    def check(self, where: str) -> None:
        if self.outcome == PASSED and (len(self.alarm) != 32 or not self.contract):
            raise WrongShape(f"{where}: it passed without an alarm")


@dataclass(frozen=True, slots=True)
class InForce(Record):
    """A contract that was in force, by its id, version and hash."""

    contract: Annotated[str, Text(64)]
    version: UInt
    hash: Hash


@dataclass(frozen=True, slots=True)
class Moving(Record):
    """An output, and whether it acted in a trial (0 or 1)."""

    output: Annotated[str, Text(32)]
    kind: Annotated[str, Text(16)]
    acted: Annotated[int, Range(0, 1)]


@dataclass(frozen=True, slots=True)
class Commissioning(Record):
    """A technician's word that a site's detectors were tried (domain `tocsin/commissioning/v1`).

    `technician` is the signer's key, `name` how people call them. `genesis` and `gateway` are the chain and the gateway
    of it, `site` what people call the place. `catalogue` is the root that its headers committed to.
    `complete` is 1 where every detector passed and every output acted, else 0. `simulated` is 1 where nothing real
    hung on the gateway: a rehearsal, which certifies no site.
    """

    technician: PublicKey
    name: Annotated[str, Text(64)]
    genesis: Hash
    gateway: GatewayId
    site: Annotated[str, Text(200)]
    software: Annotated[str, Text(64)]
    catalogue: Hash
    contracts: Annotated[tuple[InForce, ...], Many(0, 64)]
    outputs: Annotated[tuple[Moving, ...], Many(0, 64)]
    trials: Annotated[tuple[Trial, ...], Many(0, 256)]
    complete: Annotated[int, Range(0, 1)]
    simulated: Annotated[int, Range(0, 1)]
    made: Millis

    def check(self, where: str) -> None:
        whole = all(each.outcome == PASSED for each in self.trials) and all(o.acted for o in self.outputs)
        if self.complete and not (self.trials and whole):
            raise WrongShape(f"{where}: it calls itself complete, and is not")

    @property
    def hash(self) -> bytes:
        """The record's identity (32 bytes)."""
        return digest(COMMISSIONING, self.encode())


def sign_commissioning(record: Commissioning, key: SigningKey) -> bytes:
    """Return the record's file: the Signed under the technician's key.

    Raises:
        WrongShape: it names another technician, or a field is out of its range.
    """
    return _sign(COMMISSIONING, record, key)


def read_commissioning(data: bytes) -> Commissioning:
    """Read a record's file once its signature holds under the key that it names, which is the reader's to trust.

    Raises:
        FormatError: these are not a record's bytes.
        BadSignature, UnsupportedSuite: its technician did not sign it.
    """
    return _read(COMMISSIONING, Commissioning, data)


_Work = TypeVar("_Work", CalibrationRecord, Commissioning)


def _sign(domain: str, record: _Work, key: SigningKey) -> bytes:
    if record.technician != key.public:
        raise WrongShape("a technician signs no record that names another one")
    return key.signed(domain, record.encode()).encode()


def _read(domain: str, form: type[_Work], data: bytes) -> _Work:
    signed = Signed.decode(data, max_size=MAX_MESSAGE)
    record = form.decode(signed.body)
    signed.verify(domain, record.technician)
    return record
