"""Outputs on gpiozero's simulated pins: polarity, the safe side, longest runs, patterns, tests, proofs, and failures
beside others."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from gpiozero.exc import PinError
from gpiozero.pins.mock import MockFactory, MockPin

from gateway.clock import SimulatedClock
from gateway.contracts.tables import TableError, read_table
from gateway.errors import OutputError
from gateway.outputs.board import Board
from gateway.outputs.options import OutputOptions, ReadBack
from gateway.outputs.orders import (
    CONTRACT,
    DID_NOT_MOVE,
    GONE,
    MAX_RUNTIME,
    MOVED,
    RESET,
    START,
    STOP,
    TEST,
    Cause,
    Moved,
    Order,
    Want,
)
from gateway.outputs.patterns import PATTERNS, phase

SIREN = OutputOptions("siren", "siren", 17)
RELAY = OutputOptions("fan", "relay", 27, active_high=False)
VALVE = OutputOptions("gas-valve", "valve", 22)
PANEL = OutputOptions("panel", "fault", 5)
GAS = Cause(CONTRACT, "gas")


def order(*wanted: str, gone: tuple[str, ...] = (), **more: Any) -> Order:
    return Order({name: Want(GAS) for name in wanted}, {name: Want(GAS) for name in gone}, **more)


def moves(board: Board) -> list[tuple[str, bool, int]]:
    """What moved since the last look: output, whether it acts, and the cause's code."""
    return [(each.output, each.active, each.cause.code) for each in board.take()]


def states(board: Board) -> Mapping[str, Any]:
    return {each.name: each for each in board.states()}


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
    board = Board([SIREN, RELAY, VALVE, PANEL], pins, clock)
    assert high(pins, SIREN, RELAY, VALVE, PANEL) == [False, True, False, False]
    assert board.active == {"gas-valve", "panel"}  # its spring holds the one shut, the other shows a fault


def test_before_the_first_order_nothing_leaves_the_safe_side(
    pins: MockFactory, clock: SimulatedClock
) -> None:
    board = Board([SIREN, VALVE], pins, clock)
    board.tick()
    board.leave()
    board.test("gas-valve", 1, "console")
    clock.advance(2)
    board.tick()
    assert high(pins, SIREN, VALVE) == [False, False]
    assert board.take() == []


def test_the_normal_state_opens_the_valve_and_an_alarm_shuts_it(
    pins: MockFactory, clock: SimulatedClock
) -> None:
    board = Board([SIREN, RELAY, VALVE], pins, clock)
    board.order(order())
    assert moves(board) == [("gas-valve", False, START)]
    assert high(pins, SIREN, RELAY, VALVE) == [False, True, True]
    board.order(order("siren", "fan", "gas-valve"))
    assert moves(board) == [(name, True, CONTRACT) for name in ("siren", "fan", "gas-valve")]
    assert high(pins, SIREN, RELAY, VALVE) == [True, False, False]
    assert board.active == {"siren", "fan", "gas-valve"}


def test_what_is_as_wanted_is_not_driven_again(pins: MockFactory, clock: SimulatedClock) -> None:
    board = Board([SIREN], pins, clock)
    board.order(order("siren"))
    states = list(pins.pin(SIREN.pin).states)
    board.take()
    board.order(order("siren"))
    assert board.take() == []
    assert pins.pin(SIREN.pin).states == states
    board.order(order())
    assert board.take() == [Moved("siren", False, GAS, number=2)]


def test_whoever_ends_it_is_the_cause_of_the_end(pins: MockFactory, clock: SimulatedClock) -> None:
    board = Board([SIREN, VALVE], pins, clock)
    board.order(order("siren", "gas-valve"))
    board.take()
    button = Cause(RESET, "button hall")
    board.order(order(why=button))
    assert [(each.output, each.cause) for each in board.take()] == [("siren", button), ("gas-valve", button)]


def test_a_valve_opened_by_power_in_the_alarm_may_be_declared(
    pins: MockFactory, clock: SimulatedClock
) -> None:
    pulse = OutputOptions("shut-off", "valve", 5, energised="alarm", max_runtime_s=2)
    vent = OutputOptions("vent", "relay", 6, energised="normal", active_high=False)
    board = Board([pulse, vent], pins, clock)
    assert high(pins, pulse, vent) == [False, True]
    board.order(order())
    assert high(pins, pulse, vent) == [False, False]
    board.order(order("shut-off", "vent"))
    assert high(pins, pulse, vent) == [True, True]


