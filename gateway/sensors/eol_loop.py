"""A supervised loop on an input of an ADS1115: normal, alarm, open and short are told apart.

Owns the resistors' bands. It does not own the converter (`ads1115`) nor what an alarm means (a contract does).

A pull-up feeds the loop from a supply; an end-of-line resistor closes it at its far end, and each detector that
alarms lays its own resistor across it. The loop's resistance follows from the voltage over it as a share of the
supply's, measured on a second input where one is wired, so that a sagging supply does not look like an alarm.

Invariants:
* What lies between two bands is a fault, never a guess; so are an open and a shorted loop. None is a number.
* Any number of detectors up to `detectors` in alarm at once is an alarm.
* An alarm or its end counts once a second conversion confirms it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal

from gateway.errors import SensorError
from gateway.sensors import ads1115
from gateway.sensors.base import Hardware, Quantity, SensorInfo, divide_half_even

__all__ = ["EolLoop", "Options", "connect", "describe"]

_NORMAL, _ALARM = 0, 1
_MOST_OHM: Final = 10_000_000
_SETTLE_TRIES: Final = 4


@dataclass(frozen=True, slots=True)
class Options:
    """A loop between an input and ground.

    Attributes:
        input, bus, address, range_mv, rate: the ADC's, see `ads1115.Options`.
        eol_ohm: the resistor at the loop's far end.
        alarm_ohm: the resistor that a detector in alarm lays across the loop.
        pull_ohm: the resistor from the supply to the input.
        supply_mv: the loop's supply; not used where `supply_input` measures it.
        supply_input: the ADC input that carries the supply, or "".
        detectors: how many may be in alarm at once.
        tolerance_percent: how far a band reaches to either side: resistors, wire, the ADC.
        short_ohm: a loop of less is shorted.
    """

    input: Literal["a0", "a1", "a2", "a3"]
    bus: str = "i2c-1"
    address: int = 0x48
    range_mv: ads1115.RangeMv = 4096
    rate: ads1115.Rate = 128
    eol_ohm: int = 4_700
    alarm_ohm: int = 680
    pull_ohm: int = 2_200
    supply_mv: int = 3_300
    supply_input: Literal["", "a0", "a1", "a2", "a3"] = ""
    detectors: int = 8
    tolerance_percent: int = 15
    short_ohm: int = 30

    def __post_init__(self) -> None:
        self.adc()
        if min(self.eol_ohm, self.alarm_ohm, self.pull_ohm, self.supply_mv, self.short_ohm) <= 0:
            raise ValueError("resistors, supply_mv and short_ohm must be above 0")
        if max(self.eol_ohm, self.alarm_ohm, self.pull_ohm) > _MOST_OHM:
            raise ValueError(f"no resistor may exceed {_MOST_OHM} ohm")
        if not 1 <= self.detectors <= 64 or not 1 <= self.tolerance_percent <= 40:
            raise ValueError("detectors must be 1 to 64, tolerance_percent 1 to 40")
        if self.supply_input == self.input:
            raise ValueError("supply_input must be another input than the loop's")
        if not self.supply_input and self.supply_mv > self.range_mv:
            raise ValueError("range_mv must reach supply_mv, or an open loop looks like a saturated ADC")
        self._check_gaps()

    def adc(self) -> ads1115.Options:
        """Return the loop's input."""
        return ads1115.Options(self.input, self.bus, self.address, self.range_mv, self.rate)

    def adc_of_supply(self) -> ads1115.Options | None:
        """Return the input that carries the supply."""
        if not self.supply_input:
            return None
        return ads1115.Options(self.supply_input, self.bus, self.address, self.range_mv, self.rate)

    @property
    def alarm_band(self) -> tuple[Fraction, Fraction]:
        """From all detectors in alarm to one, in ohm."""
        return self._loop(self.detectors) * self._low, self._loop(1) * self._high

    @property
    def normal_band(self) -> tuple[Fraction, Fraction]:
        """Around the end-of-line resistor, in ohm."""
        return self.eol_ohm * self._low, self.eol_ohm * self._high

    @property
    def open_ohm(self) -> Fraction:
        """A loop of more is open: twice what counts as normal."""
        return 2 * self.normal_band[1]

    def _loop(self, alarms: int) -> Fraction:
        """The loop's resistance with so many detectors in alarm."""
        return 1 / (Fraction(1, self.eol_ohm) + Fraction(alarms, self.alarm_ohm))

    @property
    def _low(self) -> Fraction:
        return 1 - Fraction(self.tolerance_percent, 100)

    @property
    def _high(self) -> Fraction:
        return 1 + Fraction(self.tolerance_percent, 100)

    def _check_gaps(self) -> None:
        if self.short_ohm * self._high >= self.alarm_band[0]:
            raise ValueError(
                f"{self.detectors} detectors of {self.alarm_ohm} ohm in alarm are too near"
                f" a short of {self.short_ohm} ohm"
            )
        if self.alarm_band[1] * self._high >= self.normal_band[0]:
            raise ValueError(
                f"one detector of {self.alarm_ohm} ohm in alarm is too near"
                f" the end-of-line resistor of {self.eol_ohm} ohm"
            )


