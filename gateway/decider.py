"""Contracts in force, and the outputs they want driven.

Owns which contract set is in force, the engine that runs it, silenced sirens, and the drive of the pins. It does
not own recording or publishing (`gateway.recording.recorder`). One thread at a time calls it.

Invariants:
* Pins are driven before anything is written: `drive` comes first after every call that gave transitions.
* An output that fails keeps no other from acting, and is tried again.
* Silence ends with the contract's next change, and a longest running time begins anew with each alarm: a new
  alarm always sounds.
* A contract that is taken away while it is not normal ends by a transition, never in silence.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.chain.alarm import contract_hash
from gateway.chain.block import Listing, listing
from gateway.chain.canonical import decode, encode
from gateway.chain.errors import FormatError
from gateway.contracts.document import Contract, SeriesInfo
from gateway.contracts.engine import Engine
from gateway.contracts.errors import MismatchError, SnapshotError
from gateway.contracts.machine import ALARM, NORMAL, State, Transition
from gateway.errors import OutputError
from gateway.outputs import Outputs

__all__ = ["ContractSet", "Decider"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ContractSet:
    """Contracts in force together, in the order of their hashes. Version 0 is the configuration's own."""

    contracts: tuple[Contract, ...]
    version: int = 0

    @classmethod
    def of(cls, contracts: Sequence[Contract], version: int = 0) -> ContractSet:
        """Return the set of some contracts."""
        return cls(tuple(sorted(contracts, key=lambda each: each.hash)), version)

    @classmethod
    def decode(cls, documents: Sequence[bytes], version: int) -> ContractSet:
        """Return the set of some documents. Raises DocumentError."""
        return cls.of([Contract.decode(each) for each in documents], version)

    @property
    def documents(self) -> tuple[bytes, ...]:
        return tuple(sorted((each.encode() for each in self.contracts), key=contract_hash))

    @property
    def listing(self) -> Listing:
        """What a header commits to."""
        return listing(self.documents)


class Decider:
    """The running contracts and the outputs. Times are monotonic ms.

    Args:
        kinds: of the configured outputs, by name.

    Raises:
        MismatchError: a contract does not fit the series.
    """

    def __init__(
        self,
        contracts: ContractSet,
        series: Mapping[str, SeriesInfo],
        outputs: Outputs,
        kinds: Mapping[str, str],
        now_ms: int,
    ) -> None:
        self.contracts = contracts
        self._series = series
        self._outputs = outputs
        self._kinds = kinds
        self._silenced: set[str] = set()
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
        """Return the outputs that contracts name and that are not configured."""
        named = {
            name
            for each in contracts.contracts
            for name in (*each.actions.pre_alarm, *each.actions.alarm, *each.actions.fault)
        }
        return sorted(named - set(self._kinds))

    def swap(self, contracts: ContractSet, now_ms: int) -> tuple[list[Transition], list[Transition]]:
        """Put another contract set in force; contracts that stay keep their state.

        Returns:
            The ends of contracts that are gone and were not normal, and the changes of those that stay.

        Raises:
            MismatchError: one does not fit the series or the outputs; nothing has changed then.
        """
        if unknown := self.unknown_outputs(contracts):
            raise MismatchError(
                f"no output is called {' or '.join(unknown)}; there are {', '.join(self._kinds)}"
            )
        engine = Engine(contracts.contracts, self._series, now_ms)
        saved = self.engine.snapshot(now_ms)
        ends, changes = engine.dropped(saved, now_ms), engine.restore(saved, now_ms)
        self.engine, self.contracts, self._silenced = engine, contracts, set()
        return ends, changes

    def silence(self, contract: str) -> bool:
        """Silence the sirens that only this contract wants; False where there is no such contract."""
        if contract not in self.engine.states():
            return False
        self._silenced.add(contract)
        self.drive()
        return True

    def hear(self, transitions: Sequence[Transition]) -> None:
        """Act on transitions: end silences, let what sounds for a new alarm sound its full time, drive the pins."""
        for each in transitions:
            self._silenced.discard(each.contract_id)
            if each.after > each.before or (each.after == ALARM != each.before):
                self._outputs.renew(self._wanted_by(each.contract_id, each.after))
        self.drive()

    def drive(self) -> None:
        """Bring every output to where the contracts want it."""
        wanted = {name: on for name, on in self.engine.outputs().items() if name in self._kinds}
        for name in self._quiet() if self._silenced else ():
            wanted[name] = False
        try:
            changes = self._outputs.apply(wanted)
        except OutputError as error:
            changes = error.changes
            _log.error("%s", error)
        for change in changes:
            _log.warning("output %s %s", change.name, "acts" if change.active else "is back to normal")

    def due_ms(self) -> int | None:
        """Return the instant at which `engine.expire` and `drive` are to be called next."""
        dues = [due for due in (self.engine.next_expiry(), self._outputs.next_expiry_ms) if due is not None]
        return min(dues, default=None)

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
