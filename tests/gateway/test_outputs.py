"""Outputs on gpiozero's simulated pins: polarity, the safe side, longest runs, and failures beside others."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from gpiozero.exc import PinError
from gpiozero.pins.mock import MockFactory, MockPin

from gateway.clock import SimulatedClock
from gateway.contracts.tables import TableError, read_table
from gateway.errors import OutputError
from gateway.outputs import OutputChange, OutputOptions, Outputs

SIREN = OutputOptions("siren", "siren", 17)
RELAY = OutputOptions("fan", "relay", 27, active_high=False)
VALVE = OutputOptions("gas-valve", "valve", 22)


class DeadPin(MockPin):
    """A pin whose line driver refuses writes while `dead`."""

    dead = True

    def _set_state(self, value: float) -> None:
        if self.dead:
            raise PinError("line is stuck")
        super()._set_state(value)


@pytest.fixture
def pins() -> Iterator[MockFactory]:
    factory = MockFactory()
    yield factory
    factory.reset()


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(speed=0)


def high(pins: MockFactory, *options: OutputOptions) -> list[bool]:
    return [bool(pins.pin(option.pin).state) for option in options]


def test_opening_applies_no_power_whatever_the_polarity(pins: MockFactory, clock: SimulatedClock) -> None:
    outputs = Outputs([SIREN, RELAY, VALVE], pins, clock)
    assert high(pins, SIREN, RELAY, VALVE) == [False, True, False]
    assert outputs.active == {"gas-valve"}  # its spring holds it shut


def test_the_normal_state_opens_the_valve_and_an_alarm_shuts_it(
    pins: MockFactory, clock: SimulatedClock
) -> None:
    outputs = Outputs([SIREN, RELAY, VALVE], pins, clock)
    clock.advance(1)
    assert outputs.apply({}) == (OutputChange("gas-valve", False, "wanted", 1000),)
    assert high(pins, SIREN, RELAY, VALVE) == [False, True, True]
    clock.advance(1)
    assert outputs.apply({"siren": True, "fan": True, "gas-valve": True}) == (
        OutputChange("siren", True, "wanted", 2000),
        OutputChange("fan", True, "wanted", 2000),
        OutputChange("gas-valve", True, "wanted", 2000),
    )
    assert high(pins, SIREN, RELAY, VALVE) == [True, False, False]
    assert outputs.active == {"siren", "fan", "gas-valve"}


def test_what_is_as_wanted_is_not_driven_again(pins: MockFactory, clock: SimulatedClock) -> None:
    outputs = Outputs([SIREN], pins, clock)
    outputs.apply({"siren": True})
    states = list(pins.pin(SIREN.pin).states)
    assert outputs.apply({"siren": True}) == ()
    assert pins.pin(SIREN.pin).states == states
    assert [change.active for change in outputs.apply({"siren": False})] == [False]


def test_a_valve_opened_by_power_in_the_alarm_may_be_declared(
    pins: MockFactory, clock: SimulatedClock
) -> None:
    pulse = OutputOptions("shut-off", "valve", 5, energised="alarm", max_runtime_s=2)
    vent = OutputOptions("vent", "relay", 6, energised="normal", active_high=False)
    outputs = Outputs([pulse, vent], pins, clock)
    assert high(pins, pulse, vent) == [False, True]
    outputs.apply({})
    assert high(pins, pulse, vent) == [False, False]
    outputs.apply({"shut-off": True, "vent": True})
    assert high(pins, pulse, vent) == [True, True]


def test_closing_leaves_every_output_without_power(pins: MockFactory, clock: SimulatedClock) -> None:
    outputs = Outputs([SIREN, VALVE], pins, clock)
    outputs.apply({"siren": True})
    assert high(pins, SIREN, VALVE) == [True, True]
    outputs.close()
    assert high(pins, SIREN, VALVE) == [False, False]
    outputs.close()
    Outputs([SIREN, VALVE], pins, clock)  # the pins are free again


def test_a_longest_run_ends_and_only_a_new_alarm_begins_another(
    pins: MockFactory, clock: SimulatedClock
) -> None:
    siren = OutputOptions("siren", "siren", 17, max_runtime_s=180)
    outputs = Outputs([siren, VALVE], pins, clock)
    assert outputs.next_expiry_ms is None
    outputs.apply({"siren": True, "gas-valve": True})
    assert outputs.next_expiry_ms == 180_000
    clock.advance(179)
    assert outputs.tick() == ()
    clock.advance(1)
    assert outputs.tick() == (OutputChange("siren", False, "max-runtime", 180_000),)
    assert outputs.next_expiry_ms is None
    assert outputs.apply({"siren": True, "gas-valve": True}) == ()
    assert outputs.apply({"gas-valve": True}) == ()
    assert outputs.apply({"siren": True, "gas-valve": True})[0].active
    assert high(pins, siren, VALVE) == [True, False]


def test_a_dead_pin_keeps_no_other_output_from_acting(pins: MockFactory, clock: SimulatedClock) -> None:
    dead = pins.pin(SIREN.pin, pin_class=DeadPin)
    outputs = Outputs([SIREN, RELAY], pins, clock)
    with pytest.raises(OutputError, match="output siren on GPIO17 cannot be opened: line is stuck") as caught:
        outputs.apply({"siren": True, "fan": True})
    assert caught.value.changes == (OutputChange("fan", True, "wanted", 0),)
    assert high(pins, RELAY) == [False]
    assert outputs.active == {"fan"}
    dead.dead = False
    assert [change.name for change in outputs.tick()] == ["siren"]
    assert high(pins, SIREN) == [True]


def test_an_output_that_fails_later_is_reported_and_tried_again(
    pins: MockFactory, clock: SimulatedClock
) -> None:
    pin = pins.pin(SIREN.pin, pin_class=DeadPin)
    pin.dead = False
    outputs = Outputs([SIREN], pins, clock)
    pin.dead = True
    for _ in range(2):
        with pytest.raises(OutputError, match="cannot be driven: line is stuck"):
            outputs.apply({"siren": True})
    with pytest.raises(OutputError, match="cannot be driven"):
        outputs.close()
    pin.dead = False
    outputs.close()


def test_an_output_nobody_configured_is_named_after_all_others_acted(
    pins: MockFactory, clock: SimulatedClock
) -> None:
    outputs = Outputs([SIREN], pins, clock)
    with pytest.raises(OutputError, match="bell: is not configured") as caught:
        outputs.apply({"bell": True, "siren": True})
    assert [change.name for change in caught.value.changes] == ["siren"]


@pytest.mark.parametrize("other", [OutputOptions("siren", "siren", 4), OutputOptions("bell", "siren", 0)])
def test_two_outputs_on_one_name_or_pin_are_refused(
    pins: MockFactory, clock: SimulatedClock, other: OutputOptions
) -> None:
    with pytest.raises(ValueError, match=r"two outputs have the (name 'siren'|pin 0); give each its own"):
        Outputs([OutputOptions("siren", "siren", 0), other], pins, clock)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"name": "Gas valve"}, "'Gas valve' is no output name"),
        ({"pin": 28}, "pin 28 is no BCM number"),
        ({"kind": "lamp"}, "kind: must be one of 'siren', 'relay', 'valve'"),
        ({"max_runtime_s": 0}, "max_runtime_s must be positive"),
        ({"kind": "valve", "max_runtime_s": 60}, "would undo what an output energised when normal protects"),
        ({"energised": "never"}, "energised: must be one of 'alarm', 'normal'"),
    ],
)
def test_an_impossible_output_is_refused_in_the_configuration(table: dict[str, object], message: str) -> None:
    with pytest.raises(TableError) as caught:
        read_table(OutputOptions, {"name": "x", "kind": "siren", "pin": 1, **table}, where="g.toml")
    assert message in str(caught.value)


def test_importing_outputs_loads_no_pin_library() -> None:
    code = "import sys, gateway.outputs; sys.exit('gpiozero' in sys.modules or 'lgpio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
