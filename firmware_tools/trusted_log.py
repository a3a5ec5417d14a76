"""A log that somebody trusts: its name, whose signatures count, and for how many votes.

It follows from a genesis, or, after members have come and gone, from a genesis and a file of members
(`/v1/log/members` of any hub), which needs no trust of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from firmware_tools.errors import BadFile
from firmware_tools.files import read_file
from gateway.chain.cometbft import chain_id
from gateway.chain.errors import BadSignature, ChainError
from gateway.chain.finality import Sealed
from gateway.chain.genesis import EMBEDDED, Genesis, read_trust
from gateway.chain.governance import Member, founding_roster
from gateway.chain.members import MAX_MEMBERS_FILE, read_members
from gateway.chain.notes import Note, NoteKey, Signer, hub_key, log_key


@dataclass(frozen=True, slots=True)
class TrustedLog:
    """A log with the hubs that may sign it. `as_of` is None where the members are the genesis' own."""

    genesis: Genesis
    members: tuple[Member, ...]
    as_of: Sealed | None = None

    @classmethod
    def of(cls, genesis: Genesis, members: bytes | None = None) -> TrustedLog:
        """Return the log of a chain, with its members by a file of them. Raises ChainError."""
        if members is None:
            return cls(genesis, founding_roster(genesis).members)
        roster, sealed = read_members(members, genesis)
        return cls(genesis, roster.members, sealed)

    @property
    def origin(self) -> str:
        """The log's name."""
        return chain_id(self.genesis.hash)

    @property
    def keys(self) -> tuple[NoteKey, ...]:
        """The keys under which hubs sign as the log, and as witnesses of each other."""
        origin = self.origin
        return tuple(
            key for each in self.members for key in (log_key(origin, each.key), hub_key(origin, each))
        )

    def member(self, public: bytes) -> Member | None:
        """Return the member of a hub key."""
        return next((each for each in self.members if each.key == public), None)

    def votes(self, signers: tuple[Signer, ...]) -> tuple[int, int]:
        """Return how many votes are behind these signatures, and of how many. A hub alone has the one vote."""
        publics = {each.key.public for each in signers}
        alone = self.genesis.engine == EMBEDDED
        powers = {each.key: 1 if alone else each.power for each in self.members}
        return sum(power for key, power in powers.items() if key in publics), sum(powers.values())

    def check(self, note: Note) -> None:
        """Check that hubs with more than two thirds of the votes signed a note. Raises BadSignature."""
        behind, all_ = self.votes(note.verify(self.keys))
        if 3 * behind <= 2 * all_:
            raise BadSignature(f"only {behind} of {all_} votes are behind this checkpoint")


def load_log(trust: Path, members: Path | None = None) -> TrustedLog:
    """Return the log of a genesis file, and a file of members. Raises BadFile."""
    try:
        _, genesis = read_trust(read_file(trust, MAX_MEMBERS_FILE))
    except ChainError as error:
        raise BadFile(f"{trust}: {error}") from error
    if genesis is None:
        raise BadFile(f"{trust} is a hash: who signs a log, only the genesis itself says")
    try:
        return TrustedLog.of(genesis, None if members is None else read_file(members, MAX_MEMBERS_FILE))
    except ChainError as error:
        raise BadFile(f"{members}: {error}") from error
