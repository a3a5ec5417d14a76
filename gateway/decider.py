"""Contracts in force, and the outputs they want driven.

Owns which contract set is in force, the engine that runs it, silenced sirens, and the drive of the pins. It does
not own recording or publishing (`gateway.recording.recorder`). One thread at a time calls it.

Invariants:
* Pins are driven before anything is written: `drive` comes first after every call that gave transitions.
* Each order says what is to hold if this process dies: alarms in force keep their outputs, and every contract acts as
  one that has lost its inputs.
* A fault relay acts on any fault at all; no contract drives it, and nothing silences it.
* Silence ends with the contract's next change, and a longest running time begins anew with each alarm: a new
  alarm always sounds. One more cause of an alarm that stands, such as another flat's, is a new alarm.
* A contract that is taken away while it is not normal ends by a transition, never in silence.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from gateway.chain.alarm import contract_hash
from gateway.chain.block import Listing, listing
from gateway.chain.canonical import decode, encode
from gateway.chain.errors import FormatError
from gateway.chain.neighbour import Building, is_building
from gateway.contracts.document import Contract, SeriesInfo
from gateway.contracts.engine import Engine
from gateway.contracts.errors import DocumentError, MismatchError, SnapshotError
from gateway.contracts.machine import ALARM, NORMAL, PRE_ALARM, State, Transition
from gateway.outputs.orders import CONTRACT, FAULT, SILENCE, Cause, Driver, Moved, Order, Want

__all__ = ["ContractSet", "Decider"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ContractSet:
    """Contracts in force together, in the order of their hashes, and the roster of the building's gateways.

    Version 0 is the configuration's own.
    """

    contracts: tuple[Contract, ...]
    version: int = 0
    building: Building | None = None

    @classmethod
    def of(
        cls, contracts: Sequence[Contract], version: int = 0, building: Building | None = None
    ) -> ContractSet:
        """Return the set of some contracts, and of the building's roster where there is one."""
        return cls(tuple(sorted(contracts, key=lambda each: each.hash)), version, building)

    @classmethod
    def decode(cls, documents: Sequence[bytes], version: int) -> ContractSet:
        """Return the set of some documents: contracts, and at most one roster. Raises DocumentError."""
        rosters = [each for each in documents if is_building(each)]
        if len(rosters) > 1:
            raise DocumentError("a contract set has at most one roster of a building")
        try:
            building = Building.read(rosters[0]) if rosters else None
        except FormatError as error:
            raise DocumentError(f"a building's roster is refused: {error}") from error
        return cls.of([Contract.decode(each) for each in documents if each not in rosters], version, building)

    @property
    def documents(self) -> tuple[bytes, ...]:
        rosters = [self.building.encode()] if self.building else []
        return tuple(sorted([*(each.encode() for each in self.contracts), *rosters], key=contract_hash))

    @property
    def listing(self) -> Listing:
        """What a header commits to."""
        return listing(self.documents)


