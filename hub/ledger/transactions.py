"""What each transaction does to the log and the state: the ledger's rules of application, dispatched.

Pure: a `Draft` of log and state, a transaction and the final block's time go in, changes to the draft come out.
Rules about records are `hub.ledger.records`', `hub.ledger.governance`'s and `hub.ledger.imports`'. Invariants:

- an item is applied whole or not at all, and one refused item spoils no other;
- an item whose leaf is in the log already changes nothing and is no error, so that two hubs may offer the same;
- nothing depends on anything but the draft, the transaction and the time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from gateway.chain.alarm import RECORDED, UNRECORDED, Alarm
from gateway.chain.errors import ChainError, HeightSkipped
from gateway.chain.keys import Signed
from gateway.chain.leaf import ALARMS, HEADERS, LogLeaf
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
from gateway.chain.tenure import Position
from gateway.chain.verify import check_standing, check_successor, read_transition
from hub.consensus.base import ACCEPTED, ALREADY_FINAL, REFUSED, TxResult
from hub.ledger.draft import Draft
from hub.ledger.governance import approve, breach, propose, respond, summon, suspend
from hub.ledger.imports import import_gateway
from hub.ledger.items import record_leaf
from hub.ledger.records import change_epoch, enrol, equivocate, grant_contracts, revoke, rotate

_RULES: Final[dict[type[Transaction], Callable[[Draft, Any, int], None]]] = {
    Enrol: enrol,
    EpochOrder: change_epoch,
    Rotate: rotate,
    Revoke: revoke,
    Equivocate: equivocate,
    Grant: grant_contracts,
    Propose: propose,
    Approve: approve,
    Suspend: suspend,
    Summon: summon,
    Respond: respond,
    Breach: breach,
    Import: import_gateway,
}


def apply(draft: Draft, transaction: Transaction, time: int) -> TxResult:
    """Apply one transaction at a final block's time (Unix ms) and say what became of its items."""
    accepted, refused = _each(_items(draft, transaction, time, _header))
    return TxResult(REFUSED if refused else ACCEPTED, refused[0][1] if refused else "", accepted, refused)


def check(draft: Draft, transaction: Transaction, time: int) -> TxResult:
    """Judge whether a transaction is fit to wait: whether one item of it, at least, is new and would be taken.

    Headers need not follow the head yet: what lies between may be on its way.
    """
    accepted, refused = _each(_items(draft, transaction, time, _check_header))
    if accepted:
        return TxResult(ACCEPTED, "", 0)
    if refused:
        return TxResult(REFUSED, refused[0][1], 0, refused)
    return TxResult(ALREADY_FINAL, "AlreadyFinal: every item of it is in the log", 0)


def _items(
    draft: Draft, transaction: Transaction, time: int, header: Callable[[Draft, Signed], bool]
) -> list[Callable[[], bool]]:
    """Return what is to be done for each item; each tells whether it was new, or raises ChainError."""
    match transaction:
        case Headers():
            return [partial(header, draft, signed) for signed in transaction.headers]
        case Alarms():
            return [partial(_alarm, draft, alarm) for alarm in transaction.alarms]
        case _:
            return [partial(_record, draft, transaction, time)]


def _each(items: Sequence[Callable[[], bool]]) -> tuple[int, tuple[tuple[int, str], ...]]:
    accepted, refused = 0, []
    for index, item in enumerate(items):
        try:
            accepted += item()
        except ChainError as error:
            refused.append((index, named(error)))
    return accepted, tuple(refused)


def named(error: Exception) -> str:
    """Return an error as results carry it: its name and its text."""
    return f"{type(error).__name__}: {error}"


def _check_header(draft: Draft, signed: Signed) -> bool:
    try:
        return _follows(draft, signed) is not None
    except HeightSkipped:
        return True


def _header(draft: Draft, signed: Signed) -> bool:
    leaf = _follows(draft, signed)
    if leaf is None:
        return False
    header, identity = draft.facts.headers.read(signed)
    draft.add(leaf)
    draft.set_gateway(
        header.gateway,
        replace(
            draft.gateway(header.gateway),
            head=Position(header.epoch, header.height, identity),
            boot=header.boot,
            mono=header.mono + header.span,
            seen=header.seen.height,
        ),
    )
    return True


def _follows(draft: Draft, signed: Signed) -> LogLeaf | None:
    """Return the leaf of a header that follows its gateway's head, None where it is in the log. Raises ChainError."""
    header, identity = draft.facts.headers.read(signed)
    entry = draft.gateway(header.gateway)
    leaf = LogLeaf(HEADERS, header.gateway, header.epoch, header.height, identity)
    if header.height <= entry.head.height and draft.has(leaf):
        return None
    check_standing(entry)
    draft.facts.headers.check_signature(signed, identity, entry.key_at(header.height))
    check_successor(header, entry)
    return leaf


def _alarm(draft: Draft, alarm: Alarm) -> bool:
    transition = read_transition(alarm, draft.genesis)
    entry = draft.gateway(transition.gateway)
    leaves = [LogLeaf(ALARMS, transition.gateway, 0, mark, alarm.hash) for mark in (RECORDED, UNRECORDED)]
    if any(map(draft.has, leaves)):
        return False
    check_standing(entry)
    draft.facts.check_alarm(alarm, entry)
    draft.add(leaves[alarm.mark])
    return True


def _record(draft: Draft, transaction: Transaction, time: int) -> bool:
    leaf = record_leaf(transaction, draft.facts.headers.read)
    if draft.has(leaf):
        return False
    _RULES[type(transaction)](draft, transaction, time)
    draft.add(leaf)
    return True
