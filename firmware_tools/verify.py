"""Verify an evidence file offline and say in words what it proves, and how tightly.

Everything that decides is in `gateway.chain.evidence`; this file only reads the two files and words the finding.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from firmware_tools.errors import BadFile
from gateway.chain.alarm import CONDITIONS
from gateway.chain.errors import ChainError
from gateway.chain.evidence import MAX_EVIDENCE, Finding, Raised, Stood, verify_evidence
from gateway.chain.finality import Sealed
from gateway.chain.genesis import read_trust

_ENDS = {5: "was replaced by rotation", 6: "was revoked", 7: "was barred for equivocation"}


def verify_file(evidence: Path, trust: Path) -> Finding:
    """Return what an evidence file proves under a trust file. Raises BadFile naming the file and the fault."""
    try:
        trusted, _ = read_trust(_read(trust))
    except ChainError as error:
        raise BadFile(f"{trust}: {error}") from error
    try:
        return verify_evidence(_read(evidence), trusted)
    except ChainError as error:
        raise BadFile(f"{evidence}: {type(error).__name__}: {error}") from error


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_EVIDENCE + 1)
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror}") from error


def explain(finding: Finding) -> Iterator[str]:
    """Yield the finding as sentences."""
    if finding.stood:
        yield from _explain_block(finding.stood)
    if finding.raised:
        yield from _explain_alarm(finding.raised)
    yield from _explain_gateway(finding)
    claimed, after, before = _bounds(finding)
    yield _width(claimed, after, before)
    yield f"Chain: {finding.genesis.name} ({finding.genesis.hash.hex()[:16]})."


def _explain_block(stood: Stood) -> Iterator[str]:
    where = f"block {stood.header.epoch}/{stood.header.height}"
    if stood.reading:
        series, time, value = stood.reading
        amount = f"{quantity(value, series.scale)} {series.unit}"
        yield f"Reading: {series.name} ({series.quantity}) = {amount} at {when(time)}."
        yield f"Sensor: {series.sensor or 'not named'}. It stands in {where}."
    elif stood.event:
        yield f"Event: {stood.event}. It stands in {where}."
    else:
        yield f"The alarm's transition stands in {where}."


def _explain_alarm(raised: Raised) -> Iterator[str]:
    moved = raised.transition
    change = f"{CONDITIONS[moved.before]} to {CONDITIONS[moved.after]}"
    yield f"Alarm: contract {moved.contract} went from {change} at {when(moved.wall)}."
    if moved.faults:
        yield f"Faults beside it: {', '.join(moved.faults)}."
    if moved.values:
        yield "Deciding values: " + ", ".join(f"{each.alias} = {each.value}" for each in moved.values) + "."
    if not raised.recorded:
        yield "The gateway could not write this alarm to its own disk before it sent it."


def _explain_gateway(finding: Finding) -> Iterator[str]:
    if finding.enrolled:
        who = finding.enrolled
        yield f"Gateway: {who.name} ({finding.gateway.hex()}), region {who.region}, enrolled by {who.authority}."
    else:
        yield f"Gateway: {finding.gateway.hex()}, signing with a key it came to by rotation."
    as_of = f"as of final block {finding.as_of.height} ({when(finding.as_of.time)})"
    if finding.end is None:
        yield f"Its key was in force {as_of}."
    else:
        last = finding.end.last
        yield f"Its key {_ENDS[finding.end.kind]} after block {last.epoch}/{last.height}, {as_of}."


def _bounds(finding: Finding) -> tuple[int, Sealed | None, Sealed]:
    """Return the claimed time and the seals before and after which the item was not signed."""
    if finding.raised:
        seen = finding.stood.seen if finding.stood else None
        return finding.raised.transition.wall, seen, finding.raised.accepted
    assert finding.stood is not None
    claimed = finding.stood.reading[1] if finding.stood.reading else finding.stood.header.wall
    return claimed, finding.stood.seen, finding.stood.accepted


def _width(claimed: int, after: Sealed | None, before: Sealed) -> str:
    late = f"before {when(before.time)} (final block {before.height}, {before.word})"
    outside = " The claimed time lies outside these bounds." if claimed > before.time else ""
    if after is None:
        return f"Signed {late}; nothing bounds it from below.{outside}"
    if claimed < after.time:
        outside = " The claimed time lies outside these bounds."
    width = (before.time - after.time) / 1000
    return f"Signed after {when(after.time)} (final block {after.height}) and {late}: within {width:.3f} s.{outside}"


def quantity(value: int, scale: int) -> str:
    """Return a scaled integer as a decimal, exactly."""
    return f"{Decimal(value).scaleb(scale):f}"


def when(time: int) -> str:
    """Return Unix ms as UTC text with milliseconds; a time beyond the calendar as the number it is."""
    try:
        moment = datetime.fromtimestamp(time // 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{time} ms after 1970"
    return f"{moment:%Y-%m-%d %H:%M:%S}.{time % 1000:03d} UTC"
