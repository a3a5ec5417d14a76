"""Somebody who is asked to cosign checkpoints: another hub, or a witness outside; by tlog-witness' `add-checkpoint`.

Owned: one asking, what was cosigned, and when to ask again. Not owned: what is asked for (`hub.witnessing.publisher`).

Invariant: an answer counts for nothing until its cosignature verifies under the key that is known of old.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.chain.errors import BadSignature, ChainError, WrongShape
from gateway.chain.notes import MAX_NOTE, Line, LogHead, Note, NoteKey, Submission, parse_lines
from hub.errors import HubError
from hub.witnessing.plainhttp import Unreached, post

_PAUSE_UNREACHED: Final = 300.0
_PAUSE_REFUSED: Final = 30.0
_TRIES: Final = 2  # the first may only learn which checkpoint comes before


class Refused(HubError):
    """A witness answers, but does not cosign."""


class Disputed(Refused):
    """A witness says that the log it was shown before is another one."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Whom to ask: a name for people, where `add-checkpoint` is, and how to come by the key just now.

    Those `outside` are asked after the hubs, whose cosignatures they may want to see. `ca_file` is as for
    `hub.witnessing.plainhttp.post`.
    """

    name: str
    url: str
    key: Callable[[], NoteKey]
    outside: bool = False
    ca_file: str = ""


@dataclass(frozen=True, slots=True)
class Given:
    """A cosignature that verified: over which text, and when it was made (Unix s)."""

    text: str
    line: Line
    time: int


class Cosigner:
    """One of those who are asked. One thread at a time calls `ask`; what it leaves may be read by any."""

    def __init__(self, asked: Asked, consistency: Callable[[int, int], tuple[bytes, ...]]) -> None:
        self.asked = asked
        self.given: Given | None = None
        self.trouble = "not asked yet"
        self._consistency = consistency
        self._round, self._tried, self._due, self._failures = 0, 0, 0.0, 0
        self._size = 0

    def is_due(self, round_: int) -> bool:
        """Tell whether to ask in a round: it has not cosigned in it, and a pause after a failure is over."""
        return self._round != round_ and time.monotonic() >= self._due

    def has_answered(self, round_: int) -> bool:
        """Tell whether it is known in a round if it cosigns: it did, or has failed just now."""
        return self._tried == round_ or time.monotonic() < self._due

    def ask(self, note: Note, round_: int) -> None:
        """Have a note cosigned. Raises Unreached, Refused, Disputed or ChainError, and is due after a pause then."""
        try:
            self.given = self._cosigned(note)
        except (ChainError, HubError) as error:
            self._failures += 1
            longest = _PAUSE_UNREACHED if isinstance(error, Unreached) else _PAUSE_REFUSED
            self._due = time.monotonic() + min(2.0 ** min(self._failures, 10), longest)
            self._tried, self.trouble = round_, str(error)
            raise
        self._round, self._tried, self._failures, self.trouble = round_, round_, 0, ""

    def _cosigned(self, note: Note) -> Given:
        size, key = LogHead.parse(note.text).size, self.asked.key()
        for _ in range(_TRIES):
            old = self._size if self._size <= size else 0
            path = self._consistency(old, size) if old else ()
            submitted = Submission(old, path, note).encode()
            status, body = post(self.asked.url, submitted, MAX_NOTE, self.asked.ca_file)
            if status == 200:
                self._size = size
                return _given(note, key, body)
            if status != 409:
                break
            self._size = _named_size(body)
            if self._size == old:
                raise Disputed(f"{self.asked.name} has another log of {old} leaves")
            if self._size > size:
                raise Refused(f"{self.asked.name} has cosigned {self._size} leaves already")
        said = body[:200].decode("utf-8", "replace").strip()
        kind = Disputed if status == 422 else Refused
        raise kind(f"{self.asked.name} does not cosign: {status} {said}")


def _given(note: Note, key: NoteKey, body: bytes) -> Given:
    try:
        lines = parse_lines(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise WrongShape("a cosignature is UTF-8") from error
    for line in lines:
        if (line.name, line.id) == (key.name, key.id):
            return Given(note.text, line, key.check(note.text, line.signature) or 0)
    raise BadSignature(f"no cosignature by {key.name} came back")


def _named_size(body: bytes) -> int:
    text = body.strip()
    if not text.isdigit() or len(text) > 19:
        raise Refused("a conflict was answered without a size")
    return int(text)
