"""One sensor and one fault, played on a clock that stands still but for what is waited for: what is seen, and when.

What must be seen is `gateway.simulation.subjects`'. What is done with samples and states is whoever's who drills.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from gateway.catalogue import Catalogue, make_catalogue
from gateway.clock import SimulatedClock
from gateway.recording.health import WELL
from gateway.sampler import Samplers, Taker
from gateway.simulation.faults import FaultKind
from gateway.simulation.room import Room
from gateway.simulation.scenario import Scenario
from gateway.simulation.simulation import Simulation
from gateway.simulation.subjects import RATE_MS, STATED, Subject

__all__ = ["Drill", "Ground", "Seen"]

_SETTLE_MS: Final = 70_000


class Ground(Protocol):
    """Whoever takes the samples of a drill, and says what came of them."""

    @property
    def taker(self) -> Taker: ...

    def tick(self) -> None: ...

    def state(self, series: str) -> tuple[int, str]: ...


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of a fault.

    Attributes:
        state, reason: that were stated, or the last ones.
        after_ms: when, since it began; None is never.
        over_ms: when all was well again, since it ended; None is never.
        companion: the states of the sensor beside it, and `taken` how many of its samples came during the fault.
    """

    state: int
    reason: str
    after_ms: int | None
    over_ms: int | None
    companion: frozenset[int]
    taken: int
    expected: int


class Drill:
    """One sensor and one fault.

    Args:
        ground: makes the ground, from the catalogue and the hardware.
    """

    def __init__(
        self, subject: Subject, kind: FaultKind, ground: Callable[[Catalogue, Simulation], Ground]
    ) -> None:
        self.subject, self.kind, self.stated = subject, kind, STATED[kind]
        self._clock = SimulatedClock(speed=0)
        self._simulation = Simulation(Scenario("drill", {"room": Room()}), self._clock)
        for table in subject.tables:
            self._simulation.attach(table.name, table.driver, table.options)
        catalogue = make_catalogue(subject.tables, "drill")
        self._beside = next(each.name for each in catalogue.series if each.name.startswith("companion."))
        self._ground = ground(catalogue, self._simulation)
        self._counted = _Counted(self._ground.taker)
        self._samplers = Samplers(catalogue.sensors, self._simulation, self._counted)

    def run(self) -> Seen:
        """Let all settle, strike, repair, and say what was seen when."""
        self._until(_SETTLE_MS, lambda: False)
        begun, taken = self._clock.monotonic_ms(), self._counted.samples
        self._simulation.inject("subject", self.subject.fault(self.kind, self._simulation.seconds()))
        beside: set[int] = set()
        limit = self.subject.limit_ms(self.kind)
        after = self._until(begun + 2 * limit, lambda: self._is_seen(beside, begun + limit))
        state, reason = self._ground.state("subject.value")
        ended = self._clock.monotonic_ms()
        self._simulation.repair("subject")
        took = self._counted.samples - taken
        over = self._until(ended + 2 * self.subject.over_ms(self.kind), self._is_over)
        return Seen(
            state,
            reason,
            None if after is None else after - begun,
            None if over is None else over - ended,
            frozenset(beside),
            took,
            (ended - begun) // RATE_MS,
        )

    def close(self) -> None:
        """Close the sensors."""
        self._samplers.end()
        self._simulation.close()

    def _is_seen(self, beside: set[int], due: int) -> bool:
        beside.add(self._ground.state(self._beside)[0])
        state, reason = self._ground.state("subject.value")
        if self.stated.state == WELL:  # nothing may be seen, until the time is over
            return state == WELL and self._clock.monotonic_ms() >= due
        return state == self.stated.state and reason in self.stated.reasons

    def _is_over(self) -> bool:
        return {self._ground.state(each)[0] for each in ("subject.value", self._beside)} == {WELL}

    def _until(self, end_ms: int, done: Callable[[], bool]) -> int | None:
        """Let time pass until something is seen; return when, or None at the end."""
        while (now := self._clock.monotonic_ms()) < end_ms:
            if done():
                return now
            self._samplers.play()
            self._ground.tick()
        return None


class _Counted:
    """Passes samples on, and counts the companion's."""

    def __init__(self, taker: Taker) -> None:
        self._taker = taker
        self.samples = 0

    def sample(self, plan: Any, values: Mapping[str, int]) -> None:
        self.samples += plan.name == "companion"
        self._taker.sample(plan, values)

    def fail(self, plan: Any, error: Any) -> None:
        self._taker.fail(plan, error)

    def retried(self, plan: Any) -> None:
        self._taker.retried(plan)
