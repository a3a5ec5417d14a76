"""Seals that a real engine made over the federation's example: `tests/vectors/cometbft.json`, read."""

from __future__ import annotations

import json
from typing import Any

from chain.examples import VECTORS

from gateway.chain.cometbft import CometHeader, CometSeal, Commit, Precommit, Step, in_order
from gateway.chain.finality import Seal
from gateway.chain.genesis import COMETBFT, Validator


def validators() -> tuple[Validator, ...]:
    """The four validators of the recorded engine run, ten votes each."""
    recorded = json.loads((VECTORS / "cometbft.json").read_text())
    return tuple(Validator(bytes.fromhex(each), 10) for each in recorded["validators"])


def comet_seal(height: int) -> CometSeal:
    """The seal over final block `height` that the recorded engine made, set changes since genesis included."""
    recorded = json.loads((VECTORS / "cometbft.json").read_text())["headers"]
    steps = []
    for number in range(1, height + 1):
        this, following = recorded[str(number)], recorded[str(number + 1)]
        if this["set"] != following["set"]:
            changed = in_order([Validator(bytes.fromhex(k), p) for k, p in following["set"]])
            steps.append(Step(header_of(this), commit_of(this), tuple(changed)))
    last = recorded[str(height + 1)]
    return CometSeal(tuple(steps), header_of(last), commit_of(last))


def seal(height: int) -> Seal:
    return Seal(COMETBFT, comet_seal(height).encode())


def header_of(recorded: dict[str, Any]) -> CometHeader:
    """One recorded header."""
    return CometHeader.from_item(
        [bytes.fromhex(v[2:]) if str(v)[:2] == "0x" else v for v in recorded["header"]]
    )


def commit_of(recorded: dict[str, Any]) -> Commit:
    """The commit beside it."""
    votes = tuple(Precommit(i, s, n, bytes.fromhex(sig)) for i, s, n, sig in recorded["precommits"])
    return Commit(recorded["round"], recorded["parts"], bytes.fromhex(recorded["parts_hash"]), votes)
