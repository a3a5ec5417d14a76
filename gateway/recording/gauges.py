"""What every series last said, whether it can be believed, and which of its values are kept.

Owns calibration's application, the latest values, health and report by exception of all series. It does not own
what follows: contracts, pins and records are `gateway.recording.recorder`'s, whose lock guards it. Times are
monotonic ms.

Invariant: a value is only ever the calibrated one of a sample just taken; what cannot be one is a fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from gateway.catalogue import Catalogue, Channel
from gateway.chain.canonical import INT_MAX, INT_MIN
from gateway.chain.reading import Status
from gateway.errors import SensorError
from gateway.recording.health import FAULT, Health
from gateway.recording.policy import Policy

__all__ = ["Gauges"]

_CLIMATE_AGE_MS: Final = 15 * 60_000  # a correction's temperature and humidity are good for so long


class Gauges:
    """All series of a gateway.

    Args:
        powered_since_ms: when the sensors' supply came up.

    Attributes:
        latest: by series, its latest value and when it was taken.
        powered: by series, when its sensor's power came on.
    """

    def __init__(self, catalogue: Catalogue, *, powered_since_ms: int, now_ms: int) -> None:
        self.latest: dict[str, tuple[int, int]] = {}
        self.powered = dict.fromkeys((each.name for each in catalogue.series), powered_since_ms)
        self._channels = [channel for plan in catalogue.sensors for channel in plan.channels]
        self._policies = [Policy(each.dead_band, each.longest, each.ring) for each in catalogue.series]
        self._health = [
            Health(plan.period_ms, powered_since_ms + plan.info.warm_up_ms, now_ms, plan.info.cycle_ms)
            for plan in catalogue.sensors
            for _ in plan.channels
        ]

    @property
    def faults(self) -> int:
        """How many series are in fault."""
        return sum(1 for each in self._health if each.state == FAULT)

    def faulty(self) -> list[str]:
        """Return the names of the series in fault."""
        return [each.series.name for each in self._channels if self._health[each.series.index].state == FAULT]

    def value(self, channel: Channel, values: Mapping[str, int], now: int) -> int:
        """Return a series' value out of its sensor's sample. Raises SensorError where there is none."""
        if channel.quantity not in values:
            raise SensorError("no-data", f"{channel.series.name}: the sample holds no {channel.quantity}")
        value = values[channel.quantity]
        if type(value) is not int:
            raise SensorError("no-data", f"{channel.series.name}: its driver gave {value!r}, no integer")
        if channel.calibration is not None:
            correction = channel.calibration.correction
            names = (correction.temperature, correction.humidity) if correction else ()
            value = channel.calibration.apply(value, *(self._recent(name, now) for name in names))
        if not INT_MIN <= value <= INT_MAX:
            raise SensorError("out-of-range", f"{channel.series.name}: {value} does not fit 64 bits")
        self.latest[channel.series.name] = value, now
        return value

    def succeed(self, channel: Channel, now: int) -> bool:
        """Take note of a good value; say whether the series' state changed."""
        return self._health[channel.series.index].succeed(now)

    def fail(self, channel: Channel, kind: str, now: int) -> bool:
        """Take note of a failure; say whether the series' state, or the reason of its fault, changed."""
        return self._health[channel.series.index].fail(kind, now)

    def wait(self, now: int) -> list[Channel]:
        """Take note that time has passed; return the series whose state changed."""
        return [each for each in self._channels if self._health[each.series.index].wait(now)]

    def power(self, channel: Channel, warm_up_ms: int, now: int) -> None:
        """Take note that a sensor's power came on just now."""
        self.powered[channel.series.name] = now
        self._health[channel.series.index].power(now + warm_up_ms)

    def status(self, channel: Channel) -> Status:
        """Return a series' state as it is recorded; its offset is filled in later."""
        health = self._health[channel.series.index]
        return Status(channel.series.index, 0, health.state, health.reason)

    def statuses(self) -> dict[str, Status]:
        """Return every series' state, by name."""
        return {each.series.name: self.status(each) for each in self._channels}

    def keeps(self, channel: Channel, value: int, now: int) -> bool:
        """Say whether a value is to be recorded; one that is not goes to the series' ring."""
        return self._policies[channel.series.index].keeps(value, now)

    def commit(self, now: int) -> Iterator[tuple[int, int, int]]:
        """Empty all rings and yield their (time, series, value), oldest first; keep every value for a while."""
        rings = [
            (at, index, value)
            for index, policy in enumerate(self._policies)
            for at, value in policy.commit(now)
        ]
        yield from sorted(rings)

    def _recent(self, series: str, now: int) -> int | None:
        value, at = self.latest.get(series, (0, now - _CLIMATE_AGE_MS))
        return value if now - at < _CLIMATE_AGE_MS else None
