"""The self-test as a technician runs it: what is well is said so, and every simulated fault is found and named."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from field_site import SENSORS, SIREN, VALVE, fault, findings, running, scenario, site, tool

from firmware_tools.selftest.buses import restless, scan, strangers
from firmware_tools.selftest.machine import machine_findings
from firmware_tools.selftest.outputs import output_findings
from firmware_tools.selftest.reach import _drift, neighbour_findings
from gateway.catalogue import make_catalogue
from gateway.chain.keys import SigningKey
from gateway.clock import SimulatedClock
from gateway.config import load_config
from gateway.inspection.facts import Machine
from gateway.outputs.client import Guardian
from gateway.outputs.orders import CONTRACT, Cause, Order, Want
from gateway.outputs.wire import ask, places
from gateway.sensors.base import Tally
from gateway.simulation.scenario import load_scenario
from gateway.simulation.simulation import Simulation


def test_a_sound_gateway_passes_with_every_sensor_and_output_named(tmp_path: Path) -> None:
    config = site(tmp_path, SIREN, VALVE)
    result = tool("selftest", "--config", config, "--yes", "--output-seconds", 1, "--json")
    assert result.exit_code == 0, result.output
    found = findings(result)
    for name in ("sensor gas", "sensor smoke", "sensor beam", "output siren", "output valve"):
        subject = tuple(name.split())
        assert found[subject]["verdict"] == "ok", found[subject]
    assert "0x2a, 0x48" in found["bus", "i2c-1"]["detail"]
    assert not any(each["verdict"] == "failed" for each in found.values())
    assert all(each["remedy"] for each in found.values() if each["verdict"] != "ok")


BROKEN = {
    "no chip at its address": (fault("nack", "gas"), ("sensor", "gas"), "MQ-4 on i2c-1 at 0x48 is missing"),
    "a bus held low": (fault("timeout", "beam"), ("bus", "i2c-1"), "held low"),
    "an element's wire cut": (fault("cut", "gas"), ("sensor", "gas"), "wiring"),
    "an open bridge": (fault("cut", "beam"), ("sensor", "beam"), "out-of-range"),
    "a bridge that is frozen": (fault("stuck", "beam"), ("sensor", "beam"), "stuck"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_each_simulated_fault_is_found_named_and_has_a_remedy(tmp_path: Path, case: str) -> None:
    table, subject, said = BROKEN[case]
    config, wrong = site(tmp_path), scenario(tmp_path, table)
    result = tool("selftest", "--config", config, "--simulate", wrong, "--samples", 40, "--json")
    found = findings(result)[subject]
    assert said in found["detail"]
    assert found["remedy"]
    assert found["verdict"] in (("failed", "warning") if "stuck" in said else ("failed",))
    assert result.exit_code == (1 if found["verdict"] == "failed" else 0)
    on_the_bus = set() if "held low" in said else {"sensor beam", "sensor gas"}
    others = {"sensor smoke"} | on_the_bus - {" ".join(subject)}
    for area, name in (each.split() for each in others):
        assert findings(result)[area, name]["verdict"] == "ok"


def test_a_chip_that_nobody_configured_is_named_and_taken_for_the_one_that_is_missing(tmp_path: Path) -> None:
    config = load_config(site(tmp_path))
    catalogue = make_catalogue(config.sensors, "test")
    simulation = Simulation(load_scenario("quiet"), SimulatedClock(speed=0))
    simulation.attach("elsewhere", "ads1115", {"input": "a0", "address": 0x49})
    plans = [plan for plan in catalogue.sensors if plan.info.bus == "i2c-1"]
    found = list(strangers("i2c-1", plans, scan(simulation, "i2c-1"), Machine(tmp_path)))
    said = next(each for each in found if each.subject == "i2c-1 0x49")
    assert said.verdict == "warning"
    assert "gas is configured at 0x48 and silent" in said.remedy


def test_the_kernels_own_chip_is_no_stranger(tmp_path: Path) -> None:
    device = tmp_path / "sys/bus/i2c/devices/1-0049"
    device.mkdir(parents=True)
    (device / "name").write_text("ads1015\n")
    (device / "driver").mkdir()
    simulation = Simulation(load_scenario("quiet"), SimulatedClock(speed=0))
    simulation.attach("elsewhere", "ads1115", {"input": "a0", "address": 0x49})
    found = list(strangers("i2c-1", [], scan(simulation, "i2c-1"), Machine(tmp_path)))
    assert [each.verdict for each in found] == ["ok", "ok"]
    assert "ads1015" in found[1].detail


def test_an_output_acts_only_on_a_yes(tmp_path: Path) -> None:
    config = site(tmp_path, SIREN)
    result = tool("selftest", "--config", config, "--no-outputs", "--json")
    assert findings(result)["output", "siren"]["detail"] == "not tested"
    # Without a terminal nobody can be asked: nothing sounds.
    result = tool("selftest", "--config", config, "--json", text="y\n")
    assert findings(result)["output", "siren"]["detail"] == "not tested"


def test_a_relay_that_sticks_fails_its_output(tmp_path: Path) -> None:
    relay = (
        '[[outputs]]\nname = "relay"\nkind = "relay"\npin = 22\nread_back = { pin = 27, within_ms = 50 }\n'
    )
    path = site(tmp_path, relay)
    config = load_config(path)
    config.data.mkdir()
    found = list(output_findings(config, lambda _: _jam(config.data), 1))
    assert [each.verdict for each in found] == ["failed"]
    assert "GPIO27" in found[0].remedy
    found = list(output_findings(config, lambda _: True, 1))
    assert [each.detail for each in found] == ["acted and came back; its read-back saw both"]


def _jam(data: Path) -> bool:
    ask(places(data), {"do": "jam", "output": "relay", "jammed": True})
    return True


def test_beside_a_running_gateway_no_bus_is_touched_and_the_gateway_is_asked(tmp_path: Path) -> None:
    with running(site(tmp_path, speed=1)):
        path = tmp_path / "gateway.toml"
        path.write_text(
            f'[gateway]\nname = "x"\nregion = "north"\ndata = "data"\n{SENSORS}'  # real buses
        )
        found = findings(tool("selftest", "--config", path, "--yes", "--json"))
    assert "not touched" in found["bus", "all"]["detail"]
    assert "systemctl stop" in found["bus", "all"]["remedy"]
    assert found["series", "slab.strain"]["verdict"] == "ok"
    assert ("sensor", "gas") not in found


def machine(root: Path, files: dict[str, str]) -> Machine:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return Machine(root)


SOUND = {
    "sys/devices/platform/soc/soc:firmware/get_throttled": "0",
    "sys/class/thermal/thermal_zone0/temp": "51234",
    "sys/class/rtc/rtc0/name": "rtc-ds3231",
    "sys/class/watchdog/watchdog0/state": "active",
    "sys/class/watchdog/watchdog0/timeout": "15",
    "run/systemd/timesync/synchronized": "",
}
THROTTLED, THERMAL = (
    "sys/devices/platform/soc/soc:firmware/get_throttled",
    "sys/class/thermal/thermal_zone0/temp",
)
RTC, WATCHDOG = "sys/class/rtc/rtc0", "sys/class/watchdog/watchdog0"
WRONG = {
    "under-voltage now": (THROTTLED, "50001", "power supply", "failed", "cable"),
    "under-voltage before": (THROTTLED, "50000", "power supply", "warning", "cable"),
    "throttled": (THROTTLED, "4", "power supply", "warning", "cool"),
    "too hot": (THERMAL, "85100", "power temperature", "failed", "heat sink"),
    "a clock's empty cell": (f"{RTC}/device/battery_voltage", "1900000", "clock battery", "warning", "cell"),
    "a clock that is off": (f"{RTC}/since_epoch", "1000", "clock real-time clock", "warning", "hwclock"),
    "a watchdog nobody feeds": (f"{WATCHDOG}/state", "inactive", "watchdog hardware", "failed", "RuntimeWatchdogSec"),
}  # fmt: skip


def test_a_sound_machine_has_nothing_that_failed(tmp_path: Path) -> None:
    found = {(each.area, each.subject): each for each in machine_findings(machine(tmp_path, SOUND), tmp_path)}
    assert found["power", "supply"].verdict == "ok"
    assert found["watchdog", "hardware"].detail == "armed, bites after 15 s"
    assert found["clock", "time"].verdict == "ok"
    assert found["disk", "writing"].verdict == "ok"
    assert not list(tmp_path.glob(".selftest*"))


@pytest.mark.parametrize("case", WRONG)
def test_each_trouble_of_the_machine_is_found_with_its_remedy(tmp_path: Path, case: str) -> None:
    name, text, subject, verdict, remedy = WRONG[case]
    files = {**SOUND, name: text}
    found = {
        f"{each.area} {each.subject}": each for each in machine_findings(machine(tmp_path, files), tmp_path)
    }
    assert found[subject].verdict == verdict
    assert remedy in found[subject].remedy


def test_a_directory_that_cannot_be_written_fails(tmp_path: Path) -> None:
    nobodys = Path("/proc")  # not even root's
    found = {each.subject: each for each in machine_findings(Machine(tmp_path), nobodys)}
    assert found["writing"].verdict == "failed"


def test_a_worn_card_is_named(tmp_path: Path) -> None:
    number = tmp_path.stat().st_dev
    whole = tmp_path / "sys/devices/mmcblk0"
    part = whole / "mmcblk0p2"
    machine(
        tmp_path,
        {
            "sys/devices/mmcblk0/device/life_time": "0x09 0x03",
            "sys/devices/mmcblk0/device/pre_eol_info": "0x02",
            "sys/devices/mmcblk0/mmcblk0p2/partition": "2",
            "sys/fs/ext4/mmcblk0p2/errors_count": "7",
        },
    )
    (tmp_path / "sys/dev/block").mkdir(parents=True)
    (tmp_path / f"sys/dev/block/{os.major(number)}:{os.minor(number)}").symlink_to(part)
    found = {each.subject: each for each in machine_findings(Machine(tmp_path), tmp_path)}
    assert found["wear"].verdict == "warning"
    assert "90 %" in found["wear"].detail
    assert found["errors"].verdict == "failed"


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Silence."""


