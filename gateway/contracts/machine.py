"""The state machine of one running contract (SEMANTICS.md, sections 7 to 10).

Owns condition, faults, timers and what outputs the contract wants. Whoever calls it (engine.py) decides when:
instants of evaluation never go back, and every deadline is met at its own instant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.contracts import document, expression
from gateway.contracts.compile import Condition, Truth, condition
from gateway.contracts.document import Contract
from gateway.contracts.inputs import InputState

NORMAL: Final = 0
PRE_ALARM: Final = 1
ALARM: Final = 2
LATCHED: Final = 3


@dataclass(frozen=True, slots=True)
class Transition:
    """A contract's change of condition, of faults, or of both.

    Conditions are 0 normal, 1 pre-alarm, 2 alarm, 3 latched; severities 0 info to 3 critical. Faults are sorted
    reasons, `alias:kind` or `level:undecided`. `values` holds for each input, in order of alias, its value in
    steps of its scale, or None when it has none that counts, and the time of its last sample (the start of the
    engine when there was none). Times are milliseconds of the engine's monotonic clock.
    """

    contract_id: str
    contract_hash: bytes
    severity: int
    before: int
    after: int
    faults_before: tuple[str, ...]
    faults_after: tuple[str, ...]
    values: tuple[tuple[str, int | None, int], ...]
    at_ms: int


@dataclass(frozen=True, slots=True)
class State:
    """A contract's state: its condition, the instant since which it stands, and the faults beside it."""

    condition: int
    since_ms: int
    faults: tuple[str, ...]


class Timer:
    """Idle, running since an instant, or suspended; with the time that elapsed before."""

    __slots__ = ("_elapsed", "_since", "_suspended")

    _since: int | None

    def __init__(self) -> None:
        self.stop()

    def stop(self) -> None:
        self._elapsed, self._since, self._suspended = 0, None, False

    def run(self, now: int) -> None:
        """Start, or go on if suspended."""
        if self._since is None:
            self._since, self._suspended = now, False

    def suspend(self, now: int) -> None:
        """Stand still, keeping what has elapsed; an idle timer stays idle."""
        if self._since is not None:
            self._elapsed, self._since, self._suspended = self.elapsed(now), None, True

    def elapsed(self, now: int) -> int:
        return self._elapsed + (0 if self._since is None else now - self._since)

    def due(self, span: int) -> int | None:
        """Return the instant at which a running timer reaches a span."""
        return None if self._since is None else self._since + span - self._elapsed

    def saved(self, now: int) -> int:
        """Return what elapsed, or -1 when idle."""
        return -1 if self._since is None and not self._suspended else self.elapsed(now)

    def restore(self, saved: int) -> None:
        self._elapsed, self._since, self._suspended = max(saved, 0), None, saved >= 0

    @property
    def running(self) -> bool:
        return self._since is not None


class LevelState:
    """Pre-alarm or alarm: off or on, and its one timer."""

    __slots__ = (
        "_clear",
        "_patience",
        "_spec",
        "_undecided_since",
        "_when",
        "name",
        "on",
        "timer",
        "undecided",
    )

    def __init__(self, name: str, spec: document.Level, inputs: dict[str, InputState]) -> None:
        self.name = name
        self.on = False
        self.timer = Timer()
        self.undecided = False  # and thereby a fault
        self._spec = spec
        self._when: Condition = condition(spec.when, inputs)
        self._clear: Condition = condition(spec.clear_condition, inputs)
        self._undecided_since: int | None = None
        windows = (n.span for n in expression.walk(spec.when) if isinstance(n, expression.Windowed))
        self._patience = max(windows, default=0)

    def step(self, now: int, *, all_good: bool) -> bool:
        """Evaluate at an instant; at most one change. Returns whether the level was entered."""
        when = self._when()
        self._note_undecided(now, when is None and all_good)
        self._time(now, self._clear() if self.on else when)
        due = self.timer.due(self._span)
        if due is None or due > now:
            return False
        self.on = not self.on
        self.timer.stop()
        return self.on

    def deadlines(self) -> Iterator[int]:
        due = self.timer.due(self._span)
        if due is not None:
            yield due
        if self._undecided_since is not None and not self.undecided:
            yield self._undecided_since + self._patience

    @property
    def _span(self) -> int:
        return self._spec.clear_for if self.on else self._spec.hold

    def _time(self, now: int, truth: Truth) -> None:
        if truth:
            self.timer.run(now)
        elif truth is False or (self.on and self.timer.running):
            # What is missing is never false: it stops a clearing, never a `for`.
            self.timer.stop()

    def _note_undecided(self, now: int, undecided: bool) -> None:
        if not undecided:
            self._undecided_since = None
        elif self._undecided_since is None:
            self._undecided_since = now
        since = self._undecided_since
        self.undecided = since is not None and now - since >= self._patience


