"""The Bosch BME280's registers: trimming values, forced and normal measurements, skipped values.

Source: Bosch BST-BME280-DS002. The codes are found by searching the data sheet's compensation in real numbers (its
section 8.1) for the room's values, so a driver's arithmetic in integers is held against other formulas than its own.

Invariant: a measurement shows what was there when it ended; the registers hold it until the next one ends.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from gateway.simulation.chips.base import refuse

__all__ = ["Bme280Chip"]

_ID, _RESET, _CTRL_HUM, _STATUS, _CTRL_MEAS, _CONFIG, _DATA = 0xD0, 0xE0, 0xF2, 0xF3, 0xF4, 0xF5, 0xF7
_MEASURING, _COPYING = 0x08, 0x01
_START_MS: Final = 2.0
_STANDBY_MS: Final = (0.5, 62.5, 125, 250, 500, 1000, 10, 20)
_SKIPPED: Final = bytes((0x80, 0, 0, 0x80, 0, 0, 0x80, 0))

Air = tuple[float, float, float]


class Bme280Chip:
    """One BME280.

    Args:
        seconds: turns `now_ms` into the scenario's seconds.

    Attributes:
        t, p, h: the specimen's trimming values, as the data sheet numbers them.
        air: °C, % and Pa at a second.
    """

    def __init__(self, seconds: Callable[[int], float]) -> None:
        self._seconds = seconds
        self.t = (27_504, 26_435, -1_000)
        self.p = (36_477, -10_685, 3_024, 2_855, 140, -7, 15_500, -14_600, 6_000)
        self.h = (75, 362, 0, 313, 50, 30)
        self.air: Callable[[float], Air] = lambda t: (20.0, 50.0, 101_325.0)
        self.reset(0)

    def reset(self, now_ms: int) -> None:
        self._pointer = 0
        self._registers = bytearray(256)
        self._registers[_ID] = 0x60
        self._registers[_DATA : _DATA + 8] = _SKIPPED
        self._registers[0x88:0xA0] = struct.pack("<Hhh Hhhhhhhhh", *self.t, *self.p)
        h1, h2, h3, h4, h5, h6 = self.h
        self._registers[0xA1] = h1
        low = h4 & 0x0F | (h5 & 0x0F) << 4
        self._registers[0xE1:0xE8] = struct.pack("<hBbBbb", h2, h3, h4 >> 4, low, h5 >> 4, h6)
        self._pending = 0  # humidity's oversampling, before ctrl_meas is written
        self._up_ms: float = now_ms + _START_MS
        self._copied_ms: float = self._up_ms
        self._ends_ms: float | None = None

    def write(self, data: bytes, now_ms: int) -> None:
        self._settle(now_ms)
        self._pointer = data[0]
        # A write of several registers is of pairs: address, value, address, value.
        if len(data) > 1:
            self._store(data[0], data[1], now_ms)
        for at in range(2, len(data) - 1, 2):
            self._store(data[at], data[at + 1], now_ms)

    def read(self, length: int, now_ms: int) -> bytes:
        self._settle(now_ms)
        registers = self._registers
        if now_ms < self._copied_ms:  # trimming values are not there yet
            registers = bytearray(256)
            registers[_ID], registers[_STATUS] = 0x60, _COPYING
        return bytes(registers[self._pointer + i & 0xFF] for i in range(length))

    def _store(self, register: int, value: int, now_ms: int) -> None:
        if register == _RESET and value == 0xB6:
            self.reset(now_ms)
            self._up_ms = now_ms  # it answers while it copies
        elif register == _CTRL_HUM:
            self._registers[register] = value & 0x07
        elif register == _CONFIG:
            self._registers[register] = value & 0xFD
        elif register == _CTRL_MEAS:
            self._registers[register] = value
            self._pending = self._registers[_CTRL_HUM]
            if value & 0x03:
                self._begin(now_ms)

    def _begin(self, now_ms: float) -> None:
        t, p, h = self._oversampling()
        length_us = 1_000 + 2_000 * t + (2_000 * p + 500 if p else 0) + (2_000 * h + 500 if h else 0)
        self._ends_ms = now_ms + length_us / 1000
        self._registers[_STATUS] |= _MEASURING

    def _oversampling(self) -> tuple[int, int, int]:
        """Return how often temperature, pressure and humidity are measured; 0 skips."""
        control = self._registers[_CTRL_MEAS]
        t, p, h = (min(code, 5) for code in (control >> 5, control >> 2 & 7, self._pending))
        return 1 << t >> 1, 1 << p >> 1, 1 << h >> 1

    def _settle(self, now_ms: int) -> None:
        if now_ms < self._up_ms:
            refuse()
        while self._ends_ms is not None and now_ms >= self._ends_ms:
            self._finish(self._ends_ms)

    def _finish(self, at_ms: float) -> None:
        self._ends_ms = None
        self._registers[_STATUS] &= ~_MEASURING
        self._measure(*self.air(self._seconds(round(at_ms))))
        mode = self._registers[_CTRL_MEAS] & 0x03
        if mode == 3:
            self._begin(at_ms + _STANDBY_MS[self._registers[_CONFIG] >> 5])
        else:
            self._registers[_CTRL_MEAS] &= ~0x03

    def _measure(self, celsius: float, humidity: float, pascal: float) -> None:
        t, p, h = self._oversampling()
        code_t = _search(20, lambda code: self._fine(code) / 5120, celsius)
        fine = self._fine(code_t)
        code_p = _search(20, lambda code: -self._pascal(code, fine), -pascal)
        code_h = _search(16, lambda code: self._humid(code, fine), humidity)
        # 16 bits of one measurement, one more for each doubling.
        codes = [code & -(32 // each) if each else 0x80000 for code, each in ((code_p, p), (code_t, t))]
        data = b"".join((code << 4).to_bytes(3, "big") for code in codes)
        self._registers[_DATA : _DATA + 8] = data + (code_h if h else 0x8000).to_bytes(2, "big")

    def _fine(self, code: int) -> float:
        t1, t2, t3 = self.t
        return (code / 16384 - t1 / 1024) * t2 + (code / 131072 - t1 / 8192) ** 2 * t3

    def _pascal(self, code: int, fine: float) -> float:
        p1, p2, p3, p4, p5, p6, p7, p8, p9 = self.p
        x = fine / 2 - 64_000
        offset = (x * x * p6 / 32768 + x * p5 * 2) / 4 + p4 * 65536
        slope = (1 + (p3 * x * x / 524288 + p2 * x) / 524288 / 32768) * p1
        y = (1_048_576 - code - offset / 4096) * 6250 / slope
        return y + (p9 * y * y / 2**31 + y * p8 / 32768 + p7) / 16

    def _humid(self, code: int, fine: float) -> float:
        h1, h2, h3, h4, h5, h6 = self.h
        x = fine - 76_800
        y = (code - (h4 * 64 + h5 / 16384 * x)) * (h2 / 65536 * (1 + h6 / 2**26 * x * (1 + h3 / 2**26 * x)))
        return y * (1 - h1 * y / 524288)


def _search(bits: int, rising: Callable[[int], float], wanted: float) -> int:
    """Return the code whose value is nearest; the ends where none is near."""
    low, high = 0, (1 << bits) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if rising(middle) < wanted else (low, middle)
    return low if not low or rising(low) - wanted <= wanted - rising(low - 1) else low - 1
