"""Chart summaries: what a segment's row says of its readings besides the bytes themselves.

Pure. Nobody signed them and all of them can be made again, so a damaged one costs a look into its segment and
nothing else; the audit compares each with its readings.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final

import cbor2

from gateway.chain.block import Header
from gateway.chain.canonical import INT_MAX, decode
from gateway.chain.errors import FormatError
from gateway.chain.reading import Segment, open_segment
from hub.errors import StoreError

_FIELDS: Final = 6


@dataclass(frozen=True, slots=True)
class Summary:
    """One series within one block. `total` is the sum of its scaled values."""

    series: int
    count: int
    least: int
    most: int
    last: int
    total: int


def pack_summaries(segment: Segment | None) -> bytes:
    """Return a segment's summaries as its row holds them: one flat array, six items a series.

    None, a segment that only another can open, has none.
    """
    flat: list[int | str] = []
    for row in _rows(segment):
        # A sum may exceed 64 bits where single values are near them: it then goes as text.
        flat += row if abs(row[-1]) <= INT_MAX else (*row[:-1], str(row[-1]))
    return cbor2.dumps(flat)


def unpack_summaries(data: bytes) -> list[Summary]:
    """Return the summaries that a segment's row holds. Raises StoreError where they are damaged."""
    try:
        items: Any = decode(data)
        if not isinstance(items, list) or len(items) % _FIELDS:
            raise ValueError(f"no array of {_FIELDS} items a series")
        rows = [items[at : at + _FIELDS] for at in range(0, len(items), _FIELDS)]
        if any(type(item) is not int for *row, _ in rows for item in row):
            raise ValueError("a summary counts in integers")
        return [
            Summary(series, count, least, most, last, int(total))
            for series, count, least, most, last, total in rows
        ]
    except (FormatError, ValueError, TypeError) as error:
        raise StoreError(f"the summary kept for charts is damaged: {error}") from error


def summarise(header: Header, index: int, data: bytes) -> list[Summary]:
    """Return the summaries of a header's segment, made of its bytes; none where those cannot be opened."""
    if not data or index >= len(header.segments) or header.segments[index].key_id:
        return []
    try:
        return summaries_of(open_segment(header.segments[index].klass, data))
    except FormatError:
        return []


def summaries_of(segment: Segment | None) -> list[Summary]:
    """Return the summaries of a segment's readings, by series."""
    return [Summary(*row) for row in _rows(segment)]


def _rows(segment: Segment | None) -> list[tuple[int, ...]]:
    """Return the fields of a segment's summaries; plain, because intake packs them for every block."""
    values: defaultdict[int, list[int]] = defaultdict(list)
    for series, value in zip(segment.series, segment.values, strict=True) if segment else ():
        values[series].append(value)
    return [
        (series, len(own), min(own), max(own), own[-1], sum(own)) for series, own in sorted(values.items())
    ]
