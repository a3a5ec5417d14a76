"""Expressions in normal form (SEMANTICS.md, section 3): their nodes, types and text.

The functions in lower case are the only way to build a node: they check types, fold constants and turn
thresholds into integers of their series' scale. The text parser and the reader of canonical bytes both use
them. Evaluation lives in compile.py.

Invariants: a node is well typed; a constant is never an operand of an operation of constants alone, nor the
left side of a comparison; a comparison of a bare series with a constant is a `Threshold`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal, TypeAlias

from gateway.chain.canonical import INT_MAX, INT_MIN
from gateway.contracts.errors import ExpressionError
from gateway.contracts.spans import MAX_SPAN, format_span

MAX_NODES: Final = 256
MAX_DEPTH: Final = 32
FUNCTIONS: Final = ("rate", "mean", "missing", "abs", "min", "max", "atleast")

Unit: TypeAlias = "tuple[tuple[str, int], ...]"  # (unit's text, power), sorted; () is a pure number
CONSTANT: Final = "constant"  # the type of what is built of numbers alone: it fits every unit
BOOLEAN: Final = "boolean"
Type: TypeAlias = "Unit | Literal['constant', 'boolean']"

_MIRROR: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}


@dataclass(frozen=True, slots=True)
class Constant:
    value: Fraction


@dataclass(frozen=True, slots=True)
class Series:
    """An input by its alias; a value v of it means v · 10^scale `unit`."""

    alias: str
    unit: str
    scale: int


@dataclass(frozen=True, slots=True)
class Windowed:
    """`rate` or `mean` of a series over a span in milliseconds."""

    function: str
    series: Series
    span: int


@dataclass(frozen=True, slots=True)
class Missing:
    series: Series


@dataclass(frozen=True, slots=True)
class Threshold:
    """A bare series compared with an integer of its own scale."""

    series: Series
    op: str
    value: int


@dataclass(frozen=True, slots=True)
class Operation:
    """Any other operation: `op` is `neg`, `!`, an infix operator, `abs`, `min`, `max`, `&&` or `||`."""

    op: str
    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class AtLeast:
    count: int
    operands: tuple[Node, ...]


Node: TypeAlias = "Constant | Series | Windowed | Missing | Threshold | Operation | AtLeast"

ARITHMETIC: Final = ("+", "-", "*", "/")
COMPARISONS: Final = ("<", "<=", ">", ">=", "==", "!=")


def type_of(node: Node) -> Type:
    """Return a node's type: boolean, constant, or a unit."""
    match node:
        case Constant():
            return CONSTANT
        case Series():
            return _normal({node.unit: 1})
        case Windowed():
            return _normal(
                {node.series.unit: 1, "s": -1} if node.function == "rate" else {node.series.unit: 1}
            )
        case Operation(op, operands) if op in ("neg", "abs", "min", "max", *ARITHMETIC):
            return _arithmetic_type(op, [type_of(o) for o in operands])
    return BOOLEAN


def _normal(powers: dict[str, int]) -> Unit:
    return tuple(sorted((unit, power) for unit, power in powers.items() if power))


def _arithmetic_type(op: str, types: Sequence[Type]) -> Type:
    if op not in ("*", "/"):
        return next((t for t in types if t != CONSTANT), CONSTANT)
    if all(t == CONSTANT for t in types):
        return CONSTANT
    powers: dict[str, int] = {}
    for sign, kind in zip((1, 1 if op == "*" else -1), types, strict=True):
        for unit, power in () if isinstance(kind, str) else kind:
            powers[unit] = powers.get(unit, 0) + sign * power
    return _normal(powers)


def describe(kind: Type) -> str:
    """Return a type in words, for messages: `ppm`, `ppm/s`, `a pure number`, `a boolean`."""
    if isinstance(kind, str):
        return f"a {kind}"
    over, under = ([f"{u}{'' if p * s == 1 else f'^{p * s}'}" for u, p in kind if p * s > 0] for s in (1, -1))
    if not over and not under:
        return "a pure number"
    return ("·".join(over) or "1") + "".join(f"/{u}" for u in under)


