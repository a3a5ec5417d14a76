"""Members come and go by the votes of the others; the regulator takes a vote away; lies about votes do so too."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from agencies import Agency, Federation, wait_for
from test_four_hubs import Line

from gateway.chain.finality import Checkpoint
from gateway.chain.governance import SuspensionBody
from gateway.chain.keys import SUSPENSION
from gateway.chain.ordered import Suspend, encode_transaction


def command(hub: Agency, *words: object, code: int = 0) -> str:
    """What `tocsin-hub federation` says at a hub."""
    done = hub.command("federation", *words, "--config", hub.directory / "hub.toml")
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def members(hub: Agency) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in hub.answer("/v1/federation")["members"]}


def carry(proposer: Agency, voters: list[Agency], *words: object) -> None:
    """Propose something and have others approve it, each once its hub knows of it."""
    said = json.loads(command(proposer, "propose", *words, "--reason", "as agreed", "--json"))
    for hub in voters:
        wait_for(
            lambda hub=hub: (
                said["proposal"] in {each["hash"] for each in hub.answer("/v1/federation")["proposals"]}
            ),  # type: ignore[misc]
            f"the proposal at {hub.name}",
        )
        command(hub, "approve", said["proposal"][:8])


def test_a_fifth_hub_is_admitted_and_the_first_removed(federation: Federation, tmp_path: Path) -> None:
    first, *others = federation.hubs
    line = Line(federation, "flat", others[0])
    line.await_final(line.send())

    fifth = Agency(tmp_path, 5)
    peers = [f"--peer={hub.name}=127.0.0.1:{hub.p2p},{hub.url}" for hub in federation.hubs]
    who = ("--name", fifth.name, "--agency", fifth.agency, "--region", federation.fleet.region)
    where = ("--p2p", f"127.0.0.1:{fifth.p2p}", "--api", fifth.api, "--broker", fifth.broker)
    done = fifth.command("federation", "init", fifth.directory, *who, *where, *peers)
    assert done.returncode == 0, done.stderr
    genesis = ("--genesis", first.directory / "genesis.cbor", "--hash", federation.genesis.hash.hex())
    done = fifth.command("federation", "join", fifth.directory, *genesis, "--agency", fifth.agency)
    assert done.returncode == 0, done.stderr
    carry(first, others[:2], "admit", fifth.directory / f"{fifth.name}.member")
    wait_for(lambda: fifth.name in members(others[0]), "the fifth in the roster")
    federation.hubs.append(fifth)
    federation.start([fifth])
    line.await_final(line.send())

    carry(others[0], [*others[1:], fifth], "remove", first.name)
    wait_for(lambda: first.name not in members(others[0]), "the first out of the roster")
    line.await_final(line.send(), *others, fifth)
    first.stop()
    others[2].kill()  # of the four that are left, three are enough
    line.await_final(line.send(), others[0], others[1], fifth)
    federation.start([others[2]])
    line.await_final(line.send())

    remove = ("propose", "remove", fifth.name, "--reason", "too few", "--json")
    said = json.loads(command(others[0], *remove))["proposal"][:8]
    command(others[1], "approve", said)
    refused = command(others[2], "approve", said, code=1)
    assert "3 voters would be left" in refused, refused
    for hub in (*others, fifth):
        checkpoint = Checkpoint.decode(hub.rest.cbor("/v1/checkpoint"))
        assert checkpoint.verify(federation.genesis).height > 0
    federation.await_same()
    for hub in (*others, fifth):
        assert federation.audit(hub)["verdict"] == "ok"


@pytest.mark.soak
def test_the_regulator_suspends_a_member_and_the_others_restore_it(federation: Federation) -> None:
    *others, bad = federation.hubs
    line = Line(federation, "flat", others[0])
    line.await_final(line.send())
    regulator = federation.fleet.regulator
    now = time.time_ns() // 1_000_000
    body = SuspensionBody(
        federation.genesis.hash, regulator.public, bad.name, "its key was seen elsewhere", now
    )
    federation.order(Suspend(regulator.signed(SUSPENSION, body.encode())))
    wait_for(lambda: members(others[0])[bad.name]["power"] == 0, "the suspension")
    line.await_final(line.send())  # three of three
    status, answer = others[0].rest.post(
        "/v1/records", encode_transaction(Suspend(bad_suspension(federation, others[0])))
    )
    assert status == 422, answer

    command(bad, "rekey", "--power", 1)
    carry(others[0], others[1:3], "change", bad.directory / f"{bad.name}.member")
    wait_for(lambda: members(others[0])[bad.name]["power"] == 1, "the vote of the restored member")
    others[0].kill()
    line = Line(federation, "flat", others[1])
    line.await_final(line.send(), *others[1:], bad)


@pytest.mark.usefixtures("engine")
def test_a_reader_follows_verifies_and_witnesses_without_a_vote(
    tmp_path: Path,
) -> None:
    with Federation(tmp_path, 5, cables=False, readers=1) as federation:
        *voters, reader = federation.hubs
        line = Line(federation, "flat", voters[0])
        line.await_final(line.send())
        assert members(voters[0])[reader.name]["power"] == 0
        assert len(members(reader)) == 5
        keys = reader.rest.get("/v1/log/keys").decode()
        assert reader.name in keys  # its cosignature is one that others look for
        reader.kill()
        voters[3].kill()
        line.await_final(line.send(), *voters[:3])  # neither was needed
        federation.start([reader])
        line.await_final(line.send(), *voters[:3], reader)
        voters[2].kill()
        height = line.send()
        time.sleep(3)
        assert not federation.is_final(
            line.gateway.id, height, reader
        )  # and it counts for nobody who is away
        federation.start(voters[2:])
        line.await_final(height)
        federation.await_same()
        assert federation.audit(reader)["verdict"] == "ok"


def bad_suspension(federation: Federation, hub: Agency) -> Any:
    """A suspension that an authority signed who is not the regulator."""
    agency = federation.fleet.agency
    now = time.time_ns() // 1_000_000
    body = SuspensionBody(federation.genesis.hash, agency.public, hub.name, "rivalry", now)
    return agency.signed(SUSPENSION, body.encode())


def test_status_says_who_voted_and_what_stands_still(federation: Federation) -> None:
    one, _, *gone = federation.hubs
    line = Line(federation, "flat", one)
    line.await_final(line.send())
    shown = json.loads(command(one, "status", "--json"))
    assert sorted(each["name"] for each in shown["members"]) == [hub.name for hub in federation.hubs]
    for hub in gone:
        hub.kill()
    line.send()
    wait_for(lambda: one.status.get("ok") is False, "the hub's word that its chain stands still")
    said = command(one, "status", code=1)
    assert "hub-3" in said
