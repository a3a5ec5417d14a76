"""What gateways say in their blocks of outputs, refusals and themselves: shown to who asks, and told as findings.

Owned: which events people should look at, and how many of them a gateway may make a finding of. Not owned: the
words (`gateway.chain.words`) and the rows (`hub.storage.notes`).

Invariants:
- Only the public segment is shown: its bytes leave by the REST interface too.
- A gateway that fills its blocks with events fills no table here: it has few findings of a kind an hour.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Final

from gateway.chain.alarm import CONDITIONS, Transition, transition_hash
from gateway.chain.block import Header
from gateway.chain.events import (
    Actuation,
    ClockStep,
    Earlier,
    Event,
    OfSeries,
    Outcome,
    Refusal,
    Shedding,
    Status,
)
from gateway.chain.reading import PUBLIC, Segment, open_segment, parse_leaf
from gateway.chain.words import describe_event
from hub.core import Core
from hub.storage.store import NewBlock, Store

UNMOVED: Final = 2
_NAMES: Final[dict[type[Event], str]] = {
    Status: "status",
    Earlier: "earlier",
    Shedding: "shedding",
    ClockStep: "clock-step",
    Outcome: "outcome",
    Actuation: "actuation",
    Refusal: "refusal",
}
_LOOK: Final = 200  # blocks that one question may have opened
_AN_HOUR_MS: Final = 3_600_000
_FINDINGS: Final = 8  # of one gateway and kind, an hour
_WORDS: Final = 3  # events that a finding tells in words


def events_of(segment: Segment | None) -> Iterator[tuple[int, Event]]:
    """Yield the events of an open segment but for its transitions, each with its leaf's index."""
    for index, leaf in segment.events if segment is not None else ():
        parsed = parse_leaf(leaf)
        if not isinstance(parsed, bytes | tuple):
            yield index, parsed


def noteworthy(event: Event) -> str:
    """Return the kind of finding that an event makes; "" for none."""
    match event:
        case Refusal():
            return "refusal"
        case Shedding():
            return "shedding"
        case Actuation() if event.moved == UNMOVED:
            return "stuck-output"
        case _:
            return ""


def show_events(header: Header, segment: Segment | None, series: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return a public segment's events as JSON, in order; `series` are the names in the catalogue, as far as known."""
    shown = []
    for index, leaf in segment.events if segment is not None else ():
        parsed = parse_leaf(leaf)
        if isinstance(parsed, bytes):
            shown.append({"leaf": index} | _show_transition(parsed))
        elif not isinstance(parsed, tuple):
            shown.append({"leaf": index} | _show_event(header, parsed, series))
    return shown


def _show_transition(body: bytes) -> dict[str, Any]:
    moved = Transition.decode(body)
    before, after = CONDITIONS[moved.before], CONDITIONS[moved.after]
    faults = ", ".join(moved.faults) or "none"
    said = f"contract {moved.contract} " + (
        f"went from {before} to {after}" if before != after else f"stays {after}; faults: {faults}"
    )
    return {"wall_ms": moved.wall, "kind": "transition", "says": said, "alarm": transition_hash(body).hex()}


def _show_event(header: Header, event: Event, series: Sequence[str]) -> dict[str, Any]:
    offset, name = getattr(event, "offset", None), ""
    if isinstance(event, OfSeries) and event.series < len(series):
        name = series[event.series]
    fields = {key: value.hex() if isinstance(value, bytes) else value for key, value in asdict(event).items()}
    fields.pop("offset", None)
    wall = None if offset is None else header.wall + offset
    return {"wall_ms": wall, "kind": _NAMES[type(event)], "says": describe_event(event, name)} | {
        "is": fields
    }


def latest_events(store: Store, gateway: bytes, limit: int) -> list[dict[str, Any]]:
    """Return the events of a gateway's latest blocks as JSON, latest first; at most `_LOOK` blocks are opened."""
    found: list[dict[str, Any]] = []
    for stored in store.latest_headers(gateway, _LOOK):
        header, at = stored.header, stored.position
        block = store.block(gateway, at) if header.segments[0].klass == PUBLIC else None
        if block is None or not block.segments[0]:
            continue
        catalogue = store.library.catalogue(header.catalogue.root) or ()
        shown = show_events(
            header, open_segment(PUBLIC, block.segments[0]), [each.name for each in catalogue]
        )
        place = {"epoch": at.epoch, "height": at.height}
        found += [place | each for each in reversed(shown)]
        if len(found) >= limit:
            break
    return found[:limit]


class Doings:
    """Makes findings of what new blocks tell. One thread at a time calls it."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._told: dict[tuple[bytes, str], deque[int]] = {}

    def look(self, new: NewBlock) -> None:
        """Note what people should look at in a block that was just stored. Raises StoreError."""
        if not new.header.segments or new.header.segments[0].klass != PUBLIC:
            return
        kinds: dict[str, list[Event]] = {}
        for _, event in events_of(new.segments[0]):
            if kind := noteworthy(event):
                kinds.setdefault(kind, []).append(event)
        for kind, events in kinds.items():
            self._note(new, kind, events)

    def _note(self, new: NewBlock, kind: str, events: Sequence[Event]) -> None:
        gateway, now = new.header.gateway, new.received
        told = self._told.setdefault((gateway, kind), deque(maxlen=_FINDINGS))
        if len(told) == _FINDINGS and now - told[0] < _AN_HOUR_MS:
            return
        told.append(now)
        said = "; ".join(describe_event(each) for each in events[:_WORDS])
        more = f"; and {len(events) - _WORDS} more" if len(events) > _WORDS else ""
        where = f"block {new.header.epoch}/{new.header.height}"
        self._core.store.notes.add_finding(now, gateway, kind, f"{where}: {said}{more}", new.block.hash)