def constant(value: Fraction) -> Node:
    """A number. Raises ExpressionError when it, or its denominator, is over 63 bits."""
    if max(abs(value.numerator), value.denominator) > INT_MAX:
        raise ExpressionError(
            "a constant is too large or too fine: numerator and denominator must fit 63 bits"
        )
    return Constant(value)


def windowed(function: str, series: Node, span: int) -> Node:
    """`rate` or `mean`. Raises ExpressionError unless it is of a bare series over 1 ms to 30 d."""
    if not isinstance(series, Series):
        raise ExpressionError(
            f"{function}(…) takes the alias of an input and a span, as in {function}(x, 60s)"
        )
    if not 1 <= span <= MAX_SPAN:
        raise ExpressionError(f"the span of {function}(…) must be 1ms to 30d")
    return Windowed(function, series, span)


def missing(series: Node) -> Node:
    if not isinstance(series, Series):
        raise ExpressionError("missing(…) takes the alias of an input")
    return Missing(series)


def negative(operand: Node) -> Node:
    _numbers("-", (operand,))
    return constant(-operand.value) if isinstance(operand, Constant) else Operation("neg", (operand,))


def arithmetic(op: str, left: Node, right: Node) -> Node:
    """`+ - * /` of two numbers, folded when both are constant."""
    _numbers(op, (left, right))
    if op == "/" and right == Constant(Fraction(0)):
        raise ExpressionError(f"{text_of(left)} is divided by zero")
    if op in "+-":
        _one_unit(op, (left, right))
    if not (isinstance(left, Constant) and isinstance(right, Constant)):
        return Operation(op, (left, right))
    a, b = left.value, right.value
    return constant({"+": a + b, "-": a - b, "*": a * b}[op] if op != "/" else a / b)


def function(name: str, operands: Sequence[Node]) -> Node:
    """`abs` of one number, `min` and `max` of two or more of one unit, folded when all are constant."""
    if len(operands) < 2 if name != "abs" else len(operands) != 1:
        raise ExpressionError(f"{name}(…) takes {'one number' if name == 'abs' else 'two numbers or more'}")
    _numbers(name, operands)
    _one_unit(name, operands)
    values = [o.value for o in operands if isinstance(o, Constant)]
    if len(values) == len(operands):
        return constant(abs(values[0]) if name == "abs" else min(values) if name == "min" else max(values))
    return Operation(name, tuple(operands))


def comparison(op: str, left: Node, right: Node) -> Node:
    """A comparison; with a bare series and a constant it becomes a threshold, which must be exact."""
    _numbers(op, (left, right))
    _one_unit(op, (left, right))
    if isinstance(left, Constant):
        if isinstance(right, Constant):
            raise ExpressionError(
                f"{text_of(left)} {op} {text_of(right)} compares constants: it never changes"
            )
        return comparison(_MIRROR[op], right, left)
    if isinstance(left, Series) and isinstance(right, Constant):
        scaled = right.value / Fraction(10) ** left.scale
        if scaled.denominator != 1 or not INT_MIN <= scaled.numerator <= INT_MAX:
            raise ExpressionError(
                f"{left.alias} {op} {text_of(right)}: {left.alias} counts in steps of 1e{left.scale} {left.unit}, and "
                f"the threshold is not a whole number of them"
            )
        return Threshold(left, op, scaled.numerator)
    return Operation(op, (left, right))


def negation(operand: Node) -> Node:
    _booleans("!", (operand,))
    return Operation("!", (operand,))


def junction(op: str, operands: Sequence[Node]) -> Node:
    """`&&` or `||` of two booleans or more."""
    _booleans(op, operands)
    if len(operands) < 2:
        raise ExpressionError(f"{op} takes two booleans or more")
    return Operation(op, tuple(operands))


def at_least(count: int, operands: Sequence[Node]) -> Node:
    _booleans("atleast", operands)
    if len(operands) < 2 or not 1 <= count <= len(operands):
        raise ExpressionError("atleast(k, …) takes two booleans or more, and a k from 1 to their number")
    return AtLeast(count, tuple(operands))


def _numbers(op: str, operands: Sequence[Node]) -> None:
    for operand in operands:
        if type_of(operand) == BOOLEAN:
            raise ExpressionError(f"{op} takes numbers, but {text_of(operand)} is a boolean")


