"""Our verifier and CometBFT's own light client accept and refuse alike, on what a real engine signed.

The light client runs as it is, over a recorded run (four voters, whose set changes twice) and over a running one; a
small RPC server between alters what both then judge. Where the rules differ, ours is the stricter: see the last test.
"""

from __future__ import annotations

import base64
import copy
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from chain import federation
from chain.examples import VECTORS
from chain.recorded import commit_of, header_of
from comets import Federation, until
from lightkit import (
    Answers,
    Json,
    LightClient,
    Source,
    absent,
    seal_from,
    signed_header_json,
    validators_json,
)

from gateway.chain.cometbft import CometHeader, chain_id, in_order, sound_commit, verify_comet_seal
from gateway.chain.errors import BadSignature, ChainError
from gateway.chain.genesis import Genesis, Validator
from hub.consensus.base import ValidatorUpdate
from hub.consensus.comet_rpc import RpcClient

RECORDED = json.loads((VECTORS / "cometbft.json").read_text())["headers"]
LAST = max(map(int, RECORDED))
Alter = Callable[[Json], None]


@pytest.fixture
def program(require: Callable[[str], Path]) -> Path:
    return require("cometbft")


def recorded_answers(method: str, height: int) -> Json:
    """What the engine of the recorded run would answer."""
    found = RECORDED[str(height)]
    voters = [Validator(bytes.fromhex(key), power) for key, power in found["set"]]
    if method == "commit":
        return signed_header_json(header_of(found), commit_of(found), voters)
    if method == "validators":
        return validators_json(height, voters)
    raise LookupError(method)


def altered(source: Source, method: str, height: int, alter: Alter) -> Source:
    """A source of which one answer is altered."""

    def answers(asked: str, at: int) -> Json:
        answer = copy.deepcopy(source(asked, at))
        if (asked, at) == (method, height):
            alter(answer)
        return answer

    return answers


def ours(source: Source, height: int, genesis: Genesis) -> CometHeader:
    """The header that our own verifier accepts from the same answers."""
    return verify_comet_seal(seal_from(source, height), genesis)[0]


def check_alike(client: LightClient, source: Source, height: int, genesis: Genesis) -> None:
    theirs = client.header(height)
    header = ours(source, height, genesis)
    assert theirs["app_hash"].lower() == header.app_hash.hex()
    shown = signed_header_json(header, seal_from(source, height).commit, ())["signed_header"]["header"]
    assert theirs == shown | {"version": theirs["version"], "time": theirs["time"]}


def check_refused_alike(
    program: Path, home: Path, source: Source, height: int, genesis: Genesis, theirs: str, reason: str
) -> None:
    with Answers(source) as answers, LightClient(program, home, answers, chain_id(genesis.hash)) as client:
        assert re.search(theirs, client.refusal(height))
    with pytest.raises(ChainError, match=reason):
        ours(source, height, genesis)


# over a recorded run


@pytest.mark.parametrize("way", ["--sequential", "--trust-level=1/3"])
def test_every_recorded_header_is_accepted_alike_over_changes_of_the_voters(
    program: Path, tmp_path: Path, way: str
) -> None:
    genesis, home = federation.genesis(), tmp_path / "light"
    with (
        Answers(recorded_answers) as answers,
        LightClient(program, home, answers, chain_id(genesis.hash), way) as client,
    ):
        for height in (LAST, *range(2, LAST)):
            check_alike(client, recorded_answers, height, genesis)


def signed(answer: Json) -> Json:
    found: Json = answer["signed_header"]["commit"]
    return found


def flip_first_signature(answer: Json) -> None:
    vote = signed(answer)["signatures"][0]
    data = bytearray(base64.b64decode(vote["signature"]))
    data[5] ^= 1
    vote["signature"] = base64.b64encode(data).decode()


def leave_two(answer: Json) -> None:
    votes = signed(answer)["signatures"]
    votes[2:] = [absent() for _ in votes[2:]]


def leave_nobody(answer: Json) -> None:
    votes = signed(answer)["signatures"]
    votes[:] = [absent() for _ in votes]


def copy_a_vote(answer: Json) -> None:
    votes = signed(answer)["signatures"]
    votes[1] = votes[0] | {"validator_address": votes[1]["validator_address"]}


def change_round(answer: Json) -> None:
    signed(answer)["round"] += 1


def change_time_of_a_vote(answer: Json) -> None:
    vote = signed(answer)["signatures"][0]
    vote["timestamp"] = vote["timestamp"].replace("Z", "").rpartition(".")[0] + ".000000001Z"


