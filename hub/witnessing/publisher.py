"""Checkpoints for the world: at every interval this hub's signed note of the log, with the others' cosignatures.

Owned: the thread that makes the notes, and who is asked when. Not owned: what may be signed
(`hub.witnessing.witness`), one asking (`hub.witnessing.cosigner`).

A note is of the first sealed final block in each interval of the chain's own time, so that all hubs publish the same
sizes and their notes have the same text. Each cosigner is asked in a thread of its own, once at a time: one that is
dead or slow holds up nobody. A log that has not grown is signed anew all the same: cosignatures tell the time.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from gateway.chain.errors import ChainError
from gateway.chain.leaf import NO_GATEWAY
from gateway.chain.notes import MAX_LINES, LogHead, Note, NoteKey
from hub.core import Core
from hub.errors import HubError
from hub.federation.config import PeerTable, WitnessTable
from hub.witnessing.cosigner import Asked, Cosigner, Disputed
from hub.witnessing.witness import Witness
from hub.worker import Worker

_log = logging.getLogger(__name__)

_AT_A_HUB: Final = "/v1/witness/add-checkpoint"
_LOOK_SECONDS: Final = 0.5
_PAUSE_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class _Round:
    """What is published: in which interval since 1970, as signed by this hub."""

    number: int
    note: Note | None


def asked_by(witness: Witness, peers: Sequence[PeerTable], outside: Sequence[WitnessTable]) -> list[Asked]:
    """Return whom a hub asks: the peers that have an address, by their names in the roster, and those outside."""
    asked = []
    for peer in peers:
        if peer.url:
            url, of = peer.url.rstrip("/") + _AT_A_HUB, partial(witness.key_of, peer.name)
            asked.append(Asked(peer.name, url, of, ca_file=peer.ca_file))
    for each in outside:
        url, key = each.url.rstrip("/") + "/add-checkpoint", each.key
        asked.append(Asked(key.name, url, partial(_as_is, key), outside=True, ca_file=each.ca_file))
    return asked


def _as_is(key: NoteKey) -> NoteKey:
    return key


class Publisher:
    """Publishes one hub's log. `interval_ms` is the same on all hubs of a federation."""

    def __init__(self, core: Core, witness: Witness, asked: Sequence[Asked], interval_ms: int) -> None:
        self._core, self._witness, self._interval = core, witness, interval_ms
        self._cosigners = [Cosigner(each, core.ledger.consistency) for each in asked]
        self._busy: dict[Cosigner, threading.Thread] = {}
        self._round = _Round(0, None)
        self._over = threading.Event()
        self.worker = Worker("publisher", self._run, self._over.set)

    def start(self) -> None:
        """Begin to publish."""
        self.worker.start()

    def note(self) -> Note | None:
        """Return the latest checkpoint with all cosignatures so far; None while the log is empty."""
        note = self._round.note
        if note is None:
            return None
        given = [each.given for each in self._cosigners]
        lines = [each.line for each in given if each and each.text == note.text]
        return Note(note.text, (*note.lines, *lines)[:MAX_LINES])

    def status(self) -> dict[str, Any]:
        """Return the published size, who cosigned it at what time (Unix s), and why others did not."""
        note = self._round.note
        cosigned: dict[str, int] = {}
        missing: dict[str, str] = {}
        for each in self._cosigners:
            given = each.given
            if note and given and given.text == note.text:
                cosigned[each.asked.name] = given.time
            else:
                missing[each.asked.name] = each.trouble
        size = LogHead.parse(note.text).size if note else 0
        return {"size": size, "cosigned": cosigned, "missing": missing}

    def look(self) -> None:
        """Publish where an interval has begun, and ask who is due. Raises BadProof or HubError."""
        last = self._witness.store.last_sealed()
        if last is None:
            return
        height, at = last
        if at // self._interval != self._round.number:
            self._round = self._next(at // self._interval, height)
        if self._round.note is not None:
            self._ask_due(self._round.number)

    def _next(self, number: int, height: int) -> _Round:
        first = self._witness.store.first_since(number * self._interval, height)
        checkpoint = self._core.store.chain.checkpoint(first)
        if checkpoint is None or not checkpoint.app.log_size:
            return _Round(number, self._round.note)
        return _Round(number, self._witness.publish(checkpoint))

    def _ask_due(self, number: int) -> None:
        hubs_answered = all(each.has_answered(number) for each in self._cosigners if not each.asked.outside)
        note = self.note()
        for each in self._cosigners:
            waits = each.asked.outside and not hubs_answered
            if note and not waits and each.is_due(number) and not self._is_busy(each):
                self._set_out(each, note, number)

    def _is_busy(self, cosigner: Cosigner) -> bool:
        thread = self._busy.get(cosigner)
        return thread is not None and thread.is_alive()

    def _set_out(self, cosigner: Cosigner, note: Note, number: int) -> None:
        # A daemon: at the end nobody waits for one who answers byte by byte.
        work, name = (cosigner, note, number), f"ask {cosigner.asked.name}"
        self._busy[cosigner] = thread = threading.Thread(target=self._ask, args=work, name=name, daemon=True)
        thread.start()

    def _ask(self, cosigner: Cosigner, note: Note, number: int) -> None:
        before = cosigner.trouble
        try:
            cosigner.ask(note, number)
        except Disputed as error:
            if str(error) != before:
                self._dispute(str(error))
        except (ChainError, HubError) as error:
            if str(error) != before:
                _log.warning("no cosignature: %s", error)

    def _dispute(self, said: str) -> None:
        """Tell people that a witness knows another log: either it lies, or somebody else signed two."""
        _log.error("%s", said)
        try:
            self._core.store.notes.add_finding(self._core.now_ms(), NO_GATEWAY, "log-disputed", said)
        except HubError as error:
            _log.error("the dispute could not be recorded: %s", error)

    def _run(self) -> None:
        pause = _LOOK_SECONDS
        while not self._over.wait(pause):
            pause = _PAUSE_SECONDS
            try:
                self.look()
                pause = _LOOK_SECONDS
            except (ChainError, HubError) as error:
                _log.error("no checkpoint is published: %s", error)
            except Exception:
                _log.exception("a defect in publishing the log")