def test_closing_leaves_every_output_without_power(pins: MockFactory, clock: SimulatedClock) -> None:
    board = Board([SIREN, VALVE], pins, clock)
    board.order(order("siren"))
    assert high(pins, SIREN, VALVE) == [True, True]
    board.take()
    board.close(Cause(STOP))
    assert high(pins, SIREN, VALVE) == [False, False]
    assert moves(board) == [("siren", False, STOP), ("gas-valve", True, STOP)]
    board.close()
    Board([SIREN, VALVE], pins, clock)  # the pins are free again


def test_another_configuration_moves_only_what_it_changes(pins: MockFactory, clock: SimulatedClock) -> None:
    board = Board([SIREN, RELAY, VALVE], pins, clock)
    board.order(order("siren", "fan"))
    board.take()
    board.configure([VALVE, SIREN, OutputOptions("fan", "relay", 6)])
    assert high(pins, SIREN, VALVE) == [True, True]
    assert moves(board) == [("fan", False, STOP)]
    board.order(order("siren", "fan"))
    assert moves(board) == [("fan", True, CONTRACT)]


def test_a_longest_run_ends_and_only_a_new_alarm_begins_another(
    pins: MockFactory, clock: SimulatedClock
) -> None:
    siren = OutputOptions("siren", "siren", 17, max_runtime_s=180)
    board = Board([siren, VALVE], pins, clock)
    assert board.due_ms is None
    board.order(order("siren", "gas-valve"))
    board.take()
    assert board.due_ms == 180_000
    clock.advance(179)
    board.tick()
    assert board.take() == []
    clock.advance(1)
    board.tick()
    assert board.take() == [Moved("siren", False, Cause(MAX_RUNTIME, "gas"), number=2)]
    assert board.due_ms is None
    board.order(order("siren", "gas-valve"))
    assert board.take() == []
    board.order(order("siren", "gas-valve", renew=frozenset({"siren"})))
    assert moves(board) == [("siren", True, CONTRACT)]
    clock.advance(180)
    board.tick()
    board.order(order("gas-valve"))
    board.order(order("siren", "gas-valve"))
    assert high(pins, siren, VALVE) == [True, False]


def test_a_new_guardian_goes_on_with_a_run_that_the_daemon_knows_of(
    pins: MockFactory, clock: SimulatedClock
) -> None:
    siren = OutputOptions("siren", "siren", 17, max_runtime_s=180)
    clock.advance(1000)
    board = Board([siren], pins, clock)
    board.order(Order({"siren": Want(GAS, ran_ms=170_000)}))
    assert states(board)["siren"].ran_ms == 170_000
    clock.advance(10)
    board.tick()
    assert moves(board) == [("siren", True, CONTRACT), ("siren", False, MAX_RUNTIME)]
    again = Board([SIREN], MockFactory(), clock)
    again.order(Order({"siren": Want(GAS, ran_ms=170_000)}))
    assert again.active == {"siren"}


# what holds without a daemon


def test_without_a_daemon_the_outputs_go_to_what_it_said_before(
    pins: MockFactory, clock: SimulatedClock
) -> None:
    board = Board([SIREN, RELAY, VALVE, PANEL], pins, clock)
    board.order(order("siren", gone=("siren", "gas-valve")))
    board.take()
    board.leave()
    assert moves(board) == [("gas-valve", True, GONE), ("panel", True, GONE)]
    assert high(pins, SIREN, VALVE, PANEL) == [True, False, False]
    board.order(order("siren"))
    assert moves(board) == [("gas-valve", False, GONE), ("panel", False, GONE)]


# patterns


@pytest.mark.parametrize(
    ("pattern", "changes"),
    [
        ("continuous", []),
        ("intermittent", [1000, 2000, 3000, 4000]),
        ("temporal-3", [500, 1000, 1500, 2000, 2500, 4000, 4500, 5000]),
        ("slow", [500, 4000, 4500, 8000]),
    ],
)
def test_a_siren_sounds_in_its_pattern_to_the_millisecond(
    pattern: str, changes: list[int], pins: MockFactory, clock: SimulatedClock
) -> None:
    clock.advance(7.321)
    siren = OutputOptions("siren", "siren", 17, pattern=pattern)  # type: ignore[arg-type]
    board = Board([siren], pins, clock)
    board.order(order("siren"))
    seen, begun = [], clock.monotonic_ms()
    level = high(pins, siren)
    assert level == [True]
    while (due := board.due_ms) is not None and len(seen) < len(changes):
        clock.advance((due - clock.monotonic_ms()) / 1000)
        board.tick()
        if high(pins, siren) != level:
            level = high(pins, siren)
            seen.append(clock.monotonic_ms() - begun)
    assert seen == changes
    assert len(board.take()) == 1  # its pulses are no changes of what it does
    board.order(order())
    assert high(pins, siren) == [False]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_pattern_begins_with_sound_and_says_when_it_changes(pattern: str) -> None:
    is_on, left = phase(pattern, 0)
    assert is_on
    at = 0
    while left is not None and at < 10_000:
        assert phase(pattern, at + left - 1)[0] is is_on
        at += left
        was_on, (is_on, left) = is_on, phase(pattern, at)
        assert is_on is not was_on


