"""From measurements under references to a calibration, or to a refusal that says what is wrong.

Owns statistics, fits and their limits of acceptance. It opens no sensor, asks nobody and writes nothing.

Invariant: a measurement that is stuck, noisy or drifting, a result far from what is expected, or a fit that leaves its
points, raises `FitRefused`; there is no calibration then.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from firmware_tools.errors import FitRefused
from gateway.calibration.application import Calibration, Correction, Linear
from gateway.calibration.tables import MqTable, mq_calibration
from gateway.chain.workmanship import CalibrationPoint
from gateway.sensors import mq
from gateway.sensors.curves import Curve, find_curve

Reading = tuple[int, int]  # monotonic ms, value

_FEWEST: Final = 3
_MQ_NOISE, _MQ_DRIFT = 0.02, 0.02  # of the mean
_MQ_RATIO: Final = (0.6, 1.7)  # of the R0 that was expected
_NEW_RATIO: Final = (0.1, 10.0)
_MQ_RESIDUAL: Final = 0.15  # of R0, from one gas to the next
_SPAN_NOISE, _SPAN_DRIFT, _SPAN_RESIDUAL = 0.02, 0.02, 0.05  # of the span
STEP: Final = 10**6  # denominators of a gain


@dataclass(frozen=True, slots=True)
class Measured:
    """What a sensor gave under one reference; `expected` in the series' steps."""

    expected: int
    readings: tuple[Reading, ...]

    @property
    def mean(self) -> float:
        """The values' mean."""
        return statistics.fmean(value for _, value in self.readings)

    @property
    def deviation(self) -> float:
        """Their standard deviation about the line of drift."""
        slope, mid = self._slope(), statistics.fmean(at for at, _ in self.readings)
        rest = [value - slope * (at - mid) for at, value in self.readings]
        return statistics.stdev(rest) if len(rest) > 1 else 0.0

    @property
    def span_ms(self) -> int:
        """From the first value to the last."""
        return self.readings[-1][0] - self.readings[0][0]

    @property
    def drift(self) -> float:
        """How far the straight line through the values moves from the first to the last."""
        return self._slope() * self.span_ms

    @property
    def uncertainty(self) -> float:
        """Of the mean, with a coverage factor of 2: noise over so many values, and drift as an even spread."""
        return 2 * math.hypot(self.deviation / math.sqrt(len(self.readings)), self.drift / math.sqrt(12))

    def point(self) -> CalibrationPoint:
        """Return it as it is signed."""
        return CalibrationPoint(
            self.expected,
            len(self.readings),
            self.span_ms,
            round(self.mean * 1000),
            round(self.deviation * 1000),
            round(self.drift * 1000),
        )

    def accept(self, noise: float, drift: float, unit: str, *, may_rest: bool = False) -> None:
        """Refuse what is no steady measurement. Limits are in the values' steps."""
        if len(self.readings) < _FEWEST:
            raise FitRefused(
                f"only {len(self.readings)} values came, at least {_FEWEST} are needed; measure longer"
            )
        if not may_rest and len({value for _, value in self.readings}) == 1:
            raise FitRefused(
                f"every value was {self.readings[0][1]}: the sensor is stuck; check its supply and wires"
            )
        # Noise alone gives a line some slope: that is told as what it is.
        moves = abs(self.drift) > max(drift, 3 * self.deviation * math.sqrt(12 / len(self.readings)))
        if self.deviation > noise and not moves:
            raise FitRefused(
                f"too noisy: {self.deviation:.4g} {unit} standard deviation, at most {noise:.4g} are accepted;"
                " look for loose wires, draughts or interference"
            )
        if abs(self.drift) > drift:
            raise FitRefused(
                f"not settled: it drifted by {self.drift:.4g} {unit} meanwhile, at most {drift:.4g} are accepted;"
                " let it warm up longer, and keep gas, load and temperature steady"
            )

    def _slope(self) -> float:
        times, values = zip(*self.readings, strict=True)
        if len(set(times)) < 2:
            return 0.0
        return statistics.linear_regression(times, values).slope


@dataclass(frozen=True, slots=True)
class Fit:
    """An accepted calibration, its points, its largest residual in per mille, and what to tell the technician."""

    calibration: Calibration
    points: tuple[CalibrationPoint, ...]
    residual: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Climate:
    """Temperature and humidity while it was measured, in the steps of their series."""

    temperature: int | None = None
    humidity: int | None = None

    def share(self, correction: Correction | None) -> Fraction:
        """Return what the ratio is divided by."""
        return Fraction(*correction.value(self.temperature, self.humidity)) if correction else Fraction(1)


