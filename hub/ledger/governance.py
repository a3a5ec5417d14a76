"""What a federation's members do to its state: proposals, approvals, suspensions, misbehaviour, broken promises.

The guards that no change may break are `gateway.chain.governance`'s. Each rule raises before it changes anything,
and is called only for a record whose leaf is not in the log; the caller adds the leaf afterwards. Invariants:

- A proposal is in force in the final block whose approval lifts the power behind it above two thirds. Where a
  guard is against it then, that last approval is refused, not the proposal, and may be offered again. A member
  that keeps its vote for want of other voters keeps its say: without it the rest might never reach two thirds.
- Power is counted at each approval, by the roster of that moment; keys that are no member's any more count nothing.
- A receipt can be broken once, and a summons is good for the receipt that it names alone.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Final

from gateway.chain.custody import CustodyBatch, Promise
from gateway.chain.entries import (
    ProposalEntry,
    SummonsEntry,
    proposal_key,
    roster_key,
    summons_key,
)
from gateway.chain.errors import BadRecord
from gateway.chain.governance import (
    MEMBER_GOOD,
    ApprovalBody,
    Member,
    MisbehaviourRecord,
    ProposalBody,
    Roster,
)
from gateway.chain.keys import APPROVAL, MISBEHAVIOUR, NO_HASH, POSSESSION, RESPONSE, SUMMONS, Signed, digest
from gateway.chain.leaf import MISBEHAVE, NO_GATEWAY, SUSPEND, LogLeaf
from gateway.chain.ordered import Approve, Breach, Propose, Respond, Summon, Suspend
from gateway.chain.possession import HELD, LACKED, SUMMONS_MS, Possession, ResponseBody, SummonsBody
from gateway.chain.verify import check_ordered_time
from gateway.chain.voting import changed_roster, verify_proposal, verify_suspension
from hub.consensus.base import Misbehaviour, ValidatorUpdate
from hub.ledger.draft import Draft

SUMMONS_LATE_MS: Final = 60_000
"""How long after its time a summons may be ordered: it must not eat up the time for the answer."""
UNANSWERED: Final = 3


def propose(draft: Draft, transaction: Propose, time: int) -> None:
    """Take up a member's proposal, with its own approval."""
    signed = transaction.proposal
    body = verify_proposal(signed, draft.roster, draft.genesis, time)
    if body.joining is not None:
        body.joining.verify(draft.genesis.hash)
    _count(draft, transaction.hash, ProposalEntry(signed.encode(), (body.proposer,), 0), body)


def approve(draft: Draft, transaction: Approve, time: int) -> None:
    """Count a member's approval, and put the proposal in force once it has the power."""
    signed, roster = transaction.approval, draft.roster
    body = ApprovalBody.decode(signed.body)
    draft.genesis.require(body.genesis, "the approval")
    signed.verify(APPROVAL, roster.hub(body.hub).key)
    value = draft.get(proposal_key(body.proposal))
    if value is None:
        raise BadRecord(f"there is no proposal {body.proposal.hex()[:16]} on the chain")
    entry = ProposalEntry.decode(value)
    if entry.done:
        raise BadRecord(f"proposal {body.proposal.hex()[:16]} is in force already")
    if body.hub in entry.approvals:
        raise BadRecord(f"this member's approval of proposal {body.proposal.hex()[:16]} counts already")
    proposal = verify_proposal(Signed.decode(entry.proposal), roster, draft.genesis, time)
    members = {each.key for each in roster.members}
    approvals = (*(key for key in entry.approvals if key in members), body.hub)
    _count(draft, body.proposal, replace(entry, approvals=approvals), proposal)


def _count(draft: Draft, identity: bytes, entry: ProposalEntry, body: ProposalBody) -> None:
    """Keep a proposal, and put it in force where its approvals have the power. Raises what a guard says."""
    roster = draft.roster
    power = sum(each.power for each in roster.members if each.key in entry.approvals)
    is_done = 3 * power > 2 * roster.power
    if is_done:
        draft.put(roster_key(), changed_roster(roster, body, draft.genesis))
    draft.put(proposal_key(identity), replace(entry, done=int(is_done)))


def suspend(draft: Draft, transaction: Suspend, time: int) -> None:
    """Take a member's vote at the regulator's word."""
    roster = draft.roster
    body = verify_suspension(transaction.suspension, roster, draft.genesis)
    member = roster.member(body.name)
    if member.standing != MEMBER_GOOD and not member.power:
        raise BadRecord(f"member {body.name!r} has no vote to lose: it is not in good standing")
    draft.put(roster_key(), roster.punished(body.name, member.standing or SUSPEND))


def misbehave(draft: Draft, caught: Misbehaviour) -> bytes | None:
    """Record what the engine caught a voter at, and take its vote; return the record's bytes, None for a repeat."""
    record = MisbehaviourRecord(caught.address, caught.height, caught.kind).encode()
    leaf = LogLeaf(MISBEHAVE, NO_GATEWAY, 0, 0, digest(MISBEHAVIOUR, record))
    if draft.has(leaf):
        return None
    draft.add(leaf)
    roster = draft.roster
    member = voter_at(roster.members, caught.address)
    if member is not None and (member.power or member.standing != MISBEHAVE):
        draft.put(roster_key(), roster.punished(member.name, MISBEHAVE))
    return record


