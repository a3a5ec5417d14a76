"""Sensirion SHT30, SHT31, SHT35: temperature and humidity by single measurements on I2C.

Owns commands, status and arithmetic. It does not own what a temperature means.

Source: Sensirion data sheet SHT3x-DIS: single shot without clock stretching; status register with bits 15 alert,
13 heater, 4 reset detected, 1 command refused, 0 write checksum failed.

Invariants:
* No clock stretching: a Pi's controller does not bear it. The end of a measurement is waited for, and a chip that is
  not ready does not acknowledge.
* The status is read with every sample: a restart since the last one, or a heater left on, is a fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from gateway.errors import SensorError
from gateway.sensors.base import Claim, Hardware, Quantity, SensorInfo, divide_half_even
from gateway.sensors.command_words import CommandChip
from gateway.sensors.i2c import wire_us

__all__ = ["Options", "Sht3x", "connect", "describe"]

Repeatability = Literal["low", "medium", "high"]

_STATUS, _CLEAR, _RESET, _HEATER_ON, _HEATER_OFF = 0xF32D, 0x3041, 0x30A2, 0x306D, 0x3066
_HEATER, _RESTARTED, _REFUSED, _DAMAGED = 0x2000, 0x0010, 0x0002, 0x0001
_MEASURE: Final[dict[Repeatability, int]] = {"low": 0x2416, "medium": 0x240B, "high": 0x2400}
_WAIT_MS: Final[dict[Repeatability, int]] = {"low": 5, "medium": 7, "high": 16}
_RESET_MS: Final = 2
_FULL: Final = 65_535
_COLDEST, _HOTTEST = -4_000, 12_500  # the sensor's range in hundredths of °C
_BYTES: Final = 3 + 4 + 3 + 7  # on the wire: status and measurement, each asked for and read


@dataclass(frozen=True, slots=True)
class Options:
    """An SHT3x.

    Attributes:
        bus: I2C bus, as in /dev.
        address: 0x44 (ADDR low) or 0x45 (high).
        repeatability: higher is quieter and slower.
    """

    bus: str = "i2c-1"
    address: int = 0x44
    repeatability: Repeatability = "high"

    def __post_init__(self) -> None:
        if self.address not in (0x44, 0x45):
            raise ValueError(f"an SHT3x has address 0x44 or 0x45, not {self.address:#04x}")


class Sht3x:
    """`temperature` in hundredths of °C and relative `humidity` in hundredths of %."""

    def __init__(self, options: Options, hardware: Hardware) -> None:
        self.info: Final = describe(options)
        self._options = options
        self._chip = CommandChip(hardware, options.bus, options.address, "SHT3x")
        self._is_started = False

    def sample(self) -> Mapping[str, int]:
        celsius, humidity = self.measure()
        temperature = divide_half_even(17_500 * celsius, _FULL) - 4_500
        if not _COLDEST <= temperature <= _HOTTEST:
            raise SensorError("out-of-range", f"{self._chip.name} says {temperature / 100} °C; replace it")
        return {"temperature": temperature, "humidity": divide_half_even(10_000 * humidity, _FULL)}

    def measure(self) -> tuple[int, int]:
        """Return the codes of temperature and humidity, 0 to 65535 each. Raises SensorError as `sample`."""
        self._check_status()
        repeatability = self._options.repeatability
        celsius, humidity = self._chip.ask(_MEASURE[repeatability], 2, wait_ms=_WAIT_MS[repeatability])
        return celsius, humidity

    def self_test(self) -> None:
        """Restart the chip, and have it switch its heater on and off.

        Raises:
            SensorError: not-ready (it does not do as it is told), and as `sample`.
        """
        self._chip.command(_RESET, wait_ms=_RESET_MS)
        expected = [(_CLEAR, 0), (_HEATER_ON, _HEATER), (_HEATER_OFF, 0)]
        found = []
        for command, _ in expected:
            self._chip.command(command, wait_ms=1)
            found.append(self._status() & (_HEATER | _RESTARTED | _REFUSED | _DAMAGED))
        if found != [status for _, status in expected]:
            raise SensorError("not-ready", f"{self._chip.name} fails its self-test; replace it")
        self._is_started = True

    def close(self) -> None:
        """The bus belongs to the hardware; nothing is held here."""

    def _check_status(self) -> None:
        status = self._status()
        if status & _HEATER:
            self._chip.command(_HEATER_OFF)
            raise SensorError("not-ready", f"{self._chip.name} had its heater on; it is off again and cools")
        if status & _RESTARTED:
            self._chip.command(_CLEAR, wait_ms=1)
            if self._is_started:
                raise SensorError("power", f"{self._chip.name} restarted; check its supply")
        self._is_started = True

    def _status(self) -> int:
        return self._chip.ask(_STATUS, 1)[0]


def describe(options: Options) -> SensorInfo:
    """Say what the sensor will give, without touching it."""
    wait_ms = _WAIT_MS[options.repeatability]
    return SensorInfo(
        driver="sht3x",
        model="SHT3x",
        quantities=(
            Quantity("temperature", "Cel", -2, -4_000, 12_500),
            Quantity("humidity", "%", -2, 0, 10_000),
        ),
        min_interval_ms=2 * wait_ms,
        warm_up_ms=0,
        bus=options.bus,
        claim=Claim("SHT3x", options.address, busy_us=wait_ms * 1000 + 1000 + wire_us(_BYTES)),
        self_test_ms=_RESET_MS + 10,
    )


def connect(options: Options, hardware: Hardware) -> Sht3x:
    """Open the sensor; the chip itself is first touched by `sample`."""
    return Sht3x(options, hardware)
