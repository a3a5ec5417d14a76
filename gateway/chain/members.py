"""Who belongs to a federation after it has changed: the roster under a sealed checkpoint, as a file.

Its form is an array of two: a `Checkpoint`, and state key 6 (`Entry`) with the proof of its presence or absence.
It says who belonged as of that checkpoint; a newer one may say otherwise.
"""

from __future__ import annotations

from typing import Final

from gateway.chain.canonical import decode, encode
from gateway.chain.entries import roster_key
from gateway.chain.errors import WrongShape
from gateway.chain.finality import Checkpoint, Entry, Sealed
from gateway.chain.genesis import Genesis
from gateway.chain.governance import Roster, founding_roster

MAX_MEMBERS_FILE: Final = 512 * 1024


def members_file(checkpoint: Checkpoint, roster: Entry) -> bytes:
    """Return the file of a checkpoint and the roster's entry under it."""
    return encode([checkpoint.to_item(), roster.to_item()])


def read_members(data: bytes, genesis: Genesis) -> tuple[Roster, Sealed]:
    """Return the roster that a file proves, and as of which seal. Raises ChainError."""
    item = decode(data, max_size=MAX_MEMBERS_FILE)
    if not isinstance(item, list) or len(item) != 2:
        raise WrongShape("a file of members holds a checkpoint and the roster's entry")
    checkpoint, entry = Checkpoint.from_item(item[0]), Entry.from_item(item[1])
    sealed = checkpoint.verify(genesis)
    value = entry.holds(checkpoint.app, roster_key())
    return founding_roster(genesis) if value is None else Roster.decode(value), sealed