def test_a_pre_alarm_is_told_from_the_alarm_by_its_sound(pins: MockFactory, clock: SimulatedClock) -> None:
    siren = OutputOptions("siren", "siren", 17, pattern="temporal-3", pre_alarm="slow")
    board = Board([siren], pins, clock)
    board.order(Order({"siren": Want(GAS, pre_alarm=True)}))
    clock.advance(1)
    board.tick()
    assert high(pins, siren) == [False]
    assert board.due_ms == 4000
    board.order(order("siren"))  # the pattern begins anew, with sound
    assert high(pins, siren) == [True]
    assert board.due_ms == 1500


# tests of outputs


def test_a_test_lets_an_output_act_for_so_long_and_no_longer(
    pins: MockFactory, clock: SimulatedClock
) -> None:
    board = Board([SIREN, VALVE, PANEL], pins, clock)
    board.order(order())
    board.take()
    for name in ("siren", "gas-valve", "panel"):
        board.test(name, 2, "button hall")
    assert high(pins, SIREN, VALVE, PANEL) == [True, False, False]
    clock.advance(2)
    board.order(order())
    assert high(pins, SIREN, VALVE, PANEL) == [False, True, True]
    told = board.take()
    assert [each.active for each in told] == [True] * 3 + [False] * 3
    assert {each.cause for each in told} == {Cause(TEST, "button hall")}


def test_an_alarm_during_a_test_goes_on_after_it(pins: MockFactory, clock: SimulatedClock) -> None:
    board = Board([SIREN], pins, clock)
    board.order(order())
    board.test("siren", 2, "console")
    board.order(order("siren"))
    clock.advance(3)
    board.tick()
    assert high(pins, SIREN) == [True]
    assert states(board)["siren"].cause == GAS


@pytest.mark.parametrize(("output", "seconds"), [("bell", 1), ("siren", 61), ("siren", -1)])
def test_an_impossible_test_is_refused(
    output: str, seconds: int, pins: MockFactory, clock: SimulatedClock
) -> None:
    board = Board([SIREN], pins, clock)
    with pytest.raises(OutputError, match=r"no output is called 'bell'; there are siren|at most 60 s"):
        board.test(output, seconds, "console")


# proofs


class Contact:
    """A relay's auxiliary contact, closed to ground while the armature is drawn in."""

    def __init__(self, pins: MockFactory, relay: OutputOptions) -> None:
        assert relay.read_back is not None
        self._relay, self._pin = pins.pin(relay.pin), pins.pin(relay.read_back.pin)
        self.follow()

    def follow(self) -> None:
        self.put(drawn=bool(self._relay.state))

    def put(self, *, drawn: bool) -> None:
        (self._pin.drive_low if drawn else self._pin.drive_high)()


PROVEN = OutputOptions("fan", "relay", 27, read_back=ReadBack(6, within_ms=300))


def test_a_movement_is_told_once_its_contact_has_proved_it(pins: MockFactory, clock: SimulatedClock) -> None:
    board = Board([PROVEN], pins, clock)
    contact = Contact(pins, PROVEN)
    board.order(order("fan"))
    assert board.take() == []
    clock.advance(0.1)
    contact.follow()
    board.tick()
    assert board.take() == [Moved("fan", True, GAS, MOVED, 1)]
    assert board.faults == ()


def test_a_relay_that_does_not_move_in_time_is_a_fault_until_it_does(
    pins: MockFactory, clock: SimulatedClock
) -> None:
    board = Board([PROVEN], pins, clock)
    contact = Contact(pins, PROVEN)
    board.order(order("fan"))
    clock.advance(0.299)
    board.tick()
    assert board.faults == ()
    clock.advance(0.001)
    board.tick()
    assert board.take() == [Moved("fan", True, GAS, DID_NOT_MOVE, 1)]
    assert board.faults == ("output fan: its read-back on GPIO6 shows that it did not move",)
    contact.follow()
    clock.advance(1)
    board.tick()
    assert (board.take(), board.faults) == ([], ())


def test_a_relay_that_moves_by_itself_is_a_fault_and_no_actuation(
    pins: MockFactory, clock: SimulatedClock
) -> None:
    board = Board([PROVEN], pins, clock)
    contact = Contact(pins, PROVEN)
    board.order(order())
    contact.put(drawn=True)
    for _ in range(3):
        clock.advance(1)
        board.tick()
    assert (board.take(), len(board.faults)) == ([], 1)


