"""Threads that sample: one for each bus, every sensor at its own rate.

Owns when a sensor is sampled and that a bus has one user. It does not own what becomes of a sample
(`gateway.recording.recorder`), nor time stamps.

Invariants:
* The next sample is due a period after the last one was due, not after it was done, so rates do not drift; what
  a stall has missed is left out, never made up for in a burst.
* A chip that has a short test of its own passes it before its first sample.
* Sensors that have failed five times in a row take together at most a twentieth of their bus's time, so that timeouts
  of dead ones make nobody late; the first success on a bus where all failed ends their wait.
* Whatever a driver raises becomes a fault of its sensor; it never ends the thread.
* A thread ticks before and after each sample and while it waits. One sample may take as long as the slowest sensor
  of its bus may, which is twice its period; a thread that has not ticked for longer is stuck.
"""

from __future__ import annotations

import contextlib
import heapq
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from gateway.catalogue import SensorPlan
from gateway.errors import SensorError, SimulationError
from gateway.sensors.base import LAN, Hardware, SelfTesting, Sensor
from gateway.sensors.registry import open_sensor

__all__ = ["Samplers", "Taker"]

_log = logging.getLogger(__name__)

_END_S: Final = 5.0
_TICK_S: Final = 1.0
_FAILURES: Final = 5  # in a row, as for a fault (`gateway.recording.health`)
_SHARE: Final = 19  # to one: what the others have of the bus's time
_REST_MOST_MS: Final = 10_000
_SELF_TEST_MS: Final = 1_000
_HANG_S: Final = 20.0  # no transfer takes so long: buses time out within 35 ms, and retries are few


class Taker(Protocol):
    """Whoever takes samples; called from the buses' threads."""

    def sample(self, plan: SensorPlan, values: Mapping[str, int]) -> None: ...

    def fail(self, plan: SensorPlan, error: SensorError) -> None: ...

    def retried(self, plan: SensorPlan) -> None:
        """The sample that is taken next needed repeats on its bus."""
        ...


class Samplers:
    """All buses' threads.

    Args:
        speed: how many of the clock's seconds pass in one, for simulations.
    """

    def __init__(
        self, plans: Sequence[SensorPlan], hardware: Hardware, taker: Taker, speed: float = 1.0
    ) -> None:
        self._ending = threading.Event()
        buses: dict[str, list[SensorPlan]] = {}
        for plan in plans:
            if plan.info.bus == LAN:
                continue
            buses.setdefault(plan.info.bus, []).append(plan)
        self._buses = {
            name: _Bus(on_it, hardware, taker, speed, self._ending) for name, on_it in buses.items()
        }
        self._threads = [
            threading.Thread(target=bus.run, name=f"bus-{name}", daemon=True)
            for name, bus in self._buses.items()
        ]

    def start(self) -> None:
        """Begin to sample."""
        for thread in self._threads:
            thread.start()

    def ticks(self) -> dict[str, bool]:
        """Return, by bus, whether its thread ticked within its time."""
        now = time.monotonic()
        return {name: bus.ticked_at + bus.patience_s > now for name, bus in self._buses.items()}

    def play(self) -> None:
        """Wait for the next sample and take it: instead of `start`, on a clock that moves when somebody sleeps."""
        bus = min(self._buses.values(), key=lambda each: each.dues[0])
        clock = bus.clock
        clock.sleep(max(0, bus.dues[0][0] - clock.monotonic_ms()) / 1000)
        bus.serve()

    def end(self) -> None:
        """Close the sensors, where they were played."""
        for bus in self._buses.values():
            bus.close()

    def stop(self) -> None:
        """End after the samples under way, and close the sensors."""
        self._ending.set()
        for thread in self._threads:
            thread.join(_END_S)


