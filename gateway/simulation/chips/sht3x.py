"""The Sensirion SHT3x's commands: single measurements, status, heater, reset.

Source: Sensirion data sheet SHT3x-DIS, version 5. Periodic measurement is not modelled: it is refused as unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from gateway.simulation.chips.words import WordChip, scaled
from gateway.simulation.faults import Faults

__all__ = ["Sht3xChip"]

_ALERT, _HEATING, _RESTARTED, _REFUSED, _DAMAGED = 0x8000, 0x2000, 0x0010, 0x0002, 0x0001
_MEASURE_MS: Final = {0x2400: 15.0, 0x240B: 6.0, 0x2416: 4.0}
_HEATER_K: Final = 3.0


class Sht3xChip(WordChip):
    """One SHT3x.

    Attributes:
        air: °C and % at a second.
        is_extra: whether it is there for another sensor's sake, and no sensor of its own.
    """

    def __init__(self, seconds: Callable[[int], float], faults: Faults) -> None:
        self.air: Callable[[float], tuple[float, float]] = lambda t: (20.0, 50.0)
        self.is_extra = False
        super().__init__(seconds, faults)

    def reset(self, now_ms: int) -> None:
        super().reset(now_ms)
        self._status = _ALERT | _RESTARTED

    def obey(self, command: int, words: Sequence[int] | None, now_ms: int) -> None:
        self._status &= ~(_REFUSED | _DAMAGED)
        if words is None:
            self._status |= _DAMAGED
        elif command in _MEASURE_MS:
            celsius, humidity = self.air(self.seconds(now_ms))
            celsius += _HEATER_K if self._status & _HEATING else 0
            self.take(_MEASURE_MS[command], now_ms, scaled(celsius, -45, 175), scaled(humidity, 0, 100))
        elif command == 0xF32D:
            self.take(0, now_ms, self._status)
        elif command == 0x3041:
            self._status &= ~(_ALERT | 0x0C00 | _RESTARTED)
        elif command in (0x306D, 0x3066):
            self._status = self._status & ~_HEATING | (_HEATING if command == 0x306D else 0)
        elif command == 0x30A2:
            self.reset(now_ms)
        else:
            self._status |= _REFUSED