@contextmanager
def hub() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_hub_and_broker_are_reached_or_named(tmp_path: Path) -> None:
    with hub() as url:
        port = url.rpartition(":")[2]
        hubs = f'[[hubs]]\nname = "near"\nurl = "mqtt://127.0.0.1:{port}"\n[[hubs]]\nname = "far"\nurl = "mqtt://127.0.0.1:9"\n'
        config = site(tmp_path, hubs, sensors=SENSORS)
        result = tool("selftest", "--config", config, "--hub", url, "--no-outputs", "--json")
    found = findings(result)
    assert found["hub", "near"]["verdict"] == "ok"
    assert found["hub", "far"]["verdict"] == "failed"
    assert found["hub", "REST"]["verdict"] == "ok"
    assert found["clock", "drift"]["verdict"] == "ok"
    assert result.exit_code == 1


def test_a_clock_far_from_the_hubs_is_a_failure() -> None:
    assert _drift(1000.0, 1003.0).verdict == "ok"
    assert _drift(1000.0, 1030.0).verdict == "warning"
    assert _drift(1000.0, 5000.0).verdict == "failed"


def test_a_configuration_that_clashes_is_the_first_finding(tmp_path: Path) -> None:
    config = site(tmp_path, '[[outputs]]\nname = "siren"\nkind = "siren"\npin = 17\n')
    result = tool("selftest", "--config", config, "--no-outputs", "--json")
    first = json.loads(result.stdout)["findings"][0]
    assert first["verdict"] == "failed"
    assert "GPIO17" in first["detail"]


