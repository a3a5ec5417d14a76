"""TI ADS1115: 16-bit ADC on I2C, read by single conversions.

Owns the chip's configuration and conversion. It does not own what hangs on the input (`mq`, or a
calibration).

Source: TI data sheet SBAS444 (config register 0x01, conversion register 0x00, both big-endian).

Invariants:
* Every conversion is started by us, with the whole configuration, and its end is read from the OS bit:
  a result is never that of another channel or of an earlier start.
* The configuration is read back with the OS bit: a chip that lost its supply meanwhile is a fault.
* Full-scale codes are saturation, not measurements.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from gateway.errors import SensorError
from gateway.sensors.base import Claim, Hardware, Quantity, SensorInfo, divide_half_even
from gateway.sensors.i2c import I2cDevice, wire_us
from gateway.sensors.plausible import Stuck

__all__ = [
    "FULL_CODE",
    "Ads1115",
    "Converter",
    "Input",
    "Options",
    "RangeMv",
    "Rate",
    "claim",
    "connect",
    "describe",
]

Input = Literal["a0", "a1", "a2", "a3", "a0-a1", "a0-a3", "a1-a3", "a2-a3"]
RangeMv = Literal[6144, 4096, 2048, 1024, 512, 256]
Rate = Literal[8, 16, 32, 64, 128, 250, 475, 860]

FULL_CODE: Final = 32768  # the range's end would be this code
_CONVERSION, _CONFIG = 0x00, 0x01
_OS = 0x8000
_SIGN = 0x8000
_SINGLE = 0x0100
_COMPARATOR_OFF = 0x0003
_MUX: Final[dict[Input, int]] = {
    "a0-a1": 0, "a0-a3": 1, "a1-a3": 2, "a2-a3": 3, "a0": 4, "a1": 5, "a2": 6, "a3": 7,
}  # fmt: skip
_PGA: Final[dict[RangeMv, int]] = {6144: 0, 4096: 1, 2048: 2, 1024: 3, 512: 4, 256: 5}
_RATE: Final[dict[Rate, int]] = {8: 0, 16: 1, 32: 2, 64: 3, 128: 4, 250: 5, 475: 6, 860: 7}
_POLL_S = 0.0005
_BYTES: Final = 4 + 5 + 5  # on the wire: configuration written, its end read once, result read
# The internal oscillator is good to 10 %; the rest is for a busy machine.
_GRACE_MS = 100


@dataclass(frozen=True, slots=True)
class Options:
    """One input of an ADS1115.

    Attributes:
        bus: I2C bus, as in /dev.
        address: 0x48 (ADDR to GND), 0x49 (VDD), 0x4A (SDA) or 0x4B (SCL).
        input: pin against ground, or a difference of two.
        range_mv: full scale in millivolts; the input may not exceed the chip's supply in any case.
        rate: conversions per second: slower is quieter.
        stuck_after: equal codes in a row that are a fault; 0 is off.
    """

    input: Input
    bus: str = "i2c-1"
    address: int = 0x48
    range_mv: RangeMv = 4096
    rate: Rate = 128
    stuck_after: int = 0

    def __post_init__(self) -> None:
        if not 0x48 <= self.address <= 0x4B:
            raise ValueError(f"an ADS1115 has address 0x48 to 0x4b, not {self.address:#04x}")
        if self.stuck_after < 0:
            raise ValueError("stuck_after must be 0 (off) or more")


class Converter:
    """Conversions of one input, as signed codes.

    Args:
        dead: what it means that there is no voltage at all; without it that is a value.
    """

    def __init__(self, options: Options, hardware: Hardware, dead: str = "") -> None:
        self._dead = dead
        self._device = I2cDevice(
            hardware.i2c(options.bus), options.address, f"ADS1115 {options.bus}/{options.address:#04x}"
        )
        self._clock = hardware.clock
        self._config = (
            _MUX[options.input] << 12
            | _PGA[options.range_mv] << 9
            | _SINGLE
            | _RATE[options.rate] << 5
            | _COMPARATOR_OFF
        )
        self._conversion_s = 1 / options.rate
        self._stuck = Stuck(options.stuck_after, f"{self._device.name} {options.input}")

    def convert(self) -> int:
        """Return one code, -32767 to 32766, where 32768 would be the range's end.

        Raises:
            SensorError: nack, timeout, power (the chip restarted), out-of-range (saturated), wiring (dead) or stuck.
        """
        self._device.write_word(_CONFIG, _OS | self._config)
        self._await_end()
        code = (self._device.read_word(_CONVERSION) ^ _SIGN) - _SIGN
        if code in (-FULL_CODE, FULL_CODE - 1):
            raise SensorError("out-of-range", f"{self._device.name} is saturated; choose a larger range_mv")
        if self._dead and code <= 0:
            raise SensorError("wiring", self._dead)
        self._stuck.check(code)
        return code

    def _await_end(self) -> None:
        deadline_ms = self._clock.monotonic_ms() + round(self._conversion_s * 1000) + _GRACE_MS
        self._clock.sleep(self._conversion_s)
        while True:
            config = self._device.read_word(_CONFIG)
            if config & ~_OS != self._config:
                raise SensorError("power", f"{self._device.name} lost its configuration; check its supply")
            if config & _OS:
                return
            if self._clock.monotonic_ms() > deadline_ms:
                raise SensorError("timeout", f"{self._device.name} did not finish its conversion")
            self._clock.sleep(_POLL_S)


class Ads1115:
    """A voltage: the code itself (`raw`) and the same in microvolts, half to even (`voltage`)."""

    def __init__(self, options: Options, hardware: Hardware) -> None:
        self.info: Final = describe(options)
        self._microvolts = options.range_mv * 1000
        self._converter = Converter(options, hardware)

    def sample(self) -> Mapping[str, int]:
        code = self._converter.convert()
        return {"raw": code, "voltage": divide_half_even(code * self._microvolts, FULL_CODE)}

    def close(self) -> None:
        """The bus belongs to the hardware; nothing is held here."""


def describe(options: Options) -> SensorInfo:
    """Say what the sensor will give, without touching it."""
    return SensorInfo(
        driver="ads1115",
        model=f"ADS1115 {options.input} ±{options.range_mv} mV",
        quantities=(Quantity("raw", "count", 0), Quantity("voltage", "V", -6)),
        min_interval_ms=-(-1000 // options.rate),
        warm_up_ms=0,
        bus=options.bus,
        claim=claim(options.address, options.rate, options.input),
    )


def claim(address: int, rate: int, channel: Input, conversions: int = 1) -> Claim:
    """Return what a sample of so many conversions takes: each is started, waited for, and read."""
    each_us = 1_000_000 // rate + wire_us(_BYTES)
    return Claim("ADS1115", address, (channel,), busy_us=conversions * each_us)


def connect(options: Options, hardware: Hardware) -> Ads1115:
    """Open the sensor; the chip itself is first touched by `sample`."""
    return Ads1115(options, hardware)
