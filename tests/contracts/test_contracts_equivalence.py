"""The engine and a slow, independent reading of SEMANTICS.md agree on random contracts and random events."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from contract_reference import Reference
from contract_strategies import booleans
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.contracts.document import Contract, Input, Level, SeriesInfo
from gateway.contracts.engine import Engine
from gateway.contracts.errors import ExpressionError
from gateway.contracts.expression import Series

SERIES = {"x": SeriesInfo("u", 0), "y": SeriesInfo("u", -1), "z": SeriesInfo("u", 1)}
_SHORT = st.integers(0, 9)


@st.composite
def levels(draw: st.DrawFn, nodes: tuple[Series, ...], latch: bool) -> Level:
    when = draw(booleans(nodes, draw(st.sampled_from([1, 1, 2, 3]))))
    clear = draw(st.just(0) | st.integers(1, 60) | booleans(nodes, 1))
    spans = draw(_SHORT), draw(_SHORT)
    try:
        return Level(when, spans[0], clear, spans[1], latch)
    except ExpressionError:  # hysteresis that does not apply
        return Level(when, spans[0], 0, spans[1], latch)


@st.composite
def contracts(draw: st.DrawFn, name: str) -> Contract:
    aliases = draw(st.sets(st.sampled_from("ab"), min_size=1))
    inputs = []
    for alias in sorted(aliases):
        series = draw(st.sampled_from(sorted(SERIES)))
        inputs.append(Input(alias, series, "u", SERIES[series].scale, draw(st.sampled_from([2, 8, 30]))))
    nodes = tuple(i.node for i in inputs)
    pre_alarm = draw(st.none() | levels(nodes, False))
    alarm = draw(levels(nodes, draw(st.booleans())))
    warm_up = draw(st.sampled_from([0, 3, 8]))
    return Contract(name, 1, "t", "major", "rapid", tuple(inputs), alarm, pre_alarm, warm_up)


_KINDS = ["sample"] * 30 + ["fault", "power", "power", "reset", "expire", "expire", "restart"]


def _events(seed: int) -> Iterator[tuple[str, str, int, int]]:
    """Kind, series, value and step of time; steady for a while, so that timers get somewhere."""
    random = Random(seed)
    level = 0
    for _ in range(80):
        if random.random() < 0.15:
            level = random.randint(-5, 5)
        step = random.choice([0, 1, 1, 2, 2, 3, -1, -3, 9])
        yield random.choice(_KINDS), random.choice(sorted(SERIES)), level + random.randint(-1, 1), step


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(contracts("one"), contracts("two"), st.integers(0, 2**32))
def test_the_engine_does_what_the_semantics_say(one: Contract, two: Contract, seed: int) -> None:
    engine = Engine([one, two], SERIES, 100)
    references = [Reference(one, 100), Reference(two, 100)]
    now = 100
    for kind, series, value, step in _events(seed):
        at = now + step
        got = []
        if kind == "restart":
            at = max(at, now)
            engine.expire(at)
            for r in references:
                r.restart(at, at - 50)
            saved = engine.snapshot(at)
            engine = Engine([one, two], SERIES, at - 50)
            engine.restore(saved, at - 50)
            now = at - 50
            for r in references:
                r.log.clear()
            continue
        if kind == "sample":
            got = engine.sample(series, value, at)
        elif kind == "fault":
            got = engine.fault(series, "nack", at)
        elif kind == "power":
            got = engine.power(series, at)
        elif kind == "reset":
            got = engine.reset("one", at)
        else:
            got = engine.expire(at)
        now = max(now, at)
        for r in references:
            r.log.clear()
            if kind in ("sample", "fault", "power"):
                r.event(kind, series, value if kind == "sample" else "nack", at)
            elif kind == "reset" and r.contract.id == "one":
                r.reset(at)
            r.advance(now)
        expected = sorted((row for r in references for row in r.log), key=lambda row: (row[-1], row[0]))
        shown = [
            (t.contract_id, t.before, t.after, t.faults_before, t.faults_after, t.values, t.at_ms)
            for t in got
        ]
        assert sorted(shown, key=lambda row: (row[-1], row[0])) == expected