def _booleans(op: str, operands: Sequence[Node]) -> None:
    for operand in operands:
        if type_of(operand) != BOOLEAN:
            raise ExpressionError(f"{op} takes booleans, but {text_of(operand)} is a number")


def _one_unit(op: str, operands: Sequence[Node]) -> None:
    united = [(o, kind) for o in operands if (kind := type_of(o)) != CONSTANT]
    for operand, kind in united[1:]:
        if kind != united[0][1]:
            raise ExpressionError(
                f"{op} needs one unit, but {text_of(united[0][0])} is in {describe(united[0][1])} and "
                f"{text_of(operand)} in {describe(kind)}"
            )


def children(node: Node) -> tuple[Node, ...]:
    """Return what a node is an operation of."""
    return node.operands if isinstance(node, Operation | AtLeast) else ()


def alternatives(node: Node) -> Iterator[Node]:
    """Yield what makes a condition true each by itself: the operands of its outermost `||`, or itself."""
    if isinstance(node, Operation) and node.op == "||":
        for child in node.operands:
            yield from alternatives(child)
    else:
        yield node


def walk(node: Node) -> Iterator[Node]:
    """Yield a node and all below it."""
    yield node
    for child in children(node):
        yield from walk(child)


def check_bounds(node: Node) -> None:
    """Raise ExpressionError for a normal form with too many nodes or too deep."""
    level: tuple[Node, ...] = (node,)
    depth = count = 0
    while level:
        depth, count = depth + 1, count + len(level)
        if depth > MAX_DEPTH or count > MAX_NODES:
            raise ExpressionError(f"an expression has at most {MAX_NODES} operations, {MAX_DEPTH} deep")
        level = tuple(child for part in level for child in children(part))


_PRECEDENCE: Final = {"||": 1, "&&": 2, **dict.fromkeys(COMPARISONS, 3), "+": 4, "-": 4, "*": 5, "/": 5}
_PREFIX: Final = 6
_ATOM: Final = 7


def text_of(node: Node) -> str:
    """Return the text whose normal form the node is."""
    return _text(node)[0]


def _text(node: Node) -> tuple[str, int]:
    """Return the text and how tightly it binds."""
    match node:
        case Constant(value):
            return _decimal(value)
        case Series():
            return node.alias, _ATOM
        case Windowed():
            return f"{node.function}({node.series.alias}, {format_span(node.span)})", _ATOM
        case Missing(series):
            return f"missing({series.alias})", _ATOM
        case Threshold(series, op, value):
            return f"{series.alias} {op} {_decimal(value * Fraction(10) ** series.scale)[0]}", 3
        case AtLeast(count, operands):
            return f"atleast({count}, {', '.join(map(text_of, operands))})", _ATOM
    return _operation_text(node.op, node.operands)


def _operation_text(op: str, operands: tuple[Node, ...]) -> tuple[str, int]:
    if op in ("abs", "min", "max"):
        return f"{op}({', '.join(map(text_of, operands))})", _ATOM
    if len(operands) == 1:
        return ("-" if op == "neg" else op) + _within(operands[0], _PREFIX), _PREFIX
    own = _PRECEDENCE[op]
    first = own if op in ARITHMETIC else own + 1  # arithmetic alone groups from the left
    parts = [_within(operands[0], first), *(_within(o, own + 1) for o in operands[1:])]
    return f" {op} ".join(parts), own


def _within(node: Node, least: int) -> str:
    text, binding = _text(node)
    return text if binding >= least else f"({text})"


def _decimal(value: Fraction) -> tuple[str, int]:
    """Return a fraction's text: a decimal when it has one, otherwise a quotient."""
    rest, places = value.denominator, 0
    for prime in (2, 5):
        power = 0
        while rest % prime == 0:
            rest, power = rest // prime, power + 1
        places = max(places, power)
    sign = "-" if value < 0 else ""
    if rest != 1:
        return f"{value.numerator} / {value.denominator}", _PRECEDENCE["/"]
    digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
    point = len(digits) - places
    return sign + digits[:point] + ("." + digits[point:] if places else ""), _PREFIX if sign else _ATOM
