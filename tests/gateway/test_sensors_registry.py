"""Drivers by name, and what every sensor promises."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from simulated import plug, simulate

from gateway.contracts.tables import TableError
from gateway.errors import ConfigError, SensorError
from gateway.sensors.base import I2cBus
from gateway.sensors.hardware import PiHardware
from gateway.sensors.i2c import I2cDevice
from gateway.sensors.registry import DRIVERS, describe_sensor, open_sensor

SENSORS: Mapping[str, Mapping[str, Any]] = {
    "ads1115": {"input": "a0"},
    "mq": {"model": "mq2", "input": "a0"},
    "contact": {"pin": 17},
    "nau7802": {},
    "strain": {"bridge": "half", "gauge_factor": 2},
    "dht22": {"pin": 4},
    "eol_loop": {"input": "a0"},
    "ina219": {},
    "mcp3008": {"channel": 0},
    "power": {"mains_pin": 5, "battery_pin": 6},
    "bme280": {},
    "sht3x": {},
    "sgp40": {},
    "scd41": {},
    "recording": {
        "path": "package:mq_counts.csv",
        "columns": {"mq2": {"column": "MQ2", "unit": "count"}},
    },
}


def test_every_driver_is_covered_here() -> None:
    assert {*SENSORS, "neighbour"} == set(DRIVERS)


def test_a_neighbour_is_not_sampled() -> None:
    with pytest.raises(SensorError, match="tells by itself"):
        plug(simulate(), "neighbour", {"member": "flat-2"})
    with pytest.raises(TableError, match="silent_s must be"):
        describe_sensor("neighbour", {"member": "flat-2", "silent_s": 2})


@pytest.mark.parametrize("driver", SENSORS)
def test_a_sample_is_integers_of_just_the_described_quantities(driver: str) -> None:
    simulation = simulate()
    sensor = plug(simulation, driver, SENSORS[driver])
    assert sensor.info == describe_sensor(driver, SENSORS[driver])
    assert sensor.info.driver == driver
    while not (sample := sensor.sample()):
        simulation.clock.sleep(sensor.info.min_interval_ms / 1000)
    assert list(sample) == [q.name for q in sensor.info.quantities]
    assert all(type(value) is int for value in sample.values())
    sensor.close()
    sensor.close()
    simulation.close()
    simulation.close()


def test_an_unknown_driver_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no driver is called 'dht11'; did you mean 'dht22'"):
        open_sensor("dht11", {}, simulate())
    with pytest.raises(ConfigError, match="known are ads1115, bme280, contact"):
        open_sensor("zzz", {}, simulate())


@pytest.mark.parametrize(
    ("driver", "options", "message"),
    [
        ("mq", {"model": "mq4", "input": "a0", "adress": 72}, "sensor mq: adress: .*did you mean 'address'"),
        ("ads1115", {"input": "a0", "address": 0x50}, "address 0x48 to 0x4b, not 0x50"),
        ("ads1115", {"input": "a4"}, "input: must be one of"),
        ("ads1115", {"input": "a0", "stuck_after": -1}, "stuck_after must be 0"),
        ("mq", {"model": "mq4", "input": "a0", "divider": 0}, "divider at least 1"),
        ("strain", {"bridge": "half", "gauge_factor": 0}, "gauge_factor must be above 0"),
        ("nau7802", {"stuck_after": -1}, "stuck_after must be 0"),
        ("contact", {"pin": 99}, "pins 0 to 27, not 99"),
        ("contact", {"pin": 9, "debounce_ms": -1}, "debounce_ms must be"),
        ("dht22", {"pin": -1}, "pins 0 to 27, not -1"),
        ("recording", {"path": "x", "columns": {}}, "at least one quantity"),
        (
            "recording",
            {"path": "x", "columns": {"a": {"column": "a", "unit": "1", "scale": 99}}},
            "scale must be -18 to 18",
        ),
        ("recording", {**SENSORS["recording"], "rows_per_second": -1}, "rows_per_second must be"),
    ],
)
def test_wrong_options_are_refused_before_any_hardware(
    driver: str, options: Mapping[str, object], message: str
) -> None:
    with pytest.raises(TableError, match=message):
        describe_sensor(driver, options)


def test_importing_drivers_and_simulation_loads_no_hardware_library() -> None:
    code = (
        "import sys\n"
        "from gateway.sensors import registry\n"
        "for name in registry.DRIVERS: registry._module(name)\n"
        "import gateway.simulation.simulation, gateway.sensors.hardware\n"
        "print([m for m in ('gpiozero', 'lgpio', 'smbus2', 'adafruit_dht', 'board') if m in sys.modules])\n"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "message"), [("i2c-250", "cannot be opened"), ("../mem", "no bus is called")]
)
def test_a_bus_that_is_not_there_is_a_wiring_fault(name: str, message: str) -> None:
    with pytest.raises(SensorError, match=message) as caught:
        PiHardware().i2c(name)
    assert caught.value.kind == "wiring"


class Broken:
    """A bus whose controller reports one error."""

    def __init__(self, number: int) -> None:
        self._number = number

    def read_byte_data(self, i2c_addr: int, register: int) -> int:
        raise OSError(self._number, "broken")


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        *((number, "nack") for number in (121, 5, 6, 19)),
        *((110, "timeout"), (11, "timeout"), (74, "checksum"), (13, "wiring")),
    ],
)
def test_the_kernels_error_numbers_become_kinds(number: int, kind: str) -> None:
    bus: I2cBus = Broken(number)  # type: ignore[assignment]
    with pytest.raises(SensorError, match=r"chip x .*broken") as caught:
        I2cDevice(bus, 0x48, "chip x").read_byte(0)
    assert caught.value.kind == kind


class Short:
    """A bus whose controller delivers less than was asked for."""

    def read_i2c_block_data(self, i2c_addr: int, register: int, length: int) -> list[int]:
        return [0] * (length - 1)


def test_a_short_transfer_is_no_data() -> None:
    bus: I2cBus = Short()  # type: ignore[assignment]
    with pytest.raises(SensorError, match="chip x sent 1 of 2 bytes") as caught:
        I2cDevice(bus, 0x48, "chip x").read_block(0, 2)
    assert caught.value.kind == "no-data"


@pytest.mark.skipif(Path("/proc/device-tree/model").exists(), reason="this machine has pins")
def test_pins_that_are_not_there_are_a_wiring_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # lgpio leaves a pipe where it is loaded
    with pytest.raises(SensorError, match="no GPIO pins here") as caught:
        PiHardware().pins()
    assert caught.value.kind == "wiring"


def test_closing_real_hardware_that_opened_nothing_is_harmless() -> None:
    hardware = PiHardware()
    assert hardware.dht_pulses(4) is None
    assert hardware.powered_since_ms == 0
    hardware.close()
    hardware.close()
