"""Four real engines in one process: what is lost with an engine comes again, voters change, liars are caught."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from comets import Federation, until
from doublevotes import signed_twice
from fleet import seeded
from hubs import free_port

from gateway.chain.keys import SigningKey
from hub.consensus.base import DUPLICATE_VOTE, REFUSED, Misbehaviour, ValidatorUpdate
from hub.consensus.comet import Comet
from hub.consensus.comet_home import address, read_validator_key
from hub.ledger.ledger import Ledger
from hub.storage.store import Store


@pytest.fixture
def federation(tmp_path: Path, require: Callable[[str], Path]) -> Iterator[Federation]:
    made = Federation(tmp_path, str(require("cometbft")))
    made.start()
    yield made
    made.close()


def test_an_engine_killed_with_transactions_in_its_mempool_loses_none(federation: Federation) -> None:
    member, fleet = federation.members[0], federation.fleet
    gateway = fleet.gateway("a")
    federation.final(member.comet.submit(fleet.order_enrolment(gateway.enrol())))
    txs = [fleet.order_headers(gateway.block(1)) for _ in range(30)]
    identities = [member.comet.submit(tx) for tx in txs[:15]]
    pid = member.comet.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    identities += [member.comet.submit(tx) for tx in txs[15:]]
    federation.final(*identities)
    assert member.comet.restarts == 1
    assert member.comet.pid not in (None, pid)
    until(lambda: len({each.ledger.info() for each in federation.members}) == 1)
    events = member.events
    assert [event.block.height for event in events] == list(range(1, len(events) + 1))


def test_a_change_of_voters_is_in_every_seal_after_it_on_every_hub(federation: Federation) -> None:
    members, fleet, genesis = federation.members, federation.fleet, federation.genesis
    gone = genesis.validators[3].key
    gateway = fleet.gateway("a")
    at = members[0].height + 3
    federation.updates[at] = (ValidatorUpdate(gone, 3),)
    federation.updates[at + 1] = (ValidatorUpdate(gone, 0),)
    federation.final(members[0].comet.submit(fleet.order_enrolment(gateway.enrol())))
    for place in range(4):
        federation.final(members[place].comet.submit(fleet.order_headers(gateway.block(1))))
    until(lambda: all(gone not in member.comet.status().voters for member in members))
    for member in members:
        assert len(member.store.chain.steps()) == 2
        for event in member.events:
            assert event.checkpoint.verify(genesis).height == event.block.height
            kept = member.store.chain.checkpoint(event.block.height)
            assert kept is not None
            assert kept.verify(genesis).height == event.block.height


def test_what_the_machine_refuses_is_told_to_who_submitted_it_and_to_nobody_else(
    federation: Federation,
) -> None:
    first, second = federation.members[:2]
    until(lambda: first.events)
    stranger = federation.fleet.gateway("never enrolled")
    identity = first.comet.submit(federation.fleet.order_headers(stranger.block()))
    until(lambda: first.refused)
    assert [(each, verdict.code) for each, verdict in first.refused] == [(identity, REFUSED)]
    assert "UnknownGateway" in first.refused[0][1].error
    assert second.refused == []
    assert not first.has_final(identity)


def test_a_voter_that_signed_twice_at_a_height_is_named_in_a_final_block_on_every_hub(
    federation: Federation,
) -> None:
    members, fleet = federation.members, federation.fleet
    federation.final(members[0].comet.submit(fleet.order_enrolment(fleet.gateway("a").enrol())))
    liar = federation.genesis.validators[3].key
    key = read_validator_key(federation.settings(3).home / "config/priv_validator_key.json")
    evidence = signed_twice(members[0].comet.rpc, federation.genesis, key, 2)
    members[0].comet.rpc.call("broadcast_evidence", evidence=evidence)
    caught = Misbehaviour(address(liar), 2, DUPLICATE_VOTE)
    for member in members:
        until(lambda member=member: any(caught in event.block.misbehaviour for event in member.events))
    until(lambda: len({member.ledger.info().app_hash for member in members}) == 1)


def test_a_stranger_is_not_spoken_to(federation: Federation, tmp_path: Path) -> None:
    members, genesis = federation.members, federation.genesis
    until(lambda: all(len(member.comet.status().peers) == 3 for member in members))
    store, key = Store(tmp_path / "stranger.db"), SigningKey(seeded("stranger"))
    ledger = Ledger(genesis, store.chain)
    settings = replace(federation.settings(0), home=tmp_path / "stranger", port=free_port())
    stranger = Comet(ledger, store.chain, genesis, key, settings)
    stranger.start()
    before = members[1].height
    until(lambda: members[1].height > before)
    assert ledger.info().height == 0
    known = {address(each.public) for each in federation.keys}
    assert all(set(member.comet.status().peers) <= known for member in members)
    stranger.stop()
    store.close()
