"""Attacks on a federation: on its votes, its seals, its takeovers and its promises. Every one of them must fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest
from chain import examples, federation, recorded
from chain.examples import AUTHORITY, GATEWAY, GID, HUB, REGULATOR_KEY, key
from chain.federation import FIFTH, FIFTH_VALIDATOR, HUB_KEYS, LATER, approve, join, propose, suspend
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chain.alarm import Alarm
from gateway.chain.block import Block, Header
from gateway.chain.cometbft import CometSeal, Known, in_order, verify_comet_seal
from gateway.chain.custody import issue_receipts
from gateway.chain.entries import GatewayEntry, contracts_key, gateway_key, roster_key
from gateway.chain.errors import (
    BadEvidence,
    BadProof,
    BadRecord,
    BadSegment,
    BadSignature,
    ChainError,
    UnknownSigner,
    WrongChain,
    WrongEpoch,
    WrongShape,
)
from gateway.chain.evidence import verify_evidence
from gateway.chain.finality import Checkpoint, Seal, verify_seal
from gateway.chain.genesis import (
    AGENCY,
    COMETBFT,
    REGULATOR,
    Authority,
    Genesis,
    Hub,
    Takeover,
    TakeoverBody,
    Validator,
)
from gateway.chain.governance import (
    ADMIT,
    APPOINT,
    CHANGE,
    DISMISS,
    LAST_VOTERS,
    MAX_MEMBERS,
    MEMBER_GOOD,
    REMOVE,
    Joining,
    Member,
    ProposalBody,
    Roster,
    SuspensionBody,
    founding_roster,
    strongest,
)
from gateway.chain.keys import EPOCH, PROPOSAL, SUITE, SUSPENSION, TAKEOVER, SigningKey
from gateway.chain.leaf import MISBEHAVE, SUSPEND
from gateway.chain.possession import possession_proof
from gateway.chain.takeover import verify_import, verify_takeover
from gateway.chain.tenure import EpochChange, EpochChangeBody, Position
from gateway.chain.verify import (
    check_successor,
    open_block,
    read_header,
    read_transition,
    verify_epoch_change,
)
from gateway.chain.voting import (
    MAX_OPEN,
    changed_roster,
    check_roster,
    check_voters,
    verify_proposal,
    verify_suspension,
)

DOC = federation.genesis()
OLD = federation.old().chain.genesis
MADE = federation.build()
FOUNDED = founding_roster(DOC)
THIEF = key("thief")


def body_of(**fields: object) -> ProposalBody:
    return ProposalBody.decode(propose(HUB, **fields).proposal.body)


def after(roster: Roster, **fields: object) -> Roster:
    return changed_roster(roster, body_of(**fields), DOC)


def joining(name: str = "hub-5", agency: str = "civil-defence", power: int = 10) -> Joining:
    return join(name, agency, FIFTH, FIFTH_VALIDATOR if power else None, power, DOC.hash)


def of_members(*members: tuple[str, int]) -> Roster:
    """A roster of members with these agencies and powers."""
    made = tuple(
        Member(
            f"m{i}", agency, key(f"m{i}").public, key(f"v{i}").public if power else b"", power, MEMBER_GOOD, 0
        )
        for i, (agency, power) in enumerate(members)
    )
    return replace(FOUNDED, members=made)


# --- votes -------------------------------------------------------------------------------------------------


def test_three_voters_are_too_few_to_go_on_with() -> None:
    with pytest.raises(BadRecord, match="3 voters"):
        after(FOUNDED, action=REMOVE, name="hub-4")
    with pytest.raises(BadRecord, match="3 voters"):
        after(FOUNDED, action=CHANGE, joining=join("hub-4", "water-works", FIFTH, None, 0, DOC.hash))


def test_no_agency_gets_a_third_of_the_power() -> None:
    for power in (6, 10, 1 << 40):  # 16, 20 and far more, of 46 and on
        with pytest.raises(BadRecord, match="third"):
            after(FOUNDED, action=ADMIT, joining=joining(agency="housing", power=power))
    assert after(FOUNDED, action=ADMIT, joining=joining(agency="housing", power=4)).power == 44


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 1 << 40)), max_size=12))
def test_whatever_votes_pass_can_bear_the_loss_of_any_agency(votes: list[tuple[str, int]]) -> None:
    total = sum(power for _, power in votes)
    try:
        check_voters(votes)
    except BadRecord:
        return
    assert sum(power > 0 for _, power in votes) >= 4
    for gone in "abcdef":
        assert 3 * sum(power for agency, power in votes if agency != gone) > 2 * total


def test_a_founding_without_four_voters_or_with_a_strong_agency_is_none() -> None:
    check_roster(FOUNDED)
    for short in (
        replace(FOUNDED, members=FOUNDED.members[:3]),
        replace(FOUNDED, members=tuple(replace(each, agency="city-fire") for each in FOUNDED.members)),
        founding_roster(OLD),
    ):
        with pytest.raises(BadRecord):
            check_roster(short)


def test_a_change_that_touches_no_vote_waits_for_no_voter() -> None:
    """With one member suspended three vote: a reader still comes and goes, and an authority."""
    three = FOUNDED.punished("hub-4", SUSPEND)
    assert len(three.validators) == 3
    appointed = after(three, action=APPOINT, authority=Authority("late", AGENCY, key("late").public))
    assert appointed.authorities[-1].name == "late"
    assert len(after(three, action=ADMIT, joining=joining(power=0)).members) == 5
    assert len(after(three, action=REMOVE, name="hub-4").members) == 3
    back = join("hub-4", "water-works", FIFTH, FIFTH_VALIDATOR, 10, DOC.hash)
    restored = after(three, action=CHANGE, joining=back).member("hub-4")
    assert (restored.standing, restored.power) == (MEMBER_GOOD, 10)
    with pytest.raises(BadRecord, match="3 voters"):
        after(three, action=CHANGE, joining=join("hub-3", "housing", FIFTH, FIFTH_VALIDATOR, 9, DOC.hash))


def test_punishment_leaves_three_voters_and_nobody_who_decides_alone() -> None:
    roster = FOUNDED.punished("hub-1", MISBEHAVE)
    assert (roster.member("hub-1").power, roster.version) == (0, 1)
    for name, standing in product(("hub-2", "hub-1"), (SUSPEND, MISBEHAVE)):
        roster = roster.punished(name, standing)
        assert roster.member(name).standing == standing
    assert len(roster.validators) == LAST_VOTERS
    assert roster.member("hub-2").has_voice
    assert not roster.member("hub-1").has_voice
    strong = of_members(("a", 30), *((each, 14) for each in "bcdef"))
    for name in ("m1", "m2", "m3", "m4", "m5"):
        strong = strong.punished(name, SUSPEND)
    most = strongest([(each.agency, each.power) for each in strong.members])[1]
    assert 3 * most <= 2 * strong.power


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from("abcdefg"), st.integers(0, 100)), min_size=4, max_size=9),
    st.lists(st.integers(0, 8), max_size=12),
)
def test_no_row_of_punishments_hands_the_chain_to_one_agency(
    members: list[tuple[str, int]], punished: list[int]
) -> None:
    try:
        check_voters(members)
    except BadRecord:
        return
    roster = of_members(*members)
    for each in punished:
        if each < len(members):
            roster = roster.punished(f"m{each}", SUSPEND)
        assert len(roster.validators) >= LAST_VOTERS
        assert 3 * strongest([(m.agency, m.power) for m in roster.members])[1] <= 2 * roster.power


def test_powers_of_all_members_together_stay_within_what_the_engine_counts() -> None:
    with pytest.raises(WrongShape):
        of_members(("a", (1 << 40) + 1)).encode()
    assert 64 * (1 << 40) < 1 << 60  # CometBFT's greatest total is 2^63 / 8


# --- who joins ---------------------------------------------------------------------------------------------


def test_nobody_joins_without_both_keys_own_word() -> None:
    whole = joining()
    for bad in (
        replace(whole, by_validator=bytes(64)),
        replace(whole, by_validator=b""),
        replace(whole, by_hub=whole.by_validator),
        replace(whole, by_hub=THIEF.sign("tocsin/join/v1", whole.body)),
        replace(whole, suite=2),
        join("hub-5", "civil-defence", FIFTH, FIFTH, 10, DOC.hash),
        join("hub-5", "civil-defence", FIFTH, None, 10, DOC.hash),
        replace(joining(power=0), by_validator=bytes(64)),
    ):
        with pytest.raises(ChainError):
            after(FOUNDED, action=ADMIT, joining=bad)


def test_a_word_for_another_chain_or_for_the_founding_admits_nobody() -> None:
    for chain in (OLD.hash, bytes(32)):
        with pytest.raises(BadRecord, match="not this one"):
            after(
                FOUNDED,
                action=ADMIT,
                joining=join("hub-5", "civil-defence", FIFTH, FIFTH_VALIDATOR, 1, chain),
            )


def test_a_name_or_a_key_of_a_member_is_not_anothers() -> None:
    with pytest.raises(BadRecord, match="there already"):
        after(FOUNDED, action=ADMIT, joining=joining(name="hub-2"))
    with pytest.raises(BadRecord, match="not there"):
        after(FOUNDED, action=CHANGE, joining=joining())
    for hub, validator in ((HUB_KEYS[1], FIFTH_VALIDATOR), (FIFTH, HUB_KEYS[1]), (FIFTH_VALIDATOR, HUB)):
        with pytest.raises(BadRecord, match="twice"):
            after(
                FOUNDED,
                action=ADMIT,
                joining=join("hub-5", "civil-defence", hub, validator, 4, DOC.hash),
            )


def test_a_validator_key_of_a_member_does_not_come_back_as_a_hub_key() -> None:
    """Nor as another's validator key; of a member that is gone it may, by the same two thirds."""
    five = after(FOUNDED, action=ADMIT, joining=joining())
    for hub, validator in ((FIFTH_VALIDATOR, key("x")), (key("y"), FIFTH_VALIDATOR)):
        again = join("hub-6", "archive", hub, validator, 4, DOC.hash)
        with pytest.raises(BadRecord, match="twice"):
            after(five, action=ADMIT, joining=again)
        gone = after(five, action=REMOVE, name="hub-5")
        assert after(gone, action=ADMIT, joining=again).member("hub-6").breaches == 0


