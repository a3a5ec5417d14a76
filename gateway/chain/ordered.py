"""What consensus orders: anchors and alarms in batches, and the records that change who may sign.

A transaction is [kind, …] in at most 64 KiB. Each accepted header, alarm or record becomes one leaf of the log,
`gateway.chain.leaf.LogLeaf`, whose hash field is the item's identity. Times inside records are their author's
word, except where a transaction's own `time` says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from gateway.chain.alarm import Alarm
from gateway.chain.canonical import Item, decode, encode
from gateway.chain.custody import Receipt
from gateway.chain.errors import WrongShape
from gateway.chain.finality import AppState, Entry
from gateway.chain.governance import proposal_hash
from gateway.chain.keys import (
    APPROVAL,
    BREACHED,
    EQUIVOCATION,
    GRANT,
    RESPONSE,
    REVOCATION,
    SUMMONS,
    SUSPENSION,
    TRANSFER,
    Signed,
    digest,
)
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
    PROPOSE,
    RESPOND,
    REVOKE,
    ROTATE,
    SUMMON,
    SUSPEND,
)
from gateway.chain.record import (
    Blob,
    GatewayId,
    Hash,
    Many,
    Millis,
    Octets,
    Record,
)
from gateway.chain.tenure import Enrolment, EpochChange, Rotation

MAX_TRANSACTION: Final = 64 * 1024
MAX_BATCH: Final = 512


@dataclass(frozen=True, slots=True)
class Headers(Record):
    """Transaction 1: signed headers, in chain order for each gateway."""

    headers: Annotated[tuple[Signed, ...], Many(1, MAX_BATCH)]


@dataclass(frozen=True, slots=True)
class Alarms(Record):
    """Transaction 2: alarms."""

    alarms: Annotated[tuple[Alarm, ...], Many(1, MAX_BATCH)]


@dataclass(frozen=True, slots=True)
class Enrol(Record):
    """Transaction 3: an enrolment."""

    enrolment: Enrolment


@dataclass(frozen=True, slots=True)
class EpochOrder(Record):
    """Transaction 4: an epoch change, at a time that everyone re-checks against the final block's."""

    change: EpochChange
    time: Millis


@dataclass(frozen=True, slots=True)
class Rotate(Record):
    """Transaction 5: a rotation."""

    rotation: Rotation


@dataclass(frozen=True, slots=True)
class Revoke(Record):
    """Transaction 6: a signed `Revocation` (domain `tocsin/revocation/v1`)."""

    revocation: Signed

    @property
    def hash(self) -> bytes:
        return digest(REVOCATION, self.revocation.body)


@dataclass(frozen=True, slots=True)
class Equivocate(Record):
    """Transaction 7: two different signed headers at one (epoch, height), the bytewise lesser first."""

    first: Signed
    second: Signed

    @property
    def hash(self) -> bytes:
        return digest(EQUIVOCATION, encode([self.first.body, self.second.body]))


@dataclass(frozen=True, slots=True)
class Grant(Record):
    """Transaction 8: a signed `ContractGrant` (domain `tocsin/contract-grant/v1`)."""

    grant: Signed

    @property
    def hash(self) -> bytes:
        return digest(GRANT, self.grant.body)


@dataclass(frozen=True, slots=True)
class Propose(Record):
    """Transaction 9: a signed `ProposalBody` (domain `tocsin/proposal/v1`)."""

    proposal: Signed

    @property
    def hash(self) -> bytes:
        return proposal_hash(self.proposal)


@dataclass(frozen=True, slots=True)
class Approve(Record):
    """Transaction 10: a signed `ApprovalBody` (domain `tocsin/approval/v1`)."""

    approval: Signed

    @property
    def hash(self) -> bytes:
        return digest(APPROVAL, self.approval.body)


@dataclass(frozen=True, slots=True)
class Suspend(Record):
    """Transaction 11: a signed `SuspensionBody` (domain `tocsin/suspension/v1`)."""

    suspension: Signed

    @property
    def hash(self) -> bytes:
        return digest(SUSPENSION, self.suspension.body)


@dataclass(frozen=True, slots=True)
class Summon(Record):
    """Transaction 13: a signed `SummonsBody` (domain `tocsin/summons/v1`), ordered at `time`."""

    summons: Signed
    time: Millis

    @property
    def hash(self) -> bytes:
        return digest(SUMMONS, self.summons.body)


@dataclass(frozen=True, slots=True)
class Respond(Record):
    """Transaction 14: a signed `ResponseBody` (domain `tocsin/response/v1`)."""

    response: Signed

    @property
    def hash(self) -> bytes:
        return digest(RESPONSE, self.response.body)


@dataclass(frozen=True, slots=True)
class Breach(Record):
    """Transaction 15: a promise of custody that was broken, shown in one of two ways.

    Either `lack` is the signed `Possession` in which the hub of `receipt` says that it lacks the body, encoded,
    and `summons` is empty; or `summons` is the hash of one whose deadline had passed unanswered at `time`.
    """

    receipt: Receipt
    lack: Blob
    summons: Annotated[bytes, Octets(0, 32)]
    time: Millis

    def check(self, where: str) -> None:
        if (bool(self.lack), len(self.summons)) not in ((True, 0), (False, 32)):
            raise WrongShape(f"{where}: a breach is shown by a signed lack or by a summons, not by both")

    @property
    def hash(self) -> bytes:
        return digest(BREACHED, self.receipt.promise.encode() + self.receipt.batch.encode())


@dataclass(frozen=True, slots=True)
class Import(Record):
    """Transaction 16: a gateway of a chain that the genesis takes over, by proofs under that chain's last state.

    `takeover` is the old chain's genesis hash; `entry` is its state key 1 and `contracts` its state key 5.
    """

    takeover: Hash
    app: AppState
    gateway: GatewayId
    entry: Entry
    contracts: Entry

    @property
    def hash(self) -> bytes:
        return digest(TRANSFER, encode([self.takeover, self.gateway]))


Transaction = (
    Headers
    | Alarms
    | Enrol
    | EpochOrder
    | Rotate
    | Revoke
    | Equivocate
    | Grant
    | Propose
    | Approve
    | Suspend
    | Summon
    | Respond
    | Breach
    | Import
)
KINDS: Final[dict[int, type[Transaction]]] = {
    HEADERS: Headers,
    ALARMS: Alarms,
    ENROL: Enrol,
    CHANGE_EPOCH: EpochOrder,
    ROTATE: Rotate,
    REVOKE: Revoke,
    EQUIVOCATE: Equivocate,
    GRANT_CONTRACTS: Grant,
    PROPOSE: Propose,
    APPROVE: Approve,
    SUSPEND: Suspend,
    SUMMON: Summon,
    RESPOND: Respond,
    BREACH: Breach,
    IMPORT: Import,
}
_NUMBERS = {record: kind for kind, record in KINDS.items()}


def encode_transaction(transaction: Transaction) -> bytes:
    """Return a transaction's bytes: [kind, fields…]."""
    transaction.encode()  # checks every range
    item: list[Item] = [_NUMBERS[type(transaction)], *transaction.to_item()]
    return encode(item)


def decode_transaction(data: bytes) -> Transaction:
    """Return the transaction of exactly these bytes. Raises FormatError."""
    item = decode(data, max_size=MAX_TRANSACTION)
    if type(item) is not list or not item or type(item[0]) is not int or item[0] not in KINDS:
        raise WrongShape("a transaction is an array that starts with a known kind")
    return KINDS[item[0]].from_item(item[1:])