class _Bus:
    """One bus: its sensors, and when each is due.

    Attributes:
        ticked_at: `time.monotonic` at the thread's last tick.
        patience_s: how long it may go without one.
        dues: a heap of (when, which sensor) is due next.
    """

    def __init__(
        self,
        plans: Sequence[SensorPlan],
        hardware: Hardware,
        taker: Taker,
        speed: float,
        ending: threading.Event,
    ) -> None:
        self._plans, self._hardware, self._taker = plans, hardware, taker
        self._speed, self._ending = speed, ending
        self._sensors: dict[str, Sensor] = {}
        self.clock = hardware.clock
        now = self.clock.monotonic_ms()
        self.dues = [(now, index) for index in range(len(plans))]
        self._failures = [0] * len(plans)
        self._supplied = hardware.tally(plans[0].info.bus).power_cycles if plans else 0
        self.patience_s = max([_HANG_S, *(2 * plan.period_ms / 1000 / speed for plan in plans)])
        self.ticked_at = time.monotonic()

    def run(self) -> None:
        while not self._ending.is_set():
            self.ticked_at = time.monotonic()
            wait_s = (self.dues[0][0] - self.clock.monotonic_ms()) / 1000 / self._speed
            if wait_s > 0 and (self._ending.wait(min(wait_s, _TICK_S)) or wait_s > _TICK_S):
                continue
            self.serve()
        self.close()

    def close(self) -> None:
        for sensor in self._sensors.values():
            with contextlib.suppress(SimulationError):  # a record knows no end but its own
                sensor.close()

    def serve(self) -> None:
        """Sample whatever is due first, and put down when it is due next."""
        dues, clock = self.dues, self.clock
        due, index = dues[0]
        plan = self._plans[index]
        began, all_failed = clock.monotonic_ms(), all(self._failures)
        try:
            is_well = self._sample(plan)
        except Exception:  # whatever was wrong with this sample, the next one is to be taken
            _log.exception("sample of %s was not taken in", plan.name)
            is_well = True
        self._failures[index] = 0 if is_well else self._failures[index] + 1
        rest = self._rest_ms(index, clock.monotonic_ms() - began)
        heapq.heapreplace(dues, (self._next(due, plan.period_ms, rest), index))
        if is_well and all_failed:  # the bus is well again: nobody waits any longer
            now = clock.monotonic_ms()
            dues[:] = [(min(at, now + self._plans[i].period_ms), i) for at, i in dues]
            heapq.heapify(dues)

    def _rest_ms(self, index: int, cost_ms: int) -> int:
        """Return for how long a sensor leaves the bus to the others: all that are in fault take a twentieth of it."""
        if len(self._plans) == 1 or self._failures[index] < _FAILURES:
            return 0
        return min(_SHARE * cost_ms * sum(count >= _FAILURES for count in self._failures), _REST_MOST_MS)

    def _next(self, due: int, period_ms: int, rest_ms: int = 0) -> int:
        missed = max(0, self.clock.monotonic_ms() + rest_ms - due - 1) // period_ms
        return due + (missed + 1) * period_ms

    def _sample(self, plan: SensorPlan) -> bool:
        """Take one sample; False where it failed."""
        retries = self._hardware.tally(plan.info.bus).retries
        try:
            values = self._opened(plan).sample()
        except SensorError as error:
            self._fail(plan, error)
            return False
        except Exception as error:  # a defect of one driver must not silence the other sensors of its bus
            if not self._failures[self._plans.index(plan)]:
                _log.exception("driver %s of sensor %s failed", plan.driver, plan.name)
            self._fail(plan, SensorError("no-data", f"{plan.name}: {error}"))
            return False
        if self._hardware.tally(plan.info.bus).retries > retries:
            self._taker.retried(plan)
        self._tell_supply(plan.info.bus)
        if values:  # a sensor between two of its cycle's values has none
            self._taker.sample(plan, values)
        return True

    def _fail(self, plan: SensorPlan, error: SensorError) -> None:
        self._tell_supply(plan.info.bus)
        self._taker.fail(plan, error)

    def _tell_supply(self, bus: str) -> None:
        """Tell of all sensors that they had no supply, where the bus was freed by that: they warm up again."""
        cycles = self._hardware.tally(bus).power_cycles
        if cycles != self._supplied:
            self._supplied = cycles
            for plan in self._plans:
                self._taker.fail(
                    plan, SensorError("power", f"{bus} was held; its sensors' supply was switched")
                )

    def _opened(self, plan: SensorPlan) -> Sensor:
        if plan.name not in self._sensors:
            sensor = open_sensor(plan.driver, plan.options, self._hardware)
            try:
                if 0 < plan.info.self_test_ms <= _SELF_TEST_MS and isinstance(sensor, SelfTesting):
                    sensor.self_test()
            except SensorError:
                sensor.close()
                raise
            self._sensors[plan.name] = sensor
        return self._sensors[plan.name]
