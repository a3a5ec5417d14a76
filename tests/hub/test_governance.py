"""Nobody alone changes who belongs to a federation, and no change leaves it unable to bear one that fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fedkit import POWER, Federation, SealingHub, agreed, tx_hash
from fleet import DAY_MS, flip, seeded
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chain.entries import ProposalEntry, SummonsEntry, proposal_key, summons_key
from gateway.chain.governance import ADMIT, Roster
from gateway.chain.keys import NO_HASH, SigningKey
from gateway.chain.leaf import APPROVE, MISBEHAVE, NO_GATEWAY, PROPOSE, SUSPEND, LogLeaf
from gateway.chain.possession import HELD, LACKED, SUMMONS_MS
from hub.consensus.base import (
    ALREADY_FINAL,
    DUPLICATE_VOTE,
    FinalBlock,
    Misbehaviour,
    Result,
    TxResult,
    ValidatorUpdate,
)
from hub.errors import ConsensusError
from hub.ledger.ledger import Ledger

MINUTE = 60_000


@pytest.fixture
def four() -> Federation:
    return Federation()


@pytest.fixture
def hub(tmp_path: Path, four: Federation) -> Iterator[SealingHub]:
    hub = SealingHub(tmp_path / "hub", four)
    hub.order()
    yield hub
    hub.close()


def refused(result: Result, place: int = -1) -> str:
    """The text of the error that refused a record."""
    found = result.tx_results[place]
    assert (found.code, found.accepted, len(found.refused)) == (1, 0, 1), found
    return found.error


def accepted(result: Result) -> bool:
    return all(each == TxResult(0, "", 1) for each in result.tx_results)


def update(place: int, power: int, turn: int = 0) -> ValidatorUpdate:
    return ValidatorUpdate(Federation.vote(place, turn).public, power)


def caught(place: int, height: int = 1, kind: int = DUPLICATE_VOTE) -> Misbehaviour:
    return Misbehaviour(Federation.address(place), height, kind)


# proposals and approvals


def test_a_change_is_in_force_with_more_than_two_thirds_of_the_power_and_not_before(
    hub: SealingHub, four: Federation
) -> None:
    proposal = four.admit(0, 4)
    assert hub.order(proposal).validator_updates == ()
    assert hub.order(four.approve(1, proposal)).validator_updates == ()
    assert hub.roster.version == 0
    result = hub.order(four.approve(2, proposal))
    assert result.validator_updates == (update(4, POWER),)
    assert [each.name for each in hub.roster.members] == [f"hub-{i}" for i in range(5)]
    assert hub.roster.version == 1
    value = hub.ledger.committed.tree.get(proposal_key(tx_hash(proposal)))
    assert value is not None
    assert ProposalEntry.decode(value).done == 1
    assert hub.ledger.index(LogLeaf(PROPOSE, NO_GATEWAY, 0, 0, tx_hash(proposal))) is not None
    approval = LogLeaf(APPROVE, NO_GATEWAY, 0, 0, tx_hash(four.approve(2, proposal)))
    assert hub.ledger.index(approval) is not None


def test_an_approval_counts_once_and_only_while_its_proposal_is_open(
    hub: SealingHub, four: Federation
) -> None:
    proposal = four.admit(0, 4)
    hub.order(proposal, four.approve(1, proposal))
    assert "counts already" in refused(hub.order(four.approve(0, proposal)))
    assert hub.order(four.approve(1, proposal)).tx_results == (TxResult(0, "", 0),)
    assert "no proposal" in refused(hub.order(four.approve(1, four.admit(0, 5))))
    four.fleet.now += 2 * DAY_MS
    assert "is open until" in refused(hub.order(four.approve(2, proposal)))
    renewed = four.admit(0, 4)
    hub.order(*agreed(four, renewed))
    assert "in force already" in refused(hub.order(four.approve(3, renewed)))


def test_strangers_and_removed_members_have_no_say(hub: SealingHub, four: Federation) -> None:
    assert refused(hub.order(four.admit(7, 7))).startswith("UnknownSigner")
    proposal = four.admit(0, 4)
    assert refused(hub.order(proposal, four.approve(7, proposal))).startswith("UnknownSigner")
    hub.order(*agreed(four, proposal))
    open_one = four.appoint(1, "coastguard", SigningKey(seeded("coastguard")))
    hub.order(open_one, four.approve(0, open_one), four.approve(2, open_one))
    hub.order(*agreed(four, four.remove(1, 0), 2, 3, 4))
    assert refused(hub.order(four.admit(0, 6))).startswith("UnknownSigner")
    assert all(each.name != "coastguard" for each in hub.roster.authorities), "hub-0's yes counts no more"
    hub.order(four.approve(3, open_one))
    assert any(each.name == "coastguard" for each in hub.roster.authorities)


def test_a_members_key_is_not_enough_to_speak_for_another(hub: SealingHub, four: Federation) -> None:
    proposal = four.admit(0, 4, genesis=seeded("another chain"))
    assert refused(hub.order(proposal)).startswith("BadRecord")
    joining = four.joining(4)
    forged = replace(joining, by_validator=four.vote(5).sign("tocsin/join/v1", joining.body))
    assert refused(hub.order(four.propose(0, ADMIT, joining=forged))).startswith("BadSignature")


def test_a_guard_refuses_the_last_approval_which_may_be_given_again_once_things_changed(
    hub: SealingHub, four: Federation
) -> None:
    removal = four.remove(0, 3)
    last = four.approve(2, removal)
    result = hub.order(removal, four.approve(1, removal), last)
    assert "3 voters would be left" in refused(result)
    assert result.validator_updates == ()
    hub.order(*agreed(four, four.admit(0, 4)))
    result = hub.order(last, four.approve(4, removal))
    assert accepted(result)
    assert result.validator_updates == (update(3, 0),)


def test_no_agency_gets_a_third_of_the_power(hub: SealingHub, four: Federation) -> None:
    proposal = four.admit(0, 4, agency="agency-0")
    assert "a third or more" in refused(hub.order(*agreed(four, proposal)))
    proposal = four.admit(0, 4, power=POWER * 3)
    assert "a third or more" in refused(hub.order(*agreed(four, proposal)))


def test_a_compromised_validator_key_is_replaced_in_one_final_block(
    hub: SealingHub, four: Federation
) -> None:
    result = hub.order(*agreed(four, four.change(0, 3, turn=1)))
    assert set(result.validator_updates) == {update(3, 0), update(3, POWER, turn=1)}
    assert hub.roster.member("hub-3").validator == four.vote(3, 1).public


def test_readers_follow_without_a_vote(tmp_path: Path) -> None:
    federation = Federation(readers=1)
    hub = SealingHub(tmp_path / "hub", federation)
    result = hub.order(*agreed(federation, federation.admit(0, 5, power=0)))
    assert result.validator_updates == ()
    assert [each.power for each in hub.roster.members] == [POWER] * 4 + [0, 0]
    proposal = federation.admit(0, 6, power=0)
    hub.order(proposal, federation.approve(4, proposal), federation.approve(5, proposal))
    assert len(hub.roster.members) == 6, "readers' approvals weigh nothing"
    hub.close()


def test_authorities_come_and_go_and_what_they_sign_counts_only_in_office(
    hub: SealingHub, four: Federation
) -> None:
    coastguard, fleet = SigningKey(seeded("coastguard")), four.fleet

    def enrolment(name: str) -> bytes:
        return fleet.order_enrolment(
            fleet.gateway(name).enrol(ticket=fleet.ticket(name, authority=coastguard))
        )

    assert refused(hub.order(enrolment("a"))).startswith("UnknownSigner")
    hub.order(*agreed(four, four.appoint(0, "coastguard", coastguard)))
    assert accepted(hub.order(enrolment("a")))
    hub.order(*agreed(four, four.dismiss(0, "coastguard")))
    assert refused(hub.order(enrolment("b"))).startswith("UnknownSigner")
    assert "regulator" in refused(hub.order(*agreed(four, four.dismiss(0, "regulator"))))


# suspension and misbehaviour


def test_the_regulator_alone_takes_a_vote_and_only_members_together_give_it_back(
    hub: SealingHub, four: Federation
) -> None:
    assert "only the regulator" in refused(hub.order(four.suspend(3, four.fleet.agency)))
    assert refused(hub.order(four.suspend(3, four.key(0)))).startswith("UnknownSigner")
    suspension = four.suspend(3)
    assert hub.order(suspension).validator_updates == (update(3, 0),)
    assert (hub.roster.member("hub-3").standing, hub.roster.member("hub-3").power) == (SUSPEND, 0)
    assert "has lost its vote" in refused(hub.order(four.admit(3, 4)))
    assert "no vote to lose" in refused(hub.order(replaced_reason(four, 3)))
    result = hub.order(*agreed(four, four.change(0, 3)))
    assert result.validator_updates == (update(3, POWER),)
    assert hub.roster.member("hub-3").standing == 0
    assert hub.order(suspension).validator_updates == (), "the same order does not suspend twice"


def replaced_reason(four: Federation, place: int) -> bytes:
    four.fleet.now += 1
    return four.suspend(place)


def test_three_voters_keep_their_votes_whatever_they_did(hub: SealingHub, four: Federation) -> None:
    assert hub.order(caught=[caught(3)]).validator_updates == (update(3, 0),)
    result = hub.order(four.suspend(2), caught=[caught(1, 2)])
    assert result.validator_updates == ()
    assert [each.standing for each in hub.roster.members] == [0, MISBEHAVE, SUSPEND, MISBEHAVE]
    assert [each.power for each in hub.roster.members] == [POWER, POWER, POWER, 0]


def test_a_double_signer_loses_its_vote_once_and_the_log_has_it(hub: SealingHub) -> None:
    before = hub.ledger.committed.app.log_size
    result = hub.order(caught=[caught(2, 5), caught(2, 5)])
    assert result.validator_updates == (update(2, 0),)
    assert hub.ledger.committed.app.log_size == before + 1
    after = hub.roster
    assert hub.order(caught=[caught(2, 5)]).validator_updates == ()
    assert hub.roster == after
    assert hub.order(caught=[caught(2, 6)]).validator_updates == ()
    assert hub.ledger.committed.app.log_size == before + 2
    record = next(each for each in hub.store.chain.records(NO_GATEWAY) if each.kind == MISBEHAVE)
    assert hub.store.chain.record(record.hash) == record


def test_a_strangers_crime_is_recorded_and_changes_nobody(hub: SealingHub) -> None:
    before = hub.ledger.committed.app
    assert hub.order(caught=[Misbehaviour(bytes(20), 5, DUPLICATE_VOTE)]).validator_updates == ()
    assert hub.ledger.committed.app.log_size == before.log_size + 1
    assert hub.ledger.committed.app.state_root == before.state_root


def test_changes_within_one_final_block_reach_the_engine_as_one(hub: SealingHub, four: Federation) -> None:
    come, go = four.admit(0, 4), four.remove(0, 4)
    assert hub.order(*agreed(four, come), *agreed(four, go, 1, 2, 3)).validator_updates == ()
    assert hub.roster.version == 2
    again, removal = four.admit(0, 4), four.remove(0, 3)
    result = hub.order(*agreed(four, again), *agreed(four, removal, 1, 2, 4), caught=[caught(3)])
    assert set(result.validator_updates) == {update(3, 0), update(4, POWER)}
    keys = [each.key for each in result.validator_updates]
    assert keys == sorted(set(keys))


# custody between hubs


def outcome(hub: SealingHub, summons: bytes) -> int:
    value = hub.ledger.committed.tree.get(summons_key(tx_hash(summons)))
    assert value is not None
    return SummonsEntry.decode(value).outcome


def breaches(hub: SealingHub) -> list[int]:
    return [each.breaches for each in hub.roster.members]


def test_a_signed_lack_breaks_a_promise_once(hub: SealingHub, four: Federation) -> None:
    receipt, other = four.receipt(1), four.receipt(1, 2)
    assert accepted(hub.order(four.lack(1, receipt)))
    assert breaches(hub) == [0, 1, 0, 0]
    assert hub.order(four.lack(1, receipt, time=four.fleet.now + 5)).tx_results == (TxResult(0, "", 0),)
    assert accepted(hub.order(four.lack(1, other)))
    assert breaches(hub) == [0, 2, 0, 0]
    assert all(each.power == POWER for each in hub.roster.members), "a breach takes no vote"


def test_a_lack_is_no_breach_unless_the_promise_bound_its_signer_then(
    hub: SealingHub, four: Federation
) -> None:
    receipt = four.receipt(1, keep_ms=MINUTE)
    given = four.fleet.now
    assert "another hub's" in refused(hub.order(four.lack(2, receipt)))
    assert "another hub's" in refused(hub.order(four.lack(1, receipt, says=HELD)))
    assert "binds from" in refused(hub.order(four.lack(1, receipt, time=given - 1)))
    assert "binds from" in refused(hub.order(four.lack(1, receipt, time=given + 2 * MINUTE)))
    forged = replace(receipt, promise=replace(receipt.promise, height=9))
    assert refused(hub.order(four.lack(1, forged))).startswith("BadProof")
    assert breaches(hub) == [0] * 4


def test_a_summons_unanswered_for_ten_minutes_is_a_breach(hub: SealingHub, four: Federation) -> None:
    receipt = four.receipt(1)
    summons = four.summon(0, receipt)
    assert accepted(hub.order(summons))
    due = four.fleet.now + SUMMONS_MS
    assert "too early" in refused(hub.order(four.unanswered(receipt, summons)))
    ahead = four.unanswered(receipt, summons, four.fleet.now + SUMMONS_MS + 1)
    assert "too early" in refused(hub.order(ahead)), "the final block's own time counts as well"
    four.fleet.now = due
    assert accepted(hub.order(four.unanswered(receipt, summons)))
    assert (outcome(hub, summons), breaches(hub)) == (3, [0, 1, 0, 0])
    assert "settled" in refused(hub.order(four.respond(1, summons)))


def test_a_summons_cannot_be_dated_back_so_that_nobody_has_time_to_answer(
    hub: SealingHub, four: Federation
) -> None:
    receipt = four.receipt(1)
    assert "too late" in refused(hub.order(four.summon(0, receipt, four.fleet.now - 5 * MINUTE)))
    assert "too early" in refused(hub.order(four.summon(0, receipt, four.fleet.now + 60 * MINUTE)))


def test_who_answers_that_it_holds_the_body_broke_nothing(hub: SealingHub, four: Federation) -> None:
    receipt = four.receipt(1)
    summons = four.summon(0, receipt)
    hub.order(summons)
    assert "another hub" in refused(hub.order(four.respond(2, summons)))
    assert "has a proof" in refused(hub.order(four.respond(1, summons, HELD, NO_HASH)))
    assert accepted(hub.order(four.respond(1, summons)))
    assert outcome(hub, summons) == HELD
    four.fleet.now += 2 * SUMMONS_MS
    assert "holds the body" in refused(hub.order(four.unanswered(receipt, summons)))


def test_who_answers_that_it_lacks_the_body_need_not_be_waited_for(hub: SealingHub, four: Federation) -> None:
    receipt = four.receipt(1)
    summons = four.summon(0, receipt)
    hub.order(summons, four.respond(1, summons, LACKED))
    assert accepted(hub.order(four.unanswered(receipt, summons)))
    assert (outcome(hub, summons), breaches(hub)) == (LACKED, [0, 1, 0, 0])


def test_one_summons_breaks_no_other_promise(hub: SealingHub, four: Federation) -> None:
    receipt, other = four.receipt(1), four.receipt(1, 2)
    summons = four.summon(0, receipt)
    hub.order(summons)
    four.fleet.now += 2 * SUMMONS_MS
    assert "another receipt" in refused(hub.order(four.unanswered(other, summons)))
    assert "no summons" in refused(hub.order(four.unanswered(other, four.summon(0, other))))


def test_a_member_that_has_lost_its_vote_summons_nobody(tmp_path: Path) -> None:
    five = Federation(5)
    hub = SealingHub(tmp_path / "hub", five)
    hub.order(five.suspend(4))
    assert "lost its vote" in refused(hub.order(five.summon(4, five.receipt(1))))
    assert accepted(hub.order(five.summon(3, five.receipt(1))))
    hub.close()


def test_a_promise_about_to_run_out_is_not_summoned(hub: SealingHub, four: Federation) -> None:
    assert "ran out" in refused(hub.order(four.summon(0, four.receipt(1, keep_ms=SUMMONS_MS // 2))))


def test_breaches_stay_with_a_member_that_is_given_another_key(hub: SealingHub, four: Federation) -> None:
    hub.order(four.lack(1, four.receipt(1)))
    hub.order(*agreed(four, four.change(0, 1, turn=1), 2, 3))
    assert hub.roster.member("hub-1").breaches == 1


# the ledger around it


def test_what_is_in_the_log_is_not_fit_to_wait(hub: SealingHub, four: Federation) -> None:
    proposal = four.admit(0, 4)
    assert hub.ledger.check(proposal) == TxResult(0, "", 0)
    hub.order(proposal)
    assert hub.ledger.check(proposal).code == ALREADY_FINAL


def test_a_final_block_finalized_again_gives_the_same(hub: SealingHub, four: Federation) -> None:
    txs = (*agreed(four, four.admit(0, 4)), four.suspend(1))
    block = FinalBlock(hub.height + 1, four.fleet.now, bytes(32), txs, (caught(2),))
    first = hub.ledger.finalize(block)
    hub.ledger.finalize(replace(block, txs=()))
    assert hub.ledger.finalize(block) == first


def test_a_genesis_that_no_federation_can_bear_is_refused(tmp_path: Path) -> None:
    small = Federation(3)
    with pytest.raises(ConsensusError, match="3 voters"):
        SealingHub(tmp_path / "three", small)
    greedy = Federation()
    greedy.fleet.genesis = replace(
        greedy.genesis, hubs=tuple(replace(each, agency="one") for each in greedy.genesis.hubs)
    )
    with pytest.raises(ConsensusError, match="a third or more"):
        SealingHub(tmp_path / "one", greedy)


def test_the_roster_of_a_ledger_taken_up_from_disk_is_the_same(hub: SealingHub, four: Federation) -> None:
    hub.order(*agreed(four, four.admit(0, 4)))
    assert Ledger(four.genesis, hub.store.chain).committed.roster(four.genesis) == hub.roster


ACTIONS = st.tuples(st.sampled_from(["admit", "remove", "suspend", "caught", "change"]), st.integers(0, 6))


@settings(max_examples=25, deadline=None)
@given(st.lists(ACTIONS, max_size=12))
def test_no_sequence_of_changes_leaves_fewer_than_three_voters(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, int]]
) -> None:
    four = Federation()
    hub = SealingHub(tmp_path_factory.mktemp("hub"), four)
    try:
        hub.order()
        for verb, place in actions:
            voters = [
                i for i in range(7) if any(m.name == f"hub-{i}" and m.power for m in hub.roster.members)
            ]
            others = [i for i in voters if i != voters[0]]
            match verb:
                case "suspend":
                    hub.order(replaced_reason(four, place))
                case "caught":
                    hub.order(caught=[caught(place, hub.height)])
                case _:
                    proposal = getattr(four, verb)(voters[0], place)
                    hub.order(*agreed(four, proposal, *others))
            assert len(hub.roster.validators) >= 3
            assert Roster.decode(hub.roster.encode()) == hub.roster
    finally:
        hub.close()


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SealingHub, list[bytes]]]:
    """A hub where something is open of every kind, and a record of every kind that could come next."""
    four = Federation()
    hub = SealingHub(tmp_path_factory.mktemp("spoken"), four)
    proposal, receipt = four.admit(0, 4), four.receipt(1)
    summons = four.summon(0, receipt)
    hub.order()
    hub.order(proposal, summons)
    txs = [
        *(four.change(0, 1, turn=1), four.remove(0, 1), four.dismiss(0, "agency")),
        *(four.appoint(0, "fire", SigningKey(seeded("fire"))), four.approve(1, proposal)),
        *(four.suspend(3), four.summon(2, four.receipt(3, 3)), four.respond(1, summons)),
        *(four.lack(1, receipt), four.unanswered(receipt, summons, four.fleet.now + SUMMONS_MS)),
    ]
    yield hub, txs
    hub.close()


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 9), st.integers(0, 1 << 16), st.integers(0, 1 << 16))
def test_no_damaged_record_brings_the_ledger_down_or_changes_anything(
    spoken: tuple[SealingHub, list[bytes]], which: int, bit: int, second: int
) -> None:
    hub, txs = spoken
    tx = flip(flip(txs[which], bit), second)
    before = hub.ledger.committed
    hub.ledger.check(tx)
    result = hub.ledger.finalize(FinalBlock(hub.height + 1, hub.federation.fleet.now, bytes(32), (tx,)))
    if tx != txs[which] and not result.tx_results[0].accepted:
        assert result.app == before.app
        assert result.tx_results[0].error.split(":")[0].isidentifier()
    elif tx != txs[which]:
        assert which in (6, 8, 9), "only a transaction's own time and suite are under no signature"
