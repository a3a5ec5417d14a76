"""Evidence verified twice: by this project, and by a program in another language made from the format's page alone.

The two must agree on every file, whatever was done to it, and on every statement to the letter.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

import cbor2
import pytest
from second.cases import ACCEPTED, HONEST, REFUSED, Story
from second.forge import STAGES, Case, forge
from second.hashing import Item, encode
from second.mutants import change_bytes, change_item, misspell

from gateway.chain.errors import ChainError
from gateway.chain.evidence import verify_evidence

TESTS: Final = Path(__file__).parents[1]
VERIFIER: Final = TESTS / "second/verify.mjs"
MUTANTS: Final = 10_000
FORGERIES: Final = 4_000
MISSPELLINGS: Final = 2_000
MASKS: Final = (0x01, 0x20, 0x80, 0xFF)  # of a number's end, a CBOR major type, a sign, everything
SEED: Final = 20_261_122
REFUSAL: Final = "refused"


class File(NamedTuple):
    data: bytes
    trusted: bytes


class Golden(NamedTuple):
    name: str
    file: File
    proves: dict[str, Any]


def _file(data: str, trusted: str) -> File:
    return File(bytes.fromhex(data), bytes.fromhex(trusted))


def _golden() -> list[Golden]:
    vectors = json.loads((TESTS / "vectors/format.json").read_text())["evidence"]
    return [Golden(v["name"], _file(v["file"], v["trust"]), v["proves"]) for v in vectors]


GOLDEN: Final = _golden()
# What is hashed or signed as bytes, and a case that holds it.
SPELT: Final = (
    *((stage, Case()) for stage in ("ticket", "enrolment_body", "leaf", "header_bytes")),
    *((stage, Case()) for stage in ("block_body", "key_entry", "evidence")),
    ("key_end", Case(ended=6)),
    ("transition_bytes", Case(leaf="transition", alarm=True)),
    ("comet_seal", Case(engine=2)),
)
Second = Callable[[Sequence[File]], list[str]]


@pytest.fixture(scope="module")
def node(require: Callable[[str], Path]) -> Path:
    return require("node")


@pytest.fixture(scope="module")
def second(node: Path) -> Second:
    """The second verifier's verdicts, by one process for all files."""

    def verdicts(files: Sequence[File]) -> list[str]:
        lines = "".join(f"{file.data.hex()} {file.trusted.hex()}\n" for file in files)
        command = [node, VERIFIER, "--batch", "--trust", bytes(32).hex()]
        done = subprocess.run(command, input=lines, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        answers = done.stdout.splitlines()
        assert len(answers) == len(files)
        return [REFUSAL if answer.startswith(REFUSAL) else answer for answer in answers]

    return verdicts


def first(file: File) -> str:
    try:
        return canonical(verify_evidence(*file).statement())
    except ChainError:
        return REFUSAL


def canonical(statement: object) -> str:
    return json.dumps(statement, sort_keys=True, separators=(",", ":"))


def both(second: Second, files: Sequence[File]) -> list[tuple[str, str]]:
    with ThreadPoolExecutor(1) as pool:
        theirs = pool.submit(second, files)  # beside ours: it is another process
        ours = [first(file) for file in files]
        return list(zip(ours, theirs.result(), strict=True))


def agreed(second: Second, files: Iterable[tuple[str, File]]) -> dict[str, str]:
    """The verdicts by name, once nothing is in dispute."""
    names, data = zip(*files, strict=True)
    verdicts = dict(zip(names, both(second, data), strict=True))
    disputed = {name: pair for name, pair in verdicts.items() if pair[0] != pair[1]}
    assert not disputed
    return {name: ours for name, (ours, _) in verdicts.items()}


@pytest.mark.parametrize("golden", GOLDEN, ids=[golden.name for golden in GOLDEN])
def test_second_verifier_proves_the_golden_vectors(golden: Golden, node: Path, tmp_path: Path) -> None:
    path = tmp_path / "evidence"
    path.write_bytes(golden.file.data)
    command = [node, VERIFIER, path, "--trust", golden.file.trusted.hex()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert canonical(json.loads(done.stdout)) == canonical(golden.proves)


def test_second_verifier_refuses_in_one_line(node: Path, tmp_path: Path) -> None:
    path = tmp_path / "evidence"
    path.write_bytes(GOLDEN[0].file.data[:-1])
    command = [node, VERIFIER, path, "--trust", GOLDEN[0].file.trusted.hex()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)


def test_golden_files_in_one_batch(second: Second) -> None:
    verdicts = agreed(second, [(golden.name, golden.file) for golden in GOLDEN])
    assert verdicts == {golden.name: canonical(golden.proves) for golden in GOLDEN}


def test_another_chain_is_not_trusted(second: Second) -> None:
    others = [
        (golden.name, File(golden.file.data, _with_byte(golden.file.trusted, 0, 0))) for golden in GOLDEN
    ]
    assert set(agreed(second, others).values()) == {REFUSAL}


def _with_byte(data: bytes, place: int, byte: int) -> bytes:
    return data[:place] + bytes([byte]) + data[place + 1 :]


def test_no_byte_of_a_file_can_be_changed(second: Second) -> None:
    data, trusted = GOLDEN[0].file
    changed = [
        (f"byte {place} xor {mask:#x}", File(_with_byte(data, place, data[place] ^ mask), trusted))
        for place in range(len(data))
        for mask in MASKS
    ]
    assert set(agreed(second, changed).values()) == {REFUSAL}


def _mutant(rng: Random, number: int) -> tuple[str, File]:
    golden = rng.choice(GOLDEN)
    data, trusted = golden.file
    by_bytes = rng.random() < 0.5
    changed = change_bytes(rng, data) if by_bytes else encode(change_item(rng, cbor2.loads(data)))
    return f"{number}, of {golden.name}", File(changed, trusted)


def test_mutants_of_golden_files_are_not_in_dispute(second: Second) -> None:
    rng = Random(SEED)
    verdicts = agreed(second, [_mutant(rng, number) for number in range(MUTANTS)])
    # Some change leaves true evidence of less, such as a block without its `seen`: not all can be refused.
    assert 0.9 * MUTANTS < list(verdicts.values()).count(REFUSAL) < MUTANTS


def _misspelt(rng: Random, number: int) -> tuple[str, File]:
    """A golden file, or the bytes that something forged was hashed and signed from, in another spelling."""
    if rng.random() < 0.5:
        golden = rng.choice(GOLDEN)
        wrong = misspell(rng, cbor2.loads(golden.file.data))
        return f"{number}, of {golden.name}", File(wrong, golden.file.trusted)
    stage, case = rng.choice(SPELT)
    return f"{number}, of {stage}", File(*forge(case, {stage: lambda item: _misspelt_stage(rng, item)}))


def _misspelt_stage(rng: Random, item: Item) -> bytes:
    return misspell(rng, cbor2.loads(item) if isinstance(item, bytes) else item)


def test_there_is_one_spelling(second: Second) -> None:
    rng = Random(SEED)
    verdicts = agreed(second, [_misspelt(rng, number) for number in range(MISSPELLINGS)])
    assert set(verdicts.values()) == {REFUSAL}


def _forged(stories: Iterable[Story]) -> list[tuple[str, File]]:
    return [(story.name, File(*forge(story.case, story.bends))) for story in stories]


def test_honest_forgeries_are_accepted(second: Second) -> None:
    verdicts = agreed(second, [(str(case), File(*forge(case))) for case in HONEST])
    assert REFUSAL not in verdicts.values()


def test_odd_truths_are_accepted(second: Second) -> None:
    verdicts = agreed(second, _forged(ACCEPTED))
    assert [name for name, verdict in verdicts.items() if verdict == REFUSAL] == []


def test_well_signed_lies_are_refused(second: Second) -> None:
    verdicts = agreed(second, _forged(REFUSED))
    assert [name for name, verdict in verdicts.items() if verdict != REFUSAL] == []


def _forgery(rng: Random, number: int) -> tuple[str, File]:
    """A file with one lie by chance at one stage, hashed and signed onwards as if it were true."""
    case, stage = rng.choice(HONEST), rng.choice(STAGES)
    bends = {stage: lambda item: change_item(rng, item)}
    try:
        return f"{number}: {case} with another {stage}", File(*forge(case, bends))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        # No ledger stands on that lie.
        return _forgery(rng, number)


def test_forgeries_by_chance_are_not_in_dispute(second: Second) -> None:
    rng = Random(SEED)
    verdicts = agreed(second, [_forgery(rng, number) for number in range(FORGERIES)])
    assert 0 < list(verdicts.values()).count(REFUSAL) < FORGERIES
