"""What each transaction does to the log and the state: the ledger's rules of application.

Pure: a `View` of log and state, a transaction and the final block's time go in, changes to the view come out.
The rules about bytes and keys are `gateway.chain.verify`'s; those here say what is looked up and what changes.
Invariants:

- an item is applied whole or not at all, and one refused item spoils no other;
- an item whose leaf is in the log already changes nothing and is no error, so that two hubs may offer the same;
- nothing depends on anything but the view, the transaction and the time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from gateway.chain.alarm import RECORDED, UNRECORDED, Alarm
from gateway.chain.block import Header, header_hash
from gateway.chain.entries import (
    ContractsEntry,
    GatewayEntry,
    KeyEnd,
    KeyEntry,
    KeySpan,
    TicketEntry,
    contracts_key,
    gateway_key,
    key_end_key,
    key_key,
    roster_key,
    ticket_key,
)
from gateway.chain.errors import BadRecord, ChainError, UnknownGateway
from gateway.chain.genesis import Genesis
from gateway.chain.governance import Roster, founding_roster
from gateway.chain.keys import NO_HASH, Signed, gateway_id
from gateway.chain.leaf import (
    ALARMS,
    CHANGE_EPOCH,
    ENROL,
    EQUIVOCATE,
    GRANT_CONTRACTS,
    HEADERS,
    REVOKE,
    ROTATE,
    LogLeaf,
)
from gateway.chain.ordered import (
    MAX_BATCH,
    NOWHERE,
    Alarms,
    ContractGrant,
    Enrol,
    EnrolmentBody,
    EpochChangeBody,
    EpochOrder,
    Equivocate,
    Grant,
    Headers,
    Position,
    Revocation,
    Revoke,
    Rotate,
    RotationBody,
    Transaction,
)
from gateway.chain.record import Record
from gateway.chain.state import StateTree
from gateway.chain.trees import leaf_hash
from gateway.chain.verify import (
    check_alarm_signature,
    check_header_signature,
    check_ordered_time,
    check_standing,
    check_successor,
    read_header,
    read_transition,
    verify_enrolment,
    verify_epoch_change,
    verify_equivocation,
    verify_grant,
    verify_revocation,
    verify_rotation,
)
from hub.consensus.base import TxResult

_NO_BOOT = bytes(8)
_CACHE = 8192


class HeaderCache:
    """Headers read and signatures found good lately, so that intake, check and finalize pay for each once.

    Both facts follow from the bytes alone, so a cache cannot change any verdict. Safe for several threads.
    """

    def __init__(self, genesis: Genesis) -> None:
        self._genesis = genesis
        self._headers: dict[bytes, Header] = {}
        self._signed: dict[tuple[int, bytes, bytes, bytes], None] = {}

    def read(self, signed: Signed) -> tuple[Header, bytes]:
        """Return a signed header of this chain and its hash. Raises ChainError."""
        identity = header_hash(signed.body)
        header = self._headers.get(identity)
        if header is None:
            header = self._headers[identity] = read_header(signed, self._genesis)
            self._trim(self._headers)
        return header, identity

    def check_signature(self, signed: Signed, identity: bytes, public: bytes) -> None:
        """Check the signature of the header of this hash. Raises UnsupportedSuite or BadSignature."""
        key = (signed.suite, identity, signed.signature, public)
        if key not in self._signed:
            check_header_signature(signed, public)
            self._signed[key] = None
            self._trim(self._signed)

    @staticmethod
    def _trim(cache: dict[Any, Any]) -> None:
        if len(cache) > _CACHE:
            cache.clear()  # at once: taking out one by one would need a lock


@dataclass(frozen=True, slots=True)
class NewLeaf:
    """A leaf that a transaction added to the log: its leaf hash, its bytes, and what they say."""

    hash: bytes
    data: bytes
    leaf: LogLeaf


class View:
    """Log and state as a transaction finds them, with what was changed since `tree`.

    `in_log` answers for the committed log; `leaves`, `records` and `entries` are what is new.
    """

    def __init__(
        self,
        genesis: Genesis,
        tree: StateTree,
        size: int,
        in_log: Callable[[bytes], bool],
        headers: HeaderCache,
    ) -> None:
        self.genesis, self.headers = genesis, headers
        self.leaves: list[NewLeaf] = []
        self.records: list[tuple[bytes, int, bytes]] = []
        """New records: (hash, kind of transaction, gateway)."""
        self._tree, self._size, self._in_log = tree, size, in_log
        self._fresh: set[bytes] = set()
        self._gateways: dict[bytes, GatewayEntry] = {}
        self._entries: dict[bytes, bytes] = {}

    def entries(self) -> dict[bytes, bytes]:
        """Return the state entries that were added or replaced."""
        gateways = {gateway_key(gateway): entry.encode() for gateway, entry in self._gateways.items()}
        changed = {key: value for key, value in gateways.items() if value != self._tree.get(key)}
        return self._entries | changed

    def get(self, key: bytes) -> bytes | None:
        """Return a state entry other than a gateway's own."""
        return self._entries[key] if key in self._entries else self._tree.get(key)

    @property
    def roster(self) -> Roster:
        """Who belongs to the federation now."""
        value = self.get(roster_key())
        return founding_roster(self.genesis) if value is None else Roster.decode(value)

    def put(self, key: bytes, value: Record) -> None:
        """Add or replace a state entry other than a gateway's own."""
        self._entries[key] = value.encode()

    def gateway(self, gateway: bytes) -> GatewayEntry:
        """Return a gateway's entry. Raises UnknownGateway."""
        entry = self._gateways.get(gateway)
        if entry is None:
            value = self._tree.get(gateway_key(gateway))
            if value is None:
                raise UnknownGateway(f"gateway {gateway.hex()[:16]} was never enrolled in this chain")
            entry = self._gateways[gateway] = GatewayEntry.decode(value)
        return entry

    def has_gateway(self, gateway: bytes) -> bool:
        return gateway in self._gateways or self._tree.get(gateway_key(gateway)) is not None

    def set_gateway(self, gateway: bytes, entry: GatewayEntry) -> None:
        self._gateways[gateway] = entry

    def has(self, leaf: LogLeaf) -> bool:
        """Tell whether an item is in the log."""
        identity = leaf_hash(leaf.encode())
        return identity in self._fresh or self._in_log(identity)

    def add(self, leaf: LogLeaf) -> int:
        """Add an item that is not in the log and return its index."""
        data = leaf.encode()
        identity = leaf_hash(data)
        self._fresh.add(identity)
        self.leaves.append(NewLeaf(identity, data, leaf))
        if leaf.kind not in (HEADERS, ALARMS):
            self.records.append((leaf.hash, leaf.kind, leaf.gateway))
        return self._size + len(self.leaves) - 1


