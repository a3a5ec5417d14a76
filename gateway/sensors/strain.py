"""Strain-gauge bridge on a NAU7802: strain in nanometres per metre.

Owns the bridge equations. It does not own the zero as installed or the temperature's share: those are
calibration. Tension is positive.

With v the bridge's output over its excitation and k the gauge factor: quarter bridge
strain = 4v / (k (1 - 2v)), half bridge (bending) 2v / k, full bridge v / k. Long leads lower k.

Invariant: strain is computed from the code by one exact division, half to even.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final, Literal

from gateway.sensors import nau7802
from gateway.sensors.base import Hardware, Quantity, SensorInfo, divide_half_even

__all__ = ["Bridge", "Options", "Strain", "connect", "describe", "nanostrain"]

Bridge = Literal["quarter", "half", "full"]

_NANO: Final = 10**9


@dataclass(frozen=True, slots=True)
class Options:
    """A bridge of strain gauges.

    Attributes:
        bridge: quarter (one gauge), half (two, in bending) or full (four).
        gauge_factor: k on the gauge's package, lowered for lead resistance.
        bus, gain, rate, ldo_mv, stuck_after: the ADC's, see `nau7802.Options`.
    """

    bridge: Bridge
    gauge_factor: Decimal
    bus: str = "i2c-1"
    gain: nau7802.Gain = 128
    rate: nau7802.Rate = 80
    ldo_mv: nau7802.LdoMv = 3000
    stuck_after: int = 20

    def __post_init__(self) -> None:
        if self.gauge_factor <= 0:
            raise ValueError("gauge_factor must be above 0")

    def adc(self) -> nau7802.Options:
        """Return the ADC's part."""
        return nau7802.Options(self.bus, self.gain, self.rate, self.ldo_mv, self.stuck_after)


def nanostrain(bridge: Bridge, gauge_factor: Fraction, code: int, gain: int) -> int:
    """Turn a code into nanometres per metre, half to even."""
    one = gain * nau7802.RATIO_ONE
    factor, per = gauge_factor.numerator, gauge_factor.denominator
    if bridge == "quarter":
        return divide_half_even(4 * code * per * _NANO, factor * (one - 2 * code))
    return divide_half_even((2 if bridge == "half" else 1) * code * per * _NANO, factor * one)


class Strain:
    """The code itself (`raw`) and the strain it means (`strain`)."""

    def __init__(self, options: Options, hardware: Hardware) -> None:
        self.info: Final = describe(options)
        self._options = options
        self._factor = Fraction(options.gauge_factor)
        self._converter = nau7802.BridgeConverter(options.adc(), hardware)

    def sample(self) -> Mapping[str, int]:
        code = self._converter.convert()
        return {
            "raw": code,
            "strain": nanostrain(self._options.bridge, self._factor, code, self._options.gain),
        }

    def close(self) -> None:
        """The bus belongs to the hardware; nothing is held here."""


def describe(options: Options) -> SensorInfo:
    """Say what the sensor will give, without touching it."""
    return SensorInfo(
        driver="strain",
        model=f"{options.bridge} bridge on NAU7802",
        quantities=(Quantity("raw", "count", 0), Quantity("strain", "um/m", -3)),
        min_interval_ms=-(-1000 // options.rate),
        warm_up_ms=0,
        bus=options.bus,
        claim=nau7802.CLAIM,
    )


def connect(options: Options, hardware: Hardware) -> Strain:
    """Open the sensor; the chip itself is first touched by `sample`."""
    return Strain(options, hardware)
