"""What happens to a federation is said in words that name who did what."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fedkit import Federation, SealingHub
from fleet import seeded

from gateway.chain.genesis import REGULATOR
from gateway.chain.keys import SigningKey
from gateway.chain.ordered import decode_transaction
from gateway.chain.possession import LACKED, SUMMONS_MS
from hub.consensus.base import DUPLICATE_VOTE, LIGHT_CLIENT_ATTACK, Misbehaviour
from hub.findings import Teller


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[SealingHub]:
    hub = SealingHub(tmp_path / "hub", Federation())
    hub.order()
    yield hub
    hub.close()


def told(hub: SealingHub, tx: bytes) -> tuple[str, str] | None:
    """Make a record final and return its finding."""
    (result,) = hub.order(tx).tx_results
    assert result.accepted == 1, result
    return Teller(hub.genesis).of_record(decode_transaction(tx), hub.ledger.committed)


def test_a_proposal_its_approvals_and_the_change_in_force_are_told(hub: SealingHub) -> None:
    four = hub.federation
    proposal = four.admit(0, 4)
    kind, text = told(hub, proposal) or ("", "")
    assert kind == "proposal"
    assert text.startswith("hub-0 proposes to admit hub-4 of agency agency-4 with power 10 (")
    assert text.endswith("): as agreed")
    kind, text = told(hub, four.approve(1, proposal)) or ("", "")
    assert (kind, text.split(" (")[0][:22]) == ("approval", "hub-1 approves proposa")
    kind, text = told(hub, four.approve(2, proposal)) or ("", "")
    assert kind == "change"
    assert text.startswith("admit hub-4 of agency agency-4 with power 10 (")
    assert text.endswith("is in force, approved by hub-0, hub-1, hub-2")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda f: f.remove(0, 1), "hub-0 proposes to remove hub-1 ("),
        (lambda f: f.change(2, 1), "hub-2 proposes to change hub-1 of agency agency-1 with power 10 ("),
        (lambda f: f.dismiss(0, "agency"), "hub-0 proposes to dismiss authority agency ("),
        (
            lambda f: f.appoint(0, "fire", SigningKey(seeded("fire")), REGULATOR),
            "hub-0 proposes to appoint authority fire as regulator (",
        ),
    ],
)
def test_every_kind_of_change_has_its_words(hub: SealingHub, make: object, text: str) -> None:
    found = told(hub, make(hub.federation))  # type: ignore[operator]
    assert found is not None
    assert found[1].startswith(text)


def test_suspensions_and_crimes_name_who_lost_what(hub: SealingHub) -> None:
    four, teller = hub.federation, Teller(hub.genesis)
    assert told(hub, four.suspend(3)) == (
        "suspension",
        "hub-3 has lost its vote by the regulator's word: under inquiry",
    )
    crimes = [
        Misbehaviour(four.address(2), 7, DUPLICATE_VOTE),
        Misbehaviour(bytes(20), 8, LIGHT_CLIENT_ATTACK),
    ]
    hub.order(caught=crimes)
    assert [teller.of_misbehaviour(each, hub.ledger.committed) for each in crimes] == [
        ("misbehaviour", "hub-2 voted twice at final block 7; its power is 10 now"),
        ("misbehaviour", f"voter {'00' * 20}, nobody's any more, lied to light clients at final block 8"),
    ]


def test_what_hubs_owe_each_other_is_told(hub: SealingHub) -> None:
    four = hub.federation
    receipt, other = four.receipt(1), four.receipt(1, 2)
    block = f"block 1/1 of gateway {'00' * 8}…"
    summons, second = four.summon(0, receipt), four.summon(0, other)
    assert told(hub, summons) == ("summons", f"hub-1 is called to account by hub-0 for {block}")
    told(hub, second)
    kind, text = told(hub, four.respond(1, second, LACKED)) or ("", "")
    assert kind == "response"
    assert text.startswith("hub-1 answers summons ")
    assert text.endswith("it lacks what it promised")
    found = told(hub, four.unanswered(other, second))
    assert found is not None
    assert found[1].endswith("summoned, it said that it lacks it")
    four.fleet.now += 2 * SUMMONS_MS
    assert told(hub, four.unanswered(receipt, summons)) == (
        "breach",
        f"hub-1 broke its promise of {block}: summoned, it did not answer",
    )
    third = four.receipt(2, 3)
    found = told(hub, four.lack(2, third))
    assert found is not None
    assert found[1].endswith("it signed that it lacks the body")


def test_records_that_need_no_attention_are_no_finding(hub: SealingHub) -> None:
    fleet = hub.federation.fleet
    assert told(hub, fleet.order_enrolment(fleet.gateway("a").enrol())) is None
