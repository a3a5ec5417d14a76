"""Verify an evidence file offline and say in words what it proves, and how tightly.

Everything that decides is in `gateway.chain.evidence`; this file only reads the two files and words the finding.
Checkpoints of the log are verified by `firmware_tools.verify_note`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from firmware_tools.errors import BadFile
from firmware_tools.files import read_file
from firmware_tools.words import quantity, when
from gateway.chain.alarm import CONDITIONS, Deciding
from gateway.chain.errors import ChainError
from gateway.chain.events import Earlier
from gateway.chain.evidence import MAX_EVIDENCE, Finding, Raised, Stood, verify_evidence
from gateway.chain.finality import Sealed
from gateway.chain.genesis import read_trust
from gateway.chain.words import describe_clock, describe_event, describe_policy
from gateway.contracts.errors import ContractError

if TYPE_CHECKING:
    from gateway.contracts.document import Contract

_ENDS = {5: "was replaced by rotation", 6: "was revoked", 7: "was barred for equivocation"}


def verify_file(evidence: Path, trust: Path) -> Finding:
    """Return what an evidence file proves under a trust file, or a hash in its place. Raises BadFile."""
    try:
        # The hash itself will do as well: it is what people read to each other.
        given = (
            str(trust).encode()
            if re.fullmatch("[0-9a-fA-F]{64}", str(trust))
            else read_file(trust, MAX_EVIDENCE)
        )
        trusted, _ = read_trust(given)
    except ChainError as error:
        raise BadFile(f"{trust}: {error}") from error
    try:
        return verify_evidence(read_file(evidence, MAX_EVIDENCE), trusted)
    except ChainError as error:
        raise BadFile(f"{evidence} proves nothing: {type(error).__name__}: {error}") from error


def explain(finding: Finding) -> Iterator[str]:
    """Yield the finding as sentences."""
    if finding.stood:
        yield from _explain_block(finding.stood)
    if finding.raised:
        yield from _explain_alarm(finding.raised)
    yield from _explain_gateway(finding)
    if finding.raised:
        yield _known_by(finding.raised)
    if finding.stood:
        yield _signed_within(finding.stood)
    yield f"Chain: {finding.genesis.name} ({finding.genesis.hash.hex()[:16]})."


def _explain_block(stood: Stood) -> Iterator[str]:
    where = f"block {stood.header.epoch}/{stood.header.height}"
    series, at = stood.series, "" if stood.time is None else f" at {when(stood.time)}"
    if series and stood.value is not None:
        amount = f"{quantity(stood.value, series.scale)} {series.unit}"
        yield f"Reading: {series.name} ({series.quantity}) = {amount}{at}."
        yield f"Sensor: {series.sensor or 'not named'}. It stands in {where}."
    elif stood.event:
        yield f"Event: {describe_event(stood.event, series.name if series else '')}{at}. It stands in {where}."
    else:
        yield f"The alarm's transition stands in {where}."
    if series and isinstance(stood.event, Earlier) and stood.time is not None:
        taken = ((quantity(each.value, series.scale), stood.time - each.back) for each in stood.event.values)
        yield (
            "Values: " + ", ".join(f"{amount} {series.unit} at {when(time)}" for amount, time in taken) + "."
        )
    if series:
        yield f"Of this series: {describe_policy(series)}."
        if series.calibration:
            yield calibrated(series.calibration, stood.time)
    yield f"Time: {describe_clock(stood.header.clock)}."


def calibrated(data: bytes, time: int | None) -> str:
    """Say whose calibration made the value, and whether it still held."""
    from gateway.calibration.record import read_item  # only calibrated series need it
    from gateway.errors import CalibrationError

    try:
        found = read_item(data)
    except CalibrationError:
        return "Calibration: one that this software cannot read; it is signed with the series."
    by = f"Calibration: {found.source or 'of nobody named'}"
    if found.validity is None:
        return f"{by}; no technician signed it."
    signed = f"{by}; signed by the key {found.validity.signer.hex()[:16]}, good until {when(found.validity.until_ms)}"
    over = time is not None and time >= found.validity.until_ms
    return f"{signed}: it was over by then." if over else f"{signed}."


def _explain_alarm(raised: Raised) -> Iterator[str]:
    moved = raised.transition
    change = f"{CONDITIONS[moved.before]} to {CONDITIONS[moved.after]}"
    yield f"Alarm: contract {moved.contract} went from {change} at {when(moved.wall)}."
    if moved.faults:
        yield f"Faults beside it: {', '.join(moved.faults)}."
    contract = _contract(raised.document)
    if contract:
        yield f"The contract says: {contract.title} ({contract.severity})."
    if moved.values:
        yield "Deciding values: " + ", ".join(_deciding(each, contract) for each in moved.values) + "."
    if not raised.recorded:
        yield "The gateway could not write this alarm to its own disk before it sent it."


def _contract(document: bytes) -> Contract | None:
    from gateway.contracts.document import Contract  # only alarms need it, and it takes its time

    try:
        return Contract.decode(document)
    except ContractError:
        return None  # proved to be what decided, though this software cannot read it


def _deciding(value: Deciding, contract: Contract | None) -> str:
    known = next((each for each in contract.inputs if each.alias == value.alias), None) if contract else None
    if known is None:
        return f"{value.alias} = {value.value} (scaled)"
    return f"{known.series} = {quantity(value.value, known.scale)} {known.unit}"


def _explain_gateway(finding: Finding) -> Iterator[str]:
    if finding.enrolled:
        who = finding.enrolled
        since = "" if who.founding else ", an authority that the federation admitted"
        named = f"{who.name} ({finding.gateway.hex()}), region {who.region}"
        yield f"Gateway: {named}, enrolled by {who.authority}{since}."
    elif finding.imported:
        old = finding.imported
        yield (
            f"Gateway: {finding.gateway.hex()}, region {old.region}, from chain {old.chain.hex()[:16]} that this one"
            f" takes over, where its last block was {old.epoch}/{old.height}."
        )
    else:
        yield f"Gateway: {finding.gateway.hex()}, signing with a key it came to by rotation."
    as_of = f"as of final block {finding.as_of.height} ({when(finding.as_of.time)})"
    if finding.end is None:
        yield f"Its key was in force {as_of}."
    else:
        last = finding.end.last
        yield f"Its key {_ENDS[finding.end.kind]} after block {last.epoch}/{last.height}, {as_of}."


_OUTSIDE = " The claimed time lies outside these bounds."


def _known_by(raised: Raised) -> str:
    """Say when the alarm was known at the latest: that it was not known earlier, nothing can show."""
    sealed, outside = raised.accepted, raised.transition.wall > raised.accepted.time
    return f"The alarm was known by {_sealed(sealed)}, {sealed.word}.{_OUTSIDE if outside else ''}"


def _signed_within(stood: Stood) -> str:
    """Say between which sealed moments the block was signed, and how far they lie apart."""
    before, after = stood.accepted, stood.seen
    claimed = stood.header.wall if stood.time is None else stood.time
    outside = _OUTSIDE if claimed > before.time else ""
    if after is None:
        return f"The block was signed before {_sealed(before)}, {before.word}; nothing bounds it from below.{outside}"
    width = (before.time - after.time) / 1000
    bounds = f"after {_sealed(after)} and before {_sealed(before)}, {before.word}"
    return f"The block was signed {bounds}: within {width:.3f} s.{outside}"


def _sealed(sealed: Sealed) -> str:
    return f"{when(sealed.time)} (final block {sealed.height})"