def apply(view: View, transaction: Transaction, time: int) -> TxResult:
    """Apply one transaction at a final block's time (Unix ms) and say what became of its items."""
    match transaction:
        case Headers():
            return _each([partial(_header, view, signed) for signed in transaction.headers])
        case Alarms():
            return _each([partial(_alarm, view, alarm) for alarm in transaction.alarms])
        case _:
            return _each([partial(_record, view, transaction, time)])


def check(view: View, transaction: Transaction, time: int) -> TxResult:
    """Judge whether a transaction is fit to wait: as `apply`, but headers need not follow the head yet."""
    if not isinstance(transaction, Headers):
        return apply(view, transaction, time)
    return _each([partial(_check_header, view, signed) for signed in transaction.headers])


def _each(items: Sequence[Callable[[], bool]]) -> TxResult:
    """Apply items one by one; each tells whether it was new, or is refused alone."""
    accepted, refused = 0, []
    for index, item in enumerate(items):
        try:
            accepted += item()
        except ChainError as error:
            refused.append((index, named(error)))
    return TxResult(int(bool(refused)), refused[0][1] if refused else "", accepted, tuple(refused))


def named(error: Exception) -> str:
    """Return an error as results carry it: its name and its text."""
    return f"{type(error).__name__}: {error}"


