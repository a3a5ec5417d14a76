"""Numbers as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

from gateway.chain.words import quantity

__all__ = ["quantity", "when"]


def when(time: int) -> str:
    """Return Unix ms as UTC text with milliseconds; a time beyond the calendar as the number it is."""
    try:
        moment = datetime.fromtimestamp(time // 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{time} ms after 1970"
    return f"{moment:%Y-%m-%d %H:%M:%S}.{time % 1000:03d} UTC"
