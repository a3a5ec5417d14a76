"""Strain sensors' part of a calibration: the zero as installed, and the gain from a shunt.

Owns these two fits and their limits. It does not own measuring. Source: Vishay TN-514, shunt calibration.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Final

from firmware_tools.calibrate.fit import STEP, Climate, Fit, Measured
from firmware_tools.errors import FitRefused
from gateway.calibration.application import Calibration, Linear
from gateway.sensors import strain

_NOISE, _DRIFT, _ZERO = 5_000, 2_000, 3_000_000  # nm/m
_GAIN: Final = (0.9, 1.1)


def fit_zero(before: Calibration, measured: Measured, climate: Climate) -> Fit:
    """Make what a strain sensor gives now its zero; its gain stays.

    Args:
        before: what the series has been: one linear stage.
    """
    stage = _linear(before)
    measured.accept(_NOISE, _DRIFT, "nm/m")
    if abs(measured.mean) > _ZERO:
        raise FitRefused(
            f"without load it gives {measured.mean / 1000:.0f} um/m, at most {_ZERO // 1000} are accepted;"
            " check the gauge's bond and the bridge's wires"
        )
    share = climate.share(before.correction) if before.correction else Fraction(0)
    zero = round(measured.mean)
    offset = round(share * stage.denominator) - zero * stage.numerator
    fitted = Calibration(
        before.quantity,
        before.unit,
        before.scale,
        (Linear(stage.numerator, stage.denominator, offset),),
        before.correction,
    )
    doubt = measured.uncertainty / 1000
    line = f"zero at {zero / 1000:.3f} um/m ± {doubt:.3f} (k = 2, of this measurement)"
    return Fit(fitted, (measured.point(),), 0, (line,))


def shunt_output(gauge_ohm: Fraction, shunt_ohm: Fraction, *, up: bool) -> Fraction:
    """Return what a resistor across one arm does to a bridge's output, over its excitation.

    Args:
        up: it lies across a neighbouring arm, which pretends tension; across the gauge itself, compression.
    """
    stretch = -gauge_ohm / (gauge_ohm + shunt_ohm)
    output = stretch / (4 + 2 * stretch)
    return -output if up else output


def bridge_strain(options: strain.Options, output: Fraction) -> int:
    """Return the strain in nm/m that a bridge's output means to its driver; an arm counts less in a full one."""
    factor = Fraction(options.gauge_factor)
    shares = {"quarter": 4 * output / (1 - 2 * output), "half": 2 * output, "full": output}
    return round(10**9 * shares[options.bridge] / factor)


def fit_shunt(before: Calibration, bare: Measured, shunted: Measured) -> Fit:
    """Find a strain sensor's gain from what a shunt pretends; where its zero lies stays.

    Args:
        shunted: its `expected` is what the shunt pretends.
    """
    stage = _linear(before)
    for each in (bare, shunted):
        each.accept(_NOISE, _DRIFT, "nm/m")
    step = shunted.mean - bare.mean
    if abs(step) < abs(shunted.expected) / 2:
        raise FitRefused(
            f"the shunt changed {step / 1000:.1f} of {shunted.expected / 1000:.1f} um/m: does it lie across one gauge?"
        )
    gain = shunted.expected / step
    if not _GAIN[0] <= gain <= _GAIN[1]:
        raise FitRefused(
            f"the gain would be {gain:.3f}, accepted are {_GAIN[0]:g} to {_GAIN[1]:g}; check gauge_factor, the shunt's"
            " and the gauge's resistance, and which arm it lies across"
        )
    exact = Fraction(gain).limit_denominator(STEP)
    zero = Fraction(-stage.offset, stage.numerator)
    linear = Linear(exact.numerator, exact.denominator, -round(zero * exact.numerator))
    doubt = math.hypot(bare.uncertainty, shunted.uncertainty) / abs(step)
    fitted = Calibration(before.quantity, before.unit, before.scale, (linear,), before.correction)
    line = f"gain {gain:.4f} ± {gain * doubt:.4f} (k = 2, of this measurement)"
    return Fit(fitted, (bare.point(), shunted.point()), 0, (line,))


def _linear(before: Calibration) -> Linear:
    match before.stages:
        case (Linear() as stage,):
            return stage
    raise FitRefused("its calibration is no straight line; configure kind = 'linear' first")
