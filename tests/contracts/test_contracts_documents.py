"""Documents from TOML: what they mean, what is refused, what is warned of, and the templates."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.contracts.document import Contract, SeriesInfo
from gateway.contracts.errors import ContractError, DocumentError, ExpressionError, TemplateError
from gateway.contracts.explain import WARNING, explain, lint
from gateway.contracts.library import template, template_names
from gateway.contracts.source import read_contract
from gateway.contracts.spans import MAX_SPAN, format_span, parse_span

GOOD = """
id = "kitchen.gas"
version = 1
title = "Gas"
severity = "critical"
kind = "rapid"
warm_up = "3m"

[inputs.ch4]
series = "kitchen.ch4"
unit = "ppm"
scale = 0
max_age = "10s"

[alarm]
when = "ch4 >= 8800"
for = "3s"
latch = true

[actions]
alarm = ["valve", "siren"]
"""


def test_a_contract_reads_decodes_and_hashes_alike_whatever_its_spelling() -> None:
    contract = read_contract(GOOD, "gas.toml")
    assert contract.actions.alarm == ("siren", "valve")
    assert contract.warm_up == 180_000
    spelled = GOOD.replace("ch4 >= 8800", "( 8000 + 800.0 ) <= ch4").replace('"3m"', '"180s"')
    assert read_contract(spelled, "other.toml").hash == contract.hash
    assert read_contract(GOOD.replace("8800", "8801"), "gas.toml").hash != contract.hash
    assert Contract.decode(contract.encode()) == contract


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("version = 1", "version = 0", "gas.toml: version: 0"),
        ("version = 1", "version = 1.5", "version: must be an integer"),
        ("version = 1", "", "version: is missing"),
        ("version = 1", "verison = 1", "did you mean 'version'"),
        ("id = ", "id == ", "not valid TOML"),
        ('"kitchen.gas"', '"Kitchen gas"', "id: 'Kitchen gas' is not lower-case"),
        ('"Gas"', '""', "title: "),
        ('"Gas"', '"a\\nb"', "title: .* one line"),
        ('"critical"', '"grave"', "severity: must be one of"),
        ('"rapid"', '"slow"', "kind: must be one of"),
        ('"3m"', '"3 min"', "warm_up: '3 min' is not a span"),
        ('"3m"', '"31d"', "warm_up: .* over 30d"),
        ("[inputs.ch4]", "[inputs.rate]", "inputs.rate: an alias"),
        ("[inputs.ch4]", "[inputs.CH4]", "inputs.CH4: an alias"),
        ('"kitchen.ch4"', '"Kitchen"', "inputs.ch4.series"),
        ('"ppm"', f'"{"p" * 25}"', "inputs.ch4.unit"),
        ("scale = 0", "scale = 19", "inputs.ch4.scale"),
        ('"10s"', '"0s"', "inputs.ch4.max_age"),
        ("ch4 >= 8800", "ch5 >= 8800", "gas.toml: alarm: no input is called 'ch5'; did you mean 'ch4'"),
        ("ch4 >= 8800", "ch4 >= 0.5", "alarm: ch4 >= 0.5: ch4 counts in steps of 1e0 ppm"),
        ("latch = true", "hysteresis = 100", "hysteresis: 100 is not within"),
        ("latch = true", 'hysteresis = 5\nclear_when = "ch4 < 1"', "not both"),
        ("latch = true", "hysteresis = 5\nfor_ = 1", "unknown key"),
        ('when = "ch4 >= 8800"', 'when = "ch4 > 0"\nhysteresis = 20', "write clear_when"),
        ('["valve", "siren"]', '["siren", "siren"]', "none twice"),
        ('["valve", "siren"]', '["Siren"]', "'Siren' is not"),
        (
            "[actions]",
            '[actions]\nfault = ["x"]\n[pre_alarm]\nwhen = "ch4 > 1"\nlatch = true\n[x]',
            "unknown key",
        ),
        ("[actions]", '[pre_alarm]\nwhen = "ch4 > 1"\nlatch = true\n[actions]', "only an alarm latches"),
    ],
)
def test_a_document_that_is_wrong_is_refused_with_the_place(old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(DocumentError, match=message):
        read_contract(GOOD.replace(old, new), "gas.toml")


def test_hold_on_fault_drives_no_output() -> None:
    text = GOOD.replace('warm_up = "3m"', 'on_fault = "hold"') + 'fault = ["buzzer"]\n'
    with pytest.raises(DocumentError, match='on_fault = "hold" drives no output'):
        read_contract(text, "gas.toml")


def test_a_contract_that_would_not_fit_a_message_is_refused() -> None:
    when = " + ".join(["rate(ch4, 123456ms)"] * 20)
    clauses = " && ".join(f"{when} > {n}" for n in range(3))
    levels = f'[pre_alarm]\nwhen = "{clauses}"\nclear_when = "{clauses}"\n'
    contract = read_contract(GOOD + levels, "gas.toml")
    assert len(contract.encode()) <= 16 * 1024
    with pytest.raises(ExpressionError, match="at most 256 operations"):
        read_contract(GOOD.replace("ch4 >= 8800", f"{clauses} && {clauses} && {when} > 9"), "gas.toml")


def test_an_attack_of_30_kilobytes_is_refused() -> None:
    for attack in ("ch4 > 1 || " * 3000 + "ch4 > 1", "(" * 15_000 + ")" * 15_000, "9" * 30_000):
        with pytest.raises(ExpressionError, match="4096 bytes"):
            read_contract(GOOD.replace("ch4 >= 8800", attack), "gas.toml")
    with pytest.raises(DocumentError):
        Contract.decode(b"\x81" * 30_000)
    with pytest.raises(DocumentError):
        Contract.decode(b"\x81" * 15_000)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 400), st.integers(0, 7), st.binary(max_size=3))
def test_a_changed_byte_is_refused_or_is_another_contract(at: int, bit: int, tail: bytes) -> None:
    contract = read_contract(GOOD, "gas.toml")
    data = bytearray(contract.encode())
    at %= len(data)
    data[at] ^= 1 << bit
    try:
        other = Contract.decode(bytes(data) + tail)
    except DocumentError:
        return
    assert other.encode() == bytes(data)
    assert tail == b""
    assert other.hash != contract.hash


@given(st.integers(0, MAX_SPAN))
def test_a_span_reads_as_it_is_written(span: int) -> None:
    assert parse_span(format_span(span)) == span


@pytest.mark.parametrize(
    "text", ["", "5", "s", "-5s", "5 s", "5s ", "1h30m", "٣s", "1e3s", "999999999999999s"]
)
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="span"):
        parse_span(text)


FILLED: dict[str, dict[str, Any]] = {
    "building-alarm-several": {"series": ["a.alarm", "b.alarm", "c.alarm"]},
    "strain-black": {"second": "b.strain"},
    "sensor-fault": {"unit": "ppm", "scale": 0},
}


@pytest.mark.parametrize("name", template_names())
def test_every_template_is_a_contract_that_warns_it_replaces_no_certified_equipment(name: str) -> None:
    text = template(name, **{"series": "a.series", **FILLED.get(name, {})})
    assert text.startswith(f"# {WARNING}\n")
    contract = read_contract(text, name)
    assert contract.id == name
    assert WARNING in explain(contract)
    assert lint(contract, {}) == ()
    assert Contract.decode(contract.encode()) == contract


def test_a_template_repeats_a_piece_for_each_of_a_list() -> None:
    flats = [f"flat-{i}.alarm" for i in range(1, 4)]
    several = read_contract(template("building-alarm-several", series=flats, count=3), "several")
    assert [each.series for each in several.inputs] == flats
    assert "atleast(3, n1 >= 2, n2 >= 2, n3 >= 2)" in explain(several)
    anyone = read_contract(template("building-alarm", series=flats), "any")
    assert "n1 >= 2 || n2 >= 2 || n3 >= 2" in explain(anyone)
    assert read_contract(template("neighbour-silent", series=flats[0]), "one").inputs[0].series == flats[0]
    with pytest.raises(TemplateError, match="no list"):
        template("gas-ch4", series=flats)
    with pytest.raises(TemplateError, match="plain characters"):
        template("building-alarm", series=[])


def test_a_template_takes_names_and_limits() -> None:
    text = template("strain-red", series="bridge.west", id="bridge.red", limit=250, hold="5s")
    contract = read_contract(text, "bridge")
    assert contract.id == "bridge.red"
    assert "alarm when abs(mean(strain, 1m)) >= 200 for 5s" in explain(contract)


@pytest.mark.parametrize(
    ("name", "names", "message"),
    [
        ("gas-ch5", {}, "did you mean 'gas-ch4'"),
        ("../gas-ch4", {}, "no template"),
        ("gas-ch4", {}, "needs series"),
        ("gas-ch4", {"series": "a", "sclae": 1}, "did you mean 'scale'"),
        ("gas-ch4", {"series": 'a"\nscale = 5'}, "plain characters"),
    ],
)
def test_a_template_filled_wrongly_is_refused(name: str, names: dict[str, str | int], message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        template(name, **names)


def test_explain_says_what_a_contract_does() -> None:
    lines = explain(
        read_contract(template("gas-ch4", series="kitchen.ch4", on_fault="trip"), "gas")
    ).splitlines()
    assert lines[2:8] == [
        "reads gas: kitchen.ch4, ppm in steps of 1e0, missing when older than 10s",
        "pre-alarm when gas >= 4400 for 10s; clear when !(gas >= 3520) for 1m",
        "alarm when gas >= 8800 for 3s; clear when !(gas >= 7040) for 1m; latches until reset",
        "for 3m after a sensor's power-up its samples decide nothing",
        "a fault drives the alarm's outputs too",
        "alarm drives siren, valve",
    ]


@pytest.mark.parametrize(
    ("old", "new", "warning"),
    [
        ("latch = true", 'clear_for = "1s"', "its alarm does not latch"),
        ('alarm = ["valve", "siren"]', "", "drives no output"),
        (
            "latch = true",
            "latch = true\n[inputs.t]\nseries = 't'\nunit = 'Cel'\nscale = 0\nmax_age = '1s'",
            "input t is read",
        ),
        ('warm_up = "3m"', 'on_fault = "hold"', "stays silent"),
        ("latch = true", "latch = true", "makes it flap"),
    ],
)
def test_lint_names_what_deserves_a_second_look(old: str, new: str, warning: str) -> None:
    warnings = lint(read_contract(GOOD.replace(old, new), "gas.toml"), {"kitchen.ch4": SeriesInfo("ppm", 0)})
    assert any(warning in text for text in warnings), warnings


def test_lint_warns_that_a_transition_discloses_what_the_contract_reads() -> None:
    contract = read_contract(GOOD, "gas.toml")
    for klass, word in ((1, "internal"), (2, "restricted")):
        warnings = lint(contract, {"kitchen.ch4": SeriesInfo("ppm", 0, klass)})
        assert any("disclosed at a transition" in w and word in w for w in warnings)
    assert not any("disclosed" in w for w in lint(contract, {"kitchen.ch4": SeriesInfo("ppm", 0, 0)}))


def test_every_error_is_a_contract_error_and_the_builtin_one_expects() -> None:
    assert issubclass(ExpressionError, ContractError)
    assert issubclass(DocumentError, ValueError)
    assert issubclass(TemplateError, ValueError)
