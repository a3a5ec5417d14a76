"""The engine's home: what is written anew, and what never is."""

from __future__ import annotations

import json
import subprocess
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from comets import federal
from fleet import Fleet, seeded
from hubs import eventually

from gateway.chain.cometbft import chain_id
from gateway.chain.genesis import Genesis, Validator
from gateway.chain.keys import SigningKey
from hub.consensus.comet import Comet
from hub.consensus.comet_home import (
    CometSettings,
    Peer,
    StateSync,
    Timeouts,
    address,
    engine_genesis,
    make_validator_key,
    read_validator_key,
    render,
    write_home,
)
from hub.errors import ConsensusError
from hub.ledger.ledger import Ledger
from hub.storage.store import Store

KEY = SigningKey(seeded("hub", 0))
OTHER = SigningKey(seeded("hub", 1))


def a_genesis() -> Genesis:
    keys = [SigningKey(seeded("hub", place)) for place in range(4)]
    voters = [Validator(seeded("voter", place), 10) for place in range(4)]
    fleet = Fleet()
    return federal(fleet.genesis, keys, voters, fleet.genesis.created + 7)


def files(home: Path) -> dict[str, bytes]:
    return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}


def test_a_home_is_the_same_each_time_it_is_written(tmp_path: Path) -> None:
    settings = CometSettings(tmp_path / "comet")
    public = write_home(settings, a_genesis(), KEY)
    before = files(settings.home)
    assert write_home(settings, a_genesis(), KEY) == public
    assert files(settings.home) == before
    assert sorted(before) == [
        "config/config.toml",
        "config/genesis.json",
        "config/node_key.json",
        "config/priv_validator_key.json",
        "data/priv_validator_state.json",
    ]


def test_keys_are_their_owners_alone_and_the_validators_key_is_never_written_over(tmp_path: Path) -> None:
    home = tmp_path / "comet"
    public = make_validator_key(home)
    key_file = home / "config/priv_validator_key.json"
    assert read_validator_key(key_file).public == public == make_validator_key(home)
    state_file = home / "data/priv_validator_state.json"
    state_file.write_text('{"height": "7", "round": 1, "step": 3}')
    write_home(CometSettings(home), a_genesis(), KEY)
    assert json.loads(state_file.read_text())["height"] == "7"
    modes = {path.stat().st_mode & 0o777 for path in home.rglob("*.json")}
    assert modes == {0o600, state_file.stat().st_mode & 0o777}
    assert home.stat().st_mode & 0o777 == 0o700


def test_a_key_that_lost_its_state_is_not_used_because_it_could_sign_twice(tmp_path: Path) -> None:
    make_validator_key(tmp_path)
    (tmp_path / "data/priv_validator_state.json").unlink()
    with pytest.raises(ConsensusError, match="sign twice"):
        make_validator_key(tmp_path)


@pytest.mark.parametrize("damage", ["", "{}", '{"priv_key": {"value": "AAAA"}}', '{"priv_key": 7}'])
def test_a_damaged_validators_key_is_named(tmp_path: Path, damage: str) -> None:
    make_validator_key(tmp_path)
    (tmp_path / "config/priv_validator_key.json").write_text(damage)
    with pytest.raises(ConsensusError, match="no validator's key"):
        make_validator_key(tmp_path)


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "comet").write_text("a file")
    with pytest.raises(ConsensusError, match="cannot be written"):
        write_home(CometSettings(tmp_path / "comet"), a_genesis(), KEY)


def test_the_engines_genesis_follows_from_ours() -> None:
    genesis = a_genesis()
    document = json.loads(engine_genesis(genesis))
    assert document["chain_id"] == chain_id(genesis.hash)
    assert document["app_state"] == {"genesis": genesis.hash.hex()}
    assert document["genesis_time"].endswith(".007Z")
    named = [(bytes.fromhex(each["address"]), int(each["power"])) for each in document["validators"]]
    assert sorted(named) == sorted((address(each.key), each.power) for each in genesis.validators)
    assert engine_genesis(replace(genesis, name="another")) != engine_genesis(genesis)


