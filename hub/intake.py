"""Intake: what the broker brings, sorted into lanes.

Owned: which topic goes to which lane, the two connections. Not owned: what a lane does with a message.

Invariant: blocks have a connection and a lane of their own, so that no backlog delays an alarm, a birth or a
record; a full lane of blocks holds the broker back, not the alarms.
"""

from __future__ import annotations

from gateway.mqtt.config import LinkUrlError, Will
from gateway.mqtt.link import Link
from hub.alarms import AlarmLane
from hub.blocks import BlockLane
from hub.config import Config
from hub.errors import ConfigError
from hub.hails import HailLane
from hub.outbox import Outbox
from hub.topics import URGENT, Topics


class Intake:
    """A hub's two connections to its broker."""

    def __init__(
        self,
        config: Config,
        url: str,
        outbox: Outbox,
        lanes: tuple[AlarmLane, HailLane, BlockLane],
    ) -> None:
        """Prepare both. Raises ConfigError where the broker's address or files cannot be used."""
        self._topics, self._outbox = Topics(config.hub.region), outbox
        self._alarms, self._hails, self._blocks = lanes
        name, topics = config.hub.name, self._topics
        self._was_up = False
        farewell = outbox.farewell()
        will = None if farewell is None else Will(topics.state(name), farewell, retain=True)
        urgent = config.link(url, f"hub-{name}", tuple(map(topics.every, URGENT)), will)
        bulk = config.link(url, f"hub-{name}-blocks", (topics.every("block"),), None)
        try:
            self.urgent = Link(urgent, self.sort, on_up=self._up)
            self.bulk = Link(bulk, self.sort)
        except LinkUrlError as error:
            raise ConfigError(str(error)) from error

    @property
    def connected(self) -> bool:
        """Whether both connections are up."""
        return self.urgent.is_connected and self.bulk.is_connected

    def start(self) -> None:
        """Begin to connect."""
        self.urgent.start()
        self.bulk.start()

    def stop(self) -> None:
        """Take leave of the broker."""
        self.bulk.close()
        self.urgent.close()

    def sort(self, topic: str, payload: bytes) -> bool:
        """Hand a message to its lane; True acknowledges it, which promises its gateway nothing."""
        if (found := self._topics.parse(topic)) is not None:
            gateway, kind = found
            if kind == "alarm":
                self._alarms.offer(gateway, payload)
            elif kind == "block":
                self._blocks.offer(gateway, payload)
            else:
                self._hails.offer(gateway, kind, payload)
        return True

    def _up(self) -> None:
        if self._was_up:
            self._outbox.restart_versions()
        self._was_up = True
        self._outbox.say_state(online=True)