def test_a_change_of_keys_keeps_what_a_member_has_broken() -> None:
    broken = FOUNDED.with_member(replace(FOUNDED.members[2], breaches=7))
    renewed = join("hub-3", "housing", FIFTH, FIFTH_VALIDATOR, 10, DOC.hash)
    assert after(broken, action=CHANGE, joining=renewed).member("hub-3").breaches == 7


def test_a_roster_does_not_grow_over_its_limit() -> None:
    full = of_members(*((f"a{i}", 1) for i in range(MAX_MEMBERS)))
    full.encode()
    with pytest.raises(BadRecord, match="64"):
        after(full, action=ADMIT, joining=joining(power=0))
    crowd = tuple(Authority(f"a{i}", AGENCY, key(f"a{i}").public) for i in range(63))
    many = replace(FOUNDED, authorities=(*crowd, FOUNDED.authorities[1]))
    with pytest.raises(BadRecord, match="64"):
        after(many, action=APPOINT, authority=Authority("one-more", AGENCY, THIEF.public))


def test_there_is_always_a_regulator_and_no_authority_twice() -> None:
    with pytest.raises(BadRecord, match="regulator"):
        after(FOUNDED, action=DISMISS, name="regulator")
    with pytest.raises(BadRecord, match="regulator"):
        after(FOUNDED, action=APPOINT, authority=Authority("regulator", AGENCY, THIEF.public))
    with pytest.raises(BadRecord, match="twice"):
        after(FOUNDED, action=APPOINT, authority=Authority("other", REGULATOR, AUTHORITY.public))
    with pytest.raises(BadRecord, match="no authority"):
        after(FOUNDED, action=DISMISS, name="hub-1")
    with pytest.raises(BadRecord, match="no member"):
        after(FOUNDED, action=REMOVE, name="regulator")


