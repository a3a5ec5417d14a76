"""`tocsin-tools verify`: golden files verify in words and as a statement; anything else is one clear line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from second.forge import Case, forge

from firmware_tools.cli import main

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "format.json").read_text())["evidence"]


def files(tmp_path: Path, vector: dict[str, str]) -> tuple[Path, Path]:
    evidence, trust = tmp_path / "item.evidence", tmp_path / "trust"
    evidence.write_bytes(bytes.fromhex(vector["file"]))
    trust.write_text(vector["trust"] + "\n")
    return evidence, trust


def run(evidence: Path, trust: Path, *more: str) -> Result:
    return CliRunner().invoke(
        main, ["verify", str(evidence), "--trust", str(trust), *more], catch_exceptions=False
    )


@pytest.mark.parametrize("vector", VECTORS, ids=[each["name"] for each in VECTORS])
def test_golden_evidence_proves_its_statement(tmp_path: Path, vector: dict[str, str]) -> None:
    evidence, trust = files(tmp_path, vector)
    result = run(evidence, trust, "--json")
    assert result.exit_code == 0
    assert json.loads(result.output) == vector["proves"]
    words = run(evidence, trust)
    assert words.output.startswith("Verified.\n")
    assert "(final block " in words.output


def test_words_give_value_unit_bounds_and_who_enrolled(tmp_path: Path) -> None:
    words = run(*files(tmp_path, VECTORS[0])).output
    assert "kitchen.ch4 (ch4) = 9120 ppm at 2026-01-01 00:00:21.000 UTC" in words
    assert "enrolled by city-fire" in words
    assert "by one hub's word: within 20.000 s." in words


def named(name: str) -> dict[str, str]:
    return next(each for each in VECTORS if each["name"] == name)


def test_words_say_what_the_series_leaves_out_so_that_a_gap_is_no_silence(tmp_path: Path) -> None:
    words = run(*files(tmp_path, named("reading"))).output
    kept = "kept when it moved by more than 5 ppm or after 60 s; sampled every 1 s"
    assert f"Of this series: {kept}; every value 30 s before and after a transition." in words
    words = run(*files(tmp_path, named("restricted"))).output
    assert "Of this series: every value is kept; sampled every 50 ms." in words


def test_words_tell_what_an_output_did_and_why(tmp_path: Path) -> None:
    words = run(*files(tmp_path, named("actuation"))).output
    assert "output siren acts because of contract gas.ch4.high; its read-back saw it move" in words
    assert "at 2026-01-01 00:00:21.000 UTC. It stands in block 1/1." in words
    assert "Time: its clock was set by a time server." in words


def test_words_tell_which_series_changed_its_state(tmp_path: Path) -> None:
    assert "Event: series kitchen.ch4 is degraded: nack at" in run(*files(tmp_path, named("status"))).output


def test_words_give_the_values_that_were_kept_for_a_transition(tmp_path: Path) -> None:
    data, trusted = forge(Case(leaf="earlier"))
    words = run(*files(tmp_path, {"file": data.hex(), "trust": trusted.hex()})).output
    assert "Event: 3 values of series room.s1 from 30000 ms to 2500 ms before a transition" in words
    assert "Values: -0.05 ppm at 2025-12-31 23:59:50.500 UTC, 0.09 ppm at" in words


def test_another_chain_is_refused(tmp_path: Path) -> None:
    evidence, trust = files(tmp_path, VECTORS[0])
    trust.write_text("00" * 32)
    result = run(evidence, trust)
    assert result.exit_code == 1
    assert "BadEvidence" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_changed_byte_is_refused(tmp_path: Path) -> None:
    evidence, trust = files(tmp_path, VECTORS[0])
    data = bytearray(evidence.read_bytes())
    data[len(data) // 2] ^= 1
    evidence.write_bytes(data)
    assert run(evidence, trust).exit_code == 1


def test_who_gives_the_certificate_is_told_of_the_record_in_it(tmp_path: Path) -> None:
    (tmp_path / "flat-3.pdf").write_bytes(b"%PDF-1.7")
    result = run(tmp_path / "flat-3.pdf", tmp_path / "trust")
    assert result.exit_code == 1
    assert "flat-3.commissioning --technician" in result.stderr


def test_a_missing_file_and_a_wrong_trust_file_are_named(tmp_path: Path) -> None:
    evidence, trust = files(tmp_path, VECTORS[0])
    assert "nowhere: No such file" in run(tmp_path / "nowhere", trust).stderr
    assert "a trust file is a genesis or its hash" in run(evidence, evidence).stderr
