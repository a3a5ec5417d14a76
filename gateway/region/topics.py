"""A gateway's MQTT topics, and the small envelopes on them (FORMAT.md section 12).

Pure: texts and bytes. Whether a payload is true is for whoever reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.chain.canonical import decode, encode
from gateway.chain.errors import WrongShape
from gateway.chain.keys import Signed
from gateway.chain.messages import Receipts
from gateway.chain.tenure import EpochChange

__all__ = ["Topics", "epoch_payload", "read_receipt"]

_FOR_US: Final = ("receipt", "contract", "request", "command")
_EPOCH_CHANGE: Final = 1
_RECEIPTS, _ANSWER, _ALARM_RECEIPT = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one gateway with one hub."""

    region: str
    gateway: bytes
    hub: str

    def own(self, kind: str) -> str:
        """Return the topic of one kind of message from or for this gateway."""
        return f"tocsin/v1/{self.region}/{self.gateway.hex()}/{kind}"

    @property
    def state(self) -> str:
        """The topic of the hub's state."""
        return f"tocsin/v1/{self.region}/hub/{self.hub}/state"

    @property
    def successor(self) -> str:
        """The topic of the genesis that takes the hub's chain over."""
        return f"tocsin/v1/{self.region}/hub/{self.hub}/successor"

    @property
    def subscriptions(self) -> tuple[str, ...]:
        return (self.state, self.successor, *(self.own(kind) for kind in _FOR_US))

    def kind(self, topic: str) -> str:
        """Return what a topic we subscribed to is for: its last level, such as "state" or "receipt"."""
        return topic.rpartition("/")[2]


def epoch_payload(change: EpochChange) -> bytes:
    """Return an epoch change as the `record` topic carries it."""
    return encode([_EPOCH_CHANGE, change.to_item()])


def read_receipt(payload: bytes) -> Receipts | tuple[str, Signed]:
    """Return receipts, or a signed "answer" or "alarms" with its name. Raises FormatError."""
    match decode(payload):
        case [int(kind), item] if kind == _RECEIPTS:
            return Receipts.from_item(item)
        case [int(kind), item] if kind in (_ANSWER, _ALARM_RECEIPT):
            return ("answer" if kind == _ANSWER else "alarms"), Signed.from_item(item)
        case _:
            raise WrongShape("a receipt is [1, Receipts], [2, Signed Answer] or [3, Signed AlarmReceipt]")