def change_app_hash(answer: Json) -> None:
    answer["signed_header"]["header"]["app_hash"] = "00" * 32


def change_both_hashes(answer: Json) -> None:
    """A header that is whole in itself: the commit names its hash, but nobody signed that."""
    change_app_hash(answer)
    header = seal_from(lambda *_: answer, 1).header
    signed(answer)["block_id"]["hash"] = header.hash.hex().upper()


def change_chain(answer: Json) -> None:
    answer["signed_header"]["header"]["chain_id"] = "tocsin-" + "0" * 40


def give_one_more_power(answer: Json) -> None:
    answer["validators"][0]["voting_power"] = "1000"


WRONG = "wrong signature", "does not verify"
FEW = "insufficient voting power", "not more than two thirds"


@pytest.mark.parametrize(
    ("height", "method", "alter", "reasons"),
    [
        (3, "commit", flip_first_signature, WRONG),  # four voters of one power
        (3, "commit", leave_two, FEW),
        (8, "commit", flip_first_signature, WRONG),  # five of three powers, three of whom signed
        (8, "commit", leave_two, FEW),
        (8, "commit", leave_nobody, FEW),
        (8, "commit", copy_a_vote, WRONG),
        (8, "commit", change_round, WRONG),
        (8, "commit", change_time_of_a_vote, WRONG),
        (8, "commit", change_app_hash, ("commit signs block", "does not verify")),
        (8, "commit", change_both_hashes, WRONG),
        (8, "commit", change_chain, ("belongs to another chain", "cannot seal in")),
        (8, "validators", give_one_more_power, ("expected validator hash", "another .*validator set")),
    ],
    ids=lambda each: getattr(each, "__name__", None),
)
def test_what_was_altered_is_refused_alike(
    program: Path, tmp_path: Path, height: int, method: str, alter: Alter, reasons: tuple[str, str]
) -> None:
    source = altered(recorded_answers, method, height, alter)
    check_refused_alike(program, tmp_path / "light", source, height, federation.genesis(), *reasons)


def flip_last_signature(answer: Json) -> None:
    signed(answer)["signatures"].reverse()
    flip_first_signature(answer)
    signed(answer)["signatures"].reverse()


def test_a_false_signature_beyond_two_thirds_is_passed_over_by_theirs_and_left_out_of_our_seals(
    program: Path, tmp_path: Path
) -> None:
    genesis, height = federation.genesis(), 3
    source = altered(recorded_answers, "commit", height, flip_last_signature)
    with (
        Answers(source) as answers,
        LightClient(program, tmp_path / "light", answers, chain_id(genesis.hash)) as client,
    ):
        theirs = client.header(height)
    with pytest.raises(BadSignature):
        ours(source, height, genesis)
    seal = seal_from(source, height)
    sound = replace(seal, commit=sound_commit(seal.header, seal.commit, in_order(genesis.validators)))
    assert verify_comet_seal(sound, genesis)[0].app_hash.hex() == theirs["app_hash"].lower()


# over a running engine


@pytest.fixture
def running(program: Path, tmp_path: Path) -> Iterator[Federation]:
    found = Federation(tmp_path, str(program), interval=0.3)
    try:
        found.updates[3] = (ValidatorUpdate(found.genesis.validators[0].key, 13),)
        found.start()
        until(lambda: all(member.comet.status().height >= 8 for member in found.members))
        yield found
    finally:
        found.close()


def test_headers_of_a_running_federation_are_accepted_alike_and_its_seals_are_over_them(
    program: Path, tmp_path: Path, running: Federation
) -> None:
    genesis, rpc = running.genesis, RpcClient(running.members[0].settings.home)

    def source(method: str, height: int) -> Json:
        found: Json = rpc.call(method, height=str(height))
        return found

    with (
        Answers(source) as answers,
        LightClient(program, tmp_path / "light", answers, chain_id(genesis.hash)) as client,
    ):
        for height in range(2, 8):
            check_alike(client, source, height, genesis)
        for member in running.members:
            for event in member.events[:7]:
                sealed = event.checkpoint.verify(genesis)
                assert client.header(sealed.height + 1)["app_hash"].lower() == sealed.app_hash.hex()
    few = altered(source, "commit", 7, leave_two)
    check_refused_alike(program, tmp_path / "other", few, 7, genesis, *FEW)
    rpc.close()
