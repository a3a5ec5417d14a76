"""Contracts in operation: samples, faults and power events in, transitions and wanted outputs out.

SEMANTICS.md, section 8. Owns the engine's time and the order in which contracts are evaluated. It has no clock:
every time is the caller's, in milliseconds of one monotonic clock, and it never acts by itself. Call `expire`
when `next_expiry` has come; called late, deadlines are met as if it had been in time.

Invariants: the same calls give the same transitions; a call costs time in the contracts that read the series
and in the number of contracts, never in how much has gone before.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Final, TypeAlias

from gateway.chain.canonical import INT_MAX, INT_MIN, Item
from gateway.contracts import snapshot
from gateway.contracts.document import Contract, SeriesInfo
from gateway.contracts.errors import MismatchError, ReadingError, SnapshotError
from gateway.contracts.machine import NORMAL, Machine, State, Transition

_Step: TypeAlias = tuple[Machine, Callable[[int], Transition | None]]

_FORM: Final = 1
_KIND = re.compile(r"[a-z][a-z0-9-]{0,31}")


class Engine:
    """Runs a set of contracts over the series that exist."""

    def __init__(
        self, contracts: Iterable[Contract], series: Mapping[str, SeriesInfo], start_ms: int
    ) -> None:
        """Start with every contract normal.

        Args:
            contracts: what to run; ids must differ.
            series: all series that there are, by name.
            start_ms: the instant of starting: an input not sampled within its `max_age` from here is missing.

        Raises:
            MismatchError: two contracts share an id, or one does not fit the series.
        """
        self._machines: dict[str, Machine] = {}
        self._readers: dict[str, list[tuple[Machine, list[str]]]] = {name: [] for name in series}
        self._now = _time(start_ms)
        for contract in sorted(contracts, key=lambda c: c.id):
            contract.check_fit(series)
            if contract.id in self._machines:
                raise MismatchError(f"two contracts have the id {contract.id!r}; keep one")
            self._add(Machine(contract, start_ms))
        self._earliest = self._least_deadline()  # a lower bound: deadlines move back without its knowing

    def _add(self, machine: Machine) -> None:
        self._machines[machine.contract.id] = machine
        aliases: dict[str, list[str]] = {}
        for given in machine.contract.inputs:
            aliases.setdefault(given.series, []).append(given.alias)
        for series, names in aliases.items():
            self._readers[series].append((machine, names))

    def sample(self, series: str, value: int, at_ms: int) -> list[Transition]:
        """Take a sample of a series: a scaled integer of 64 bits, and when it was taken.

        Raises:
            MismatchError: no such series.
            ReadingError: the value or the time is no 64-bit integer.
        """
        if type(value) is not int or not INT_MIN <= value <= INT_MAX:
            raise ReadingError(f"{series}: {value!r:.60} is not a 64-bit integer")
        return self._event(series, at_ms, lambda m, names, now: m.sample(names, value, at_ms, now))

    def fault(self, series: str, kind: str, at_ms: int) -> list[Transition]:
        """Take a sensor's fault (a word such as `nack` or `checksum`). It stands until the next sample.

        Raises:
            MismatchError: no such series.
            ReadingError: the kind is no such word, or the time no 64-bit integer.
        """
        if not _KIND.fullmatch(kind):
            raise ReadingError(
                f"{series}: a fault's kind is [a-z][a-z0-9-]*, at most 32 characters, not {kind!r:.60}"
            )
        return self._event(series, at_ms, lambda m, names, now: m.fault(names, kind, at_ms, now))

    def power(self, series: str, at_ms: int) -> list[Transition]:
        """Take the instant at which a series' sensor was powered up, now or in the past; its warm-up starts there.

        Raises:
            MismatchError: no such series.
            ReadingError: the time is no 64-bit integer.
        """
        return self._event(series, at_ms, lambda m, names, now: m.power(names, at_ms, now))

    def reset(self, contract_id: str, at_ms: int) -> list[Transition]:
        """Drop a contract's latch. Nothing happens unless its condition is latched.

        Raises:
            MismatchError: no such contract.
        """
        machine = self._machines.get(contract_id)
        if machine is None:
            raise MismatchError(
                f"no contract has the id {contract_id!r}; there are {', '.join(self._machines)}"
            )
        return self._apply([(machine, machine.reset)], at_ms)

    def expire(self, now_ms: int) -> list[Transition]:
        """Meet every deadline up to an instant, each at its own, in order."""
        self._now = max(self._now, _time(now_ms))
        transitions: list[Transition] = []
        while self._earliest is not None and self._earliest <= self._now:
            self._earliest = self._least_deadline()
            if self._earliest is None or self._earliest > self._now:
                break
            due = next(m for m in self._machines.values() if m.deadline == self._earliest)
            _collect(transitions, due.evaluate(self._earliest))
        return transitions

    def again(self) -> list[str]:
        """Return the contracts whose alarm has got one more cause since this was asked last (`Machine.comes_again`)."""
        return [name for name, machine in self._machines.items() if machine.comes_again(self._now)]

    def next_expiry(self) -> int | None:
        """Return the instant of the next deadline, or None when there is none."""
        self._earliest = self._least_deadline()
        return self._earliest

    def states(self) -> dict[str, State]:
        """Return each contract's condition, since when it stands, and its faults."""
        return {name: machine.state for name, machine in self._machines.items()}

    def outputs(self) -> dict[str, bool]:
        """Return for every output that any contract names whether it is to be driven."""
        named = (name for m in self._machines.values() for name in _named(m.contract))
        wanted = {name for m in self._machines.values() for name in m.wanted()}
        return {name: name in wanted for name in sorted(set(named))}

    def wishes(self, *, unseen: bool = False) -> Iterator[tuple[str, str, int]]:
        """Yield contract, output and what for (`Machine.wishes`), in order of contract.

        Args:
            unseen: what the contracts would want if nothing were known any more of any series.
        """
        for machine in self._machines.values():
            for name, level in machine.wishes(unseen=unseen):
                yield machine.contract.id, name, level

    def snapshot(self, now_ms: int) -> list[Item]:
        """Return the state to save, as an item of the canonical encoding. Call `expire` with the same instant first."""
        now = max(self._now, _time(now_ms))
        return [_FORM, [snapshot.save(machine, now) for machine in self._machines.values()]]

    def dropped(self, item: Item, now_ms: int) -> list[Transition]:
        """Return the ends of saved contracts that are not held here any more and were not normal.

        Raises:
            SnapshotError: the item is not what `snapshot` returns.
        """
        _, saved = snapshot.fields(item, int, list)
        states = [snapshot.saved_state(part) for part in saved]
        return [
            Transition(name, hashed, 0, condition, NORMAL, faults, (), (), _time(now_ms))
            for name, hashed, condition, faults in states
            if name not in self._machines and (condition != NORMAL or faults)
        ]

    def restore(self, item: Item, now_ms: int) -> list[Transition]:
        """Take up a saved state. For a new engine that has heard nothing; outputs follow at once.

        Returns the transitions of contracts that changed since and could not keep their state.

        Raises:
            SnapshotError: the item is not what `snapshot` returns; the engine must then not be used.
        """
        self._now = max(self._now, _time(now_ms))
        form, saved = snapshot.fields(item, int, list)
        if form != _FORM:
            raise SnapshotError(f"a saved state of form {form} is not known here; start without it")
        transitions: list[Transition] = []
        for part in saved:
            machine = self._machines.get(snapshot.saved_id(part))
            if machine is not None:
                _collect(transitions, snapshot.restore(machine, part, self._now))
        self._earliest = self._least_deadline()
        return transitions

    def _event(
        self, series: str, at_ms: int, apply: Callable[[Machine, list[str], int], Transition | None]
    ) -> list[Transition]:
        readers = self._readers.get(series)
        if readers is None:
            raise MismatchError(f"no series is called {series!r}; the engine was started without it")
        return self._apply([(machine, partial(apply, machine, names)) for machine, names in readers], at_ms)

    def _apply(self, steps: Iterable[_Step], at_ms: int) -> list[Transition]:
        transitions = self.expire(at_ms)
        for machine, step in steps:
            _collect(transitions, step(self._now))
            if machine.deadline is not None and (self._earliest is None or machine.deadline < self._earliest):
                self._earliest = machine.deadline
        return transitions

    def _least_deadline(self) -> int | None:
        return min((m.deadline for m in self._machines.values() if m.deadline is not None), default=None)


def _time(at_ms: int) -> int:
    if type(at_ms) is not int or not INT_MIN <= at_ms <= INT_MAX:
        raise ReadingError(f"{at_ms!r:.60} is no time in whole milliseconds")
    return at_ms


def _named(contract: Contract) -> Iterable[str]:
    return (*contract.actions.pre_alarm, *contract.actions.alarm, *contract.actions.fault)


def _collect(transitions: list[Transition], transition: Transition | None) -> None:
    if transition is not None:
        transitions.append(transition)
