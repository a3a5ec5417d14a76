"""Spans of time as contracts write them (`500ms`, `30s`, `2m`, `24h`, `7d`), in whole milliseconds."""

from __future__ import annotations

import re

_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SPAN = re.compile(r"([0-9]{1,12})(ms|s|m|h|d)")
MAX_SPAN = 30 * _UNITS["d"]


def parse_span(text: str) -> int:
    """Return the milliseconds of a span. ValueError when it is not one, or over 30 days."""
    match = _SPAN.fullmatch(text)
    if not match:
        raise ValueError(
            f"{text[:40]!r} is not a span; write one number and one unit, as in 500ms, 30s, 2m, 24h, 7d"
        )
    span = int(match[1]) * _UNITS[match[2]]
    if span > MAX_SPAN:
        raise ValueError(f"the span {text} is over 30d")
    return span


def format_span(span: int) -> str:
    """Return the text of a span in the largest unit that leaves a whole number."""
    unit = next(u for u in reversed(_UNITS) if span % _UNITS[u] == 0) if span else "s"
    return f"{span // _UNITS[unit]}{unit}"
