"""The demo as people run it: its verdict, what stays on disk and can be proved of it, and a clean end."""

from __future__ import annotations

import json
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fleet import flip
from proving import alarm_evidence, check_evidence, reading_evidence, run, run_audit
from region import PATIENCE, wait_for

from gateway.chain.errors import ChainError
from gateway.chain.evidence import verify_evidence
from gateway.chain.genesis import Genesis

SECOND = Path(__file__).parents[1] / "second/verify.mjs"
MUTANTS = 400
TOOLS = [sys.executable, "-c", "from firmware_tools.cli import main; main()"]


@dataclass
class Played:
    """A demo that has ended."""

    directory: Path
    code: int
    outcome: dict[str, Any]
    errors: str

    @property
    def genesis(self) -> Genesis:
        return Genesis.decode((self.directory / "authority/genesis.cbor").read_bytes())

    def alarm(self, contract: str, level: str) -> dict[str, Any]:
        found = [
            each for each in self.outcome["alarms"] if (each["contract"], each["level"]) == (contract, level)
        ]
        assert found, self.outcome["alarms"]
        return dict(found[0])


def play(directory: Path, *arguments: object) -> Played:
    command = [*TOOLS, "demo", "--json", "--headless", "--dir", str(directory), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout, done.stderr
    return Played(directory, done.returncode, json.loads(done.stdout), done.stderr)


def processes_in(directory: Path) -> list[str]:
    """Command lines of living processes that name a directory."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(directory) in words:
            found.append(words)
    return found


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """The default scenario, once; tests must leave its directory as it is."""
    return play(tmp_path_factory.mktemp("demo") / "kept", "--seconds", 30)


def test_the_gas_alarm_is_raised_final_and_audited(played: Played) -> None:
    outcome = played.outcome
    assert played.code == 0, (outcome, played.errors)
    assert outcome["audit"] == "ok"
    assert outcome["gateways"] == 3
    assert outcome["final_blocks"] == outcome["blocks"] > 0
    assert outcome["readings"] > 0
    alarm = played.alarm("gas-ch4", "alarm")
    assert alarm["onset_to_alarm_ms"] > 0
    assert alarm["alarm_to_final_ms"] >= 0
    assert processes_in(played.directory) == []


def test_everything_is_kept_where_it_was_said(played: Played) -> None:
    for name in ("hub/ledger.db", "hub/hub.toml", "hub/log", "authority/genesis.cbor"):
        assert (played.directory / name).is_file(), name
    gateways = sorted(path.name for path in (played.directory / "gateways").iterdir())
    assert len(gateways) == 3
    for name in gateways:
        assert list((played.directory / "gateways" / name).rglob("*.db"))
        assert (played.directory / "gateways" / name / "gateway.toml").is_file()


def test_a_byte_changed_in_a_stored_block_is_named_by_the_audit(played: Played, tmp_path: Path) -> None:
    hub = shutil.copytree(played.directory / "hub", tmp_path / "hub")
    path = hub / "ledger.db"
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    body, epoch, height, gateway = db.execute(
        "SELECT data, epoch, height, gateway FROM segments s JOIN blocks b ON b.id = s.id / 4"
        " ORDER BY length(data) LIMIT 1 OFFSET 3"
    ).fetchone()
    db.close()
    whole = path.read_bytes()
    at = whole.index(body[:64]) + 40
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    code, text = run_audit(hub)
    assert code == 1
    assert f"block {epoch}/{height} of gateway {gateway.hex()[:16]}" in text


@pytest.fixture(scope="module")
def proof(played: Played, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("evidence") / "alarm.evidence"
    return alarm_evidence(played.directory / "hub", played.alarm("gas-ch4", "alarm")["hash"], path)


def test_the_alarms_evidence_verifies_offline(played: Played, proof: Path) -> None:
    assert "gas-ch4" in check_evidence(proof, played.genesis)


def test_evidence_of_a_reading_verifies_offline_too(played: Played, tmp_path: Path) -> None:
    db = sqlite3.connect(f"file:{played.directory / 'hub/ledger.db'}?mode=ro", uri=True)
    gateway, height = db.execute("SELECT gateway, height FROM blocks LIMIT 1 OFFSET 5").fetchone()
    db.close()
    path = reading_evidence(played.directory / "hub", gateway, height, tmp_path / "reading.evidence")
    assert f"/{height}" in check_evidence(path, played.genesis)


def test_evidence_with_any_byte_changed_does_not_verify(played: Played, proof: Path, tmp_path: Path) -> None:
    mutants = mutate(proof.read_bytes())
    for mutant in mutants:
        with pytest.raises(ChainError):
            verify_evidence(mutant, played.genesis.hash)
    bad = tmp_path / "bad.evidence"
    bad.write_bytes(mutants[0])
    trust = played.directory / "authority/genesis.cbor"
    code, text = run("firmware_tools.cli", "verify", bad, "--trust", trust)
    assert code == 1, text


def test_the_second_verifier_agrees_on_the_evidence_and_on_every_changed_byte(
    played: Played, proof: Path, require: Callable[[str], Path]
) -> None:
    data = proof.read_bytes()
    lines = "".join(each.hex() + "\n" for each in (data, *mutate(data)))
    command = [str(require("node")), str(SECOND), "--batch", "--trust", played.genesis.hash.hex()]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True, timeout=300)
    first, *others = done.stdout.splitlines()
    assert json.loads(first) == verify_evidence(data, played.genesis.hash).statement()
    assert len(others) == MUTANTS
    assert {each.partition(":")[0].partition(" ")[0] for each in others} == {"refused"}


def mutate(data: bytes) -> list[bytes]:
    dice = random.Random(0)
    return [flip(data, dice.randrange(len(data)) * 8 + dice.randrange(8)) for _ in range(MUTANTS)]


def test_ctrl_c_ends_the_demo_cleanly_with_no_process_left(tmp_path: Path) -> None:
    directory = tmp_path / "kept"
    command = [*TOOLS, "demo", "--json", "--headless", "--dir", str(directory), "--seconds", "120"]
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        sockets = [
            directory / f"gateways/{name}/data/control.sock" for name in ("flat", "bridge", "stairs-1")
        ]
        wait_for(lambda: all(each.exists() for each in sockets), "the gateways")
        database = directory / "hub/ledger.db"

        def has_blocks() -> bool:
            db = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
            try:
                return int(db.execute("SELECT count(*) FROM blocks").fetchone()[0]) > 3
            finally:
                db.close()

        wait_for(has_blocks, "blocks")
        running = processes_in(directory)
        # The demo, the hub, its broker, three gateways, and the guardians of two: the bridge has no outputs.
        assert len(running) == 8, running
        demo.send_signal(signal.SIGINT)
        out, errors = demo.communicate(timeout=PATIENCE)
    finally:
        demo.kill()
        demo.wait()
    assert demo.returncode == 0, (out, errors)
    outcome = json.loads(out)
    assert (outcome["audit"], outcome["faults"]) == ("ok", [])
    assert outcome["final_blocks"] == outcome["blocks"] > 0
    assert processes_in(directory) == []


@pytest.mark.soak
@pytest.mark.parametrize(
    ("scenario", "contract"),
    [
        ("smoulder", "smoke-contact"),
        ("overload", "strain-amber"),
        ("sensor-failure", "sensor-fault"),
        ("quiet", None),
    ],
)
def test_every_scenario_ends_with_a_good_verdict(tmp_path: Path, scenario: str, contract: str | None) -> None:
    played = play(tmp_path / "kept", "--scenario", scenario)
    assert played.code == 0, (played.outcome, played.errors)
    outcome = played.outcome
    assert (outcome["audit"], outcome["faults"]) == ("ok", [])
    raised = {each["contract"] for each in outcome["alarms"] if each["gateway"] == "Flat 3"}
    assert contract in raised if contract else not raised
