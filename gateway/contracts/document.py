"""A contract: its parts, its canonical bytes and its hash (SEMANTICS.md, sections 2 and 11).

Owns what makes a contract well formed, whatever it came from; source.py reads it from TOML. It does not know
which series exist: that a contract fits them is `Contract.check_fit`, which whoever runs it calls.

Invariants: a `Contract` is well formed; `decode` accepts exactly what `encode` emits, so equal contracts, equal
bytes and equal hashes are the same thing.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from gateway.chain import canonical
from gateway.chain.canonical import Item
from gateway.contracts import expression as ex
from gateway.contracts.errors import DocumentError, MismatchError
from gateway.contracts.expression import Node, Series
from gateway.contracts.hysteresis import relax
from gateway.contracts.program import from_program, to_program
from gateway.contracts.spans import MAX_SPAN

SEVERITIES: Final = ("info", "minor", "major", "critical")
KINDS: Final = ("rapid", "predictive")
ON_FAULT: Final = ("hold", "alert", "trip")
MAX_BYTES: Final = 16 * 1024
MAX_INPUTS: Final = 16
MAX_OUTPUTS: Final = 16
_DOMAIN: Final = b"tocsin/contract/v1\x00"
_FORM: Final = 1

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")
_ALIAS = re.compile(r"[a-z][a-z0-9_]{0,31}")
_OUTPUT = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_RESERVED: Final = (*ex.FUNCTIONS, "alarm", "pre_alarm")


@dataclass(frozen=True, slots=True)
class SeriesInfo:
    """What a contract must know of a series: its unit, its scale, and its class as in the catalogue (0 public)."""

    unit: str
    scale: int
    klass: int = 0


@dataclass(frozen=True, slots=True)
class Input:
    """An alias for a series; a value older than `max_age` ms is missing."""

    alias: str
    series: str
    unit: str
    scale: int
    max_age: int

    def __post_init__(self) -> None:
        where = f"inputs.{self.alias}"
        if not _ALIAS.fullmatch(self.alias) or self.alias in _RESERVED:
            raise DocumentError(
                f"{where}: an alias is [a-z][a-z0-9_]*, at most 32 characters, none of {', '.join(_RESERVED)}"
            )
        _check_name(f"{where}.series", self.series, 96)
        if len(self.unit.encode("utf-8", "replace")) > 24 or not canonical.is_text(self.unit):
            raise DocumentError(f"{where}.unit: a unit is a text of at most 24 bytes")
        if not -18 <= self.scale <= 18:
            raise DocumentError(f"{where}.scale: {self.scale} is not within -18 to 18")
        _check_span(f"{where}.max_age", self.max_age, least=1)

    @property
    def node(self) -> Series:
        """The input as an expression's leaf."""
        return Series(self.alias, self.unit, self.scale)


@dataclass(frozen=True, slots=True)
class Level:
    """When pre-alarm or alarm is entered and left. `clear` is a hysteresis in percent, or the expression."""

    when: Node
    hold: int
    clear: int | Node
    clear_for: int
    latch: bool = False

    def __post_init__(self) -> None:
        _check_span("for", self.hold)
        _check_span("clear_for", self.clear_for)
        if isinstance(self.clear, int) and not 0 <= self.clear <= 99:
            raise DocumentError(f"hysteresis: {self.clear} is not within 0 to 99 percent")
        _ = self.clear_condition

    @property
    def clear_condition(self) -> Node:
        """The condition under which the level is clear. ExpressionError when hysteresis cannot be applied."""
        if not isinstance(self.clear, int):
            return ex.junction("&&", (self.clear, ex.negation(self.when)))
        return ex.negation(relax(self.when, self.clear) if self.clear else self.when)


