"""From a contract's TOML to a `Contract` (SEMANTICS.md, section 2). Opens no file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from gateway.contracts.document import Actions, Contract, Input, Level
from gateway.contracts.errors import DocumentError
from gateway.contracts.expression import Series
from gateway.contracts.parse import parse
from gateway.contracts.spans import parse_span
from gateway.contracts.tables import TableError, loads_toml, read_table


@dataclass(frozen=True, slots=True)
class _Input:
    series: str
    unit: str
    scale: int
    max_age: str


@dataclass(frozen=True, slots=True)
class _Level:
    when: str
    for_: str = "0s"
    hysteresis: int | None = None
    clear_when: str | None = None
    clear_for: str = "0s"
    latch: bool = False


@dataclass(frozen=True, slots=True)
class _Actions:
    pre_alarm: tuple[str, ...] = ()
    alarm: tuple[str, ...] = ()
    fault: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Document:
    id: str
    version: int
    title: str
    severity: Literal["info", "minor", "major", "critical"]
    kind: Literal["rapid", "predictive"]
    inputs: Mapping[str, _Input]
    alarm: _Level
    pre_alarm: _Level | None = None
    warm_up: str = "0s"
    on_fault: Literal["hold", "alert", "trip"] = "alert"
    actions: _Actions = field(default_factory=_Actions)


def read_contract(text: str, where: str) -> Contract:
    """Read a contract from TOML text.

    Args:
        text: the document.
        where: its name, which starts every message.

    Raises:
        DocumentError: the text is no TOML, a key is unknown, missing or of the wrong type, or what it says is
            refused (ExpressionError for an expression).
    """
    try:
        document = read_table(_Document, loads_toml(text, where), where=where)
    except TableError as error:
        raise DocumentError(str(error)) from error
    try:
        return _contract(document)
    except DocumentError as error:
        raise type(error)(f"{where}: {error}") from error


def _contract(document: _Document) -> Contract:
    inputs = tuple(_input(alias, table) for alias, table in sorted(document.inputs.items()))
    nodes = {i.alias: i.node for i in inputs}
    actions = (document.actions.pre_alarm, document.actions.alarm, document.actions.fault)
    contract = Contract(
        id=document.id,
        version=document.version,
        title=document.title,
        severity=document.severity,
        kind=document.kind,
        inputs=inputs,
        pre_alarm=_level("pre_alarm", document.pre_alarm, nodes) if document.pre_alarm else None,
        alarm=_level("alarm", document.alarm, nodes),
        warm_up=_span("warm_up", document.warm_up),
        on_fault=document.on_fault,
        actions=Actions(*(tuple(sorted(names)) for names in actions)),
    )
    contract.encode()  # refuses what would not fit a message
    return contract


def _input(alias: str, table: _Input) -> Input:
    max_age = _span(f"inputs.{alias}.max_age", table.max_age)
    return Input(alias, table.series, table.unit, table.scale, max_age)


def _level(name: str, table: _Level, nodes: Mapping[str, Series]) -> Level:
    if table.hysteresis is not None and table.clear_when is not None:
        raise DocumentError(f"{name}: write hysteresis or clear_when, not both")
    hold, clear_for = _span(f"{name}.for", table.for_), _span(f"{name}.clear_for", table.clear_for)
    try:
        when = parse(table.when, nodes)
        clear = parse(table.clear_when, nodes) if table.clear_when is not None else table.hysteresis or 0
        return Level(when, hold, clear, clear_for, table.latch)
    except DocumentError as error:
        raise type(error)(f"{name}: {error}") from error


def _span(where: str, text: str) -> int:
    try:
        return parse_span(text)
    except ValueError as error:
        raise DocumentError(f"{where}: {error}") from error
