"""Whether the engine gets on: asked of it every second, told to people, acted upon where it sticks.

Owned: what the engine last said of itself, when peers are dialled again and when it is started anew. Not owned:
its process (`hub.consensus.comet_node`).

The engine gives up on peers that were away for long, and has been seen to stick at a height although peers are
there. A peer that is missed is therefore dialled again every so often, and an engine without a new final block in
three times the interval is started anew, unless it cannot make one because too few peers are reached. So is one
that goes on speaking to a hub which is no member any more.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from hub.consensus.comet_home import CometSettings, Peer, address, peer_url
from hub.consensus.comet_rpc import RpcClient
from hub.errors import EngineRefusal, EngineSilent

REDIAL_SECONDS: Final = 15.0
_SLACK_SECONDS: Final = 10.0
_SILENT_SECONDS: Final = 60.0
_STRANGERS_SECONDS: Final = 60.0
_TAKING_SECONDS: Final = 3600.0  # a snapshot comes without any new final block until it is there

_log = logging.getLogger(__name__)


class Watch:
    """What is known of the engine. `look` is for one thread, the rest for any."""

    def __init__(
        self, rpc: RpcClient, settings: CometSettings, own: bytes, powers: Callable[[], Mapping[bytes, int]]
    ) -> None:
        """`own` is this hub's address, `powers` returns the votes of each member's by its address."""
        self._rpc, self._own, self._powers = rpc, own, powers
        self._patience = 3 * settings.interval + _SLACK_SECONDS
        self._takes_snapshot = settings.state_sync is not None
        self.meet(settings.peers)
        self.connected: tuple[bytes, ...] = ()
        self.catching_up = False
        self.silent = "the engine starts"
        """Why nothing is known; empty while the engine answers."""
        self.height = 0
        self._moved = self._spoke = self._dialled = self._among_members = time.monotonic()

    def meet(self, peers: Sequence[Peer]) -> None:
        """Take note of whom to dial from now on: members come, and change their keys."""
        self._peers = {address(peer.key): peer for peer in peers}

    def restarted(self) -> None:
        """Hear that the engine starts: what was known is nothing now."""
        self.connected, self.silent = (), "the engine starts"
        self._moved = self._spoke = self._dialled = self._among_members = time.monotonic()

    def look(self) -> str:
        """Ask the engine, dial whom it misses, and return why it should be started anew, or nothing."""
        now = time.monotonic()
        try:
            sync = self._rpc.call("status")["sync_info"]
            net = self._rpc.call("net_info")
            self._learn(int(sync["latest_block_height"]), bool(sync["catching_up"]), net, now)
            if self._has_strangers(now):
                return "an engine is connected that is no member's any more, and would stay so"
            if now - self._dialled > REDIAL_SECONDS:
                self._dialled = now
                self._redial()
        except EngineSilent as error:
            self.silent = str(error)
            # It says nothing while it replays, which the machine's final blocks show to be going on.
            silent = now - max(self._spoke, self._moved)
            return "it has not answered for a minute" if silent > _SILENT_SECONDS else ""
        except EngineRefusal as error:
            _log.warning("the engine does not say how it is: %s", error)
        patience = _TAKING_SECONDS if self._takes_snapshot and not self.height else self._patience
        if self.too_few or now - self._moved < patience:
            return ""
        return f"no final block after {self.height} for {now - self._moved:.0f} s although peers are there"

    def stop(self) -> None:
        """Ask no more."""
        self._rpc.close()

    def decided(self, height: int) -> None:
        """Hear of a final block."""
        self.height, self._moved = height, time.monotonic()

    @property
    def too_few(self) -> str:
        """Why no majority can be reached, as far as this hub sees; empty where it can."""
        powers = {who: power for who, power in self._powers().items() if power}
        reached = powers.keys() & {self._own, *self.connected}
        if 3 * sum(powers[who] for who in reached) > 2 * sum(powers.values()):
            return ""
        return (
            f"only {len(reached)} of {len(powers)} voting hubs reach each other here, and final blocks need more"
            " than two thirds of the votes"
        )

    @property
    def stuck(self) -> str:
        """Why there is no new final block; empty where one came not long ago, or comes soon."""
        waited = time.monotonic() - self._moved
        if waited < self._patience or self.catching_up:
            return ""
        return f"no final block after {self.height} for {waited:.0f} s"

    def _has_strangers(self, now: float) -> bool:
        """Tell whether somebody has been connected for long who is no member.

        The engine asks once who may connect, and cuts nobody off; a member with a new key starts anew by itself.
        """
        if set(self.connected) <= self._powers().keys():
            self._among_members = now
        # Not all hubs at the same moment: the others go on while one starts anew.
        return now - self._among_members > _STRANGERS_SECONDS + self._own[0] % 32

    def _learn(self, height: int, catching_up: bool, net: dict[str, Any], now: float) -> None:
        if height != self.height:
            self.height, self._moved = height, now
        self.catching_up, self._spoke, self.silent = catching_up, now, ""
        self.connected = tuple(bytes.fromhex(peer["node_info"]["id"]) for peer in net["peers"])

    def _redial(self) -> None:
        missed = [peer_url(peer) for name, peer in self._peers.items() if name not in self.connected]
        if missed:
            self._rpc.call("dial_peers", peers=missed, persistent=False, unconditional=False, private=False)
