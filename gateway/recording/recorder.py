"""The gateway's core: a sample becomes readings, decisions and records, under one lock.

Owns the order of things: time stamp, values (`gateway.recording.gauges`), contracts and pins (`gateway.decider`),
then the open block (`gateway.recording.logbook`), then whoever makes it durable (`gateway.recording.writer`). It
owns no threads: samplers, ticker and sync call it.

Invariants:
* Every time is stamped here, under the lock, so records never go back in time.
* After a transition, pins come first; nothing that is written can delay or prevent them.
* A transition stands in the open block before anyone is told of it, and once made it is acted on, told and
  recorded, whatever else goes wrong with the event that brought it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from gateway.catalogue import Catalogue, Channel, SensorPlan
from gateway.chain.alarm import CONDITIONS
from gateway.chain.block import STALE
from gateway.chain.events import Actuation, Outcome, Refusal, Shedding, Status
from gateway.contracts.machine import NORMAL, Transition
from gateway.decider import ContractSet, Decider
from gateway.errors import SensorError
from gateway.outputs.orders import RESET, Cause, Moved
from gateway.recording.decision import Decision, Told
from gateway.recording.feed import Feed
from gateway.recording.gauges import Gauges
from gateway.recording.logbook import Logbook
from gateway.recording.refusals import Refusals
from gateway.region.keeper import Identity

__all__ = ["Recorder"]

_log = logging.getLogger(__name__)

_IDLE_MS: Final = 1_000  # `tick` looks after clock and silent sensors at least this often


@dataclass(slots=True)
class _Event:
    """One sample, failure or tick: when, what contracts made of it, which values are kept, which states changed."""

    now: int
    transitions: list[Transition] = field(default_factory=list)
    kept: list[tuple[int, int]] = field(default_factory=list)
    noted: list[Channel] = field(default_factory=list)


class Recorder:
    """Records and decides. Methods may be called from any thread.

    Args:
        powered_since_ms: when the sensors' supply came up, on the clock's monotonic time.
        poke: called when something is due earlier than `due_ms` said last.
        changed: called when contracts or series have changed their state, after the pins; it returns at once.

    Attributes:
        refusals: takes note of messages that are not obeyed.
    """

    def __init__(
        self,
        identity: Identity,
        catalogue: Catalogue,
        decider: Decider,
        logbook: Logbook,
        told: Told,
        *,
        powered_since_ms: int,
        poke: Callable[[], None] = lambda: None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._lock = threading.RLock()
        self._identity, self._decider, self._logbook = identity, decider, logbook
        self._told, self._poke, self._changed = told, poke, changed
        self.refusals = Refusals(self.note)
        self._counter = 0
        now = self._planned = logbook.stamp()
        self._gauges = Gauges(catalogue, powered_since_ms=powered_since_ms, now_ms=now)

    def start(self, saved: bytes | None, loose: Sequence[bytes]) -> None:
        """Take up the contracts' saved state, drive the pins, and record what stands in no block yet.

        Args:
            loose: bodies of transitions of earlier boots.
        """
        with self._lock:
            now = self._logbook.stamp()
            transitions = self._decider.restore(saved, now) if saved else []
            transitions += self._tell_power()
            self._decider.hear(transitions)
            for body in loose:
                self._logbook.transition(body, b"", now)
            self._follow(transitions, now)

    # from the samplers

    def sample(self, plan: SensorPlan, values: Mapping[str, int]) -> None:
        """Take what a sensor measured just now."""
        with self._lock, self._event() as event:
            for channel in plan.channels:
                try:
                    value = self._gauges.value(channel, values, event.now)
                except SensorError as error:
                    self._fail(channel, error, event)
                    said = self._gauges.said(channel, values)
                    if said is not None and self._gauges.keeps(channel, said, event.now):
                        event.kept.append((channel.series.index, said))
                    continue
                if self._gauges.succeed(channel, event.now):
                    event.noted.append(channel)
                event.transitions += self._decider.engine.sample(channel.series.name, value, event.now)
                if self._gauges.keeps(channel, value, event.now):
                    event.kept.append((channel.series.index, value))

    def fail(self, plan: SensorPlan, error: SensorError) -> None:
        """Take note that a sensor gave no sample."""
        with self._lock, self._event() as event:
            for channel in plan.channels:
                if error.kind == "power":
                    self._gauges.power(channel, plan.info.warm_up_ms, event.now)
                    event.transitions += self._decider.engine.power(channel.series.name, event.now)
                self._fail(channel, error, event)

    def retried(self, plan: SensorPlan) -> None:
        """Take note that a sensor's bus had to repeat what it was asked; what came of it is told next."""
        with self._lock:
            for channel in plan.channels:
                self._gauges.retry(channel)

    # from the ticker

    def tick(self) -> None:
        """Do what time alone brings: deadlines of contracts, outputs and seals, silent sensors, clock steps."""
        with self._lock, self._event() as event:
            self._decider.drive()  # what runs out, and what failed before
            event.transitions += self._decider.engine.expire(event.now)
            if self._logbook.clock_state() != STALE:
                self._gauges.expire(self._logbook.wall(event.now))
            event.noted += self._gauges.wait(event.now)
            for channel in self._gauges.channels:
                self._decide_fault(channel, event)
            self.refusals.flush(event.now)

    def due_ms(self) -> int:
        """Return the monotonic time at which `tick` is to be called next."""
        with self._lock:
            now = self._logbook.stamp()
            dues = (now + _IDLE_MS, self._decider.due_ms(), self._logbook.due_ms())
            self._planned = max(now + 1, min(due for due in dues if due is not None))
            return self._planned

    # from sync, the control socket and the writer

    def reset(self, contract: str, by: str) -> None:
        """Drop a contract's latch. Raises MismatchError where there is no such contract.

        Args:
            by: whose doing it is, as the record of what then moves says; so below.
        """
        with self._lock:
            now = self._logbook.stamp()
            transitions = self._decider.engine.reset(contract, now)
            self._decider.hear(transitions, Cause(RESET, by))
            self._follow(transitions, now)

    def silence(self, contract: str, by: str) -> bool:
        """Silence a contract's sirens; False where there is no such contract."""
        with self._lock:
            is_known = self._decider.silence(contract, by)
            self._follow([], self._logbook.stamp())
            return is_known

    def test(self, output: str, seconds: int, by: str) -> None:
        """Let an output act for some seconds. Raises OutputError."""
        with self._lock:
            self._decider.test(output, seconds, by)
            self._follow([], self._logbook.stamp())

    def restless(self) -> list[str]:
        """Return the contracts that are not normal, or in fault."""
        with self._lock:
            states = self._decider.engine.states()
        return [name for name, state in states.items() if state.condition != NORMAL or state.faults]

    def swap(self, contracts: ContractSet) -> None:
        """Seal, and put another contract set in force. Raises MismatchError when it does not fit."""
        with self._lock:
            now = self._logbook.stamp()
            transitions = self._decider.engine.expire(now)
            self._decider.hear(transitions)
            self._follow(transitions, now)
            ends, changes = self._decider.swap(contracts, now)
            changes += self._tell_power()
            self._decider.hear([*ends, *changes])
            self._gauges.tell_anew()  # a contract that is new has heard of no fault
            self._follow(ends, now)  # under the set that decided
            self._logbook.put_in_force(contracts.listing, now)
            self._follow(changes, now)

    def note(self, event: Outcome | Shedding | Actuation | Refusal) -> None:
        """Record an event of the gateway's own."""
        with self._lock:
            now = self._logbook.stamp()
            self._logbook.event(event, now)
            self._follow([], now)

    def release(self, journal: Feed) -> None:
        """Take back the journal of a block that is stored; it is empty."""
        with self._lock:
            self._logbook.release(journal)

    def end(self) -> None:
        """Seal what is open; nothing may be recorded any more."""
        with self._lock:
            self.refusals.flush(self._logbook.stamp(), ending=True)
            self._logbook.end(self._logbook.stamp())

    @property
    def contracts(self) -> ContractSet:
        """The set in force."""
        return self._decider.contracts

    @property
    def lost(self) -> int:
        """Readings that could not be recorded because the store took no blocks."""
        return self._logbook.lost

    @property
    def faults(self) -> int:
        """How many series are in fault."""
        return self._gauges.faults

    def statuses(self) -> dict[str, Status]:
        """Return how every series is, by name."""
        with self._lock:
            return self._gauges.statuses()

    @property
    def faulty(self) -> list[str]:
        """The names of the series in fault."""
        return self._gauges.faulty()

    def conditions(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Return each contract's condition in a word, and its faults."""
        with self._lock:
            states = self._decider.engine.states()
        return {name: (CONDITIONS[state.condition], state.faults) for name, state in states.items()}

    def latest(self) -> dict[str, tuple[int, int]]:
        """Return each series' latest value and when it was taken, monotonic ms."""
        with self._lock:
            return dict(self._gauges.latest)

    # samples

    def _tell_power(self) -> list[Transition]:
        """Tell new contracts since when the sensors have had power, so that their warm-up holds."""
        engine = self._decider.engine
        return [each for name, at in self._gauges.powered.items() for each in engine.power(name, at)]

    @contextmanager
    def _event(self) -> Iterator[_Event]:
        """Collect what an event brings, then follow it, whatever went wrong meanwhile: a decision made is acted on."""
        event = _Event(self._logbook.stamp())
        try:
            yield event
        finally:
            if event.transitions:
                self._decider.hear(event.transitions)
            elif event.noted:
                self._decider.drive()  # a fault relay hears of every sensor
            try:
                self._decider.heed()
                for index, value in event.kept:
                    self._logbook.reading(index, event.now, value, event.now)
                self._note(event.noted, event.now)
            finally:
                self._follow(event.transitions, event.now)

    def _fail(self, channel: Channel, error: SensorError, event: _Event) -> None:
        if self._gauges.fail(channel, error.kind, event.now):
            event.noted.append(channel)
            _log.warning("series %s: %s", channel.series.name, error)
        self._decide_fault(channel, event)

    def _decide_fault(self, channel: Channel, event: _Event) -> None:
        if kind := self._gauges.tells(channel, event.now):
            event.transitions += self._decider.engine.fault(channel.series.name, kind, event.now)

    def _note(self, channels: Sequence[Channel], now: int) -> None:
        for channel in channels:
            self._logbook.event(self._gauges.status(channel), now, channel.series.klass)
        if channels:
            self._changed()

    # decisions

    def _follow(self, transitions: Sequence[Transition], now: int) -> None:
        """Record decisions that the pins have followed already, pass them on, and seal if it is time."""
        if transitions:
            state = self._decider.state(now)
            decisions = [self._decision(each, state) for each in transitions]
            try:
                for each in decisions:
                    self._logbook.transition(each.body, state, now)
            finally:
                self._changed()
                self._told.decided(decisions)
            self._logbook.commit(self._gauges.commit(now), now)
            self._logbook.hasten(now)
        for moved in self._decider.take():
            self._logbook.event(_actuation(moved), now)
        if self._logbook.is_due(now):
            self._logbook.close(now)
        if (due := self._decider.due_ms()) is not None and due < self._planned:
            self._poke()

    def _decision(self, transition: Transition, state: bytes) -> Decision:
        self._counter += 1
        wall, clock = self._logbook.wall(transition.at_ms), self._logbook.clock_state()
        before, after = CONDITIONS[transition.before], CONDITIONS[transition.after]
        change = f"{before} -> {after}" if before != after else f"stays {after}"
        faults = ", ".join(transition.faults_after) or "none"
        _log.warning("contract %s: %s; faults: %s", transition.contract_id, change, faults)
        return Decision.of(transition, state, self._identity, self._counter, wall, clock)


def _actuation(moved: Moved) -> Actuation:
    return Actuation(0, moved.output, int(moved.active), moved.cause.code, moved.cause.by, moved.moved)
