"""`tocsin-hub` as people and scripts use it: exit codes, one line on stderr, JSON."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from certificates import Authority
from click.testing import CliRunner, Result
from hubs import HubProcess, RunningHub, eventually, new_fleet

from gateway.chain.evidence import verify_evidence
from hub.cli import main
from hub.config import load_config
from hub.service import Service


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments])


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> RunningHub:
    """A hub that has run and stopped, with one gateway, two blocks and one alarm."""
    directory = tmp_path_factory.mktemp("cli") / "hub"
    with RunningHub(directory) as hub:
        gateway, caller = hub.join("a")
        caller.say("alarm", gateway.alarm().encode())
        caller.alarm_receipt()
        for _ in range(2):
            caller.say("block", gateway.block().encode())
        caller.final(2)
        eventually(lambda: hub.rest.json("/v1/alarms")[0]["final_ms"], "the alarm's finality")
    return hub


@pytest.mark.parametrize("command", ["", "init", "run", "status", "audit", "checkpoint", "evidence", "bench"])
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = call(*filter(None, [command]), "--help")
    assert result.exit_code == 0
    assert not command or "Example: tocsin-hub" in result.stdout


def test_help_loads_neither_the_web_nor_the_broker() -> None:
    code = "import sys\nfrom hub.cli import main\nmain(['--help'], standalone_mode=False)\n"
    code += "assert not {'fastapi', 'uvicorn', 'paho', 'sqlite3', 'nacl'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_init_prints_the_key_that_the_genesis_needs(tmp_path: Path) -> None:
    result = call("init", "--dir", tmp_path / "hub", "--name", "hub-1")
    assert result.exit_code == 0
    assert len(bytes.fromhex(result.stdout.strip())) == 32
    again = json.loads(call("init", "--dir", tmp_path / "hub", "--name", "hub-1", "--json").stdout)
    assert again["key"] == result.stdout.strip()


def test_a_hub_without_its_genesis_says_what_is_missing(tmp_path: Path) -> None:
    call("init", "--dir", tmp_path, "--name", "hub-1")
    result = call("run", "--config", tmp_path / "hub.toml")
    assert result.exit_code == 1
    assert "put the authority's genesis.cbor there" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_configuration_with_a_fault_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "hub.toml").write_text("[hub]\nnaem = 1\n")
    result = call("run", "--config", tmp_path / "hub.toml")
    assert result.exit_code == 1
    assert "did you mean 'name'?" in result.stderr


def test_a_wrong_option_is_a_usage_error() -> None:
    assert call("audit").exit_code == 2
    assert call("evidence", "--dir", "x", "-o", "y").exit_code == 2
    assert call("evidence", "--dir", "x", "-o", "y", "--alarm", "zz").exit_code in (1, 2)


def test_an_audit_of_an_honest_hub_is_ok(stopped: RunningHub) -> None:
    result = call("audit", "--dir", stopped.directory)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[-1].startswith("ok:")
    report = json.loads(call("audit", "--dir", stopped.directory, "--json").stdout)
    assert (report["verdict"], report["blocks"], report["readings"], report["alarms"]) == ("ok", 2, 16, 1)
    assert report["faults"] == []


def test_an_audit_against_a_kept_checkpoint(stopped: RunningHub, tmp_path: Path) -> None:
    kept = tmp_path / "checkpoint.cbor"
    assert call("checkpoint", "--dir", stopped.directory, "-o", kept).exit_code == 0
    assert call("audit", "--dir", stopped.directory, "--against", kept).exit_code == 0
    kept.write_bytes(b"nothing")
    result = call("audit", "--dir", stopped.directory, "--against", kept)
    assert result.exit_code == 1
    assert "no checkpoint" in result.stderr


def test_a_byte_changed_in_a_stored_block_is_named_and_the_exit_code_is_1(
    stopped: RunningHub, tmp_path: Path
) -> None:
    for name in ("ledger.db", "genesis.cbor"):
        (tmp_path / name).write_bytes((stopped.directory / name).read_bytes())
    db = sqlite3.connect(tmp_path / "ledger.db")
    db.execute("DROP TRIGGER segments_no_update")
    (place, data) = db.execute("SELECT id, data FROM segments").fetchone()
    db.execute("UPDATE segments SET data = ? WHERE id = ?", (data[:-1] + bytes([data[-1] ^ 1]), place))
    db.commit()
    db.close()
    result = call("audit", "--dir", tmp_path)
    assert result.exit_code == 1
    gateway = stopped.fleet.gateway("a").id.hex()[:8]
    assert "segment 0 of block 1/1" in result.stderr
    assert gateway in result.stderr
    report = json.loads(call("audit", "--dir", tmp_path, "--json").stdout)
    assert "segment 0 of block 1/1" in report["verdict"]


def test_an_audit_of_no_hub_says_so(tmp_path: Path) -> None:
    result = call("audit", "--dir", tmp_path)
    assert result.exit_code == 1
    assert "give the directory of a hub" in result.stderr


def test_evidence_is_written_from_a_stopped_hub(stopped: RunningHub, tmp_path: Path) -> None:
    gateway, trust = stopped.fleet.gateway("a"), stopped.fleet.genesis.hash
    common = ("evidence", "--dir", stopped.directory)
    for number, chosen in enumerate(
        (
            ("--alarm", gateway.alarms[0].hash.hex()),
            ("--gateway", gateway.id.hex(), "--block", 2, "--leaf", 0),
            ("--gateway", gateway.id.hex(), "--block", 1, "--series", "ch4"),
        )
    ):
        file = tmp_path / f"{number}.evidence"
        result = call(*common, *chosen, "-o", file)
        assert result.exit_code == 0, result.stderr
        assert verify_evidence(file.read_bytes(), trust).gateway == gateway.id
    assert call(*common, "--alarm", "00" * 32, "-o", tmp_path / "none").exit_code == 1


def test_status_of_a_hub_that_does_not_run(stopped: RunningHub) -> None:
    result = call("status", "--config", stopped.directory / "hub.toml")
    assert result.exit_code == 1
    assert "no hub runs" in result.stderr


def test_status_of_a_running_hub_and_of_one_that_was_killed(tmp_path: Path) -> None:
    process = HubProcess(tmp_path / "hub", new_fleet())
    try:
        rest = process.start()
        gateway = process.fleet.gateway("a")
        assert rest.post("/v1/enrolment", gateway.enrol().encode())[0] == 201
        result = call("status", "--config", process.directory / "hub.toml")
        assert result.exit_code == 0, result.stderr
        assert "broker up, consensus up" in result.stdout
        shown = json.loads(call("status", "--config", process.directory / "hub.toml", "--json").stdout)
        assert (shown["gateways"], shown["ok"]) == (1, True)
    finally:
        process.kill()
    result = call("status", "--config", process.directory / "hub.toml")
    assert result.exit_code == 1
    assert "does not answer" in result.stderr


def test_a_hub_with_a_certificate_of_an_authority_is_asked_on_its_own_machine(
    tmp_path: Path, require: Callable[[str], Path]
) -> None:
    directory = tmp_path / "hub"
    RunningHub(directory)
    certificate, key = Authority(tmp_path, require("openssl")).certify("hub")
    config = directory / "hub.toml"
    config.write_text(config.read_text() + f'cert_file = "{certificate}"\nkey_file = "{key}"\n')
    with Service(load_config(config)) as service:
        assert service.api_url.startswith("https://")
        assert call("status", "--config", config).exit_code == 0
        other, _ = Authority(tmp_path, require("openssl")).certify("other")
        config.write_text(config.read_text().replace(str(certificate), str(other)))
        refused = call("status", "--config", config)
    assert refused.exit_code == 1
    assert "does not answer" in refused.stderr
