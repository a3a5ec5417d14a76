"""Who is asked for which missing body: one hub at a time, those first that promised to hold it.

Owned: what is being asked for just now, and which hub was asked in vain and when it may be asked again; in memory,
because what is missing is on disk. Not owned: the asking (`hub.peers.pull`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

from hub.peers.policy import Policy
from hub.storage.bodies import Bodies, Lacking

_PAGE: Final = 256
_TOP: Final = (1 << 63) - 1
_MAX_DEFERRED: Final = 100_000
_LEAVE: Final = 5
"""So many times the patience a body is left to those hubs that promised it, while one of them answers."""


class Claims:
    """Shares out what is missing. Safe for several threads."""

    def __init__(self, bodies: Bodies, policy: Policy, now_ms: Callable[[], int]) -> None:
        self._bodies, self._policy, self._now_ms = bodies, policy, now_ms
        self._lock = threading.Lock()
        self._taken: set[int] = set()
        self._deferred: dict[tuple[bytes, int], float] = {}
        self._cursors: dict[tuple[bytes, str], int] = {}

    def wanted(self) -> dict[str, int]:
        """Return the classes wanted of each region of which any body is missing."""
        regions = self._bodies.regions_missing()
        return {region: classes for region in regions if (classes := self._policy.wants(region))}

    def take(self, hub: bytes, limit: int, is_up: Callable[[bytes], bool]) -> tuple[int, list[Lacking]]:
        """Return classes and up to `limit` blocks to ask a hub (by key) for; give all of them back with `release`.

        `is_up` tells whether a hub answers: what such a one promised is left to it for a while.
        """
        with self._lock:
            for region, classes in self.wanted().items():
                found: list[Lacking] = []
                for each in self._candidates(hub, region, classes, is_up):
                    if each.classes & classes == (found or [each])[0].classes & classes:
                        found.append(each)
                    if len(found) == limit:
                        break
                if found:
                    self._taken |= {each.id for each in found}
                    return found[0].classes & classes, found
            return 0, []

    def release(self, blocks: Iterable[Lacking]) -> None:
        """Let others ask for these blocks."""
        with self._lock:
            self._taken -= {each.id for each in blocks}

    def defer(self, hub: bytes, block: int, seconds: float) -> None:
        """Do not ask a hub for a block (by row) for some time."""
        with self._lock:
            if len(self._deferred) >= _MAX_DEFERRED:
                self._deferred.clear()
            self._deferred[hub, block] = time.monotonic() + seconds

    def _candidates(
        self, hub: bytes, region: str, classes: int, is_up: Callable[[bytes], bool]
    ) -> Iterable[Lacking]:
        """Yield what a hub may be asked for: of the latest, and of older ones from where the last look ended.

        A look has its bounds, because there may be any number of bodies that nobody has any more.
        """
        now = self._now_ms()
        before, cursor = now - self._policy.patience_ms, self._cursors.get((hub, region), _TOP)
        latest = self._bodies.missing(region, classes, _TOP, before, _PAGE)
        older = self._bodies.missing(region, classes, cursor, before, _PAGE) if len(latest) == _PAGE else []
        self._cursors[hub, region] = older[-1].id if len(older) == _PAGE else _TOP
        # Those first that this hub promised to hold.
        for each in sorted(
            {**_by_id(latest), **_by_id(older)}.values(), key=lambda each: hub not in each.promisers
        ):
            if self._is_for(hub, each, now, is_up):
                yield each

    def _is_for(self, hub: bytes, each: Lacking, now: int, is_up: Callable[[bytes], bool]) -> bool:
        if each.id in self._taken or self._deferred.get((hub, each.id), 0.0) > time.monotonic():
            return False
        others = each.promisers and hub not in each.promisers
        is_left = now - each.since < _LEAVE * self._policy.patience_ms and any(map(is_up, each.promisers))
        return not (others and is_left)


def _by_id(page: Iterable[Lacking]) -> dict[int, Lacking]:
    return {each.id: each for each in page}