class Machine:
    """A contract in operation."""

    def __init__(self, contract: Contract, start: int) -> None:
        self.contract = contract
        self.hash = contract.hash
        self.inputs = {i.alias: InputState(i.alias, i.max_age, start) for i in contract.inputs}
        self.levels: list[LevelState] = []
        if contract.pre_alarm:
            self.levels.append(LevelState("pre_alarm", contract.pre_alarm, self.inputs))
        self._alarm = LevelState("alarm", contract.alarm, self.inputs)
        self.levels.append(self._alarm)
        self._ways = [condition(each, self.inputs) for each in expression.alternatives(contract.alarm.when)]
        self._met: dict[int, int] | None = None  # which of them, and when last, while the alarm stands
        self.latched = False
        self.faults: tuple[str, ...] = ()
        self.since = start
        self.settle_deadline()

    @property
    def condition(self) -> int:
        if self._alarm.on:
            return ALARM
        if self.latched:
            return LATCHED
        return PRE_ALARM if self.levels[0].on else NORMAL

    @property
    def state(self) -> State:
        return State(self.condition, self.since, self.faults)

    def sample(self, aliases: Sequence[str], value: int, at: int, now: int) -> Transition | None:
        heard = [self.inputs[alias].sample(value, at) for alias in aliases]
        return self.evaluate(now) if any(heard) else None

    def fault(self, aliases: Sequence[str], kind: str, at: int, now: int) -> Transition | None:
        heard = [self.inputs[alias].fault(kind, at) for alias in aliases]
        return self.evaluate(now) if any(heard) else None

    def power(self, aliases: Sequence[str], at: int, now: int) -> Transition | None:
        if not self.contract.warm_up:
            return None
        cold = [self.inputs[alias].power(at + self.contract.warm_up) for alias in aliases]
        if any(cold):
            for level in self.levels:
                level.timer.suspend(now)
        return self.evaluate(now)

    def reset(self, now: int) -> Transition | None:
        before = self.condition
        self.latched = self._alarm.on and self.latched
        return self.evaluate(now, before)

    def evaluate(self, now: int, before: int | None = None) -> Transition | None:
        """Evaluate at an instant. `before` is the condition before the event, when that changed it."""
        before = self.condition if before is None else before
        for state in self.inputs.values():
            state.settle(now)
        all_good = all(state.good is not None for state in self.inputs.values())
        for level in self.levels:
            if level.step(now, all_good=all_good) and level is self._alarm:
                self.latched = self.contract.alarm.latch or self.latched
        faults = self._present_faults()
        self.settle_deadline()
        return self.changed(before, faults, now)

    def changed(self, before: int, faults: tuple[str, ...], now: int) -> Transition | None:
        """Set the faults and return the transition to the present state, if there is one."""
        after, faults_before = self.condition, self.faults
        self.faults = faults
        if after != before:
            self.since = now
        if (before, faults_before) == (after, faults):
            return None
        return Transition(
            contract_id=self.contract.id,
            contract_hash=self.hash,
            severity=document.SEVERITIES.index(self.contract.severity),
            before=before,
            after=after,
            faults_before=faults_before,
            faults_after=faults,
            values=tuple((i.alias, i.good, i.at) for i in self.inputs.values()),
            at_ms=now,
        )

    def comes_again(self, now: int) -> bool:
        """Say whether one more of the alternatives of the alarm's condition has come true while the alarm stood.

        To be asked after each evaluation, at its instant. One that was untrue for less than `clear_for` is not
        another one, nor is one that cannot be decided meanwhile.
        """
        if not self._alarm.on:
            self._met = None
            return False
        known, met = self._met, dict[int, int]()
        for index, way in enumerate(self._ways):
            truth, last = way(), (known or {}).get(index)
            if truth or (truth is None and last is not None):
                met[index] = now
            elif last is not None and now - last < self.contract.alarm.clear_for:
                met[index] = last
        self._met = met
        return known is not None and not met.keys() <= known.keys()

    def wanted(self) -> Iterator[str]:
        """Yield the outputs that the contract wants driven."""
        return (name for name, _ in self.wishes())

    def wishes(self, *, unseen: bool = False) -> Iterator[tuple[str, int]]:
        """Yield each output that the contract wants driven, and for what: PRE_ALARM, ALARM, or NORMAL for its faults.

        Args:
            unseen: as if nothing were known any more of its inputs.
        """
        actions, on_fault, now = self.contract.actions, self.contract.on_fault, self.condition
        is_faulty = bool(self.faults) or unseen
        if now >= PRE_ALARM:
            yield from ((name, PRE_ALARM) for name in actions.pre_alarm)
        if now >= ALARM or (is_faulty and on_fault == "trip"):
            yield from ((name, ALARM if now >= ALARM else NORMAL) for name in actions.alarm)
        if is_faulty and on_fault != "hold":
            yield from ((name, NORMAL) for name in actions.fault)

    def _present_faults(self) -> tuple[str, ...]:
        reasons = [f"{i.alias}:{i.reason}" for i in self.inputs.values() if i.reason]
        reasons += [f"{level.name}:undecided" for level in self.levels if level.undecided]
        return tuple(sorted(reasons))

    def settle_deadline(self) -> None:
        """Set `deadline` to the next instant at which the contract must be evaluated, if there is one."""
        dues = [due for i in self.inputs.values() if (due := i.deadline) is not None]
        for level in self.levels:
            dues += level.deadlines()
        self.deadline = min(dues, default=None)
