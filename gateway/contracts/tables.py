"""Strict reading of TOML tables into frozen dataclasses.

Owns the rule that a configuration, contract or scenario is either understood whole or refused: every
unknown key, wrong type and missing key is an error that names the place. It opens no file and knows
none of the documents it reads.

Invariants:
* A decimal in the text stays exact (`decimal.Decimal`); infinities, NaN and absurd exponents are refused.
* `true` is never an integer, and nothing is converted but an integer where a decimal is wanted (or
  either, where a float is).
* A key is its field's name; a field that would collide with a Python keyword carries one trailing
  underscore (`for_` reads the key `for`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import tomllib
import types
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from gateway.contracts.errors import ContractError

__all__ = ["TableError", "loads_toml", "read_table"]

T = TypeVar("T")

# Far beyond any quantity, and small enough that turning a decimal into an integer stays cheap.
_MAX_EXPONENT = 64
_MAX_DIGITS = 100

_NAMES = {
    str: "a string",
    int: "an integer",
    bool: "true or false",
    Decimal: "a decimal number",
    float: "a number",
    type(None): "nothing",
}


class TableError(ContractError, ValueError):
    """A table that is not what its reader declared; the message names the place, the key and the remedy."""


def loads_toml(text: str, where: str) -> dict[str, object]:
    """Parse TOML text, keeping decimals exact.

    Args:
        text: the document.
        where: its name (a path, or what it is), which starts every message.

    Raises:
        TableError: the text is not TOML, or holds a number outside `1e±64`.
    """
    try:
        return tomllib.loads(text, parse_float=_decimal)
    except ValueError as error:
        raise TableError(f"{where}: not valid TOML: {error}") from error
    except RecursionError as error:
        raise TableError(f"{where}: not valid TOML: nested too deeply") from error


def read_table(cls: type[T], table: Mapping[str, object], *, where: str) -> T:
    """Turn a TOML table into the frozen dataclass `cls`.

    Fields may be `str`, `int`, `bool`, `Decimal`, `float`, `Literal`,
    nested dataclasses, `tuple[X, ...]`, `Mapping[str, X]`, unions of these (`X | None` for optional
    keys) and `object` (anything, unread). A field with a default may be left out. A `ValueError` from
    the dataclass's own `__post_init__` is reported at its table's place.

    Args:
        cls: the dataclass.
        table: what `loads_toml` returned, or a part of it.
        where: name of the document, which starts every message.

    Raises:
        TableError: unknown key (with the nearest known one), wrong type, missing key, or a value that
            the dataclass refuses.
    """
    return cast(T, _dataclass(cls, table, _Place(where)))


@dataclasses.dataclass(frozen=True, slots=True)
class _Place:
    """Where in which document a value stands."""

    where: str
    path: str = ""

    def key(self, name: str) -> _Place:
        return _Place(self.where, f"{self.path}.{name}" if self.path else name)

    def item(self, index: int) -> _Place:
        return _Place(self.where, f"{self.path}[{index}]")

    def error(self, message: str) -> TableError:
        return TableError(
            f"{self.where}: {self.path}: {message}" if self.path else f"{self.where}: {message}"
        )


def _decimal(text: str) -> Decimal:
    with contextlib.suppress(InvalidOperation):  # an exponent beyond even Decimal's
        value = Decimal(text)
        if len(text) <= _MAX_DIGITS and value.is_finite() and abs(value.adjusted()) <= _MAX_EXPONENT:
            return value
    raise ValueError(f"the number {text[:40]} is out of range")


@cache
def _fields(cls: type) -> Mapping[str, tuple[str, Any, bool]]:
    """Key -> (field name, type, required)."""
    hints = get_type_hints(cls)
    missing = dataclasses.MISSING
    return {
        f.name.removesuffix("_"): (
            f.name,
            hints[f.name],
            f.default is missing and f.default_factory is missing,
        )
        for f in dataclasses.fields(cls)
        if f.init
    }


def _dataclass(cls: type, table: object, place: _Place) -> object:
    if not isinstance(table, Mapping):
        raise place.error(f"must be a table, not {_describe(table)}")
    fields = _fields(cls)
    for key in table:
        if key not in fields:
            raise place.key(str(key)).error(_unknown(str(key), fields))
    values = {}
    for key, (name, hint, required) in fields.items():
        if key in table:
            values[name] = _value(hint, table[key], place.key(key))
        elif required:
            raise place.key(key).error("is missing")
    try:
        return cls(**values)
    except TableError:
        raise
    except ValueError as error:
        raise place.error(str(error)) from error


def _unknown(key: str, fields: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(key, fields, n=1, cutoff=0.5)
    return (
        f"unknown key; did you mean {near[0]!r}?" if near else f"unknown key; known are {', '.join(fields)}"
    )


def _value(hint: Any, value: object, place: _Place) -> object:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is object:
        return value
    if origin in (Union, types.UnionType):
        return _union(arguments, value, place)
    if origin is Literal:
        return _literal(arguments, value, place)
    if origin is tuple:
        return _tuple(arguments, value, place)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(arguments[1], value, place)
    if dataclasses.is_dataclass(hint):
        return _dataclass(cast(type, hint), value, place)
    return _scalar(hint, value, place)


def _union(members: tuple[Any, ...], value: object, place: _Place) -> object:
    options = [m for m in members if m is not type(None)]
    if len(options) == 1:  # keeps the precise message of the one thing it may be
        return _value(options[0], value, place)
    for member in options:
        try:
            return _value(member, value, place)
        except TableError:
            continue
    raise place.error(f"must be {' or '.join(_name(m) for m in options)}, not {_describe(value)}")


def _literal(choices: tuple[object, ...], value: object, place: _Place) -> object:
    # By type as well: to Python, true equals 1.
    if any(type(value) is type(choice) and value == choice for choice in choices):
        return value
    near = difflib.get_close_matches(str(value), map(str, choices), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise place.error(f"must be one of {', '.join(map(repr, choices))}, not {_describe(value)}{hint}")


def _tuple(arguments: tuple[Any, ...], value: object, place: _Place) -> object:
    if not isinstance(value, list | tuple):
        raise place.error(f"must be a list, not {_describe(value)}")
    if arguments[-1] is Ellipsis:
        return tuple(_value(arguments[0], item, place.item(i)) for i, item in enumerate(value))
    if len(value) != len(arguments):
        raise place.error(f"must have {len(arguments)} items, not {len(value)}")
    return tuple(_value(arguments[i], item, place.item(i)) for i, item in enumerate(value))


def _mapping(hint: Any, value: object, place: _Place) -> object:
    if not isinstance(value, Mapping):
        raise place.error(f"must be a table, not {_describe(value)}")
    return {str(k): _value(hint, v, place.key(str(k))) for k, v in value.items()}


def _scalar(hint: Any, value: object, place: _Place) -> object:
    if type(value) is int and value.bit_length() > 63:  # TOML's own range
        raise place.error("the integer is out of range")
    if type(value) is hint:
        return value
    if hint is Decimal and type(value) is int:
        return Decimal(value)
    if hint is float and type(value) in (int, Decimal):
        return float(cast(Decimal, value))
    if hint not in _NAMES:
        raise TypeError(f"{place.path}: a table cannot hold {hint!r}")
    raise place.error(f"must be {_name(hint)}, not {_describe(value)}")


def _name(hint: Any) -> str:
    if get_origin(hint) is tuple:
        return "a list"
    return _NAMES.get(hint, "a table")


def _describe(value: object) -> str:
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() > 63:  # Python refuses to print the longest
        return "a huge integer"
    return f"{value}" if isinstance(value, Decimal) else f"{value!r:.60}"
