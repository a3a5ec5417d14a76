"""Alarms of transitions that are on no disk, sent to one hub until it has signed for them.

Owns the thread that sends them and sends them again. It does not own which they are (`gateway.recording.writer`
says it), nor the alarms of transitions that have their row (`gateway.region.sync`).

Invariant: nothing here asks the store, or waits for whoever does: a disk that hangs holds up no alarm.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from gateway.mqtt.config import LinkDown
from gateway.storage.store import Transition

__all__ = ["Crier"]

_log = logging.getLogger(__name__)

_LOOK_S: Final = 1.0
_AGAIN_S: Final = 5.0


class Crier:
    """Sends what has no row yet.

    Args:
        hub: its name, for messages.
        unwritten: returns the transitions that have no row yet, at once.
        send: publishes the alarm of one; raises LinkDown where that cannot be now.
    """

    def __init__(
        self, hub: str, unwritten: Callable[[], Sequence[Transition]], send: Callable[[Transition], None]
    ) -> None:
        self._hub, self._unwritten, self._send = hub, unwritten, send
        self._sent: dict[bytes, float] = {}
        self._heard: set[bytes] = set()  # replaced as a whole, by another thread
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"crier-{hub}", daemon=True)

    def start(self) -> None:
        """Begin to look for something to send."""
        self._thread.start()

    def stop(self) -> None:
        """End; idempotent."""
        self._stopping = True
        self._wake.set()
        self._thread.join()

    def announce(self) -> None:
        """There may be something to send; without this it is found a second later."""
        self._wake.set()

    def acknowledged(self, hashes: Iterable[bytes]) -> None:
        """Take note that the hub has these alarms on its disk."""
        self._heard = {row.hash for row in self._unwritten()} & {*self._heard, *hashes}

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._cry(time.monotonic())
            except LinkDown as error:
                _log.debug("hub %s: %s", self._hub, error)
            except Exception:  # whatever it is, the next alarm must find this thread alive
                _log.exception("hub %s: an unrecorded alarm cannot be sent", self._hub)
            self._wake.wait(_LOOK_S)
            self._wake.clear()

    def _cry(self, now: float) -> None:
        rows = self._unwritten()
        self._sent = {row.hash: self._sent[row.hash] for row in rows if row.hash in self._sent}
        for row in rows:
            if row.hash not in self._heard and now - self._sent.get(row.hash, -_AGAIN_S) >= _AGAIN_S:
                self._send(row)
                self._sent[row.hash] = now