@dataclass(frozen=True, slots=True)
class Actions:
    """The names of the outputs that each state drives."""

    pre_alarm: tuple[str, ...] = ()
    alarm: tuple[str, ...] = ()
    fault: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for names in (self.pre_alarm, self.alarm, self.fault):
            if len(names) > MAX_OUTPUTS or list(names) != sorted(set(names)):
                raise DocumentError(
                    f"actions: a list names at most {MAX_OUTPUTS} outputs, in order, none twice"
                )
            for name in names:
                if not _OUTPUT.fullmatch(name):
                    raise DocumentError(
                        f"actions: {name!r:.60} is not [a-z][a-z0-9_-]*, at most 32 characters"
                    )


@dataclass(frozen=True, slots=True)
class Contract:
    """A threshold contract. Spans are milliseconds; inputs stand in order of alias.

    Raises:
        DocumentError: a part is out of bounds, or two parts contradict each other.
    """

    id: str
    version: int
    title: str
    severity: str
    kind: str
    inputs: tuple[Input, ...]
    alarm: Level
    pre_alarm: Level | None = None
    warm_up: int = 0
    on_fault: str = "alert"
    actions: Actions = Actions()

    def __post_init__(self) -> None:
        _check_name("id", self.id, 64)
        if not 1 <= self.version <= canonical.INT_MAX:
            raise DocumentError(f"version: {self.version} is not a 64-bit integer from 1")
        if not 1 <= len(self.title.encode("utf-8", "replace")) <= 200 or not canonical.is_text(self.title):
            raise DocumentError("title: a title is a text of 1 to 200 bytes, in one line")
        for key, value, words in (
            ("severity", self.severity, SEVERITIES),
            ("kind", self.kind, KINDS),
            ("on_fault", self.on_fault, ON_FAULT),
        ):
            if value not in words:
                raise DocumentError(f"{key}: {value!r:.40} is none of {', '.join(words)}")
        aliases = [i.alias for i in self.inputs]
        if not 1 <= len(aliases) <= MAX_INPUTS or aliases != sorted(set(aliases)):
            raise DocumentError(
                f"inputs: a contract has 1 to {MAX_INPUTS} inputs, in order of alias, none twice"
            )
        _check_span("warm_up", self.warm_up)
        if self.pre_alarm is not None and self.pre_alarm.latch:
            raise DocumentError("pre_alarm.latch: only an alarm latches")
        if self.on_fault == "hold" and self.actions.fault:
            raise DocumentError(
                'actions.fault: on_fault = "hold" drives no output; write "alert" or leave it empty'
            )

    @property
    def hash(self) -> bytes:
        """SHA-256 over the domain `tocsin/contract/v1` and the canonical bytes (32 bytes)."""
        return sha256(_DOMAIN + self.encode()).digest()

    def check_fit(self, series: Mapping[str, SeriesInfo]) -> None:
        """Raise MismatchError unless every input's series exists with the declared unit and scale."""
        for given in self.inputs:
            known = series.get(given.series)
            where = f"contract {self.id}: input {given.alias}"
            if known is None:
                near = difflib.get_close_matches(given.series, series, n=1, cutoff=0.5)
                hint = (
                    f"did you mean {near[0]!r}?"
                    if near
                    else f"there are {', '.join(sorted(series)) or 'none'}"
                )
                raise MismatchError(f"{where}: no series is called {given.series!r}; {hint}")
            if (known.unit, known.scale) != (given.unit, given.scale):
                raise MismatchError(
                    f"{where}: {given.series} is in {known.unit} at scale {known.scale}, but the contract says "
                    f"{given.unit} at scale {given.scale}; correct the contract's input"
                )

    def item(self) -> list[Item]:
        """Return the contract as an item of the canonical encoding."""
        actions = (self.actions.pre_alarm, self.actions.alarm, self.actions.fault)
        return [
            _FORM,
            self.id,
            self.version,
            self.title,
            SEVERITIES.index(self.severity),
            KINDS.index(self.kind),
            [[i.alias, i.series, i.unit, i.scale, i.max_age] for i in self.inputs],
            _level_item(self.pre_alarm) if self.pre_alarm else [],
            _level_item(self.alarm),
            self.warm_up,
            ON_FAULT.index(self.on_fault),
            [list(names) for names in actions],
        ]

    def encode(self) -> bytes:
        """Return the canonical bytes. DocumentError when they are over 16 KiB."""
        data = canonical.encode(self.item())
        if len(data) > MAX_BYTES:
            raise DocumentError(f"the contract takes {len(data)} bytes, at most {MAX_BYTES} are allowed")
        return data

    @classmethod
    def decode(cls, data: bytes) -> Contract:
        """Return the contract whose canonical bytes `data` is.

        Raises:
            DocumentError: the bytes are not canonical, or not those of a well-formed contract in normal form.
        """
        try:
            item = canonical.decode(data, max_size=MAX_BYTES)
        except ValueError as error:  # the format's own refusals
            raise DocumentError(f"a contract's bytes are refused: {error}") from error
        contract = _from_item(item)
        if contract.encode() != data:
            raise DocumentError("a contract's bytes are not in normal form")
        return contract


