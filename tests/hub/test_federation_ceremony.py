"""A federation is founded by statements that are signed at home, and by a hash that everyone compares."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hubs import RunningHub

from firmware_tools.authority import state
from gateway.chain.genesis import AGENCY, COMETBFT, REGULATOR, Genesis
from gateway.chain.governance import Joining, founding_roster
from hub.cli import main
from hub.config import load_config, load_genesis, load_identity

NAMES = ("fire", "police", "rail", "water")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["federation", *map(str, arguments)])


def done(*arguments: object) -> str:
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def make(base: Path, name: str, agency: str = "", *options: object) -> Path:
    """Make a hub's directory; return its statement."""
    done(
        "init",
        base / name,
        "--name",
        name,
        "--agency",
        agency or f"city-{name}",
        "--region",
        "north",
        *options,
    )
    return base / name / f"{name}.member"


@pytest.fixture
def statements(tmp_path: Path) -> list[Path]:
    """What four agencies and a regulator hand each other."""
    return [*(make(tmp_path, name) for name in NAMES), state(tmp_path / "desk", "regulator", REGULATOR)]


def join(base: Path, name: str, files: list[Path], *options: object) -> Result:
    return call("join", base / name, *files, "--chain", "North", *options)


def hash_of(base: Path, name: str, files: list[Path], *options: object) -> str:
    result = join(base, name, files, "--json", *options)
    assert result.exit_code == 0, result.output
    found: str = json.loads(result.stdout)["hash"]
    return found


def refusal(base: Path, files: list[Path], name: str = "fire") -> str:
    result = join(base, name, files)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    return result.stderr


def test_everyone_comes_to_the_same_genesis_in_whatever_order_the_statements_came(
    tmp_path: Path, statements: list[Path]
) -> None:
    orders = [list(order) for order in itertools.islice(itertools.permutations(statements), 0, 120, 37)]
    found = {hash_of(tmp_path, name, order) for name, order in zip(NAMES, orders, strict=True)}
    assert len(found) == 1


def test_a_genesis_takes_its_place_only_with_its_hash(tmp_path: Path, statements: list[Path]) -> None:
    shown = join(tmp_path, "fire", statements).stdout
    assert not (tmp_path / "fire/genesis.cbor").exists()
    assert "power 1" in shown
    spoken = next(line.removeprefix("hash: ") for line in shown.splitlines() if line.startswith("hash: "))
    assert len(spoken.split()) == 8
    wrong = join(tmp_path, "fire", statements, "--hash", "0" * 64)
    assert wrong.exit_code == 1
    assert "somebody has other statements" in wrong.stderr
    assert join(tmp_path, "fire", statements, "--hash", spoken.upper()).exit_code == 0
    genesis = load_genesis(tmp_path / "fire/genesis.cbor")
    assert genesis.engine == COMETBFT
    assert genesis.hash == bytes.fromhex(spoken.replace(" ", ""))
    assert load_identity(load_config(tmp_path / "fire/hub.toml")).hub.name == "fire"


def test_another_name_or_other_custodians_are_another_genesis(tmp_path: Path, statements: list[Path]) -> None:
    found = hash_of(tmp_path, "fire", statements)
    assert hash_of(tmp_path, "fire", statements, "--custodians", 3) != found
    assert (
        json.loads(call("join", tmp_path / "fire", *statements, "--chain", "South", "--json").stdout)["hash"]
        != found
    )


def test_a_genesis_in_place_is_not_exchanged_for_another(tmp_path: Path, statements: list[Path]) -> None:
    assert join(tmp_path, "fire", statements, "--hash", hash_of(tmp_path, "fire", statements)).exit_code == 0
    other = hash_of(tmp_path, "fire", statements, "--custodians", 1)
    result = join(tmp_path, "fire", statements, "--custodians", 1, "--hash", other)
    assert result.exit_code == 1
    assert "is of another chain" in result.stderr


def test_readers_follow_without_a_vote(tmp_path: Path, statements: list[Path]) -> None:
    press = make(tmp_path, "press", "", "--reader")
    assert join(tmp_path, "press", [*statements, press]).exit_code == 0
    genesis = Genesis.decode((tmp_path / "press/genesis.draft").read_bytes())
    assert [each.name for each in founding_roster(genesis).members if not each.power] == ["press"]
    assert len(genesis.validators) == 4


def test_keys_stay_at_home(tmp_path: Path, statements: list[Path]) -> None:
    secret = bytes.fromhex((tmp_path / "fire/hub.key").read_text())
    assert secret not in statements[0].read_bytes()
    for private in ("hub.key", "engine/config/priv_validator_key.json"):
        assert (tmp_path / "fire" / private).stat().st_mode & 0o077 == 0


def test_a_second_init_keeps_keys_and_configuration(tmp_path: Path, statements: list[Path]) -> None:
    config, key = (tmp_path / "fire/hub.toml").read_bytes(), (tmp_path / "fire/hub.key").read_bytes()
    make(tmp_path, "fire", "city-fire", "--api", 9999)
    assert (tmp_path / "fire/hub.toml").read_bytes() == config
    assert (tmp_path / "fire/hub.key").read_bytes() == key
    assert call("init", tmp_path / "fire", "--name", "other", "--agency", "x").exit_code == 1


def test_three_voters_found_nothing(tmp_path: Path, statements: list[Path]) -> None:
    assert "at least 4" in refusal(tmp_path, [*statements[:3], statements[4]])


