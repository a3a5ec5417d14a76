"""FORMAT.md says what the code does: tables and examples are the code's own, limits and domains its constants."""

from __future__ import annotations

import re

import pytest
from chain import format_doc
from chain.record_strategies import record_types

from gateway.chain import (
    alarm,
    block,
    canonical,
    cometbft,
    entries,
    evidence,
    genesis,
    governance,
    keys,
    messages,
    neighbour,
    ordered,
    possession,
    reading,
    state,
    tenure,
    trees,
    voting,
)
from gateway.chain.record import Many, shape

PAGE = format_doc.FORMAT.read_text()


def limits() -> dict[str, list[int]]:
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", PAGE.split("## 14. Limits")[1].split("\n## ")[0], re.M)
    return {
        name.split(" as a whole")[0]: [int(n.replace(",", "")) for n in re.findall(r"\d[\d,]*", text)]
        for name, text in rows[1:]
    }


def high(record: type, name: str) -> int:
    codec = dict(shape(record))[name]
    assert isinstance(codec, Many)
    return codec.high


def test_the_page_is_as_the_code_renders_it() -> None:
    assert format_doc.render(PAGE) == PAGE, "run python tests/chain/format_doc.py"


def test_the_golden_vectors_are_as_the_code_makes_them() -> None:
    assert format_doc.VECTORS.read_text() == format_doc.vectors(), "run python tests/chain/format_doc.py"


@pytest.mark.parametrize("record", record_types(), ids=lambda each: each.__name__)
def test_every_record_has_one_table_in_the_page(record: type) -> None:
    assert PAGE.count(f"**{record.__name__}**: ") == 1


def test_every_domain_of_the_code_is_in_the_page_and_no_other() -> None:
    code = {
        value
        for value in vars(keys).values()
        if isinstance(value, str) and re.fullmatch(r"tocsin/[a-z-]+/v1", value)
    }
    assert set(re.findall(r"`(tocsin/[a-z-]+/v1)`", PAGE)) == code
    assert len(code) > 20


def test_no_domain_is_the_beginning_of_another_with_its_zero_byte() -> None:
    code = [
        value for name, value in vars(keys).items() if name.isupper() and str(value).startswith("tocsin/")
    ]
    assert len(set(code)) == len(code)
    assert not any(a != b and (b + "\0").startswith(a + "\0") for a in code for b in code)
    assert all("\0" not in each and each.isascii() for each in code)


def test_the_limits_are_those_of_the_code() -> None:
    said = limits()
    expected = {
        "a message": [canonical.MAX_MESSAGE],
        "a transaction": [ordered.MAX_TRANSACTION],
        "headers or alarms in one transaction": [ordered.MAX_BATCH],
        "a segment": [reading.MAX_SEGMENT, reading.MAX_LEAVES],
        "series in a catalogue": [reading.MAX_SERIES],
        "a contract document": [alarm.MAX_CONTRACT],
        "a transition": [
            alarm.MAX_TRANSITION,
            high(alarm.Transition, "values"),
            high(alarm.Transition, "faults"),
        ],
        "orphans in an epoch change": [tenure.MAX_ORPHANS],
        "validator-set changes in a seal": [cometbft.MAX_STEPS],
        "siblings in a state proof": [high(state.StateProof, "siblings")],
        "the time for which a proposal stays open": [90, voting.MAX_OPEN],
        "the time for an answer to a summons": [possession.SUMMONS_MS],
        "bodies asked for in one request": [possession.MAX_WANTED],
        "hashes in a log path": [trees.MAX_PATH],
        "an evidence file": [evidence.MAX_EVIDENCE],
        "a message to neighbours": [
            neighbour.MAX_DATAGRAM,
            high(neighbour.NeighbourState, "raised"),
            high(neighbour.NeighbourState, "echoes"),
        ],
        "gateways in a building": [high(neighbour.Building, "members")],
        "nesting of arrays": [canonical.MAX_DEPTH],
    }
    assert {name: said.get(name) for name in expected} == expected


def test_the_limits_that_records_carry_are_those_of_the_page() -> None:
    assert high(genesis.Genesis, "authorities") == high(genesis.Genesis, "hubs") == 64
    assert high(genesis.Genesis, "validators") == cometbft.MAX_VALIDATORS == 64
    assert high(governance.Roster, "members") == high(governance.Roster, "authorities") == 64
    assert limits()["chains taken over"] == [high(genesis.Genesis, "takeovers")]
    assert limits()["authorities, hubs, validators, members"] == [64]
    assert high(block.Header, "segments") == limits()["a block's segments"][0] == 3
    assert high(messages.Birth, "contracts") == high(tenure.ContractGrant, "documents") == 64
    assert limits()["a header"] == [2048]


def test_a_gateways_epoch_changes_have_room_in_its_entry() -> None:
    """What the genesis allows within the window must fit the entry that counts it."""
    codecs = dict(shape(genesis.Genesis))
    assert codecs["epoch_changes"].high <= high(entries.GatewayEntry, "epochs")  # type: ignore[attr-defined]


def test_every_kind_of_transaction_and_state_key_is_in_the_page() -> None:
    for kind, record in ordered.KINDS.items():
        assert f"| {kind} | {record.__name__} |" in PAGE
    for maker, arguments in (
        (entries.gateway_key, 1),
        (entries.key_key, 2),
        (entries.key_end_key, 2),
        (entries.ticket_key, 1),
        (entries.contracts_key, 1),
        (entries.proposal_key, 1),
        (entries.summons_key, 1),
    ):
        item = canonical.decode(maker(*[b"x"] * arguments))  # type: ignore[operator]
        assert isinstance(item, list)
        assert f"| [{item[0]}, " in PAGE
    assert f"| {canonical.decode(entries.roster_key())} |" in PAGE
