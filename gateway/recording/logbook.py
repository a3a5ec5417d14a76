"""The open block over time: when it begins, what goes into it, when it is sealed, and wall time within it.

Owns the change from one block and journal to the next, the triggers of sealing, and the wall clock's steps. It
does not own what is recorded (`gateway.recording.recorder`) nor how a sealed block is stored
(`gateway.recording.writer`). The recorder's lock guards it.

Invariants:
* A block is sealed at its number of readings or seconds, when its journal is full, before one message would be
  exceeded, on a clock step, and soon after a transition, but not more often than the least interval.
* No block begins before its predecessor ended, so its times never go back within a boot.
* A transition that finds no room goes into the next block; a reading that finds none is counted as lost. Both
  happen only while the store does not take blocks.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from gateway.chain.block import Listing
from gateway.chain.events import MAX_EARLIER, ClockStep, Earlier, Event, Sample
from gateway.clock import Clock
from gateway.config import SealTable
from gateway.recording.feed import Feed
from gateway.recording.openblock import OpenBlock, Opening, TooMuch

__all__ = ["Logbook", "Shelf"]

_log = logging.getLogger(__name__)

_UNJOURNALED_MS: Final = 1_000  # what no journal holds is lost with the process, so it is sealed soon
_STEP_MS: Final = 500  # wall time that moves more than this against monotonic time has been stepped


class Shelf(Protocol):
    """Whoever stores sealed blocks."""

    def sealed(self, block: OpenBlock, state: bytes) -> None:
        """Store a block, with the contracts' state; return at once, and `Logbook.release` its journal later."""
        ...


