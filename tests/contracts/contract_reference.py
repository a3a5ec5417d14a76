"""SEMANTICS.md a second time, as slowly and plainly as it can be said, to hold the engine against.

It walks every millisecond, derives each input from all that was ever heard, counts timers down tick by tick,
and evaluates expressions with `Fraction` over the whole history. Nothing of the engine is used but the
document and its nodes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from gateway.contracts.document import Contract, Input, Level
from gateway.contracts.expression import (
    AtLeast,
    Constant,
    Missing,
    Node,
    Operation,
    Series,
    Threshold,
    Windowed,
)

ORDER = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}


@dataclass
class Heard:
    """All that one input heard: ("sample", value, at), ("fault", kind, at) or ("power", warm, at)."""

    spec: Input
    start: int
    events: list[tuple[str, Any, int]] = field(default_factory=list)
    fresh: int = 0  # events from here on came since the input was last not good

    def hear(self, kind: str, value: Any, at: int) -> bool:
        last = max((t for k, _, t in self.events if k != "power"), default=at)
        if kind != "power" and at < last:
            return False
        self.events.append((kind, value, at))
        return True

    def last_at(self) -> int:
        samples = [t for k, _, t in self.events if k == "sample"]
        return samples[-1] if samples else self.start

    def warm(self) -> int | None:
        return max((v for k, v, _ in self.events if k == "power"), default=None)

    def reason(self, now: int) -> str:
        kinds = [v if k == "fault" else "" for k, v, _ in self.events if k != "power"]
        if kinds and kinds[-1]:
            return str(kinds[-1])
        return "missing" if now > self.last_at() + self.spec.max_age else ""

    def good(self, now: int) -> int | None:
        samples = [(v, t) for k, v, t in self.events if k == "sample"]
        warm = self.warm()
        if self.reason(now) or not samples or (warm is not None and samples[-1][1] < warm):
            return None
        return int(samples[-1][0])

    def window(self, now: int, span: int) -> list[tuple[int, int]]:
        by_time = {t: v for k, v, t in self.events[self.fresh :] if k == "sample" and now - span < t}
        return sorted(by_time.items())


class Level2:
    """One level; `left` counts down, `running` says whether it does."""

    def __init__(self, spec: Level) -> None:
        self.spec = spec
        self.on = False
        self.left: int | None = None
        self.running = False
        self.undecided_for: int | None = None

    def patience(self) -> int:
        return max((n.span for n in _all(self.spec.when) if isinstance(n, Windowed)), default=0)


class Reference:
    """One contract."""

    def __init__(self, contract: Contract, start: int) -> None:
        self.contract = contract
        self.inputs = {i.alias: Heard(i, start) for i in contract.inputs}
        specs = {"pre_alarm": contract.pre_alarm, "alarm": contract.alarm}
        self.levels = {name: Level2(spec) for name, spec in specs.items() if spec}
        self.latched = False
        self.now = start
        self.seen: tuple[int, tuple[str, ...]] = (0, ())
        self.log: list[tuple[Any, ...]] = []

    def advance(self, to: int) -> None:
        while self.now < to:
            self.now += 1
            if self._tick():
                self._evaluate()

    def event(self, kind: str, series: str, value: Any, at: int) -> None:
        self.advance(at)
        heard = []
        for given in self.inputs.values():
            if given.spec.series != series:
                continue
            if kind != "power":
                heard.append(given.hear(kind, value, at))
            elif self.contract.warm_up:
                given.hear("power", at + self.contract.warm_up, at)
                heard.append(True)
                if given.last_at() < given.warm():
                    given.fresh = len(given.events)
                    self._suspend()
        if any(heard):
            self._evaluate()

    def reset(self, at: int) -> None:
        self.advance(at)
        if not self.levels["alarm"].on:
            self.latched = False
        self._evaluate()

    def restart(self, saved_at: int, restored_at: int) -> None:
        self.advance(saved_at)
        self._suspend()
        for given in self.inputs.values():
            reason, warm = given.reason(self.now), given.warm()
            given.events = [("fault", reason, -(10**9))] if reason else []
            if warm is not None and warm > self.now:
                given.events.append(("power", restored_at + warm - self.now, restored_at))
            given.start, given.fresh = restored_at, 0
        for level in self.levels.values():
            level.undecided_for = None
        self.now = restored_at

    def _suspend(self) -> None:
        for level in self.levels.values():
            level.running = False

    def _tick(self) -> bool:
        """Let one millisecond pass; say whether a deadline is met."""
        met = any(
            not i.reason(self.now - 1) and self.now == i.last_at() + i.spec.max_age + 1
            for i in self.inputs.values()
        )
        for level in self.levels.values():
            if level.running:
                level.left -= 1
                met = met or level.left == 0
            if level.undecided_for is not None:
                level.undecided_for += 1
                met = met or level.undecided_for == level.patience()
        return met

    def _condition(self) -> int:
        if self.levels["alarm"].on:
            return 2
        if self.latched:
            return 3
        return int("pre_alarm" in self.levels and self.levels["pre_alarm"].on)

    def _evaluate(self) -> None:
        all_good = True
        for given in self.inputs.values():
            if given.good(self.now) is None:
                given.fresh = len(given.events)
                all_good = False
        for name, level in self.levels.items():
            if self._step(level, all_good) and name == "alarm":
                self.latched = self.latched or self.contract.alarm.latch
        reasons = [f"{a}:{r}" for a, i in self.inputs.items() if (r := i.reason(self.now))]
        reasons += [f"{n}:undecided" for n, lv in self.levels.items() if self._undecided(lv)]
        state = (self._condition(), tuple(sorted(reasons)))
        if state != self.seen:
            values = tuple((a, i.good(self.now), i.last_at()) for a, i in self.inputs.items())
            self.log.append(
                (self.contract.id, self.seen[0], state[0], self.seen[1], state[1], values, self.now)
            )
        self.seen = state

    def _undecided(self, level: Level2) -> bool:
        return level.undecided_for is not None and level.undecided_for >= level.patience()

    def _step(self, level: Level2, all_good: bool) -> bool:
        when = self._truth(level.spec.when)
        if when is None and all_good:
            level.undecided_for = level.undecided_for or 0
        else:
            level.undecided_for = None
        truth = self._clear(level.spec, when) if level.on else when
        if truth is False or (truth is None and level.on and level.running):
            level.left, level.running = None, False
        if truth is True:
            if level.left is None:
                level.left = level.spec.clear_for if level.on else level.spec.hold
            level.running = True
        if level.running and level.left == 0:
            level.on, level.left, level.running = not level.on, None, False
            return level.on
        return False

    def _clear(self, spec: Level, when: bool | None) -> bool | None:
        if isinstance(spec.clear, int):
            relaxed = self._truth(spec.when, spec.clear)
            return None if relaxed is None else not relaxed
        both = [self._truth(spec.clear), None if when is None else not when]
        return False if False in both else None if None in both else True

    def _truth(self, node: Node, percent: int = 0, positive: bool = True) -> bool | None:
        if isinstance(node, Missing):
            return self.inputs[node.series.alias].reason(self.now) != ""
        if isinstance(node, Threshold):
            limit = Constant(node.value * Fraction(10) ** node.series.scale)
            return self._compare(node.op, node.series, limit, percent, positive)
        if isinstance(node, Operation) and node.op in ORDER:
            return self._compare(node.op, node.operands[0], node.operands[1], percent, positive)
        if isinstance(node, Operation) and node.op == "!":
            inner = self._truth(node.operands[0], percent, not positive)
            return None if inner is None else not inner
        truths = [self._truth(o, percent, positive) for o in node.operands]
        if isinstance(node, AtLeast):
            yes, maybe = truths.count(True), truths.count(None)
            return True if yes >= node.count else None if yes + maybe >= node.count else False
        decisive = node.op == "||"
        return decisive if decisive in truths else None if None in truths else not decisive

    def _compare(self, op: str, left: Node, right: Node, percent: int, positive: bool) -> bool | None:
        a, b = self._number(left), self._number(right)
        if a is None or b is None:
            return None
        if percent:
            shift = abs(b) * percent / 100
            b += -shift if op.startswith(">") == positive else shift
        return bool(ORDER[op](a, b))

    def _number(self, node: Node) -> Fraction | None:
        if isinstance(node, Constant):
            return node.value
        if isinstance(node, Series):
            value = self.inputs[node.alias].good(self.now)
            return None if value is None else value * Fraction(10) ** node.scale
        if isinstance(node, Windowed):
            return self._window(node)
        values = [self._number(o) for o in node.operands]
        if None in values or (node.op == "/" and values[1] == 0):
            return None
        return {
            "neg": lambda a: -a,
            "abs": abs,
            "min": min,
            "max": max,
            "+": lambda a, b: a + b,
            "-": lambda a, b: a - b,
            "*": lambda a, b: a * b,
            "/": lambda a, b: a / b,
        }[node.op](*values)

    def _window(self, node: Windowed) -> Fraction | None:
        samples = self.inputs[node.series.alias].window(self.now, node.span)
        if len(samples) < 2 or Fraction(samples[-1][0] - samples[0][0]) < Fraction(node.span, 2):
            return None
        unit = Fraction(10) ** node.series.scale
        if node.function == "mean":
            return unit * sum(v for _, v in samples) / len(samples)
        (start, first), (end, last) = samples[0], samples[-1]
        return unit * (last - first) / Fraction(end - start, 1000)


def _all(node: Node) -> list[Node]:
    return [node, *(n for o in getattr(node, "operands", ()) for n in _all(o))]
