"""The gateway's time: the machine's clocks, who vouches for the wall clock, and a hub's time where nobody does.

Owns the clock state that headers say, and the offset by which wall time follows a hub. It does not own the system's
clock, which it never sets, nor whose word counts (`gateway.region.hearing`).

The states, best first:

    NTP     a time server set the system's clock within the last two hours, and nobody has stepped it since
    HUB     a hub's signed time, heard within the last two hours, agrees with wall time or was put in its place
    RTC     a clock with a battery set the system's clock at the machine's start
    STALE   nobody vouches for wall time

Invariants:
* `monotonic_ms` is the machine's: nothing here bends what a block's readings have between them.
* A hub's word counts only as an answer: its time lies between two moments of this boot, what was asked and what
  came. A message that was kept back, or played again, widens that span and moves nothing.
* A time server's word is preferred to a hub's. A wall clock that has followed a hub goes on by the monotonic clock
  when the hub falls silent, and says so; it never falls back to what it had left.
* No start waits for any of it.
"""

from __future__ import annotations

import ctypes
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.chain.block import HUB, NTP, RTC, STALE
from gateway.clock import Clock

__all__ = ["CLOCK_STATES", "Synchrony", "Word", "system_word"]

_log = logging.getLogger(__name__)

CLOCK_STATES: Final = {STALE: "stale", NTP: "ntp", HUB: "hub", RTC: "rtc"}

_ASK_MS: Final = 15_000
_GOOD_FOR_MS: Final = 2 * 3_600_000  # 100 ppm, more than a Pi's crystal is off, are 0.7 s by then
_DRIFT_PPM: Final = 100
_WIDEST_MS: Final = 5_000  # an answer that took longer says too little
_TOLERANCE_MS: Final = 500
_TIMESYNCD: Final = Path("/run/systemd/timesync/synchronized")
_RTCS: Final = Path("/sys/class/rtc")
_TIMEX_BYTES: Final = 512  # more than struct timex has anywhere
_TIME_ERROR: Final = 5  # adjtimex(2): clock not synchronised


@dataclass(frozen=True, slots=True)
class Word:
    """What the system says of its wall clock.

    Attributes:
        set_at_ms: wall time at which a time server set it last; None where none has.
        is_rtc: a clock with a battery set it at the start.
    """

    set_at_ms: int | None = None
    is_rtc: bool = False


@dataclass(frozen=True, slots=True)
class _Heard:
    """A hub's time less monotonic time, between two bounds, as of a monotonic time. All ms."""

    low: int
    high: int
    at: int

    def aged(self, now: int) -> _Heard:
        drift = (now - self.at) * _DRIFT_PPM // 1_000_000
        return _Heard(self.low - drift, self.high + drift, now)


