"""MQ elements' part of a calibration: which curve, corrected by what, and what R0 is expected.

Owns the reading of these from the configuration as it stands. It does not own the fit (`firmware_tools.calibrate.fit`).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Final

from firmware_tools.calibrate.bench import Bench, Target, taken
from firmware_tools.calibrate.fit import Fit, Measured, fit_mq
from firmware_tools.errors import FitRefused
from gateway.calibration.application import Divider
from gateway.calibration.tables import MqTable, mq_calibration, mq_table
from gateway.sensors import mq
from gateway.sensors.curves import CURVES

_NOMINAL_OHM: Final = 10_000


def element(target: Target, gas: str) -> tuple[mq.Options, MqTable]:
    """Return an element's options, its curve's gas and correcting series, and the R0 that is expected.

    Args:
        gas: asked for; "" takes what the series has been, or what the element is sold for.

    Raises:
        FitRefused: the series is of no MQ element, or the element knows no such gas.
    """
    options = target.options
    if not isinstance(options, mq.Options):
        raise FitRefused(
            f"{target.series.name} is of the driver {target.sensor.driver}, not of an MQ element"
        )
    own = [curve for curve in CURVES if curve.model == options.model]
    before = target.before
    smelled = (
        gas
        or taken(target.series.calibration, "gas")
        or _gas_of(target)
        or next(c.gas for c in own if c.main)
    )
    if smelled not in {curve.gas for curve in own}:
        raise FitRefused(
            f"no curve of {options.model} for {smelled!r}; it has {', '.join(c.gas for c in own)}"
        )
    correction = before.correction if before else None
    temperature, humidity = (correction.temperature, correction.humidity) if correction else ("", "")
    return options, MqTable("mq", smelled, _r0_of(target, options), temperature, humidity)


def fit(
    bench: Bench, options: mq.Options, table: MqTable, measured: Sequence[Measured], *, is_new: bool
) -> Fit:
    """Fit what was measured, in the climate as it is now."""
    climate = bench.climate(mq_calibration(options, table).correction)
    return fit_mq(options, table, measured, climate, is_new=is_new)


def _gas_of(target: Target) -> str:
    """Return the gas whose curve the series' calibration is of."""
    if target.before is None:
        return ""
    for curve in CURVES:
        if curve.model == target.options.model and mq_table(curve) == target.before.stages[-1]:
            return curve.gas
    return ""


def _r0_of(target: Target, options: mq.Options) -> int:
    """Return the R0 of the series' calibration, or the makers' usual one."""
    match target.before.stages if target.before else ():
        case (Divider() as divider, _):
            return round(options.load_ohm * Fraction(divider.denominator, divider.numerator))
    return _NOMINAL_OHM