def fit_mq(
    options: mq.Options, table: MqTable, measured: Sequence[Measured], climate: Climate, *, is_new: bool
) -> Fit:
    """Find an element's R0 from one gas or several, 0 ppm being clean air.

    Args:
        table: the curve's gas and the series to correct by; its `r0_ohm` is what is expected.
        is_new: the element was never measured, so that R0 may be far from what is expected.

    Raises:
        FitRefused: see the module; no curve for that gas is a CalibrationError.
    """
    correction = mq_calibration(options, table).correction
    curve = find_curve(options.model, table.gas)
    coarse = options.input.startswith("ch")
    found = []
    for each in measured:
        each.accept(each.mean * _MQ_NOISE, each.mean * _MQ_DRIFT, "counts", may_rest=coarse)
        found.append(_r0(options, each.mean, _ratio(curve, each.expected) * float(climate.share(correction))))
    r0 = statistics.geometric_mean(found)
    residual = max(abs(one / r0 - 1) for one in found)
    low, high = _NEW_RATIO if is_new else _MQ_RATIO
    if not low <= r0 / table.r0_ohm <= high:
        raise FitRefused(
            f"R0 would be {r0:.0f} ohm, {r0 / table.r0_ohm:.2f} times the expected {table.r0_ohm}; accepted are {low:g}"
            f" to {high:g} times: is gas in the air, the bottle the right one, the element a new one (--new-element)?"
        )
    if residual > _MQ_RESIDUAL:
        raise FitRefused(
            f"the gases disagree about R0 by {residual:.0%}, at most {_MQ_RESIDUAL:.0%} is accepted; check the bottles"
        )
    doubt = max(_r0_doubt(options, each) for each in measured)
    calibration = mq_calibration(
        options, MqTable("mq", table.gas, round(r0), table.temperature, table.humidity)
    )
    line = f"R0 = {r0:.0f} ohm ± {r0 * doubt:.0f} (k = 2, of this measurement); expected were {table.r0_ohm}"
    lines = (line, f"residual {residual:.1%}") if len(measured) > 1 else (line,)
    return Fit(calibration, tuple(each.point() for each in measured), round(residual * 1000), lines)


def _ratio(curve: Curve, ppm: int) -> float:
    if ppm <= curve.offset:
        return float(curve.clean_air)
    return float(((ppm - curve.offset) / curve.a) ** (1 / curve.b))


def _r0(options: mq.Options, code: float, ratio: float) -> float:
    full = float(options.full_code)
    if not 0 < code < full:
        raise FitRefused(
            f"a mean code of {code:.0f} is no voltage over the load resistor; check supply_mv and divider"
        )
    return options.load_ohm * (full - code) / code / ratio


def _r0_doubt(options: mq.Options, measured: Measured) -> float:
    """The share of R0 that the measurement leaves in doubt."""
    full = float(options.full_code)
    return measured.uncertainty / measured.mean * full / (full - measured.mean)


def fit_span(before: Calibration, measured: Sequence[Measured]) -> Fit:
    """Lay the straight line of least squares through two gases or more.

    Args:
        before: what the series has been; its quantity, unit and scale stay.
    """
    if len({each.expected for each in measured}) < 2:
        raise FitRefused("a straight line needs two gases at least, clean air (0) being one of them")
    first, last = min(measured, key=_expected), max(measured, key=_expected)
    span = abs(last.mean - first.mean)
    for each in measured:
        each.accept(span * _SPAN_NOISE, span * _SPAN_DRIFT, "steps", may_rest=True)
    if span == 0:
        raise FitRefused("the sensor gave the same under every gas; check bottle, tube and sensor")
    means = [each.mean for each in measured]
    line = statistics.linear_regression(means, [each.expected for each in measured])
    worst = max(abs(line.slope * each.mean + line.intercept - each.expected) for each in measured)
    residual = worst / (last.expected - first.expected)
    if residual > _SPAN_RESIDUAL:
        raise FitRefused(
            f"the line misses a gas by {residual:.1%} of the span, at most {_SPAN_RESIDUAL:.0%} is accepted"
        )
    gain = Fraction(line.slope).limit_denominator(STEP)
    stage = Linear(gain.numerator, gain.denominator, round(line.intercept * gain.denominator))
    doubt = abs(line.slope) * max(each.uncertainty for each in measured)
    law = f"{line.slope:.6g} {before.unit} (1e{before.scale}) a step, offset {line.intercept:.6g}"
    lines = (f"{law}; ± {doubt:.3g} (k = 2, of this measurement)", f"residual {residual:.1%} of the span")
    fitted = Calibration(before.quantity, before.unit, before.scale, (stage,), before.correction)
    return Fit(fitted, tuple(each.point() for each in measured), round(residual * 1000), lines)


def _expected(measured: Measured) -> int:
    return measured.expected
