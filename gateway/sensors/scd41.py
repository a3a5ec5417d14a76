"""Sensirion SCD41: carbon dioxide by photoacoustics, with temperature and humidity, every five seconds on I2C.

Owns commands, cadence and arithmetic. It does not own what a concentration means.

Source: Sensirion data sheet SCD4x: periodic measurement 0x21B1, ready 0xE4B8 (its lower eleven bits), read 0xEC05,
stop 0x3F86 (500 ms), altitude 0x2427, self-calibration 0x2416, self-test 0x3639 (10 s), serial number 0x3682.

Invariants:
* A value is read once: the chip itself gives each measurement out only once, and says when there is a new one. Before
  that a sample is nothing.
* Nothing waits for the chip: what it takes to start it is spread over samples.
* A chip that restarted no longer measures: what is never ready is a fault, and the next samples start it anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.errors import SensorError
from gateway.sensors.base import Claim, Hardware, Quantity, SensorInfo, divide_half_even
from gateway.sensors.command_words import CommandChip
from gateway.sensors.i2c import wire_us

__all__ = ["ADDRESS", "Options", "Scd41", "connect", "describe"]

ADDRESS: Final = 0x62
_START, _STOP, _READY, _READ = 0x21B1, 0x3F86, 0xE4B8, 0xEC05
_SELF_CALIBRATION, _ALTITUDE, _SELF_TEST, _SERIAL = 0x2416, 0x2427, 0x3639, 0x3682
_STOP_MS, _SELF_TEST_MS = 500, 10_000
_CYCLE_MS: Final = 5_000
_LOOK_MS: Final = 2_000  # how often it must be looked after, so that its start takes no longer than its cycle
_LATE_MS: Final = 2 * _CYCLE_MS  # the chip's own clock is not that far off
_FULL: Final = 65_535
_MOST_PPM: Final = 40_000
_WARM_UP_MS: Final = 60_000
_BYTES: Final = 3 + 4 + 3 + 10


@dataclass(frozen=True, slots=True)
class Options:
    """An SCD41.

    Attributes:
        bus: I2C bus, as in /dev; the address is always 0x62.
        self_calibration: the chip takes the lowest value of a week for fresh air; leave it off where a room is never
            aired, and for evidence: it changes what a value means.
        altitude_m: above the sea, 0 to 3000: in thinner air the same share of carbon dioxide absorbs less.
    """

    bus: str = "i2c-1"
    self_calibration: bool = False
    altitude_m: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.altitude_m <= 3_000:
            raise ValueError(f"altitude_m must be 0 to 3000, not {self.altitude_m}")


class Scd41:
    """`co2` in ppm, `temperature` in hundredths of °C, relative `humidity` in hundredths of %."""

    def __init__(self, options: Options, hardware: Hardware) -> None:
        self.info: Final = describe(options)
        self._options = options
        self._chip = CommandChip(hardware, options.bus, ADDRESS, "SCD41")
        self._clock = hardware.clock
        self._stopped_ms: int | None = None  # when it was told to rest, before it is started
        self._awaited_ms: int | None = None  # since when a value is; None while it does not measure

    def sample(self) -> Mapping[str, int]:
        try:
            return self._read() if self._awaited_ms is not None else self._start()
        except SensorError as error:
            if error.kind != "checksum":
                self._stopped_ms = self._awaited_ms = None
            raise

    def self_test(self) -> None:
        """Have the chip test itself, which takes ten seconds. Raises SensorError: not-ready, and as `sample`."""
        self._stopped_ms = self._awaited_ms = None
        self._chip.command(_STOP, wait_ms=_STOP_MS)
        serial = "".join(f"{word:04x}" for word in self._chip.ask(_SERIAL, 3))
        (malfunction,) = self._chip.ask(_SELF_TEST, 1, wait_ms=_SELF_TEST_MS)
        if malfunction:
            raise SensorError(
                "not-ready", f"{self._chip.name}, serial number {serial}, fails its self-test; replace it"
            )

    def close(self) -> None:
        """Stop measuring. The bus belongs to the hardware."""
        if self._awaited_ms is not None:
            self._awaited_ms = None
            with contextlib.suppress(SensorError):  # what does not answer does not measure for us either
                self._chip.command(_STOP)

    def _start(self) -> Mapping[str, int]:
        """Take the next step towards measuring. At work the chip refuses everything else, so it is stopped first."""
        now_ms = self._clock.monotonic_ms()
        if self._stopped_ms is None:
            self._chip.command(_STOP)
            self._stopped_ms = now_ms
        elif now_ms - self._stopped_ms >= _STOP_MS:
            self._chip.command(_SELF_CALIBRATION, int(self._options.self_calibration), wait_ms=1)
            self._chip.command(_ALTITUDE, self._options.altitude_m, wait_ms=1)
            self._chip.command(_START)
            self._stopped_ms, self._awaited_ms = None, now_ms
        return {}

    def _read(self) -> Mapping[str, int]:
        assert self._awaited_ms is not None
        now_ms = self._clock.monotonic_ms()
        if not self._chip.ask(_READY, 1)[0] & 0x07FF:
            if now_ms - self._awaited_ms > _LATE_MS:
                raise SensorError("power", f"{self._chip.name} stopped measuring; check its supply")
            return {}
        self._awaited_ms = now_ms
        co2, celsius, humidity = self._chip.ask(_READ, 3)
        if not 0 < co2 <= _MOST_PPM:
            raise SensorError("out-of-range", f"{self._chip.name} says {co2} ppm; replace it")
        return {
            "co2": co2,
            "temperature": divide_half_even(17_500 * celsius, _FULL) - 4_500,
            "humidity": divide_half_even(10_000 * humidity, _FULL),
        }


def describe(options: Options) -> SensorInfo:
    """Say what the sensor will give, without touching it."""
    return SensorInfo(
        driver="scd41",
        model="SCD41",
        quantities=(
            Quantity("co2", "ppm", 0, 1, _MOST_PPM),
            Quantity("temperature", "Cel", -2, -1_000, 6_000),
            Quantity("humidity", "%", -2, 0, 10_000),
        ),
        min_interval_ms=100,
        warm_up_ms=_WARM_UP_MS,
        bus=options.bus,
        cycle_ms=_CYCLE_MS,
        max_interval_ms=_LOOK_MS,
        claim=Claim("SCD41", ADDRESS, busy_us=2_000 + wire_us(_BYTES)),
        self_test_ms=_STOP_MS + _SELF_TEST_MS + 10,
    )


def connect(options: Options, hardware: Hardware) -> Scd41:
    """Open the sensor; the chip itself is first touched by `sample`."""
    return Scd41(options, hardware)
