"""Recordings replayed as sensors."""

from __future__ import annotations

import io
import zipfile
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated import kind_of, simulate

from gateway.clock import SimulatedClock
from gateway.errors import SensorError, SimulationError
from gateway.sensors.recording import Column, Recording, _scaled
from gateway.sensors.registry import open_sensor
from gateway.simulation.simulation import Simulation

ROWS = "t,x (V),y\n" + "".join(f"{i},{i}.5,{-i}\n" for i in range(10))
COLUMNS = {"x": {"column": "x (V)", "unit": "V", "scale": -1}, "y": {"column": "y", "unit": "1"}}


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "r.csv"
    path.write_text(ROWS)
    return path


def replay(path: Path | str, hardware: Simulation | None = None, **options: object) -> Recording:
    table = {"path": str(path), "columns": COLUMNS, **options}
    sensor = open_sensor("recording", table, hardware or simulate())
    assert isinstance(sensor, Recording)
    return sensor


def archive(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, data)
    return buffer.getvalue()


def test_each_sample_is_the_next_row_in_scaled_integers(csv: Path) -> None:
    sensor = replay(csv)
    assert [sensor.sample() for _ in range(3)] == [{"x": 5, "y": 0}, {"x": 15, "y": -1}, {"x": 25, "y": -2}]
    assert [(q.name, q.unit, q.scale) for q in sensor.info.quantities] == [("x", "V", -1), ("y", "1", 0)]
    sensor.close()


def test_after_the_last_row_there_is_no_data(csv: Path) -> None:
    sensor = replay(csv)
    assert [kind_of(sensor) for _ in range(12)] == [""] * 10 + ["no-data"] * 2
    sensor.close()


def test_a_looped_recording_begins_again(csv: Path) -> None:
    sensor = replay(csv, at_end="loop")
    assert [sensor.sample()["y"] for _ in range(21)] == [-(i % 10) for i in range(21)]
    sensor.close()


def test_a_paced_replay_waits_for_each_row(csv: Path) -> None:
    simulation = simulate()
    sensor = replay(csv, simulation, rows_per_second=4)
    times = []
    for i in range(4):
        assert sensor.sample()["y"] == -i
        times.append(simulation.clock.monotonic_ms())
    assert times == [0, 250, 500, 750]
    sensor.close()


def test_a_paced_replay_passes_over_rows_that_nobody_asked_for(csv: Path) -> None:
    simulation = simulate()
    sensor = replay(csv, simulation, rows_per_second=4)
    sensor.sample()
    simulation.clock.sleep(1.6)
    assert sensor.sample()["y"] == -6
    assert sensor.sample()["y"] == -7
    simulation.clock.sleep(10)
    assert kind_of(sensor) == "no-data"
    sensor.close()


def test_any_speed_is_the_clocks_speed(csv: Path) -> None:
    clock = SimulatedClock(speed=1000)
    sensor = replay(csv, Simulation(simulate().scenario, clock), rows_per_second=1)
    while kind_of(sensor) == "":
        pass
    assert clock.monotonic_ms() >= 9000
    sensor.close()


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_archives_are_opened_by_content_not_by_name(tmp_path: Path, depth: int) -> None:
    data = ROWS.encode()
    for _ in range(depth):
        data = archive("folder/r.csv.zip", data)
    path = tmp_path / "r.csv.zip"
    path.write_bytes(data)
    sensor = replay(path)
    assert sensor.sample() == {"x": 5, "y": 0}
    sensor.close()


def test_archives_within_archives_without_end_are_refused(tmp_path: Path) -> None:
    data = ROWS.encode()
    for _ in range(4):
        data = archive("r.zip", data)
    path = tmp_path / "r.zip"
    path.write_bytes(data)
    with pytest.raises(SimulationError, match="archive within archives"):
        replay(path)


def test_a_missing_file_or_column_is_refused_at_opening(csv: Path, tmp_path: Path) -> None:
    with pytest.raises(SimulationError, match=r"cannot be read: .+No such file"):
        replay(tmp_path / "absent.csv")
    with pytest.raises(SimulationError, match=r"no column 'z'; it has t, x \(V\), y"):
        replay(csv, columns={"z": {"column": "z", "unit": "1"}})


@pytest.mark.parametrize("cell", ["", "nan", "inf", "x", "1e99999", "1,5"])
def test_a_cell_that_is_no_number_is_a_fault_and_the_next_row_is_read(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "r.csv"
    path.write_text(f'x (V),y\n"{cell}",1\n2.0,2\n')
    sensor = replay(path)
    assert kind_of(sensor) == "no-data"
    assert sensor.sample() == {"x": 20, "y": 2}
    sensor.close()


def test_rounding_is_half_to_even() -> None:
    column = Column("x", "V", -1)
    assert [_scaled({"x": t}, column) for t in ("0.25", "0.35", "-0.25", "-0.35", "0.251")] == [
        2,
        4,
        -2,
        -4,
        3,
    ]


@given(st.one_of(st.text(max_size=40), st.decimals(allow_nan=False).map(str)))
def test_any_text_is_the_nearest_integer_or_a_fault(text: str) -> None:
    try:
        value = _scaled({"x": text}, Column("x", "V", -3))
    except SensorError as error:
        outcome = error.kind
    else:
        outcome = "exact" if abs(Decimal(value) - Decimal(text.strip()) * 1000) <= Decimal("0.5") else "wrong"
    assert outcome in ("no-data", "exact")


def test_the_packaged_load_test_shows_the_load() -> None:
    columns = {"strain": {"column": "DMS_CN (um/m)", "unit": "um/m", "scale": -3}}
    sensor = replay("package:bridge_load_test.csv.zip", columns=columns)
    values = []
    while kind_of(sensor) == "":
        values.append(sensor.sample()["strain"])
    assert len(values) == 3000  # every second of 6000 rows
    assert sum(values[:500]) / 500 == pytest.approx(34_850, abs=200)
    assert sum(values[-500:]) / 500 == pytest.approx(40_700, abs=300)
    sensor.close()


def test_the_packaged_counts_are_whole() -> None:
    columns = {"mq2": {"column": "MQ2", "unit": "count"}, "mq135": {"column": "MQ135", "unit": "count"}}
    sensor = replay("package:mq_counts.csv", columns=columns)
    assert sensor.sample() == {"mq2": 775, "mq135": 507}
    assert [kind_of(sensor) for _ in range(400)] == [""] * 399 + ["no-data"]
    sensor.close()
