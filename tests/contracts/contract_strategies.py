"""Random expressions in normal form, well typed by construction, for the property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from gateway.contracts import expression as ex
from gateway.contracts.errors import ExpressionError
from gateway.contracts.expression import Node, Series

SPANS = (4, 7, 20)


@st.composite
def numbers(draw: st.DrawFn, series: tuple[Series, ...], depth: int) -> Node:
    """A number of the series' common unit, at most `depth` deep."""
    kind = draw(st.sampled_from(["constant", "series", "window", "sum", "scaled", "function", "neg"]))
    if depth <= 1 or kind in ("constant", "series", "window"):
        leaf = draw(st.sampled_from(series))
        if kind == "constant":
            return ex.constant(draw(st.fractions(-9, 9, max_denominator=6)))
        return ex.windowed("mean", leaf, draw(st.sampled_from(SPANS))) if kind == "window" else leaf
    below = numbers(series, depth - 1)
    if kind == "neg":
        return ex.negative(draw(below))
    if kind == "sum":
        return ex.arithmetic(draw(st.sampled_from("+-")), draw(below), draw(below))
    if kind == "function":
        name = draw(st.sampled_from(["min", "max", "abs"]))
        return ex.function(name, [draw(below)] if name == "abs" else [draw(below), draw(below)])
    factor = ex.constant(draw(st.fractions(-4, 4, max_denominator=5).filter(bool)))
    ratio = draw(st.sampled_from(["factor", "pure", "rate"]))
    if ratio == "pure":  # multiplied by a quotient of equal units; it may divide by zero
        factor = ex.arithmetic("/", draw(st.sampled_from(series)), draw(st.sampled_from(series)))
    elif ratio == "rate":
        rates = [
            ex.windowed("rate", draw(st.sampled_from(series)), draw(st.sampled_from(SPANS))) for _ in "ab"
        ]
        factor = ex.arithmetic("/", *rates)
    return ex.arithmetic(draw(st.sampled_from("*/")), draw(below), factor)


@st.composite
def booleans(draw: st.DrawFn, series: tuple[Series, ...], depth: int = 4) -> Node:
    """A boolean over the series, which share one unit, at most about `depth` deep."""
    kind = draw(
        st.sampled_from(["compare", "threshold", "threshold", "missing", "&&", "||", "not", "atleast"])
    )
    if depth <= 1 or kind in ("compare", "threshold", "missing"):
        return _comparison(draw, series, kind, depth)
    below = [draw(booleans(series, depth - 1)) for _ in range(draw(st.integers(2, 3)))]
    if kind == "not":
        return ex.negation(below[0])
    if kind == "atleast":
        return ex.at_least(draw(st.integers(1, len(below))), below)
    return ex.junction(kind, below)


def _comparison(draw: st.DrawFn, series: tuple[Series, ...], kind: str, depth: int) -> Node:
    leaf = draw(st.sampled_from(series))
    op = draw(st.sampled_from(ex.COMPARISONS))
    if kind == "missing":
        return ex.missing(leaf)
    if kind == "compare":
        try:
            return ex.comparison(op, draw(numbers(series, depth)), draw(numbers(series, depth)))
        except ExpressionError:  # two constants, or a threshold between the steps of a scale
            pass
    return ex.Threshold(leaf, op, draw(st.integers(-3, 3)))
