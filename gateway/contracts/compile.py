"""From a normal form to closures over a contract's inputs.

A condition returns True, False or None for undecided; a number returns a numerator and a positive denominator,
or None. Nothing is rounded: comparisons multiply crosswise. The closures read each input's `good` value and
its windows, so inputs must be settled at the instant of evaluation. Numbers are not reduced; an expression's
bounds bound their size.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from typing import Final, TypeAlias

from gateway.contracts import expression as ex
from gateway.contracts.expression import (
    AtLeast,
    Constant,
    Missing,
    Node,
    Operation,
    Series,
    Threshold,
    Windowed,
)
from gateway.contracts.inputs import InputState

Truth: TypeAlias = bool | None
Condition: TypeAlias = Callable[[], Truth]
Ratio: TypeAlias = "tuple[int, int]"
Number: TypeAlias = "Callable[[], Ratio | None]"
Inputs: TypeAlias = Mapping[str, InputState]

_COMPARE: Final[Mapping[str, Callable[[int, int], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


def condition(node: Node, inputs: Inputs) -> Condition:
    """Compile a boolean normal form over inputs keyed by alias."""
    match node:
        case Threshold(series, op, value):
            return _threshold(inputs[series.alias], _COMPARE[op], value)
        case Missing(series):
            state = inputs[series.alias]
            return lambda: bool(state.reason)
        case AtLeast(count, operands):
            return _at_least(count, [condition(o, inputs) for o in operands])
        case Operation("!", (operand,)):
            return _negation(condition(operand, inputs))
        case Operation("&&", operands):
            return _junction([condition(o, inputs) for o in operands], deciding=False)
        case Operation("||", operands):
            return _junction([condition(o, inputs) for o in operands], deciding=True)
        case Operation(op, (left, right)) if op in _COMPARE:
            return _comparison(_COMPARE[op], _number(left, inputs), _number(right, inputs))
    raise TypeError(f"{ex.text_of(node)} is no condition")


def _threshold(state: InputState, compare: Callable[[int, int], bool], limit: int) -> Condition:
    def run() -> Truth:
        value = state.good
        return None if value is None else compare(value, limit)

    return run


def _comparison(compare: Callable[[int, int], bool], left: Number, right: Number) -> Condition:
    def run() -> Truth:
        a, b = left(), right()
        return None if a is None or b is None else compare(a[0] * b[1], b[0] * a[1])

    return run


def _negation(operand: Condition) -> Condition:
    def run() -> Truth:
        truth = operand()
        return None if truth is None else not truth

    return run


def _junction(operands: Sequence[Condition], *, deciding: bool) -> Condition:
    def run() -> Truth:
        result: Truth = not deciding
        for operand in operands:
            truth = operand()
            if truth is deciding:
                return deciding
            if truth is None:
                result = None
        return result

    return run


def _at_least(count: int, operands: Sequence[Condition]) -> Condition:
    def run() -> Truth:
        truths = [operand() for operand in operands]
        if truths.count(True) >= count:
            return True
        return None if truths.count(True) + truths.count(None) >= count else False

    return run


def _number(node: Node, inputs: Inputs) -> Number:
    match node:
        case Constant(value):
            fixed = (value.numerator, value.denominator)
            return lambda: fixed
        case Series(alias, _, scale):
            return _scaled(partial(_value, inputs[alias]), scale)
        case Windowed(function, series, span):
            window = inputs[series.alias].window(span)
            return _scaled(window.rate if function == "rate" else window.mean, series.scale)
        case Operation(op, operands):
            return _operation(_OPERATIONS[op], [_number(o, inputs) for o in operands])
    raise TypeError(f"{ex.text_of(node)} is no number")


def _value(state: InputState) -> Ratio | None:
    return None if state.good is None else (state.good, 1)


def _scaled(steps: Number, scale: int) -> Number:
    if scale == 0:
        return steps
    up, down = 10 ** max(scale, 0), 10 ** max(-scale, 0)

    def run() -> Ratio | None:
        ratio = steps()
        return None if ratio is None else (ratio[0] * up, ratio[1] * down)

    return run


def _operation(combine: Callable[[list[Ratio]], Ratio | None], operands: Sequence[Number]) -> Number:
    def run() -> Ratio | None:
        ratios = []
        for operand in operands:
            ratio = operand()
            if ratio is None:
                return None
            ratios.append(ratio)
        return combine(ratios)

    return run


def _divide(a: Ratio, b: Ratio) -> Ratio | None:
    if b[0] == 0:
        return None
    over, under = a[0] * b[1], a[1] * b[0]
    return (over, under) if under > 0 else (-over, -under)


def _lesser(a: Ratio, b: Ratio) -> Ratio:
    return a if a[0] * b[1] <= b[0] * a[1] else b


def _greater(a: Ratio, b: Ratio) -> Ratio:
    return b if _lesser(a, b) is a else a


_OPERATIONS: Final[Mapping[str, Callable[[list[Ratio]], Ratio | None]]] = {
    "neg": lambda r: (-r[0][0], r[0][1]),
    "abs": lambda r: (abs(r[0][0]), r[0][1]),
    "+": lambda r: (r[0][0] * r[1][1] + r[1][0] * r[0][1], r[0][1] * r[1][1]),
    "-": lambda r: (r[0][0] * r[1][1] - r[1][0] * r[0][1], r[0][1] * r[1][1]),
    "*": lambda r: (r[0][0] * r[1][0], r[0][1] * r[1][1]),
    "/": lambda r: _divide(r[0], r[1]),
    "min": lambda r: reduce(_lesser, r),
    "max": lambda r: reduce(_greater, r),
}
