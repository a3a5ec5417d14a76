"""The engine beside its rules: cost, bounds, misuse, saved states."""

from __future__ import annotations

import sys
from fractions import Fraction
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chain import canonical
from gateway.contracts.document import Contract, SeriesInfo
from gateway.contracts.engine import Engine
from gateway.contracts.errors import ContractError, MismatchError, ReadingError, SnapshotError
from gateway.contracts.inputs import MAX_WINDOW, Window
from gateway.contracts.library import template
from gateway.contracts.source import read_contract

SERIES = {"kitchen.ch4": SeriesInfo("ppm", 0), "beam.strain": SeriesInfo("um/m", -3)}


def gas(**names: str | int) -> Contract:
    return read_contract(template("gas-ch4", series="kitchen.ch4", **names), "gas")


def strain() -> Contract:
    return read_contract(template("strain-amber", series="beam.strain"), "strain")


def operations(engine: Engine, first: int, count: int) -> int:
    """Count the calls, of Python and of C, that a number of samples of the beam take, 10 ms apart."""
    calls = 0

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        for n in range(first, first + count):
            engine.sample("beam.strain", n % 7, n * 10)
    finally:
        sys.setprofile(None)
    return calls


def test_cost_per_sample_does_not_grow_with_history() -> None:
    engine = Engine([gas(), strain()], SERIES, 0)
    operations(engine, 0, 6500)  # fills the window of 60 s, and passes one fault of the silent gas sensor
    early = operations(engine, 6500, 500)
    for n in range(7000, 40_000):
        engine.sample("beam.strain", n % 7, n * 10)
    assert 0 < operations(engine, 40_000, 500) <= early * 1.05


def test_a_sample_costs_nothing_in_the_contracts_that_do_not_read_it() -> None:
    beam = strain()
    many = [gas(id=f"gas-{n}", max_age="30d") for n in range(50)]
    alone, crowd = Engine([beam], SERIES, 0), Engine([beam, *many], SERIES, 0)
    operations(alone, 0, 100)
    operations(crowd, 0, 100)
    assert 0 < operations(crowd, 100, 500) == operations(alone, 100, 500)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 40),
    st.lists(st.tuples(st.integers(0, 9), st.integers(-(2**63), 2**63 - 1)), max_size=60),
)
def test_a_window_equals_its_definition(span: int, steps: list[tuple[int, int]]) -> None:
    window, heard, now = Window(span), dict[int, int](), 0
    for step, value in steps:
        now += step
        window.push(now, value)
        heard[now] = value
        window.advance(now)
        inside = [(t, v) for t, v in heard.items() if now - span < t]
        if len(inside) < 2 or 2 * (inside[-1][0] - inside[0][0]) < span:
            assert window.rate() is None
            assert window.mean() is None
            continue
        rate, mean = window.rate(), window.mean()
        assert rate is not None
        assert mean is not None
        elapsed = Fraction(inside[-1][0] - inside[0][0], 1000)
        assert Fraction(*rate) == (inside[-1][1] - inside[0][1]) / elapsed
        assert Fraction(*mean) == Fraction(sum(v for _, v in inside), len(inside))


def test_a_window_with_too_many_samples_is_undecided_until_the_lost_ones_have_left_it() -> None:
    span = MAX_WINDOW + 1000
    window = Window(span)
    for at in range(MAX_WINDOW):
        window.push(at, 1)
    window.advance(MAX_WINDOW - 1)
    assert window.mean() == (MAX_WINDOW, MAX_WINDOW)
    window.push(MAX_WINDOW, 1)  # pushes out the sample of time 0
    window.advance(span - 1)
    assert window.mean() is None
    window.advance(span)  # where it would not count any more
    assert window.mean() == (MAX_WINDOW, MAX_WINDOW)


def test_the_largest_values_stay_exact() -> None:
    text = template("strain-amber", series="beam.strain", max_age="1m").replace(
        "60s)) >= 0.6 * 100", "60s)) > 9223372036854775.806"
    )
    engine = Engine([read_contract(text.replace('"10m"', '"0s"'), "big")], SERIES, 0)
    assert not engine.sample("beam.strain", canonical.INT_MAX - 2, 0)
    assert not engine.sample("beam.strain", canonical.INT_MAX, 30_000)  # the mean is INT_MAX - 1: not over
    assert [t.after for t in engine.sample("beam.strain", canonical.INT_MAX, 30_001)] == [2]


