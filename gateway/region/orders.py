"""What others may order a gateway to do: another contract set, and a few commands.

Owns the checks on grants and commands and their execution. It does not own how they arrive (`gateway.region.sync`).

Invariants:
* A grant is an authority's, for this gateway, and of a version above the one in force; it is never taken back.
* Authorities and hubs are those of the roster, in office and in good standing.
* A command is an authority's or a hub's, for this boot, before its end, and done at most once, whatever the wall
  clock does. What became of it is recorded.
* What is not obeyed is recorded too, as `gateway.recording.refusals` does it: neither a stranger's flood nor that of
  a member whose key was stolen grows the chain or the memory.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from gateway.chain import messages
from gateway.chain.errors import BadRecord, ChainError
from gateway.chain.events import Outcome
from gateway.chain.keys import COMMAND, Signed, digest
from gateway.chain.messages import Command
from gateway.chain.reading import Series
from gateway.chain.verify import verify_grant
from gateway.clock import Clock
from gateway.contracting import GRANT
from gateway.contracts.errors import ContractError, MismatchError
from gateway.decider import ContractSet
from gateway.errors import (
    AnotherBoot,
    AnotherGateway,
    ConfigError,
    Delayed,
    OrderRefused,
    OutputError,
    Repeated,
    TooMany,
)
from gateway.recording import refusals
from gateway.recording.recorder import Recorder
from gateway.region.federation import Federation
from gateway.region.herald import check_birth
from gateway.region.keeper import Identity, Keeper
from gateway.storage.store import Store

__all__ = ["Orders"]

_log = logging.getLogger(__name__)

_DONE, _LATE, _OTHER_BOOT, _FAILED = 0, 1, 2, 3
_REMEMBERED: Final = 1_000  # nonces of one signer's commands whose time is not over
_TEST_S: Final = 5
_A_MINUTE: Final = 30  # commands of one signer
_NAMES: Final = {refusals.COMMAND: "command", refusals.GRANT: "contract grant"}
_CODES: Final[dict[type[Exception], int]] = {Delayed: _LATE, AnotherBoot: _OTHER_BOOT}


class Orders:
    """Takes grants and commands. Methods may be called from any thread.

    Args:
        series: the catalogue in force.
        changed: called when another contract set is in force.
    """

    def __init__(
        self,
        identity: Identity,
        federation: Federation,
        recorder: Recorder,
        store: Store,
        keeper: Keeper,
        clock: Clock,
        series: Sequence[Series],
        changed: Callable[[], None],
    ) -> None:
        self._identity, self._federation, self._recorder = identity, federation, recorder
        self._store, self._keeper, self._clock = store, keeper, clock
        self._series, self._changed = series, changed
        self._locks = {refusals.COMMAND: threading.Lock(), refusals.GRANT: threading.Lock()}
        self._signers: dict[bytes, _Turns] = {}

    def grant(self, payload: bytes) -> None:
        """Put a granted contract set in force, or take note that it is refused. Raises StoreError."""
        self._heed(refusals.GRANT, self._grant, payload)

    def command(self, payload: bytes) -> None:
        """Check and carry out a command, or take note that it is refused."""
        self._heed(refusals.COMMAND, self._command, payload)

    def _heed(self, what: int, obey: Callable[[Signed], None], payload: bytes) -> None:
        try:
            with self._locks[what]:  # several hubs bring the same order; no command waits for a grant's disk
                obey(Signed.decode(payload))
        except (ChainError, OrderRefused) as error:
            reason = type(error).__name__
            now = self._clock.monotonic_ms()
            if self._recorder.refusals.note(what, reason, payload, now):
                _log.warning("a %s is refused: %s: %s", _NAMES[what], reason, error)
                if (code := _CODES.get(type(error))) is not None:  # whoever may command is told
                    self._recorder.note(Outcome(digest(COMMAND, Signed.decode(payload).body), 0, code))

    def _grant(self, signed: Signed) -> None:
        grant = verify_grant(signed, self._federation.genesis, self._federation.roster)
        if grant.gateway != self._identity.gateway:
            raise AnotherGateway("it is for another gateway")
        if grant.version <= self._recorder.contracts.version:
            if signed.body != self._store.get(GRANT):  # hubs say the one in force again and again
                raise Repeated(f"version {grant.version} was in force before, or is another set's")
            return
        try:
            contracts = ContractSet.decode(grant.documents, grant.version)
            check_birth(self._series, contracts.documents)
            self._store.add_listing(contracts.listing.root, contracts.documents)
            self._recorder.swap(contracts)
        except (ContractError, ConfigError) as error:
            raise BadRecord(f"version {grant.version} cannot be put in force: {error}") from error
        _log.warning("contract set %d is in force: %d contracts", grant.version, len(contracts.contracts))
        try:
            self._store.put({GRANT: signed.body})
        finally:  # hubs are to know it, kept or not: whoever granted it sees it missing after a restart
            self._changed()

    def _command(self, signed: Signed) -> None:
        command = Command.decode(signed.body)
        self._federation.genesis.require(command.genesis, "the command")
        signed.verify(COMMAND, self._federation.authority(command.signer))
        if command.gateway != self._identity.gateway:
            raise AnotherGateway("it is for another gateway")
        if command.boot != self._identity.boot:
            raise AnotherBoot("it is for another boot of this gateway")
        self._signers.setdefault(command.signer, _Turns()).take(command, self._clock)
        hashed = digest(COMMAND, signed.body)
        code = self._carry_out(command, by=hashed[:16].hex())
        _log.warning("command %d on %s: outcome %d", command.action, command.contract, code)
        self._recorder.note(Outcome(hashed, 0, code))

    def _carry_out(self, command: Command, by: str) -> int:
        try:
            match command.action:
                case messages.RESET:
                    self._recorder.reset(command.contract, by)
                case messages.SILENCE:
                    return _DONE if self._recorder.silence(command.contract, by) else _FAILED
                case messages.NEW_EPOCH:
                    self._keeper.ask_for_epoch()
                    self._changed()
                case messages.TEST:
                    self._recorder.test(command.contract, _TEST_S, by)
                case _:
                    return _FAILED
        except (MismatchError, OutputError):
            return _FAILED
        return _DONE


class _Turns:
    """Which commands of one signer, and this boot, have had their turn.

    Invariant: a nonce is forgotten only with its time, and what ended no later is late from then on: no clock that
    goes back makes a command good again.
    """

    def __init__(self) -> None:
        self._nonces: dict[bytes, int] = {}
        self._latest: deque[int] = deque(maxlen=_A_MINUTE)
        self._ended_ms = -1

    def take(self, command: Command, clock: Clock) -> None:
        """Give a command its only turn. Raises Delayed, Repeated, TooMany."""
        wall, mono = clock.wall_ms(), clock.monotonic_ms()
        if command.nonce in self._nonces:
            raise Repeated("it has had its turn")
        if command.not_after < wall or command.not_after <= self._ended_ms:
            raise Delayed("its time is over")
        if len(self._latest) == _A_MINUTE and mono - self._latest[0] < 60_000:
            raise TooMany(f"its signer has given {_A_MINUTE} in a minute")
        if len(self._nonces) >= _REMEMBERED:
            self._forget(wall)
        self._latest.append(mono)
        self._nonces[command.nonce] = command.not_after

    def _forget(self, wall: int) -> None:
        ended = {nonce: end for nonce, end in self._nonces.items() if end < wall}
        if not ended:
            raise TooMany(f"{_REMEMBERED} are still good")
        self._ended_ms = max(ended.values())
        self._nonces = {nonce: end for nonce, end in self._nonces.items() if nonce not in ended}