def _check_name(where: str, name: str, longest: int) -> None:
    if len(name) > longest or not _NAME.fullmatch(name):
        raise DocumentError(
            f"{where}: {name!r:.60} is not lower-case letters, digits, dots, dashes and underscores, at most {longest}"
        )


def _check_span(where: str, span: int, least: int = 0) -> None:
    if not least <= span <= MAX_SPAN:
        raise DocumentError(f"{where}: a span is {least}ms to 30d")


def _level_item(level: Level) -> list[Item]:
    clear: list[Item] = [0, level.clear] if isinstance(level.clear, int) else [1, to_program(level.clear)]
    return [to_program(level.when), level.hold, clear, level.clear_for, int(level.latch)]


def _from_item(item: Item) -> Contract:
    form, *parts = _fields(item, "contract", int, str, int, str, int, int, list, list, list, int, int, list)
    name, version, title, severity, kind, inputs, pre_alarm, alarm, warm_up, on_fault, actions = parts
    if form != _FORM:
        raise DocumentError(f"a contract of form {form} is not known here; this program reads form {_FORM}")
    read = tuple(Input(*_fields(i, "input", str, str, str, int, int)) for i in inputs)
    nodes = {i.alias: i.node for i in read}
    return Contract(
        id=name,
        version=version,
        title=title,
        severity=_word("severity", SEVERITIES, severity),
        kind=_word("kind", KINDS, kind),
        inputs=read,
        pre_alarm=_level(pre_alarm, nodes) if pre_alarm else None,
        alarm=_level(alarm, nodes),
        warm_up=warm_up,
        on_fault=_word("on_fault", ON_FAULT, on_fault),
        actions=Actions(*(_outputs(names) for names in _fields(actions, "actions", list, list, list))),
    )


def _level(item: Item, nodes: Mapping[str, Series]) -> Level:
    when, hold, clear, clear_for, latch = _fields(item, "level", list, int, list, int, int)
    form, given = _fields(clear, "clear", int, list if len(clear) == 2 and clear[0] else int)
    if form not in (0, 1) or latch not in (0, 1):
        raise DocumentError("level: clear starts with 0 or 1, and latch is 0 or 1")
    cleared = from_program(given, nodes) if form else given
    return Level(from_program(when, nodes), hold, cleared, clear_for, bool(latch))


def _outputs(names: list[Item]) -> tuple[str, ...]:
    return tuple(_fields(names, "actions", *(str for _ in names)))


def _word(where: str, words: tuple[str, ...], index: int) -> str:
    if not 0 <= index < len(words):
        raise DocumentError(f"{where}: no word has the code {index}")
    return words[index]


def _fields(item: object, where: str, *types: type) -> list[Any]:
    """Return a list's elements after checking their number and types."""
    if not isinstance(item, list) or [type(part) for part in item] != list(types):
        raise DocumentError(f"{where}: its bytes do not have the form of a {where}")
    return item
