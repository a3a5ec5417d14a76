"""Calibration: from a sensor's scaled integers to a series' scaled integers, exactly and reproducibly.

Owns the calibration, its application and its canonical item, which is signed in the catalogue. It does not own
encoding (`gateway.chain`), making one (`gateway.calibration.tables`), technicians' signed records
(`gateway.calibration.record`) or drivers.

A calibration is a chain of stages, an optional correction for temperature and humidity, and one rounding:

    linear    y = (x * numerator + offset) / denominator
    divider   y = (numerator / denominator) * (full - x * per) / (x * per): the ratio Rs/R0 of an element
              above a load resistor, x the ADC's code, full / per the code of the whole supply
    table     integer points (x, y), straight lines between them

A correction is a polynomial p of temperature and humidity over a denominator; before the last stage the
value is divided by it (gas elements), or it is subtracted from the result (thermal strain).

Invariants:
* Everything is computed on exact ratios of integers; the result is rounded once, half to even.
* Outside its table a value is a fault (`SensorError` out-of-range), never clamped; so is a correction that
  lacks its temperature (no-data). A fault is never turned into a number.
* The record alone determines the result: whoever holds it and the raw series can compute it again.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, TypeAlias

from gateway.errors import CalibrationError, SensorError
from gateway.sensors.base import divide_half_even

__all__ = [
    "Calibration",
    "Correction",
    "Divider",
    "Item",
    "Linear",
    "Stage",
    "Table",
    "Validity",
]

Item: TypeAlias = "int | str | bytes | list[Item]"
_Ratio: TypeAlias = tuple[int, int]  # numerator and positive denominator, not reduced

# At 64 bits each they fit the 8 KiB that a catalogue entry has for its calibration.
_MAX_POINTS: Final = 400
_MAX_TEXT: Final = 200
_MAX_INTEGER: Final = 2**63  # what the signed record's integers may hold


def _bounded(*values: int) -> None:
    if any(not -_MAX_INTEGER <= value < _MAX_INTEGER for value in values):
        raise CalibrationError("a calibration record's integers must fit 64 bits")


@dataclass(frozen=True, slots=True)
class Linear:
    """y = (x * numerator + offset) / denominator."""

    numerator: int
    denominator: int
    offset: int = 0

    def __post_init__(self) -> None:
        _bounded(self.numerator, self.denominator, self.offset)
        if self.denominator <= 0 or self.numerator == 0:
            raise CalibrationError("a linear stage needs a denominator above 0 and a numerator other than 0")

    def apply(self, x: _Ratio) -> _Ratio:
        n, d = x
        return n * self.numerator + self.offset * d, d * self.denominator

    def to_item(self) -> Item:
        return ["linear", self.numerator, self.denominator, self.offset]


@dataclass(frozen=True, slots=True)
class Divider:
    """y = (numerator / denominator) * (full - x * per) / (x * per)."""

    numerator: int
    denominator: int
    full: int
    per: int

    def __post_init__(self) -> None:
        _bounded(self.numerator, self.denominator, self.full, self.per)
        if min(self.numerator, self.denominator, self.full, self.per) <= 0:
            raise CalibrationError("a divider stage's integers must be above 0")

    def apply(self, x: _Ratio) -> _Ratio:
        n, d = x
        if n <= 0:
            raise SensorError("out-of-range", "no voltage over the load resistor; check the element's supply")
        return self.numerator * (self.full * d - n * self.per), self.denominator * n * self.per

    def to_item(self) -> Item:
        return ["divider", self.numerator, self.denominator, self.full, self.per]


@dataclass(frozen=True, slots=True)
class Table:
    """Straight lines between integer points, x increasing; x is in units of 1/`per` of what comes in."""

    points: tuple[tuple[int, int], ...]
    per: int = 1

    def __post_init__(self) -> None:
        if not 2 <= len(self.points) <= _MAX_POINTS or self.per <= 0:
            raise CalibrationError(f"a table needs 2 to {_MAX_POINTS} points and `per` above 0")
        _bounded(self.per, *(value for point in self.points for value in point))
        if any(a[0] >= b[0] for a, b in zip(self.points, self.points[1:], strict=False)):
            raise CalibrationError("a table's points must be in order of x, each x once")

    def apply(self, x: _Ratio) -> _Ratio:
        n, d = x[0] * self.per, x[1]
        if not self.points[0][0] * d <= n <= self.points[-1][0] * d:
            raise SensorError(
                "out-of-range",
                f"{divide_half_even(n, d)} is outside the calibrated {self.points[0][0]} to {self.points[-1][0]}",
            )
        # The last point at or below n/d, which is its floor as x is an integer.
        right = min(bisect.bisect_right(self.points, n // d, key=lambda p: p[0]), len(self.points) - 1)
        (x0, y0), (x1, y1) = self.points[right - 1], self.points[right]
        return y0 * (x1 - x0) * d + (y1 - y0) * (n - x0 * d), (x1 - x0) * d

    def to_item(self) -> Item:
        return ["table", self.per, [[x, y] for x, y in self.points]]


Stage: TypeAlias = Linear | Divider | Table


@dataclass(frozen=True, slots=True)
class Correction:
    """p = (t2*T*T + t1*T + t0 + h1*H) / denominator, with T and H the scaled integers of two series.

    Attributes:
        use: "divide" what enters the last stage by p, or "subtract" p from the result.
        temperature: name of the series of T.
        humidity: name of the series of H; "" where h1 is 0.
    """

    use: Literal["divide", "subtract"]
    temperature: str
    humidity: str
    t2: int
    t1: int
    t0: int
    h1: int
    denominator: int

    def __post_init__(self) -> None:
        _bounded(self.t2, self.t1, self.t0, self.h1, self.denominator)
        if self.denominator <= 0 or not self.temperature or bool(self.humidity) != bool(self.h1):
            raise CalibrationError(
                "a correction needs a denominator above 0, a temperature, and a humidity just where h1 counts"
            )

    def value(self, temperature: int | None, humidity: int | None) -> _Ratio:
        """Return p.

        Raises:
            SensorError: no-data, when an input is missing.
        """
        if temperature is None or (self.h1 and humidity is None):
            missing = self.temperature if temperature is None else self.humidity
            raise SensorError("no-data", f"the correction has no value of {missing}")
        p = self.t2 * temperature**2 + self.t1 * temperature + self.t0 + self.h1 * (humidity or 0)
        return p, self.denominator

    def to_item(self) -> Item:
        polynomial: list[Item] = [self.t2, self.t1, self.t0, self.h1, self.denominator]
        return [self.use, self.temperature, self.humidity, *polynomial]


@dataclass(frozen=True, slots=True)
class Validity:
    """For how long a calibration holds, and on whose word. Afterwards its values are marked, not withheld.

    Attributes:
        made_ms, until_ms: Unix milliseconds.
        signer: the technician's public key.
        record: hash of the signed record that it was taken from.
    """

    made_ms: int
    until_ms: int
    signer: bytes
    record: bytes

    def to_item(self) -> Item:
        return [self.made_ms, self.until_ms, self.signer, self.record]


@dataclass(frozen=True, slots=True)
class Calibration:
    """One series' calibration.

    Attributes:
        quantity: what it is applied to, by the sensor's name for it.
        unit, scale: of the result.
        stages: at least one.
        correction: for temperature and humidity, or None.
        source: who found it, when, with what; for people.
        validity: of the technician's record that it was taken from, or None.
    """

    quantity: str
    unit: str
    scale: int
    stages: tuple[Stage, ...]
    correction: Correction | None = None
    source: str = ""
    validity: Validity | None = None

    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not self.stages:
            raise CalibrationError("a calibration needs at least one stage")
        if len(self.source) > _MAX_TEXT:
            raise CalibrationError(f"a calibration's source has at most {_MAX_TEXT} characters")

    def apply(self, value: int, temperature: int | None = None, humidity: int | None = None) -> int:
        """Turn the quantity's scaled integer into the series'.

        Args:
            temperature, humidity: the correction's series' latest values, where it has them.

        Raises:
            SensorError: out-of-range, or no-data when the correction lacks an input.
        """
        correction = self.correction.value(temperature, humidity) if self.correction else None
        ratio: _Ratio = (value, 1)
        for stage in self.stages[:-1]:
            ratio = stage.apply(ratio)
        if correction and self.correction and self.correction.use == "divide":
            ratio = _divide(ratio, correction)
        ratio = self.stages[-1].apply(ratio)
        if correction and self.correction and self.correction.use == "subtract":
            ratio = ratio[0] * correction[1] - correction[0] * ratio[1], ratio[1] * correction[1]
        return divide_half_even(*ratio)

    def to_item(self) -> Item:
        """Return the record as nested lists of integers and texts, for the canonical encoding."""
        return [
            self.VERSION,
            self.quantity,
            self.unit,
            self.scale,
            [stage.to_item() for stage in self.stages],
            self.correction.to_item() if self.correction else [],
            self.source,
            self.validity.to_item() if self.validity else [],
        ]


def _divide(x: _Ratio, p: _Ratio) -> _Ratio:
    if p[0] <= 0:
        raise SensorError("out-of-range", "temperature or humidity is outside the correction's range")
    return x[0] * p[1], x[1] * p[0]