class Decider:
    """The running contracts and the outputs. Times are monotonic ms.

    Args:
        kinds: of the configured outputs, by name.
        faults: what is in fault beside contracts and outputs.

    Raises:
        MismatchError: a contract does not fit the series.
    """

    def __init__(
        self,
        contracts: ContractSet,
        series: Mapping[str, SeriesInfo],
        outputs: Driver,
        kinds: Mapping[str, str],
        now_ms: int,
        faults: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self.contracts = contracts
        self._series = series
        self._outputs = outputs
        self._kinds = kinds
        self._faults = faults
        self._silenced: set[str] = set()
        self._renewed: set[str] = set()
        self.engine = Engine(contracts.contracts, series, now_ms)

    def restore(self, saved: bytes, now_ms: int) -> list[Transition]:
        """Take up a saved state; one that cannot be read is dropped, and the contracts start anew.

        Returns the transitions of contracts that changed meanwhile, and the ends of those that are gone.
        """
        try:
            item = decode(saved)
            return [*self.engine.dropped(item, now_ms), *self.engine.restore(item, now_ms)]
        except (SnapshotError, FormatError) as error:
            _log.error("saved state of the contracts is not usable: %s", error)
            self.engine = Engine(self.contracts.contracts, self._series, now_ms)
            return []

    def state(self, now_ms: int) -> bytes:
        """Return the state to save."""
        return encode(self.engine.snapshot(now_ms))

    def unknown_outputs(self, contracts: ContractSet) -> list[str]:
        """Return the outputs that contracts name and may not drive: none is called so, or it is a fault relay."""
        named = {
            name
            for each in contracts.contracts
            for name in (*each.actions.pre_alarm, *each.actions.alarm, *each.actions.fault)
        }
        return sorted(name for name in named if self._kinds.get(name, "fault") == "fault")

    def swap(self, contracts: ContractSet, now_ms: int) -> tuple[list[Transition], list[Transition]]:
        """Put another contract set in force; contracts that stay keep their state.

        Returns:
            The ends of contracts that are gone and were not normal, and the changes of those that stay.

        Raises:
            MismatchError: one does not fit the series or the outputs; nothing has changed then.
        """
        if unknown := self.unknown_outputs(contracts):
            there = ", ".join(name for name, kind in self._kinds.items() if kind != "fault")
            raise MismatchError(f"no output is called {' or '.join(unknown)}; there are {there}")
        engine = Engine(contracts.contracts, self._series, now_ms)
        saved = self.engine.snapshot(now_ms)
        ends, changes = engine.dropped(saved, now_ms), engine.restore(saved, now_ms)
        self.engine, self.contracts, self._silenced = engine, contracts, set()
        return ends, changes

    def silence(self, contract: str, by: str) -> bool:
        """Silence the sirens that only this contract wants; False where there is no such contract."""
        if contract not in self.engine.states():
            return False
        self._silenced.add(contract)
        self.drive(Cause(SILENCE, by))
        return True

    def hear(self, transitions: Sequence[Transition], why: Cause | None = None) -> None:
        """Act on transitions: end silences, let what sounds for a new alarm sound its full time, drive the pins.

        Args:
            why: whose doing it is, where it is not the contracts'.
        """
        for each in transitions:
            self._silenced.discard(each.contract_id)
            if each.after > each.before or (each.after == ALARM != each.before):
                self._renewed.update(self._wanted_by(each.contract_id, each.after))
        self.drive(why)

    def heed(self) -> None:
        """Sound anew for every alarm that has one more cause; to be called after each sample and deadline."""
        again = self.engine.again()
        for name in again:
            self._silenced.discard(name)
            self._renewed.update(self._wanted_by(name, ALARM))
        if again:
            self.drive()

    def drive(self, why: Cause | None = None) -> None:
        """Bring every output to where the contracts want it; fault relays to where all that is known has them."""
        want, gone = self._wants(unseen=False), self._wants(unseen=True)
        fault = self._first_fault()
        relays = [name for name, kind in self._kinds.items() if kind == "fault"]
        want |= {name: Want(Cause(FAULT, fault)) for name in relays if fault}
        self._outputs.order(Order(want, gone, why, frozenset(self._renewed)))
        self._renewed.clear()

    def test(self, output: str, seconds: int, by: str) -> None:
        """Let an output act for some seconds. Raises OutputError."""
        self._outputs.test(output, seconds, by)

    def take(self) -> list[Moved]:
        """Return what has moved since the last call, in order."""
        return self._outputs.take()

    def sirens(self) -> list[str]:
        """Return the names of all sirens."""
        return [name for name, kind in self._kinds.items() if kind == "siren"]

    def due_ms(self) -> int | None:
        """Return the instant at which `engine.expire` is to be called next."""
        return self.engine.next_expiry()

    def _wants(self, *, unseen: bool) -> dict[str, Want]:
        """Return what the contracts want, each output for the most serious reason."""
        levels: dict[str, int] = {}
        wants: dict[str, Want] = {}
        for contract, name, level in self.engine.wishes(unseen=unseen):
            if self._kinds.get(name, "fault") != "fault" and level > levels.get(name, -1):
                levels[name] = level
                wants[name] = Want(Cause(CONTRACT if level else FAULT, contract), level == PRE_ALARM)
        for name in self._quiet() if self._silenced else ():
            wants.pop(name, None)
        return wants

    def _first_fault(self) -> str:
        """Return what is wrong, in the words of the record: a series, the outputs, a contract; "" while all is well."""
        if self._outputs.faults:
            return "outputs"
        faulty = (name for name, state in self.engine.states().items() if state.faults)
        return next(iter((*self._faults(), *faulty)), "")

    def _wanted_by(self, contract: str, condition: int) -> tuple[str, ...]:
        for each in self.contracts.contracts:
            if each.id == contract:
                return (*each.actions.pre_alarm, *(each.actions.alarm if condition >= ALARM else ()))
        return ()

    def _quiet(self) -> set[str]:
        """The sirens of silenced contracts that no other active contract names."""
        states, mine, others = self.engine.states(), set[str](), set[str]()
        for each in self.contracts.contracts:
            named = {*each.actions.pre_alarm, *each.actions.alarm, *each.actions.fault}
            if each.id in self._silenced:
                mine |= named
            elif _is_active(states[each.id]):
                others |= named
        return {name for name in mine - others if self._kinds.get(name) == "siren"}


def _is_active(state: State) -> bool:
    return state.condition != NORMAL or bool(state.faults)
