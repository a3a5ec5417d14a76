"""The Sensirion SGP40's commands, and its heated element.

Source: Sensirion data sheet SGP40, version 1.2: times, answers, and a signal that is proportional to the logarithm of
the element's resistance. How far compounds, humidity and warming-up move it is this model's assumption, of the order of
published curves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from gateway.simulation.chips.words import WordChip
from gateway.simulation.faults import Faults

__all__ = ["Sgp40Chip"]

_MEASURE, _SELF_TEST, _HEATER_OFF, _SERIAL = 0x260F, 0x280E, 0x3615, 0x3682
_MEASURE_MS, _SELF_TEST_MS = 30.0, 320.0
_WELL, _ILL = 0xD400, 0x4B00
_CLEAN: Final = 30_000  # ticks
_TICKS_PER_DECADE, _FIRST_PPB = 5_000, 300.0
_TICKS_PER_PERCENT: Final = 12  # of humidity beyond what the compensation was told
_COLD_TICKS, _WARMING_S = 6_000, 8.0


class Sgp40Chip(WordChip):
    """One SGP40.

    Attributes:
        compounds: ppb at a second.
        is_well: whether the element is whole.
        humidity: of the air, in %, at a second.
    """

    POWER_UP_MS = 0.6

    def __init__(self, seconds: Callable[[int], float], faults: Faults) -> None:
        self.compounds: Callable[[float], float] = lambda t: 0.0
        self.humidity: Callable[[float], float] = lambda t: 50.0
        self.is_well = True
        super().__init__(seconds, faults)

    def reset(self, now_ms: int) -> None:
        super().reset(now_ms)
        self._hot_since: float | None = None

    def obey(self, command: int, words: Sequence[int] | None, now_ms: int) -> None:
        t = self.seconds(now_ms)
        if command == _MEASURE and words is not None and len(words) == 2:
            if self._hot_since is None:
                self._hot_since = t
            self.take(_MEASURE_MS, now_ms, self._signal(t, words[0] / 0xFFFF * 100))
        elif command == _SELF_TEST:
            self.take(_SELF_TEST_MS, now_ms, _WELL if self.is_well else _ILL)
        elif command == _HEATER_OFF:
            self._hot_since = None
            self.take(0.1, now_ms)
        elif command == _SERIAL:
            self.take(0.5, now_ms, 0x0000, 0x0123, 0x4567)

    def _signal(self, t: float, told_percent: float) -> int:
        assert self._hot_since is not None
        if not self.is_well:
            return 0
        ppb = max(0.0, self.compounds(t))
        signal = _CLEAN - _TICKS_PER_DECADE * math.log10(1 + ppb / _FIRST_PPB)
        signal -= _TICKS_PER_PERCENT * (self.humidity(t) - told_percent)
        signal -= _COLD_TICKS * math.exp((self._hot_since - t) / _WARMING_S)
        return max(1, min(0xFFFE, round(signal)))