def test_a_proposal_says_what_its_action_is_about_and_nothing_else() -> None:
    office = Authority("late", AGENCY, THIEF.public)
    for fields in (
        {"action": ADMIT},
        {"action": ADMIT, "joining": joining(), "name": "hub-5"},
        {"action": APPOINT, "name": "late"},
        {"action": REMOVE, "authority": office},
        {"action": REMOVE, "joining": joining(), "name": "hub-1"},
        {"action": 6, "name": "hub-1"},
    ):
        with pytest.raises(WrongShape):
            body_of(**fields)


# --- who proposes, who suspends ----------------------------------------------------------------------------


def test_only_members_with_a_voice_propose() -> None:
    made = propose(HUB, action=REMOVE, name="hub-4").proposal
    verify_proposal(made, FOUNDED, DOC, LATER)
    silenced = FOUNDED.punished("hub-1", SUSPEND)
    with pytest.raises(BadRecord, match="lost its vote"):
        verify_proposal(made, silenced, DOC, LATER)
    for signer in (THIEF, AUTHORITY, REGULATOR_KEY, FIFTH):
        with pytest.raises(UnknownSigner):
            verify_proposal(propose(signer, action=REMOVE, name="hub-4").proposal, FOUNDED, DOC, LATER)
    with pytest.raises(BadSignature):
        verify_proposal(THIEF.signed(PROPOSAL, made.body), FOUNDED, DOC, LATER)
    with pytest.raises(BadSignature):
        verify_proposal(HUB.signed("tocsin/approval/v1", made.body), FOUNDED, DOC, LATER)
    with pytest.raises(WrongChain):
        verify_proposal(made, FOUNDED, replace(DOC, name="Another"), LATER)


