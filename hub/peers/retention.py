"""Retention: segments are given up once their class' time and every promise about them have run out.

Owned: what may be given up, and the pace. Not owned: the rows (`hub.storage.bodies`); headers, which are kept for ever.

Invariants:
- An archive gives nothing up.
- Nothing is given up that this hub promised to keep still, whoever else may hold it: a lack that is signed before the
  promise's end is a breach on the chain.
- Each shedding is on record, with its time and reason.
"""

from __future__ import annotations

import logging
import threading
from typing import Final

from hub.core import Core
from hub.errors import HubError
from hub.peers.policy import Policy
from hub.storage.bodies import Holding
from hub.worker import Worker

_log = logging.getLogger(__name__)

_EVERY_SECONDS: Final = 3600.0
_PAGE: Final = 256
_PAUSE_SECONDS: Final = 0.2
MARK: Final = "retention"
WHY: Final = "kept as long as its class is"


class Retention:
    """One thread that gives up what is over. `sweep` is for it, or for a test."""

    def __init__(self, core: Core, policy: Policy) -> None:
        self._core, self._policy = core, policy
        self._over = threading.Event()
        self.worker = Worker("retention", self._run, self._over.set)

    def _run(self) -> None:
        while not self._over.wait(_EVERY_SECONDS):
            try:
                self.sweep()
            except HubError as error:
                _log.error("nothing is given up just now: %s", error)
            except Exception:
                _log.exception("a defect in retention")

    def sweep(self) -> int:
        """Give up what is over and return how many segments that was. Raises StoreError."""
        if self._policy.archive:
            return 0
        bodies, now, count = self._core.store.bodies, self._core.now_ms(), 0
        cursor = empty = bodies.mark(MARK)
        oldest, is_bare = now - min(self._policy.keep_ms), True
        while page := bodies.holdings(cursor, oldest, _PAGE):
            due = {holding.id: self._due(holding, now) for holding in page}
            if segments := [segment for found in due.values() for segment in found]:
                bodies.shed(segments, now, WHY)
            count += len(segments)
            for (
                holding
            ) in page:  # what lies below the first one that holds anything still is never looked at again
                is_bare = is_bare and len(due[holding.id]) == len(holding.held)
                empty = holding.id if is_bare else empty
            cursor = page[-1].id
            if self._over.wait(_PAUSE_SECONDS if segments else 0.0):
                break
        bodies.set_mark(MARK, empty)
        return count

    def _due(self, holding: Holding, now: int) -> list[int]:
        """Return the segments of a block (by row) that may be given up."""
        old = [
            (index, klass)
            for index, klass in holding.held
            if now - holding.received > self._policy.keep_ms[klass]
        ]
        if not old:
            return []
        at = holding.position
        promised = 0
        for promise in self._core.store.custody.promises(holding.gateway, at.epoch, at.height):
            if promise.hash == at.hash and promise.keep_until >= now:
                promised |= promise.classes
        return [holding.id * 4 + index for index, klass in old if not promised >> klass & 1]
