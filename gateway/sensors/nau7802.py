"""Nuvoton NAU7802: 24-bit ADC for bridges on I2C, measuring a ratio to its own excitation.

Owns the chip's start-up, calibration and conversions. It does not own what a ratio means (`strain`).

Source: Nuvoton NAU7802 data sheet; the start-up order is that of Linux's iio/adc/nau7802.c.

Invariants:
* The chip is started by the first sample, and again after any fault that may have cost its settings; a
  value is returned only by a chip that was calibrated since its power-on.
* A conversion is read once: a value never stands for two samples.
* Full-scale codes are saturation (an open bridge), not measurements.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from gateway.errors import SensorError, SensorErrorKind
from gateway.sensors.base import Claim, Hardware, Quantity, SensorInfo
from gateway.sensors.i2c import I2cDevice, wire_us
from gateway.sensors.plausible import Stuck

__all__ = [
    "CLAIM",
    "RATIO_ONE",
    "BridgeConverter",
    "Gain",
    "LdoMv",
    "Nau7802",
    "Options",
    "Rate",
    "connect",
    "describe",
]

Gain = Literal[1, 2, 4, 8, 16, 32, 64, 128]
Rate = Literal[10, 20, 40, 80, 320]
LdoMv = Literal[2400, 2700, 3000, 3300, 3600, 3900, 4200, 4500]

RATIO_ONE: Final = 1 << 24  # a code c at gain g means c / (g * RATIO_ONE) volts per volt of excitation
_FULL_CODE: Final = 1 << 23
_PU_CTRL, _CTRL1, _CTRL2, _ADCO = 0x00, 0x01, 0x02, 0x12
_RR, _PUD, _PUA, _PUR, _CS, _CR, _AVDDS = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x80
_POWERED = _PUD | _PUA | _PUR | _CS
_CALS, _CAL_ERR = 0x04, 0x08
_RATES: Final[dict[Rate, int]] = {10: 0, 20: 1, 40: 2, 80: 3, 320: 7}
_LDO: Final[dict[LdoMv, int]] = {
    4500: 0, 4200: 1, 3900: 2, 3600: 3, 3300: 4, 3000: 5, 2700: 6, 2400: 7,
}  # fmt: skip
_POWER_UP_MS, _CALIBRATION_MS = 100, 1500
_POLL_S = 0.001
# Ready comes at the rate of the chip's own oscillator; the rest is for a busy machine.
_GRACE_MS = 100


@dataclass(frozen=True, slots=True)
class Options:
    """Channel 1 of a NAU7802.

    Attributes:
        bus: I2C bus, as in /dev; the address is always 0x2A.
        gain: of the amplifier; full scale is ±0.5/gain volts per volt.
        rate: conversions per second: slower is quieter.
        ldo_mv: the excitation the chip makes; at least 0.3 V below its supply.
        stuck_after: equal codes in a row that are a fault; 24 bits are never that quiet. 0 is off.
    """

    bus: str = "i2c-1"
    gain: Gain = 128
    rate: Rate = 80
    ldo_mv: LdoMv = 3000
    stuck_after: int = 20

    def __post_init__(self) -> None:
        if self.stuck_after < 0:
            raise ValueError("stuck_after must be 0 (off) or more")


class BridgeConverter:
    """Conversions of channel 1, as signed codes."""

    ADDRESS: Final = 0x2A

    def __init__(self, options: Options, hardware: Hardware) -> None:
        self._device = I2cDevice(
            hardware.i2c(options.bus), self.ADDRESS, f"NAU7802 {options.bus}/{self.ADDRESS:#04x}"
        )
        self._clock = hardware.clock
        self._options = options
        self._stuck = Stuck(options.stuck_after, self._device.name)
        self._started = False

    def convert(self) -> int:
        """Return one code, within ±(2**23 - 1).

        Raises:
            SensorError: nack, timeout, not-ready (start-up or calibration failed), power (the chip
                restarted), out-of-range (saturated) or stuck.
        """
        try:
            if not self._started:
                self._start()
            code = self._read()
        except SensorError:
            self._started = False
            raise
        if not -_FULL_CODE < code < _FULL_CODE - 1:
            raise SensorError("out-of-range", f"{self._device.name} is saturated; check the bridge's wires")
        self._stuck.check(code)
        return code

    def _start(self) -> None:
        device, options = self._device, self._options
        device.write_byte(_PU_CTRL, _RR)
        device.write_byte(_PU_CTRL, _PUD)
        self._await(_PU_CTRL, lambda v: bool(v & _PUR), _POWER_UP_MS, "not-ready", "did not power up")
        device.write_byte(_CTRL1, _LDO[options.ldo_mv] << 3 | options.gain.bit_length() - 1)
        rate = _RATES[options.rate] << 4
        device.write_byte(_CTRL2, rate)
        device.write_byte(_PU_CTRL, _PUD | _PUA | _CS | _AVDDS)
        device.write_byte(_CTRL2, rate | _CALS)
        state = self._await(
            _CTRL2, lambda v: not v & _CALS, _CALIBRATION_MS, "not-ready", "did not end its calibration"
        )
        if state & _CAL_ERR:
            raise SensorError("not-ready", f"{device.name} could not calibrate; check the bridge and supply")
        self._started = True

    def _read(self) -> int:
        period_ms = 1000 // self._options.rate
        self._await(_PU_CTRL, self._converted, 2 * period_ms + _GRACE_MS, "timeout", "made no conversion")
        return int.from_bytes(self._device.read_block(_ADCO, 3), "big", signed=True)

    def _converted(self, control: int) -> bool:
        if control & _POWERED != _POWERED:
            raise SensorError("power", f"{self._device.name} lost its configuration; check its supply")
        return bool(control & _CR)

    def _await(
        self, register: int, done: Callable[[int], bool], limit_ms: int, kind: SensorErrorKind, failure: str
    ) -> int:
        deadline_ms = self._clock.monotonic_ms() + limit_ms
        while not done(value := self._device.read_byte(register)):
            if self._clock.monotonic_ms() > deadline_ms:
                raise SensorError(kind, f"{self._device.name} {failure} within {limit_ms} ms")
            self._clock.sleep(_POLL_S)
        return value


CLAIM: Final = Claim("NAU7802", BridgeConverter.ADDRESS, busy_us=wire_us(4 + 6))
"""A conversion runs while others use the bus: a sample reads its end once, and its three bytes."""


class Nau7802:
    """The code itself (`raw`)."""

    def __init__(self, options: Options, hardware: Hardware) -> None:
        self.info: Final = describe(options)
        self._converter = BridgeConverter(options, hardware)

    def sample(self) -> Mapping[str, int]:
        return {"raw": self._converter.convert()}

    def close(self) -> None:
        """The bus belongs to the hardware; nothing is held here."""


def describe(options: Options) -> SensorInfo:
    """Say what the sensor will give, without touching it."""
    return SensorInfo(
        driver="nau7802",
        model=f"NAU7802 gain {options.gain}",
        quantities=(Quantity("raw", "count", 0),),
        min_interval_ms=-(-1000 // options.rate),
        warm_up_ms=0,
        bus=options.bus,
        claim=CLAIM,
    )


def connect(options: Options, hardware: Hardware) -> Nau7802:
    """Open the sensor; the chip itself is first touched by `sample`."""
    return Nau7802(options, hardware)