class EolLoop:
    """0 normal or 1 alarm (`state`), and the loop's resistance (`resistance`)."""

    def __init__(self, options: Options, hardware: Hardware) -> None:
        self.info: Final = describe(options)
        self._options = options
        self._loop = ads1115.Converter(options.adc(), hardware)
        supply = options.adc_of_supply()
        self._supply = ads1115.Converter(supply, hardware) if supply else None
        self._full = Fraction(options.supply_mv * ads1115.FULL_CODE, options.range_mv)
        self._alarm, self._normal = options.alarm_band, options.normal_band
        self._open_ohm = options.open_ohm
        self._state: int | None = None
        self._name = f"the loop on {options.bus}/{options.address:#04x} {options.input}"

    def sample(self) -> Mapping[str, int]:
        state, ohm = self._measure()
        for _ in range(_SETTLE_TRIES):
            if state == self._state:
                return {"state": state, "resistance": ohm}
            self._state = state
            state, ohm = self._measure()
        raise SensorError("wiring", f"{self._name} chatters between normal and alarm; check its screws")

    def close(self) -> None:
        """The bus belongs to the hardware; nothing is held here."""

    def _measure(self) -> tuple[int, int]:
        ohm = self._resistance()
        if ohm < self._options.short_ohm:
            raise SensorError("wiring", f"{self._name} is shorted ({_words(ohm)}); part its wires")
        if ohm > self._open_ohm:
            raise SensorError("wiring", f"{self._name} is open ({_words(ohm)}); find the break")
        if self._alarm[0] <= ohm <= self._alarm[1]:
            return _ALARM, divide_half_even(ohm.numerator, ohm.denominator)
        if self._normal[0] <= ohm <= self._normal[1]:
            return _NORMAL, divide_half_even(ohm.numerator, ohm.denominator)
        raise SensorError(
            "wiring",
            f"{self._name} reads {_words(ohm)}, neither normal nor alarm; check its resistors, joints and damp",
        )

    def _resistance(self) -> Fraction:
        """Return the loop's resistance in ohm.

        Raises:
            SensorError: the ADC's, wiring (open) or power (no supply).
        """
        full = self._full
        if self._supply is not None:
            full = Fraction(self._supply.convert())
            if full * 10 < self._full:
                raise SensorError(
                    "power", f"{self._name} has no supply; check the fuse and the pull-up's feed"
                )
        code = self._loop.convert()
        if code * 1000 >= full * 999:
            raise SensorError("wiring", f"{self._name} is open; find the break")
        return Fraction(self._options.pull_ohm * max(code, 0)) / (full - code)


def _words(ohm: Fraction) -> str:
    return f"{round(ohm)} ohm"


def describe(options: Options) -> SensorInfo:
    """Say what the sensor will give, without touching it."""
    conversions = 4 if options.supply_input else 2
    return SensorInfo(
        driver="eol_loop",
        model=f"loop of {options.eol_ohm} and {options.alarm_ohm} ohm on ADS1115 {options.input}",
        quantities=(Quantity("state", "1", 0), Quantity("resistance", "ohm", 0)),
        min_interval_ms=-(-1000 * conversions // options.rate),
        warm_up_ms=0,
        bus=options.bus,
        claim=ads1115.claim(options.address, options.rate, options.input, conversions),
    )


def connect(options: Options, hardware: Hardware) -> EolLoop:
    """Open the sensor; the chip itself is first touched by `sample`."""
    return EolLoop(options, hardware)
