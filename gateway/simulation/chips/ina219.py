"""TI INA219: six registers of 16 bits behind a pointer, most significant byte first.

Source: TI SBOS448G. Owns registers, their power-on values, triggered and continuous conversion, the ready and overflow
bits. It does not own the supply that it measures (`circuits`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

__all__ = ["Ina219Chip"]

_CONFIG, _SHUNT, _BUS, _POWER, _CURRENT, _CALIBRATION = range(6)
_RESET: Final = 0x8000
_READY, _OVERFLOW = 0x0002, 0x0001
_POWER_ON: Final = {_CONFIG: 0x399F, _SHUNT: 0, _BUS: 0, _POWER: 0, _CURRENT: 0, _CALIBRATION: 0}
_TIMES_US: Final = {0: 84, 1: 148, 2: 276, 3: 532} | {8 + i: 532 << i for i in range(8)}


class Ina219Chip:
    """One INA219.

    Args:
        seconds: turns `now_ms` into the scenario's seconds.

    Attributes:
        supply: the bus voltage and the voltage over the shunt at a second, in volts.
    """

    def __init__(self, seconds: Callable[[int], float]) -> None:
        self._seconds = seconds
        self.supply: Callable[[float], tuple[float, float]] = lambda t: (0.0, 0.0)
        self.reset(0)

    def reset(self, now_ms: int) -> None:
        self._pointer = 0
        self._registers = dict(_POWER_ON)
        self._start(now_ms)

    def write(self, data: bytes, now_ms: int) -> None:
        self._pointer = data[0] & 0x07
        if len(data) < 3 or self._pointer not in (_CONFIG, _CALIBRATION):
            return
        value = int.from_bytes(data[1:3], "big")
        if self._pointer == _CALIBRATION:
            self._registers[_CALIBRATION] = value & 0xFFFE
        elif value & _RESET:
            self.reset(now_ms)
        else:
            self._registers[_CONFIG] = value & 0x3FFF
            self._start(now_ms)

    def read(self, length: int, now_ms: int) -> bytes:
        self._convert(now_ms)
        value = self._registers.get(self._pointer, 0)
        if self._pointer == _POWER:
            self._registers[_BUS] &= ~_READY
        # No auto-increment: reading on repeats the register.
        return (value.to_bytes(2, "big") * (length // 2 + 1))[:length]

    def _start(self, now_ms: int) -> None:
        config = self._registers[_CONFIG]
        mode = config & 0x07
        if mode in (0, 4):  # powered down, or the converter is off
            self._ready_ms: float | None = None
            return
        self._registers[_BUS] &= ~_READY
        each_us = [_TIMES_US.get(config >> shift & 0x0F, 532) for shift in (7, 3)]
        self._ready_ms = now_ms + sum(each_us) / 1000

    def _convert(self, now_ms: int) -> None:
        if self._ready_ms is None or now_ms < self._ready_ms:
            return
        config = self._registers[_CONFIG]
        self._ready_ms = now_ms + 1 if config & 0x04 else None  # continuous modes go on
        volts, shunt = self.supply(self._seconds(now_ms))
        full = 4000 << (config >> 11 & 3)
        steps = max(-full, min(full, round(shunt / 10e-6)))
        bus = max(0, min(8000 if config & 0x2000 else 4000, round(volts / 0.004)))
        current = int(steps * self._registers[_CALIBRATION] / 4096)
        power = int(abs(current) * bus / 5000)
        overflows = not -0x8000 <= current <= 0x7FFF or power > 0xFFFF
        self._registers[_SHUNT] = steps & 0xFFFF
        self._registers[_CURRENT] = current & 0xFFFF
        self._registers[_POWER] = power & 0xFFFF
        self._registers[_BUS] = bus << 3 | _READY | (_OVERFLOW if overflows else 0)
