"""A file of members is believed under a genesis alone; the engine's seals and the roster are the example's."""

from __future__ import annotations

from dataclasses import replace

import pytest
from chain import examples, federation, recorded

from gateway.chain.canonical import encode
from gateway.chain.entries import roster_key
from gateway.chain.errors import BadProof, ChainError, WrongShape
from gateway.chain.finality import Checkpoint
from gateway.chain.governance import founding_roster
from gateway.chain.members import MAX_MEMBERS_FILE, members_file, read_members

CHAIN = federation.build().chain
CHECKPOINT = Checkpoint(CHAIN.app, recorded.seal(9))
ENTRY = CHAIN.shown(roster_key())


def test_the_roster_is_read_as_of_its_seal() -> None:
    roster, sealed = read_members(members_file(CHECKPOINT, ENTRY), federation.genesis())
    assert roster == federation.build().roster
    assert [(each.name, each.power) for each in roster.members][3:] == [("hub-4", 0), ("hub-5", 10)]
    assert sealed.height == 9


def test_where_nothing_changed_the_founders_are_the_members() -> None:
    chain = replace(examples.build().chain)  # others stand on the one that is shared
    roster, _ = read_members(members_file(chain.seal(100), chain.shown(roster_key())), chain.genesis)
    assert roster == founding_roster(chain.genesis)


def test_another_roster_state_or_chain_is_refused() -> None:
    more = replace(federation.build().roster, version=99)
    other = replace(CHECKPOINT, app=replace(CHAIN.app, state_root=bytes(32)))
    for file in (
        members_file(CHECKPOINT, replace(ENTRY, value=more.encode())),
        members_file(CHECKPOINT, replace(ENTRY, value=b"")),
        members_file(other, ENTRY),
    ):
        with pytest.raises(BadProof):
            read_members(file, federation.genesis())
    with pytest.raises(ChainError):
        read_members(members_file(CHECKPOINT, ENTRY), replace(federation.genesis(), name="Another"))


@pytest.mark.parametrize(
    "data",
    [encode([]), encode([CHECKPOINT.to_item()]), encode([1, 2]), encode(7), b"", bytes(MAX_MEMBERS_FILE + 1)],
)
def test_a_file_of_another_form_is_refused(data: bytes) -> None:
    with pytest.raises(ChainError):
        read_members(data, federation.genesis())


def test_a_roster_that_does_not_fit_the_entry_is_no_roster() -> None:
    chain = examples.build().chain
    chain = replace(chain, state=chain.state.put(roster_key(), b"\x01"))
    with pytest.raises(WrongShape):
        read_members(members_file(chain.seal(100), chain.shown(roster_key())), chain.genesis)