def test_a_proposal_is_open_neither_after_its_end_nor_for_ever() -> None:
    body = body_of(action=REMOVE, name="hub-4")
    for not_after, time in ((LATER - 1, LATER), (LATER + MAX_OPEN + 1, LATER), (body.not_after, LATER * 2)):
        signed = HUB.signed(PROPOSAL, replace(body, not_after=not_after).encode())
        with pytest.raises(BadRecord, match="open until"):
            verify_proposal(signed, FOUNDED, DOC, time)


def test_only_the_regulator_in_office_suspends() -> None:
    verify_suspension(suspend(REGULATOR_KEY, "hub-4").suspension, FOUNDED, DOC)
    with pytest.raises(BadRecord, match="regulator"):
        verify_suspension(suspend(AUTHORITY, "hub-4").suspension, FOUNDED, DOC)
    for signer in (HUB, THIEF):
        with pytest.raises(UnknownSigner):
            verify_suspension(suspend(signer, "hub-4").suspension, FOUNDED, DOC)
    replaced = after(FOUNDED, action=APPOINT, authority=Authority("regulator", REGULATOR, THIEF.public))
    with pytest.raises(UnknownSigner):
        verify_suspension(suspend(REGULATOR_KEY, "hub-4").suspension, replaced, DOC)
    with pytest.raises(WrongChain):
        verify_suspension(suspend(REGULATOR_KEY, "hub-4").suspension, FOUNDED, replace(DOC, name="Another"))


def test_a_chain_of_one_hub_has_no_votes_to_decide_by_or_to_take() -> None:
    """Its hub could not be given back what the regulator took."""
    alone, roster = OLD, founding_roster(OLD)
    body = SuspensionBody(alone.hash, REGULATOR_KEY.public, "hub-1", "", LATER)
    with pytest.raises(BadRecord, match="one hub"):
        verify_suspension(REGULATOR_KEY.signed(SUSPENSION, body.encode()), roster, alone)
    proposal = replace(body_of(action=DISMISS, name="city-fire"), genesis=alone.hash)
    with pytest.raises(BadRecord, match="one hub"):
        verify_proposal(HUB.signed(PROPOSAL, proposal.encode()), roster, alone, LATER)


