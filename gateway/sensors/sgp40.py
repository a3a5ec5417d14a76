"""Sensirion SGP40: volatile organic compounds as the heated element's raw signal, and as the maker's index.

Owns commands, compensation, the element's heat and the index's cadence. The index is computed by the maker's
algorithm as a package ports it: in fixed-point integers, so whoever has every raw value can compute it again.

Source: Sensirion data sheet SGP40: measurement with humidity and temperature 30 ms, during which the chip does not
acknowledge; the first one after the heater was off is to be discarded; self-test 320 ms with 0xD400 for all well;
heater off by 0x3615; the raw signal is proportional to the logarithm of the element's resistance, so it falls as
compounds rise.

Invariants:
* Humidity and temperature come from an SHT3x on the same bus, or are the data sheet's 50 % and 25 °C by choice: a
  failing SHT3x is a fault here, too, never a silent change of what the signal means.
* The chip does not tell whether it was heated. Whenever it may not have been, at first and after it did not answer,
  the sample is a fault ("power"), with which the sensor warms up anew.
* The algorithm counts samples, not time: after a pause it begins anew, and the sensor warms up. While it is blind, its
  first 45 samples and well within the warming up, its index is 0, which no index is later.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.errors import SensorError
from gateway.sensors.base import Claim, Hardware, Quantity, SensorInfo
from gateway.sensors.command_words import CommandChip
from gateway.sensors.i2c import wire_us
from gateway.sensors.sht3x import Options as Sht3xOptions
from gateway.sensors.sht3x import Sht3x
from gateway.sensors.sht3x import describe as describe_sht3x

__all__ = ["ADDRESS", "Options", "Sgp40", "connect", "describe"]

ADDRESS: Final = 0x59
_MEASURE, _SELF_TEST, _HEATER_OFF = 0x260F, 0x280E, 0x3615
_WELL: Final = 0xD400
_MEASURE_MS, _SELF_TEST_MS = 31, 321
_STANDARD: Final = (0x6666, 0x8000)  # 25 °C and 50 %, as the chip wants them
_WARM_UP_MS: Final = 60_000
_CADENCE_MS: Final = 1_000  # what the algorithm is made for
_LONGEST_MS: Final = 2_000
_PAUSE_MS: Final = 10 * _CADENCE_MS


@dataclass(frozen=True, slots=True)
class Options:
    """An SGP40.

    Attributes:
        bus: I2C bus, as in /dev; the address is always 0x59.
        climate: address of an SHT3x on the same bus to compensate by (0x44 or 0x45); 0 leaves it at 50 % and 25 °C.
        index: whether to compute the VOC index: 100 is the room's usual, 500 the most. It wants a sample a second.
    """

    bus: str = "i2c-1"
    climate: int = 0
    index: bool = True

    def __post_init__(self) -> None:
        if self.climate not in (0, 0x44, 0x45):
            raise ValueError(f"climate is an SHT3x's address, 0x44 or 0x45, or 0, not {self.climate:#04x}")


class Sgp40:
    """The raw signal (`raw`) and, where asked for, the index (`voc_index`)."""

    def __init__(self, options: Options, hardware: Hardware) -> None:
        self.info: Final = describe(options)
        self._chip = CommandChip(hardware, options.bus, ADDRESS, "SGP40")
        self._clock = hardware.clock
        self._climate = (
            Sht3x(Sht3xOptions(options.bus, options.climate, "low"), hardware) if options.climate else None
        )
        self._has_index = options.index
        self._index: Any = None
        self._heated_ms: int | None = None  # when it last measured; None where it may be cold

    def sample(self) -> Mapping[str, int]:
        celsius, humidity = self._climate.measure() if self._climate else _STANDARD
        raw = self._measure(celsius, humidity)
        now_ms = self._clock.monotonic_ms()
        before_ms, self._heated_ms = self._heated_ms, now_ms
        if before_ms is None or now_ms - before_ms > _PAUSE_MS:
            self._index = _index() if self._has_index else None
            raise SensorError(
                "power", f"{self._chip.name} begins to heat, or to learn; its values count in a minute"
            )
        if raw in (0, 0xFFFF):
            raise SensorError("out-of-range", f"{self._chip.name} gives no signal; replace it")
        if self._index is None:
            return {"raw": raw}
        return {"raw": raw, "voc_index": self._index.process(raw)}

    def self_test(self) -> None:
        """Have the chip test its heater and element. Raises SensorError: not-ready, and as `sample`."""
        (result,) = self._chip.ask(_SELF_TEST, 1, wait_ms=_SELF_TEST_MS)
        if result != _WELL:
            raise SensorError(
                "not-ready", f"{self._chip.name} fails its self-test ({result:#06x}); replace it"
            )

    def close(self) -> None:
        """Switch the heater off. The bus belongs to the hardware."""
        if self._heated_ms is not None:
            self._heated_ms = None
            with contextlib.suppress(SensorError):  # what does not answer is not heated by us either
                self._chip.command(_HEATER_OFF)

    def _measure(self, celsius: int, humidity: int) -> int:
        try:
            return self._chip.ask(_MEASURE, 1, humidity, celsius, wait_ms=_MEASURE_MS)[0]
        except SensorError as error:
            if error.kind != "checksum":
                self._heated_ms = None
            raise


def _index() -> Any:
    """Return the algorithm, knowing nothing yet."""
    from adafruit_sgp41.gas_index_algorithm import GasIndexAlgorithm

    return GasIndexAlgorithm()


def describe(options: Options) -> SensorInfo:
    """Say what the sensor will give, without touching it."""
    quantities = [Quantity("raw", "count", 0)]
    busy_us = _MEASURE_MS * 1000 + wire_us(9 + 4)
    if options.index:
        quantities.append(Quantity("voc_index", "1", 0, 0, 500))
    if options.climate:
        climate = describe_sht3x(Sht3xOptions(options.bus, options.climate, "low"))
        busy_us += climate.claim.busy_us
    return SensorInfo(
        driver="sgp40",
        model="SGP40",
        quantities=tuple(quantities),
        min_interval_ms=_CADENCE_MS,
        warm_up_ms=_WARM_UP_MS,
        bus=options.bus,
        max_interval_ms=_LONGEST_MS if options.index else 0,
        claim=Claim("SGP40", ADDRESS, busy_us=busy_us),
        self_test_ms=_SELF_TEST_MS + 10,
    )


def connect(options: Options, hardware: Hardware) -> Sgp40:
    """Open the sensor; the chip itself is first touched by `sample`."""
    return Sgp40(options, hardware)