def test_a_contract_that_does_not_fit_its_series_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(
        MismatchError, match=r"input gas: no series is called 'kitchen.ch5'; did you mean 'kitchen.ch4'"
    ):
        Engine([read_contract(template("gas-ch4", series="kitchen.ch5"), "gas")], SERIES, 0)
    with pytest.raises(MismatchError, match="is in ppm at scale 0, but the contract says ppm at scale -1"):
        Engine([gas(scale=-1)], SERIES, 0)
    with pytest.raises(MismatchError, match="two contracts have the id 'gas-ch4'"):
        Engine([gas(), gas(hold="5s")], SERIES, 0)


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, True, 1.0, "1", None])
def test_a_value_that_is_no_64_bit_integer_is_refused(value: Any) -> None:
    with pytest.raises(ReadingError, match="64-bit integer"):
        Engine([gas()], SERIES, 0).sample("kitchen.ch4", value, 0)


def test_misuse_is_named() -> None:
    engine = Engine([gas()], SERIES, 0)
    with pytest.raises(MismatchError, match="no series is called 'ch4'"):
        engine.sample("ch4", 1, 0)
    with pytest.raises(MismatchError, match="no contract has the id 'gas'; there are gas-ch4"):
        engine.reset("gas", 0)
    with pytest.raises(ReadingError, match="a fault's kind"):
        engine.fault("kitchen.ch4", "Not A Word", 0)
    with pytest.raises(ReadingError, match="no time"):
        engine.expire(1.5)  # type: ignore[arg-type]
    assert engine.sample("beam.strain", 1, 0) == []  # known, and read by no contract


def test_next_expiry_is_the_next_deadline_and_expire_meets_it() -> None:
    engine = Engine([gas()], SERIES, 0)
    assert engine.next_expiry() == 10_001
    engine.sample("kitchen.ch4", 9000, 1000)
    assert engine.next_expiry() == 4000
    assert engine.expire(3999) == []
    assert [(t.at_ms, t.after) for t in engine.expire(4000)] == [(4000, 2)]
    assert engine.next_expiry() == 11_000  # the pre-alarm's ten seconds
    assert Engine([], SERIES, 0).next_expiry() is None


def test_states_and_outputs_show_every_contract_and_every_output() -> None:
    engine = Engine([gas(), strain()], SERIES, 0)
    engine.sample("kitchen.ch4", 9000, 1000)
    engine.expire(5000)
    states = engine.states()
    assert (states["gas-ch4"].condition, states["gas-ch4"].since_ms) == (2, 4000)
    assert states["strain-amber"].condition == 0
    assert engine.outputs() == {"siren": True, "valve": True}


def running() -> tuple[Engine, list[Any]]:
    engine = Engine([gas(), strain()], SERIES, 0)
    engine.power("kitchen.ch4", -200_000)
    engine.sample("kitchen.ch4", 9000, 1000)
    engine.fault("beam.strain", "nack", 2000)
    return engine, engine.snapshot(3000)


def test_a_saved_state_passes_through_the_canonical_encoding() -> None:
    engine, saved = running()
    item: Any = canonical.decode(canonical.encode(saved))
    again = Engine([gas(), strain()], SERIES, 50)
    assert again.restore(item, 50) == []
    assert again.states()["strain-amber"].faults == ("strain:nack",) == engine.states()["strain-amber"].faults
    assert again.snapshot(50) == saved


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_damaged_saved_state_is_refused_or_is_a_state(data: st.DataObject) -> None:
    _, saved = running()
    target: Any = saved
    while isinstance(target, list) and target:
        index = data.draw(st.integers(0, len(target) - 1))
        if not isinstance(target[index], list) or data.draw(st.booleans()):
            target[index] = data.draw(
                st.integers(-2, 5) | st.text(max_size=3) | st.binary(max_size=2) | st.just([])
            )
            break
        target = target[index]
    engine = Engine([gas(), strain()], SERIES, 0)
    try:
        engine.restore(saved, 0)
    except SnapshotError:
        return
    for transition in engine.expire(100_000):
        assert 0 <= transition.after <= 3
    canonical.encode(engine.snapshot(100_000))


@pytest.mark.parametrize("item", [[], [2, []], [1], 7, [1, [[]]], [1, [["gas-ch4", b"", 0, 0, 0, 0, 0, 0]]]])
def test_a_foreign_saved_state_is_refused(item: Any) -> None:
    with pytest.raises(SnapshotError):
        Engine([gas()], SERIES, 0).restore(item, 0)
    assert issubclass(SnapshotError, ContractError)


def test_a_contract_that_is_no_longer_held_is_dropped_from_a_saved_state() -> None:
    _, saved = running()
    engine = Engine([strain()], SERIES, 0)
    assert engine.restore(saved, 0) == []
    assert list(engine.states()) == ["strain-amber"]
