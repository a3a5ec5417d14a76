"""The authority's desk: what it signs verifies, what it must not overwrite stays."""

from __future__ import annotations

import json
import stat
from pathlib import Path

from click.testing import CliRunner, Result

from firmware_tools.authority import found, read_key
from firmware_tools.cli import main
from gateway.chain.alarm import contract_hash
from gateway.chain.genesis import read_trust
from gateway.chain.governance import founding_roster
from gateway.chain.keys import COMMAND, Signed, SigningKey
from gateway.chain.messages import Command
from gateway.chain.neighbour import Building, is_building
from gateway.chain.ordered import Grant, decode_transaction
from gateway.chain.tenure import NOWHERE
from gateway.chain.verify import verify_grant, verify_revocation, verify_ticket
from gateway.contracts.library import template

HUB = SigningKey(bytes(31) + b"\x01").public
GATEWAY = bytes(15) + b"\x07"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments], catch_exceptions=False)


def test_a_founded_chain_is_its_trust_file_and_its_key_is_private(tmp_path: Path) -> None:
    result = run(
        "authority", "found", "--dir", tmp_path / "a", "--name", "city-fire", "--chain", "North",
        "--hub", "hub-1", "--hub-key", HUB.hex(),
    )  # fmt: skip
    assert result.exit_code == 0
    trusted, genesis = read_trust((tmp_path / "a" / "genesis.cbor").read_bytes())
    assert result.output.splitlines()[-1] == trusted.hex()
    assert genesis is not None
    assert genesis.hubs[0].key == HUB
    assert genesis.authorities[0].key == read_key(tmp_path / "a" / "authority.key").public
    assert stat.S_IMODE((tmp_path / "a" / "authority.key").stat().st_mode) == 0o600


def test_a_chain_is_founded_once(tmp_path: Path) -> None:
    found(tmp_path, "city-fire", "North", "hub-1", HUB)
    before = (tmp_path / "genesis.cbor").read_bytes()
    result = run(
        "authority",
        "found",
        "--dir",
        tmp_path,
        "--name",
        "x",
        "--chain",
        "y",
        "--hub",
        "z",
        "--hub-key",
        HUB.hex(),
    )
    assert result.exit_code == 1
    assert "founded once" in result.stderr
    assert (tmp_path / "genesis.cbor").read_bytes() == before


def test_a_ticket_verifies_is_private_and_never_overwritten(tmp_path: Path) -> None:
    desk = found(tmp_path, "city-fire", "North", "hub-1", HUB)
    path = tmp_path / "flat-3.ticket"
    assert run("authority", "ticket", "--dir", tmp_path, "--region", "north", "-o", path).exit_code == 0
    held = json.loads(path.read_text())
    ticket = verify_ticket(
        Signed.decode(bytes.fromhex(held["ticket"])),
        desk.genesis,
        founding_roster(desk.genesis),
        desk.genesis.created,
    )
    assert ticket.key == SigningKey(bytes.fromhex(held["seed"])).public
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = run("authority", "ticket", "--dir", tmp_path, "--region", "north", "-o", path)
    assert again.exit_code == 1
    assert "never overwritten" in again.stderr
    assert json.loads(path.read_text()) == held


def test_a_region_that_is_no_name_is_refused_by_the_field(tmp_path: Path) -> None:
    found(tmp_path, "city-fire", "North", "hub-1", HUB)
    result = run("authority", "ticket", "--dir", tmp_path, "--region", "No rth", "-o", tmp_path / "t")
    assert result.exit_code == 1
    assert "Ticket.region" in result.stderr
    assert not (tmp_path / "t").exists()


def test_grants_and_revocations_verify_under_the_genesis(tmp_path: Path) -> None:
    desk = found(tmp_path, "city-fire", "North", "hub-1", HUB)
    grant = verify_grant(desk.grant(GATEWAY, 2, [b"\x01"]), desk.genesis, founding_roster(desk.genesis))
    assert (grant.gateway, grant.version, grant.documents) == (GATEWAY, 2, (b"\x01",))
    revocation = verify_revocation(
        desk.revoke(GATEWAY, NOWHERE, "card stolen"), desk.genesis, founding_roster(desk.genesis)
    )
    assert (revocation.last, revocation.reason) == (NOWHERE, "card stolen")


def test_a_set_with_a_buildings_roster_is_granted_in_the_order_of_its_hashes(tmp_path: Path) -> None:
    desk = found(tmp_path, "city-fire", "North", "hub-1", HUB)
    contract, roster, out = tmp_path / "smoke.toml", tmp_path / "building.toml", tmp_path / "flat-3.grant"
    contract.write_text(template("smoke-contact", series="hall.smoke"))
    roster.write_text(f'building = "house"\n[[members]]\nname = "flat-3"\nkey = "{HUB.hex()}"\n')
    arguments = (
        "--dir",
        tmp_path,
        "--gateway",
        GATEWAY.hex(),
        "--version",
        1,
        "--building",
        roster,
        contract,
    )
    assert run("authority", "grant", *arguments, "-o", out).exit_code == 0
    granted = decode_transaction(out.read_bytes())
    assert isinstance(granted, Grant)
    documents = verify_grant(granted.grant, desk.genesis, founding_roster(desk.genesis)).documents
    assert list(documents) == sorted(documents, key=contract_hash)
    assert [Building.read(each).members[0].name for each in documents if is_building(each)] == ["flat-3"]
    for wrong in ('key = "12"', 'key = "{HUB.hex()}"\naddresses = ["flat-3.local:1"]', "nonsense"):
        roster.write_text(f'building = "house"\n[[members]]\nname = "flat-3"\n{wrong}\n')
        result = run("authority", "grant", *arguments, "-o", out)
        assert result.exit_code == 1
        assert "building.toml" in result.stderr


def test_a_desk_without_a_genesis_says_what_to_do(tmp_path: Path) -> None:
    result = run("authority", "ticket", "--dir", tmp_path, "--region", "north", "-o", tmp_path / "t")
    assert result.exit_code == 1
    assert "tocsin-tools authority found" in result.stderr


def test_a_key_file_of_the_wrong_kind_is_named(tmp_path: Path) -> None:
    found(tmp_path, "city-fire", "North", "hub-1", HUB)
    (tmp_path / "authority.key").write_text("not a key\n")
    result = run("authority", "ticket", "--dir", tmp_path, "--region", "north", "-o", tmp_path / "t")
    assert result.exit_code == 1
    assert "authority.key" in result.stderr


def test_a_command_is_good_for_one_gateway_and_boot_once_and_not_for_long(tmp_path: Path) -> None:
    desk = found(tmp_path, "city-fire", "North", "hub-1", HUB)
    path = tmp_path / "reset.command"
    arguments = (
        "--gateway",
        GATEWAY.hex(),
        "--boot",
        "0102030405060708",
        "--action",
        "reset",
        "--contract",
        "gas-ch4",
    )
    for _ in range(2):
        assert run("authority", "command", "--dir", tmp_path, *arguments, "-o", path).exit_code == 0
    command = Command.decode(Signed.decode(path.read_bytes()).verify(COMMAND, desk.key.public))
    assert (command.genesis, command.signer) == (desk.genesis.hash, desk.key.public)
    assert (command.gateway, command.boot) == (GATEWAY, bytes(range(1, 9)))
    assert (command.action, command.contract) == (1, "gas-ch4")
    assert 0 < command.not_after - desk.genesis.created < 700_000
    assert desk.command(GATEWAY, command.boot, "reset", "gas-ch4", 1).body != path.read_bytes()
