"""A calibration that is no longer valid: its series says so, by trusted time alone, and stays in use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rig import GAS, KEY, START_MS, Rig
from test_recorder import blocks, opened

from gateway.calibration.record import Subject
from gateway.calibration.tables import read_calibration
from gateway.chain.block import STALE
from gateway.chain.canonical import encode
from gateway.chain.events import Status
from gateway.chain.keys import SigningKey, gateway_id
from gateway.chain.reading import parse_leaf
from gateway.chain.workmanship import CLEAN_AIR, CalibrationPoint, CalibrationRecord, sign_calibration
from gateway.config import SensorTable
from gateway.sensors.ads1115 import Options
from gateway.storage.store import Store

FITTER = SigningKey(b"a" * 32)
LIFE_MS = 60_000
MARK = (1, "calibration-expired")


@pytest.fixture
def sensor(tmp_path: Path) -> SensorTable:
    """The gas sensor, calibrated by a fitter for a minute."""
    (series,) = GAS.series
    subject = Subject(gateway_id(KEY.public), series.name, GAS.driver, GAS.name, GAS.options)
    found = read_calibration(series.calibration or {}, Options("a0"), where="test")
    record = CalibrationRecord(
        FITTER.public, "Fitter", subject.gateway or b"", series.name, "ads1115 gas", subject.options_hash, CLEAN_AIR,
        (CalibrationPoint(0, 60, 60_000, 12_345_000, 2_000, -300),), 0, encode(found.to_item()),
        START_MS - 1000, START_MS + LIFE_MS,
    )  # fmt: skip
    (tmp_path / "record").write_bytes(sign_calibration(record, FITTER))
    table = {"kind": "record", "file": str(tmp_path / "record"), "technician": FITTER.public.hex()}
    return replace(GAS, series=(replace(series, calibration=table),))


def run(rig: Rig, seconds: int) -> None:
    for _ in range(seconds):
        rig.advance(1)
        rig.gas(100)
        rig.recorder.tick()


def states(rig: Rig) -> list[tuple[int, str]]:
    rig.stop()
    store = Store(rig.directory / "gateway.db")
    leaves = [leaf for each in blocks(store) for _, leaf in opened(store, each)[0].events]
    store.close()
    return [(e.state, e.reason) for leaf in leaves if isinstance(e := parse_leaf(leaf), Status)]


def test_an_expired_calibration_is_an_event_and_the_series_stays_in_use(
    tmp_path: Path, sensor: SensorTable
) -> None:
    rig = Rig(tmp_path, sensors=(sensor,))
    run(rig, 58)
    assert rig.recorder.statuses()["kitchen.ch4"].state == 0
    run(rig, 4)
    rig.gas(5_000)
    assert rig.recorder.conditions()["gas-ch4"][0] == "pre-alarm"
    assert states(rig) == [MARK]


def test_a_gateway_that_starts_with_an_expired_calibration_says_so_first(
    tmp_path: Path, sensor: SensorTable
) -> None:
    rig = Rig(tmp_path, sensors=(sensor,))
    rig.advance(3600)
    rig.gas(100)
    rig.recorder.tick()
    assert rig.recorder.statuses()["kitchen.ch4"].reason == "calibration-expired"
    rig.stop()


def test_without_a_clock_that_anything_vouches_for_nothing_expires(
    tmp_path: Path, sensor: SensorTable
) -> None:
    rig = Rig(tmp_path, sensors=(sensor,))
    rig.logbook.clock_state = lambda: STALE
    run(rig, 70)
    assert rig.recorder.statuses()["kitchen.ch4"].state == 0
    rig.logbook.clock_state = lambda: 1
    run(rig, 1)
    assert states(rig) == [MARK]
