"""How a federation is founded: statements that each agency signs at home, and the one genesis they come to.

Nobody founds it for the others. Everyone has the same files, assembles the same genesis from them, and compares
its hash with the others by a way of their own. A statement holds no secret.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from gateway.chain.errors import BadRecord
from gateway.chain.genesis import COMETBFT, Authority, Genesis, Hub, Takeover, Validator
from gateway.chain.governance import JoinBody, Joining, Member, founding_roster
from gateway.chain.keys import JOIN, NO_HASH, OFFICE, SUITE, Signed, SigningKey
from gateway.chain.record import Blob, Record
from gateway.chain.takeover import verify_takeover
from gateway.chain.voting import check_roster

EPOCH_CHANGES: Final = 3
EPOCH_WINDOW: Final = 30 * 86_400_000


@dataclass(frozen=True, slots=True)
class ClosedChain(Record):
    """A chain that ended: its genesis, and its hub's word that another one continues it."""

    genesis: Blob
    takeover: Takeover


def state_member(body: JoinBody, hub: SigningKey, validator: SigningKey | None) -> Joining:
    """Sign what a hub says of itself, with both its keys; a reader has no validator key."""
    data = body.encode()
    return Joining(SUITE, data, hub.sign(JOIN, data), validator.sign(JOIN, data) if validator else b"")


def state_authority(authority: Authority, key: SigningKey) -> Signed:
    """Sign what an authority says of itself."""
    return key.signed(OFFICE, authority.encode())


def read_authority(statement: Signed) -> Authority:
    """Return the authority that its key vouches for. Raises ChainError."""
    authority = Authority.decode(statement.body)
    statement.verify(OFFICE, authority.key)
    return authority


def assemble(
    name: str, custodians: int, joinings: Sequence[Joining], authorities: Sequence[Signed]
) -> Genesis:
    """Return the genesis that these statements come to, whatever their order: the same for everyone.

    Voters stand first, each by name; the latest statement's time is the chain's beginning. Takes no chain over,
    see `with_takeovers`. Raises ChainError naming the statement that is not well made, or the guard that fails.
    """
    stated = sorted((_member(each) for each in joinings), key=lambda each: (not each.power, each.name))
    genesis = Genesis(
        version=1,
        suite=SUITE,
        engine=COMETBFT,
        name=name,
        created=max((JoinBody.decode(each.body).time for each in joinings), default=0),
        authorities=tuple(sorted(map(read_authority, authorities), key=lambda each: each.name)),
        hubs=tuple(Hub(each.name, each.agency, each.key) for each in stated),
        validators=tuple(Validator(each.validator, each.power) for each in stated if each.power),
        epoch_changes=EPOCH_CHANGES,
        epoch_window=EPOCH_WINDOW,
        custodians=custodians,
        takeovers=(),
    )
    genesis.check("the genesis")
    check_roster(founding_roster(genesis))
    return genesis


def with_takeovers(genesis: Genesis, closed: Iterable[ClosedChain]) -> Genesis:
    """Return the genesis that takes closed chains over. Raises ChainError where one was closed for another."""
    takeovers = []
    for each in closed:
        old, takeover = Genesis.decode(each.genesis), each.takeover
        verify_takeover(takeover, genesis, old)
        takeovers.append(takeover)
    if len({each.genesis for each in takeovers}) != len(takeovers):
        raise BadRecord("a chain would be taken over twice")
    return replace(genesis, takeovers=tuple(sorted(takeovers, key=lambda each: each.genesis)))


def _member(joining: Joining) -> Member:
    body = JoinBody.decode(joining.body)
    if body.genesis != NO_HASH:
        raise BadRecord(
            f"{body.name} asks to join chain {body.genesis.hex()[:16]}, which is there already: to found another"
            " one its statement has to be made anew"
        )
    member = joining.verify(NO_HASH)
    if bool(member.validator) != bool(member.power):
        raise BadRecord(f"{body.name} states a validator key without power: a founder votes or reads")
    return member