class Logbook:
    """Writes into the open block, one after the other.

    Args:
        boot: this boot's nonce.
        number: of the first block.
        classes: of each series, by index.
        catalogue, contracts: what blocks are recorded under.
        journals: empty; with two, one block can be stored while the next is open. There may be none at first.
        state: returns the contracts' state at a monotonic time.
        clock_state: says who vouches for wall time, as headers do.

    Attributes:
        lost: readings that found no room.
        not_before: the end of the block before; nothing older is recorded any more.
    """

    def __init__(
        self,
        boot: bytes,
        number: int,
        classes: Sequence[int],
        catalogue: Listing,
        contracts: Listing,
        *,
        journals: Sequence[Feed],
        seal: SealTable,
        clock: Clock,
        shelf: Shelf,
        state: Callable[[int], bytes],
        clock_state: Callable[[], int],
    ) -> None:
        self._boot, self._number, self._classes = boot, number, classes
        self._catalogue, self._contracts = catalogue, contracts
        self._free, self._seal, self._clock, self._shelf = list(journals), seal, clock, shelf
        self._state, self.clock_state = state, clock_state
        self._homeless: deque[tuple[bytes, bytes]] = deque()
        self._seal_at: int | None = None
        self.lost = 0
        self.not_before = self._last_seal = now = clock.monotonic_ms()
        self._offset = clock.wall_ms() - now
        self._block = self._next_block(self._free.pop(0) if self._free else None)

    def stamp(self) -> int:
        """Return the present monotonic time, having dealt with a step of the wall clock."""
        now = self._clock.monotonic_ms()
        offset = self._clock.wall_ms() - now
        step = offset - self._offset
        if abs(step) > _STEP_MS:
            _log.warning("wall clock stepped by %d ms", step)
            self.event(ClockStep(0, step, self.clock_state()), now)
            self.close(now)
            self._offset = offset
        return now

    def wall(self, mono: int) -> int:
        """Return the wall time of a monotonic one, both ms."""
        return max(0, mono + self._offset)

    def reading(self, index: int, at: int, value: int, now: int) -> None:
        """Record a value of a series, taken at `at`."""
        self._add(lambda block: block.add_reading(index, at, value), at, now)

    def commit(self, values: Iterable[tuple[int, int, int]], now: int) -> None:
        """Record (time, series, value) that were left out before a transition at `now`, oldest first.

        What is older than the open block cannot be readings of it, whose times would go back; it is told as an event.
        """
        earlier: dict[int, list[Sample]] = {}
        for at, index, value in values:  # where a block gets full, the next takes the rest
            if at >= self.not_before:
                self.reading(index, at, value, now)
            else:
                earlier.setdefault(index, []).append(Sample(now - at, value))
        for index, samples in earlier.items():
            for first in range(0, len(samples), MAX_EARLIER):
                part = tuple(samples[first : first + MAX_EARLIER])
                self.event(Earlier(index, 0, part), now, self._classes[index])

    def event(self, event: Event, now: int, klass: int = 0) -> None:
        """Record an event."""
        self._add(lambda block: block.add_event(event, now, klass), now, now)

    def transition(self, body: bytes, state: bytes, now: int) -> None:
        """Record a transition, with the contracts' state after it."""
        self._homeless.append((body, state))
        self._house(now)

    def hasten(self, now: int) -> None:
        """Let the open block be sealed as soon as the least interval allows."""
        self._seal_at = max(now, self._last_seal + self._seal.min_interval_ms)

    def due_ms(self) -> int | None:
        """Return when the open block is to be sealed for its age or a transition; None where it cannot be."""
        if self._block.opening is None or not self._free:
            return None
        longest = self._seal.seconds * 1000 if self._block.journaled else _UNJOURNALED_MS
        due = self._block.opening.mono + longest
        return due if self._seal_at is None else min(due, self._seal_at)

    def is_due(self, now: int) -> bool:
        """Whether the open block is to be sealed now."""
        if self._block.readings >= self._seal.readings:
            return True
        due = self.due_ms()
        return due is not None and now >= due

    def close(self, now: int) -> bool:
        """Hand the open block over to be stored; False when it is empty, or no journal is free for the next."""
        if self._block.is_empty or not self._free:
            return False
        self._hand_over(now)
        return True

    def put_in_force(self, contracts: Listing, now: int) -> None:
        """Seal what was recorded under the contract set before, journal or not, and go on under another one."""
        if not self._block.is_empty:
            self._hand_over(now)
        self._contracts = contracts

    def end(self, now: int) -> None:
        """Hand over all that there is; nothing is recorded any more, so no journal is needed."""
        while not self._block.is_empty:
            self._hand_over(now)
            if self._homeless:
                self._house(now)

    def _hand_over(self, now: int) -> None:
        block = self._block
        self.not_before, self._last_seal, self._seal_at = block.latest, now, None
        self._block = self._next_block(self._free.pop(0) if self._free else None)
        if self._block.journal is not None:
            self._block.journal.follow(block.journal)
        self._shelf.sealed(block, self._state(now))

    def release(self, journal: Feed) -> None:
        """Take back the journal of a block that is stored; it is empty."""
        self._free.append(journal)

    def _next_block(self, journal: Feed | None) -> OpenBlock:
        block = OpenBlock(self._number, journal, self._classes)
        self._number += 1
        return block

    def _opened(self, now: int) -> OpenBlock:
        block = self._block
        if block.is_empty:
            self._offset = self._clock.wall_ms() - now
            listings = self._catalogue, self._contracts
            block.open(Opening(block.number, self._boot, self.wall(now), now, self.clock_state(), *listings))
        return block

    def _house(self, now: int) -> None:
        """Put waiting transitions into the open block, as far as there is room."""
        while self._homeless:
            try:
                self._opened(now).add_transition(self._homeless[0][0], now, self._homeless[0][1])
            except TooMuch:
                if not self.close(now):
                    return
            else:
                self._homeless.popleft()

    def _add(self, add: Callable[[OpenBlock], None], at: int, now: int) -> None:
        """Record what was taken at `at`; what belongs to a block that is closed, or finds no room, is lost."""
        if self._homeless:
            self._house(now)
        while at >= self.not_before:
            try:
                add(self._opened(now))
            except TooMuch:
                if not self.close(now):
                    break
            else:
                return
        self.lost += 1
