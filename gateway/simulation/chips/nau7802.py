"""The Nuvoton NAU7802's registers: power-up, calibration and conversion.

Source: Nuvoton data sheet rev. 1.7. The times for power-up and calibration are this model's assumption: of the data
sheet's order, for every rate alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.simulation.chips.base import Watch, clamp

__all__ = ["Nau7802Chip"]


class Nau7802Chip:
    """Nuvoton NAU7802: 24-bit bridge ADC; 32 byte registers with auto-increment.

    Attributes:
        bridge: the bridge's output over its excitation, V/V; the reference is the excitation.
        watch: notes a code above its limit when it enters the register.
    """

    _RATES: Final = {0: 10, 1: 20, 2: 40, 3: 80, 7: 320}
    _PU_CTRL, _CTRL2, _ADCO = 0x00, 0x02, 0x12
    _RR, _PUD, _PUA, _PUR, _CS, _CR = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
    _CALS, _CAL_ERR = 0x04, 0x08
    _POWER_UP_MS: Final = 1
    _CALIBRATION_MS: Final = 344

    def __init__(self, seconds: Callable[[int], float]) -> None:
        self._seconds = seconds
        self.bridge: Callable[[float], float] | None = None
        self.watch: Watch | None = None
        self.reset(0)

    def reset(self, now_ms: int) -> None:
        self._pointer = 0
        self._registers = bytearray(32)
        self._registers[0x1F] = 0x0F  # device revision
        self._up_ms: int | None = None
        self._calibrated_ms: int | None = None
        self._started_ms: int | None = None
        self._taken = 0  # conversions that have left the register

    def write(self, data: bytes, now_ms: int) -> None:
        self._settle(now_ms)
        self._pointer = data[0] & 0x1F
        for value in data[1:]:
            self._store(self._pointer, value, now_ms)
            self._pointer = self._pointer + 1 & 0x1F

    def read(self, length: int, now_ms: int) -> bytes:
        self._settle(now_ms)
        out = bytes(self._registers[self._pointer + i & 0x1F] for i in range(length))
        if self._ADCO + 2 in range(self._pointer, self._pointer + length):
            self._registers[self._PU_CTRL] &= ~self._CR
        self._pointer = self._pointer + length & 0x1F
        return out

    def _store(self, register: int, value: int, now_ms: int) -> None:
        if register == self._PU_CTRL:
            self._control(value, now_ms)
        elif register == self._CTRL2:
            self._registers[register] = value & ~self._CAL_ERR
            if value & self._CALS:
                self._calibrated_ms = now_ms + self._CALIBRATION_MS
        elif not self._ADCO <= register <= self._ADCO + 2:
            self._registers[register] = value

    def _control(self, value: int, now_ms: int) -> None:
        if value & self._RR:
            self.reset(now_ms)
            self._registers[self._PU_CTRL] = self._RR
            return
        read_only = self._PUR | self._CR
        before = self._registers[self._PU_CTRL]
        if value & self._PUD and not before & self._PUD:
            self._up_ms = now_ms + self._POWER_UP_MS
        if not value & self._CS:
            self._started_ms = None
        elif not before & self._CS:
            self._restart(now_ms)
        self._registers[self._PU_CTRL] = value & ~read_only | before & read_only

    def _restart(self, now_ms: int) -> None:
        self._started_ms, self._taken = now_ms, 0

    def _settle(self, now_ms: int) -> None:
        """Let happen what time has brought: power-up, end of calibration, conversions."""
        if self._up_ms is not None and now_ms >= self._up_ms:
            self._registers[self._PU_CTRL] |= self._PUR
            self._up_ms = None
        if self._calibrated_ms is not None and now_ms >= self._calibrated_ms:
            self._calibrated_ms = None
            self._registers[self._CTRL2] &= ~self._CALS
            if not self._powered():
                self._registers[self._CTRL2] |= self._CAL_ERR
            if self._started_ms is not None:
                self._restart(now_ms)
        if self._started_ms is not None and self._powered() and self._calibrated_ms is None:
            self._convert(now_ms)

    def _powered(self) -> bool:
        needed = self._PUD | self._PUA | self._PUR
        return self._registers[self._PU_CTRL] & needed == needed

    def _convert(self, now_ms: int) -> None:
        assert self._started_ms is not None
        rate = self._RATES.get(self._registers[self._CTRL2] >> 4 & 7, 10)
        done = (now_ms - self._started_ms) * rate // 1000
        if done <= self._taken:
            return
        self._taken = done
        gain = 1 << (self._registers[0x01] & 7)
        ratio = self.bridge(self._seconds(now_ms)) if self.bridge else 0.0
        code = clamp(round(ratio * gain * (1 << 24)), 24)
        self._registers[self._ADCO : self._ADCO + 3] = (code & 0xFFFFFF).to_bytes(3, "big")
        self._registers[self._PU_CTRL] |= self._CR
        if self.watch is not None:
            self.watch.see(code)
