"""What technicians sign: that they calibrated a series, how, by what measurements, and for how long it holds.

A record stands for itself: it names its signer's key, and whoever relies on it must know that key. A gateway takes a
calibration from it, and the series' entry in the catalogue names signer and record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from gateway.chain.canonical import MAX_MESSAGE
from gateway.chain.errors import WrongShape
from gateway.chain.keys import CALIBRATION, Signed, SigningKey, digest
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
    "KNOWN_GAS",
    "SHUNT",
    "ZERO",
    "CalibrationPoint",
    "CalibrationRecord",
    "read_calibration_record",
    "sign_calibration",
]

CLEAN_AIR: Final = 1
KNOWN_GAS: Final = 2
ZERO: Final = 3
SHUNT: Final = 4


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
    if record.technician != key.public:
        raise WrongShape("a calibration record is signed by the technician that it names")
    return key.signed(CALIBRATION, record.encode()).encode()


def read_calibration_record(data: bytes) -> CalibrationRecord:
    """Read a record's file once its signature holds under the key that it names, which is the reader's to trust.

    Raises:
        FormatError: these are not a record's bytes.
        BadSignature, UnsupportedSuite: its technician did not sign it.
    """
    signed = Signed.decode(data, max_size=MAX_MESSAGE)
    record = CalibrationRecord.decode(signed.body)
    signed.verify(CALIBRATION, record.technician)
    return record
