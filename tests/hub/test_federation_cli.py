"""`tocsin-hub federation` as operators use it: a stopped hub's status, a lone hub's, refusals in one line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from fedkit import Federation, SealingHub, agreed
from fleet import seeded
from hubs import Caller, Rest, RunningHub, eventually, free_port, new_fleet

from firmware_tools.authority import open_desk, state
from gateway.chain.genesis import REGULATOR, Authority, Genesis
from gateway.chain.governance import REMOVE, JoinBody, Joining, founding_roster
from gateway.chain.keys import JOIN, SUITE, Signed, SigningKey
from gateway.chain.ordered import Propose, decode_transaction
from gateway.chain.voting import verify_proposal, verify_suspension
from hub.cli import main
from hub.config import Identity, load_config, load_genesis
from hub.federation.changes import Proposer, approve
from hub.federation.founding import Place, agree, found, init, read_statements
from hub.service import Service


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments])


def commands(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)


@pytest.mark.parametrize("path", list(commands(main)), ids=" ".join)
def test_every_command_shows_an_example_that_names_it(path: tuple[str, ...]) -> None:
    result = call(*path, "--help")
    assert result.exit_code == 0
    assert "Example: tocsin-hub " + " ".join(path) in " ".join(result.stdout.split())


def test_the_manual_names_no_command_that_is_not_there() -> None:
    text = " ".join(call("help", "federation").stdout.split())
    known = {" ".join(path) for path in commands(main)}
    for words in re.findall(r"`(?:tocsin-hub )?(federation [a-z]+|backup|restore|run|status|audit)\b", text):
        assert words in known
    assert {f"federation {name}" for name in ("init", "join", "status", "rekey", "leave")} <= set(
        re.findall(r"federation [a-z]+", text)
    )


@pytest.fixture
def stopped(tmp_path: Path) -> tuple[Path, Federation]:
    """The directory of a stopped member, in whose ledger one proposal is in force and one is open."""
    federation = Federation()
    init(tmp_path, Place("hub-0", "agency-0", "north"))
    hub = SealingHub(tmp_path, federation)
    hub.order(*agreed(federation, federation.admit(0, 4)))
    hub.order(federation.remove(1, 3))
    hub.close()
    return tmp_path / "hub.toml", federation


def test_a_stopped_hubs_status_is_what_its_ledger_says(stopped: tuple[Path, Federation]) -> None:
    found = json.loads(call("federation", "status", "--config", stopped[0], "--json").stdout)
    assert not found["running"]
    assert found["roster_version"] == 1
    assert [each["name"] for each in found["members"]] == [f"hub-{place}" for place in range(5)]
    assert [each["self"] for each in found["members"]] == [True, False, False, False, False]
    assert all(each["voted"] is None for each in found["members"])
    states = {each["action"]: each for each in found["proposals"]}
    assert states["admit"]["state"] == "in force"
    assert states["remove"]["proposer"] == "hub-1"
    assert (states["remove"]["power"], states["remove"]["needed"]) == (10, 34)
    assert found["disk"]["ledger"] > 0


def test_a_killed_hub_is_known_to_be_stopped(stopped: tuple[Path, Federation]) -> None:
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    where = {"pid": int(gone.stdout), "api": "http://127.0.0.1:1", "broker": ""}
    (stopped[0].parent / "endpoints.json").write_text(json.dumps(where))
    result = call("federation", "status", "--config", stopped[0], "--json")
    assert result.exit_code == 0, result.output
    assert not json.loads(result.stdout)["running"]


def test_the_status_for_people_shows_what_is_missing(stopped: tuple[Path, Federation]) -> None:
    result = call("federation", "status", "--config", stopped[0])
    assert result.exit_code == 0
    assert "hub-0 (here)" in result.stdout
    assert "the hub does not run" in result.stdout


def test_a_change_needs_a_running_hub(stopped: tuple[Path, Federation]) -> None:
    result = call("federation", "leave", "--reason", "x", "--config", stopped[0])
    assert result.exit_code == 1
    assert "start it with tocsin-hub run" in result.stderr


@pytest.mark.parametrize("words", [("remove", "nobody"), ("dismiss", "nobody"), ("admit", "nobody")])
def test_nothing_is_proposed_about_nobody(stopped: tuple[Path, Federation], words: tuple[str, str]) -> None:
    config = stopped[0]
    result = call("federation", "propose", *words, "--reason", "gone", "--config", config)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    empty = call("federation", "propose", *words, "--reason", " ", "--config", config)
    assert (empty.exit_code, "say why" in empty.stderr) == (2, True)


def test_an_approval_names_one_open_proposal(stopped: tuple[Path, Federation]) -> None:
    for text in ("", "00", "ffffffff"):
        result = call("federation", "approve", text, "--config", stopped[0])
        assert result.exit_code == 1
        assert "names" in result.stderr


def test_a_hub_alone_has_no_federation(tmp_path: Path) -> None:
    with RunningHub(tmp_path / "hub") as hub:
        assert hub.rest.status_of("/v1/federation") == 404
        running = call("federation", "status", "--config", hub.directory / "hub.toml")
    stopped = call("federation", "status", "--config", tmp_path / "hub/hub.toml")
    assert (running.exit_code, stopped.exit_code) == (1, 1)
    assert "this hub is alone" in running.stderr
    assert "this hub is alone" in stopped.stderr


def test_new_keys_are_stated_for_the_federation_that_is_there(stopped: tuple[Path, Federation]) -> None:
    config, federation = stopped
    assert call("federation", "rekey", "--config", config).exit_code == 2
    result = call("federation", "rekey", "--hub", "--validator", "--config", config, "--json")
    assert result.exit_code == 0, result.output

    joining = Joining.decode(Path(json.loads(result.stdout)["statement"]).read_bytes())
    member = joining.verify(federation.genesis.hash)
    assert (member.name, member.agency, member.power) == ("hub-0", "agency-0", 10)
    assert member.key != federation.key(0).public


def test_what_a_member_proposes_is_what_the_chain_takes() -> None:
    federation = Federation()
    genesis = federation.genesis
    identity = Identity(federation.key(1), genesis, genesis.hubs[1])
    proposer = Proposer(identity, "dissolved", 1_000, days=2)
    proposed = proposer.remove("hub-3")
    transaction = decode_transaction(proposed.tx)
    assert isinstance(transaction, Propose)
    assert transaction.hash == proposed.hash

    body = verify_proposal(transaction.proposal, founding_roster(genesis), genesis, 1_000)
    assert (body.action, body.name, body.reason) == (REMOVE, "hub-3", "dissolved")
    assert body.not_after - body.time == 2 * 86_400_000
    assert decode_transaction(approve(identity, proposed.hash))


def test_a_regulator_signs_a_suspension(tmp_path: Path) -> None:

    state(tmp_path, "regulator", REGULATOR)
    key = bytes.fromhex((tmp_path / "authority.key").read_text())

    genesis = Federation().genesis
    genesis = replace(genesis, authorities=(Authority("regulator", REGULATOR, SigningKey(key).public),))
    (tmp_path / "genesis.cbor").write_bytes(genesis.encode())
    signed = open_desk(tmp_path).suspend("hub-2", "key stolen")
    assert isinstance(signed, Signed)
    assert verify_suspension(signed, founding_roster(genesis), genesis).name == "hub-2"


def founder(base: Path, program: Path) -> Path:
    """Return hub.toml of one of four founders, of whom no other was started, with this engine."""
    files = []
    for number in range(4):
        p2p = f"127.0.0.1:{free_port()}"
        place = Place(f"hub-{number}", f"agency-{number}", "north", p2p=p2p, api=0, broker=0)
        files.append(init(base / place.name, place))
    files.append(state(base / "desk", "regulator", REGULATOR))
    config = base / "hub-0/hub.toml"
    config.write_text(config.read_text().replace("[federation]", f'[federation]\nbinary = "{program}"'))
    genesis = found(base / "hub-0", read_statements(files), "North", 1)
    agree(base / "hub-0", genesis, genesis.hash.hex())
    return config


def test_a_founder_without_the_others_serves_and_says_why_its_chain_stands_still(
    tmp_path: Path, require: Callable[[str], Path]
) -> None:
    config = founder(tmp_path, require("cometbft"))
    with Service(load_config(config)) as service:
        rest = Rest(service.api_url)
        eventually(lambda: "voting hubs" in rest.json("/v1/status")["standing"], "its word")
        assert rest.status_of("/healthz") == 503
        assert rest.status_of("/v1/checkpoint") == 404
        assert rest.json("/v1/federation")["height"] == 0
        result = call("federation", "status", "--config", config)
        assert result.exit_code == 1
        assert "STANDS STILL: only 1 of 4" in " ".join(result.stdout.split())
        assert "the chain stands still" in result.stderr
        assert rest.post("/v1/federation/requests", b"nonsense")[0] == 422


def test_a_hub_whose_engine_never_comes_up_shows_alarms_all_the_same(tmp_path: Path) -> None:
    program = tmp_path / "cometbft"
    program.write_text("#!/bin/sh\necho 'ERROR: the port is taken'\nexit 1\n")
    program.chmod(0o700)
    config = founder(tmp_path, program)
    fleet = new_fleet()
    fleet.genesis = genesis_of(config)
    gateway = fleet.gateway("flat")
    with Service(load_config(config)) as service:
        rest = Rest(service.api_url)
        caller = Caller(fleet, gateway, service.broker_url)
        alarm = gateway.alarm()
        caller.say("alarm", alarm.encode())
        eventually(lambda: rest.json("/v1/alarms"), "the alarm")
        caller.say("birth", gateway.birth().encode(), retain=True)
        eventually(lambda: rest.json("/v1/refusals"), "the refusal of a gateway that is not enrolled")
        time.sleep(0.5)
        caller.close()
        assert not caller.heard, "a hub that does not know where the chain stands answers no birth"
        assert rest.json("/v1/alarms")[0]["hash"] == alarm.hash.hex()
        assert rest.status_of("/healthz") == 503
        eventually(
            lambda: "the port is taken" in rest.json("/v1/status")["standing"], "the engine's last words"
        )


def test_whoever_asks_to_be_admitted_is_shown_and_not_more_than_a_few(tmp_path: Path) -> None:
    program = tmp_path / "cometbft"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o700)
    config = founder(tmp_path, program)
    genesis = tmp_path / "hub-0/genesis.cbor"
    spoken = genesis_of(config).hash.hex()
    with Service(load_config(config)) as service:
        rest = Rest(service.api_url)
        for number in range(10, 27):
            new = tmp_path / f"hub-{number}"
            init(new, Place(new.name, new.name, "north"))
            words = ("--genesis", genesis, "--agency", new.name, "--hash", spoken, "--ask", service.api_url)
            result = call("federation", "join", new, *words)
            assert result.exit_code == (0 if number < 26 else 1), result.output
        shown = [each["name"] for each in rest.json("/v1/federation")["requests"]]
        assert shown == [f"hub-{number}" for number in range(10, 26)]
        before = rest.json("/v1/federation")["requests"][0]
        thief, body = (
            SigningKey(seeded("thief")),
            JoinBody.decode(Joining.decode(bytes.fromhex(before["statement"])).body),
        )
        assert before["key"] == body.key.hex()
        data = replace(body, key=thief.public, validator=b"", power=0).encode()
        taken = rest.post(
            "/v1/federation/requests", Joining(SUITE, data, thief.sign(JOIN, data), b"").encode()
        )
        assert (taken[0], rest.json("/v1/federation")["requests"][0]) == (422, before)
        other = tmp_path / "hub-1/hub-1.member"  # stated for a founding, not for this federation
        assert rest.post("/v1/federation/requests", other.read_bytes())[0] == 422


def test_a_hub_that_is_not_admitted_yet_is_told_so(tmp_path: Path) -> None:
    program = tmp_path / "cometbft"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o700)
    founded = founder(tmp_path, program)
    new = tmp_path / "harbour"
    init(new, Place("harbour", "port", "north", api=0, broker=0))
    genesis, spoken = founded.parent / "genesis.cbor", genesis_of(founded).hash.hex()
    words = ("--genesis", genesis, "--agency", "port", "--hash", spoken)
    assert call("federation", "join", new, *words).exit_code == 0
    config = new / "hub.toml"
    config.write_text(config.read_text().replace("[federation]", f'[federation]\nbinary = "{program}"'))
    with Service(load_config(config)) as service:
        shown = Rest(service.api_url).json("/v1/federation")
        assert "no member" in shown["waits"]
        assert not any(each["self"] for each in shown["members"])
        assert call("federation", "rekey", "--hub", "--config", config).exit_code == 1


def genesis_of(config: Path) -> Genesis:
    return load_genesis(config.parent / "genesis.cbor")
