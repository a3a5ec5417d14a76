"""A calibration out of a technician's signed record: what it must fit, and every way to bend one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.calibration.application import Calibration, Correction, Linear, Validity
from gateway.calibration.record import Subject, load_calibration, read_item
from gateway.calibration.tables import read_calibration
from gateway.catalogue import make_catalogue
from gateway.chain.canonical import decode, encode
from gateway.chain.keys import CALIBRATION, GRANT, SigningKey
from gateway.chain.reading import Series
from gateway.chain.workmanship import CLEAN_AIR, CalibrationPoint, CalibrationRecord, sign_calibration
from gateway.config import SensorTable, SeriesTable
from gateway.contracts.errors import ContractError
from gateway.errors import CalibrationError, ConfigError
from gateway.sensors import mq

FITTER, STRANGER = SigningKey(b"a" * 32), SigningKey(b"m" * 32)
GATEWAY = bytes(range(16))
OPTIONS: Mapping[str, Any] = {"model": "mq4", "input": "a0", "divider": 2}
SUBJECT = Subject(GATEWAY, "kitchen.ch4", "mq", "gas", OPTIONS)
TABLE = {"kind": "mq", "gas": "ch4", "r0_ohm": 9_500, "temperature": "t", "humidity": "h"}
FOUND = read_calibration(TABLE, mq.Options("mq4", "a0"), where="test")
POINT = CalibrationPoint(0, 60, 60_000, 12_345_000, 2_000, -300)


def record(**changes: Any) -> CalibrationRecord:
    made = CalibrationRecord(
        FITTER.public, "Fitter", GATEWAY, "kitchen.ch4", "mq gas", SUBJECT.options_hash, CLEAN_AIR, (POINT,), 0,
        encode(FOUND.to_item()), 1_000, 2_000,
    )  # fmt: skip
    return replace(made, **changes)


def table(path: Path, data: bytes, key: SigningKey = FITTER) -> dict[str, object]:
    path.write_bytes(data)
    return {"kind": "record", "file": str(path), "technician": key.public.hex()}


def load(path: Path, data: bytes, key: SigningKey = FITTER, subject: Subject = SUBJECT) -> Calibration:
    return load_calibration(table(path, data, key), subject, where="test")


def test_a_record_gives_the_calibration_that_was_signed_and_its_validity(tmp_path: Path) -> None:
    found = load(tmp_path / "r", sign_calibration(record(), FITTER))
    assert found.validity is not None
    assert (found.validity.made_ms, found.validity.until_ms) == (1_000, 2_000)
    assert (found.validity.signer, found.validity.record) == (FITTER.public, record().hash)
    assert replace(found, validity=None) == FOUND


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gateway": bytes(16)}, "is for gateway 0000"),
        ({"series": "cellar.ch4"}, "is for the series cellar.ch4"),
        ({"sensor": "mq other"}, "is for 'mq other', not 'mq gas'"),
        ({"options": bytes(32)}, "options of gas are not those"),
        ({"calibration": b"\x80"}, "not a calibration's bytes"),
        (
            {"calibration": encode(replace(FOUND, validity=Validity(1, 2, b"", b"")).to_item())},
            "another record's",
        ),
    ],
)
def test_a_record_of_something_else_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        load(tmp_path / "r", sign_calibration(record(**changes), FITTER))


def test_no_byte_of_a_record_may_be_changed(tmp_path: Path) -> None:
    data = sign_calibration(record(), FITTER)
    for i in range(0, len(data), 7):
        with pytest.raises(CalibrationError):
            load(tmp_path / "r", data[:i] + bytes((data[i] ^ 1,)) + data[i + 1 :])


def test_a_record_is_good_under_the_named_technicians_key_alone(tmp_path: Path) -> None:
    own = sign_calibration(record(technician=STRANGER.public), STRANGER)
    with pytest.raises(CalibrationError, match="not by the technician named here"):
        load(tmp_path / "r", own)
    forged = STRANGER.signed(CALIBRATION, record().encode()).encode()
    with pytest.raises(CalibrationError, match="signature does not verify"):
        load(tmp_path / "r", forged)
    other = FITTER.signed(GRANT, record().encode()).encode()
    with pytest.raises(CalibrationError, match="signature does not verify"):
        load(tmp_path / "r", other)


def test_a_gateway_without_a_key_has_no_record_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="one without a key yet"):
        load(tmp_path / "r", sign_calibration(record(), FITTER), subject=replace(SUBJECT, gateway=b""))


def test_a_missing_record_and_a_technician_that_is_no_key_are_refused(tmp_path: Path) -> None:
    there = {"kind": "record", "file": str(tmp_path / "none"), "technician": FITTER.public.hex()}
    with pytest.raises(CalibrationError, match="calibrate first"):
        load_calibration(there, SUBJECT, where="test")
    with pytest.raises(ContractError, match="64 hexadecimal digits"):
        load_calibration({**there, "technician": "Fitter"}, SUBJECT, where="test")


def test_a_record_stands_in_the_catalogue_with_its_end(tmp_path: Path) -> None:
    series = SeriesTable("kitchen.ch4", calibration=table(tmp_path / "r", sign_calibration(record(), FITTER)))
    sensors = (
        SensorTable("gas", "mq", 1000, OPTIONS, (series,)),
        SensorTable(
            "air", "dht22", 3000, {"pin": 4}, (SeriesTable("t", "temperature"), SeriesTable("h", "humidity"))
        ),
    )
    catalogue = make_catalogue(sensors, "test", 0, GATEWAY)
    item = decode(Series.decode(catalogue.series[0].encode()).calibration)
    assert isinstance(item, list)
    assert item[7] == [1_000, 2_000, FITTER.public, record().hash]
    with pytest.raises(ConfigError, match="is for gateway"):
        make_catalogue(sensors, "test", 0, bytes(16))


@pytest.mark.parametrize(
    "calibration",
    [
        FOUND,
        Calibration(
            "strain",
            "um/m",
            -3,
            (Linear(3, 7, -5),),
            Correction("subtract", "t", "", 0, 3, 4, 0, 7),
            "by hand",
        ),
    ],
)
def test_every_calibration_is_read_back_from_its_item(calibration: Calibration) -> None:
    assert read_item(encode(calibration.to_item())) == calibration


@pytest.mark.parametrize(
    "item",
    [
        7,
        [2, "raw", "u", 0, [["linear", 1, 1, 0]], [], "", []],  # another version
        [1, "raw", "u", 0, [["linear", 1, 1, 0]], [], "", [1, 2, 3, 4]],
        [1, "raw", "u", 0, [], [], "", []],
        [1, "raw", "u", 0, [["cubic", 1]], [], "", []],
        [1, "raw", "u", 0, [["linear", 1, 0, 0]], [], "", []],
        [1, "raw", "u", "0", [["linear", 1, 1, 0]], [], "", []],
        [1, "raw", "u", 0, [["table", 1, [[1, 2, 3]]]], [], "", []],
        [1, "raw", "u", 0, [["linear", 1, 1, 0]], ["multiply", "t", "", 0, 0, 0, 0, 1], "", []],
    ],
)
def test_bytes_that_are_no_calibration_are_refused(item: Any) -> None:
    with pytest.raises(CalibrationError):
        read_item(encode(item))
