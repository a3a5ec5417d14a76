"""Changes of a federation as a member makes them: proposals, approvals, its own leaving, its new keys.

Pure: an identity and words go in, signed transactions come out. Whether they take effect is the chain's word
(`gateway.chain.governance`); bringing them there is the command's (`hub.federation.cli`).
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.chain.errors import ChainError
from gateway.chain.genesis import Authority
from gateway.chain.governance import (
    ADMIT,
    APPOINT,
    CHANGE,
    DISMISS,
    REMOVE,
    ApprovalBody,
    Joining,
    ProposalBody,
    proposal_hash,
)
from gateway.chain.keys import APPROVAL, PROPOSAL
from gateway.chain.ordered import Approve, Propose, encode_transaction
from hub.config import Identity
from hub.errors import ConfigError

DAY_MS = 86_400_000
ACTIONS = {ADMIT: "admit", CHANGE: "change", REMOVE: "remove", APPOINT: "appoint", DISMISS: "dismiss"}


@dataclass(frozen=True, slots=True)
class Proposed:
    """A proposal's identity, and the transaction that brings it before the others."""

    hash: bytes
    tx: bytes


@dataclass(frozen=True, slots=True)
class Proposer:
    """A member that proposes. Its proposal stays open for `days`; `reason` is on record for ever."""

    identity: Identity
    reason: str
    now_ms: int
    days: int = 14

    def member(self, action: int, joining: Joining) -> Proposed:
        """Propose to ADMIT or CHANGE a member as it states itself. Raises ConfigError."""
        return self._propose(action, joining=joining)

    def remove(self, name: str) -> Proposed:
        """Propose to remove a member. Raises ConfigError."""
        return self._propose(REMOVE, name=name)

    def appoint(self, authority: Authority) -> Proposed:
        """Propose to put an authority in office, or to give it another key or role. Raises ConfigError."""
        return self._propose(APPOINT, authority=authority)

    def dismiss(self, name: str) -> Proposed:
        """Propose to dismiss an authority. Raises ConfigError."""
        return self._propose(DISMISS, name=name)

    def _propose(
        self, action: int, joining: Joining | None = None, authority: Authority | None = None, name: str = ""
    ) -> Proposed:
        genesis, key, now = self.identity.genesis, self.identity.key, self.now_ms
        body = ProposalBody(
            genesis.hash,
            key.public,
            action,
            joining,
            authority,
            name,
            self.reason,
            now,
            now + self.days * DAY_MS,
        )
        try:
            body.check("the proposal")
            signed = key.signed(PROPOSAL, body.encode())
        except ChainError as error:
            raise ConfigError(f"this cannot be proposed: {error}") from error
        return Proposed(proposal_hash(signed), encode_transaction(Propose(signed)))


def approve(identity: Identity, proposal: bytes) -> bytes:
    """Return the transaction of a member's yes to a proposal, by its hash."""
    body = ApprovalBody(identity.genesis.hash, identity.key.public, proposal)
    return encode_transaction(Approve(identity.key.signed(APPROVAL, body.encode())))
