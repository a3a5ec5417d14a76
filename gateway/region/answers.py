"""What all hubs answered to this boot's births, put together: one view of the chain out of several.

Owns which answer is the latest and what the others add to it. It does not own what follows
(`gateway.region.keeper`), and whether an answer is its hub's and proved is `gateway.region.hearing`'s to check.

Invariants:
* Standing, epoch and head are those under the highest seal. A hub that is behind them, or behind what this gateway
  has verified itself, takes nothing back.
* Signed blocks and alarms that any hub knows are known, however far behind the hub is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from gateway.chain.entries import GOOD
from gateway.chain.leaf import IMPORT
from gateway.chain.messages import Answer
from gateway.chain.tenure import MAX_ORPHANS, Position

__all__ = ["Answers"]

_PATIENCE_S: Final = 4.0  # for the other hubs, before blocks are signed on one hub's answer


class Answers:
    """The answers of one boot. One thread at a time calls it.

    Args:
        hubs: says how many hubs may answer.
    """

    def __init__(self, hubs: Callable[[], int], now: Callable[[], float] = time.monotonic) -> None:
        self._hubs, self._now = hubs, now
        self._by_hub: dict[bytes, Answer] = {}
        self._latest: Answer | None = None
        self._height = -1
        self._first_at = 0.0

    @property
    def is_complete(self) -> bool:
        """Whether every hub has answered, or had its time: what one knows of us another may not."""
        return len(self._by_hub) >= self._hubs() or self._now() - self._first_at >= _PATIENCE_S

    def take(
        self, answer: Answer, height: int, epoch: int, final: int, *, alone: bool = False
    ) -> Answer | None:
        """Return the common answer, None while there is none that is not behind.

        Args:
            alone: the chain has this one hub: whatever it says, there is nobody to wait for.
            height: of the final block that the answer is sealed with.
            epoch: that this gateway knows to be in force.
            final: the highest of its blocks whose finality it has verified.
        """
        if not self._by_hub:
            self._first_at = self._now()
        self._by_hub[answer.hub] = answer
        in_standing = answer.standing in (GOOD, IMPORT)
        behind = in_standing and (answer.epoch < epoch or answer.head.height < final)
        if alone or (height >= self._height and not behind):
            self._latest, self._height = answer, height
        return None if self._latest is None else self._together(self._latest)

    def _together(self, latest: Answer) -> Answer:
        def is_above(at: Position) -> bool:
            return at.epoch == latest.epoch and at.height > latest.head.height

        others = [each for hub, each in self._by_hub.items() if hub != latest.hub]
        known = {at for each in others for at in each.known if is_above(at)} - set(latest.known)
        alarms = {each: None for answer in (*others, latest) for each in answer.alarms}
        more = sorted(known, key=lambda at: (at.height, at.hash))[: MAX_ORPHANS - len(latest.known)]
        return replace(latest, known=(*latest.known, *more), alarms=tuple(alarms))
