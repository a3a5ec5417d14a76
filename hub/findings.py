"""Findings in words: what a final record, or a voter's crime, says to people.

Pure. A finding is about a gateway or, with a gateway of zeros, about a member of the federation, whose name leads
its text. `committed` is what stood after the final block.
"""

from __future__ import annotations

from typing import Final

from gateway.chain.block import Header
from gateway.chain.custody import CustodyBatch, Promise
from gateway.chain.entries import ProposalEntry, SummonsEntry, proposal_key, summons_key
from gateway.chain.genesis import Genesis
from gateway.chain.governance import (
    ADMIT,
    APPOINT,
    CHANGE,
    DISMISS,
    REMOVE,
    ApprovalBody,
    JoinBody,
    ProposalBody,
    SuspensionBody,
)
from gateway.chain.keys import Signed
from gateway.chain.ordered import (
    Approve,
    Breach,
    EpochOrder,
    Equivocate,
    Import,
    Propose,
    Respond,
    Revoke,
    Summon,
    Suspend,
    Transaction,
)
from gateway.chain.possession import HELD, ResponseBody, SummonsBody
from gateway.chain.tenure import EpochChangeBody, Revocation
from gateway.chain.verify import MOVED
from hub.auditing.report import short
from hub.consensus.base import DUPLICATE_VOTE, Misbehaviour
from hub.ledger.governance import voter_at
from hub.ledger.ledger import Committed

_VERBS: Final = {
    ADMIT: "admit",
    CHANGE: "change",
    REMOVE: "remove",
    APPOINT: "appoint",
    DISMISS: "dismiss",
}


class Teller:
    """Tells what records of one chain come to."""

    def __init__(self, genesis: Genesis) -> None:
        self._genesis = genesis

    def of_record(self, transaction: Transaction, committed: Committed) -> tuple[str, str] | None:
        """Return kind and text of the finding that an accepted record makes, None where it makes none."""
        match transaction:
            case EpochOrder(change):
                body = EpochChangeBody.decode(change.body)
                text = f"epoch {body.epoch} follows block {body.closes.epoch}/{body.closes.height}, leaving"
                text += f" {len(body.orphans)} orphans, for reason {body.reason}"
                return "epoch-change", text + (": it came from another chain" if body.reason == MOVED else "")
            case Revoke(signed):
                return "revocation", f"revoked: {Revocation.decode(signed.body).reason}"
            case Equivocate(first):
                header = Header.decode(first.body)
                where = f"block {header.epoch}/{header.height}"
                return "equivocation", f"{where} was signed twice, with different contents"
            case Import():
                return (
                    "import",
                    f"it comes over from chain {short(transaction.takeover)} with its keys and head",
                )
            case Propose() | Approve() | Suspend():
                return self._of_government(transaction, committed)
            case Summon() | Respond() | Breach():
                return self._of_custody(transaction, committed)
            case _:
                return None

    def of_misbehaviour(self, caught: Misbehaviour, committed: Committed) -> tuple[str, str]:
        """Return kind and text of the finding that a voter's crime makes."""
        member = voter_at(committed.roster(self._genesis).members, caught.address)
        who = f"voter {caught.address.hex()}, nobody's any more," if member is None else member.name
        what = "voted twice" if caught.kind == DUPLICATE_VOTE else "lied to light clients"
        lost = "" if member is None else f"; its power is {member.power} now"
        return "misbehaviour", f"{who} {what} at final block {caught.height}{lost}"

    def _of_government(
        self, transaction: Propose | Approve | Suspend, committed: Committed
    ) -> tuple[str, str]:
        match transaction:
            case Suspend(signed):
                said = SuspensionBody.decode(signed.body)
                return "suspension", f"{said.name} has lost its vote by the regulator's word: {said.reason}"
            case Propose(signed):
                proposed = ProposalBody.decode(signed.body)
                text = f"{self._name(committed, proposed.proposer)} proposes to {describe(proposed)}"
                text += f" ({short(transaction.hash)}): {proposed.reason}"
                return self._settled(transaction.hash, proposed.proposer, committed) or ("proposal", text)
            case Approve(signed):
                body = ApprovalBody.decode(signed.body)
                text = f"{self._name(committed, body.hub)} approves proposal {short(body.proposal)}"
                return self._settled(body.proposal, body.hub, committed) or ("approval", text)

    def _settled(self, proposal: bytes, hub: bytes, committed: Committed) -> tuple[str, str] | None:
        """Return what is to be told where this hub's approval was the one that put a proposal in force."""
        value = committed.tree.get(proposal_key(proposal))
        entry = None if value is None else ProposalEntry.decode(value)
        if entry is None or not entry.done or entry.approvals[-1] != hub:
            return None
        body = ProposalBody.decode(Signed.decode(entry.proposal).body)
        by = ", ".join(self._name(committed, each) for each in entry.approvals)
        return "change", f"{describe(body)} ({short(proposal)}) is in force, approved by {by}"

    def _of_custody(self, transaction: Summon | Respond | Breach, committed: Committed) -> tuple[str, str]:
        match transaction:
            case Summon(signed):
                said = SummonsBody.decode(signed.body)
                called = self._name(committed, CustodyBatch.decode(said.receipt.batch.body).hub)
                what = _promised(said.receipt.promise)
                return (
                    "summons",
                    f"{called} is called to account by {self._name(committed, said.hub)} for {what}",
                )
            case Respond(signed):
                answer = ResponseBody.decode(signed.body)
                says = "holds" if answer.says == HELD else "lacks"
                who = self._name(committed, answer.hub)
                return (
                    "response",
                    f"{who} answers summons {short(answer.summons)}: it {says} what it promised",
                )
            case Breach(receipt):
                who = self._name(committed, CustodyBatch.decode(receipt.batch.body).hub)
                why = "it signed that it lacks the body"
                if transaction.summons:
                    value = committed.tree.get(summons_key(transaction.summons))
                    is_answered = value is not None and any(SummonsEntry.decode(value).response)
                    why = (
                        "summoned, it said that it lacks it" if is_answered else "summoned, it did not answer"
                    )
                return "breach", f"{who} broke its promise of {_promised(receipt.promise)}: {why}"

    def _name(self, committed: Committed, hub: bytes) -> str:
        members = committed.roster(self._genesis).members
        return next((each.name for each in members if each.key == hub), f"hub {short(hub)}")


def describe(body: ProposalBody) -> str:
    """Return what a proposal is about: "admit hub-5 of agency fire with power 10"."""
    verb = _VERBS[body.action]
    if body.joining is not None:
        member = JoinBody.decode(body.joining.body)
        return f"{verb} {member.name} of agency {member.agency} with power {member.power}"
    if body.authority is not None:
        role = "regulator" if body.authority.role == 1 else "agency"
        return f"{verb} authority {body.authority.name} as {role}"
    return f"{verb} {'authority ' * (body.action == DISMISS)}{body.name}"


def _promised(promise: Promise) -> str:
    return f"block {promise.epoch}/{promise.height} of gateway {short(promise.gateway)}"
