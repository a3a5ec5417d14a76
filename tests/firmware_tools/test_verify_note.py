"""`tocsin-tools verify` with a checkpoint: who stands behind it, and whether two are of one history."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from chain import federation as example
from chain import recorded
from click.testing import CliRunner, Result
from fleet import Fleet, seeded

from firmware_tools.cli import main
from gateway.chain.cometbft import chain_id
from gateway.chain.entries import roster_key
from gateway.chain.finality import Checkpoint
from gateway.chain.genesis import COMETBFT, Genesis, Hub, Validator
from gateway.chain.keys import SigningKey
from gateway.chain.members import members_file
from gateway.chain.notes import (
    COSIGNATURE,
    LogHead,
    Note,
    NoteKey,
    cosign_note,
    hub_key,
    proof_text,
    sign_note,
)
from gateway.chain.trees import LogTree, leaf_hash

KEYS = [SigningKey(seeded("note", place)) for place in range(4)]
OUTSIDE = SigningKey(seeded("note", "outside"))
VKEY = NoteKey("university.example/tocsin", COSIGNATURE, OUTSIDE.public)
TREE = LogTree([leaf_hash(bytes((i,))) for i in range(20)])
FORK = LogTree([leaf_hash(bytes((i,))) for i in (*range(8), *range(30, 42))])
TIME = 1_795_000_000


def federation() -> Genesis:
    hubs = tuple(Hub(f"hub-{i + 1}", f"agency-{i + 1}", key.public) for i, key in enumerate(KEYS))
    voters = tuple(Validator(SigningKey(seeded("voter", i)).public, 1) for i in range(4))
    return replace(Fleet().genesis, engine=COMETBFT, hubs=hubs, validators=voters)


GENESIS = federation()
ORIGIN = chain_id(GENESIS.hash)


def note(tree: LogTree, size: int, signer: int = 0, cosigners: Sequence[int] = (1, 2)) -> bytes:
    text = LogHead(ORIGIN, size, tree.root(size)).text
    hubs = [(hub_key(ORIGIN, GENESIS.hubs[i]).name, KEYS[i]) for i in cosigners]
    lines = [cosign_note(key, name, text, TIME) for name, key in (*hubs, (VKEY.name, OUTSIDE))]
    return Note(text, (sign_note(KEYS[signer], ORIGIN, text), *lines)).encode()


@pytest.fixture
def trust(tmp_path: Path) -> Path:
    path = tmp_path / "genesis.cbor"
    path.write_bytes(GENESIS.encode())
    return path


def run(directory: Path, data: bytes, trust: Path, *more: str) -> Result:
    file = directory / "today.note"
    file.write_bytes(data)
    arguments = ["verify", str(file), "--trust", str(trust), *more]
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def kept(directory: Path, name: str, data: bytes | str) -> str:
    path = directory / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return str(path)


def test_names_and_times_of_all_who_signed_are_told(tmp_path: Path, trust: Path) -> None:
    result = run(tmp_path, note(TREE, 9), trust, "--witness", str(VKEY))
    assert result.exit_code == 0
    assert "the log has 9 leaves" in result.output
    assert "Signed as the log by hub hub-1 of agency-1." in result.output
    assert "Cosigned by hub hub-3 of agency-3 at 2026-11-18 11:06:40.000 UTC" in result.output
    assert "Cosigned by witness university.example/tocsin at 2026-11-18 11:06:40.000 UTC" in result.output
    assert "Hubs with 3 of 4 votes stand behind it, more than two thirds." in result.output


def test_unknown_signers_are_named_and_count_for_nothing(tmp_path: Path, trust: Path) -> None:
    result = run(tmp_path, note(TREE, 9, cosigners=(1,)), trust)
    assert "passed over: university.example/tocsin." in result.output
    assert "2 of 4 votes stand behind it, not more than two thirds." in result.output


def test_the_statement_is_one_json_object(tmp_path: Path, trust: Path) -> None:
    old, proof = note(TREE, 5), proof_text(5, TREE.consistency(5, 9))
    more = ("--against", kept(tmp_path, "old.note", old), "--proof", kept(tmp_path, "proof.txt", proof))
    stated = json.loads(run(tmp_path, note(TREE, 9), trust, "--json", *more).output)
    assert stated["genesis"] == GENESIS.hash.hex()
    assert stated["checkpoint"]["signed"] == ["hub-1"]
    assert stated["checkpoint"]["cosigned"] == [["hub-2", TIME], ["hub-3", TIME]]
    assert (stated["votes"], stated["members_as_of"]) == ([3, 4], None)
    assert stated["consistent_with"]["size"] == 5


@pytest.mark.parametrize(("this", "that"), [(9, 5), (5, 9), (9, 9)])
def test_two_of_one_history_agree_whichever_came_first(
    tmp_path: Path, trust: Path, this: int, that: int
) -> None:
    more = ["--against", kept(tmp_path, "other.note", note(TREE, that, signer=1))]
    if this != that:
        more += ["--proof", kept(tmp_path, "proof.txt", proof_text(5, TREE.consistency(5, 9)))]
    result = run(tmp_path, note(TREE, this), trust, *more)
    assert result.exit_code == 0
    assert f"one history with the other checkpoint, of {that} leaves" in result.output


def test_two_roots_of_one_size_are_told_with_their_signers(tmp_path: Path, trust: Path) -> None:
    other = kept(tmp_path, "other.note", note(FORK, 9, signer=3, cosigners=()))
    result = run(tmp_path, note(TREE, 9), trust, "--against", other)
    assert result.exit_code == 1
    assert "two versions: of 9 leaves hub-1, hub-2, hub-3 signed another root than hub-4" in result.stderr


@pytest.mark.parametrize("start", [4, 8])
def test_a_proof_of_another_log_or_size_does_not_join_two(tmp_path: Path, trust: Path, start: int) -> None:
    proof = kept(tmp_path, "proof.txt", proof_text(start, FORK.consistency(start, 12)))
    other = kept(tmp_path, "other.note", note(TREE, 5))
    result = run(tmp_path, note(TREE, 9), trust, "--against", other, "--proof", proof)
    assert result.exit_code == 1
    assert "does not lead from one to the other" in result.stderr


def test_two_sizes_without_a_proof_say_where_to_get_it(tmp_path: Path, trust: Path) -> None:
    result = run(tmp_path, note(TREE, 9), trust, "--against", kept(tmp_path, "other.note", note(TREE, 5)))
    assert result.exit_code == 1
    assert "/v1/log/proof?old=5&new=9" in result.stderr


def test_a_note_that_nobody_known_signed_or_one_signed_falsely_is_refused(
    tmp_path: Path, trust: Path
) -> None:
    text = LogHead(ORIGIN, 9, TREE.root(9)).text
    strange = Note(text, (sign_note(OUTSIDE, ORIGIN, text),)).encode()
    for data in (strange, note(TREE, 9).replace(b"\n9\n", b"\n8\n"), note(TREE, 9)[:-1]):
        result = run(tmp_path, data, trust)
        assert result.exit_code == 1
        assert "today.note proves nothing" in result.stderr
        assert result.stderr.count("\n") == 1


def test_another_chains_log_is_refused(tmp_path: Path, trust: Path) -> None:
    trust.write_bytes(Fleet(7).genesis.encode())
    assert "WrongChain" in run(tmp_path, note(TREE, 9), trust).stderr


def test_a_hash_alone_does_not_say_who_signs(tmp_path: Path, trust: Path) -> None:
    trust.write_text(GENESIS.hash.hex())
    assert "only the genesis itself says" in run(tmp_path, note(TREE, 9), trust).stderr


def test_a_verifier_key_with_a_typing_error_is_named(tmp_path: Path, trust: Path) -> None:
    result = run(tmp_path, note(TREE, 9), trust, "--witness", str(VKEY)[:-2])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1


def test_options_of_checkpoints_do_not_go_with_evidence(tmp_path: Path, trust: Path) -> None:
    result = run(tmp_path, b"\x85\x01", trust, "--against", str(trust))
    assert "is no checkpoint" in result.stderr


def test_a_member_that_came_later_counts_once_a_file_of_members_shows_it(tmp_path: Path, trust: Path) -> None:
    genesis, chain = example.genesis(), example.build().chain
    trust.write_bytes(genesis.encode())
    text = LogHead(chain_id(genesis.hash), 9, TREE.root(9)).text
    data = Note(text, (sign_note(example.FIFTH, chain_id(genesis.hash), text),)).encode()
    assert "none of the known keys" in run(tmp_path, data, trust).stderr
    file = members_file(Checkpoint(chain.app, recorded.seal(9)), chain.shown(roster_key()))
    shown = run(tmp_path, data, trust, "--members", kept(tmp_path, "members.cbor", file))
    assert "Signed as the log by hub hub-5 of civil-defence." in shown.output
    assert "Hubs with 10 of 40 votes stand behind it" in shown.output
    assert "Its members are as of final block 9" in shown.output
    damaged = kept(tmp_path, "damaged.cbor", file[:-1])
    assert "damaged.cbor" in run(tmp_path, data, trust, "--members", damaged).stderr