def test_two_approvals_of_one_member_or_for_two_proposals_are_told_apart_by_their_hashes() -> None:
    one, other = (propose(HUB, action=REMOVE, name=name) for name in ("hub-3", "hub-4"))
    assert approve(HUB, one).hash == approve(HUB, one).hash
    assert len({approve(each, made).hash for each in HUB_KEYS for made in (one, other)}) == 8


# --- seals -------------------------------------------------------------------------------------------------


def compact(seal: CometSeal) -> CometSeal:
    return replace(seal, steps=())


def refused(seal: CometSeal, known: Known | None, genesis: Genesis = DOC) -> None:
    with pytest.raises(ChainError):
        verify_seal(Seal(COMETBFT, seal.encode()), genesis, known)


def known_at(height: int) -> Known:
    known = verify_seal(recorded.seal(height), DOC).known
    assert known is not None
    return known


def test_whoever_knows_a_set_needs_no_steps_up_to_it() -> None:
    assert len(recorded.comet_seal(9).steps) == 2
    for before, height in product(range(2, 10), repeat=2):
        sealed = recorded.comet_seal(height)
        if before >= height:
            continue
        known = known_at(before)
        left = tuple(each for each in sealed.steps if each.header.height > before)
        short = Seal(COMETBFT, replace(sealed, steps=left).encode())
        whole = verify_seal(recorded.seal(height), DOC)
        assert verify_seal(short, DOC, known) == whole == verify_seal(recorded.seal(height), DOC, known)


def test_a_compact_seal_holds_for_nobody_who_does_not_know_its_set() -> None:
    sealed = compact(recorded.comet_seal(9))
    refused(sealed, None)
    refused(sealed, known_at(2))  # the sets after headers 3 and 6 are others
    refused(sealed, known_at(4))
    refused(sealed, Known(8, DOC.validators))
    strangers = tuple(Validator(key(f"stranger {i}").public, 10) for i in range(4))
    refused(sealed, Known(8, strangers))


def test_a_known_set_does_not_vouch_for_seals_of_before_it() -> None:
    later = known_at(9)
    refused(compact(recorded.comet_seal(7)), later)
    assert verify_seal(recorded.seal(7), DOC, later).height == 7
    assert verify_seal(recorded.seal(2), DOC, later).height == 2


def test_steps_above_what_is_known_are_neither_left_out_nor_out_of_order() -> None:
    sealed = recorded.comet_seal(9)
    first, second = sealed.steps
    refused(replace(sealed, steps=(second, first)), None)
    refused(replace(sealed, steps=(second, first)), known_at(2))
    refused(replace(sealed, steps=(first,)), known_at(2))
    refused(replace(sealed, steps=(second,)), known_at(2))
    refused(replace(sealed, steps=(first, second, second)), known_at(first.header.height))
    refused(replace(sealed, steps=(replace(second, validators=first.validators),)), known_at(5))


def test_two_of_four_votes_seal_nothing_whatever_is_known() -> None:
    sealed = compact(recorded.comet_seal(9))
    known = known_at(8)
    assert verify_comet_seal(sealed, DOC, known)[0] == sealed.header
    votes = sealed.commit.precommits
    for few in (votes[:1], votes[:2], (votes[0], votes[0], votes[0])):
        refused(replace(sealed, commit=replace(sealed.commit, precommits=few)), known)


def test_a_known_set_of_another_chain_seals_nothing_here() -> None:
    refused(compact(recorded.comet_seal(9)), known_at(8), replace(DOC, name="Another"))


def test_a_seal_verified_once_is_not_taken_for_another() -> None:
    """What is remembered is remembered for the very bytes, genesis and known set."""
    seal = recorded.seal(9)
    assert verify_seal(seal, DOC) == verify_seal(seal, DOC)
    data = bytearray(seal.data)
    data[-1] ^= 1
    with pytest.raises(ChainError):
        verify_seal(Seal(COMETBFT, bytes(data)), DOC)
    with pytest.raises(BadProof):
        Checkpoint(replace(MADE.chain.app, log_size=3), seal).verify(DOC)


