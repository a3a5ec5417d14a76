"""Relaxed conditions: the hysteresis of SEMANTICS.md, section 5.

What it returns is evaluated and never signed, so its thresholds need not be whole numbers of a series' scale.
"""

from __future__ import annotations

from fractions import Fraction

from gateway.contracts import expression as ex
from gateway.contracts.errors import ExpressionError
from gateway.contracts.expression import AtLeast, Constant, Node, Operation, Threshold


def relax(when: Node, percent: int, *, positive: bool = True) -> Node:
    """Return `when` with every constant of a comparison moved so that it stays true longer.

    Args:
        when: a boolean normal form.
        percent: how far each constant moves, in percent of its magnitude, 1 to 99.
        positive: whether the whole is true when `when` is (it is not under an odd number of `!`).

    Raises:
        ExpressionError: a comparison cannot be relaxed; the contract needs `clear_when`.
    """
    match when:
        case Threshold(series, op, value):
            return _moved(series, op, value * Fraction(10) ** series.scale, percent, positive)
        case Operation("!", (operand,)):
            return Operation("!", (relax(operand, percent, positive=not positive),))
        case Operation(op, (left, right)) if op in ex.COMPARISONS:
            if not isinstance(right, Constant):
                raise _refusal(when)
            return _moved(left, op, right.value, percent, positive)
        case Operation(op, operands):
            return Operation(op, tuple(relax(o, percent, positive=positive) for o in operands))
        case AtLeast(count, operands):
            return AtLeast(count, tuple(relax(o, percent, positive=positive) for o in operands))
    return when


def _moved(left: Node, op: str, limit: Fraction, percent: int, positive: bool) -> Node:
    if op in ("==", "!=") or limit == 0:
        raise _refusal(Operation(op, (left, Constant(limit))))
    shift = abs(limit) * percent / 100
    down = (op in (">", ">=")) == positive
    return Operation(op, (left, Constant(limit - shift if down else limit + shift)))


def _refusal(node: Node) -> ExpressionError:
    return ExpressionError(f"hysteresis cannot relax {ex.text_of(node)}; write clear_when instead")
