"""Alarms from before this hub's first final block: had from other hubs by one that joined with a snapshot.

Owned: up to which leaf the log was looked through (mark `past alarms`, one more than its place; 0 where there is
nothing to look for). Not owned: the asking (`hub.peers.pull`). The log names every accepted alarm; its bytes are
believed for that and for a key of their gateway.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Final

from gateway.chain.alarm import Alarm
from gateway.chain.errors import BadProof, BadSignature
from gateway.chain.leaf import ALARMS, LogLeaf
from hub.core import Core
from hub.peers.history import PAST_ALARMS
from hub.peers.wire import MAX_ALARMS

_PAGE: Final = 1024
_NOT_THERE_SECONDS: Final = 600.0


class PastAlarms:
    """What the log names and is not here. Safe for several threads; one at a time asks."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._lock = threading.Lock()
        self._deferred: dict[bytes, float] = {}

    def take(self, hub: bytes) -> dict[bytes, LogLeaf]:
        """Return leaves to ask a hub (by key) for, by alarm hash; `release` if there are any."""
        if self._deferred.get(hub, 0.0) > time.monotonic() or not self._lock.acquire(blocking=False):
            return {}
        try:
            found = self._look()
        except BaseException:
            self._lock.release()
            raise
        if not found:
            self._lock.release()
        return found

    def defer(self, hub: bytes) -> None:
        """Do not ask a hub for some time: it has not all that the log names."""
        self._deferred[hub] = time.monotonic() + _NOT_THERE_SECONDS

    def release(self) -> None:
        """Let others ask."""
        self._lock.release()

    def keep(self, wanted: dict[bytes, LogLeaf], alarms: Sequence[Alarm]) -> None:
        """Store alarms that were asked for. Raises BadProof, BadSignature, StoreError."""
        core, rows = self._core, []
        for alarm in alarms:
            leaf = wanted.get(alarm.hash)
            if leaf is None or leaf.height != alarm.mark:
                raise BadProof(
                    "an alarm that was not asked for, or with another mark than it became final with"
                )
            self._check(alarm, leaf.gateway)
            rows.append((leaf.gateway, alarm, ""))
        core.store.add_alarms(rows, core.now_ms())

    def _look(self) -> dict[bytes, LogLeaf]:
        """Return the next alarms of the log that are not here, and note how far all of them are."""
        store, found = self._core.store, dict[bytes, LogLeaf]()
        begun = reached = store.bodies.mark(PAST_ALARMS) - 1
        if reached < 0:
            return found
        rows = store.database.rows(
            "SELECT place, leaf FROM log WHERE place >= ? ORDER BY place LIMIT ?", (reached, _PAGE)
        )
        for place, data in rows:
            leaf = LogLeaf.decode(data)
            if leaf.kind == ALARMS and not store.alarms(
                transition=leaf.hash, gateway=leaf.gateway, flaw="", limit=1
            ):
                found[leaf.hash] = leaf
            if not found:
                reached = place + 1
            if len(found) == MAX_ALARMS:
                break
        if reached != begun:
            store.bodies.set_mark(PAST_ALARMS, reached + 1)
        return found

    def _check(self, alarm: Alarm, gateway: bytes) -> None:
        """Check an alarm under any key that ever was its gateway's: which one spoke then, its finality decided."""
        entry = self._core.entry(gateway)
        for span in entry.keys if entry else ():
            try:
                alarm.verify(span.key)
            except BadSignature:
                continue
            return
        raise BadSignature(f"an alarm is not of gateway {gateway.hex()[:16]}")