def test_what_is_known_after_a_seal_is_in_the_engines_order() -> None:
    known = known_at(9)
    assert list(known.validators) == in_order(known.validators)
    assert known.height == 9


# --- the genesis of a federation ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda doc: {"validators": (*doc.validators, Validator(THIEF.public, 1))},
        lambda doc: {"validators": (Validator(HUB.public, 10), *doc.validators[1:])},
        lambda doc: {"hubs": (*doc.hubs, Hub("hub-5", "x", doc.validators[0].key))},
        lambda doc: {"hubs": doc.hubs[:3]},
        lambda doc: {"takeovers": doc.takeovers * 2},
        lambda doc: {"takeovers": (*doc.takeovers, replace(doc.takeovers[0], height=5))},
    ],
)
def test_a_genesis_with_shared_keys_spare_validators_or_a_chain_twice_is_none(
    change: Callable[[Genesis], dict[str, object]],
) -> None:
    with pytest.raises(WrongShape):
        replace(DOC, **change(DOC)).encode()  # type: ignore[arg-type]


# --- chains that go on in another --------------------------------------------------------------------------


def signed_takeover(signer: SigningKey, successor: bytes, **changes: object) -> Takeover:
    taken = replace(DOC.takeovers[0], **changes)  # type: ignore[arg-type]
    body = TakeoverBody(taken.genesis, taken.height, taken.app_hash, successor)
    return replace(taken, signature=signer.sign(TAKEOVER, body.encode()))


def test_only_the_closing_hub_hands_its_chain_over_and_to_one_successor() -> None:
    verify_takeover(DOC.takeovers[0], DOC, OLD)
    other = replace(DOC, name="Usurpers", takeovers=())
    for taken, doc in (
        (DOC.takeovers[0], other),
        (DOC.takeovers[0], replace(DOC, validators=DOC.validators[::-1])),
        (signed_takeover(HUB_KEYS[1], DOC.successor), DOC),
        (signed_takeover(AUTHORITY, DOC.successor), DOC),
        (replace(DOC.takeovers[0], height=3), DOC),
        (replace(DOC.takeovers[0], app_hash=bytes(32)), DOC),
        (signed_takeover(HUB, DOC.hash), DOC),
        (signed_takeover(HUB, DOC.successor, genesis=bytes(32)), DOC),
    ):
        with pytest.raises(ChainError):
            verify_takeover(taken, doc, OLD)


def test_a_chain_of_many_hubs_or_ones_own_is_not_taken_over() -> None:
    """A genesis cannot name its own hash, nor can two name each other: each would need the other's first."""
    mine = signed_takeover(HUB, DOC.successor, genesis=DOC.hash)
    with pytest.raises(BadRecord, match="embedded"):
        verify_takeover(mine, DOC, DOC)
    with pytest.raises(WrongChain):
        verify_takeover(DOC.takeovers[0], DOC, replace(OLD, name="Another"))
    assert replace(DOC, takeovers=(mine,)).hash != DOC.hash


def test_an_import_shows_the_entry_under_the_state_that_was_taken_over() -> None:
    record = MADE.imported
    entry, contracts = verify_import(record, DOC)
    assert (entry.head.height, contracts) == (1, None)
    before = federation.old().chain
    forged = before.state.put(gateway_key(GID), replace(entry, region="south").encode())
    for bad in (
        replace(record, takeover=bytes(32)),
        replace(record, takeover=DOC.hash),
        replace(record, gateway=bytes(16)),
        replace(record, entry=replace(record.entry, value=b"")),
        replace(record, entry=record.contracts),
        replace(record, entry=replace(record.entry, value=replace(entry, region="south").encode())),
        replace(record, contracts=record.entry),
        replace(record, contracts=replace(record.contracts, value=b"\x82\x01\x58\x20" + bytes(32))),
        replace(record, app=replace(record.app, state_root=forged.root)),
        replace(record, app=replace(record.app, log_size=0)),
    ):
        with pytest.raises(ChainError):
            verify_import(bad, DOC)
    assert before.shown(contracts_key(GID)) == record.contracts


