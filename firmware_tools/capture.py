"""Recording what passes on a Pi's buses and pins while the configured sensors are sampled.

Owns the noting. The file's form and its replay are `gateway.simulation.capture`'s; what a record says of a chip's model
is `firmware_tools.capture_check`'s.

Invariant: whatever a driver asks goes to the hardware unchanged, and what comes back goes to the driver.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TextIO

from firmware_tools.errors import BadFile
from gateway.catalogue import Catalogue, SensorPlan
from gateway.errors import SensorError
from gateway.inspection.facts import Machine
from gateway.machine import software
from gateway.sampler import Samplers
from gateway.sensors.base import Hardware, I2cBus, Pulses, Tally
from gateway.sensors.mcp3008 import BUS as SPI_BUS
from gateway.simulation.capture import MARK, Call, Message, WireBus, spi_messages

__all__ = ["Count", "Recorder", "record"]

_NO_REGISTER: Final = 1


class Count:
    """How many samples were taken, and how many failed."""

    def __init__(self) -> None:
        self.good = self.failed = 0
        self._lock = threading.Lock()

    def sample(self, plan: SensorPlan, values: Mapping[str, int]) -> None:
        with self._lock:
            self.good += 1

    def fail(self, plan: SensorPlan, error: SensorError) -> None:
        with self._lock:
            self.failed += 1

    def retried(self, plan: SensorPlan) -> None:
        """A sample that came at the second attempt is one."""


def record(catalogue: Catalogue, hardware: Hardware, speed: float, seconds: float, out: Path) -> Count:
    """Sample the configured sensors for some of the clock's seconds, or until Ctrl-C, and write what passed.

    Raises:
        BadFile: it cannot be written.
    """
    count = Count()
    try:
        with out.open("w", encoding="utf-8") as file:
            noting = Recorder(hardware, file)
            noting.head(catalogue)
            samplers = Samplers(catalogue.sensors, noting, count, speed)
            samplers.start()
            try:
                with contextlib.suppress(KeyboardInterrupt):  # what was recorded by then is a record
                    threading.Event().wait(seconds / speed)
            finally:
                samplers.stop()
                noting.close()
    except OSError as error:
        raise BadFile(f"{out}: {error.strerror}") from error
    return count


class Recorder:
    """Hardware whose traffic is noted.

    Attributes:
        clock, powered_since_ms, is_simulated: the hardware's.
    """

    def __init__(self, hardware: Hardware, file: TextIO) -> None:
        self._hardware, self._file = hardware, file
        self.clock = hardware.clock
        self.powered_since_ms = hardware.powered_since_ms
        self.is_simulated = hardware.is_simulated
        self._start_ms = hardware.clock.monotonic_ms()
        self._lock = threading.Lock()
        self._buses: dict[str, I2cBus] = {}
        self._watched: set[int] = set()
        self._levels: dict[int, bool] = {}
        self._lines: list[_Line] = []

    def head(self, catalogue: Catalogue) -> None:
        """Write the header."""
        sensors = [
            {
                "name": plan.name,
                "driver": plan.driver,
                "options": plan.options,
                "period_ms": plan.period_ms,
                "bus": plan.info.bus,
                "chip": plan.info.claim.chip,
                "address": plan.info.claim.address,
            }
            for plan in catalogue.sensors
        ]
        self._write(
            {
                MARK: 1,
                "made_ms": time.time_ns() // 1_000_000,
                "software": software(),
                "machine": "simulated" if self.is_simulated else Machine().model(),
                "sensors": sensors,
            }
        )

    def i2c(self, name: str) -> I2cBus:
        if name not in self._buses:
            bus = self._hardware.i2c(name)
            self._buses[name] = WireBus(lambda messages: self._carry(name, bus, messages))
        return self._buses[name]

    def tally(self, bus: str) -> Tally:
        return self._hardware.tally(bus)

    def pins(self) -> Any:
        factory = self._hardware.pins()
        if not hasattr(factory, "noted"):
            given, factory.noted = factory.pin, True
            factory.pin = lambda name: self._watch(given(name))
            open_spi = factory.spi
            factory.spi = lambda **options: self._tap(open_spi(**options), int(options.get("device", 0)))
        return factory

    def dht_pulses(self, pin: int) -> Callable[[], Pulses] | None:
        given = self._hardware.dht_pulses(pin)
        if given is None:
            line = _Line(pin)
            self._lines.append(line)
            given = line.read
        source = given

        def noted() -> Pulses:
            pulses = source()
            self._write(["d", self._now(), pin, list(pulses.intervals_us)])
            return pulses

        return noted

    def close(self) -> None:
        for line in self._lines:
            line.close()
        self._hardware.close()

    def _now(self) -> int:
        return self.clock.monotonic_ms() - self._start_ms

    def _carry(self, name: str, bus: I2cBus, messages: Sequence[Message]) -> list[bytes]:
        at = self._now()
        try:
            answers = _transfer(bus, messages)
        except OSError as error:
            self._write(Call(at, name, tuple(messages), error.errno or -1).plain())
            raise
        given = iter(answers)
        said = tuple(Message(m.address, True, next(given)) if m.is_read else m for m in messages)
        self._write(Call(at, name, said).plain())
        return answers

    def _watch(self, pin: Any) -> Any:
        """Note an input's level whenever it is read; gpiozero asks its pins by this one method."""
        kind, note = type(pin), self._level
        if id(pin) not in self._watched:
            self._watched.add(id(pin))

            class Noted(kind):  # type: ignore[misc, valid-type]
                def _get_state(self) -> Any:
                    state = super()._get_state()
                    if self._get_function() == "input":
                        note(int(str(self.info.name).removeprefix("GPIO")), bool(state))
                    return state

            pin.__class__ = Noted
        return pin

    def _tap(self, interface: Any, device: int) -> Any:
        """Note the transfers of an SPI interface."""
        carry = interface.transfer

        def transfer(data: Sequence[int]) -> list[int]:
            at, answer = self._now(), list(carry(data))
            self._write(Call(at, SPI_BUS, spi_messages(device, data, answer)).plain())
            return answer

        interface.transfer = transfer
        return interface

    def _level(self, pin: int, level: bool) -> None:
        with self._lock:
            changed = self._levels.get(pin) is not level
            self._levels[pin] = level
        if changed:
            self._write(["p", self._now(), pin, int(level)])

    def _write(self, item: Any) -> None:
        line = json.dumps(item, separators=(",", ":"), default=float)  # decimals of options
        with self._lock:
            self._file.write(line + "\n")