def voter_at(members: tuple[Member, ...], voter: bytes) -> Member | None:
    """Return the member whose validator key has this address (20 bytes), None where it is nobody's now."""
    return next((each for each in members if sha256(each.validator).digest()[:20] == voter), None)


def changed_voters(before: Roster, after: Roster) -> tuple[ValidatorUpdate, ...]:
    """Return what the engine is to know of a change of the roster, by rising key; power 0 takes a voter out."""
    old = {each.key: each.power for each in before.validators}
    new = {each.key: each.power for each in after.validators}
    changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    return tuple(ValidatorUpdate(key, new.get(key, 0)) for key in changed)


def summon(draft: Draft, transaction: Summon, time: int) -> None:
    """Call a member to account for a promise that binds it still."""
    roster = draft.roster
    body = SummonsBody.decode(transaction.summons.body)
    draft.genesis.require(body.genesis, "the summons")
    asker = roster.hub(body.hub)
    transaction.summons.verify(SUMMONS, asker.key)
    if not asker.has_voice:
        raise BadRecord(f"member {asker.name!r} has lost its vote and summons nobody")
    check_ordered_time(transaction.time, time)
    if transaction.time < time - SUMMONS_LATE_MS:
        raise BadRecord(f"too late: the summons says {transaction.time}, the final block {time}")
    promise, member = body.receipt.verify(draft.genesis, roster)
    if promise.keep_until < transaction.time + SUMMONS_MS:
        raise BadRecord(f"the promise ran out at {promise.keep_until}, before an answer would be due")
    receipt = Breach(body.receipt, b"", NO_HASH, 0).hash
    entry = SummonsEntry(member.key, receipt, transaction.time, 0, NO_HASH)
    draft.put(summons_key(transaction.hash), entry)


def respond(draft: Draft, transaction: Respond, time: int) -> None:
    """Take up the answer to a summons, be it late, as long as no breach was found."""
    body = ResponseBody.decode(transaction.response.body)
    draft.genesis.require(body.genesis, "the response")
    entry = _summons(draft, body.summons)
    if body.hub != entry.hub:
        raise BadRecord("another hub than this one was summoned")
    transaction.response.verify(RESPONSE, draft.roster.hub(body.hub).key)
    if entry.outcome:
        raise BadRecord(f"summons {body.summons.hex()[:16]} is settled already")
    if (body.says == LACKED) != (body.proof == NO_HASH):
        raise BadRecord("a response that the body is held has a proof, one that it is lacked has none")
    settled = replace(entry, outcome=body.says, response=transaction.hash)
    draft.put(summons_key(body.summons), settled)


def breach(draft: Draft, transaction: Breach, time: int) -> None:
    """Count a broken promise against the member that gave it."""
    check_ordered_time(transaction.time, time)
    roster = draft.roster
    promise, member = transaction.receipt.verify(draft.genesis, roster)
    if transaction.lack:
        _check_lack(draft, transaction, promise, member)
    else:
        _close_summons(draft, transaction, time)
    draft.put(roster_key(), roster.with_member(replace(member, breaches=member.breaches + 1)))


def _check_lack(draft: Draft, transaction: Breach, promise: Promise, member: Member) -> None:
    """Check that a hub signed to lack what it had promised, while the promise bound it."""
    signed = Signed.decode(transaction.lack)
    said = Possession.decode(signed.body)
    draft.genesis.require(said.genesis, "the signed lack")
    if (said.hub, said.promise, said.says) != (member.key, promise, LACKED):
        raise BadRecord("the signed lack is another hub's, of another promise, or says that the body is held")
    given = CustodyBatch.decode(transaction.receipt.batch.body).time
    if not given <= said.time <= promise.keep_until:
        raise BadRecord(
            f"the lack was signed at {said.time}: the promise binds from {given} to {promise.keep_until}"
        )
    signed.verify(POSSESSION, member.key)


def _close_summons(draft: Draft, transaction: Breach, time: int) -> None:
    """Check that a summons over this receipt went unanswered, or that its answer says that the body is lacked."""
    entry = _summons(draft, transaction.summons)
    if entry.receipt != transaction.hash:
        raise BadRecord("the summons is over another receipt")
    if entry.outcome == HELD:
        raise BadRecord("the summoned hub answered that it holds the body")
    due = entry.time + SUMMONS_MS
    if not entry.outcome:
        if min(transaction.time, time) <= due:
            raise BadRecord(f"too early: the summoned hub has until {due} to answer")
        draft.put(summons_key(transaction.summons), replace(entry, outcome=UNANSWERED))


def _summons(draft: Draft, identity: bytes) -> SummonsEntry:
    value = draft.get(summons_key(identity))
    if value is None:
        raise BadRecord(f"there is no summons {identity.hex()[:16]} on the chain")
    return SummonsEntry.decode(value)
