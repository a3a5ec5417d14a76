"""The canonical form of an expression: its operations in postfix order (SEMANTICS.md, section 11).

`to_program` and `from_program` are inverses on normal forms. What `from_program` is given may be hostile: it
checks every shape and builds nodes only through expression.py, so types and bounds hold as for a text. Whether
a program is in normal form is the document's check, by encoding it again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Final

from gateway.chain.canonical import Item
from gateway.contracts import expression as ex
from gateway.contracts.errors import DocumentError, ExpressionError
from gateway.contracts.expression import (
    AtLeast,
    Constant,
    Missing,
    Node,
    Series,
    Threshold,
    Windowed,
)

_CONSTANT, _SERIES, _NEGATIVE, _MIN, _MAX, _ABS, _RATE, _MEAN = 0, 1, 2, 7, 8, 9, 10, 11
_THRESHOLD, _COMPARISON, _NOT, _AND, _OR, _AT_LEAST, _MISSING = 16, 17, 18, 19, 20, 21, 22
_ARITHMETIC: Final = {"+": 3, "-": 4, "*": 5, "/": 6}
_VARIADIC: Final = {"min": _MIN, "max": _MAX, "&&": _AND, "||": _OR}
_UNARY: Final = {"neg": _NEGATIVE, "abs": _ABS, "!": _NOT}
_INFIX: Final = {code: op for op, code in _ARITHMETIC.items()}


def to_program(node: Node) -> list[Item]:
    """Return a normal form's operations in postfix order."""
    program = [operation for child in ex.children(node) for operation in to_program(child)]
    program.append(_operation(node))
    return program


def _operation(node: Node) -> list[Item]:
    match node:
        case Constant(value):
            return [_CONSTANT, value.numerator, value.denominator]
        case Series():
            return [_SERIES, node.alias]
        case Windowed():
            return [_RATE if node.function == "rate" else _MEAN, node.series.alias, node.span]
        case Missing(series):
            return [_MISSING, series.alias]
        case Threshold(series, op, value):
            return [_THRESHOLD, series.alias, ex.COMPARISONS.index(op), value]
        case AtLeast(count, operands):
            return [_AT_LEAST, count, len(operands)]
    if node.op in _UNARY:
        return [_UNARY[node.op]]
    if node.op in _VARIADIC:
        return [_VARIADIC[node.op], len(node.operands)]
    if node.op in _ARITHMETIC:
        return [_ARITHMETIC[node.op]]
    return [_COMPARISON, ex.COMPARISONS.index(node.op)]


def from_program(item: Item, inputs: Mapping[str, Series]) -> Node:
    """Return the boolean expression that a program computes over the inputs, which are keyed by alias.

    Raises:
        DocumentError: the shape is wrong, or the expression is refused (ExpressionError).
    """
    if not isinstance(item, list | tuple) or not 1 <= len(item) <= ex.MAX_NODES:
        raise DocumentError(f"an expression is a list of 1 to {ex.MAX_NODES} operations")
    stack: list[Node] = []
    for operation in item:
        _run(operation, stack, inputs)
        # At each step, so that no walk over a node can go deeper than the bound.
        ex.check_bounds(stack[-1])
    if len(stack) != 1 or ex.type_of(stack[0]) != ex.BOOLEAN:
        raise DocumentError("an expression's operations must leave one boolean")
    return stack[0]


def _run(operation: Item, stack: list[Node], inputs: Mapping[str, Series]) -> None:
    if not isinstance(operation, list | tuple) or not operation or not isinstance(operation[0], int):
        raise DocumentError("an operation is a list that starts with its code")
    code, arguments = operation[0], operation[1:]
    reader = _READERS.get(code)
    if reader is None:
        raise DocumentError(f"no operation has the code {code}")
    shapes, build = reader
    if len(arguments) != len(shapes) or any(type(a) is not s for a, s in zip(arguments, shapes, strict=True)):
        raise DocumentError(f"operation {code} takes {len(shapes)} arguments of its own types")
    stack.append(build(_Step(code, arguments, stack, inputs)))


class _Step:
    """What an operation's reader may use: its arguments, the stack, and the inputs."""

    def __init__(
        self, code: int, arguments: Sequence[Item], stack: list[Node], inputs: Mapping[str, Series]
    ) -> None:
        self.code = code
        self._arguments = arguments
        self._stack = stack
        self._inputs = inputs

    def integer(self, index: int) -> int:
        value = self._arguments[index]
        assert isinstance(value, int)
        return value

    def series(self) -> Series:
        alias = self._arguments[0]
        if not isinstance(alias, str) or alias not in self._inputs:
            raise ExpressionError(f"no input is called {alias!r}")
        return self._inputs[alias]

    def comparison(self, index: int) -> str:
        op = self.integer(index)
        if not 0 <= op < len(ex.COMPARISONS):
            raise DocumentError(f"no comparison has the code {op}")
        return ex.COMPARISONS[op]

    def fraction(self) -> Fraction:
        if self.integer(1) < 1:
            raise DocumentError("a constant's denominator is at least 1")
        return Fraction(self.integer(0), self.integer(1))

    def pop(self, count: int) -> list[Node]:
        if not 1 <= count <= len(self._stack):
            raise DocumentError(
                f"operation {self.code} wants {count} operands, and there are {len(self._stack)}"
            )
        operands = self._stack[-count:]
        del self._stack[-count:]
        return operands


# Code -> (types of the arguments, what to do).
_READERS: Final[Mapping[int, tuple[tuple[type, ...], Callable[[_Step], Node]]]] = {
    _CONSTANT: ((int, int), lambda m: ex.constant(m.fraction())),
    _SERIES: ((str,), lambda m: m.series()),
    _NEGATIVE: ((), lambda m: ex.negative(*m.pop(1))),
    **{code: ((), lambda m: ex.arithmetic(_INFIX[m.code], *m.pop(2))) for code in _INFIX},
    _MIN: ((int,), lambda m: ex.function("min", m.pop(m.integer(0)))),
    _MAX: ((int,), lambda m: ex.function("max", m.pop(m.integer(0)))),
    _ABS: ((), lambda m: ex.function("abs", m.pop(1))),
    _RATE: ((str, int), lambda m: ex.windowed("rate", m.series(), m.integer(1))),
    _MEAN: ((str, int), lambda m: ex.windowed("mean", m.series(), m.integer(1))),
    _THRESHOLD: ((str, int, int), lambda m: Threshold(m.series(), m.comparison(1), m.integer(2))),
    _COMPARISON: ((int,), lambda m: ex.comparison(m.comparison(0), *m.pop(2))),
    _NOT: ((), lambda m: ex.negation(*m.pop(1))),
    _AND: ((int,), lambda m: ex.junction("&&", m.pop(m.integer(0)))),
    _OR: ((int,), lambda m: ex.junction("||", m.pop(m.integer(0)))),
    _AT_LEAST: ((int, int), lambda m: ex.at_least(m.integer(0), m.pop(m.integer(1)))),
    _MISSING: ((str,), lambda m: ex.missing(m.series())),
}
