"""Who belongs to a federation, and how its members change that: the roster, proposals, approvals, suspensions.

The roster stands in the state tree (key 6) once it differs from what the genesis says. A member's hub key is its
voice: it signs receipts, proposals and approvals, and is its identity among the engine's peers. The validator key
votes in the engine and nowhere else. What a change has to keep is `gateway.chain.voting`'s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, Final

from gateway.chain.errors import BadRecord, UnknownSigner, WrongShape
from gateway.chain.genesis import Authority, Genesis, Validator
from gateway.chain.keys import JOIN, PROPOSAL, Signed, digest, verify
from gateway.chain.leaf import MISBEHAVE, SUSPEND
from gateway.chain.record import (
    Blob,
    Hash,
    Label,
    Many,
    Maybe,
    Millis,
    Name,
    Octets,
    PublicKey,
    Range,
    Record,
    Signature,
    Suite,
    Text,
    UInt,
)

MEMBER_GOOD: Final = 0
LAST_VOTERS: Final = 3
MAX_MEMBERS: Final = 64

ADMIT: Final = 1
CHANGE: Final = 2
REMOVE: Final = 3
APPOINT: Final = 4
DISMISS: Final = 5

Power = Annotated[int, Range(0, 1 << 40)]
MaybeKey = Annotated[bytes, Octets(0, 32)]


@dataclass(frozen=True, slots=True)
class Member(Record):
    """A hub of the federation. `validator` has 32 bytes, or none: a reader, which has no power.

    `standing` is 0 while good, else the kind of leaf that took its vote (11 suspended, 12 caught double-signing).
    `breaches` counts promises of custody that it was shown to have broken.
    """

    name: Name
    agency: Name
    key: PublicKey
    validator: MaybeKey
    power: Power
    standing: Annotated[int, Range(MEMBER_GOOD, MISBEHAVE)]
    breaches: UInt

    def check(self, where: str) -> None:
        if len(self.validator) not in (0, 32) or (self.power and not self.validator):
            raise WrongShape(f"{where}: a vote needs a validator key of 32 bytes, a reader has neither")
        if self.standing not in (MEMBER_GOOD, SUSPEND, MISBEHAVE):
            raise WrongShape(f"{where}.standing: {self.standing} is no standing of a member")

    @property
    def has_voice(self) -> bool:
        """Whether it may propose and approve: not once its vote was taken."""
        return self.standing == MEMBER_GOOD or self.power > 0


@dataclass(frozen=True, slots=True)
class Roster(Record):
    """Everybody who has a say, as of `version` (0: the genesis' own). State key 6."""

    version: UInt
    authorities: Annotated[tuple[Authority, ...], Many(1, 64)]
    members: Annotated[tuple[Member, ...], Many(1, MAX_MEMBERS)]

    @property
    def validators(self) -> tuple[Validator, ...]:
        """The voters as the engine knows them, in the roster's order."""
        return tuple(Validator(each.validator, each.power) for each in self.members if each.power)

    @property
    def power(self) -> int:
        """The power of all voters together."""
        return sum(each.power for each in self.members)

    def hub(self, key: bytes) -> Member:
        """Return the member of a hub key. Raises UnknownSigner."""
        for each in self.members:
            if each.key == key:
                return each
        raise UnknownSigner(f"key {key.hex()[:16]} is of no hub that belongs to the federation")

    def member(self, name: str) -> Member:
        """Return the member of a name. Raises BadRecord."""
        for each in self.members:
            if each.name == name:
                return each
        raise BadRecord(f"there is no member {name!r}; members are {', '.join(m.name for m in self.members)}")

    def authority(self, key: bytes) -> Authority:
        """Return the authority of a key. Raises UnknownSigner."""
        for each in self.authorities:
            if each.key == key:
                return each
        raise UnknownSigner(f"key {key.hex()[:16]} is of no authority in office")

    def verify_authority(self, domain: str, key: bytes, signed: Signed) -> bytes:
        """Return a body signed by one of the authorities. Raises UnknownSigner or BadSignature."""
        return signed.verify(domain, self.authority(key).key)

    def with_member(self, changed: Member) -> Roster:
        """Return the next version, in which the member of this name is as given; new ones stand last."""
        known = any(each.name == changed.name for each in self.members)
        others = [changed if each.name == changed.name else each for each in self.members]
        return replace(self, version=self.version + 1, members=(*others, *(() if known else (changed,))))

    def punished(self, name: str, standing: int) -> Roster:
        """Return the next version, in which a member has lost its vote.

        It keeps its vote where fewer than three voters or an agency that decides alone would be left.
        """
        member = self.member(name)
        left = [(each.agency, each.power) for each in self.members if each.power and each.name != name]
        decides = 3 * strongest(left)[1] > 2 * sum(power for _, power in left)
        power = member.power if len(left) < LAST_VOTERS or decides else 0
        return self.with_member(replace(member, standing=standing, power=power))


@dataclass(frozen=True, slots=True)
class JoinBody(Record):
    """What a hub says of itself to become a member: genesis is all zero before there is one."""

    genesis: Hash
    name: Name
    agency: Name
    key: PublicKey
    validator: MaybeKey
    power: Power
    time: Millis


@dataclass(frozen=True, slots=True)
class Joining(Record):
    """A `JoinBody` signed by the hub key and, for a voter, by the validator key (domain `tocsin/join/v1`)."""

    suite: Suite
    body: Blob
    by_hub: Signature
    by_validator: Annotated[bytes, Octets(0, 64)]

    def verify(self, genesis_hash: bytes) -> Member:
        """Return the member that both keys vouch for. Raises WrongShape, BadRecord or BadSignature."""
        body = JoinBody.decode(self.body)
        if body.genesis != genesis_hash:
            raise BadRecord(f"{body.name} asks to join chain {body.genesis.hex()[:16]}, not this one")
        verify(body.key, JOIN, self.suite, self.body, self.by_hub)
        if bool(body.validator) != bool(self.by_validator):
            raise WrongShape(f"joining of {body.name}: a validator key signs it, and nothing else does")
        if body.validator:
            verify(body.validator, JOIN, self.suite, self.body, self.by_validator)
        if body.validator == body.key:
            raise BadRecord(f"{body.name} uses one key as hub and as validator: they have separate fates")
        member = Member(body.name, body.agency, body.key, body.validator, body.power, MEMBER_GOOD, 0)
        member.check(f"joining of {body.name}")
        return member


@dataclass(frozen=True, slots=True)
class ProposalBody(Record):
    """A change that a member proposes (domain `tocsin/proposal/v1`), until `not_after`.

    Action 1 admits a member, 2 gives the member of that name these keys and this power and clears its standing,
    3 removes the member `name`, 4 puts an authority in office or gives the one of that name this key and role,
    5 dismisses the authority `name`.
    """

    genesis: Hash
    proposer: PublicKey
    action: Annotated[int, Range(ADMIT, DISMISS)]
    joining: Annotated[Joining | None, Maybe()]
    authority: Annotated[Authority | None, Maybe()]
    name: Annotated[str, Text(64)]
    reason: Label
    time: Millis
    not_after: Millis

    def check(self, where: str) -> None:
        shown = (self.joining is not None, self.authority is not None, bool(self.name))
        if shown != (
            self.action in (ADMIT, CHANGE),
            self.action == APPOINT,
            self.action in (REMOVE, DISMISS),
        ):
            raise WrongShape(f"{where}: action {self.action} names exactly what it is about")


@dataclass(frozen=True, slots=True)
class ApprovalBody(Record):
    """A member's yes to a proposal, by its hash (domain `tocsin/approval/v1`)."""

    genesis: Hash
    hub: PublicKey
    proposal: Hash


@dataclass(frozen=True, slots=True)
class SuspensionBody(Record):
    """The regulator's end to a member's vote (domain `tocsin/suspension/v1`)."""

    genesis: Hash
    authority: PublicKey
    name: Name
    reason: Label
    time: Millis


@dataclass(frozen=True, slots=True)
class MisbehaviourRecord(Record):
    """What the engine proved of a voter: its address, the vote's height, 1 two votes or 2 a light-client attack."""

    address: Annotated[bytes, Octets(20, 20)]
    height: UInt
    kind: UInt


def proposal_hash(signed: Signed) -> bytes:
    """Return the identity of a proposal (32 bytes)."""
    return digest(PROPOSAL, signed.body)


@lru_cache(maxsize=16)
def founding_roster(genesis: Genesis) -> Roster:
    """Return the roster of version 0: validator i is hub i's, hubs beyond are readers."""
    votes = [(each.key, each.power) for each in genesis.validators]
    votes += [(b"", 0)] * (len(genesis.hubs) - len(votes))
    members = tuple(
        Member(hub.name, hub.agency, hub.key, validator, power, MEMBER_GOOD, 0)
        for hub, (validator, power) in zip(genesis.hubs, votes, strict=True)
    )
    return Roster(0, genesis.authorities, members)


def strongest(votes: Sequence[tuple[str, int]]) -> tuple[str, int]:
    """Return the agency of the most power, by (agency, power) of members; nobody and 0 where there are none."""
    agencies: Counter[str] = Counter()
    for agency, power in votes:
        agencies[agency] += power
    return max(agencies.items(), key=lambda each: (each[1], each[0]), default=("", 0))
