"""Records of real buses and pins, and hardware that answers out of one.

Owns the file's form and the replay. Making a record is the workbench's (`firmware_tools.capture`).

The file is JSON lines. The first is a header: `{"tocsin-capture": 1, "made_ms", "software", "machine", "sensors"}`, a
sensor being `name`, `driver`, `options`, `period_ms`, `bus`, `chip` and `address`. Every other line is an event, its
second field milliseconds since the start:

    ["i", ms, bus, [[address, "w", written] or [address, "r", answered], ...], errno]    one I2C call, bytes in hex
    the same with a device of SPI for the address, written and answered together         one SPI transfer
    ["p", ms, pin, level]                                                               an input changed
    ["d", ms, pin, [microseconds, ...]]                                                 a DHT's edges

Invariants:
* A call is answered only as that very call was: same bus and address, same bytes written, same lengths, in the same
  order at each address. Another call is refused, naming both; after the last one there is no answer.
* Only the order counts for calls, not the time; an input has the level it had at that time.
"""

from __future__ import annotations

import bisect
import errno
import json
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from gateway.clock import Clock, SimulatedClock
from gateway.contracts.tables import read_table
from gateway.errors import SimulationError
from gateway.sensors.base import I2cBus, Pulses, Tally
from gateway.sensors.mcp3008 import BUS as SPI_BUS
from gateway.simulation.spi import SELECTS

__all__ = [
    "MARK",
    "Call",
    "Capture",
    "Message",
    "Replay",
    "ReplayOptions",
    "WireBus",
    "read_capture",
    "spi_messages",
]

MARK: Final = "tocsin-capture"
_MAX_BYTES: Final = 512 << 20
_READ: Final = 0x0001


@dataclass(frozen=True, slots=True)
class Message:
    """One message on the wire: `data` is what was written, or what was answered to a read of that length."""

    address: int
    is_read: bool
    data: bytes

    @property
    def asked(self) -> tuple[int, bool, bytes | int]:
        """What the caller decides: a read's length, or the bytes written."""
        return self.address, self.is_read, len(self.data) if self.is_read else self.data


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a driver: `at_ms` since the start, its messages, and the error it ended in (0 for none)."""

    at_ms: int
    bus: str
    messages: tuple[Message, ...]
    errno: int = 0

    def plain(self) -> list[Any]:
        """Return it as an event."""
        parts = [[each.address, "r" if each.is_read else "w", each.data.hex()] for each in self.messages]
        return ["i", self.at_ms, self.bus, parts, self.errno]


@dataclass(slots=True)
class Capture:
    """A whole record."""

    header: Mapping[str, Any]
    calls: list[Call] = field(default_factory=list)
    levels: dict[int, list[tuple[int, bool]]] = field(default_factory=dict)
    pulses: dict[int, list[tuple[int, ...]]] = field(default_factory=dict)


def read_capture(path: Path) -> Capture:
    """Read a record. Raises SimulationError: it cannot be read, or is none."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise SimulationError(f"{path}: larger than {_MAX_BYTES >> 20} MiB; record for a shorter time")
        with path.open(encoding="utf-8") as file:
            header = json.loads(file.readline(), parse_float=Decimal)
            if not isinstance(header, dict) or header.get(MARK) != 1:
                raise SimulationError(f"{path}: not a capture of version 1")
            capture = Capture(header)
            for number, line in enumerate(file, 2):
                _take(capture, json.loads(line), f"{path}, line {number}")
    except OSError as error:
        raise SimulationError(f"{path}: {error.strerror}") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise SimulationError(f"{path}: not a capture: {error}") from error
    return capture


def _take(capture: Capture, event: Any, where: str) -> None:
    try:
        match event:
            case ["i", int(at), str(bus), list(parts), int(number)]:
                messages = tuple(Message(a, kind == "r", bytes.fromhex(data)) for a, kind, data in parts)
                capture.calls.append(Call(at, bus, messages, number))
                return
            case ["p", int(at), int(pin), level]:
                capture.levels.setdefault(pin, []).append((at, bool(level)))
                return
            case ["d", int(), int(pin), list(edges)]:
                capture.pulses.setdefault(pin, []).append(tuple(map(int, edges)))
                return
    except (ValueError, TypeError) as error:
        raise SimulationError(f"{where}: {error}") from error
    raise SimulationError(f"{where}: no such event is known")


