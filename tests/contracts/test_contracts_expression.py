"""Expressions: grammar, types, exactness, bounds, and the text and the program as inverses."""

from __future__ import annotations

from fractions import Fraction

import pytest
from contract_strategies import booleans
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.contracts import expression as ex
from gateway.contracts.errors import ContractError, DocumentError, ExpressionError
from gateway.contracts.expression import Node, Series, text_of
from gateway.contracts.hysteresis import relax
from gateway.contracts.parse import parse
from gateway.contracts.program import from_program, to_program

INPUTS = {
    "gas": Series("gas", "ppm", 0),
    "fine": Series("fine", "ppm", -3),
    "coarse": Series("coarse", "ppm", 2),
    "t": Series("t", "Cel", -1),
}


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("2200<gas", "gas > 2200"),
        ("(gas) == (1+1)*3", "gas == 6"),
        ("fine >= 0.001", "fine >= 0.001"),
        ("coarse != 500", "coarse != 500"),
        ("rate(gas, 60000ms) >= 500/60", "rate(gas, 1m) >= 25 / 3"),
        ("gas + fine * (10 / 4) - -1 > 0", "gas + fine * 2.5 - -1 > 0"),
        ("gas - (fine - 1) > 0", "gas - (fine - 1) > 0"),
        ("!((gas > 1 || t < 3) && missing(t))", "!((gas > 1 || t < 3) && missing(t))"),
        ("gas > 1 && (fine > 1 && t > 1)", "gas > 1 && (fine > 1 && t > 1)"),
        ("-(-gas) > -0.5 * 3", "--gas > -1.5"),
        ("min(1, 2, 3) * gas > max(0.5, 0.25) / abs(0-4)", "1 * gas > 0.125"),
        ("gas * gas / fine > t / t * gas", "gas * gas / fine > t / t * gas"),
    ],
)
def test_a_text_has_one_normal_form(text: str, normal: str) -> None:
    node = parse(text, INPUTS)
    assert text_of(node) == normal
    assert parse(normal, INPUTS) == node


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gas", "gas is a number; compare it"),
        ("gas > 1 > 0", "not understood at '> 0'"),
        ("gas >", "not understood at '>'|breaks off"),
        ("gas > $", r"not understood at '\$' \(character 7\)"),
        ("gsa > 1", "did you mean 'gas'"),
        ("rat(gas, 1s) > 1", "did you mean 'rate'"),
        ("gas > t", r"gas is in ppm and t in Cel"),
        ("rate(gas, 1s) > gas", r"in ppm/s and gas in ppm"),
        ("gas + t > 1", "needs one unit"),
        ("gas / fine > t", "in a pure number and t in Cel"),
        ("max(gas, t) > 1", "max needs one unit"),
        ("(gas > 1) + 1 > 1", "takes numbers, but gas > 1 is a boolean"),
        ("gas && t > 1", "takes booleans, but gas is a number"),
        ("!gas > 1", "takes booleans"),
        ("(gas > 1) == (t > 1)", "takes numbers"),
        ("1 < 2", "never changes"),
        ("gas / (1 - 1) > 2", "divided by zero"),
        ("gas > 0.5", "whole number"),
        ("t == 1 / 3", "whole number"),
        ("coarse > 150", "steps of 1e2 ppm"),
        ("gas > 9223372036854775808", "63 bits"),
        ("coarse > -922337203685477580900", "63 bits"),
        ("atleast(0, gas > 1, t > 1)", "k from 1"),
        ("atleast(3, gas > 1, t > 1)", "k from 1"),
        ("atleast(1, gas > 1)", "two booleans or more"),
        ("atleast(gas, gas > 1, t > 1)", "a whole number"),
        ("atleast(1.5, gas > 1, t > 1)", "a whole number"),
        ("rate(gas, 0s) > 1", "1ms to 30d"),
        ("rate(gas, 31d) > 1", "over 30d"),
        ("rate(gas + 1, 5s) > 1", "alias of an input"),
        ("rate(gas) > 1", "alias of an input and a span"),
        ("mean(gas, 5) > 1", "alias of an input and a span"),
        ("missing(gas > 1)", "alias of an input"),
        ("missing(gas, t)", "one input"),
        ("abs(gas, gas) > 1", "one number"),
        ("min(gas) > 1", "two numbers or more"),
        ("5s > gas", "stands where"),
        ("", "breaks off"),
        ("true", "no input is called 'true'"),
    ],
)
def test_an_expression_that_means_nothing_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        parse(text, INPUTS)


