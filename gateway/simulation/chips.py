"""Register-level models of the chips that drivers talk to.

Owns registers, their power-on values, sequences and times: what the data sheets promise to software.
It does not own the bus (`bus`), what the inputs carry (`probe`) or when a chip loses its supply.

Sources: ADS1115, TI SBAS444; NAU7802, Nuvoton data sheet rev. 1.7. The NAU7802's times for power-up
and calibration are this model's assumption: of the data sheet's order, for every rate alike.

Invariants:
* A chip sees only written bytes and the number of bytes to be read, as on the wire.
* `now_ms` is the clock's monotonic time; `t` given to a probe is the scenario's seconds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

__all__ = ["Ads1115Chip", "Chip", "Nau7802Chip", "Watch"]


class Chip(Protocol):
    """Something that answers at one address."""

    def reset(self, now_ms: int) -> None:
        """Take power-on values, as when the supply returns."""
        ...

    def write(self, data: bytes, now_ms: int) -> None: ...

    def read(self, length: int, now_ms: int) -> bytes: ...


@dataclass(slots=True)
class Watch:
    """Notes when an input's register first showed a code above a limit.

    Attributes:
        above: the limit, in codes.
        monotonic_ns: `time.monotonic_ns()` of that moment; None while it has not happened.
    """

    above: int
    monotonic_ns: int | None = None

    def see(self, code: int) -> None:
        """Take note of a code that has just entered the register."""
        if self.monotonic_ns is None and code > self.above:
            self.monotonic_ns = time.monotonic_ns()


def _clamp(code: int, bits: int) -> int:
    limit = 1 << (bits - 1)
    return max(-limit, min(limit - 1, code))


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
        code = _clamp(round(volts / self._RANGES[config >> 9 & 7] * 32768), 16)
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
        code = _clamp(round(ratio * gain * (1 << 24)), 24)
        self._registers[self._ADCO : self._ADCO + 3] = (code & 0xFFFFFF).to_bytes(3, "big")
        self._registers[self._PU_CTRL] |= self._CR
        if self.watch is not None:
            self.watch.see(code)