class WireBus:
    """The calls of `smbus2.SMBus` as messages on the wire, given to `carry`, which returns the answers."""

    def __init__(self, carry: Callable[[Sequence[Message]], Sequence[bytes]]) -> None:
        self._carry = carry

    def read_byte_data(self, i2c_addr: int, register: int) -> int:
        return self._read(i2c_addr, register, 1)[0]

    def write_byte_data(self, i2c_addr: int, register: int, value: int) -> None:
        self._write(i2c_addr, bytes((register, value)))

    def read_word_data(self, i2c_addr: int, register: int) -> int:
        return int.from_bytes(self._read(i2c_addr, register, 2), "little")

    def write_word_data(self, i2c_addr: int, register: int, value: int) -> None:
        self._write(i2c_addr, bytes((register, *value.to_bytes(2, "little"))))

    def read_i2c_block_data(self, i2c_addr: int, register: int, length: int) -> list[int]:
        return list(self._read(i2c_addr, register, length))

    def write_i2c_block_data(self, i2c_addr: int, register: int, data: Sequence[int]) -> None:
        self._write(i2c_addr, bytes((register, *data)))

    def i2c_rdwr(self, *i2c_msgs: Any) -> None:
        """Carry `smbus2.i2c_msg`s, filling those that read."""
        asked = [
            Message(m.addr, True, bytes(m.len)) if m.flags & _READ else Message(m.addr, False, bytes(m))
            for m in i2c_msgs
        ]
        answers = iter(self._carry(asked))
        for message in i2c_msgs:
            if message.flags & _READ:
                for index, value in enumerate(next(answers)):
                    message.buf[index] = bytes((value,))

    def close(self) -> None:
        """Nothing is held."""

    def _read(self, address: int, register: int, length: int) -> bytes:
        asked = (Message(address, False, bytes((register,))), Message(address, True, bytes(length)))
        return self._carry(asked)[0]

    def _write(self, address: int, data: bytes) -> None:
        self._carry((Message(address, False, data),))


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """The `[simulation]` table where a record is played: the file, and how fast."""

    capture: str
    speed: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.speed <= 10_000:
            raise ValueError("speed must be above 0 and at most 10000")


class Replay:
    """Hardware that answers out of a record, from the moment it is made.

    Attributes:
        clock: the drivers'.
        powered_since_ms: long ago, as sensors that were recorded had been powered.
    """

    is_simulated = True

    def __init__(self, capture: Capture, clock: Clock) -> None:
        self.clock = clock
        self._start_ms = clock.monotonic_ms()
        self.powered_since_ms = self._start_ms - 30 * 86_400_000
        self._capture = capture
        self._lock = threading.Lock()
        self._calls: dict[tuple[str, int], list[Call]] = {}
        for call in capture.calls:
            self._calls.setdefault((call.bus, call.messages[0].address), []).append(call)
        self._next: dict[tuple[str, int], int] = dict.fromkeys(self._calls, 0)
        self._pulses = {pin: iter(each) for pin, each in capture.pulses.items()}
        self._pins: Any = None

    @classmethod
    def from_table(cls, table: Mapping[str, object], *, where: str) -> Replay:
        """Build from a configuration's `[simulation]` table. Raises SimulationError, TableError."""
        options = read_table(ReplayOptions, table, where=where)
        return cls(read_capture(Path(options.capture)), SimulatedClock(options.speed))

    def i2c(self, name: str) -> I2cBus:
        return WireBus(lambda messages: self._answer(name, messages))

    def tally(self, bus: str) -> Tally:
        return Tally()

    def pins(self) -> Any:
        if self._pins is None:
            from gateway.simulation.pins import make_factory

            levels = {pin: self._level(changes) for pin, changes in self._capture.levels.items()}
            chips = {select: _Recorded(device, self._answer) for device, select in SELECTS.items()}
            self._pins = make_factory(levels, chips, {})
        return self._pins

    def dht_pulses(self, pin: int) -> Callable[[], Pulses]:
        edges = self._pulses.get(pin, iter(()))
        return lambda: Pulses(next(edges, ()), 0)

    def close(self) -> None:
        if self._pins is not None:
            self._pins.close()
            self._pins = None

    def _answer(self, bus: str, messages: Sequence[Message]) -> list[bytes]:
        key = bus, messages[0].address
        with self._lock:
            at = self._next.get(key, 0)
            calls = self._calls.get(key, [])
            if at >= len(calls):
                raise OSError(errno.ENODATA, "the record has ended")
            call = calls[at]
            if [each.asked for each in call.messages] != [each.asked for each in messages]:
                raise SimulationError(
                    f"{bus} {key[1]:#04x}, call {at + 1}: the driver asks {_words(messages)}, but the record has"
                    f" {_words(call.messages)}; it is of other options or of another driver"
                )
            self._next[key] = at + 1
        if call.errno:
            raise OSError(call.errno, os.strerror(call.errno))
        return [each.data for each in call.messages if each.is_read]

    def _level(self, changes: Sequence[tuple[int, bool]]) -> Callable[[], bool]:
        times = [at for at, _ in changes]

        def level() -> bool:
            now = self.clock.monotonic_ms() - self._start_ms
            return changes[max(0, bisect.bisect_right(times, now) - 1)][1]

        return level


class _Recorded:
    """What answers on SPI out of a record."""

    model_seconds = 0.0

    def __init__(self, device: int, answer: Callable[[str, Sequence[Message]], list[bytes]]) -> None:
        self._device, self._answer = device, answer

    def transfer(self, data: Sequence[int]) -> list[int]:
        try:
            return list(self._answer(SPI_BUS, spi_messages(self._device, data, bytes(len(data))))[0])
        except OSError:
            return [0x00] * len(data)  # nobody acknowledges on SPI: the line rests low


def spi_messages(device: int, sent: Sequence[int], answered: Sequence[int]) -> tuple[Message, Message]:
    """Return a transfer as messages: both ways go at once."""
    return Message(device, False, bytes(sent)), Message(device, True, bytes(answered))


def _words(messages: Iterable[Message]) -> str:
    return ", ".join(f"read {len(m.data)}" if m.is_read else f"write {m.data.hex()}" for m in messages)
