"""Every event, policy and clock state has its words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from chain.examples import CATALOGUE
from chain.record_strategies import records
from hypothesis import given

from gateway.chain.events import Actuation, ClockStep, Earlier, Outcome, Refusal, Shedding, Status
from gateway.chain.record import Range, shape
from gateway.chain.words import describe_clock, describe_event, describe_policy

KEPT = CATALOGUE[0]
RING = "every value 30 s before and after a transition"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, f"kept when it moved by more than 5 ppm or after 60 s; sampled every 1 s; {RING}"),
        (
            {"dead_band": 25, "scale": -1, "unit": "Cel", "longest": 1500, "ring": 0, "period": 100},
            "kept when it moved by more than 2.5 Cel or after 1500 ms; sampled every 100 ms",
        ),
        (
            {"dead_band": 1, "unit": "", "ring": 0},
            "kept when it moved by more than 1 or after 60 s; sampled every 1 s",
        ),
        ({"dead_band": 0, "longest": 0, "ring": 0}, "every value is kept; sampled every 1 s"),
        ({"dead_band": 0, "longest": 0, "ring": 0, "period": 0}, "every value is kept; taken when they come"),
    ],
)
def test_a_policy_tells_what_is_left_out(changes: dict[str, object], words: str) -> None:
    assert describe_policy(replace(KEPT, **changes)) == words  # type: ignore[arg-type]


def test_an_output_that_did_not_move_stands_out() -> None:
    words = describe_event(Actuation(0, "valve", 1, 2, "gas-ch4", 2))
    assert words == "output valve acts because of a fault (gas-ch4); ITS READ-BACK DID NOT SEE IT MOVE"


def test_refusals_are_counted_in_words() -> None:
    one, more = (describe_event(Refusal(0, 1, "Repeated", count, bytes(32))) for count in (1, 3))
    assert one.startswith("1 command was refused: Repeated (")
    assert more.startswith("3 commands were refused: Repeated (")


def test_every_clock_state_has_words() -> None:
    codec = dict(shape(ClockStep))["state"]
    assert isinstance(codec, Range)
    assert len({describe_clock(each) for each in range(codec.low, codec.high + 1)}) == 4


@pytest.mark.parametrize("kind", [Status, Shedding, ClockStep, Outcome, Actuation, Refusal, Earlier])
def test_every_event_has_words(kind: type) -> None:
    @given(records(kind))
    def say(event: Actuation) -> None:
        assert describe_event(event)

    say()
