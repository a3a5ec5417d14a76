"""A simulated I2C bus with the calls of `smbus2.SMBus`, over register-level chips.

Owns addressing, SMBus framing and the faults of the wire. It does not own registers (`chips`).

Invariants:
* Every call becomes what the wire would carry: bytes written, a number of bytes read.
* An address where nothing answers raises `OSError` EREMOTEIO, a held bus ETIMEDOUT, as on a Pi.
* A call on a held bus takes the 35 ms after which a Pi's controller gives up.
* `model_seconds` is the CPU time that calling threads spent in the model, for a bench to subtract.
"""

from __future__ import annotations

import errno
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from gateway.clock import Clock
from gateway.simulation.chips.base import Chip
from gateway.simulation.faults import Fault, Faults

__all__ = ["SimulatedBus"]

_BLOCK_MAX: Final = 32
_I2C_M_RD: Final = 0x0001
_TIMEOUT_S: Final = 0.035
_EDGES: Final = 18  # of nine clock pulses


@dataclass(slots=True)
class _Socket:
    """A chip at its address, with the faults of its wiring and supply."""

    chip: Chip
    faults: list[Faults]
    brown_outs: int = 0


class SimulatedBus:
    """A bus with chips plugged in; used by one thread, like the real one.

    Args:
        start_ms: `clock.monotonic_ms()` at the scenario's second 0.

    Attributes:
        is_wired: whether the controller has its lines; where they are somebody's GPIO, it sees a held bus.
        model_seconds: CPU time spent in the model so far.
    """

    def __init__(self, clock: Clock, start_ms: int) -> None:
        self._clock = clock
        self._start_ms = start_ms
        self._sockets: dict[int, _Socket] = {}
        self._opened_s = -math.inf
        self._let_go: set[Fault] = set()
        self._edges = 0
        self._repeats = False
        self.is_wired = True
        self.model_seconds = 0.0

    def seconds(self, now_ms: int) -> float:
        """Turn the clock's monotonic time into the scenario's seconds."""
        return (now_ms - self._start_ms) / 1000

    def opened(self) -> SimulatedBus:
        """Return the bus as opened just now, before which its device may have been gone. Raises OSError."""
        t = self.seconds(self._clock.monotonic_ms())
        if any(faults.find("vanished", t) for faults in self._faults()):
            raise _os_error(errno.ENOENT)
        self._opened_s = t
        return self

    def tick(self) -> None:
        """Take one edge of the clock line, while it is nobody's but GPIO; nine pulses make chips let go."""
        self._edges += 1
        if self._edges >= _EDGES:
            self._release()

    def resupply(self) -> None:
        """Let the supply of all chips come back after it was switched off."""
        now_ms = self._clock.monotonic_ms()
        for socket in self._sockets.values():
            socket.chip.reset(now_ms)
        self._release()

    def chip_at(self, address: int) -> Chip | None:
        """Return the chip at an address."""
        socket = self._sockets.get(address)
        return socket.chip if socket else None

    def plug(self, address: int, chip: Chip, faults: Faults) -> None:
        """Connect a chip; a second call for the same chip adds another sensor's faults."""
        socket = self._sockets.setdefault(address, _Socket(chip, []))
        socket.faults.append(faults)

    def unplug(self, address: int) -> None:
        """Take the chip at an address away."""
        del self._sockets[address]

    def read_byte_data(self, i2c_addr: int, register: int) -> int:
        return self._exchange(i2c_addr, bytes((register,)), 1)[0]

    def write_byte_data(self, i2c_addr: int, register: int, value: int) -> None:
        self._exchange(i2c_addr, bytes((register, value)), 0)

    def read_word_data(self, i2c_addr: int, register: int) -> int:
        """SMBus words are little-endian, whatever the chip means by its two bytes."""
        return int.from_bytes(self._exchange(i2c_addr, bytes((register,)), 2), "little")

    def write_word_data(self, i2c_addr: int, register: int, value: int) -> None:
        self._exchange(i2c_addr, bytes((register, *value.to_bytes(2, "little"))), 0)

    def read_i2c_block_data(self, i2c_addr: int, register: int, length: int) -> list[int]:
        _check_length(length)
        return list(self._exchange(i2c_addr, bytes((register,)), length))

    def write_i2c_block_data(self, i2c_addr: int, register: int, data: Sequence[int]) -> None:
        _check_length(len(data))
        self._exchange(i2c_addr, bytes((register, *data)), 0)

    def i2c_rdwr(self, *i2c_msgs: Any) -> None:
        """Carry `smbus2.i2c_msg`s, filling those that read."""
        for message in i2c_msgs:
            with self._addressed(message.addr) as (chip, now_ms):
                if message.flags & _I2C_M_RD:
                    for index, value in enumerate(chip.read(message.len, now_ms)):
                        message.buf[index] = bytes((value,))
                else:
                    chip.write(bytes(message), now_ms)

    def close(self) -> None:
        """Nothing is held; chips stay as they are, as on a real bus."""

    def _exchange(self, address: int, data: bytes, length: int) -> bytes:
        with self._addressed(address) as (chip, now_ms):
            chip.write(data, now_ms)
            return chip.read(length, now_ms) if length else b""

    @contextmanager
    def _addressed(self, address: int) -> Iterator[tuple[Chip, int]]:
        begun = time.thread_time()
        try:
            now_ms = self._clock.monotonic_ms()
            yield self._answering(address, now_ms), now_ms
        finally:
            self.model_seconds += time.thread_time() - begun

    def _answering(self, address: int, now_ms: int) -> Chip:
        t = self.seconds(now_ms)
        if any(
            f.at_s > self._opened_s and f.at_s <= t for each in self._faults() for f in each.all("vanished")
        ):
            raise _os_error(errno.ENODEV)
        if self._is_held(t):
            self._clock.sleep(_TIMEOUT_S)
            raise _os_error(errno.ETIMEDOUT)
        socket = self._sockets.get(address)
        if socket is None or any(f.find("nack", t) for f in socket.faults):
            raise _os_error(errno.EREMOTEIO)
        if any(f.find("glitch", t) for f in socket.faults):
            self._repeats = not self._repeats
            if self._repeats:
                raise _os_error(errno.EIO)
        self._supply(socket, t)
        return socket.chip

    def _is_held(self, t: float) -> bool:
        """Whoever holds the bus holds it for all."""
        self._edges = 0
        held = any(
            fault.lasts_at(t) and fault not in self._let_go
            for faults in self._faults()
            for fault in faults.all("held")
        )
        return held or not self.is_wired or any(faults.find("timeout", t) for faults in self._faults())

    def _release(self) -> None:
        t = self.seconds(self._clock.monotonic_ms())
        for faults in self._faults():
            self._let_go.update(fault for fault in faults.all("held") if fault.lasts_at(t))

    def _faults(self) -> Iterator[Faults]:
        return (faults for socket in self._sockets.values() for faults in socket.faults)

    def _supply(self, socket: _Socket, t: float) -> None:
        returns = [second for f in socket.faults for second in f.brown_outs(t)]
        if len(returns) != socket.brown_outs:
            socket.brown_outs = len(returns)
            socket.chip.reset(self._start_ms + round(max(returns, default=t) * 1000))
        for faults in socket.faults:
            fault = faults.find("brown-out", t)
            if fault and fault.until_s is not None:
                raise _os_error(errno.EREMOTEIO)


def _os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _check_length(length: int) -> None:
    if length > _BLOCK_MAX:
        raise ValueError(f"Desired block length over {_BLOCK_MAX} bytes")
