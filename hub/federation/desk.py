"""A running hub's window on its federation: how it stands, and who asks to be admitted.

Owned: the requests, which a stranger can make, so they are few, verified, and gone with the process: an operator
proposes whom his agency knows. Not owned: the picture (`hub.federation.view`).
"""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any, Final

from gateway.chain.errors import BadRecord
from gateway.chain.governance import JoinBody, Joining
from hub.config import Config
from hub.consensus.comet import Comet
from hub.consensus.comet_rpc import RpcClient
from hub.core import Core
from hub.errors import ConsensusError, HubError
from hub.federation.steward import Steward
from hub.federation.view import Engine, describe
from hub.peers.peers import Peers

_REQUESTS: Final = 16
_SECONDS: Final = (
    2.0  # an engine whose machine waits for a disk does not answer: the rest is shown without it
)


class TooManyRequests(HubError):
    """More hubs ask for admission than are kept."""


class FederationDesk:
    """What the REST interface shows of the federation. Safe for several threads."""

    def __init__(
        self, core: Core, config: Config, engine: Comet, steward: Steward, peers: Peers | None = None
    ) -> None:
        self._core, self._config, self._engine, self._steward = core, config, engine, steward
        self._peers = peers
        self._rpc = RpcClient(Path(config.federation.engine_home), _SECONDS)
        self._lock = threading.Lock()
        self._requests: dict[str, bytes] = {}

    def show(self) -> dict[str, Any]:
        """Return how the federation stands. Raises StoreError."""
        core = self._core
        engine = Engine(self._engine.status(), self._highest(), self._steward.waits)
        found = describe(self._config, core.genesis, core.store.chain, engine, core.now_ms())
        members = {each["name"] for each in found["members"]}
        with self._lock:
            requests = [
                {"name": name, "key": _key(statement).hex(), "statement": statement.hex()}
                for name, statement in self._requests.items()
                if name not in members
            ]
        bodies = {"bodies": self._peers.show()} if self._peers else {}
        return found | bodies | {"requests": requests}

    def ask(self, statement: bytes) -> str:
        """Keep a hub's request to be admitted, its `Joining`; return its name. Raises ChainError, TooManyRequests."""
        member = Joining.decode(statement).verify(self._core.genesis.hash)
        with self._lock:
            before = self._requests.get(member.name, statement)
            if before != statement and _key(before) != member.key:
                raise BadRecord(
                    f"another hub asks under the name {member.name} already: give an operator the file"
                )
            if member.name not in self._requests and len(self._requests) >= _REQUESTS:
                raise TooManyRequests(
                    f"{_REQUESTS} hubs ask already: hand the statement to an operator instead"
                )
            self._requests[member.name] = statement
        return member.name

    def _highest(self) -> int:
        """Return the highest final block that a peer has, as the engine knows it; 0 where it does not say."""
        with contextlib.suppress(ConsensusError, LookupError, TypeError, ValueError):
            peers = self._rpc.call("dump_consensus_state")["peers"]
            return max((int(each["peer_state"]["round_state"]["height"]) - 1 for each in peers), default=0)
        return 0


def _key(statement: bytes) -> bytes:
    return JoinBody.decode(Joining.decode(statement).body).key