@pytest.mark.parametrize("contact", ["no", "nc"])
@pytest.mark.parametrize("pull", ["up", "down", "external-up", "external-down"])
def test_a_read_back_is_read_as_it_is_wired(
    contact: Any, pull: Any, pins: MockFactory, clock: SimulatedClock
) -> None:
    relay = OutputOptions("fan", "relay", 27, read_back=ReadBack(6, contact, pull))
    board = Board([relay], pins, clock)
    for wanted in (("fan",), ()):
        board.order(order(*wanted))
        closed = bool(wanted) == (contact == "no")
        (pins.pin(6).drive_low if closed == pull.endswith("up") else pins.pin(6).drive_high)()
        board.tick()
        assert [each.moved for each in board.take()] == [MOVED]


# failures


def test_a_dead_pin_keeps_no_other_output_from_acting(pins: MockFactory, clock: SimulatedClock) -> None:
    dead = pins.pin(SIREN.pin, pin_class=DeadPin)
    board = Board([SIREN, RELAY], pins, clock)
    board.order(order("siren", "fan"))
    assert board.faults == ("output siren on GPIO17 cannot be opened: line is stuck",)
    assert board.take() == [
        Moved("siren", True, GAS, DID_NOT_MOVE, 1),
        Moved("fan", True, GAS, number=2),
    ]
    assert high(pins, RELAY) == [False]
    assert board.active == {"fan"}
    board.order(order("siren", "fan"))
    assert board.take() == []  # it was said once
    dead.dead = False
    assert board.due_ms == 1000
    clock.advance(1)
    board.tick()
    assert moves(board) == [("siren", True, CONTRACT)]
    assert high(pins, SIREN) == [True]
    assert board.faults == ()


def test_an_output_that_fails_later_is_reported_and_tried_again(
    pins: MockFactory, clock: SimulatedClock
) -> None:
    pin = pins.pin(SIREN.pin, pin_class=DeadPin)
    pin.dead = False
    board = Board([SIREN], pins, clock)
    pin.dead = True
    for _ in range(2):
        board.order(order("siren"))
        assert board.faults == ("output siren on GPIO17 cannot be driven: line is stuck",)
        assert states(board)["siren"].active is None
    pin.dead = False
    board.tick()
    assert board.active == {"siren"}
    pin.dead = True
    board.close()
    pin.dead = False


def test_an_output_nobody_configured_keeps_no_other_from_acting(
    pins: MockFactory, clock: SimulatedClock
) -> None:
    board = Board([SIREN], pins, clock)
    board.order(order("bell", "siren"))
    assert [each.output for each in board.take()] == ["siren"]


@pytest.mark.parametrize("other", [OutputOptions("siren", "siren", 4), OutputOptions("bell", "siren", 0)])
def test_two_outputs_on_one_name_or_pin_are_refused(
    pins: MockFactory, clock: SimulatedClock, other: OutputOptions
) -> None:
    with pytest.raises(ValueError, match=r"two outputs have the (name 'siren'|pin 0); give each its own"):
        Board([OutputOptions("siren", "siren", 0), other], pins, clock)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"name": "Gas valve"}, "'Gas valve' is no output name"),
        ({"pin": 28}, "pin 28 is no BCM number"),
        ({"kind": "lamp"}, "kind: must be one of 'siren', 'relay', 'valve', 'fault'"),
        ({"max_runtime_s": 0}, "max_runtime_s must be positive"),
        ({"kind": "valve", "max_runtime_s": 60}, "would undo what an output energised when normal protects"),
        ({"kind": "fault", "energised": "alarm"}, "a fault relay is energised while all is well"),
        ({"kind": "relay", "pattern": "slow"}, "a pattern is for a siren without a read-back"),
        ({"pattern": "slow", "read_back": {"pin": 2}}, "a pattern is for a siren without a read-back"),
        ({"read_back": {"pin": 28}}, "pin 28 is no BCM number"),
        ({"read_back": {"pin": 2, "within_ms": 5}}, "within_ms must be 10 to 60000"),
        ({"energised": "never"}, "energised: must be one of 'alarm', 'normal'"),
    ],
)
def test_an_impossible_output_is_refused_in_the_configuration(table: dict[str, object], message: str) -> None:
    with pytest.raises(TableError) as caught:
        read_table(OutputOptions, {"name": "x", "kind": "siren", "pin": 1, **table}, where="g.toml")
    assert message in str(caught.value)


def test_importing_outputs_loads_no_pin_library() -> None:
    code = (
        "import sys, gateway.outputs.client, gateway.outputs.server as s; sys.exit('gpiozero' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
