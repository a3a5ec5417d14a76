"""Drivers by name, and the hardware that they are given; what each promises is in `test_driver_contract`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from simulated import plug, simulate

from gateway.contracts.tables import TableError
from gateway.errors import ConfigError, SensorError
from gateway.sensors.base import I2cBus
from gateway.sensors.hardware import PiHardware
from gateway.sensors.i2c import I2cDevice
from gateway.sensors.registry import describe_sensor, open_sensor


def test_a_neighbour_is_not_sampled() -> None:
    with pytest.raises(SensorError, match="tells by itself"):
        plug(simulate(), "neighbour", {"member": "flat-2"})
    with pytest.raises(TableError, match="silent_s must be"):
        describe_sensor("neighbour", {"member": "flat-2", "silent_s": 2})


def test_an_unknown_driver_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no driver is called 'dht11'; did you mean 'dht22'"):
        open_sensor("dht11", {}, simulate())
    with pytest.raises(ConfigError, match="known are ads1115, bme280, contact"):
        open_sensor("zzz", {}, simulate())


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


def test_the_gateway_starts_without_loading_a_driver() -> None:
    code = (
        "import sys\n"
        "import gateway.daemon, gateway.inspection.live, gateway.sensors.registry as registry\n"
        "print([m for m in registry.DRIVERS.values() if m in sys.modules])\n"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"
