"""What a federation's member has that a hub alone has not: engine and snapshots, peers, a steward, a mover.

Owned: how these are made and in which order they start. Not owned: what each of them does, and all that a hub alone
has too (`hub.service`).

Invariant: keys are taken up, and a beginning by a snapshot is prepared, before the engine runs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from gateway.chain.genesis import Genesis
from gateway.chain.governance import Roster
from hub.alarms import AlarmLane
from hub.config import Config, Identity, load_identity
from hub.consensus.comet import Comet
from hub.core import Core
from hub.federation.desk import FederationDesk
from hub.federation.engine import comet_settings, make_comet, make_snapshots
from hub.federation.engine_window import EngineWindow
from hub.federation.joining import begin as begin_by_snapshot
from hub.federation.keys import adopt_keys, has_next
from hub.federation.mover import Mover
from hub.federation.quarantine import end as end_quarantine
from hub.federation.roster import latest_roster
from hub.federation.snapshots import Snapshots
from hub.federation.steward import Steward
from hub.ledger.ledger import Ledger
from hub.outbox import Outbox
from hub.peers.peers import Peers
from hub.peers.policy import Policy
from hub.storage.store import Store
from hub.view import View
from hub.worker import Worker


class Membership:
    """Opens a member's chain, then adds what belongs to it. `restart` is told why the hub has to start anew."""

    def __init__(
        self,
        config: Config,
        genesis: Genesis,
        store: Store,
        restart: Callable[[str], None],
        stack: contextlib.ExitStack,
    ) -> None:
        """Load the ledger and make the engine, which is not started yet. Raises HubError."""
        self._config, self._restart = config, restart
        begin = begin_by_snapshot(config, genesis, store, stack)
        self.ledger = Ledger(genesis, store.chain)
        self.identity = self._take_up_keys(genesis)
        self._snapshots: Snapshots = make_snapshots(config, self.ledger, store, begin, restart)
        self.engine: Comet = make_comet(config, self.identity, self.ledger, store, self._snapshots, begin)
        self.policy = Policy.of(config.hub.region, config.bodies)

    def attach(self, core: Core, outbox: Outbox, view: View, alarms: AlarmLane) -> None:
        """Make what follows the engine, before that starts. Raises ConfigError."""
        self._core, self._outbox, self._view = core, outbox, view
        self._steward = Steward(core, self._config, self._restart, self._meet)
        tables = self._config.federation.peers
        self.peers = Peers(core, outbox, view, self.policy, tables, alarms.keep)

    def start_snapshots(self, stack: contextlib.ExitStack) -> None:
        """Start what the engine asks for snapshots."""
        stack.callback(self._snapshots.worker.stop)
        self._snapshots.start()

    def start(self, stack: contextlib.ExitStack) -> list[Worker]:
        """Start all else, once the hub serves, and return the threads. Raises HubError."""
        self._steward.start()
        stack.callback(self._steward.worker.stop)
        workers = [self._steward.worker]
        if self._config.federation.predecessor:
            mover = Mover(self._core, self._config, self._outbox, self._view)
            mover.start()
            stack.callback(mover.worker.stop)
            workers.append(mover.worker)
        stack.callback(self.peers.stop)
        self.peers.start()
        return workers + list(self.peers.workers)

    def desk(self) -> FederationDesk:
        """Return what the REST interface shows of the federation."""
        return FederationDesk(self._core, self._config, self.engine, self._steward, self.peers)

    def window(self, stack: contextlib.ExitStack) -> EngineWindow:
        """Return what the REST interface lets others ask of the engine."""
        window = EngineWindow(Path(self._config.federation.engine_home), self._snapshots)
        stack.callback(window.close)
        return window

    def _take_up_keys(self, genesis: Genesis) -> Identity:
        """Return who this member is, after taking up such keys as are in force by now."""
        roster = self.ledger.committed.roster(genesis)
        if has_next(self._config):
            roster = latest_roster(self._config, genesis, roster)
        adopt_keys(self._config, roster)
        end_quarantine(self._config)
        return load_identity(self._config)

    def _meet(self, roster: Roster) -> None:
        self.engine.meet(comet_settings(self._config, roster).peers)
