"""Calibrations out of technicians' signed records: `calibration = { kind = "record", file = ..., technician = ... }`.

Owns what a record must fit before a gateway relies on it, and the way back from a calibration's canonical item. It does
not own the record's form (`gateway.chain.workmanship`) or measuring (`firmware_tools.calibrate`).

Invariant: a record counts only under the technician's key that the configuration names, for this gateway, series,
sensor and options; whatever else is in it then stays as it was signed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Literal

from gateway.calibration.application import Calibration, Correction, Divider, Linear, Stage, Table, Validity
from gateway.chain.canonical import MAX_MESSAGE, Item, decode, encode
from gateway.chain.errors import ChainError
from gateway.chain.workmanship import CalibrationRecord, read_calibration_record
from gateway.contracts.tables import read_table
from gateway.errors import CalibrationError

__all__ = ["KIND", "RecordTable", "Subject", "load_calibration", "read_item"]

KIND: Final = "record"


@dataclass(frozen=True, slots=True)
class RecordTable:
    """`kind = "record"`: a calibration that a technician signed.

    Attributes:
        file: as `tocsin-tools calibrate` wrote it.
        technician: the key that must have signed it, as 64 hexadecimal digits.
    """

    kind: Literal["record"]
    file: str
    technician: str

    def __post_init__(self) -> None:
        if len(self.technician) != 64 or set(self.technician) - set("0123456789abcdef"):
            raise ValueError("technician must be a public key, 64 hexadecimal digits in lower case")


@dataclass(frozen=True, slots=True)
class Subject:
    """What a record is of.

    Attributes:
        gateway: the gateway's id; empty while it has no key, None where it is not known and goes unchecked.
        series: its name.
        driver, sensor: the sensor's driver and name.
        options: the sensor's, as configured.
    """

    gateway: bytes | None
    series: str
    driver: str
    sensor: str
    options: Mapping[str, object]

    @property
    def label(self) -> str:
        """The sensor as its series' entry names it."""
        return f"{self.driver} {self.sensor}"

    @property
    def options_hash(self) -> bytes:
        """SHA-256 of the options as configured: another circuit needs another calibration."""
        return sha256(encode(_plain(self.options))).digest()


def load_calibration(table: Mapping[str, object], subject: Subject, *, where: str) -> Calibration:
    """Return the calibration of a signed record, with its validity.

    Raises:
        TableError: the table is not understood.
        CalibrationError: the file cannot be read, is not signed by that technician, or is of something else.
    """
    read = read_table(RecordTable, table, where=where)
    try:
        with Path(read.file).open("rb") as file:
            record = read_calibration_record(file.read(MAX_MESSAGE + 1))
    except OSError as error:
        raise CalibrationError(f"{where}: {read.file}: {error.strerror}; calibrate first") from error
    except ChainError as error:
        raise CalibrationError(
            f"{where}: {read.file} is no calibration record to rely on: {error}"
        ) from error
    _check(record, read, subject, where)
    found = read_item(record.calibration)
    if found.validity is not None:
        raise CalibrationError(f"{where}: {read.file} holds a calibration that was another record's")
    return replace(found, validity=Validity(record.made, record.until, record.technician, record.hash))


def _check(record: CalibrationRecord, table: RecordTable, subject: Subject, where: str) -> None:
    if record.technician.hex() != table.technician:
        raise CalibrationError(
            f"{where}: {table.file} was signed by {record.technician.hex()}, not by the technician named here"
        )
    if subject.gateway is not None and record.gateway != subject.gateway:
        own = subject.gateway.hex() if subject.gateway else "one without a key yet"
        raise CalibrationError(f"{where}: {table.file} is for gateway {record.gateway.hex()}, this is {own}")
    if record.series != subject.series:
        raise CalibrationError(f"{where}: {table.file} is for the series {record.series}")
    if record.sensor != subject.label:
        raise CalibrationError(f"{where}: {table.file} is for {record.sensor!r}, not {subject.label!r}")
    if record.options != subject.options_hash:
        raise CalibrationError(
            f"{where}: the options of {subject.sensor} are not those that {table.file} was made with; calibrate anew"
        )


def read_item(data: bytes) -> Calibration:
    """Return the calibration whose canonical item these bytes are, as a record or a series' entry holds it.

    Raises:
        CalibrationError: they are none.
    """
    try:
        version, quantity, unit, scale, stages, correction, source, validity = _fields(decode(data))
        if version != Calibration.VERSION:
            raise ValueError(f"version {version} is not known here")
        read = Calibration(
            _text(quantity),
            _text(unit),
            _integer(scale),
            tuple(_stage(each) for each in _fields(stages)),
            _correction(correction),
            _text(source),
            _validity(validity),
        )
        if encode(read.to_item()) != data:
            raise ValueError("it holds what a calibration does not")
    except (ChainError, ValueError, TypeError) as error:
        raise CalibrationError(f"not a calibration's bytes: {error}") from error
    return read


def _stage(item: Item) -> Stage:
    kind, *values = _fields(item)
    match kind:
        case "linear":
            return Linear(*map(_integer, values))
        case "divider":
            return Divider(*map(_integer, values))
        case "table":
            per, points = values
            pairs = (map(_integer, _fields(each)) for each in _fields(points))
            return Table(tuple((x, y) for x, y in pairs), _integer(per))
    raise ValueError(f"no stage is called {kind!r}")


def _correction(item: Item) -> Correction | None:
    if item == []:
        return None
    use, temperature, humidity, *values = _fields(item)
    if use not in ("divide", "subtract"):
        raise ValueError(f"no correction is called {use!r}")
    return Correction(use, _text(temperature), _text(humidity), *map(_integer, values))


def _validity(item: Item) -> Validity | None:
    if item == []:
        return None
    made, until, signer, record = _fields(item)
    if not isinstance(signer, bytes) or not isinstance(record, bytes):
        raise ValueError("a validity names a key and a hash")
    return Validity(_integer(made), _integer(until), signer, record)


def _fields(item: Item) -> list[Any]:
    if not isinstance(item, list):
        raise ValueError("a list is expected")
    return item


def _text(item: Item) -> str:
    if not isinstance(item, str):
        raise ValueError("a text is expected")
    return item


def _integer(item: Item) -> int:
    if not isinstance(item, int):
        raise ValueError("an integer is expected")
    return item


def _plain(value: object) -> Item:
    """Return options as an item; what is no integer is taken as it is written."""
    if isinstance(value, Mapping):
        return [[str(key), _plain(each)] for key, each in sorted(value.items())]
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Decimal):
        return str(value.normalize())
    return value if type(value) is int else str(value)