def _check_header(view: View, signed: Signed) -> bool:
    header, identity = view.headers.read(signed)
    entry = view.gateway(header.gateway)
    check_standing(entry)
    view.headers.check_signature(signed, identity, entry.key_at(header.height))
    return False


def _header(view: View, signed: Signed) -> bool:
    header, identity = view.headers.read(signed)
    entry = view.gateway(header.gateway)
    leaf = LogLeaf(HEADERS, header.gateway, header.epoch, header.height, identity)
    if header.height <= entry.head.height and view.has(leaf):
        return False
    check_standing(entry)
    view.headers.check_signature(signed, identity, entry.key_at(header.height))
    check_successor(header, entry)
    view.add(leaf)
    view.set_gateway(
        header.gateway,
        replace(
            entry,
            head=Position(header.epoch, header.height, identity),
            boot=header.boot,
            mono=header.mono + header.span,
            seen=header.seen.height,
        ),
    )
    return True


def _alarm(view: View, alarm: Alarm) -> bool:
    transition = read_transition(alarm, view.genesis)
    entry = view.gateway(transition.gateway)
    leaves = [LogLeaf(ALARMS, transition.gateway, 0, mark, alarm.hash) for mark in (RECORDED, UNRECORDED)]
    if any(map(view.has, leaves)):
        return False
    check_standing(entry)
    check_alarm_signature(alarm, entry)
    view.add(leaves[alarm.mark])
    return True


def _record(view: View, transaction: Transaction, time: int) -> bool:
    match transaction:
        case Enrol():
            return _enrol(view, transaction, time)
        case EpochOrder():
            return _change_epoch(view, transaction, time)
        case Rotate():
            return _rotate(view, transaction)
        case Revoke():
            return _revoke(view, transaction)
        case Equivocate():
            return _equivocate(view, transaction)
        case Grant():
            return _grant(view, transaction)
        case _:
            raise AssertionError(f"{type(transaction).__name__} is a batch, not a record")


def _enrol(view: View, transaction: Enrol, time: int) -> bool:
    enrolment = transaction.enrolment
    gateway = gateway_id(EnrolmentBody.decode(enrolment.body).key)
    leaf = LogLeaf(ENROL, gateway, 0, 0, enrolment.hash)
    if view.has(leaf):
        return False
    ticket, body = verify_enrolment(enrolment, view.genesis, view.roster, time)
    if view.get(ticket_key(ticket.key)) is not None:
        raise BadRecord("the ticket was used already; ask the authority for another one")
    if view.has_gateway(gateway):
        raise BadRecord(f"gateway {gateway.hex()[:16]} is enrolled already")
    index = view.add(leaf)
    keys = (KeySpan(body.key, 1),)
    view.set_gateway(gateway, GatewayEntry(ticket.region, keys, 0, 1, NOWHERE, index, _NO_BOOT, 0, 0, ()))
    view.put(key_key(gateway, body.key), KeyEntry(gateway, body.key, 1, ENROL, enrolment.hash))
    view.put(ticket_key(ticket.key), TicketEntry(gateway))
    return True


def _change_epoch(view: View, transaction: EpochOrder, time: int) -> bool:
    change = transaction.change
    gateway = EpochChangeBody.decode(change.body).gateway
    entry = view.gateway(gateway)
    leaf = LogLeaf(CHANGE_EPOCH, gateway, 0, 0, change.hash)
    if view.has(leaf):
        return False
    check_ordered_time(transaction.time, time)
    body = verify_epoch_change(change, view.genesis, view.roster, entry, transaction.time)
    recent = [each for each in entry.epochs if each > transaction.time - view.genesis.epoch_window]
    epochs = (*recent, transaction.time)[-MAX_BATCH:]
    view.set_gateway(gateway, replace(entry, epoch=body.epoch, opened_at=view.add(leaf), epochs=epochs))
    return True


