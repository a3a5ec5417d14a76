"""Sensirion SGP40: volatile organic compounds as the heated element's raw signal, and as the maker's index.

Owns commands, compensation and cadence. The index is computed by the maker's own algorithm, a package of its own
(extra `voc`): it learns in floating point, so it can be recorded and decided on, but not computed again by a verifier.
The raw signal beside it is what was measured.

Source: Sensirion data sheet SGP40: measurement with humidity and temperature 30 ms, self-test 320 ms with 0xD400 for
all well, heater off by 0x3615; the raw signal falls as compounds rise.

Invariants:
* Humidity and temperature come from an SHT3x on the same bus, or are the data sheet's 50 % and 25 °C by choice: a
  failing SHT3x is a fault here, too, never a silent change of what the signal means.
* The algorithm counts samples, not time: a pause makes it start anew.
"""

from __future__ import annotations

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

__all__ = ["Options", "Sgp40", "connect", "describe"]

_ADDRESS: Final = 0x59
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
        index: whether to compute the VOC index: 100 is the room's usual, 500 the most; needs the extra `voc`.
    """

    bus: str = "i2c-1"
    climate: int = 0
    index: bool = False

    def __post_init__(self) -> None:
        if self.climate not in (0, 0x44, 0x45):
            raise ValueError(f"climate is an SHT3x's address, 0x44 or 0x45, or 0, not {self.climate:#04x}")


class Sgp40:
    """The raw signal (`raw`) and, where asked for, the index (`voc_index`)."""

    def __init__(self, options: Options, hardware: Hardware) -> None:
        self.info: Final = describe(options)
        self._chip = CommandChip(hardware, options.bus, _ADDRESS, "SGP40")
        self._clock = hardware.clock
        self._climate = (
            Sht3x(Sht3xOptions(options.bus, options.climate, "low"), hardware) if options.climate else None
        )
        self._index = _Index(self._chip.name) if options.index else None

    def sample(self) -> Mapping[str, int]:
        celsius, humidity = self._climate.measure() if self._climate else _STANDARD
        (raw,) = self._chip.ask(_MEASURE, 1, humidity, celsius, wait_ms=_MEASURE_MS)
        if raw in (0, 0xFFFF):
            raise SensorError("out-of-range", f"{self._chip.name} gives no signal; replace it")
        if self._index is None:
            return {"raw": raw}
        index = self._index.learn(raw, self._clock.monotonic_ms())
        return {"raw": raw, "voc_index": index} if index else {}

    def self_test(self) -> None:
        """Have the chip test its heater and element. Raises SensorError: not-ready, and as `sample`."""
        (result,) = self._chip.ask(_SELF_TEST, 1, wait_ms=_SELF_TEST_MS)
        if result != _WELL:
            raise SensorError(
                "not-ready", f"{self._chip.name} fails its self-test ({result:#06x}); replace it"
            )

    def close(self) -> None:
        """Switch the heater off. The bus belongs to the hardware."""
        try:
            self._chip.command(_HEATER_OFF)
        except SensorError:
            return  # what does not answer is not heated by us either


class _Index:
    """The maker's algorithm, and when it has to begin again."""

    def __init__(self, name: str) -> None:
        try:
            from sensirion_gas_index_algorithm.voc_algorithm import VocAlgorithm
        except ImportError as error:
            raise SensorError(
                "wiring",
                f"{name}: the index needs the extra 'voc' (pip install 'tocsin[voc]'), or index = false",
            ) from error
        self._make: Any = VocAlgorithm
        self._algorithm: Any = None
        self._at = 0

    def learn(self, raw: int, now_ms: int) -> int:
        """Return the index, 1 to 500; 0 while the algorithm is blind, its first 45 samples."""
        if self._algorithm is None or now_ms - self._at > _PAUSE_MS:
            self._algorithm = self._make()
        self._at = now_ms
        return int(self._algorithm.process(raw))


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
        min_interval_ms=_CADENCE_MS if options.index else 100,
        warm_up_ms=_WARM_UP_MS,
        bus=options.bus,
        max_interval_ms=_LONGEST_MS if options.index else 0,
        claim=Claim("SGP40", _ADDRESS, busy_us=busy_us),
        self_test_ms=_SELF_TEST_MS,
    )


def connect(options: Options, hardware: Hardware) -> Sgp40:
    """Open the sensor; the chip itself is first touched by `sample`."""
    return Sgp40(options, hardware)
