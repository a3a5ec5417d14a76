"""Values that a working sensor cannot give: frozen ones and impossible jumps.

Owns two small detectors that drivers feed every raw value. What is then done about it is the caller's.
"""

from __future__ import annotations

from gateway.errors import SensorError

__all__ = ["Slew", "Stuck"]


class Stuck:
    """Refuses the N-th equal value in a row, where noise is to be expected.

    Args:
        limit: equal values in a row that are a fault; 0 turns the detector off.
        name: the sensor, for the message.
    """

    def __init__(self, limit: int, name: str) -> None:
        self._limit = limit
        self._name = name
        self._last: object = None
        self._count = 0

    def check(self, value: object) -> None:
        """Take note of a raw value.

        Raises:
            SensorError: stuck; raised again until the value moves.
        """
        self._count = self._count + 1 if value == self._last else 1
        self._last = value
        if 0 < self._limit <= self._count:
            raise SensorError(
                "stuck", f"{self._name} gave {value} {self._count} times in a row; check the element's supply"
            )


class Slew:
    """Refuses a value that no physical change explains, once; a second one like it is believed.

    Bit errors that pass a checksum halve or double a value for one reading. A fire does not go back.

    Args:
        per_second: largest believable change per second, in the value's own scale.
        floor: change that is believed however short the time, for noise and rounding.
    """

    def __init__(self, per_second: int, floor: int, name: str) -> None:
        self._per_second = per_second
        self._floor = floor
        self._name = name
        self._believed: tuple[int, int] | None = None
        self._doubted: tuple[int, int] | None = None

    def check(self, value: int, now_ms: int) -> None:
        """Take note of a value measured at `now_ms` of a monotonic clock.

        Raises:
            SensorError: slew, for a jump seen for the first time.
        """
        if not self._near(self._believed, value, now_ms) and not self._near(self._doubted, value, now_ms):
            before, self._doubted = self._believed, (value, now_ms)
            if before:
                raise SensorError(
                    "slew", f"{self._name} jumped from {before[0]} to {value}; a second is awaited"
                )
        self._believed, self._doubted = (value, now_ms), None

    def _near(self, reference: tuple[int, int] | None, value: int, now_ms: int) -> bool:
        if reference is None:
            return False
        before, then_ms = reference
        allowed_milli = self._floor * 1000 + self._per_second * (now_ms - then_ms)
        return abs(value - before) * 1000 <= allowed_milli
