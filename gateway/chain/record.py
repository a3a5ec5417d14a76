"""Records: frozen dataclasses whose annotations are their wire shape.

A record is an array of exactly its fields, in order. The annotation of a field says what it may hold, and the
same annotations drive encoding, strict decoding and the annotated dumps of FORMAT.md, so there is one place
to read and one place to be wrong. A field that can be absent has an empty value (0, h'', "", []), said where
it is declared.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from typing import Annotated, Any, Protocol, Self, TypeVar, get_args, get_origin, get_type_hints

from gateway.chain.canonical import INT_MAX, INT_MIN, MAX_MESSAGE, Item, decode, encode
from gateway.chain.errors import FormatError, TooLarge, WrongShape


class Codec(Protocol):
    """How one field goes to and from its item."""

    def load(self, item: Item, where: str) -> Any: ...
    def dump(self, value: Any) -> Item: ...


@dataclass(frozen=True, slots=True)
class Range:
    """An integer from `low` to `high`, both included."""

    low: int
    high: int

    def load(self, item: Item, where: str) -> int:
        if type(item) is int and self.low <= item <= self.high:
            return item
        raise WrongShape(f"{where}: expected an integer from {self.low} to {self.high}")

    def dump(self, value: int) -> Item:
        return value


@dataclass(frozen=True, slots=True)
class Octets:
    """A byte string of `low` to `high` bytes."""

    low: int
    high: int

    def load(self, item: Item, where: str) -> bytes:
        if type(item) is bytes and self.low <= len(item) <= self.high:
            return item
        if type(item) is not bytes:
            raise WrongShape(f"{where}: expected a byte string")
        error = TooLarge if len(item) > self.high else WrongShape
        raise error(f"{where}: {len(item)} bytes, expected {self.low} to {self.high}")

    def dump(self, value: bytes) -> Item:
        return value


@dataclass(frozen=True, slots=True)
class Text:
    """A text of at most `limit` UTF-8 bytes, all of it matching `pattern` where one is given."""

    limit: int
    pattern: str = ""

    def load(self, item: Item, where: str) -> str:
        if type(item) is not str:
            raise WrongShape(f"{where}: expected a text")
        if len(item.encode("utf-8", "surrogatepass")) > self.limit:
            raise TooLarge(f"{where}: longer than {self.limit} bytes")
        if self.pattern and not re.fullmatch(self.pattern, item):
            raise WrongShape(f"{where}: {item!r} does not match {self.pattern}")
        return item

    def dump(self, value: str) -> Item:
        return value


@dataclass(frozen=True, slots=True)
class Many:
    """An array of `low` to `high` values of one codec."""

    low: int
    high: int
    each: Codec | None = None

    def load(self, item: Item, where: str) -> tuple[Any, ...]:
        assert self.each is not None
        if type(item) is not list and type(item) is not tuple:
            raise WrongShape(f"{where}: expected an array")
        if not self.low <= len(item) <= self.high:
            error = TooLarge if len(item) > self.high else WrongShape
            raise error(f"{where}: {len(item)} items, expected {self.low} to {self.high}")
        return tuple(self.each.load(part, f"{where}[{i}]") for i, part in enumerate(item))

    def dump(self, value: tuple[Any, ...]) -> Item:
        assert self.each is not None
        return [self.each.dump(part) for part in value]


@dataclass(frozen=True, slots=True)
class Nested:
    """Another record."""

    record: type[Record]

    def load(self, item: Item, where: str) -> Record:
        return self.record.from_item(item, where)

    def dump(self, value: Record) -> Item:
        return value.to_item()


@dataclass(frozen=True, slots=True)
class Maybe:
    """A record, or the empty array where there is none (None in Python)."""

    record: type[Record] | None = None

    def load(self, item: Item, where: str) -> Record | None:
        assert self.record is not None
        return None if item == [] else self.record.from_item(item, where)

    def dump(self, value: Record | None) -> Item:
        return [] if value is None else value.to_item()


class Record:
    """Base of all records. Subclasses are frozen dataclasses; they override nothing but may add checks."""

    def to_item(self) -> list[Item]:
        """Return the array of this record's fields."""
        return [codec.dump(getattr(self, name)) for name, codec in shape(type(self))]

    @classmethod
    def from_item(cls, item: Item, where: str = "") -> Self:
        """Build the record from an array. Raises WrongShape or TooLarge naming the field."""
        where = where or cls.__name__
        codecs = shape(cls)
        if (type(item) is not list and type(item) is not tuple) or len(item) != len(codecs):
            raise WrongShape(f"{where}: expected an array of {len(codecs)} fields")
        try:
            record = cls(*[codec.load(part, name) for part, (name, codec) in zip(item, codecs, strict=True)])
        except FormatError as error:  # naming the field only now keeps the common case quick
            raise type(error)(f"{where}.{error}") from error
        record.check(where)
        return record

    def check(self, where: str) -> None:
        """Check what holds between fields. Raises WrongShape."""

    def encode(self) -> bytes:
        """Return the record's bytes. Raises WrongShape when a field is out of its range."""
        item = self.to_item()
        self.from_item(item)
        return encode(item)

    @classmethod
    def decode(cls, data: bytes, *, max_size: int = MAX_MESSAGE) -> Self:
        """Build the record from exactly its bytes. Raises FormatError."""
        return cls.from_item(decode(data, max_size=max_size))


def _shape(record: type[Record]) -> tuple[tuple[str, Codec], ...]:
    hints = get_type_hints(record, include_extras=True)
    return tuple((field.name, _codec(hints[field.name])) for field in fields(record))  # type: ignore[arg-type]


shape: Callable[[type[Record]], tuple[tuple[str, Codec], ...]] = cache(_shape)  # type: ignore[assignment]
"""The fields of a record type with their codecs, in wire order."""


def _codec(hint: Any) -> Codec:
    if get_origin(hint) is not Annotated:
        return Nested(hint)
    base, codec = get_args(hint)[:2]
    if isinstance(codec, Many):
        return Many(codec.low, codec.high, _codec(get_args(base)[0]))
    if isinstance(codec, Maybe):
        return Maybe(next(part for part in get_args(base) if part is not type(None)))
    return codec  # type: ignore[no-any-return]


T = TypeVar("T")

UInt = Annotated[int, Range(0, INT_MAX)]
Int = Annotated[int, Range(INT_MIN, INT_MAX)]
MAX_MILLIS = (1 << 53) - 1  # every language can count so far, and sums of two still fit
Millis = Annotated[int, Range(0, MAX_MILLIS)]  # milliseconds since 1970-01-01 UTC, or a span of milliseconds
ClockState = Annotated[int, Range(0, 3)]  # who vouches for wall time: `gateway.chain.block` names them
Suite = Annotated[int, Range(1, 255)]
Hash = Annotated[bytes, Octets(32, 32)]
PublicKey = Annotated[bytes, Octets(32, 32)]
Signature = Annotated[bytes, Octets(64, 64)]
GatewayId = Annotated[bytes, Octets(16, 16)]
BootNonce = Annotated[bytes, Octets(8, 8)]
Blob = Annotated[bytes, Octets(0, MAX_MESSAGE)]
Name = Annotated[str, Text(64, r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")]
Label = Annotated[str, Text(200)]
