"""MQTT topics of a region and the small envelopes on them (FORMAT.md section 12).

Pure: texts and bytes. Who may publish where is the broker's; whether a payload is true is `hub.intake`'s.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from gateway.chain.canonical import decode, encode
from gateway.chain.errors import WrongShape
from gateway.chain.keys import Signed
from gateway.chain.messages import Receipts
from gateway.chain.tenure import EpochChange, Rotation

URGENT: Final = ("alarm", "birth", "death", "heartbeat", "record")
"""What gateways publish besides blocks: it has a connection of its own, so that no backlog delays it."""

_GATEWAY: Final = re.compile("[0-9a-f]{32}")
_ROOT: Final = "tocsin/v1"
_RECORDS: Final[dict[int, type[EpochChange] | type[Rotation]]] = {1: EpochChange, 2: Rotation}


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one region."""

    region: str

    def every(self, kind: str) -> str:
        """Return the filter for one kind of message of all gateways."""
        return f"{_ROOT}/{self.region}/+/{kind}"

    def to(self, gateway: bytes, kind: str) -> str:
        """Return the topic of one kind of message of or for a gateway."""
        return f"{_ROOT}/{self.region}/{gateway.hex()}/{kind}"

    def state(self, hub: str) -> str:
        """Return the topic of a hub's state."""
        return f"{_ROOT}/{self.region}/hub/{hub}/state"

    def successor(self, hub: str) -> str:
        """Return the topic of the genesis that takes a hub's chain over."""
        return f"{_ROOT}/{self.region}/hub/{hub}/successor"

    def parse(self, topic: str) -> tuple[bytes, str] | None:
        """Return gateway and kind of a topic, None where it is of no gateway of this region."""
        root, _, rest = topic.partition(f"/{self.region}/")
        name, _, kind = rest.partition("/")
        if root != _ROOT or not _GATEWAY.fullmatch(name):
            return None
        return bytes.fromhex(name), kind


def receipts_payload(receipts: Receipts) -> bytes:
    """Return custody receipts and finality as the `receipt` topic carries them."""
    receipts.encode()  # checks every range
    return encode([1, receipts.to_item()])


def answer_payload(answer: Signed) -> bytes:
    """Return a signed Answer as the `receipt` topic carries it."""
    return encode([2, answer.to_item()])


def alarm_receipt_payload(receipt: Signed) -> bytes:
    """Return a signed AlarmReceipt as the `receipt` topic carries it."""
    return encode([3, receipt.to_item()])


def read_record(payload: bytes) -> EpochChange | Rotation:
    """Return what a gateway asks to have ordered. Raises FormatError."""
    item = decode(payload)
    if type(item) is not list or len(item) != 2 or type(item[0]) is not int or item[0] not in _RECORDS:
        raise WrongShape("a record is [1, EpochChange] or [2, Rotation]")
    return _RECORDS[item[0]].from_item(item[1])
