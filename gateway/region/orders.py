"""What others may order a gateway to do: another contract set, and a few commands.

Owns the checks on grants and commands and their execution. It does not own how they arrive (`gateway.region.sync`).

Invariants:
* A grant is an authority's, for this gateway, and of a version above the one in force; it is never taken back.
* Authorities and hubs are those of the roster, in office and in good standing.
* A command is an authority's or a hub's, for this boot, before its end, and done at most once. What became of it
  is recorded, unless it is a stranger's or a repeat.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from gateway.chain.errors import BadRecord
from gateway.chain.keys import COMMAND, Signed, digest
from gateway.chain.messages import Command
from gateway.chain.reading import Outcome, Series
from gateway.chain.verify import verify_grant
from gateway.clock import Clock
from gateway.contracting import GRANT
from gateway.contracts.errors import ContractError, MismatchError
from gateway.decider import ContractSet
from gateway.errors import ConfigError
from gateway.recording.recorder import Recorder
from gateway.region.federation import Federation
from gateway.region.herald import check_birth
from gateway.region.keeper import Identity, Keeper
from gateway.storage.store import Store

__all__ = ["Orders"]

_log = logging.getLogger(__name__)

_DONE, _LATE, _OTHER_BOOT, _FAILED = 0, 1, 2, 3
_RESET, _SILENCE, _NEW_EPOCH = 1, 2, 3
_REMEMBERED: Final = 10_000


class Orders:
    """Takes grants and commands. Methods may be called from any thread; they raise ChainError for what is refused.

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
        self._nonces: set[bytes] = set()

    def grant(self, signed: Signed) -> None:
        """Put a granted contract set in force. Raises ChainError, StoreError."""
        grant = verify_grant(signed, self._federation.genesis, self._federation.roster)
        if grant.gateway != self._identity.gateway:
            raise BadRecord("a contract grant is for another gateway")
        if grant.version <= self._recorder.contracts.version:
            return
        try:
            contracts = ContractSet.decode(grant.documents, grant.version)
            check_birth(self._series, contracts.documents)
            self._store.add_listing(contracts.listing.root, contracts.documents)
            self._recorder.swap(contracts)
        except (ContractError, ConfigError) as error:
            raise BadRecord(f"contract grant {grant.version} cannot be put in force: {error}") from error
        self._store.put({GRANT: signed.body})
        _log.warning("contract set %d is in force: %d contracts", grant.version, len(contracts.contracts))
        self._changed()

    def command(self, signed: Signed) -> None:
        """Check and carry out a command. Raises ChainError."""
        command = Command.decode(signed.body)
        self._federation.genesis.require(command.genesis, "the command")
        signed.verify(COMMAND, self._federation.authority(command.signer))
        if command.gateway != self._identity.gateway:
            raise BadRecord("a command is for another gateway")
        if command.nonce in self._nonces or len(self._nonces) >= _REMEMBERED:
            return
        self._nonces.add(command.nonce)
        code = self._carry_out(command)
        _log.warning("command %d on %s: outcome %d", command.action, command.contract, code)
        self._recorder.note(Outcome(digest(COMMAND, signed.body), 0, code))

    def _carry_out(self, command: Command) -> int:
        if command.boot != self._identity.boot:
            return _OTHER_BOOT
        if self._clock.wall_ms() > command.not_after:
            return _LATE
        if command.action == _NEW_EPOCH:
            self._keeper.ask_for_epoch()
            self._changed()
            return _DONE
        if command.action == _SILENCE:
            return _DONE if self._recorder.silence(command.contract) else _FAILED
        try:
            self._recorder.reset(command.contract)
        except MismatchError:
            return _FAILED
        return _DONE
