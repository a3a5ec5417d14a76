"""TI INA219: voltage of a supply and the current drawn from it, over a shunt, by I2C.

Owns the chip's configuration, its triggered conversions and the arithmetic. It does not own what a voltage means
(a contract does).

Source: TI data sheet SBOS448G. Registers of 16 bits, most significant byte first: 0 configuration, 1 shunt
voltage (10 uV a step), 2 bus voltage (4 mV a step in bits 15 to 3, bit 1 conversion ready, bit 0 overflow), 3 power,
4 current (shunt voltage times calibration over 4096), 5 calibration.

Invariants:
* Every conversion is started by us, with the whole configuration, and its end is read from the chip: a result is
  never that of an earlier start.
* Configuration and calibration are read back after each conversion. A chip that lost its supply meanwhile has no
  calibration, and would report no current: that is a fault.
* An overflow or a shunt voltage at the end of its range is a fault, not a measurement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from gateway.errors import SensorError
from gateway.sensors.base import Claim, Hardware, Quantity, SensorInfo, divide_half_even
from gateway.sensors.i2c import I2cDevice, wire_us

__all__ = ["Ina219", "Options", "connect", "describe"]

_CONFIG, _SHUNT, _BUS, _POWER, _CURRENT, _CALIBRATION = range(6)
_32_VOLT: Final = 0x2000
_TRIGGERED: Final = 0x0003  # shunt and bus, once
_READY, _OVERFLOW = 0x0002, 0x0001
# Current then counts in steps of the shunt voltage, so the chip's arithmetic neither rounds nor overflows.
_UNITY: Final = 4096
_RANGES_MV: Final = (40, 80, 160, 320)
_AVERAGES: Final[dict[int, int]] = {1: 3, 2: 9, 4: 10, 8: 11, 16: 12, 32: 13, 64: 14, 128: 15}
_CONVERSION_US: Final = 532
_GRACE_MS: Final = 100
_POLL_S: Final = 0.0005
_BYTES: Final = 2 * 4 + 6 * 5  # on the wire: two words written, six read


@dataclass(frozen=True, slots=True)
class Options:
    """An INA219 with its shunt in the positive lead.

    Attributes:
        bus: I2C bus, as in /dev.
        address: 0x40 to 0x4F.
        shunt_mohm: the shunt's resistance.
        max_ma: the most current that is to be measured; it chooses the range.
        average: conversions that the chip averages: more is quieter and slower.
    """

    bus: str = "i2c-1"
    address: int = 0x40
    shunt_mohm: int = 100
    max_ma: int = 3_200
    average: Literal[1, 2, 4, 8, 16, 32, 64, 128] = 8

    def __post_init__(self) -> None:
        if not 0x40 <= self.address <= 0x4F:
            raise ValueError(f"an INA219 has address 0x40 to 0x4f, not {self.address:#04x}")
        if self.shunt_mohm <= 0 or self.max_ma <= 0:
            raise ValueError("shunt_mohm and max_ma must be above 0")
        if self.shunt_mohm * self.max_ma > _RANGES_MV[-1] * 1000:
            raise ValueError(
                f"{self.max_ma} mA over {self.shunt_mohm} mohm are more than the chip's {_RANGES_MV[-1]} mV;"
                " lower max_ma or take a smaller shunt"
            )

    @property
    def range(self) -> int:
        """The smallest range that holds `max_ma`, as the chip numbers them."""
        return next(i for i, mv in enumerate(_RANGES_MV) if self.shunt_mohm * self.max_ma <= mv * 1000)

    @property
    def conversion_us(self) -> int:
        """How long shunt and bus take together."""
        return 2 * _CONVERSION_US * self.average


class Ina219:
    """The voltage behind the shunt (`voltage`) and the current through it (`current`)."""

    def __init__(self, options: Options, hardware: Hardware) -> None:
        self.info: Final = describe(options)
        self._options = options
        self._device = I2cDevice(
            hardware.i2c(options.bus), options.address, f"INA219 {options.bus}/{options.address:#04x}"
        )
        self._clock = hardware.clock
        average = _AVERAGES[options.average]
        self._config = _32_VOLT | options.range << 11 | average << 7 | average << 3 | _TRIGGERED
        self._limit = _RANGES_MV[options.range] * 100 - 1  # steps of 10 uV

    def sample(self) -> Mapping[str, int]:
        self._device.write_word(_CALIBRATION, _UNITY)
        self._device.read_word(_POWER)  # takes back the last conversion's ready bit
        self._device.write_word(_CONFIG, self._config)
        bus = self._await_end()
        shunt = _signed(self._device.read_word(_SHUNT))
        current = _signed(self._device.read_word(_CURRENT))
        self._check_settings()
        if bus & _OVERFLOW or abs(shunt) >= self._limit:
            raise SensorError(
                "out-of-range", f"{self._device.name} overflows; raise max_ma or look for a short"
            )
        if current != shunt:
            raise SensorError(
                "checksum", f"{self._device.name} computed {current} out of {shunt}; replace it"
            )
        return {
            "voltage": (bus >> 3) * 4,
            "current": divide_half_even(current * 10_000, self._options.shunt_mohm),
        }

    def close(self) -> None:
        """The bus belongs to the hardware; nothing is held here."""

    def _await_end(self) -> int:
        """Return the bus register of a finished conversion. Raises SensorError: timeout, and the bus's."""
        seconds = self._options.conversion_us / 1e6
        deadline_ms = self._clock.monotonic_ms() + round(seconds * 1000) + _GRACE_MS
        self._clock.sleep(seconds)
        while not (bus := self._device.read_word(_BUS)) & _READY:
            self._check_settings()
            if self._clock.monotonic_ms() > deadline_ms:
                raise SensorError("timeout", f"{self._device.name} did not finish its conversion")
            self._clock.sleep(_POLL_S)
        return bus

    def _check_settings(self) -> None:
        config, calibration = self._device.read_word(_CONFIG), self._device.read_word(_CALIBRATION)
        if (config, calibration) != (self._config, _UNITY):
            raise SensorError("power", f"{self._device.name} lost its calibration; check its supply")


def _signed(word: int) -> int:
    return word - 0x10000 if word & 0x8000 else word


def describe(options: Options) -> SensorInfo:
    """Say what the sensor will give, without touching it."""
    return SensorInfo(
        driver="ina219",
        model=f"INA219 with {options.shunt_mohm} mohm",
        quantities=(Quantity("voltage", "V", -3, 0, 26_000), Quantity("current", "A", -6)),
        min_interval_ms=-(-options.conversion_us // 1000),
        warm_up_ms=0,
        bus=options.bus,
        claim=Claim("INA219", options.address, busy_us=options.conversion_us + wire_us(_BYTES)),
    )


def connect(options: Options, hardware: Hardware) -> Ina219:
    """Open the sensor; the chip itself is first touched by `sample`."""
    return Ina219(options, hardware)
