"""One leaf of the log, and the numbers of everything that can become one.

Numbers 1 to 11 and 13 to 16 are transactions' too (`gateway.chain.ordered`); 12 enters with a final block itself,
because the engine, not a member, is its source.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from gateway.chain.record import GatewayId, Hash, Range, Record, UInt

HEADERS: Final = 1
ALARMS: Final = 2
ENROL: Final = 3
CHANGE_EPOCH: Final = 4
ROTATE: Final = 5
REVOKE: Final = 6
EQUIVOCATE: Final = 7
GRANT_CONTRACTS: Final = 8
PROPOSE: Final = 9
APPROVE: Final = 10
SUSPEND: Final = 11
MISBEHAVE: Final = 12
SUMMON: Final = 13
RESPOND: Final = 14
BREACH: Final = 15
IMPORT: Final = 16

NO_GATEWAY: Final = bytes(16)
"""What stands for the gateway in a leaf that is about none."""


@dataclass(frozen=True, slots=True)
class LogLeaf(Record):
    """One leaf of the log; kinds are those of transactions.

    Epoch and height are a header's own (kind 1); for an alarm (kind 2) height is its mark; else both are zero.
    `gateway` is all zero for kinds 9 to 12 and 14, which are about members.
    """

    kind: Annotated[int, Range(HEADERS, IMPORT)]
    gateway: GatewayId
    epoch: UInt
    height: UInt
    hash: Hash
