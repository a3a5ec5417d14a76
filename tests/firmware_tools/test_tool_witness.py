"""The witness outside all hubs: what it cosigns, what it never does, and what it keeps."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from test_verify_note import FORK, GENESIS, KEYS, ORIGIN, TREE, note

from firmware_tools.errors import BadFile
from firmware_tools.trusted_log import TrustedLog
from firmware_tools.witness import Server, Witness
from gateway.chain.errors import BadProof, BadSignature, OtherHead, WrongChain, WrongShape
from gateway.chain.notes import LogHead, Note, NoteKey, Submission, parse_lines, proof_text, sign_note
from gateway.chain.trees import LogTree

NAME = "university.example/tocsin"


def opened(directory: Path, name: str = NAME) -> Witness:
    return Witness(directory, name, [TrustedLog.of(GENESIS)])


def submission(old: int, new: int, tree: LogTree = TREE, cosigners: Sequence[int] = (1, 2)) -> bytes:
    path = tree.consistency(old, new) if old else ()
    return Submission(old, path, Note.parse(note(tree, new, cosigners=cosigners))).encode()


def test_it_cosigns_what_extends_what_it_knows(tmp_path: Path) -> None:
    witness = opened(tmp_path / "w")
    for old, new in ((0, 3), (3, 9), (9, 9)):
        (line,) = parse_lines(witness.add_checkpoint(submission(old, new)))
        text = LogHead(ORIGIN, new, TREE.root(new)).text
        assert Note(text, (line,)).verify([witness.vkey])[0].time
    assert witness.known(ORIGIN) == LogHead(ORIGIN, 9, TREE.root(9))


def test_it_is_the_same_after_a_restart(tmp_path: Path) -> None:
    first = opened(tmp_path / "w")
    first.add_checkpoint(submission(0, 9))
    again = opened(tmp_path / "w", "")
    assert again.vkey == first.vkey
    with pytest.raises(OtherHead) as caught:
        again.add_checkpoint(submission(0, 12))
    assert caught.value.size == 9
    with pytest.raises(WrongShape):
        again.add_checkpoint(submission(9, 9).replace(b"old 9", b"old 12"))


def test_one_lying_hub_cannot_lead_it_astray(tmp_path: Path) -> None:
    witness = opened(tmp_path / "w")
    witness.add_checkpoint(submission(0, 9))
    for cosigners in ((), (1,)):
        with pytest.raises(BadSignature, match="votes are behind"):
            witness.add_checkpoint(submission(9, 12, cosigners=cosigners))
    assert witness.known(ORIGIN) == LogHead(ORIGIN, 9, TREE.root(9))


def test_what_most_votes_gave_to_another_log_stays_in_its_directory(tmp_path: Path) -> None:
    witness = opened(tmp_path / "w")
    witness.add_checkpoint(submission(0, 9))
    with pytest.raises(BadProof):
        witness.add_checkpoint(submission(9, 12, FORK))
    with pytest.raises(BadProof, match="different roots"):
        witness.add_checkpoint(Submission(9, (), Note.parse(note(FORK, 9))).encode())
    kept = sorted(path.read_bytes() for path in (tmp_path / "w" / "disputed").iterdir())
    assert kept == sorted([note(FORK, 9), note(FORK, 12)])
    assert (tmp_path / "w" / f"{ORIGIN}.note").read_bytes() == note(TREE, 9)


def test_a_question_with_another_old_size_is_no_dispute(tmp_path: Path) -> None:
    witness = opened(tmp_path / "w")
    witness.add_checkpoint(submission(0, 9))
    with pytest.raises(OtherHead):
        witness.add_checkpoint(submission(5, 12))
    assert not (tmp_path / "w" / "disputed").exists()


def test_a_log_it_does_not_follow_and_a_strangers_signature_are_refused(tmp_path: Path) -> None:
    witness = opened(tmp_path / "w")
    text = LogHead("elsewhere.example", 9, TREE.root(9)).text
    with pytest.raises(WrongChain):
        witness.add_checkpoint(Submission(0, (), Note(text, (sign_note(KEYS[0], ORIGIN, text),))).encode())
    text = LogHead(ORIGIN, 9, TREE.root(9)).text
    with pytest.raises(BadSignature):
        witness.add_checkpoint(Submission(0, (), Note(text, (sign_note(KEYS[0], "x", text),))).encode())


def test_a_damaged_memory_stops_it(tmp_path: Path) -> None:
    witness = opened(tmp_path / "w")
    witness.add_checkpoint(submission(0, 9))
    (tmp_path / "w" / f"{ORIGIN}.note").write_bytes(b"")
    with pytest.raises(BadFile, match="might cosign a fork"):
        witness.add_checkpoint(submission(9, 12))


def test_it_has_one_name_for_ever_and_its_key_is_its_own(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="give the witness a name"):
        opened(tmp_path / "w", "")
    opened(tmp_path / "w")
    with pytest.raises(BadFile, match="a directory of its own"):
        opened(tmp_path / "w", "other.example")
    with pytest.raises(BadFile):
        opened(tmp_path / "x", "with space")
    assert (tmp_path / "w" / "witness.key").stat().st_mode & 0o777 == 0o600


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(opened(tmp_path / "w"), "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_http_answers_as_tlog_witness_says(server: Server, request: pytest.FixtureRequest) -> None:
    host, port = server.server_address[:2]
    connection = http.client.HTTPConnection(str(host), port, timeout=60)
    request.addfinalizer(connection.close)

    def post(body: bytes, path: str = "/add-checkpoint") -> tuple[int, str | None]:
        connection.request("POST", path, body)  # on one connection, kept open
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers["Content-Type"]

    text = "text/plain; charset=utf-8"
    assert post(submission(0, 3)) == (200, text)
    assert post(submission(0, 9)) == (409, "text/x.tlog.size")
    assert post(Submission(3, (bytes(32),), Note.parse(note(TREE, 9))).encode())[0] == 422
    assert post(submission(3, 9, cosigners=()))[0] == 403
    assert post(submission(3, 9).replace(b"tocsin-", b"tocsin."))[0] == 404
    assert post(proof_text(3, ()).encode())[0] == 400
    assert post(submission(3, 9), "/elsewhere")[0] == 404
    assert post(b"x" * 100_000)[0] == 413


def test_the_command_prints_its_key_and_ends_when_told(tmp_path: Path) -> None:
    trust = tmp_path / "genesis.cbor"
    trust.write_bytes(GENESIS.encode())
    command = [sys.executable, "-c", "from firmware_tools.cli import main; main()", "witness"]
    options = ["--dir", str(tmp_path / "w"), "--name", NAME, "--trust", str(trust), "--listen", "127.0.0.1:0"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command + options, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        said = "".join(process.stdout.readline() for _ in range(3))
        found = re.fullmatch(r'\[\[witnesses\]\]\nurl = "http://127.0.0.1:(\d+)"\nvkey = "(.+)"\n', said)
        assert found is not None
        assert NoteKey.parse(found[2]).name == NAME
        connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=60)
        connection.request("POST", "/add-checkpoint", submission(0, 3))
        assert connection.getresponse().status == 200
        connection.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
