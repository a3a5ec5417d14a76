"""From an expression's text to its normal form, within bounds on size, nesting and operations.

Owns the grammar's use and the walk over its tree; what the operations mean is expression.py's. The tree that
lark returns may be as deep as the text is long, so the walk counts its depth before it goes down.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from fractions import Fraction
from functools import cache
from importlib.resources import files
from typing import Final

import lark

from gateway.contracts import expression as ex
from gateway.contracts.errors import ExpressionError
from gateway.contracts.expression import MAX_DEPTH, MAX_NODES, Node, Series
from gateway.contracts.spans import parse_span

MAX_SOURCE: Final = 4096


def parse(text: str, inputs: Mapping[str, Series]) -> Node:
    """Return the normal form of a boolean expression over the inputs, which are keyed by alias.

    Raises:
        ExpressionError: syntax, an unknown name, types, units, a number that is not exact, or a bound.
    """
    if len(text.encode("utf-8", "replace")) > MAX_SOURCE:
        raise ExpressionError(f"an expression has at most {MAX_SOURCE} bytes")
    try:
        tree = _parser().parse(text)
    except lark.exceptions.UnexpectedInput as error:
        raise ExpressionError(_syntax_message(text, error)) from None
    node = _Builder(inputs).build(tree, 1)
    if ex.type_of(node) != ex.BOOLEAN:
        raise ExpressionError(f"{ex.text_of(node)} is a number; compare it with something")
    ex.check_bounds(node)
    return node


@cache
def _parser() -> lark.Lark:
    grammar = (files("gateway.contracts") / "expression.lark").read_text(encoding="utf-8")
    return lark.Lark(grammar, parser="lalr", maybe_placeholders=False)


def _syntax_message(text: str, error: lark.exceptions.UnexpectedInput) -> str:
    at = getattr(error, "pos_in_stream", None)
    if at is None or at < 0 or at >= len(text):
        return "the expression breaks off"
    return f"the expression is not understood at {text[at : at + 20]!r} (character {at + 1})"


def _trees(tree: lark.Tree[lark.Token]) -> list[lark.Tree[lark.Token]]:
    return [child for child in tree.children if isinstance(child, lark.Tree)]


class _Builder:
    """One walk over lark's tree, from the leaves up."""

    def __init__(self, inputs: Mapping[str, Series]) -> None:
        self._inputs = inputs
        self._nodes = 0

    def build(self, tree: lark.Tree[lark.Token], depth: int) -> Node:
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            raise ExpressionError(f"an expression has at most {MAX_NODES} operations, {MAX_DEPTH} deep")
        match tree.data:
            case "number":
                return ex.constant(Fraction(str(tree.children[0])))
            case "name":
                return self._series(str(tree.children[0]))
            case "span":
                raise ExpressionError(f"the span {tree.children[0]} stands where a number or boolean belongs")
            case "call":
                return self._call(str(tree.children[0]), _trees(tree), depth)
        operands = [self.build(child, depth + 1) for child in _trees(tree)]
        return self._operation(tree, operands)

    def _operation(self, tree: lark.Tree[lark.Token], operands: list[Node]) -> Node:
        match tree.data:
            case "group":
                return operands[0]
            case "negative":
                return ex.negative(operands[0])
            case "not":
                return ex.negation(operands[0])
            case "compare":
                return ex.comparison(str(tree.children[1]), operands[0], operands[1])
            case "and" | "or":
                return ex.junction("&&" if tree.data == "and" else "||", operands)
        return ex.arithmetic(str(tree.children[1]), operands[0], operands[1])

    def _series(self, alias: str) -> Node:
        if alias in self._inputs:
            return self._inputs[alias]
        near = difflib.get_close_matches(alias, self._inputs, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"the inputs are {', '.join(sorted(self._inputs))}"
        raise ExpressionError(f"no input is called {alias!r}; {hint}")

    def _call(self, name: str, arguments: list[lark.Tree[lark.Token]], depth: int) -> Node:
        if name not in ex.FUNCTIONS:
            near = difflib.get_close_matches(name, ex.FUNCTIONS, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(ex.FUNCTIONS)}"
            raise ExpressionError(f"no function is called {name!r}; {hint}")
        if name in ("rate", "mean"):
            return self._windowed(name, arguments, depth)
        if name == "atleast":
            return self._at_least(arguments, depth)
        operands = [self.build(argument, depth + 1) for argument in arguments]
        if name != "missing":
            return ex.function(name, operands)
        if len(operands) != 1:
            raise ExpressionError("missing(…) takes the alias of one input")
        return ex.missing(operands[0])

    def _windowed(self, name: str, arguments: list[lark.Tree[lark.Token]], depth: int) -> Node:
        if len(arguments) != 2 or arguments[1].data != "span":
            raise ExpressionError(f"{name}(…) takes the alias of an input and a span, as in {name}(x, 60s)")
        try:
            span = parse_span(str(arguments[1].children[0]))
        except ValueError as error:
            raise ExpressionError(str(error)) from error
        return ex.windowed(name, self.build(arguments[0], depth + 1), span)

    def _at_least(self, arguments: list[lark.Tree[lark.Token]], depth: int) -> Node:
        count = arguments[0].children[0] if arguments[0].data == "number" else ""
        if not str(count).isdigit() or len(str(count)) > 3:
            raise ExpressionError(
                "atleast(k, …) begins with how many of the rest must be true, a whole number"
            )
        return ex.at_least(int(str(count)), [self.build(argument, depth + 1) for argument in arguments[1:]])
