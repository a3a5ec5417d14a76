"""The format's records in words: what a series' policy leaves out, who vouches for a clock, what an event tells.

Pure, and no part of the format: hub and tools say the same of the same bytes.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from gateway.chain.block import HUB, NTP, RTC, STALE
from gateway.chain.events import Actuation, ClockStep, Earlier, Event, Outcome, Refusal, Shedding, Status
from gateway.chain.reading import Series

__all__ = [
    "REFUSED",
    "SHED",
    "describe_clock",
    "describe_event",
    "describe_policy",
    "describe_span",
    "quantity",
]

_CLOCKS: Final = {
    STALE: "nobody vouches for this gateway's clock",
    NTP: "its clock was set by a time server",
    HUB: "its clock was set by a hub",
    RTC: "its clock is a battery-backed one",
}
_STATES: Final = ("well", "degraded", "in fault", "warming up")
SHED: Final = ("", "summaries", "quiet public bodies", "the oldest bodies")
_OUTCOMES: Final = ("was done", "came too late", "was for another boot", "failed")
_CAUSES: Final = (
    "",
    "contract {}",
    "a fault ({})",
    "its longest running time being over",
    "a silence ({})",
    "a reset ({})",
    "a test ({})",
    "the gateway's program being gone",
    "the gateway's start",
    "the gateway's stop",
)
_MOVED: Final = ("", "; its read-back saw it move", "; ITS READ-BACK DID NOT SEE IT MOVE")
REFUSED: Final = {1: "command", 2: "contract grant", 3: "neighbour's message"}


def quantity(value: int, scale: int) -> str:
    """Return a scaled integer as a decimal, exactly."""
    return f"{Decimal(value).scaleb(scale):f}"


def describe_span(span: int) -> str:
    """Return milliseconds as people say them: `60 s`, `250 ms`."""
    return f"{span} ms" if span % 1000 else f"{span // 1000} s"


def describe_policy(series: Series) -> str:
    """Return which of a series' values are kept, so that a gap is not mistaken for silence."""
    sampled = f"sampled every {describe_span(series.period)}" if series.period else "taken when they come"
    if not series.longest:
        return f"every value is kept; {sampled}"
    kept = (
        f"kept when it moved by more than {quantity(series.dead_band, series.scale)} {series.unit}".rstrip()
    )
    ring = f"; every value {describe_span(series.ring)} before and after a transition" if series.ring else ""
    return f"{kept} or after {describe_span(series.longest)}; {sampled}{ring}"


def describe_clock(state: int) -> str:
    """Return who vouches for wall time."""
    return _CLOCKS[state]


def describe_event(event: Event, series: str = "") -> str:
    """Return an event in words; `series` is the name of the one that it is about, if it is about one."""
    match event:
        case Actuation():
            does = "acts" if event.active else "is back to normal"
            why = _CAUSES[event.cause].format(event.by or "nobody named")
            return f"output {event.output} {does} because of {why}{_MOVED[event.moved]}"
        case Refusal():
            number = f"{event.count} {REFUSED[event.what]}{'s' * (event.count > 1)}"
            was = "was" if event.count == 1 else "were"
            return f"{number} {was} refused: {event.reason} (the first by its SHA-256: {event.first.hex()})"
        case Outcome():
            return f"command {event.command.hex()} {_OUTCOMES[event.code]}"
        case ClockStep():
            return f"the wall clock stepped by {event.step} ms; {describe_clock(event.state)}"
        case Shedding():
            return (
                f"{SHED[event.what]} of {event.count} blocks from {event.first} to {event.last} were given up"
            )
        case Earlier():
            first, last = event.values[0].back, event.values[-1].back
            many = f"{len(event.values)} value{'s' * (len(event.values) > 1)}"
            return (
                f"{many} of series {series or event.series} from {first} ms to {last} ms before a transition"
            )
        case Status():
            why = f": {event.reason}" if event.reason else ""
            return f"series {series or event.series} is {_STATES[event.state]}{why}"
