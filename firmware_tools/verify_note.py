"""Verify a checkpoint of the log offline: who stands behind it since when, and how it relates to another one.

Everything that decides is in `gateway.chain.notes` and `gateway.chain.trees`; this file reads, joins and words.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from firmware_tools.errors import BadFile
from firmware_tools.files import read_file
from firmware_tools.trusted_log import TrustedLog, load_log
from firmware_tools.words import when
from gateway.chain.errors import BadProof, ChainError, FormatError, WrongChain
from gateway.chain.notes import MAX_NOTE, LogHead, Note, NoteKey, Signer, parse_proof
from gateway.chain.trees import check_consistency

START: Final = b"tocsin-"
"""How every note of ours begins, and no evidence file."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A checkpoint whose signatures by known keys hold, and the names of those that are not known."""

    head: LogHead
    signers: tuple[Signer, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NoteFinding:
    """What a checkpoint shows, and which other one it was shown to be of one history with."""

    log: TrustedLog
    shown: Checked
    other: Checked | None = None

    def statement(self) -> dict[str, Any]:
        """Return what is shown as plain values: times are Unix s, roots base64."""
        behind, all_ = self.log.votes(self.shown.signers)
        return {
            "genesis": self.log.genesis.hash.hex(),
            "members_as_of": None if self.log.as_of is None else self.log.as_of.height,
            "checkpoint": _plain(self.shown, self.log),
            "votes": [behind, all_],
            "consistent_with": None if self.other is None else _plain(self.other, self.log),
        }


def verify_note(
    file: Path,
    trust: Path,
    *,
    members: Path | None = None,
    witnesses: Iterable[str] = (),
    against: Path | None = None,
    proof: Path | None = None,
) -> NoteFinding:
    """Return what a checkpoint shows under a genesis file.

    Args:
        members: a file of members, where the genesis' own have changed.
        witnesses: verifier keys of witnesses outside.
        against: an earlier or later checkpoint of the log.
        proof: what `/v1/log/proof` gives for the two sizes, where they differ.

    Raises:
        BadFile: it proves nothing, or the two are not of one history.
    """
    log = load_log(trust, members)
    try:
        keys = (*log.keys, *(NoteKey.parse(each) for each in witnesses))
    except FormatError as error:
        raise BadFile(str(error)) from error
    shown = _checked(file, log, keys)
    if against is None:
        return NoteFinding(log, shown)
    other = _checked(against, log, keys)
    _compare(shown, other, proof, log)
    return NoteFinding(log, shown, other)


def _checked(file: Path, log: TrustedLog, keys: tuple[NoteKey, ...]) -> Checked:
    try:
        note = Note.parse(read_file(file, MAX_NOTE))
        head = LogHead.parse(note.text)
        if head.origin != log.origin:
            raise WrongChain(f"the log is {head.origin!r:.100}, trusted is {log.origin}")
        signers = note.verify(keys)
    except ChainError as error:
        raise BadFile(f"{file} proves nothing: {type(error).__name__}: {error}") from error
    known = {(each.name, each.id) for each in keys}
    strangers = tuple(line.name for line in note.lines if (line.name, line.id) not in known)
    return Checked(head, signers, strangers)


def _compare(one: Checked, other: Checked, proof: Path | None, log: TrustedLog) -> None:
    """Check that two checkpoints are of one history. Raises BadFile where they are not, or it is not shown."""
    old, new = sorted((one.head, other.head), key=lambda head: head.size)
    if old.size == new.size and old.root != new.root:
        names = [", ".join(sorted({_name(who, log) for who in each.signers})) for each in (one, other)]
        raise BadFile(
            f"the log was shown in two versions: of {old.size} leaves {names[0]} signed another root than {names[1]}"
        )
    if old.size in (0, new.size):
        return
    if proof is None:
        raise BadFile(
            f"two sizes need a proof: fetch /v1/log/proof?old={old.size}&new={new.size} from any hub"
        )
    try:
        start, path = parse_proof(read_file(proof, MAX_NOTE))
        if start != old.size:
            raise BadProof(f"the proof starts at {start} leaves, not at {old.size}")
        check_consistency(old.size, old.root, new.size, new.root, path)
    except ChainError as error:
        raise BadFile(f"{proof} does not lead from one to the other: {error}") from error


def explain_note(finding: NoteFinding) -> Iterator[str]:
    """Yield the finding as sentences."""
    log, shown = finding.log, finding.shown
    yield f"Checkpoint: the log has {shown.head.size} leaves, root {b64encode(shown.head.root).decode()}."
    for each in shown.signers:
        yield _signed(each, log)
    if shown.unknown:
        yield f"Signatures by keys that are not known, and were passed over: {', '.join(shown.unknown)}."
    behind, all_ = log.votes(shown.signers)
    measure = "more than two thirds" if 3 * behind > 2 * all_ else "not more than two thirds"
    yield f"Hubs with {behind} of {all_} votes stand behind it, {measure}."
    if log.as_of:
        yield f"Its members are as of final block {log.as_of.height} ({when(log.as_of.time)})."
    if finding.other:
        size = finding.other.head.size
        yield f"It is of one history with the other checkpoint, of {size} leaves: nothing was changed or taken out."
    yield f"Chain: {log.genesis.name} ({log.genesis.hash.hex()[:16]})."


def _signed(signer: Signer, log: TrustedLog) -> str:
    member = log.member(signer.key.public)
    who = f"hub {member.name} of {member.agency}" if member else f"witness {signer.key.name}"
    if signer.time is None:
        return f"Signed as the log by {who}."
    return f"Cosigned by {who} at {when(signer.time * 1000)}, by its own clock."


def _plain(checked: Checked, log: TrustedLog) -> dict[str, Any]:
    names = [_name(each, log) for each in checked.signers]
    pairs = list(zip(names, checked.signers, strict=True))
    return {
        "size": checked.head.size,
        "root": b64encode(checked.head.root).decode(),
        "signed": [name for name, each in pairs if each.time is None],
        "cosigned": [[name, each.time] for name, each in pairs if each.time is not None],
        "unknown": list(checked.unknown),
    }


def _name(signer: Signer, log: TrustedLog) -> str:
    member = log.member(signer.key.public)
    return member.name if member else signer.key.name
