"""What a gateway remembers of its federation: voters that seals need not show again, and who is a member."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from testchain import AUTHORITY, HUB_KEYS, VOTERS, TestChain, make_federation, make_genesis

from gateway.chain.errors import BadProof, RevokedKey, UnknownSigner
from gateway.chain.governance import Member
from gateway.chain.leaf import SUSPEND
from gateway.region.federation import Federation
from gateway.region.window import Window
from gateway.storage.holdings import Holdings, Receipt
from gateway.storage.store import Store
from hub.outbox import compact


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "gateway.db")
    yield store
    store.close()


@pytest.fixture
def chain() -> TestChain:
    chain = TestChain(make_federation(4))
    chain.enrol(b"g" * 16, b"k" * 32)
    return chain


def newcomer(index: int = 4) -> Member:
    return Member(f"hub-{index}", f"agency-{index}", HUB_KEYS[index].public, VOTERS[index].public, 1, 0, 0)


def test_changes_of_the_voters_are_shown_once(store: Store, chain: TestChain) -> None:
    federation = Federation(chain.genesis, store)
    early = chain.view()
    chain.vote(VOTERS[1:5])
    seen = federation.verify(chain.checkpoint()).height
    chain.vote(VOTERS[2:6])
    compact = chain.checkpoint(seen=seen)
    with pytest.raises(BadProof, match="another validator set"):
        compact.verify(chain.genesis)
    assert federation.verify(compact).height > seen
    latest = chain.checkpoint(seen=chain.height)
    assert len(latest.encode()) < len(compact.encode()) < len(chain.checkpoint().encode())
    federation.verify(latest)
    Federation(chain.genesis, store).verify(latest)  # after a restart
    federation.verify(chain.checkpoint(early))  # of a hub that lags behind two changes


def test_a_hub_leaves_out_what_a_gateway_has_seen_and_nothing_else(store: Store, chain: TestChain) -> None:
    federation = Federation(chain.genesis, store)
    chain.vote(VOTERS[1:5])
    seen = federation.verify(chain.checkpoint()).height
    chain.vote(VOTERS[2:6])
    whole = chain.checkpoint()
    assert len(compact(whole, seen).encode()) < len(whole.encode())
    assert compact(whole, 0) == whole
    assert federation.verify(compact(whole, seen)) == federation.verify(whole)
    with pytest.raises(BadProof):
        compact(whole, seen).verify(chain.genesis)


def test_with_a_lost_store_the_whole_form_is_needed(tmp_path: Path, store: Store, chain: TestChain) -> None:
    chain.vote(VOTERS[1:5])
    Federation(chain.genesis, store).verify(chain.checkpoint())
    lost = Store(tmp_path / "other.db")
    fresh = Federation(chain.genesis, lost)
    with pytest.raises(BadProof):
        fresh.verify(chain.checkpoint(seen=chain.height))
    fresh.verify(chain.checkpoint())
    lost.close()


def test_a_seal_by_fewer_than_two_thirds_is_refused(store: Store, chain: TestChain) -> None:
    chain.voters = chain.voters[:2]  # who seal alone now
    with pytest.raises(BadProof):
        Federation(chain.genesis, store).verify(chain.checkpoint())


def test_a_member_is_known_from_the_roster_and_outlives_a_restart(store: Store, chain: TestChain) -> None:
    federation = Federation(chain.genesis, store)
    assert federation.member("hub-4") is None
    chain.put_roster(chain.roster.with_member(newcomer()))
    federation.learn(chain.checkpoint(), chain.prove(b"\x81\x06"))
    for each in (federation, Federation(chain.genesis, store)):
        assert each.speaker(HUB_KEYS[4].public).name == "hub-4"
        assert each.authority(AUTHORITY.public)


def test_the_roster_never_goes_back(store: Store, chain: TestChain) -> None:
    federation = Federation(chain.genesis, store)
    chain.put_roster(chain.roster.with_member(newcomer()))
    before, entry = chain.checkpoint(), chain.prove(b"\x81\x06")
    chain.put_roster(chain.roster.punished("hub-4", SUSPEND))
    federation.learn(chain.checkpoint(), chain.prove(b"\x81\x06"))
    federation.learn(before, entry)
    assert federation.roster == chain.roster
    with pytest.raises(RevokedKey):
        federation.speaker(HUB_KEYS[4].public)


def test_a_roster_from_beside_the_checkpoint_is_refused(store: Store, chain: TestChain) -> None:
    federation, before = Federation(chain.genesis, store), chain.checkpoint()
    chain.put_roster(chain.roster.with_member(newcomer()))
    with pytest.raises(BadProof):
        federation.learn(before, chain.prove(b"\x81\x06"))
    forged = replace(chain.prove(b"\x81\x06"), value=chain.roster.with_member(newcomer(5)).encode())
    with pytest.raises(BadProof):
        federation.learn(chain.checkpoint(), forged)
    assert federation.roster.version == 0


def test_who_is_suspended_or_gone_commands_nothing(store: Store, chain: TestChain) -> None:
    federation = Federation(chain.genesis, store)
    assert federation.authority(HUB_KEYS[1].public)
    roster = chain.roster.punished("hub-1", SUSPEND)
    members = tuple(each for each in roster.members if each.name != "hub-2")
    chain.put_roster(replace(roster, version=roster.version + 1, members=members))
    federation.learn(chain.checkpoint(), chain.prove(b"\x81\x06"))
    with pytest.raises(RevokedKey):
        federation.authority(HUB_KEYS[1].public)
    with pytest.raises(UnknownSigner):
        federation.authority(HUB_KEYS[2].public)


def test_receipts_count_for_as_long_as_their_hub_is_in_good_standing(store: Store, chain: TestChain) -> None:
    federation, holdings = Federation(chain.genesis, store), Holdings(store)
    with store.transaction() as run:
        sql = "INSERT INTO blocks (number, epoch, height, hash, header, signature, ended_ms, classes, transitions)"
        run(f"{sql} VALUES (1, 1, 1, x'01', x'', x'', 0, 1, 0)")
    rows = [
        Receipt(1, each.name, each.agency, 1, 1000, b"", each.key) for each in federation.roster.members[:2]
    ]
    holdings.add_receipts(rows, 1)
    assert holdings.prunable(2, 1, 1, 9) == [1]
    assert not store.is_wanted("hub-3", 1, 2)
    chain.put_roster(chain.roster.punished("hub-1", SUSPEND))
    federation.learn(chain.checkpoint(), chain.prove(b"\x81\x06"))
    assert holdings.prunable(2, 1, 1, 9) == []
    assert store.is_wanted("hub-3", 1, 2)
    assert holdings.prunable(2, 1, 1, 9, earlier=(1, 2)) == [1]  # an earlier chain's own rule


def test_a_block_that_a_suspended_hub_kept_is_sent_to_the_others(store: Store, chain: TestChain) -> None:
    federation, holdings = Federation(chain.genesis, store), Holdings(store)
    with store.transaction() as run:
        sql = "INSERT INTO blocks (number, epoch, height, hash, header, signature, ended_ms, classes, transitions)"
        for number in range(1, 1003):
            run(f"{sql} VALUES (?1, 1, ?1, ?1, x'', x'', 0, 1, 0)", (number,))
    keepers = federation.roster.members[:2]
    rows = [
        Receipt(i, each.name, each.agency, 1, 1000, b"", each.key) for each in keepers for i in range(1, 1001)
    ]
    holdings.add_receipts(rows, 1000)
    window = Window(store, "hub-3", 1 << 30, custodians=2)
    first = window.next(0.0)
    assert first is not None
    assert first.number == 1001
    chain.put_roster(chain.roster.punished("hub-1", SUSPEND))
    federation.learn(chain.checkpoint(), chain.prove(b"\x81\x06"))
    window.reset()
    first = Window(store, "hub-3", 1 << 30, custodians=2).next(0.0)
    assert first is not None
    assert first.number == 1


def test_receipts_of_one_agency_count_once(store: Store, chain: TestChain) -> None:
    Federation(chain.genesis, store)
    with store.transaction() as run:
        sql = "INSERT INTO blocks (number, epoch, height, hash, header, signature, ended_ms, classes, transitions)"
        run(f"{sql} VALUES (1, 1, 1, x'01', x'', x'', 0, 1, 0)")
    rows = [Receipt(1, f"hub-{i}", "agency", 1, 1000, b"", HUB_KEYS[i].public) for i in range(2)]
    Holdings(store).add_receipts(rows, 1)
    assert Holdings(store).prunable(2, 1, 1, 9) == []


def test_the_embedded_chain_has_one_voter_and_nothing_to_remember(store: Store) -> None:
    chain = TestChain(make_genesis())
    federation = Federation(chain.genesis, store)
    federation.verify(chain.checkpoint())
    assert store.get("voters") is None
    assert federation.custodians == 1
