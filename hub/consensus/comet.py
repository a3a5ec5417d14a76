"""The engine of a federation: one CometBFT node beside each hub, and all that ties it to the seam.

Owned: the order in which the parts start and stop. Each part has a file: the engine's home and process, the ABCI
server and the application behind it, the sender of transactions, the sealer of final blocks, the watch.

A final block is told of once its seal is there, which is when the next one is decided. The application hash
changes with every transaction, so the engine makes that next one, empty, at once.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence

from gateway.chain.genesis import COMETBFT, Genesis
from gateway.chain.keys import SigningKey
from hub.consensus.abci import AbciServer
from hub.consensus.application import Application
from hub.consensus.base import (
    EngineStatus,
    FinalBlock,
    FinalEvent,
    Result,
    SnapshotProvider,
    StateMachine,
    TxResult,
)
from hub.consensus.comet_compact import compact
from hub.consensus.comet_home import CometSettings, Peer, address, write_home
from hub.consensus.comet_node import Node
from hub.consensus.comet_rpc import RpcClient
from hub.consensus.comet_seals import Sealer, SealStore
from hub.consensus.comet_sender import Sender
from hub.consensus.comet_watch import Watch
from hub.errors import ConsensusError

_log = logging.getLogger(__name__)


class Comet:
    """The `Consensus` of one hub of a federation. Start it once."""

    def __init__(
        self,
        machine: StateMachine,
        store: SealStore,
        genesis: Genesis,
        key: SigningKey,
        settings: CometSettings,
        *,
        allows_peer: Callable[[bytes], bool] | None = None,
        powers: Callable[[], Mapping[bytes, int]] | None = None,
        snapshots: SnapshotProvider | None = None,
    ) -> None:
        """Bind machine, store and the hub's key, which is also its name among the engines.

        `allows_peer` judges another engine's address (20 bytes, see `comet_home.address`); by default those of
        the hubs in the genesis may connect. `powers` returns the votes of each member by its address, by default
        the genesis' too. Raises ConsensusError where the genesis names another engine.
        """
        if genesis.engine != COMETBFT:
            raise ConsensusError("the genesis names another engine than a federation's")
        self._machine, self._chain, self._key, self._settings = machine, genesis, key, settings
        votes = [*(each.power for each in genesis.validators), *[0] * len(genesis.hubs)]
        founders = {address(hub.key): power for hub, power in zip(genesis.hubs, votes, strict=False)}
        self.rpc = RpcClient(settings.home)
        """For whoever asks the engine itself."""
        self.validator = b""
        """The public key that this hub votes with, if it is among the voters; known once started."""
        self._callbacks: list[Callable[[FinalEvent], None]] = []
        self._refusals: list[Callable[[bytes, TxResult], None]] = []
        self._sealer = Sealer(store, genesis, RpcClient(settings.home), self._tell)
        self._sender = Sender(RpcClient(settings.home), self._refuse)
        client = RpcClient(settings.home)
        self._watch = Watch(client, settings, address(key.public), powers or founders.copy)
        self._app = Application(machine, genesis, self, allows_peer or founders.__contains__, snapshots)
        self._server = AbciServer(settings.home, self._app.answer)
        self._node = Node(settings.home, settings.program, self._look, self._restarted)
        self._stack = contextlib.ExitStack()
        self._running = False

    def start(self) -> None:
        """Start the engine, and return when it answers; too few others may be there for a final block.

        So after the first start there may be no checkpoint yet, and `status` says why. Raises ConsensusError,
        StoreError; nothing is left running then.
        """
        self._machine.genesis(self._chain.encode())
        self.validator = write_home(self._settings, self._chain, self._key)
        if self._settings.prunes:
            compact(self._settings.home, self._settings.program)
        with contextlib.ExitStack() as stack:
            stack.callback(self.rpc.close)
            stack.callback(self._watch.stop)
            for part in (self._sealer, self._sender, self._server):
                stack.callback(part.stop)
                part.start()
            stack.callback(self._node.stop)
            stack.callback(self._app.stop)  # first, so that nothing waits for a disk that is full
            self._running = True
            self._node.start()
            self._stack = stack.pop_all()

    def stop(self) -> None:
        """As the seam says."""
        self._running = False
        self._stack.close()

    @property
    def running(self) -> bool:
        """Whether final blocks are made or followed, as far as this hub can tell."""
        return not self.status().standing

    def submit(self, tx: bytes) -> bytes:
        """As the seam says."""
        return self._sender.submit(tx)

    def subscribe(self, callback: Callable[[FinalEvent], None]) -> None:
        """As the seam says."""
        self._callbacks.append(callback)

    def subscribe_refusals(self, callback: Callable[[bytes, TxResult], None]) -> None:
        """As the seam says. Code 0 says that these bytes were final before."""
        self._refusals.append(callback)

    def status(self) -> EngineStatus:
        """As the seam says."""
        height, time = self._sealer.sealed
        watch, voters = self._watch, self._sealer.voters
        return EngineStatus(height, time, watch.connected, watch.catching_up, voters, self._standing())

    def meet(self, peers: Sequence[Peer]) -> None:
        """Dial these from now on; the engine's own list of them follows at its next start."""
        self._watch.meet(peers)

    @property
    def pid(self) -> int | None:
        """Process id of the engine, None while there is none."""
        return self._node.pid

    @property
    def restarts(self) -> int:
        """How often the engine ended by itself, or was started anew because it stuck."""
        return self._node.restarts

    # what the application tells

    def decided(self, height: int) -> None:
        """Hear that a final block is decided."""
        self._watch.decided(height)
        self._sealer.decided(height)

    def committed(self, block: FinalBlock, result: Result) -> None:
        """Hear that a final block is on disk."""
        self._sender.committed(block, result)
        self._sealer.committed(block, result)

    def checked(self, tx: bytes, result: TxResult) -> None:
        """Hear how a transaction was judged."""
        self._sender.checked(tx, result)

    def _look(self) -> str:
        reason = self._watch.look()
        if not self._watch.silent:
            self._node.answers()
        return reason

    def _restarted(self) -> None:
        self._watch.restarted()
        self._sender.restarted()

    def _standing(self) -> str:
        if not self._running:
            return "the engine is not running"
        reasons = (
            self._node.ended,
            self._node.halted,
            self._app.trouble,
            self._watch.silent,
            self._watch.too_few,
            self._watch.stuck,
        )
        return next(filter(None, reasons), "")

    def _tell(self, event: FinalEvent) -> None:
        for callback in self._callbacks:
            try:
                callback(event)
            except Exception:
                # A reader's fault must not stop the chain.
                _log.exception("a subscriber failed at final block %d", event.block.height)

    def _refuse(self, identity: bytes, verdict: TxResult) -> None:
        for callback in self._refusals:
            callback(identity, verdict)
