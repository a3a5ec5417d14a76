"""DHT22 (AM2302): temperature and humidity over one data line, by `adafruit_dht` in a process of its own.

Owns that process, the spacing of reads and the plausibility of values. It does not own the decoding,
which is the library's (`dht_process`).

Invariants:
* Every sample is of edges read for it; a value that the library remembers is never returned.
* Attempts are at least 2.1 s apart, successful or not.
* A process that died or hangs is replaced at the next sample.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, cast

from gateway.errors import SENSOR_ERROR_KINDS, SensorError, SensorErrorKind
from gateway.sensors.base import Claim, Hardware, Pulses, Quantity, SensorInfo
from gateway.sensors.plausible import Slew

__all__ = ["Dht22", "Options", "connect", "describe"]

_MIN_INTERVAL_MS: Final = 2100
_BUSY_US: Final = 350_000  # the library holds the line for so long
_LOWEST, _HIGHEST = -400, 800  # tenths of °C the chip can measure
# Tenths per second: a fire close by heats the sensor by a few kelvin a second, a bit error halves it.
_SLEW_CELSIUS, _SLEW_HUMIDITY = 30, 100
_FLOOR_CELSIUS, _FLOOR_HUMIDITY = 5, 20
_ANSWER_S: Final = 3.0
_START_S: Final = 20.0  # importing the library on a slow card


@dataclass(frozen=True, slots=True)
class Options:
    """A DHT22's data line.

    Attributes:
        pin: BCM number.
    """

    pin: int

    def __post_init__(self) -> None:
        if not 0 <= self.pin <= 27:
            raise ValueError(f"a Pi's header has pins 0 to 27, not {self.pin}")


class _Process:
    """The library's process and the pipe to it."""

    def __init__(self, argument: str) -> None:
        self._argument = argument
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = b""
        self._ready = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start it, if it does not run, without waiting until it is ready."""
        if self._process is not None and self._process.poll() is None:
            return
        self.stop()
        self._buffer = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gateway.sensors.dht_process", self._argument],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Without this the library's platform layer may ask questions on a terminal.
            env={**os.environ, "BLINKA_SKIP_DEPENDENCY_CHECK": "1"},
        )
        self._ready = False

    def ask(self, request: str) -> str:
        """Send a line and return the answer.

        Raises:
            SensorError: no-data when the process is gone, timeout when it hangs, or its own error.
        """
        self.start()
        if not self._ready:
            self._await_ready()
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(request.encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            self.stop()
            raise SensorError("no-data", "the DHT22's process died; it is started again") from error
        return self._line(_ANSWER_S)

    def stop(self) -> None:
        """End it; may be called twice."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            # A request that the dead process never took cannot be flushed; the pipe is closed all the same.
            with contextlib.suppress(BrokenPipeError):
                if pipe is not None:
                    pipe.close()
        self._process = None

    def _await_ready(self) -> None:
        answer = self._line(_START_S)
        if answer != "ready":
            self.stop()
            raise _error(answer)
        self._ready = True

    def _line(self, limit_s: float) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        deadline = time.monotonic() + limit_s
        pipe = self._process.stdout.fileno()
        while b"\n" not in self._buffer:
            readable, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
            data = os.read(pipe, 4096) if readable else b""
            if not data:
                self.stop()
                raise (
                    SensorError("no-data", "the DHT22's process died; it is started again")
                    if readable
                    else SensorError("timeout", f"the DHT22's process gave no answer in {limit_s:.0f} s")
                )
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode("utf-8", "replace")


def _error(answer: str) -> SensorError:
    _, _, rest = answer.partition(" ")
    kind, _, text = rest.partition(" ")
    known = kind if kind in SENSOR_ERROR_KINDS else "no-data"
    return SensorError(cast(SensorErrorKind, known), f"DHT22: {text or answer}")


class Dht22:
    """Temperature in tenths of °C (`temperature`) and relative humidity in tenths of % (`humidity`)."""

    def __init__(self, options: Options, hardware: Hardware) -> None:
        self.info: Final = describe(options)
        self._clock = hardware.clock
        self._pulses = hardware.dht_pulses(options.pin)
        self._process = _Process(str(options.pin) if self._pulses is None else "simulated")
        self._process.start()
        self._last_ms: int | None = None
        self._temperature = Slew(_SLEW_CELSIUS, _FLOOR_CELSIUS, "the DHT22's temperature")
        self._humidity = Slew(_SLEW_HUMIDITY, _FLOOR_HUMIDITY, "the DHT22's humidity")

    @property
    def process_id(self) -> int | None:
        """The library's process, for whoever measures its memory; None while there is none."""
        return self._process.pid

    def sample(self) -> Mapping[str, int]:
        self._space()
        answer = self._process.ask(_request(self._pulses))
        self._last_ms = self._clock.monotonic_ms()
        if not answer.startswith("ok "):
            raise _error(answer)
        humidity, temperature = (int(field) for field in answer.split()[1:3])
        return self._believe(temperature, humidity, self._last_ms)

    def close(self) -> None:
        self._process.stop()

    def _space(self) -> None:
        now_ms = self._clock.monotonic_ms()
        if self._last_ms is not None and now_ms - self._last_ms < _MIN_INTERVAL_MS:
            self._clock.sleep((_MIN_INTERVAL_MS - (now_ms - self._last_ms)) / 1000)
        self._last_ms = self._clock.monotonic_ms()

    def _believe(self, temperature: int, humidity: int, now_ms: int) -> Mapping[str, int]:
        if not _LOWEST <= temperature <= _HIGHEST:
            raise SensorError("out-of-range", f"DHT22: {temperature / 10} °C is outside -40 to 80 °C")
        # Both see every value, or one's doubt would blind the other.
        doubts = []
        for slew, value in ((self._temperature, temperature), (self._humidity, humidity)):
            try:
                slew.check(value, now_ms)
            except SensorError as error:
                doubts.append(error)
        if doubts:
            raise doubts[0]
        return {"temperature": temperature, "humidity": humidity}


def _request(pulses: Callable[[], Pulses] | None) -> str:
    if pulses is None:
        return "read"
    given = pulses()
    return f"read {given.duration_ms} {','.join(map(str, given.intervals_us))}"


def describe(options: Options) -> SensorInfo:
    """Say what the sensor will give, without touching it."""
    return SensorInfo(
        driver="dht22",
        model=f"DHT22 on GPIO{options.pin}",
        quantities=(Quantity("temperature", "Cel", -1, -400, 800), Quantity("humidity", "%", -1, 0, 1000)),
        min_interval_ms=_MIN_INTERVAL_MS,
        warm_up_ms=2000,
        bus=f"dht22-{options.pin}",
        claim=Claim(pins=(options.pin,), busy_us=_BUSY_US),
    )


def connect(options: Options, hardware: Hardware) -> Dht22:
    """Start the library's process; whether a sensor answers shows in `sample`."""
    return Dht22(options, hardware)
