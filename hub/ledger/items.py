"""What a transaction would have recorded: its items, the leaves that stand for them, and whose they are.

Pure. It follows from a transaction's bytes alone, whether or not any item of it will be accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

from gateway.chain.alarm import RECORDED, UNRECORDED, Alarm, Transition
from gateway.chain.block import Header
from gateway.chain.custody import CustodyBatch
from gateway.chain.errors import ChainError
from gateway.chain.governance import ApprovalBody, ProposalBody, SuspensionBody
from gateway.chain.keys import Signed
from gateway.chain.leaf import (
    ALARMS,
    APPROVE,
    BREACH,
    CHANGE_EPOCH,
    ENROL,
    EQUIVOCATE,
    GRANT_CONTRACTS,
    HEADERS,
    IMPORT,
    NO_GATEWAY,
    PROPOSE,
    RESPOND,
    REVOKE,
    ROTATE,
    SUMMON,
    SUSPEND,
    LogLeaf,
)
from gateway.chain.ordered import (
    Alarms,
    Approve,
    Breach,
    Enrol,
    EpochOrder,
    Equivocate,
    Grant,
    Headers,
    Import,
    Propose,
    Respond,
    Revoke,
    Rotate,
    Summon,
    Suspend,
    Transaction,
)
from gateway.chain.possession import ResponseBody, SummonsBody
from gateway.chain.tenure import (
    ContractGrant,
    EnrolmentBody,
    EpochChangeBody,
    Revocation,
    RotationBody,
    Ticket,
)
from gateway.chain.trees import leaf_hash
from gateway.chain.verify import enrolled_id

Part = TypeVar("Part")
ReadHeader: TypeAlias = Callable[[Signed], tuple[Header, bytes]]
ALARM_LANE: Final = 0
RECORD_LANE: Final = 1
HEADER_LANE: Final = 2
"""The order of kinds in a final block."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to be recorded.

    Attributes:
        source: whose it is, for shares and quotas: one of a lane and a gateway, member or ticket.
        leaves: the hashes of the leaves that stand for it; one of them in the log means that it is final.
        height: a header's height, else 0.
    """

    source: tuple[int, bytes]
    leaves: tuple[bytes, ...]
    height: int = 0


def list_items(transaction: Transaction, read: ReadHeader) -> tuple[Item, ...]:
    """Return a transaction's items; those that cannot be read, and so never be accepted, are left out."""
    if isinstance(transaction, Headers):
        return tuple(_readable(transaction.headers, lambda signed: _header_item(signed, read)))
    if isinstance(transaction, Alarms):
        return tuple(_readable(transaction.alarms, _alarm_item))
    return tuple(_readable((transaction,), lambda record: _record_item(record, read)))


def lane(transaction: Transaction) -> int:
    """Return the lane of a transaction: alarms go first, then records, then headers."""
    return {Alarms: ALARM_LANE, Headers: HEADER_LANE}.get(type(transaction), RECORD_LANE)


def record_leaf(transaction: Transaction, read: ReadHeader) -> LogLeaf:
    """Return the leaf that stands for a record. Raises ChainError."""
    match transaction:
        case Enrol(enrolment):
            return LogLeaf(ENROL, enrolled_id(enrolment), 0, 0, enrolment.hash)
        case EpochOrder(change):
            return LogLeaf(CHANGE_EPOCH, EpochChangeBody.decode(change.body).gateway, 0, 0, change.hash)
        case Rotate(rotation):
            return LogLeaf(ROTATE, RotationBody.decode(rotation.body).gateway, 0, 0, rotation.hash)
        case Revoke(signed):
            return LogLeaf(REVOKE, Revocation.decode(signed.body).gateway, 0, 0, transaction.hash)
        case Equivocate(first):
            return LogLeaf(EQUIVOCATE, read(first)[0].gateway, 0, 0, transaction.hash)
        case Grant(signed):
            return LogLeaf(GRANT_CONTRACTS, ContractGrant.decode(signed.body).gateway, 0, 0, transaction.hash)
        case Summon(signed):
            gateway = SummonsBody.decode(signed.body).receipt.promise.gateway
            return LogLeaf(SUMMON, gateway, 0, 0, transaction.hash)
        case Breach(receipt):
            return LogLeaf(BREACH, receipt.promise.gateway, 0, 0, transaction.hash)
        case Import():
            return LogLeaf(IMPORT, transaction.gateway, 0, 0, transaction.hash)
        case Propose() | Approve() | Suspend() | Respond():
            kinds = {Propose: PROPOSE, Approve: APPROVE, Suspend: SUSPEND, Respond: RESPOND}
            return LogLeaf(kinds[type(transaction)], NO_GATEWAY, 0, 0, transaction.hash)
        case _:
            raise AssertionError(f"{type(transaction).__name__} is a batch, not a record")


def _readable(parts: tuple[Part, ...], make: Callable[[Part], Item]) -> Iterator[Item]:
    for part in parts:
        try:
            yield make(part)
        except ChainError:
            continue


def _header_item(signed: Signed, read: ReadHeader) -> Item:
    header, identity = read(signed)
    leaf = LogLeaf(HEADERS, header.gateway, header.epoch, header.height, identity)
    return Item((HEADER_LANE, header.gateway), (leaf_hash(leaf.encode()),), header.height)


def _alarm_item(alarm: Alarm) -> Item:
    gateway = Transition.decode(alarm.transition).gateway
    leaves = (LogLeaf(ALARMS, gateway, 0, mark, alarm.hash) for mark in (RECORDED, UNRECORDED))
    return Item((ALARM_LANE, gateway), tuple(leaf_hash(leaf.encode()) for leaf in leaves))


def _record_item(transaction: Transaction, read: ReadHeader) -> Item:
    leaf = record_leaf(transaction, read)
    return Item((RECORD_LANE, _author(transaction) or leaf.gateway), (leaf_hash(leaf.encode()),))


def _author(transaction: Transaction) -> bytes:
    """Return whose such records are: a key whose holder can make any number of them; empty for the gateway's."""
    match transaction:
        case Enrol(enrolment):
            return Ticket.decode(EnrolmentBody.decode(enrolment.body).ticket.body).key
        case Propose(signed):
            return ProposalBody.decode(signed.body).proposer
        case Approve(signed):
            return ApprovalBody.decode(signed.body).hub
        case Suspend(signed):
            return SuspensionBody.decode(signed.body).authority
        case Summon(signed):
            return SummonsBody.decode(signed.body).hub
        case Respond(signed):
            # One is good for each summons alone: whoever is summoned in a flood can answer all of it.
            return ResponseBody.decode(signed.body).summons
        case Breach(receipt):
            return CustodyBatch.decode(receipt.batch.body).hub
        case _:
            return b""
