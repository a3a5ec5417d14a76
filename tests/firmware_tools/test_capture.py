"""Records of buses: what was recorded is answered again, nothing else is; and a model is held against its chip."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from field_site import PATIENCE, SENSORS, fault, running, scenario, site, tool

from gateway.cli import main as gateway_main
from gateway.clock import SimulatedClock
from gateway.control import ask
from gateway.errors import SensorError, SimulationError
from gateway.sensors.base import Hardware
from gateway.sensors.registry import open_sensor
from gateway.simulation.capture import Replay, read_capture

SOME = """
[[sensors]]
name = "air"
driver = "dht22"
period_ms = 3000
options = { pin = 4 }

[[sensors]]
name = "climate"
driver = "sht3x"
period_ms = 1000
"""

SPI = """
[[sensors]]
name = "level"
driver = "mcp3008"
period_ms = 100
options = { channel = 3 }
"""


def record(folder: Path, *more: object, sensors: str = SENSORS, seconds: int = 10) -> Path:
    """Record a simulated gateway for some simulated seconds."""
    out = folder / "flat.capture"
    config = site(folder, sensors=sensors, speed=20)
    result = tool("capture", "--config", config, "-o", out, "--seconds", seconds, *more)
    assert result.exit_code == 0, result.output + result.stderr
    return out


def replayed(path: Path) -> Replay:
    return Replay(read_capture(path), SimulatedClock(speed=0))


def sampled(hardware: Hardware, path: Path, name: str, count: int) -> list[Mapping[str, int]]:
    header = read_capture(path).header
    table = next(each for each in header["sensors"] if each["name"] == name)
    sensor = open_sensor(table["driver"], table["options"], hardware)
    try:
        if hasattr(sensor, "self_test"):  # as samplers begin
            sensor.self_test()
        return [sensor.sample() for _ in range(count)]
    finally:
        sensor.close()


def edited(path: Path, change: Any) -> Path:
    """A copy with some of its events changed; `change` returns an event, or None to drop it."""
    lines = path.read_text().splitlines()
    events = [change(json.loads(line)) for line in lines[1:]]
    copy = path.with_name("edited.capture")
    copy.write_text("\n".join([lines[0], *(json.dumps(each) for each in events if each is not None)]) + "\n")
    return copy


def test_a_record_answers_the_drivers_as_the_chips_did(tmp_path: Path) -> None:
    path = record(tmp_path)
    first = [sampled(replayed(path), path, name, 10) for name in ("gas", "beam")]
    second = [sampled(replayed(path), path, name, 10) for name in ("gas", "beam")]
    assert first == second
    assert len({value["raw"] for value in first[1]}) > 3  # noise, as it was
    shown = CliRunner().invoke(
        gateway_main,
        [
            "read",
            "--config",
            str(tmp_path / "gateway.toml"),
            "--simulate",
            str(path),
            "--seconds",
            "1",
            "--json",
        ],
    )
    rows = [json.loads(line) for line in shown.stdout.splitlines()]
    assert {row["series"] for row in rows} == {"kitchen.ch4", "hall.smoke", "slab.strain"}
    assert not any("fault" in row for row in rows)


def test_ctrl_c_ends_a_record_that_is_good_up_to_then(tmp_path: Path) -> None:
    out, config = tmp_path / "flat.capture", site(tmp_path, speed=1)
    with subprocess.Popen(
        [sys.executable, "-c", "from firmware_tools.cli import main; main()",
         "capture", "--config", str(config), "-o", str(out)],
        stdout=subprocess.PIPE, text=True,
    ) as recording:  # fmt: skip
        until = time.monotonic() + PATIENCE
        while not out.exists() or out.stat().st_size < 10_000:
            assert time.monotonic() < until
            time.sleep(0.05)
        recording.send_signal(signal.SIGINT)
        said, _ = recording.communicate(timeout=PATIENCE)
    assert recording.returncode == 0
    assert " 0 failed" in said
    assert read_capture(out).calls


def test_a_replay_may_end_before_its_record(tmp_path: Path) -> None:
    path = record(tmp_path, sensors='[[sensors]]\nname = "stale"\ndriver = "scd41"\n')
    shown = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "read", "--config", str(tmp_path / "gateway.toml"),
         "--simulate", str(path), "--seconds", "3"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (shown.returncode, shown.stderr) == (0, "")


def test_a_dhts_edges_and_a_chip_of_command_words_are_recorded_too(tmp_path: Path) -> None:
    path = record(tmp_path, sensors=SOME)
    capture = read_capture(path)
    assert len(capture.pulses[4]) >= 2
    assert len(capture.pulses[4][0]) == 81
    replay = replayed(path)
    assert 15 < sampled(replay, path, "air", 1)[0]["temperature"] / 10 < 30
    assert sampled(replay, path, "climate", 2)


def test_transfers_on_spi_are_recorded_and_played_too(tmp_path: Path) -> None:
    path = record(tmp_path, sensors=SPI, seconds=2)
    transfers = [call for call in read_capture(path).calls if call.bus == "spi-0"]
    assert len(transfers) >= 15
    replay = replayed(path)
    volts = [each["voltage"] / 1e6 for each in sampled(replay, path, "level", 10)]
    assert volts == pytest.approx([1.0] * 10, abs=0.02)
    with pytest.raises(SensorError):  # at the record's end nobody drives the line
        sampled(replay, path, "level", len(transfers))


def test_an_inputs_changes_are_played_at_their_time(tmp_path: Path) -> None:
    burning = scenario(tmp_path, "[[events]]\nat_s = 8\nset = { smoulder_g_per_min = 200 }\n")
    path = record(tmp_path, "--simulate", burning, seconds=16)
    assert [level for _, level in read_capture(path).levels[17]] == [False, True]
    replay = replayed(path)
    sensor = open_sensor("contact", {"pin": 17}, replay)
    assert sensor.sample()["active"] == 0
    replay.clock.sleep(15)
    assert sensor.sample()["active"] == 1
    sensor.close()
    replay.close()


def test_errors_are_played_as_they_came(tmp_path: Path) -> None:
    path = record(tmp_path, "--simulate", scenario(tmp_path, fault("nack", "gas")))
    with pytest.raises(SensorError, match="does not answer"):
        sampled(replayed(path), path, "gas", 1)


def test_another_call_than_the_recorded_one_is_refused_and_both_are_named(tmp_path: Path) -> None:
    replay = replayed(record(tmp_path))
    sensor = open_sensor("mq", {"input": "a1", "model": "mq4"}, replay)
    with pytest.raises(
        SimulationError, match="the driver asks write 01d383, but the record has write 01c383"
    ):
        sensor.sample()


def test_a_record_that_has_ended_is_a_fault_and_no_number(tmp_path: Path) -> None:
    path = edited(record(tmp_path), lambda event: event if event[1] < 2000 else None)
    with pytest.raises(SensorError, match="the record has ended"):
        sampled(replayed(path), path, "gas", 100)


def test_the_simulators_own_models_hold_against_their_record(tmp_path: Path) -> None:
    path = record(tmp_path, sensors=SENSORS + SOME)
    result = tool("capture", "--check", path, "--json")
    assert result.exit_code == 0, result.output
    verdicts = {each["chip"]: each for each in json.loads(result.stdout)}
    assert verdicts.keys() == {"ADS1115", "NAU7802", "SHT3x"}
    assert all(each["holds"] and each["calls"] > 20 for each in verdicts.values()), verdicts


def reply(event: list[Any], address: int, asked: str, answered: str) -> list[Any]:
    """The event with another answer where a chip was asked that."""
    if event[0] == "i" and event[3][0] == [address, "w", asked] and len(event[3]) == 2:
        event[3][1][2] = answered
    return event


def test_a_chip_that_keeps_other_settings_than_its_model_is_named(tmp_path: Path) -> None:
    path = edited(record(tmp_path), lambda event: reply(event, 0x48, "01", "c583"))
    result = tool("capture", "--check", path)
    assert result.exit_code == 1
    assert "0x48 ADS1115: its model differs" in result.stdout
    assert "register 0x01: the chip says 0xc583, the model" in result.stdout
    assert "0x2a NAU7802: its model holds" in result.stdout


def test_a_chip_whose_checksum_is_wrong_is_named(tmp_path: Path) -> None:
    def damage(event: list[Any]) -> list[Any]:
        if event[0] == "i" and event[3][-1][1] == "r" and len(event[3][-1][2]) == 12:
            event[3][-1][2] = event[3][-1][2][:-2] + "00"
        return event

    result = tool("capture", "--check", edited(record(tmp_path, sensors=SOME), damage))
    assert result.exit_code == 1
    assert "word 1 of the chip has a wrong checksum" in result.stdout


def test_a_chip_that_is_never_ready_when_its_model_is_is_named(tmp_path: Path) -> None:
    path = edited(record(tmp_path), lambda event: reply(event, 0x48, "01", "4383"))
    result = tool("capture", "--check", path)
    assert result.exit_code == 1
    assert "ready bits at another time" in result.stdout


NO_RECORDS = {
    "nothing": "",
    "no header": "[1, 2]\n",
    "of a later version": '{"tocsin-capture": 2}\n',
    "an unknown event": '{"tocsin-capture": 1}\n["x"]\n',
    "broken off": '{"tocsin-capture": 1}\n["i",0',
}


@pytest.mark.parametrize("text", NO_RECORDS.values(), ids=NO_RECORDS)
def test_what_is_no_record_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.capture"
    path.write_text(text)
    with pytest.raises(SimulationError, match=r"a\.capture"):
        read_capture(path)


def test_wrong_use_is_named(tmp_path: Path) -> None:
    assert tool("capture").exit_code == 2
    assert (
        "must end in .capture" in tool("capture", "--config", site(tmp_path), "-o", tmp_path / "a.txt").output
    )
    assert tool("capture", "--check", tmp_path / "none.capture").exit_code == 1


def test_a_tool_that_asks_more_than_the_record_holds_refuses_it(tmp_path: Path) -> None:
    path = record(tmp_path)
    result = tool("selftest", "--config", tmp_path / "gateway.toml", "--simulate", path)
    assert result.exit_code == 1
    assert "answers only what was asked" in result.stderr


def test_a_gateway_runs_on_a_record(tmp_path: Path) -> None:
    record(tmp_path, seconds=60)
    config = tmp_path / "gateway.toml"
    config.write_text(
        config.read_text().replace('scenario = "quiet"\nspeed = 20', 'capture = "flat.capture"')
    )
    with running(config):
        ends = time.monotonic() + PATIENCE
        while (
            ask(tmp_path / "data" / "control.sock", {"do": "status"})["series"]["slab.strain"]["state"]
            != "OK"
        ):
            assert time.monotonic() < ends
            time.sleep(0.1)
