"""The strict table reader: a document is understood whole, or refused with the place named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contracts.tables import TableError, loads_toml, read_table


@dataclass(frozen=True, slots=True)
class Sensor:
    name: str
    rate: Decimal
    kind: Literal["gas", "smoke", 3] = "gas"
    for_: int | None = None
    options: Mapping[str, int | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.rate <= 0:
            raise ValueError("rate must be positive")


@dataclass(frozen=True, slots=True)
class Site:
    title: str = "home"
    armed: bool = True
    noise: float = 0.0
    sensors: tuple[Sensor, ...] = ()
    corner: tuple[int, int] = (0, 0)
    anything: object = None


def read(text: str) -> Site:
    return read_table(Site, loads_toml(text, "site.toml"), where="site.toml")


def refusal(text: str) -> str:
    with pytest.raises(TableError) as caught:
        read(text)
    return str(caught.value)


def test_a_table_becomes_its_dataclass_with_decimals_kept_exact() -> None:
    site = read(
        'armed = false\nnoise = 2\ncorner = [1, -2]\nanything = [{x = 1}]\n[[sensors]]\nname = "ch4"\n'
        'rate = 0.10\nfor = 5\nkind = 3\n[sensors.options]\nbus = 1\nmode = "fast"\n'
    )
    sensor = Sensor("ch4", Decimal("0.10"), 3, 5, {"bus": 1, "mode": "fast"})
    assert site == Site("home", False, 2.0, (sensor,), (1, -2), [{"x": 1}])
    assert str(site.sensors[0].rate) == "0.10"


def test_an_integer_stands_where_a_decimal_is_wanted() -> None:
    rate = read('[[sensors]]\nname = "a"\nrate = 3\n').sensors[0].rate
    assert type(rate) is Decimal
    assert rate == 3


def test_defaults_fill_what_is_left_out() -> None:
    assert read("") == Site()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("titel = 'x'", "site.toml: titel: unknown key; did you mean 'title'?"),
        ("qqqqq = 1", "site.toml: qqqqq: unknown key; known are title, armed, noise,"),
        ("[[sensors]]\nname='a'\nrat=1", "site.toml: sensors[0].rat: unknown key; did you mean 'rate'?"),
        ("[[sensors]]\nname='a'\nfor_=1\nrate=1", "sensors[0].for_: unknown key; did you mean 'for'?"),
        ("[[sensors]]\nname='a'", "site.toml: sensors[0].rate: is missing"),
        ("title = 3", "site.toml: title: must be a string, not 3"),
        ("corner = [1, true]", "site.toml: corner[1]: must be an integer, not true"),
        ("armed = 1", "site.toml: armed: must be true or false, not 1"),
        ("noise = 'loud'", "site.toml: noise: must be a number, not 'loud'"),
        ("corner = [1]", "site.toml: corner: must have 2 items, not 1"),
        ("corner = 1.5", "site.toml: corner: must be a list, not 1.5"),
        ("sensors = {}", "site.toml: sensors: must be a list, not a table"),
        ("sensors = [[]]", "site.toml: sensors[0]: must be a table, not a list"),
        ("[[sensors]]\nname='a'\nrate=1\nkind='gaz'", "'gaz'; did you mean 'gas'?"),
        ("[[sensors]]\nname='a'\nrate=1\nkind=true", "kind: must be one of 'gas', 'smoke', 3, not true"),
        ("[[sensors]]\nname='a'\nrate=1\noptions=1", "options: must be a table, not 1"),
        ("[[sensors]]\nname='a'\nrate=1\n[sensors.options]\nx=1.5", "x: must be an integer or a string"),
        ("[[sensors]]\nname='a'\nrate=-1", "site.toml: sensors[0]: rate must be positive"),
        ("a = ", "site.toml: not valid TOML: "),
        ("noise = nan", "the number nan is out of range"),
        ("noise = inf", "the number inf is out of range"),
        ("noise = 1e65", "the number 1e65 is out of range"),
        ("noise = 1e99999999999999999999", "out of range"),
        ("noise = 0." + "1" * 100, "out of range"),
        ("noise = " + "9" * 5000, "not valid TOML"),
        ("noise = " + "9" * 400, "noise: the integer is out of range"),
        ("title = 0x" + "f" * 5000, "title: the integer is out of range"),
        ("armed = 0x" + "f" * 5000, "armed: the integer is out of range"),
        ("sensors = 0x" + "f" * 5000, "sensors: must be a list, not a huge integer"),
        ("a = " + "[" * 5000, "nested too deeply"),
    ],
)
def test_a_refusal_names_the_document_the_key_and_the_remedy(text: str, message: str) -> None:
    assert message in refusal(text)


def test_a_field_type_that_no_table_can_hold_is_the_programmers_error() -> None:
    @dataclass
    class Bad:
        x: bytes

    with pytest.raises(TypeError, match="x: a table cannot hold"):
        read_table(Bad, {"x": "y"}, where="here")


toml_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals(-(10**9), 10**9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
keys = (
    st.sampled_from(["title", "armed", "noise", "sensors", "corner", "anything", "name", "rate"]) | st.text()
)


@given(st.dictionaries(keys, toml_values, max_size=4))
def test_any_table_is_read_or_refused_by_table_error(table: dict[str, object]) -> None:
    try:
        site = read_table(Site, table, where="x")
    except TableError:
        return
    assert isinstance(site, Site)


@given(st.text(alphabet="[]={}.,'\"ab019-+einf_\n # ", max_size=60))
def test_any_text_is_parsed_or_refused_by_table_error(text: str) -> None:
    try:
        table = loads_toml(text, "x")
    except TableError:
        return
    assert isinstance(table, dict)