def test_an_import_under_another_identity_than_its_first_keys_is_refused() -> None:
    """The closing hub signed for its state; it cannot put a gateway's name on keys of its own."""
    gateway = bytes(16)
    chain = examples.Chain(OLD)
    chain.put(gateway_key(gateway), MADE.imported.entry.value)
    record = replace(
        MADE.imported,
        app=chain.app,
        gateway=gateway,
        entry=chain.shown(gateway_key(gateway)),
        contracts=chain.shown(contracts_key(gateway)),
    )
    taken = replace(DOC.takeovers[0], app_hash=chain.app.hash)
    with pytest.raises(BadRecord, match="another gateway's keys"):
        verify_import(record, replace(DOC, takeovers=(taken,)))


def imported_entry(**changes: object) -> GatewayEntry:
    entry, _ = verify_import(MADE.imported, DOC)
    return replace(entry, standing=16, opened_at=0, seen=0, epochs=(), **changes)  # type: ignore[arg-type]


def moving(genesis: Genesis = DOC, signer: SigningKey = GATEWAY, **changes: object) -> EpochChange:
    body = replace(EpochChangeBody.decode(MADE.moved.body), genesis=genesis.hash, **changes).encode()  # type: ignore[arg-type]
    return EpochChange(SUITE, body, signer.sign(EPOCH, body), b"", b"")


def test_a_gateway_moves_once_from_its_old_head_and_publishes_nothing_before() -> None:
    entry, roster = imported_entry(), FOUNDED
    verify_epoch_change(moving(), DOC, roster, entry, LATER)
    with pytest.raises(WrongEpoch, match="moves"):
        check_successor(read_header(MADE.block.signed, DOC), entry)
    for bad in (
        moving(reason=1),
        moving(epoch=2),
        moving(closes=Position(1, 1, bytes(32))),
        moving(OLD),
        moving(signer=THIEF),
    ):
        with pytest.raises(ChainError):
            verify_epoch_change(bad, DOC, roster, entry, LATER)
    with pytest.raises(BadRecord, match="once"):
        verify_epoch_change(moving(), DOC, roster, replace(entry, standing=0), LATER)


def test_words_of_a_chain_not_taken_over_count_for_nothing() -> None:
    header, classes = Header.decode(MADE.block.header), [series.klass for series in examples.CATALOGUE]
    assert open_block(MADE.block, header, classes, DOC)
    alone = replace(DOC, takeovers=())
    with pytest.raises(BadSegment, match="another chain"):
        open_block(MADE.block, header, classes, alone)
    read_transition(MADE.alarm, DOC)
    for doc in (alone, replace(alone, takeovers=(replace(DOC.takeovers[0], genesis=bytes(32)),))):
        with pytest.raises(WrongChain):
            read_transition(MADE.alarm, doc)


def test_nothing_but_transitions_comes_over_from_the_old_chain() -> None:
    before = federation.old()
    with pytest.raises(WrongChain):
        read_header(before.block.signed, DOC)
    with pytest.raises(ChainError):
        verify_epoch_change(before.epoch_change, DOC, FOUNDED, imported_entry(), LATER)
    with pytest.raises(WrongChain):
        before.receipt.verify(DOC, FOUNDED)
    with pytest.raises(ChainError):
        before.finality.checkpoint.verify(DOC)


def test_the_example_of_a_moved_gateway_proves_where_it_came_from() -> None:
    found = verify_evidence(federation.moved_evidence(recorded.seal(9)).encode(), DOC.hash)
    assert found.enrolled is None
    assert found.imported is not None
    assert (found.imported.chain, found.imported.height) == (OLD.hash, 1)
    assert found.raised is not None
    assert found.raised.transition.genesis == OLD.hash