def _rotate(view: View, transaction: Rotate) -> bool:
    rotation = transaction.rotation
    gateway = RotationBody.decode(rotation.body).gateway
    entry = view.gateway(gateway)
    leaf = LogLeaf(ROTATE, gateway, 0, 0, rotation.hash)
    if view.has(leaf):
        return False
    body = verify_rotation(rotation, view.genesis, entry)
    view.add(leaf)
    view.put(key_key(gateway, body.new), KeyEntry(gateway, body.new, body.first, ROTATE, rotation.hash))
    last = Position(0, body.first - 1, NO_HASH)
    view.put(key_end_key(gateway, body.old), KeyEnd(ROTATE, last, rotation.hash))
    view.set_gateway(gateway, replace(entry, keys=(*entry.keys, KeySpan(body.new, body.first))))
    return True


def _revoke(view: View, transaction: Revoke) -> bool:
    gateway = Revocation.decode(transaction.revocation.body).gateway
    entry = view.gateway(gateway)
    leaf = LogLeaf(REVOKE, gateway, 0, 0, transaction.hash)
    if view.has(leaf):
        return False
    last = verify_revocation(transaction.revocation, view.genesis, view.roster).last
    if last != NOWHERE and not view.has(LogLeaf(HEADERS, gateway, last.epoch, last.height, last.hash)):
        raise BadRecord(f"the revocation's last block {last.epoch}/{last.height} is not in the log")
    view.add(leaf)
    _end_keys(view, gateway, entry, KeyEnd(REVOKE, last, transaction.hash))
    return True


def _equivocate(view: View, transaction: Equivocate) -> bool:
    header, _ = view.headers.read(transaction.first)
    gateway, entry = header.gateway, view.gateway(header.gateway)
    leaf = LogLeaf(EQUIVOCATE, gateway, 0, 0, transaction.hash)
    if view.has(leaf):
        return False
    public = verify_equivocation(transaction.first, transaction.second, view.genesis, entry)
    if public in entry.alarm_keys:
        check_standing(entry)
        _end_keys(view, gateway, entry, KeyEnd(EQUIVOCATE, entry.head, transaction.hash))
    else:
        _mark_retired(view, key_end_key(gateway, public), transaction.hash)
    view.add(leaf)
    return True


def _mark_retired(view: View, at: bytes, record: bytes) -> None:
    """Put a retired key's lie on record. Whoever stole that key later cannot bar the gateway with it."""
    ended = view.get(at)
    assert ended is not None, "a key that is not among the alarm keys was rotated away"
    end = KeyEnd.decode(ended)
    if end.kind == EQUIVOCATE:
        raise BadRecord("this retired key's equivocation is on record already")
    view.put(at, replace(end, kind=EQUIVOCATE, record=record))


def _end_keys(view: View, gateway: bytes, entry: GatewayEntry, end: KeyEnd) -> None:
    """End a gateway's keys, and cut back every earlier end that would vouch for blocks after `end`."""
    for span in entry.keys:
        at = key_end_key(gateway, span.key)
        before = view.get(at)
        if before is None or KeyEnd.decode(before).last.height > end.last.height:
            view.put(at, end)
    view.set_gateway(gateway, replace(entry, standing=entry.standing or end.kind))


def _grant(view: View, transaction: Grant) -> bool:
    gateway = ContractGrant.decode(transaction.grant.body).gateway
    view.gateway(gateway)
    leaf = LogLeaf(GRANT_CONTRACTS, gateway, 0, 0, transaction.hash)
    if view.has(leaf):
        return False
    grant = verify_grant(transaction.grant, view.genesis, view.roster)
    before = view.get(contracts_key(gateway))
    if before is not None and grant.version <= ContractsEntry.decode(before).version:
        raise BadRecord(f"contract set {grant.version} is not above the one granted last; versions only rise")
    view.add(leaf)
    view.put(contracts_key(gateway), ContractsEntry(grant.version, transaction.hash))
    return True
