"""Values that cannot be, or hardly can be, what a series measures: one judge each, and groups that should agree.

Owns the rules and their small state. It does not own what follows: a value that cannot be is a failure, one that is
doubtful leaves the series degraded (`gateway.recording.health`).

* Outside `low` to `high`: a failure, `out-of-range`. The driver's own limits hold for its quantity, before calibration;
  the configuration's for the series.
* Faster than `slew` a second: a failure, `slew`, once; a second value like it is believed. A fire does not go back.
* Equal for `still_s` seconds and at least five values: a failure, `stuck`, until it moves.
* Over each 32 values, successive ones that differ by more than `noise` on average, or by less than `quiet`: a doubt.
  A real leak is turbulent, so such values still reach the contracts.
* Further than `within` from the others of its group for `for_s` seconds: a doubt, `disagrees`. Of two series both are
  doubtful, of more those far from the middle one. Who is right cannot be known here, so all of them stay in use.

Invariants:
* Every decision is made on integers; a value costs constant time and memory.
* A value that cannot be is withheld from contracts. Where the series is its sensor's own quantity it is recorded all
  the same, as what the sensor said: the series' state says that it is not to be believed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.errors import SensorError
from gateway.sensors.plausible import Slew

__all__ = ["Agreement", "Judge", "PlausibleTable"]

_WINDOW: Final = 32
_STILL: Final = 5  # equal values at the least
_MOST: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class PlausibleTable:
    """`[sensors.series.plausible]`: what values the series can have, in steps of its scale.

    Attributes:
        low, high: it is never below or above; without, only what the driver knows of its element counts.
        slew: the most it changes in a second, beside `slew_floor`, which may come at any time.
        still_s: equal values for so many seconds are a fault; 0 is off.
        noise, quiet: the most and the least that successive values differ on average; 0 is off.
        agrees_with: series of the same unit and scale, of which it stays `within`; otherwise it, or they, are doubtful
            after `for_s` seconds.
    """

    low: int | None = None
    high: int | None = None
    slew: int = 0
    slew_floor: int = 0
    still_s: int = 0
    noise: int = 0
    quiet: int = 0
    agrees_with: tuple[str, ...] = ()
    within: int = 0
    for_s: int = 60

    def __post_init__(self) -> None:
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"low must be below high, not {self.low} and {self.high}")
        for key in ("slew", "slew_floor", "still_s", "noise", "quiet", "within", "for_s"):
            if not 0 <= getattr(self, key) < _MOST:
                raise ValueError(f"{key} must be 0 or more")
        if self.noise and self.quiet >= self.noise:
            raise ValueError("quiet must be below noise")
        if bool(self.agrees_with) != bool(self.within):
            raise ValueError("agrees_with and within go together")


class Judge:
    """Judges one series' values, in order.

    Args:
        name: the series, for messages.
        raw: lowest and highest value of its sensor's quantity, as the driver knows them.

    Attributes:
        doubt: `noise`, `quiet` or nothing.
    """

    __slots__ = ("_count", "_equal", "_last", "_name", "_raw", "_since", "_slew", "_sum", "_table", "doubt")

    def __init__(
        self, table: PlausibleTable, name: str, raw: tuple[int | None, int | None] = (None, None)
    ) -> None:
        self._table, self._name, self._raw = table, name, raw
        self._slew = Slew(table.slew, table.slew_floor, name) if table.slew else None
        self._last: int | None = None
        self._since = 0
        self._equal = self._count = self._sum = 0
        self.doubt = ""

    @property
    def has_window(self) -> bool:
        """Whether noise is looked at, and `doubt` can be other than nothing."""
        return bool(self._table.noise or self._table.quiet)

    def check_raw(self, value: int) -> None:
        """Judge the sensor's own value. Raises SensorError: out-of-range."""
        self._check_range(value, *self._raw)

    def check(self, value: int, now_ms: int) -> None:
        """Judge the series' value of a monotonic time. Raises SensorError: out-of-range, stuck or slew."""
        self._measure(value, now_ms)
        table = self._table
        self._check_range(value, table.low, table.high)
        if table.still_s and self._equal >= _STILL and now_ms - self._since >= table.still_s * 1000:
            raise SensorError(
                "stuck", f"{self._name} has been {value} for {(now_ms - self._since) // 1000} s"
            )
        if self._slew is not None:
            self._slew.check(value, now_ms)

    def _check_range(self, value: int, low: int | None, high: int | None) -> None:
        if (low is not None and value < low) or (high is not None and value > high):
            raise SensorError("out-of-range", f"{self._name}: {value} is not between {low} and {high}")

    def _measure(self, value: int, now_ms: int) -> None:
        last, self._last = self._last, value
        if value == last:
            self._equal += 1
        else:
            self._equal, self._since = 1, now_ms
        if last is None or not (self._table.noise or self._table.quiet):
            return
        self._sum += abs(value - last)
        self._count += 1
        if self._count == _WINDOW:
            self.doubt = self._found()
            self._count = self._sum = 0

    def _found(self) -> str:
        if self._table.noise and self._sum > self._table.noise * _WINDOW:
            return "noise"
        return "quiet" if self._sum < self._table.quiet * _WINDOW else ""


class Agreement:
    """One series and those it should agree with. Times are monotonic ms.

    Args:
        series: its name.
        age_ms: a value that is older counts for nothing.
    """

    __slots__ = ("_age", "_others", "_since", "_table", "doubts", "series")

    def __init__(self, table: PlausibleTable, series: str, age_ms: int) -> None:
        self._table, self._age, self.series = table, age_ms, series
        self._others = table.agrees_with
        self._since: dict[str, int] = {}
        self.doubts: frozenset[str] = frozenset()

    @property
    def members(self) -> tuple[str, ...]:
        """All of the group."""
        return (self.series, *self._others)

    def judge(self, latest: Mapping[str, tuple[int, int]], now_ms: int) -> None:
        """Compare the latest values (value, time); `doubts` are then the series that disagree."""
        values = {
            name: latest[name][0]
            for name in self.members
            if name in latest and now_ms - latest[name][1] <= self._age
        }
        apart = self._apart(values)
        self._since = {name: self._since.get(name, now_ms) for name in apart}
        self.doubts = frozenset(
            name for name, since in self._since.items() if now_ms - since >= self._table.for_s * 1000
        )

    def _apart(self, values: Mapping[str, int]) -> Iterable[str]:
        if len(values) < 2:
            return ()
        ordered = sorted(values.values())
        low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
        if high - low > self._table.within:  # there is no middle: half stands against half
            return tuple(values)
        return [
            name
            for name, value in values.items()
            if min(abs(value - low), abs(value - high)) > self._table.within
        ]
