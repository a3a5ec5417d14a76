"""The frame a DHT22 sends: 40 bits as the intervals between edges.

Source: Aosong AM2302 data sheet: 50 µs low before each bit, then 26 µs (0) or 70 µs (1) high; humidity
and temperature in tenths, the temperature's top bit its sign, and the low byte of their sum.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from gateway.sensors.base import Pulses
from gateway.simulation.faults import Faults

__all__ = ["DhtLine", "frame", "intervals"]

_LOW_US, _ZERO_US, _ONE_US = 50, 26, 70


def frame(celsius: float, humidity: float) -> bytes:
    """Return the five bytes for a temperature in °C and a relative humidity in %."""
    tenths = round(celsius * 10)
    sign = 0x8000 if tenths < 0 else 0
    data = round(humidity * 10).to_bytes(2, "big") + (sign | abs(tenths)).to_bytes(2, "big")
    return data + bytes((sum(data) & 0xFF,))


def intervals(data: bytes) -> tuple[int, ...]:
    """Return the microseconds between edges: low and high of each bit, and the low that ends the frame."""
    bits = (byte >> shift & 1 for byte in data for shift in range(7, -1, -1))
    edges = [us for bit in bits for us in (_LOW_US, _ONE_US if bit else _ZERO_US)]
    return (*edges, _LOW_US)


class DhtLine:
    """A DHT22's data line: one frame a call.

    Args:
        climate: the air's temperature in °C and relative humidity in %, at scenario second t.
        seconds: the scenario's present second.
        duration_ms: how long a read takes; a real one keeps the processor busy for most of it.
    """

    def __init__(
        self,
        climate: Callable[[float], tuple[float, float]],
        seconds: Callable[[], float],
        faults: Faults,
        seed: str,
        duration_ms: int,
    ) -> None:
        self._climate = climate
        self._seconds = seconds
        self._faults = faults
        self._random = Random(seed)
        self._duration_ms = duration_ms

    def __call__(self) -> Pulses:
        t = self._seconds()
        celsius, humidity = self._climate(t)
        data = bytearray(
            frame(
                min(max(celsius + self._random.gauss(0, 0.05), -40.0), 125.0),
                min(max(humidity + self._random.gauss(0, 0.2), 0.0), 100.0),
            )
        )
        if self._faults.find("checksum", t):
            data[1] ^= 0x04
        edges = intervals(bytes(data))
        if self._faults.find("short", t):
            edges = edges[: len(edges) // 2]
        if self._faults.find("cut", t):
            edges = ()
        return Pulses(edges, self._duration_ms)