def test_the_configuration_opens_the_peers_port_and_nothing_else() -> None:
    peers = (Peer(OTHER.public, "hub-2.example:26656"),)
    settings = CometSettings(Path("/nowhere"), "0.0.0.0", 26656, peers, interval=12.5)
    config = tomllib.loads(render(settings, "me"))
    assert config["p2p"]["laddr"] == "tcp://0.0.0.0:26656"
    assert config["p2p"]["persistent_peers"] == f"{address(OTHER.public).hex()}@hub-2.example:26656"
    assert (config["p2p"]["pex"], config["filter_peers"]) == (False, True)
    assert (config["rpc"]["laddr"], config["proxy_app"]) == ("unix://rpc.sock", "unix://abci.sock")
    assert config["consensus"]["create_empty_blocks"] is False
    assert config["consensus"]["create_empty_blocks_interval"] == "12500ms"
    assert config["statesync"]["enable"] is False


def test_waits_and_the_way_in_by_snapshot_can_be_set() -> None:
    sync = StateSync(("http://a:1", "http://b:2"), 700, bytes(32))
    settings = CometSettings(
        Path("/nowhere"), timeouts=Timeouts(commit=50), double_sign_check=5, state_sync=sync
    )
    config = tomllib.loads(render(settings, 'a "quoted" name'))
    assert config["moniker"] == 'a "quoted" name'
    assert config["consensus"]["timeout_commit"] == "50ms"
    assert config["consensus"]["double_sign_check_height"] == 5
    assert config["statesync"]["rpc_servers"] == "http://a:1,http://b:2"
    assert (config["statesync"]["trust_height"], config["statesync"]["trust_hash"]) == (700, "00" * 32)


def test_the_engine_reads_the_names_of_its_keys_as_we_do(
    tmp_path: Path, require: Callable[[str], Path]
) -> None:
    cometbft = require("cometbft")
    public = write_home(CometSettings(tmp_path), a_genesis(), KEY)

    def say(command: str) -> str:
        run = [str(cometbft), command, "--home", str(tmp_path)]
        return subprocess.run(run, capture_output=True, text=True, check=True, timeout=60).stdout.strip()

    assert say("show-node-id") == address(KEY.public).hex()
    shown = json.loads(say("show-validator"))["value"]
    assert (
        shown
        == json.loads(engine_genesis(replace(a_genesis(), validators=(Validator(public, 1),))))["validators"][
            0
        ]["pub_key"]["value"]
    )


def test_a_chain_of_one_hub_is_none_for_a_federations_engine(tmp_path: Path) -> None:
    fleet, store = Fleet(), Store(tmp_path / "ledger.db")
    with pytest.raises(ConsensusError, match="another engine"):
        Comet(Ledger(fleet.genesis, store.chain), store.chain, fleet.genesis, KEY, CometSettings(tmp_path))
    store.close()


def test_a_missing_program_is_named_with_its_remedy_and_nothing_stays_behind(tmp_path: Path) -> None:
    genesis, store = a_genesis(), Store(tmp_path / "ledger.db")
    settings = CometSettings(tmp_path / "comet", program="no-such-program")
    comet = Comet(Ledger(genesis, store.chain), store.chain, genesis, KEY, settings)
    with pytest.raises(ConsensusError, match="go install"):
        comet.start()
    assert not comet.running
    store.close()


def test_a_program_that_ends_at_once_is_named_by_its_last_words_and_started_again(tmp_path: Path) -> None:
    genesis, store = a_genesis(), Store(tmp_path / "ledger.db")
    program = tmp_path / "cometbft"
    program.write_text("#!/bin/sh\necho some log\necho 'ERROR: the port is taken'\necho usage\nexit 3\n")
    program.chmod(0o700)
    settings = CometSettings(tmp_path / "comet", program=str(program))
    comet = Comet(Ledger(genesis, store.chain), store.chain, genesis, KEY, settings)
    comet.start()
    eventually(lambda: comet.restarts > 1, "another start")
    eventually(lambda: "code 3): ERROR: the port is taken" in comet.status().standing, "its last words")
    assert not comet.running
    comet.stop()
    store.close()
