"""Bosch BME280: temperature, humidity and pressure by forced measurements on I2C.

Owns the chip's settings, its trimming values and the compensation. It does not own what a temperature means.

Source: Bosch data sheet BST-BME280-DS002: registers and, in section 4.2.3, compensation in integers, whose results are
exact by definition: hundredths of °C, Pa in 24.8 and % in 22.10 fixed point.

Invariants:
* Every measurement is started by us, with the whole configuration, and its end is read from the chip: a value is never
  that of an earlier start.
* The configuration is read back with the values: a chip that lost its supply meanwhile is a fault.
* Codes that the chip skipped, or that are at an end of their range, are no values. A single code like a skipped one is
  believed: it is in the middle of the range, and that only one was skipped is excluded by the settings as read back.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from gateway.errors import SensorError
from gateway.sensors.base import Claim, Hardware, Quantity, SensorInfo, divide_half_even
from gateway.sensors.i2c import I2cDevice, wire_us

__all__ = ["Bme280", "Options", "Trim", "connect", "describe"]

Oversampling = Literal[1, 2, 4, 8, 16]

_ID, _RESET, _CTRL_HUM, _STATUS, _CTRL_MEAS, _CONFIG, _DATA = 0xD0, 0xE0, 0xF2, 0xF3, 0xF4, 0xF5, 0xF7
_TRIM_LOW, _TRIM_HIGH = 0x88, 0xE1
_BME280, _BMP280 = 0x60, 0x58
_RESET_WORD: Final = 0xB6
_COPYING, _MEASURING = 0x01, 0x08
_FORCED: Final = 0x01
_SKIPPED_20, _SKIPPED_16 = 0x80000, 0x8000
_MOST_20, _MOST_16 = 0xFFFF0, 0xFFFF  # of 20 bits the lowest four are finer than a single measurement
_START_MS, _GRACE_MS = 2, 50
_POLL_S: Final = 0.001
_BYTES: Final = 3 + 3 + 4 + 12 + 4  # on the wire: two settings written; status, settings and data read
_COLDEST, _HOTTEST = -4_000, 8_500  # hundredths of °C
_LEAST_PA, _MOST_PA = 30_000, 110_000


@dataclass(frozen=True, slots=True)
class Options:
    """A BME280.

    Attributes:
        bus: I2C bus, as in /dev.
        address: 0x76 (SDO low) or 0x77 (high).
        oversampling: measurements that the chip averages: more is quieter and slower.
    """

    bus: str = "i2c-1"
    address: int = 0x76
    oversampling: Oversampling = 1

    def __post_init__(self) -> None:
        if self.address not in (0x76, 0x77):
            raise ValueError(f"a BME280 has address 0x76 or 0x77, not {self.address:#04x}")

    @property
    def measurement_us(self) -> int:
        """The longest that a measurement takes (section 9.1)."""
        return 1_250 + 3 * 2_300 * self.oversampling + 2 * 575


@dataclass(frozen=True, slots=True)
class Trim:
    """One specimen's trimming values, and the compensation by them.

    Attributes:
        t, p, h: dig_T1 to T3, dig_P1 to P9, dig_H1 to H6 of the data sheet.
    """

    t: tuple[int, ...]
    p: tuple[int, ...]
    h: tuple[int, ...]

    @classmethod
    def read(cls, low: bytes, high: bytes) -> Trim:
        """Return the values out of registers 0x88 to 0xA1 and 0xE1 to 0xE7."""
        words = struct.unpack("<Hhh Hhhhhhhhh", low[:24])
        h2, h3, e4, e5, e6, h6 = struct.unpack("<hBbBbb", high)
        return cls(words[:3], words[3:], (low[25], h2, h3, e4 << 4 | e5 & 0x0F, e6 << 4 | e5 >> 4, h6))

    def fine(self, code: int) -> int:
        """Return the fine temperature, 5120 a degree, out of a code of 20 bits."""
        t1, t2, t3 = self.t
        near = (code >> 4) - t1
        return (((code >> 3) - (t1 << 1)) * t2 >> 11) + ((near * near >> 12) * t3 >> 14)

    def celsius(self, fine: int) -> int:
        """Return hundredths of °C."""
        return fine * 5 + 128 >> 8

    def pascal(self, code: int, fine: int) -> int:
        """Return Pa times 256 out of a code of 20 bits; 0 where the trimming values allow none."""
        p1, p2, p3, p4, p5, p6, p7, p8, p9 = self.p
        x = fine - 128_000
        offset = x * x * p6 + (x * p5 << 17) + (p4 << 35)
        sensitivity = ((1 << 47) + (x * x * p3 >> 8) + (x * p2 << 12)) * p1 >> 33
        if sensitivity == 0:
            return 0
        y = _quotient(((0x100000 - code << 31) - offset) * 3_125, sensitivity)
        square, linear = p9 * (y >> 13) * (y >> 13) >> 25, p8 * y >> 19
        return (y + square + linear >> 8) + (p7 << 4)

    def humid(self, code: int, fine: int) -> int:
        """Return % times 1024 out of a code of 16 bits, 0 to 102400."""
        h1, h2, h3, h4, h5, h6 = self.h
        x = fine - 76_800
        span = (((x * h6 >> 10) * ((x * h3 >> 11) + 32_768) >> 10) + 2_097_152) * h2 + 8_192 >> 14
        y = ((code << 14) - (h4 << 20) - h5 * x + 16_384 >> 15) * span
        y -= ((y >> 15) * (y >> 15) >> 7) * h1 >> 4
        return max(0, min(y, 419_430_400)) >> 12


class Bme280:
    """`temperature` in hundredths of °C, relative `humidity` in hundredths of %, `pressure` in Pa."""

    def __init__(self, options: Options, hardware: Hardware) -> None:
        self.info: Final = describe(options)
        self._device = I2cDevice(
            hardware.i2c(options.bus), options.address, f"BME280 {options.bus}/{options.address:#04x}"
        )
        self._clock = hardware.clock
        rate = options.oversampling.bit_length()
        self._humidity, self._others = rate, rate << 5 | rate << 2
        self._measurement_us = options.measurement_us
        self._trim: Trim | None = None

    def sample(self) -> Mapping[str, int]:
        try:
            trim = self._trim = self._trim or self._start()
            pressure, celsius, humidity = self._measure()
        except SensorError:
            self._trim = None
            raise
        fine = trim.fine(celsius)
        values = {
            "temperature": trim.celsius(fine),
            "humidity": divide_half_even(trim.humid(humidity, fine) * 100, 1024),
            "pressure": divide_half_even(trim.pascal(pressure, fine), 256),
        }
        if (
            not _COLDEST <= values["temperature"] <= _HOTTEST
            or not _LEAST_PA <= values["pressure"] <= _MOST_PA
        ):
            raise SensorError(
                "out-of-range", f"{self._device.name} says {values}: outside what it can measure"
            )
        return values

    def self_test(self) -> None:
        """Restart the chip and read its identity and trimming values. Raises SensorError, as `sample`."""
        self._trim = None
        self._trim = self._start()

    def close(self) -> None:
        """The bus belongs to the hardware; nothing is held here."""

    def _start(self) -> Trim:
        device = self._device
        identity = device.read_byte(_ID)
        if identity != _BME280:
            hint = (
                "a BMP280, which has no humidity" if identity == _BMP280 else f"of identity {identity:#04x}"
            )
            raise SensorError("wiring", f"{device.name} is no BME280 but {hint}; check address and part")
        device.write_byte(_RESET, _RESET_WORD)
        self._clock.sleep(_START_MS / 1000)
        self._await(_COPYING, _GRACE_MS, "did not start")
        trim = Trim.read(device.read_block(_TRIM_LOW, 26), device.read_block(_TRIM_HIGH, 7))
        if trim.t[0] in (0, 0xFFFF) or trim.p[0] in (0, 0xFFFF):
            raise SensorError("not-ready", f"{device.name} has lost its trimming values; replace it")
        device.write_byte(_CONFIG, 0)
        return trim

    def _measure(self) -> tuple[int, int, int]:
        """Return the codes of pressure, temperature (20 bits each) and humidity (16)."""
        device = self._device
        device.write_byte(_CTRL_HUM, self._humidity)  # takes effect with the next register
        device.write_byte(_CTRL_MEAS, self._others | _FORCED)
        self._clock.sleep(self._measurement_us / 1e6)
        self._await(_MEASURING, _GRACE_MS, "did not finish its measurement")
        settings = device.read_block(_CTRL_HUM, 3)
        if (settings[0] & 0x07, settings[2]) != (self._humidity, self._others):
            raise SensorError("power", f"{device.name} lost its settings; check its supply")
        data = device.read_block(_DATA, 8)
        pressure, celsius = (int.from_bytes(data[at : at + 3], "big") >> 4 for at in (0, 3))
        humidity = int.from_bytes(data[6:8], "big")
        skipped = (pressure == _SKIPPED_20) + (celsius == _SKIPPED_20) + (humidity == _SKIPPED_16)
        if skipped > 1:
            raise SensorError("no-data", f"{device.name} skipped a measurement; check its supply")
        if (
            min(pressure, celsius, humidity) == 0
            or max(pressure, celsius) >= _MOST_20
            or humidity == _MOST_16
        ):
            raise SensorError("out-of-range", f"{device.name} is saturated; dry it, or replace it")
        return pressure, celsius, humidity

    def _await(self, busy: int, limit_ms: int, failure: str) -> None:
        deadline_ms = self._clock.monotonic_ms() + limit_ms
        while self._device.read_byte(_STATUS) & busy:
            if self._clock.monotonic_ms() > deadline_ms:
                raise SensorError("timeout", f"{self._device.name} {failure}")
            self._clock.sleep(_POLL_S)


def _quotient(a: int, b: int) -> int:
    """Divide towards zero, as the data sheet's arithmetic does."""
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def describe(options: Options) -> SensorInfo:
    """Say what the sensor will give, without touching it."""
    return SensorInfo(
        driver="bme280",
        model="BME280",
        quantities=(
            Quantity("temperature", "Cel", -2, -4_000, 8_500),
            Quantity("humidity", "%", -2, 0, 10_000),
            Quantity("pressure", "Pa", 0, 30_000, 110_000),
        ),
        min_interval_ms=-(-options.measurement_us // 1000),
        warm_up_ms=0,
        bus=options.bus,
        claim=Claim("BME280", options.address, busy_us=options.measurement_us + wire_us(_BYTES)),
        self_test_ms=_START_MS + _GRACE_MS,
    )


def connect(options: Options, hardware: Hardware) -> Bme280:
    """Open the sensor; the chip itself is first touched by `sample`."""
    return Bme280(options, hardware)
