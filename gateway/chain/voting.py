"""What a federation may decide, and who may put it to the vote: the guards that no proposal gets past.

A proposal is in force in the final block whose approval lifts the power behind it above two thirds; the regulator
alone can suspend, nobody alone can admit. Invariants of every change of votes: four voters at least, and no agency
with a third of the power, so that the others go on without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from gateway.chain.errors import BadRecord
from gateway.chain.genesis import REGULATOR, Genesis
from gateway.chain.governance import (
    CHANGE,
    DISMISS,
    MAX_MEMBERS,
    ProposalBody,
    Roster,
    SuspensionBody,
    strongest,
)
from gateway.chain.keys import PROPOSAL, SUSPENSION, Signed

LEAST_VOTERS: Final = 4
MAX_OPEN: Final = 90 * 86_400_000
"""How long before its end a proposal may be made, in ms."""


def changed_roster(roster: Roster, body: ProposalBody, genesis: Genesis) -> Roster:
    """Return the roster after a proposal, once it keeps every guard. Raises BadRecord or BadSignature."""
    match body.action:
        case 1 | 2:
            assert body.joining is not None
            member = body.joining.verify(genesis.hash)
            known = any(each.name == member.name for each in roster.members)
            if known != (body.action == CHANGE):
                raise BadRecord(f"member {member.name!r} {'is there already' if known else 'is not there'}")
            breaches = roster.member(member.name).breaches if known else 0
            changed = roster.with_member(replace(member, breaches=breaches))
        case 3:
            gone = roster.member(body.name)
            members = tuple(each for each in roster.members if each is not gone)
            changed = replace(roster, version=roster.version + 1, members=members)
        case _:
            changed = _with_authority(roster, body)
    _check_names(changed)
    if _votes(changed) != _votes(roster):  # what was there may be short of voters since one was punished
        check_voters(_votes(changed))
    return changed


def _votes(roster: Roster) -> list[tuple[str, int]]:
    return sorted((each.agency, each.power) for each in roster.members if each.power)


def _with_authority(roster: Roster, body: ProposalBody) -> Roster:
    name = body.authority.name if body.authority else body.name
    others = tuple(each for each in roster.authorities if each.name != name)
    if body.action == DISMISS and len(others) == len(roster.authorities):
        raise BadRecord(f"there is no authority {name!r} to dismiss")
    authorities = (*others, *((body.authority,) if body.authority else ()))
    return replace(roster, version=roster.version + 1, authorities=authorities)


def check_roster(roster: Roster) -> None:
    """Check what a federation has to be at its founding. Raises BadRecord."""
    _check_names(roster)
    check_voters(_votes(roster))


def _check_names(roster: Roster) -> None:
    keys = [key for each in roster.members for key in (each.key, each.validator) if key]
    names = [each.name for each in roster.members]
    if len(set(keys)) != len(keys) or len(set(names)) != len(names):
        raise BadRecord("a key or a name would stand twice among the members")
    if len(roster.members) > MAX_MEMBERS or len(roster.authorities) > 64:
        raise BadRecord("there would be more than 64 members or authorities")
    if len({each.key for each in roster.authorities}) != len(roster.authorities):
        raise BadRecord("a key would stand twice among the authorities")
    if all(each.role != REGULATOR for each in roster.authorities):
        raise BadRecord("one of the authorities has to be the regulator")


def check_voters(votes: Sequence[tuple[str, int]]) -> None:
    """Check (agency, power) of all members: enough voters, and no agency that could stop the others."""
    voters, total = sum(power > 0 for _, power in votes), sum(power for _, power in votes)
    if voters < LEAST_VOTERS:
        raise BadRecord(f"{voters} voters would be left: at least {LEAST_VOTERS} can bear one that fails")
    agency, most = strongest(votes)
    if 3 * most >= total:
        raise BadRecord(f"agency {agency!r} would have {most} of {total}, a third or more of the power")


def verify_proposal(signed: Signed, roster: Roster, genesis: Genesis, time: int) -> ProposalBody:
    """Return a proposal that a member signed and that is open at `time` (Unix ms). Raises ChainError."""
    body = ProposalBody.decode(signed.body)
    genesis.require(body.genesis, "the proposal")
    _check_federation(roster)
    member = roster.hub(body.proposer)
    signed.verify(PROPOSAL, member.key)
    if not member.has_voice:
        raise BadRecord(f"member {member.name!r} has lost its vote and proposes nothing")
    if not time <= body.not_after <= time + MAX_OPEN:
        raise BadRecord(
            f"the proposal is open until {body.not_after}, it is {time}: at most 90 days are left"
        )
    return body


def _check_federation(roster: Roster) -> None:
    """Where nobody votes, nobody could undo what was done to a member."""
    if not roster.power:
        raise BadRecord("a chain of one hub has no votes, to decide by or to take: found a federation")


def verify_suspension(signed: Signed, roster: Roster, genesis: Genesis) -> SuspensionBody:
    """Return a suspension that the regulator signed. Raises ChainError."""
    body = SuspensionBody.decode(signed.body)
    genesis.require(body.genesis, "the suspension")
    _check_federation(roster)
    roster.verify_authority(SUSPENSION, body.authority, signed)
    if roster.authority(body.authority).role != REGULATOR:
        raise BadRecord("only the regulator suspends a member")
    return body
