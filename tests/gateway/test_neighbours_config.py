"""The roster as people write it, what the command says of it, and the sockets where the network is not there yet."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from gateway_site import TOML
from hypothesis import given, settings
from hypothesis import strategies as st
from testchain import REGION, make_genesis

from gateway.chain.errors import ChainError
from gateway.chain.keys import SigningKey, gateway_id
from gateway.chain.neighbour import Building, is_building
from gateway.cli import main
from gateway.config import Config, parse_config
from gateway.contracting import configured_contracts
from gateway.contracts.errors import DocumentError
from gateway.decider import ContractSet
from gateway.errors import ConfigError, NeighbourError
from gateway.inspection.reporting import neighbour_words
from gateway.neighbours.circle import Circle
from gateway.neighbours.config import NeighboursTable, make_building, parse_address, read_building
from gateway.neighbours.lan import Lan

KEY = SigningKey(bytes(31) + b"\7")
OTHER = SigningKey(bytes(31) + b"\10")
ROSTER = f"""
[neighbours]
building = "house"
members = [
    {{ name = "flat-1", key = "{KEY.public.hex()}", addresses = ["192.0.2.1:47470", "[2001:db8::1]:47470"] }},
    {{ name = "flat-2", key = "{OTHER.public.hex()}", gateway = "{bytes(16).hex()}" }},
]