class Synchrony:
    """The gateway's clock: the machine's, but for wall time that follows a hub where nothing better is known.

    Args:
        clock: the machine's.
        ask: returns the system's word.
        follows: whether hubs are followed; not by a simulation that does not run at their speed.
        floor_ms: wall time before which it cannot be.
    """

    def __init__(
        self,
        clock: Clock,
        ask: Callable[[], Word] | None = None,
        *,
        follows: bool = True,
        floor_ms: int = 0,
    ) -> None:
        self._clock, self._ask, self._follows = clock, ask or (lambda: system_word(clock)), follows
        self.floor_ms = floor_ms
        self._lock = threading.Lock()
        self._state = STALE
        self._followed: int | None = None  # wall time less monotonic time, where wall time is a hub's
        self._heard: _Heard | None = None
        self._set_at: int | None = None  # the last word's
        self._set_mono: int | None = None  # when that was, unless somebody has stepped the clock since
        self._offset = clock.wall_ms() - clock.monotonic_ms()
        self._asked = clock.monotonic_ms() - _ASK_MS

    # a Clock

    def wall_ms(self) -> int:
        """Return Unix time, the best that is known."""
        followed = self._followed
        return self._clock.wall_ms() if followed is None else self._clock.monotonic_ms() + followed

    def monotonic_ms(self) -> int:
        """Return the machine's monotonic time."""
        return self._clock.monotonic_ms()

    def sleep(self, seconds: float) -> None:
        """Block for `seconds` of the machine's time."""
        self._clock.sleep(seconds)

    # who vouches for it

    def __call__(self) -> int:
        """Return the clock state as headers say it."""
        with self._lock:
            now = self._clock.monotonic_ms()
            offset = self._clock.wall_ms() - now
            if now - self._asked >= _ASK_MS or abs(offset - self._offset) > _TOLERANCE_MS:
                self._asked = now
                self._look(now, offset)
            return self._state

    @property
    def is_vouched(self) -> bool:
        """Whether anybody vouches for wall time."""
        return self() != STALE

    @property
    def doubt_ms(self) -> int | None:
        """The earliest that it can be, where nobody vouches for wall time; None where somebody does."""
        return None if self.is_vouched else max(self.wall_ms(), self.floor_ms)

    def hear(self, hub_ms: int, since_ms: int) -> None:
        """Take a hub's signed time, which it cannot have signed before a monotonic time, nor after now."""
        if not self._follows:
            return
        with self._lock:
            now = self._clock.monotonic_ms()
            new = _Heard(hub_ms - now, hub_ms - since_ms, now)
            if not 0 <= new.high - new.low <= _WIDEST_MS:
                return
            self._heard = _narrowed(self._heard and self._heard.aged(now), new)
            self._look(now, self._clock.wall_ms() - now)

    def _look(self, now: int, offset: int) -> None:
        word = self._ask()
        self._note(word, now, offset)
        heard = self._heard
        if self._set_mono is not None and now - self._set_mono <= _GOOD_FOR_MS:
            self._state, self._followed = NTP, None
        elif heard is not None and now - heard.at <= _GOOD_FOR_MS:
            self._state = HUB
            self._follow(heard.aged(now), offset)
        elif word.is_rtc and self._followed is None and offset + now >= self.floor_ms:
            self._state = RTC
        else:
            self._state = STALE

    def _note(self, word: Word, now: int, offset: int) -> None:
        """Take note of a time server's latest word, and forget it where somebody else has stepped the clock since."""
        if word.set_at_ms is None:
            self._set_mono = None
        elif word.set_at_ms != self._set_at:
            age = offset + now - word.set_at_ms
            self._set_mono = now - max(0, age) if age >= -_TOLERANCE_MS else None
        elif abs(offset - self._offset) > _TOLERANCE_MS:
            self._set_mono = None
        self._set_at, self._offset = word.set_at_ms, offset

    def _follow(self, heard: _Heard, offset: int) -> None:
        """Put wall time where the hub's is, if it is not there."""
        present = offset if self._followed is None else self._followed
        if heard.low - _TOLERANCE_MS <= present <= heard.high + _TOLERANCE_MS:
            return
        self._followed = (heard.low + heard.high) // 2
        _log.warning("wall time follows a hub's: it goes by %+d ms", self._followed - present)


def _narrowed(old: _Heard | None, new: _Heard) -> _Heard:
    """Return what both allow; where they exclude each other, the newer."""
    if old is None or old.low > new.high or new.low > old.high:
        return new
    return _Heard(max(old.low, new.low), min(old.high, new.high), new.at)


def system_word(clock: Clock) -> Word:
    """Ask systemd-timesyncd's flag, then the kernel, which a confined service may not be allowed to."""
    try:
        return Word(_TIMESYNCD.stat().st_mtime_ns // 1_000_000, _is_from_rtc())
    except OSError:
        return Word(clock.wall_ms() if _is_set_by_kernel() else None, _is_from_rtc())


def _is_set_by_kernel() -> bool:
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)  # all zero: modes 0 changes nothing
    try:
        state = int(ctypes.CDLL(None).adjtimex(timex))
    except (OSError, AttributeError):
        return False
    return state not in (-1, _TIME_ERROR)


def _is_from_rtc() -> bool:
    try:
        return any(each.read_text().strip() == "1" for each in _RTCS.glob("*/hctosys"))
    except OSError:
        return False
