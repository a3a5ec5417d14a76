"""Published curves of MQ gas sensors: ppm = a * (Rs/R0) ** b + offset.

Source: the tables of miguel5612/MQSensorsLib, fitted to the makers' data sheets. They describe the type,
not a specimen: R0 is measured for each, and every element drifts and answers to other gases too.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

__all__ = ["CURVES", "Curve", "find_curve"]


@dataclass(frozen=True, slots=True)
class Curve:
    """One element's answer to one gas.

    Attributes:
        a, b: of the curve.
        clean_air: Rs/R0 in clean air.
        main: the gas it is sold for.
        offset: ppm that clean air holds anyway.
    """

    model: str
    gas: str
    a: Decimal
    b: Decimal
    clean_air: Decimal
    main: bool = False
    offset: int = 0


def _curve(
    model: str, gas: str, a: str, b: str, clean_air: str, main: bool = False, offset: int = 0
) -> Curve:
    return Curve(model, gas, Decimal(a), Decimal(b), Decimal(clean_air), main, offset)


CURVES: Final = (
    _curve("mq2", "lpg", "574.25", "-2.222", "9.83", main=True),
    _curve("mq2", "h2", "987.99", "-2.162", "9.83"),
    _curve("mq2", "co", "36974", "-3.109", "9.83"),
    _curve("mq2", "propane", "658.71", "-2.168", "9.83"),
    _curve("mq4", "ch4", "1012.7", "-2.786", "4.4", main=True),
    _curve("mq4", "lpg", "3811.9", "-3.113", "4.4"),
    _curve("mq5", "lpg", "80.897", "-2.431", "6.5", main=True),
    _curve("mq5", "ch4", "177.65", "-2.56", "6.5"),
    _curve("mq7", "co", "99.042", "-1.518", "27.5", main=True),
    _curve("mq135", "co", "605.18", "-3.937", "3.6", main=True),
    _curve("mq135", "co2", "110.47", "-2.862", "3.6", offset=400),
    _curve("mq135", "alcohol", "77.255", "-3.18", "3.6"),
)


def find_curve(model: str, gas: str) -> Curve:
    """Return the curve of an element for a gas.

    Raises:
        ValueError: none is published; the message lists the element's gases.
    """
    for curve in CURVES:
        if (curve.model, curve.gas) == (model, gas):
            return curve
    known = [c.gas for c in CURVES if c.model == model] or sorted({c.model for c in CURVES})
    raise ValueError(f"no curve of {model!r} for {gas!r}; known are {', '.join(known)}")
