"""A hub among others: bodies are had from them, promises compared, questions answered.

Owned: the parts and their order. Not owned: any of them; who is a member is the chain's word, where it can be
reached the configuration's.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Final

from gateway.chain.custody import Promise
from gateway.chain.ordered import Transaction
from hub.core import Core
from hub.errors import ConfigError
from hub.federation.config import PeerTable
from hub.outbox import Outbox
from hub.peers.ask import Asker
from hub.peers.claims import Claims
from hub.peers.headers import HeaderFollower
from hub.peers.history import History
from hub.peers.keeping import Keeping
from hub.peers.learn import Shared
from hub.peers.link import Bucket, PeerLink
from hub.peers.past import PastAlarms
from hub.peers.policy import Policy
from hub.peers.pull import Puller
from hub.peers.retention import Retention
from hub.peers.roots import Roots
from hub.peers.server import PeerServer
from hub.peers.state import PeerState, PeerView
from hub.peers.watch import Watch, Watched
from hub.storage.store import NewBlock
from hub.view import View
from hub.worker import Worker

_UP_MS: Final = 60_000
_LATELY_MS: Final = 86_400_000


class Peers:
    """Everything between this hub and the others. Make it before the engine starts; `stop` is idempotent."""

    def __init__(
        self,
        core: Core,
        outbox: Outbox,
        view: View,
        policy: Policy,
        tables: Sequence[PeerTable],
        keep: Callable[[Transaction], None] = lambda _: None,
    ) -> None:
        """Prepare; nothing is asked yet. `keep` is told of final alarms and records, perhaps more than once.

        Raises ConfigError where a peer's certificates cannot be read.
        """
        self._core, self._outbox, self.policy, self._keep = core, outbox, policy, keep
        tables = [each for each in tables if each.url]
        self._states = {each.name: PeerState(each.name, each.url) for each in tables}
        self._claims = Claims(core.store.bodies, policy, core.now_ms)
        self._roots = Roots()
        bucket = Bucket(policy.bytes_per_second)
        self.server = PeerServer(core, policy, self._heard)
        self.watch = Watch(core, policy, [Watched(*self._way(each, bucket)) for each in tables])
        shared = Shared(
            core,
            policy,
            self._claims,
            bucket,
            threading.BoundedSemaphore(policy.pulls),
            self._roots,
            History(core),
            PastAlarms(core),
            self._is_up,
            self._promised,
            self.watch.suspect,
        )
        self.pullers = [
            Puller(shared, *self._way(each, bucket), Keeping(core, view, policy.keep_ms)) for each in tables
        ]
        self.headers = HeaderFollower(core, view, self._final, self._ordered)
        self.retention = Retention(core, policy)

    @property
    def workers(self) -> list[Worker]:
        """The threads, for whoever looks after their health."""
        pullers = [puller.worker for puller in self.pullers]
        return [self.headers.worker, *pullers, self.watch.worker, self.retention.worker]

    def start(self) -> None:
        """Begin to work. Raises StoreError."""
        self.headers.worker.start()
        for puller in self.pullers:
            puller.worker.start()
        self.watch.start()
        self.retention.worker.start()

    def stop(self) -> None:
        """Finish what is in hand and end."""
        for puller in self.pullers:
            puller.stop()  # all at once, as each may wait for an answer
        for worker in reversed(self.workers):
            worker.stop()

    def views(self) -> list[PeerView]:
        """Return how this hub stands with each of the others."""
        return [state.view for state in self._states.values()]

    def missing(self) -> int:
        """Return of how many final blocks bodies are wanted and not here yet. Raises StoreError."""
        return self._core.store.bodies.count_missing(self._claims.wanted())

    def show(self) -> dict[str, Any]:
        """Return the same as plain JSON values. Raises StoreError."""
        return {"missing": self.missing(), "peers": [asdict(each) for each in self.views()]}

    def _way(self, table: PeerTable, bucket: Bucket) -> tuple[PeerState, Asker]:
        state = self._states[table.name]
        try:
            link = PeerLink(table.url, table.ca_file)
        except OSError as error:
            raise ConfigError(f"peer {table.name}: {error}") from error
        return state, Asker(self._core, state, link, bucket)

    def _key(self, name: str) -> bytes:
        core = self._core
        roster = core.ledger.committed.roster(core.genesis)
        return next((each.key for each in roster.members if each.name == name), b"")

    def _state(self, hub: bytes) -> PeerState | None:
        return next((state for name, state in self._states.items() if self._key(name) == hub), None)

    def _is_up(self, hub: bytes) -> bool:
        state = self._state(hub)
        if state is None or state.view.last_contact is None:
            return False
        return not state.rest and self._core.now_ms() - state.view.last_contact < _UP_MS

    def _heard(self, hub: bytes) -> None:
        if (state := self._state(hub)) is not None:
            state.heard(self._core.now_ms())

    def _final(self, row: NewBlock) -> None:
        self._roots.want(self._core, row)

    def _ordered(self, transaction: Transaction) -> None:
        self._keep(transaction)
        self.watch.ordered(transaction)

    def _promised(self, signed_at: int, promises: Sequence[Promise]) -> None:
        """Hand gateways of this region what other hubs promised them lately; who is behind asks for the rest."""
        if self._core.now_ms() - signed_at > _LATELY_MS:
            return
        heights: defaultdict[tuple[bytes, int], list[int]] = defaultdict(list)
        for each in promises:
            entry = self._core.entry(each.gateway)
            if entry is not None and entry.region == self._core.region:
                heights[each.gateway, each.epoch].append(each.height)
        for (gateway, epoch), found in heights.items():
            self._outbox.say_receipts(gateway, epoch, min(found), max(found))