[[sensors]]
name = "flat-2"
driver = "neighbour"
options = {{ member = "flat-2" }}
"""


def config_of(more: str = ROSTER) -> Config:
    text = TOML.format(url="mqtt://127.0.0.1:1", region=REGION, readings=50, seconds=60, extra="")
    return parse_config(text + more, Path("/nowhere/gateway.toml"))


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments])


def test_the_configured_roster_is_part_of_the_set_and_of_its_root() -> None:
    contracts = configured_contracts(config_of(), "test")
    assert contracts.building is not None
    assert [each.name for each in contracts.building.members] == ["flat-1", "flat-2"]
    assert [each.gateway for each in contracts.building.members] == [gateway_id(KEY.public), bytes(16)]
    alone = ContractSet.of(contracts.contracts)
    assert contracts.listing.root != alone.listing.root
    assert sum(map(is_building, contracts.documents)) == 1
    assert ContractSet.decode(contracts.documents, 0) == contracts


def test_a_set_with_two_rosters_or_a_damaged_one_is_refused() -> None:
    roster = make_building("house", config_of().neighbours.members, "test")
    other = Building(2, "elsewhere", roster.members)
    with pytest.raises(DocumentError, match="at most one roster"):
        ContractSet.decode([roster.encode(), other.encode()], 1)
    with pytest.raises(DocumentError, match="roster is refused"):
        ContractSet.decode([roster.encode()[:-1]], 1)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("192.0.2.1:47470", "flat-1.local:47470", "is no address with a port"),
        ("192.0.2.1:47470", "192.0.2.1", "is no address with a port"),
        ("[2001:db8::1]:47470", "2001:db8::1:47470", "is no address with a port"),
        ("192.0.2.1:47470", "192.0.2.1:99999", "is no address with a port"),
        (KEY.public.hex(), "12", "the key of flat-1 is not 64 hexadecimal digits"),
        (f'"{bytes(16).hex()}"', f'"{gateway_id(KEY.public).hex()}"', "stands twice"),
        ('"flat-2", key', '"flat-1", key', "each name once"),
        ('building = "house"\n', "", "building and members go together"),
    ],
)
def test_a_roster_with_a_mistake_is_refused_by_name(old: str, new: str, message: str) -> None:
    assert old in ROSTER
    with pytest.raises(ConfigError, match=message):
        configured_contracts(config_of(ROSTER.replace(old, new)), "test")


def test_a_roster_in_a_file_is_the_same_document() -> None:
    text = f'building = "house"\n[[members]]\nname = "b"\nkey = "{KEY.public.hex()}"\n'
    text += f'[[members]]\nname = "a"\nkey = "{OTHER.public.hex()}"\naddresses = ["10.0.0.1:1"]\n'
    building = read_building(text, "building.toml")
    assert [each.name for each in building.members] == ["a", "b"]
    with pytest.raises(ConfigError, match=r"building.toml.*did you mean 'key'"):
        read_building(text.replace("key =", "kez ="), "building.toml")


def test_check_names_the_building_and_members_that_nobody_is(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    text = TOML.format(url="mqtt://127.0.0.1:1", region=REGION, readings=50, seconds=60, extra="")
    path.write_text(text + ROSTER.replace('member = "flat-2"', 'member = "flat-3", silent_s = 9'))
    (tmp_path / "trust").write_bytes(make_genesis().encode())
    result = call("check", "--config", path)
    assert result.exit_code == 0, result.output
    assert "building house: flat-1, flat-2" in result.stdout
    assert "flat-2: no member of the building is called 'flat-3'" in result.stderr
    assert "silent_s is less than three heartbeats" in result.stderr
    assert json.loads(call("check", "--config", path, "--json").stdout)["building"] == "house"


def test_identity_prints_what_a_roster_needs_once_there_is_a_key(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(TOML.format(url="mqtt://127.0.0.1:1", region=REGION, readings=50, seconds=60, extra=""))
    refused = call("identity", "--config", path)
    assert refused.exit_code == 1
    assert "start the gateway once" in refused.stderr
    assert not (tmp_path / "data").exists()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "key").write_text(KEY.seed.hex())
    printed = call("identity", "--config", path).stdout
    assert read_building('building = "house"\n' + printed, "test").members[0].key == KEY.public


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"standing": "waiting", "age_ms": None}, "waiting"),
        (
            {"standing": "proven", "age_ms": 2_100, "alarm": 2, "faults": 1, "raised": ["gas-ch4"]},
            "proven, alarm (gas-ch4), 1 series in fault, 2 s ago",
        ),
        (
            {"standing": "silent", "age_ms": 61_000, "alarm": 0, "faults": 0, "raised": []},
            "silent, normal, 0 series in fault, 61 s ago",
        ),
    ],
)
def test_status_says_how_a_neighbour_stands(state: dict[str, object], words: str) -> None:
    assert neighbour_words(state) == words


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=1_300))
def test_whatever_comes_is_refused_by_name(data: bytes) -> None:
    roster = make_building("house", config_of().neighbours.members, "test")
    circle = Circle(gateway_id(KEY.public), bytes(8), KEY, roster, 0, heartbeat_ms=5_000)
    with pytest.raises((ChainError, NeighbourError)):
        circle.hear(data, ("10.0.0.1", 1), 0)


def test_a_network_that_is_not_there_yet_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free,
    ):
        taken.bind(("127.0.0.1", 0))
        free.bind(("127.0.0.1", 0))
        mine = free.getsockname()[1]
        free.close()
        options = NeighboursTable(
            listen=(f"127.0.0.1:{taken.getsockname()[1]}", f"127.0.0.1:{mine}", "192.0.2.7:47470"),
            multicast=(f"239.255.84.79:{mine}",),
            interface="none0",
        )
        lan = Lan(options)
        for now in (0, 1_000, 61_000):
            lan.care(now)
        lan.send(b"word", [("127.0.0.1", mine), ("192.0.2.9", 9), ("2001:db8::9", 9)])
        assert lan.receive(1.0) == [(b"word", ("127.0.0.1", mine))]
        lan.wake()
        assert lan.receive(5.0) == []
        lan.close()
        lan.wake()
    assert len([each for each in caplog.records if "cannot be used yet" in each.message]) == 2


@pytest.mark.parametrize("text", ["192.0.2.1:1", "[::1]:65535"])
def test_an_address_is_a_host_and_a_port(text: str) -> None:
    host, port = parse_address(text)
    assert text == (f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
