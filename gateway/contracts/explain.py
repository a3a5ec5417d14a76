"""What a contract says, in words, and what about it deserves a second look."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from gateway.contracts import expression as ex
from gateway.contracts.document import Contract, Level, SeriesInfo
from gateway.contracts.expression import Missing, Node, Operation, Series, Threshold, Windowed, text_of
from gateway.contracts.spans import format_span

WARNING: Final = "Not a substitute for equipment certified to EN 54, EN 50194 or EN 50291."
_CLASSES: Final = ("public", "internal", "restricted")
_ON_FAULT: Final = {
    "hold": "a fault is recorded and drives no output",
    "alert": "a fault drives its own outputs",
    "trip": "a fault drives the alarm's outputs too",
}


def explain(contract: Contract) -> str:
    """Return a contract in words, one statement a line."""
    return "\n".join(_lines(contract))


def lint(contract: Contract, catalogue: Mapping[str, SeriesInfo]) -> tuple[str, ...]:
    """Return warnings about a well-formed contract; an empty tuple when there is nothing to say.

    Args:
        contract: the contract.
        catalogue: the series that exist, by name; those it lacks are not warned of (`check_fit` refuses them).
    """
    return tuple(f"{contract.id}: {warning}" for warning in _warnings(contract, catalogue))


def _lines(contract: Contract) -> Iterator[str]:
    yield f"{contract.id}, version {contract.version}: {contract.title}"
    yield f"{contract.severity}, {contract.kind}"
    for given in contract.inputs:
        steps = f"{given.unit} in steps of 1e{given.scale}"
        yield f"reads {given.alias}: {given.series}, {steps}, missing when older than {format_span(given.max_age)}"
    if contract.pre_alarm:
        yield f"pre-alarm {_level(contract.pre_alarm)}"
    yield f"alarm {_level(contract.alarm)}"
    if contract.warm_up:
        yield f"for {format_span(contract.warm_up)} after a sensor's power-up its samples decide nothing"
    yield _ON_FAULT[contract.on_fault]
    for state in ("pre_alarm", "alarm", "fault"):
        if names := getattr(contract.actions, state):
            yield f"{state.replace('_', '-')} drives {', '.join(names)}"
    yield f"hash {contract.hash.hex()}"
    yield WARNING


def _level(level: Level) -> str:
    entered = f"when {text_of(level.when)}" + _held(level.hold)
    left = f"clear when {text_of(level.clear_condition)}" + _held(level.clear_for)
    return f"{entered}; {left}" + ("; latches until reset" if level.latch else "")


def _held(span: int) -> str:
    return f" for {format_span(span)}" if span else ""


def _warnings(contract: Contract, catalogue: Mapping[str, SeriesInfo]) -> Iterator[str]:
    yield from _input_warnings(contract, catalogue)
    for name, level in (("pre_alarm", contract.pre_alarm), ("alarm", contract.alarm)):
        if level and level.clear == 0 and not level.clear_for and any(map(_orders, ex.walk(level.when))):
            yield f"{name} has no hysteresis, clear_when or clear_for: a value near its threshold makes it flap"
    if contract.severity == "critical":
        if not contract.alarm.latch:
            yield "critical, but its alarm does not latch: it may be over before anyone has seen it"
        if not contract.actions.alarm:
            yield "critical, but its alarm drives no output"
    if contract.on_fault == "hold" and contract.actions.alarm:
        yield 'drives outputs, but on_fault = "hold": with a dead sensor it stays silent on the spot'


def _input_warnings(contract: Contract, catalogue: Mapping[str, SeriesInfo]) -> Iterator[str]:
    read = {alias for level in (contract.pre_alarm, contract.alarm) if level for alias in _aliases(level)}
    for given in contract.inputs:
        if given.alias not in read:
            yield f"input {given.alias} is read by no expression; only its faults count"
        known = catalogue.get(given.series)
        if known and known.klass:
            yield (
                f"what this contract reads is disclosed at a transition: the value of {given.series}, which is "
                f"{_CLASSES[known.klass]}, becomes public"
            )


def _aliases(level: Level) -> Iterator[str]:
    parts = (level.when,) if isinstance(level.clear, int) else (level.when, level.clear)
    for node in (n for part in parts for n in ex.walk(part)):
        match node:
            case Series(alias):
                yield alias
            case Windowed(series=series) | Missing(series) | Threshold(series):
                yield series.alias


def _orders(node: Node) -> bool:
    return isinstance(node, Threshold | Operation) and node.op in ("<", "<=", ">", ">=")