def _transfer(bus: I2cBus, messages: Sequence[Message]) -> list[bytes]:
    """Carry messages by the very call they came from: SMBus where they are one, else as they are."""
    match messages:
        case [Message(address=a, is_read=False, data=w), Message(address=b, is_read=True, data=r)] if (
            a == b and len(w) == _NO_REGISTER
        ):
            if len(r) == 1:
                return [bytes((bus.read_byte_data(a, w[0]),))]
            if len(r) == 2:
                return [bus.read_word_data(a, w[0]).to_bytes(2, "little")]
            return [bytes(bus.read_i2c_block_data(a, w[0], len(r)))]
        case [Message(address=a, is_read=False, data=w)] if len(w) == 2:
            bus.write_byte_data(a, w[0], w[1])
        case [Message(address=a, is_read=False, data=w)] if len(w) == 3:
            bus.write_word_data(a, w[0], int.from_bytes(w[1:], "little"))
        case _:
            return _combined(bus, messages)
    return []


def _combined(bus: I2cBus, messages: Sequence[Message]) -> list[bytes]:
    from smbus2 import i2c_msg

    made = [
        i2c_msg.read(m.address, len(m.data)) if m.is_read else i2c_msg.write(m.address, m.data)
        for m in messages
    ]
    bus.i2c_rdwr(*made)
    return [bytes(m) for m, asked in zip(made, messages, strict=True) if asked.is_read]


class _Line:
    """A DHT's real data line, read in a process of its own: listening holds the interpreter."""

    def __init__(self, pin: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gateway.sensors.dht_process", str(pin)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()  # whether it can use the pin shows in what it hears

    def read(self) -> Pulses:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write("pulses\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline().split()
        except OSError:
            answer = []
        edges = answer[1].split(",") if answer[:1] == ["pulses"] and len(answer) > 1 else []
        return Pulses(tuple(map(int, edges)), 0)

    def close(self) -> None:
        self._process.communicate()