def test_a_scan_finds_chips_that_refuse_to_be_read_unasked() -> None:
    simulation = Simulation(load_scenario("quiet"), SimulatedClock(0))
    for driver in ("bme280", "sht3x", "sgp40", "scd41"):
        simulation.attach(driver, driver, {})
    assert scan(simulation, "i2c-1").found == {0x44, 0x59, 0x62, 0x76}


def test_a_bus_that_needs_repeats_is_warned_of() -> None:
    assert list(restless("i2c-1", Tally(retries=112), Tally(retries=112))) == []
    (found,) = restless("i2c-1", Tally(retries=112), Tally(retries=115, rescues=1))
    assert found.verdict == "warning"
    assert "3 repeats, 1 rescues" in found.detail


def test_neighbours_that_do_not_answer_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [SigningKey(bytes((number,)) * 32).public.hex() for number in (1, 2, 3)]
    where = ('["127.0.0.1:47470"]', '["192.0.2.1:47470"]', "[]")
    members = "".join(
        f'[[neighbours.members]]\nname = "flat-{i}"\nkey = "{key}"\naddresses = {addresses}\n'
        for i, (key, addresses) in enumerate(zip(keys, where, strict=True))
    )
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "key").write_text((bytes((1,)) * 32).hex())
    config = load_config(site(tmp_path, f'[neighbours]\nbuilding = "house-7"\n{members}'))
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    found = {each.subject: each for each in neighbour_findings(config, "test")}
    assert "there is no ping here" in found["flat-1"].detail
    (programs / "ping").write_text("#!/bin/sh\nexit 1\n")
    (programs / "ping").chmod(0o755)
    found = {each.subject: each for each in neighbour_findings(config, "test")}
    assert found.keys() == {"flat-1", "flat-2"}  # itself it knows
    assert found["flat-1"].verdict == "failed"
    assert "192.0.2.1" in found["flat-1"].detail
    assert found["flat-2"].verdict == "warning"
    assert all(each.remedy for each in found.values())


def test_an_alarm_that_the_guardian_holds_is_not_muted_by_a_test(tmp_path: Path) -> None:
    config = load_config(site(tmp_path, SIREN))
    config.data.mkdir()
    alarm = Order({"siren": Want(Cause(CONTRACT, "gas-ch4"))}, {"siren": Want(Cause(CONTRACT, "gas-ch4"))})
    guardian = Guardian(config.outputs, places(config.data), simulated=True)
    guardian.start()
    try:
        guardian.wait(10)
        guardian.order(alarm)
    finally:
        guardian.close()  # the daemon is gone, the siren goes on
    (found,) = output_findings(config, lambda _: True, 1)
    assert found.verdict == "failed"
    assert "acts for contract gas-ch4" in found.detail
