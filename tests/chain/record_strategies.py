"""Items and records of every type, drawn from the same shapes that drive the codecs."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

from chain import examples, federation, recorded
from hypothesis import strategies as st

import gateway.chain
from gateway.chain.alarm import Transition
from gateway.chain.block import NOTHING_SEEN, Header, Seen
from gateway.chain.canonical import INT_MAX, INT_MIN, is_text
from gateway.chain.events import Earlier, Shedding
from gateway.chain.evidence import Evidence
from gateway.chain.genesis import Genesis
from gateway.chain.governance import (
    ADMIT,
    APPOINT,
    CHANGE,
    DISMISS,
    MEMBER_GOOD,
    REMOVE,
    Member,
    ProposalBody,
)
from gateway.chain.keys import NO_HASH
from gateway.chain.leaf import MISBEHAVE, SUSPEND
from gateway.chain.neighbour import MAX_RAISED, Building, NeighbourState
from gateway.chain.ordered import Breach
from gateway.chain.reading import Series
from gateway.chain.record import MAX_MILLIS, Many, Maybe, Nested, Octets, Range, Record, Text, shape
from gateway.chain.state import StateProof
from gateway.chain.tenure import EpochChange, EpochChangeBody
from gateway.chain.workmanship import PASSED, CalibrationRecord, Commissioning, Trial

_EDGES = (0, 1, 23, 24, 255, 256, 65535, 65536, (1 << 32) - 1, 1 << 32, INT_MAX, -1, -24, -25, -257, INT_MIN)
_LETTERS = st.characters(exclude_categories=("Cs",), exclude_characters="\x7f", min_codepoint=32)


def record_types() -> list[type[Record]]:
    """Every record type that a module of gateway.chain defines, in a fixed order."""
    found: dict[str, type[Record]] = {}
    for info in pkgutil.iter_modules(gateway.chain.__path__):
        module = importlib.import_module(f"gateway.chain.{info.name}")
        for each in vars(module).values():
            if isinstance(each, type) and issubclass(each, Record) and each is not Record:
                found[each.__name__] = each
    return [found[name] for name in sorted(found)]


def integers(low: int = INT_MIN, high: int = INT_MAX) -> st.SearchStrategy[int]:
    """Integers of a range, at the ends of each width more often than chance has it."""
    edges = [each for each in _EDGES if low <= each <= high] or [low]
    return st.one_of(st.sampled_from(edges), st.integers(low, high))


def texts(limit: int = 40) -> st.SearchStrategy[str]:
    """Texts that may be signed, of at most `limit` bytes in UTF-8."""
    return st.text(_LETTERS, max_size=limit // 4).filter(is_text)


def items() -> st.SearchStrategy[Any]:
    """Any item of the format, arrays as lists and nested a few deep."""
    plain = st.one_of(integers(), st.binary(max_size=300), texts())
    return st.recursive(plain, lambda each: st.lists(each, max_size=5), max_leaves=12)


def of_codec(codec: Any) -> st.SearchStrategy[Any]:
    """Values (in the record's own types) that a field's codec admits; long arrays and strings are kept short."""
    match codec:
        case Range(low, high):
            return integers(low, high)
        case Octets(low, high):
            return st.binary(min_size=low, max_size=max(low, min(high, 70)))
        case Text(limit, pattern) if pattern:
            found = st.from_regex(pattern, fullmatch=True, alphabet=_LETTERS)
            return found.filter(lambda text: len(text.encode()) <= limit)
        case Text(limit, _):
            return texts(min(limit, 40))
        case Many(low, high, each):
            return st.lists(of_codec(each), min_size=low, max_size=max(low, min(high, 3))).map(tuple)
        case Maybe(record):
            assert record is not None
            return st.one_of(st.none(), st.deferred(lambda: records(record)))
        case Nested(record):
            return st.deferred(lambda: records(record))
    raise AssertionError(codec)


def records(record: type[Record]) -> st.SearchStrategy[Any]:
    """Records of one type that keep its own checks between fields too."""
    if record in (Genesis, Evidence):  # too large to draw whole: the example's, with some fields drawn
        return st.builds(_example, st.just(record), st.integers(0, 5), texts(), integers(0, MAX_MILLIS))
    fields = st.builds(record, *(of_codec(codec) for _, codec in shape(record)))
    return fields.map(_REPAIRS.get(record, lambda value: value))


def _example(record: type[Record], which: int, name: str, created: int) -> Record:
    genesis, files = _examples()
    if record is Evidence:
        return files[which % len(files)]
    return replace(genesis[which % len(genesis)], name=name, created=created)


@cache
def _examples() -> tuple[tuple[Genesis, ...], tuple[Evidence, ...]]:
    made = examples.build()
    moved = federation.moved_evidence(recorded.seal(9))
    newcomer = federation.newcomer_evidence(recorded.seal(9))
    files = (made.reading, made.restricted, made.status, made.alarm_evidence, made.both, moved, newcomer)
    return (made.chain.genesis, moved.genesis), files


def _header(value: Header) -> Header:
    heads = {each.klass: replace(each, key_id=each.key_id if each.klass else 0) for each in value.segments}
    first = value.height == 1
    return replace(
        value,
        previous=NO_HASH if first else value.previous[:-1] + b"\1",
        wall=min(value.wall, MAX_MILLIS - value.span),
        mono=min(value.mono, MAX_MILLIS - value.span),
        seen=_seen(value.seen),
        segments=tuple(heads[klass] for klass in sorted(heads)),
    )


def _seen(value: Seen) -> Seen:
    return value if value.height else NOTHING_SEEN


def _transition(value: Transition) -> Transition:
    return replace(value, faults=tuple(sorted(set(value.faults))), counter=max(1, value.counter))


def _proof(value: StateProof) -> StateProof:
    return (
        replace(value, path=(value.path + bytes(32))[:32], value_hash=bytes(32))
        if value.path
        else replace(value, value_hash=b"")
    )


def _change(value: EpochChange) -> EpochChange:
    whole = bool(value.approver)
    return replace(value, approver=bytes(32) if whole else b"", approval=bytes(64) if whole else b"")


def _body(value: EpochChangeBody) -> EpochChangeBody:
    orphans = {(each.height, each.hash): each for each in value.orphans}
    return replace(value, orphans=tuple(orphans[at] for at in sorted(orphans)))


def _earlier(value: Earlier) -> Earlier:
    return replace(value, values=tuple(sorted(value.values, key=lambda each: -each.back)))


def _series(value: Series) -> Series:
    return value if value.longest else replace(value, dead_band=0, ring=0)


def _shedding(value: Shedding) -> Shedding:
    return replace(value, first=min(value.first, value.last), last=max(value.first, value.last))


def _member(value: Member) -> Member:
    validator = (value.validator + bytes(32))[:32] if value.validator else b""
    standing = min((MEMBER_GOOD, SUSPEND, MISBEHAVE), key=lambda each: abs(each - value.standing))
    return replace(value, validator=validator, power=value.power if validator else 0, standing=standing)


def _proposal(value: ProposalBody) -> ProposalBody:
    if value.joining is not None:
        action, name = (ADMIT if value.time % 2 else CHANGE), ""
    elif value.authority is not None:
        action, name = APPOINT, ""
    else:
        action, name = (REMOVE if value.time % 2 else DISMISS), value.name or "hub-1"
    authority = None if value.joining is not None else value.authority
    return replace(value, action=action, authority=authority, name=name)


def _breach(value: Breach) -> Breach:
    return replace(value, summons=b"" if value.lack else (value.summons + bytes(32))[:32])


def _building(value: Building) -> Building:
    members = {each.name: each for each in value.members}
    named = [
        replace(members[name], gateway=bytes([i]) * 16, key=bytes([i]) * 32)
        for i, name in enumerate(sorted(members))
    ]
    return replace(value, members=tuple(named))


def _told(value: NeighbourState) -> NeighbourState:
    raised = {each.contract: each for each in value.raised}
    order = sorted(raised.values(), key=lambda each: (-each.condition, each.contract))
    return replace(value, raised=tuple(order), more=value.more if len(order) == MAX_RAISED else 0)


def _calibration(value: CalibrationRecord) -> CalibrationRecord:
    made = min(value.made, MAX_MILLIS - 1)
    return replace(value, made=made, until=max(made + 1, value.until))


def _trial(value: Trial) -> Trial:
    if value.outcome != PASSED:
        return value
    return replace(value, alarm=(value.alarm + bytes(32))[:32], contract=value.contract or "gas-ch4")


def _commissioning(value: Commissioning) -> Commissioning:
    return replace(value, complete=0)


_REPAIRS: dict[type[Record], Callable[[Any], Record]] = {
    Header: _header,
    Seen: _seen,
    Transition: _transition,
    StateProof: _proof,
    EpochChange: _change,
    EpochChangeBody: _body,
    Series: _series,
    Earlier: _earlier,
    Shedding: _shedding,
    Member: _member,
    ProposalBody: _proposal,
    Breach: _breach,
    Building: _building,
    NeighbourState: _told,
    CalibrationRecord: _calibration,
    Trial: _trial,
    Commissioning: _commissioning,
}
