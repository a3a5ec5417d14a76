"""The TI ADS1115's registers, and its single and continuous conversion.

Source: TI SBAS444.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from gateway.simulation.chips.base import Watch, clamp

__all__ = ["Ads1115Chip"]


class Ads1115Chip:
    """TI ADS1115: four 16-bit registers behind a pointer, big-endian; single and continuous conversion.

    Args:
        seconds: turns `now_ms` into the scenario's seconds.

    Attributes:
        inputs: what is connected to AIN0..AIN3, in volts; an absent one floats at 0 V.
        watches: by input; a code above the limit is noted when it enters the register.
    """

    _RATES: Final = (8, 16, 32, 64, 128, 250, 475, 860)
    _RANGES: Final = (6.144, 4.096, 2.048, 1.024, 0.512, 0.256, 0.256, 0.256)
    _PAIRS: Final = ((0, 1), (0, 3), (1, 3), (2, 3))

    def __init__(self, seconds: Callable[[int], float]) -> None:
        self._seconds = seconds
        self.inputs: dict[int, Callable[[float], float]] = {}
        self.watches: dict[int, Watch] = {}
        self.reset(0)

    def reset(self, now_ms: int) -> None:
        self._pointer = 0
        self._registers = {0: 0x0000, 1: 0x8583, 2: 0x8000, 3: 0x7FFF}
        self._ready_ms: int | None = None  # end of a running single conversion

    def write(self, data: bytes, now_ms: int) -> None:
        self._pointer = data[0] & 0x03
        if len(data) < 3 or self._pointer == 0:
            return
        value = int.from_bytes(data[1:3], "big")
        if self._pointer != 1:
            self._registers[self._pointer] = value
            return
        self._registers[1] = value & 0x7FFF
        if value & 0x8000 and value & 0x0100:
            period_ms = 1000 / self._RATES[value >> 5 & 7]
            self._ready_ms = now_ms + math.ceil(period_ms)

    def read(self, length: int, now_ms: int) -> bytes:
        self._convert(now_ms)
        value = self._registers[self._pointer]
        if self._pointer == 1:
            value = value & 0x7FFF | (0 if self._ready_ms is not None else 0x8000)
        # No auto-increment: reading on repeats the register.
        return (value.to_bytes(2, "big") * (length // 2 + 1))[:length]

    def _convert(self, now_ms: int) -> None:
        continuous = not self._registers[1] & 0x0100
        due = self._ready_ms is not None and now_ms >= self._ready_ms
        if not (continuous and self._pointer == 0) and not due:
            return
        self._ready_ms = None
        config = self._registers[1]
        mux = config >> 12 & 7
        volts = self._volts(mux, self._seconds(now_ms))
        code = clamp(round(volts / self._RANGES[config >> 9 & 7] * 32768), 16)
        self._registers[0] = code & 0xFFFF
        if (watch := self.watches.get(mux - 4)) is not None:
            watch.see(code)

    def _volts(self, mux: int, t: float) -> float:
        if mux >= 4:
            return self._pin(mux - 4, t)
        positive, negative = self._PAIRS[mux]
        return self._pin(positive, t) - self._pin(negative, t)

    def _pin(self, index: int, t: float) -> float:
        probe = self.inputs.get(index)
        return probe(t) if probe else 0.0
