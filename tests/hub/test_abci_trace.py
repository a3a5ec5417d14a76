"""What a real engine once asked is answered today as it was then, without the engine.

A trace that no longer fits, because the ledger's rules have changed, is recorded anew: tests/hub/record_abci.py.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from abcikit import FLUSH, Client, kinds
from hubkit import MemoryStore

from gateway.chain.genesis import Genesis
from hub.consensus import abci_pb2 as pb
from hub.consensus.abci import AbciServer
from hub.consensus.application import Application
from hub.consensus.base import FinalBlock, Result, TxResult
from hub.consensus.comet_home import address
from hub.ledger.ledger import Ledger
from hub.storage.store import Store

TRACE: dict[str, Any] = json.loads((Path(__file__).parent.parent / "vectors/abci-trace.json").read_text())
GENESIS = Genesis.decode(base64.b64decode(TRACE["genesis"]))
EXCHANGES = [
    (pb.Request.FromString(base64.b64decode(asked)), pb.Response.FromString(base64.b64decode(answered)))
    for _, asked, answered in TRACE["exchanges"]
]


class Heard:
    """Follows nothing up, and keeps what it heard."""

    def __init__(self) -> None:
        self.blocks: list[FinalBlock] = []

    def decided(self, height: int) -> None:
        """Needs nothing."""

    def committed(self, block: FinalBlock, result: Result) -> None:
        self.blocks.append(block)

    def checked(self, tx: bytes, result: TxResult) -> None:
        """Needs nothing."""


@pytest.fixture(params=["memory", "sqlite"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    if request.param == "memory":
        yield Ledger(GENESIS, MemoryStore())
        return
    store = Store(tmp_path / "ledger.db")
    yield Ledger(GENESIS, store.chain)
    store.close()


def application(ledger: Ledger, heard: Heard) -> Application:
    return Application(ledger, GENESIS, heard, {address(hub.key) for hub in GENESIS.hubs}.__contains__)


def agreed(response: pb.Response) -> bytes:
    """What of an answer is agreed on, which its words are not, nor what a proposer chooses."""
    copy = pb.Response()
    copy.CopyFrom(response)
    if copy.WhichOneof("value") == "check_tx":
        copy.check_tx.log = ""
    if copy.WhichOneof("value") == "prepare_proposal":
        del copy.prepare_proposal.txs[:]
    for result in copy.finalize_block.tx_results if copy.HasField("finalize_block") else ():
        result.log = ""
    return copy.SerializeToString(deterministic=True)


def test_the_trace_has_every_kind_of_request_that_a_life_brings() -> None:
    seen = Counter(request.WhichOneof("value") for request, _ in EXCHANGES)
    expected = ("info", "init_chain", "query", "check_tx", "prepare_proposal", "process_proposal")
    assert set(seen) >= {*expected, "finalize_block", "commit"}
    codes = {answer.check_tx.code for _, answer in EXCHANGES if answer.WhichOneof("value") == "check_tx"}
    assert 0 in codes
    assert len(codes) > 1


def test_every_request_is_answered_as_it_was(ledger: Ledger) -> None:
    answer = application(ledger, Heard()).answer
    for number, (request, expected) in enumerate(EXCHANGES):
        answered = answer(request)
        assert agreed(answered) == agreed(expected), (number, request)
        if request.WhichOneof("value") == "prepare_proposal":
            proposal = pb.Proposal(txs=answered.prepare_proposal.txs)
            assert answer(pb.Request(process_proposal=proposal)).process_proposal.result == 1
    assert ledger.info().app_hash.hex() == TRACE["app_hash"]


def test_the_trace_over_a_socket_gives_the_same(ledger: Ledger, tmp_path: Path) -> None:
    heard = Heard()
    server = AbciServer(tmp_path, application(ledger, heard).answer)
    server.start()
    client = Client(tmp_path)
    for request, expected in EXCHANGES:
        answered, flushed = client.ask(request, FLUSH)
        assert agreed(answered) == agreed(expected)
        assert kinds([flushed]) == ["flush"]
    client.close()
    server.stop()
    assert [block.height for block in heard.blocks] == list(range(1, len(heard.blocks) + 1))


def test_a_crash_at_any_commit_is_made_good_by_the_engine(tmp_path: Path) -> None:
    """The process dies before or after each commit; the engine then finalizes what is not on disk."""
    rounds = [request for request, _ in EXCHANGES if request.WhichOneof("value") == "finalize_block"]
    commit = pb.Request(commit=pb.Nothing())
    for request in rounds:
        for crash_before_commit in (True, False):
            store = Store(tmp_path / "ledger.db")
            ledger = Ledger(GENESIS, store.chain)
            app = application(ledger, Heard())
            if ledger.info().height < request.finalize_block.height:
                app.answer(request)
                if not crash_before_commit:
                    app.answer(commit)
            store.close()
    store = Store(tmp_path / "ledger.db")
    assert Ledger(GENESIS, store.chain).info().app_hash.hex() == TRACE["app_hash"]
    store.close()
