"""The Sensirion SCD41's commands: periodic measurement, its settings, self-test.

Source: Sensirion data sheet SCD4x, version 1.3: times, which commands are obeyed while it measures, and a buffer that
is empty once it was read. Self-calibration is remembered, not modelled; carbon dioxide follows the air with the data
sheet's response time, and is counted by how much of it there is, less what the altitude it was told explains.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from gateway.simulation.chips.base import refuse
from gateway.simulation.chips.words import WordChip, scaled
from gateway.simulation.faults import Faults

__all__ = ["Scd41Chip"]

_START, _STOP, _READY, _READ = 0x21B1, 0x3F86, 0xE4B8, 0xEC05
_SET_CALIBRATION, _GET_CALIBRATION, _SERIAL, _SELF_TEST = 0x2416, 0x2313, 0x3682, 0x3639
_SET_ALTITUDE, _GET_ALTITUDE = 0x2427, 0x2322
_WHILE_MEASURING: Final = (_STOP, _READY, _READ)
_PERIOD_MS: Final = 5_000
_RESPONSE_S: Final = 60.0
_MEMORY: Final = 100  # periods after which the response has long settled

_SEA_PA, _SCALE_M = 101_325.0, 8_434.0

Air = tuple[float, float, float, float]


class Scd41Chip(WordChip):
    """One SCD41.

    Attributes:
        air: ppm of carbon dioxide, °C, % and Pa at a second.
        is_well: whether the self-test finds nothing.
    """

    POWER_UP_MS = 1_000.0

    def __init__(self, seconds: Callable[[int], float], faults: Faults) -> None:
        self.air: Callable[[float], Air] = lambda t: (420.0, 20.0, 50.0, _SEA_PA)
        self.is_well = True
        super().__init__(seconds, faults)

    def reset(self, now_ms: int) -> None:
        super().reset(now_ms)
        self.calibrates_itself = True
        self.altitude_m = 0
        self._next_ms: int | None = None
        self._buffer: tuple[int, int, int] | None = None
        self._co2: float | None = None

    def obey(self, command: int, words: Sequence[int] | None, now_ms: int) -> None:
        self._measure(now_ms)
        if self._next_ms is not None and command not in _WHILE_MEASURING:
            refuse()
        if command == _START:
            self._next_ms, self._buffer = now_ms + _PERIOD_MS, None
        elif command == _STOP:
            self._next_ms = self._buffer = None
            self.take(500, now_ms)
        elif command == _READY:
            self.take(1, now_ms, 0x8000 | (0x0006 if self._buffer else 0))
        elif command == _READ:
            self.take(1, now_ms, *(self._buffer or ()))
            self._buffer = None
        elif command == _SET_CALIBRATION and words:
            self.calibrates_itself = bool(words[0])
            self.take(1, now_ms)
        elif command == _GET_CALIBRATION:
            self.take(1, now_ms, int(self.calibrates_itself))
        elif command == _SET_ALTITUDE and words:
            self.altitude_m = words[0]
            self.take(1, now_ms)
        elif command == _GET_ALTITUDE:
            self.take(1, now_ms, self.altitude_m)
        elif command == _SERIAL:
            self.take(1, now_ms, 0xF896, 0x9F07, 0x3BBE)
        elif command == _SELF_TEST:
            self.take(10_000, now_ms, 0 if self.is_well else 1)
        else:
            refuse()

    def _measure(self, now_ms: int) -> None:
        if self._next_ms is not None:  # what nobody read in between is not computed
            self._next_ms += max(0, (now_ms - self._next_ms) // _PERIOD_MS - _MEMORY) * _PERIOD_MS
        while self._next_ms is not None and self._next_ms <= now_ms:
            co2, celsius, humidity, pascal = self.air(self.seconds(self._next_ms))
            co2 *= pascal / (_SEA_PA * math.exp(-self.altitude_m / _SCALE_M))
            followed = math.exp(-_PERIOD_MS / 1000 / _RESPONSE_S)
            self._co2 = co2 if self._co2 is None else co2 + (self._co2 - co2) * followed
            ppm = max(0, min(0xFFFF, round(self._co2)))
            self._buffer = ppm, scaled(celsius, -45, 175), scaled(humidity, 0, 100)
            self._next_ms += _PERIOD_MS