def test_an_agency_with_a_third_of_the_power_founds_nothing(tmp_path: Path, statements: list[Path]) -> None:
    second = make(tmp_path, "fire-2", "city-fire")
    assert "'city-fire' would have 2 of 5" in refusal(tmp_path, [*statements, second])


def test_nobody_founds_without_a_regulator(tmp_path: Path, statements: list[Path]) -> None:
    plain = state(tmp_path / "other", "health", AGENCY)
    assert "regulator" in refusal(tmp_path, [*statements[:4], plain])


def test_a_name_or_key_that_stands_twice_is_refused(tmp_path: Path, statements: list[Path]) -> None:
    twin = make(tmp_path / "elsewhere", "rail", "city-trams")
    assert "a name stands twice" in refusal(tmp_path, [*statements, twin])
    assert "a key stands twice" in refusal(tmp_path, [*statements, statements[2]])


def test_an_altered_statement_is_refused(tmp_path: Path, statements: list[Path]) -> None:
    joining = Joining.decode(statements[1].read_bytes())
    more = joining.body.replace(b"city-police", b"city-polite")
    statements[1].write_bytes(replace(joining, body=more).encode())
    assert "signature does not verify" in refusal(tmp_path, statements)
    statements[1].write_bytes(b"nonsense")
    assert "police.member is damaged" in refusal(tmp_path, statements)


def test_who_has_not_stated_itself_is_told(tmp_path: Path, statements: list[Path]) -> None:
    make(tmp_path, "late")
    assert "late.member under its present key, is not among the files" in refusal(
        tmp_path, statements, "late"
    )


def test_a_statement_for_a_federation_that_exists_founds_no_other(
    tmp_path: Path, statements: list[Path]
) -> None:
    assert join(tmp_path, "fire", statements, "--hash", hash_of(tmp_path, "fire", statements)).exit_code == 0
    make(tmp_path, "harbour")
    genesis = tmp_path / "fire/genesis.cbor"
    found = load_genesis(genesis).hash.hex()
    wrong = call("join", tmp_path / "harbour", "--genesis", genesis, "--agency", "port", "--hash", "1" * 64)
    assert wrong.exit_code == 1
    done("join", tmp_path / "harbour", "--genesis", genesis, "--agency", "port", "--hash", found)
    statement = tmp_path / "harbour/harbour.member"
    assert Joining.decode(statement.read_bytes()).verify(bytes.fromhex(found)).agency == "port"
    assert "which is there already" in refusal(tmp_path, [*statements, statement])


def test_a_chain_of_a_hub_alone_is_closed_and_taken_over(tmp_path: Path, statements: list[Path]) -> None:
    with RunningHub(tmp_path / "alone") as alone:
        old = alone.fleet.genesis
    before = hash_of(tmp_path, "fire", statements)
    closed = tmp_path / "alone.takeover"
    draft = tmp_path / "fire/genesis.draft"
    assert call("close", tmp_path / "alone", "--successor", draft, "-o", tmp_path / "x").exit_code == 2
    said = json.loads(done("close", tmp_path / "alone", "--successor", draft, "-o", closed, "--json"))
    files = [*statements, closed]
    after = {hash_of(tmp_path, name, files) for name in NAMES}
    assert len(after) == 1
    assert before not in after
    taken = load_genesis(draft).takeovers
    assert [(each.genesis, each.height) for each in taken] == [(old.hash, said["height"])]
    again = CliRunner().invoke(main, ["run", "--config", str(tmp_path / "alone/hub.toml")])
    assert again.exit_code == 1
    assert "closed at final block" in again.stderr
    other = join(tmp_path, "fire", files, "--custodians", 3)
    assert other.exit_code == 1, "a chain closed for one federation is not another's"
    assert "give the statements, --chain and --custodians with which the draft was made" in other.stderr


def test_a_statement_that_is_made_again_is_the_same_one(tmp_path: Path, statements: list[Path]) -> None:
    before = statements[0].read_bytes()
    make(tmp_path, "fire")
    assert statements[0].read_bytes() == before, "with another one, all would have another genesis"
    make(tmp_path, "fire", "city-brigade")
    assert statements[0].read_bytes() != before


def test_the_genesis_of_a_hub_alone_is_not_joined(tmp_path: Path) -> None:
    with RunningHub(tmp_path / "alone"):
        pass
    make(tmp_path, "harbour")
    result = call(
        "join", tmp_path / "harbour", "--genesis", tmp_path / "alone/genesis.cbor", "--agency", "port"
    )
    assert result.exit_code == 1
    assert "can be taken over, not joined" in result.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--p2p", "nowhere"), "'nowhere' is not host:port"),
        (
            ("--snapshot", "--peer", "rail=127.0.0.1:1,http://127.0.0.1:2"),
            "--snapshot needs two --peer with a URL",
        ),
        (("--predecessor", "nowhere"), "does not exist"),
    ],
)
def test_options_that_cannot_work_leave_nothing_behind(
    tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    result = call("init", tmp_path / "fire", "--name", "fire", "--agency", "city-fire", *options)
    assert result.exit_code in {1, 2}
    assert said in result.stderr
    assert not (tmp_path / "fire").exists()


def test_statements_and_genesis_do_not_go_together(tmp_path: Path, statements: list[Path]) -> None:
    assert call("join", tmp_path / "fire").exit_code == 2
    assert call("join", tmp_path / "fire", *statements).exit_code == 2
    assert call("join", tmp_path / "fire", "--genesis", "x").exit_code == 2