@pytest.mark.parametrize(
    "text",
    [
        "gas > 1 || " * 3000 + "gas > 1",
        "(" * 2000 + "gas > 1" + ")" * 2000,
        "!" * 4000 + "missing(gas)",
        "-" * 4000 + "gas > 1",
        "gas" + "+1" * 2000 + " > 1",
        "gas > " + "9" * 4000,
        "gas > 0." + "0" * 4000 + "1",
        "gas > 9999999999" + " * 9999999999" * 30,
        "abs(" * 800 + "gas" + ")" * 800 + " > 1",
        "gas > 1 && " * 300 + "gas > 1",
        "\udcff",
        "gas > 1 # " + "é" * 3000,
    ],
    ids=lambda text: text[:12].strip(),
)
def test_an_expression_that_attacks_the_parser_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        parse(text, INPUTS)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60) | st.text("gast()<>=&|!+-*/,.0159sm ", max_size=60))
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        node = parse(text, INPUTS)
    except ExpressionError:
        return
    assert parse(text_of(node), INPUTS) == node


@settings(max_examples=150, deadline=None)
@given(booleans(tuple(INPUTS[alias] for alias in ("gas", "fine", "coarse")), depth=5))
def test_text_and_program_both_give_the_expression_back(node: Node) -> None:
    assert parse(text_of(node), INPUTS) == node
    assert from_program(to_program(node), INPUTS) == node


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.integers(-3, 25) | st.sampled_from(["gas", "t", ""]) | st.binary(max_size=2),
        lambda x: st.lists(x, max_size=5),
        max_leaves=30,
    )
)
def test_any_item_is_a_program_or_is_refused(item: object) -> None:
    try:
        node = from_program(item, INPUTS)  # type: ignore[arg-type]
    except ContractError:
        return
    assert ex.type_of(node) == ex.BOOLEAN


def test_a_program_too_deep_or_too_long_is_refused() -> None:
    with pytest.raises(ExpressionError, match="32 deep"):
        from_program([[1, "gas"], *([[2]] * 200), [0, 1, 1], [17, 0]], INPUTS)
    with pytest.raises(DocumentError, match="1 to 256"):
        from_program([[1, "gas"]] * 257, INPUTS)


@pytest.mark.parametrize("text", ["gas > 0", "gas == 5", "gas != 5", "gas > fine", "missing(gas) || t < 0"])
def test_what_hysteresis_cannot_relax_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError, match="clear_when"):
        relax(parse(text, INPUTS), 20)


def test_hysteresis_relaxes_within_every_logical_operation() -> None:
    node = parse("atleast(1, gas > 10, !(t < -2 && fine <= 5)) || abs(gas - 3) >= 10 || missing(gas)", INPUTS)
    assert text_of(relax(node, 10)) == (
        "atleast(1, gas > 9, !(t < -2.2 && fine <= 4.5)) || abs(gas - 3) >= 9 || missing(gas)"
    )


def test_a_threshold_is_an_integer_of_its_series_scale() -> None:
    assert parse("fine >= 1.25", INPUTS) == ex.Threshold(INPUTS["fine"], ">=", 1250)
    assert ex.comparison("<", INPUTS["t"], ex.constant(Fraction(57, 2))) == ex.Threshold(
        INPUTS["t"], "<", 285
    )