def test_evidence_of_an_import_without_it_or_with_an_enrolment_in_its_place_is_refused() -> None:
    file = federation.moved_evidence(recorded.seal(9))
    for origin in (b"", MADE.enrolment.encode(), federation.old().enrolment.encode(), b"\x80"):
        with pytest.raises(ChainError):
            verify_evidence(replace(file, standing=replace(file.standing, origin=origin)).encode(), DOC.hash)


def test_an_authority_is_named_by_the_genesis_or_the_roster_and_never_by_itself() -> None:
    seal = recorded.seal(9)
    named = verify_evidence(federation.newcomer_evidence(seal).encode(), DOC.hash).enrolled
    unnamed = verify_evidence(federation.newcomer_evidence(seal, roster=False).encode(), DOC.hash).enrolled
    assert named is not None
    assert unnamed is not None
    assert (named.authority, named.founding) == ("civil-defence", False)
    assert unnamed.authority == f"key {federation.NEW_AUTHORITY.public.hex()}"
    file = federation.newcomer_evidence(seal)
    assert file.standing.roster is not None
    lie = replace(MADE.roster, authorities=(Authority("regulator", 1, federation.NEW_AUTHORITY.public),))
    for shown in (
        replace(file.standing.roster, value=lie.encode()),
        replace(file.standing.roster, value=b""),
        file.standing.end,
    ):
        with pytest.raises(ChainError):
            verify_evidence(replace(file, standing=replace(file.standing, roster=shown)).encode(), DOC.hash)


def test_a_roster_that_the_state_does_not_have_is_no_part_of_evidence() -> None:
    example = examples.build()
    absent = replace(example.reading.standing, roster=example.chain.shown(roster_key()))
    with pytest.raises(BadEvidence):
        verify_evidence(replace(example.reading, standing=absent).encode(), example.chain.genesis.hash)


def test_a_compact_seal_is_no_part_of_evidence() -> None:
    short = Seal(COMETBFT, compact(recorded.comet_seal(9)).encode())
    with pytest.raises(ChainError):
        verify_evidence(federation.newcomer_evidence(short).encode(), DOC.hash)


# --- promises ----------------------------------------------------------------------------------------------


def test_a_receipt_by_a_hub_that_is_no_member_binds_nobody() -> None:
    promise = MADE.receipt.promise
    assert MADE.receipt.verify(DOC, FOUNDED)[1].name == "hub-1"
    for signer in (FIFTH, THIEF, GATEWAY):
        with pytest.raises(UnknownSigner):
            issue_receipts(signer, DOC.hash, [promise], LATER)[0].verify(DOC, FOUNDED)
    five = after(FOUNDED, action=ADMIT, joining=joining())
    mine = issue_receipts(FIFTH, DOC.hash, [promise], LATER)[0]
    assert mine.verify(DOC, five)[1].name == "hub-5"
    with pytest.raises(UnknownSigner):
        mine.verify(DOC, after(five, action=REMOVE, name="hub-5"))


def test_possession_is_shown_by_the_bytes_under_this_nonce_alone() -> None:
    block: Block = MADE.block
    shown = possession_proof(bytes(32), block.segments)
    wrong = [
        possession_proof(b"\1" * 32, block.segments),
        possession_proof(bytes(32), ()),
        possession_proof(bytes(32), (*block.segments, b"")),
        possession_proof(bytes(32), (block.segments[0] + b"\0",)),
        possession_proof(bytes(32), (block.segments[0][:-1],)),
        possession_proof(bytes(32), (b"", *block.segments)),
    ]
    assert len({shown, *wrong}) == 7
    halves = block.segments[0][:40], block.segments[0][40:]
    assert possession_proof(bytes(32), halves) != shown


def test_an_alarm_signed_again_under_the_new_chain_is_another_item() -> None:
    """So the two cannot be confused, and what was signed before the move is never rewritten."""
    again = replace(read_transition(MADE.alarm, DOC), genesis=DOC.hash)
    assert Alarm.sign(GATEWAY, again.encode()).hash != MADE.alarm.hash
