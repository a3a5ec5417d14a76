"""What every series last said, whether it can be believed, and which of its values are kept.

Owns calibration's application, the latest values, health, plausibility and report by exception of all series. It
does not own what follows: contracts, pins and records are `gateway.recording.recorder`'s, whose lock guards it.
Times are monotonic ms.

Invariant: a value is only ever the calibrated one of a sample just taken; what cannot be one is a fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from gateway.catalogue import Catalogue, Channel
from gateway.chain.canonical import INT_MAX, INT_MIN
from gateway.chain.events import Status
from gateway.errors import SensorError
from gateway.recording.health import FAULT, Health
from gateway.recording.plausibility import Agreement, Judge
from gateway.recording.policy import Policy

__all__ = ["Gauges"]

_AGREED_MS: Final = 10_000  # values that are compared are no older
_CLIMATE_AGE_MS: Final = 15 * 60_000  # a correction's temperature and humidity are good for so long


class Gauges:
    """All series of a gateway.

    Args:
        powered_since_ms: when the sensors' supply came up.

    Attributes:
        channels: all series.
        latest: by series, its latest value and when it was taken.
        powered: by series, when its sensor's power came on.
    """

    def __init__(self, catalogue: Catalogue, *, powered_since_ms: int, now_ms: int) -> None:
        self.latest: dict[str, tuple[int, int]] = {}
        self.powered = dict.fromkeys((each.name for each in catalogue.series), powered_since_ms)
        self.channels = [channel for plan in catalogue.sensors for channel in plan.channels]
        self._policies = [Policy(each.dead_band, each.longest, each.ring) for each in catalogue.series]
        self._judges = [Judge(each.plausible, each.series.name, each.limits) for each in self.channels]
        self._agreements = [
            Agreement(channel.plausible, channel.series.name, max(_AGREED_MS, 5 * channel.series.period))
            for channel in self.channels
            if channel.plausible.agrees_with
        ]
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
        return [each.series.name for each in self.channels if self._health[each.series.index].state == FAULT]

    def value(self, channel: Channel, values: Mapping[str, int], now: int) -> int:
        """Return a series' value out of its sensor's sample. Raises SensorError where there is none."""
        if channel.quantity not in values:
            raise SensorError("no-data", f"{channel.series.name}: the sample holds no {channel.quantity}")
        value = values[channel.quantity]
        if type(value) is not int:
            raise SensorError("no-data", f"{channel.series.name}: its driver gave {value!r}, no integer")
        judge = self._judges[channel.series.index]
        judge.check_raw(value)
        if channel.calibration is not None:
            correction = channel.calibration.correction
            names = (correction.temperature, correction.humidity) if correction else ()
            value = channel.calibration.apply(value, *(self._recent(name, now) for name in names))
        if not INT_MIN <= value <= INT_MAX:
            raise SensorError("out-of-range", f"{channel.series.name}: {value} does not fit 64 bits")
        judge.check(value, now)
        self.latest[channel.series.name] = value, now
        return value

    def said(self, channel: Channel, values: Mapping[str, int]) -> int | None:
        """Return a value that is refused, but recorded as what its sensor said: one that nothing was made of."""
        value = values.get(channel.quantity)
        is_bare = channel.calibration is None and type(value) is int
        return value if is_bare and value is not None and INT_MIN <= value <= INT_MAX else None

    def succeed(self, channel: Channel, now: int) -> bool:
        """Take note of a good value; say whether the series' state changed."""
        health, judge = self._health[channel.series.index], self._judges[channel.series.index]
        if judge.has_window:
            for kind in ("noise", "quiet"):
                health.doubt(kind, stands=judge.doubt == kind)
        return health.succeed(now)

    def fail(self, channel: Channel, kind: str, now: int) -> bool:
        """Take note of a failure; say whether the series' state, or the reason of its fault, changed."""
        return self._health[channel.series.index].fail(kind, now)

    def tells(self, channel: Channel, now: int) -> str:
        """Return the kind of a fault that contracts are to be told of now, or nothing (`Health.tells`)."""
        return self._health[channel.series.index].tells(now)

    def tell_anew(self) -> None:
        """Let contracts be told of every fault that stands: there are others now."""
        for each in self._health:
            each.tell_anew()

    def retry(self, channel: Channel) -> None:
        """Take note that a series' sensor needed repeats on its bus."""
        self._health[channel.series.index].retry()

    def expire(self, wall_ms: int) -> None:
        """Take note of trusted wall time: calibrations that are no longer valid leave their series degraded."""
        for channel in self.channels:
            validity = channel.calibration.validity if channel.calibration else None
            if validity is not None:
                health = self._health[channel.series.index]
                health.doubt("calibration-expired", stands=wall_ms >= validity.until_ms)

    def wait(self, now: int) -> list[Channel]:
        """Take note that time has passed; return the series whose state changed."""
        if self._agreements:
            self._compare(now)
        return [each for each in self.channels if self._health[each.series.index].wait(now)]

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
        return {each.series.name: self.status(each) for each in self.channels}

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

    def _compare(self, now: int) -> None:
        doubts: set[str] = set()
        members: set[str] = set()
        for each in self._agreements:
            each.judge(self.latest, now)
            doubts |= each.doubts
            members.update(each.members)
        for channel in self.channels:
            if (name := channel.series.name) in members:
                self._health[channel.series.index].doubt("disagrees", stands=name in doubts)

    def _recent(self, series: str, now: int) -> int | None:
        value, at = self.latest.get(series, (0, now - _CLIMATE_AGE_MS))
        return value if now - at < _CLIMATE_AGE_MS else None
