"""What records about gateways do to the state: enrolments, epochs, rotations, ends of keys, contract sets.

Each rule raises before it changes anything, and is called only for a record whose leaf is not in the log; the
caller adds the leaf afterwards. The rules about bytes and keys are `gateway.chain.verify`'s.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from gateway.chain.entries import (
    GOOD,
    ContractsEntry,
    GatewayEntry,
    KeyEnd,
    KeyEntry,
    KeySpan,
    TicketEntry,
    contracts_key,
    key_end_key,
    key_key,
    ticket_key,
)
from gateway.chain.errors import BadRecord
from gateway.chain.keys import NO_HASH, gateway_id
from gateway.chain.leaf import ENROL, EQUIVOCATE, HEADERS, REVOKE, ROTATE, LogLeaf
from gateway.chain.ordered import MAX_BATCH, Enrol, EpochOrder, Equivocate, Grant, Revoke, Rotate
from gateway.chain.tenure import NOWHERE, ContractGrant, EpochChangeBody, Position, Revocation, RotationBody
from gateway.chain.verify import (
    check_ordered_time,
    check_standing,
    verify_enrolment,
    verify_epoch_change,
    verify_equivocation,
    verify_grant,
    verify_revocation,
    verify_rotation,
)
from hub.ledger.draft import Draft

NO_BOOT: Final = bytes(8)


def enrol(draft: Draft, transaction: Enrol, time: int) -> None:
    """Take a gateway up, with the key that spent its ticket."""
    enrolment = transaction.enrolment
    ticket, body = verify_enrolment(enrolment, draft.genesis, draft.roster, time)
    gateway = gateway_id(body.key)
    if draft.get(ticket_key(ticket.key)) is not None:
        raise BadRecord("the ticket was used already; ask the authority for another one")
    if draft.has_gateway(gateway):
        raise BadRecord(f"gateway {gateway.hex()[:16]} is enrolled already")
    keys = (KeySpan(body.key, 1),)
    entry = GatewayEntry(ticket.region, keys, GOOD, 1, NOWHERE, draft.size, NO_BOOT, 0, 0, ())
    draft.set_gateway(gateway, entry)
    draft.put(key_key(gateway, body.key), KeyEntry(gateway, body.key, 1, ENROL, enrolment.hash))
    draft.put(ticket_key(ticket.key), TicketEntry(gateway))


def change_epoch(draft: Draft, transaction: EpochOrder, time: int) -> None:
    """Close a gateway's epoch and open the next; a gateway that came from another chain has moved then."""
    change = transaction.change
    gateway = EpochChangeBody.decode(change.body).gateway
    entry = draft.gateway(gateway)
    check_ordered_time(transaction.time, time)
    body = verify_epoch_change(change, draft.genesis, draft.roster, entry, transaction.time)
    recent = [each for each in entry.epochs if each > transaction.time - draft.genesis.epoch_window]
    epochs = (*recent, transaction.time)[-MAX_BATCH:]
    opened = replace(entry, standing=GOOD, epoch=body.epoch, opened_at=draft.size, epochs=epochs)
    draft.set_gateway(gateway, opened)


def rotate(draft: Draft, transaction: Rotate, time: int) -> None:
    """Give a gateway its next key."""
    rotation = transaction.rotation
    gateway = RotationBody.decode(rotation.body).gateway
    entry = draft.gateway(gateway)
    body = verify_rotation(rotation, draft.genesis, entry)
    draft.put(key_key(gateway, body.new), KeyEntry(gateway, body.new, body.first, ROTATE, rotation.hash))
    last = Position(0, body.first - 1, NO_HASH)
    draft.put(key_end_key(gateway, body.old), KeyEnd(ROTATE, last, rotation.hash))
    draft.set_gateway(gateway, replace(entry, keys=(*entry.keys, KeySpan(body.new, body.first))))


def revoke(draft: Draft, transaction: Revoke, time: int) -> None:
    """End a gateway's keys at a block that is final, which may be the head it brought from another chain."""
    gateway = Revocation.decode(transaction.revocation.body).gateway
    entry = draft.gateway(gateway)
    last = verify_revocation(transaction.revocation, draft.genesis, draft.roster).last
    known = last in (NOWHERE, entry.head)
    if not known and not draft.has(LogLeaf(HEADERS, gateway, last.epoch, last.height, last.hash)):
        raise BadRecord(f"the revocation's last block {last.epoch}/{last.height} is not in the log")
    _end_keys(draft, gateway, entry, KeyEnd(REVOKE, last, transaction.hash))


def equivocate(draft: Draft, transaction: Equivocate, time: int) -> None:
    """Bar a gateway that signed two headers at one position, or put a retired key's lie on record."""
    header, _ = draft.facts.headers.read(transaction.first)
    gateway, entry = header.gateway, draft.gateway(header.gateway)
    public = verify_equivocation(transaction.first, transaction.second, draft.genesis, entry)
    if public in entry.alarm_keys:
        check_standing(entry)
        _end_keys(draft, gateway, entry, KeyEnd(EQUIVOCATE, entry.head, transaction.hash))
    else:
        _mark_retired(draft, key_end_key(gateway, public), transaction.hash)


def _mark_retired(draft: Draft, at: bytes, record: bytes) -> None:
    """Put a retired key's lie on record. Whoever stole that key later cannot bar the gateway with it."""
    ended = draft.get(at)
    assert ended is not None, "a key that is not among the alarm keys was rotated away"
    end = KeyEnd.decode(ended)
    if end.kind == EQUIVOCATE:
        raise BadRecord("this retired key's equivocation is on record already")
    draft.put(at, replace(end, kind=EQUIVOCATE, record=record))


def _end_keys(draft: Draft, gateway: bytes, entry: GatewayEntry, end: KeyEnd) -> None:
    """End a gateway's keys, and cut back every earlier end that would vouch for blocks after `end`."""
    for span in entry.keys:
        at = key_end_key(gateway, span.key)
        before = draft.get(at)
        if before is None or KeyEnd.decode(before).last.height > end.last.height:
            draft.put(at, end)
    standing = end.kind if entry.standing not in (REVOKE, EQUIVOCATE) else entry.standing
    draft.set_gateway(gateway, replace(entry, standing=standing))


def grant_contracts(draft: Draft, transaction: Grant, time: int) -> None:
    """Take up an authority's contract set for a gateway."""
    gateway = ContractGrant.decode(transaction.grant.body).gateway
    draft.gateway(gateway)
    grant = verify_grant(transaction.grant, draft.genesis, draft.roster)
    before = draft.get(contracts_key(gateway))
    if before is not None and grant.version <= ContractsEntry.decode(before).version:
        raise BadRecord(f"contract set {grant.version} is not above the one granted last; versions only rise")
    draft.put(contracts_key(gateway), ContractsEntry(grant.version, transaction.hash))
