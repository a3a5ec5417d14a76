"""Seals from what a real engine once showed, voters' changes among it: verified, in order, whole."""

from __future__ import annotations

import base64
import copy
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from comets import DEADLINE, until
from enginekit import EngineRpc, Refusal

from gateway.chain.cometbft import CometSeal, Step
from gateway.chain.errors import ChainError
from gateway.chain.finality import AppState, Checkpoint, Seal
from gateway.chain.genesis import COMETBFT, Genesis
from gateway.chain.keys import SigningKey
from hub.consensus import comet_seals
from hub.consensus.base import FinalBlock, FinalEvent, Result
from hub.consensus.comet_rpc import RpcClient
from hub.consensus.comet_seals import Sealer, read_signed_header, read_validator
from hub.errors import EngineRefusal, StoreError
from hub.storage.store import Store

SHOWN: dict[str, Any] = json.loads((Path(__file__).parent.parent / "vectors/comet-rpc.json").read_text())
GENESIS = Genesis.decode(base64.b64decode(SHOWN["genesis"]))
APP = AppState.decode(bytes.fromhex(SHOWN["app"]))
LAST = 9


class Site:
    """A store with committed final blocks, and an engine that shows their headers."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.shown = directory, copy.deepcopy(SHOWN)
        self.store = Store(directory / "ledger.db")
        self.events: list[FinalEvent] = []
        self.engine = EngineRpc(directory, commit=self._commit, validators=self._validators)
        self.sealer = self.make()

    def make(self) -> Sealer:
        return Sealer(self.store.chain, GENESIS, RpcClient(self.directory), self.events.append)

    def committed(self, height: int) -> None:
        """Note a committed final block, as the ledger does, and tell the sealer."""
        with self.store.database.write() as db:
            db.execute(
                "INSERT INTO commits VALUES (?, ?, ?, ?)", (height, height, APP.log_size, APP.encode())
            )
        self.sealer.committed(FinalBlock(height, height, bytes(32), ()), Result(APP, ()))

    def decided(self, *heights: int) -> None:
        for height in heights:
            self.sealer.decided(height)
            self.committed(height)

    def checkpoint(self, height: int) -> Checkpoint:
        found = self.store.chain.checkpoint(height)
        assert found is not None
        return found

    def _commit(self, params: dict[str, Any]) -> dict[str, Any]:
        if params["height"] not in self.shown["commits"]:
            raise Refusal(f"height {params['height']} must be less than or equal to the current one")
        return {"signed_header": self.shown["commits"][params["height"]]}

    def _validators(self, params: dict[str, Any]) -> dict[str, Any]:
        return {"validators": self.shown["validators"][params["height"]]}

    def close(self) -> None:
        self.sealer.stop()
        self.engine.close()
        self.store.close()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(comet_seals, "_LATER", 0.1)
    made = Site(tmp_path)
    yield made
    made.close()


def test_each_final_block_is_told_of_in_order_with_a_seal_that_verifies_under_the_genesis_alone(
    site: Site,
) -> None:
    site.sealer.start()
    site.decided(*range(1, LAST + 2))
    until(lambda: len(site.events) == LAST)
    assert [event.block.height for event in site.events] == list(range(1, LAST + 1))
    for event in site.events:
        sealed = event.checkpoint.verify(GENESIS)
        assert sealed.height == event.block.height
        assert site.checkpoint(sealed.height) == event.checkpoint
    heights = [step.header.height for step in site.store.chain.steps()]
    assert heights == [4, 5, 7]
    assert [len(step.validators) for step in site.store.chain.steps()] == [4, 4, 3]
    assert site.sealer.sealed[0] == LAST
    assert {len(site.sealer.voters)} <= {3}


def test_a_seal_is_kept_without_the_voters_changes_and_shown_with_them(site: Site) -> None:
    site.sealer.start()
    site.decided(*range(1, LAST + 2))
    until(lambda: len(site.events) == LAST)
    kept = Seal.decode(site.store.database.value("SELECT seal FROM seals WHERE height = ?", (LAST,)))
    assert CometSeal.decode(kept.data).steps == ()
    assert len(CometSeal.decode(site.checkpoint(LAST).seal.data).steps) == 3
    with pytest.raises(ChainError):
        replace(site.checkpoint(LAST), seal=kept).verify(GENESIS)


def test_nothing_is_told_before_the_header_above_it_is_decided(site: Site) -> None:
    site.sealer.start()
    site.decided(1)
    site.sealer.decided(2)
    until(lambda: len(site.events) == 1)
    site.committed(2)
    assert site.store.chain.checkpoint(2) is None
    site.sealer.decided(3)
    until(lambda: len(site.events) == 2)


def test_what_a_crash_left_unsealed_is_sealed_at_the_next_start_and_not_told_of(site: Site) -> None:
    site.sealer.start()
    site.decided(1, 2, 3)
    until(lambda: len(site.events) == 2)
    site.sealer.stop()
    for height in range(4, 7):
        site.committed(height)  # the crash came before their seals
    honest, seen = site.engine.methods["commit"], threading.Event()
    site.engine.methods["commit"] = lambda params: seen.wait(DEADLINE) and honest(params)
    site.sealer = site.make()
    site.sealer.start()
    assert site.sealer.sealed[0] == 2
    seen.set()
    until(lambda: site.store.chain.checkpoint(5))
    assert len(site.events) == 2
    for height in range(1, 6):
        assert site.checkpoint(height).verify(GENESIS).height == height
    site.decided(7)
    until(lambda: site.store.chain.checkpoint(6))
    site.decided(8)
    until(lambda: len(site.events) == 3)
    assert site.events[-1].block.height == 7


def test_a_change_of_voters_kept_before_a_crash_is_not_kept_twice(site: Site) -> None:
    site.sealer.start()
    site.decided(1, 2, 3, 4)
    until(lambda: len(site.events) == 3)
    site.sealer.stop()
    change_of_voters(site, 3)
    site.sealer = site.make()
    site.sealer.start()
    until(lambda: site.store.chain.checkpoint(3))
    assert [step.header.height for step in site.store.chain.steps()] == [4]
    assert site.checkpoint(3).verify(GENESIS).height == 3


def change_of_voters(site: Site, height: int) -> None:
    """Take back a seal, leaving the change of voters that was written before it."""
    with site.store.database.write() as db:
        db.execute("DROP TRIGGER seals_no_delete")
        db.execute("DELETE FROM seals WHERE height = ?", (height,))


def test_a_header_that_the_engine_has_dropped_holds_up_no_later_seal(site: Site) -> None:
    honest = site.engine.methods["commit"]

    def pruned(params: dict[str, Any]) -> Any:
        if int(params["height"]) < 3:
            raise Refusal(f"height {params['height']} is not available, lowest height is 3")
        return honest(params)

    site.engine.methods["commit"] = pruned
    site.sealer.start()
    site.decided(1, 2, 3)
    until(lambda: site.events)
    assert [event.block.height for event in site.events] == [2]
    assert site.store.chain.checkpoint(1) is None


def test_votes_that_do_not_verify_are_left_out_while_enough_are_left(site: Site) -> None:
    signatures = site.shown["commits"]["2"]["commit"]["signatures"]
    for_block = [each for each in signatures if each["block_id_flag"] == 2]
    if len(for_block) == 4:
        for_block[1]["signature"] = base64.b64encode(bytes(64)).decode()
    site.sealer.start()
    site.decided(1, 2)
    until(lambda: site.events)
    seal = CometSeal.decode(site.checkpoint(1).seal.data)
    assert len(seal.commit.precommits) == 3
    assert site.checkpoint(1).verify(GENESIS).height == 1


@pytest.mark.parametrize(
    "lie", ["two of four", "another header", "another height", "another application hash"]
)
def test_a_seal_that_does_not_hold_is_not_kept(site: Site, lie: str) -> None:
    shown = site.shown["commits"]
    honest = copy.deepcopy(shown["2"])
    if lie == "two of four":
        for vote in shown["2"]["commit"]["signatures"][:2]:
            vote["block_id_flag"] = 3
    elif lie == "another header":
        shown["2"]["header"]["data_hash"] = "00" * 32
    elif lie == "another height":
        shown["2"] = copy.deepcopy(shown["3"])
    site.sealer.start()
    site.sealer.decided(1)
    if lie == "another application hash":
        other = replace(APP, log_size=APP.log_size + 1)
        with site.store.database.write() as db:
            db.execute("INSERT INTO commits VALUES (1, 1, ?, ?)", (other.log_size, other.encode()))
        site.sealer.committed(FinalBlock(1, 1, bytes(32), ()), Result(other, ()))
    else:
        site.committed(1)
    site.sealer.decided(2)
    asked: list[object] = []
    site.engine.methods["commit"] = lambda params: asked.append(params) or {"signed_header": shown["2"]}
    until(lambda: len(asked) > 1)
    assert site.store.chain.checkpoint(1) is None
    assert site.events == []
    if lie != "another application hash":
        shown["2"] = honest
        until(lambda: site.events)


def test_voters_other_than_those_a_header_names_are_not_believed(site: Site) -> None:
    stranger = base64.b64encode(SigningKey(bytes(32)).public).decode()
    site.shown["validators"]["5"][0]["pub_key"]["value"] = stranger
    site.sealer.start()
    site.decided(1, 2, 3, 4)
    until(lambda: len(site.events) == 2)
    assert site.store.chain.steps() == ()
    assert site.store.chain.checkpoint(3) is None


def test_a_full_disk_delays_a_seal_and_its_telling(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []
    honest = site.store.chain.add_seal

    def full(height: int, seal: Seal) -> None:
        tries.append(height)
        if len(tries) == 1:
            raise StoreError("the disk is full")
        honest(height, seal)

    monkeypatch.setattr(site.store.chain, "add_seal", full)
    site.sealer.start()
    site.decided(1, 2)
    until(lambda: site.events)
    assert tries == [1, 1]


@pytest.mark.parametrize("document", [{}, {"header": {}, "commit": {}}, {"header": 7, "commit": None}])
def test_what_is_no_signed_header_is_refused_by_name(document: dict[str, Any]) -> None:
    with pytest.raises(EngineRefusal, match="no signed header"):
        read_signed_header(document)
    with pytest.raises(EngineRefusal, match="no voter"):
        read_validator(document)


def test_the_shown_changes_are_steps_that_another_verifier_can_take() -> None:
    header, commit = read_signed_header(SHOWN["commits"]["4"])
    following = tuple(map(read_validator, SHOWN["validators"]["5"]))
    last, votes = read_signed_header(SHOWN["commits"]["5"])
    seal = Seal(COMETBFT, CometSeal((Step(header, commit, following),), last, votes).encode())
    assert Checkpoint(APP, seal).verify(GENESIS).height == 4
