"""The ledger does with the page's example of a federation what the page says, and what a real engine sealed."""

from __future__ import annotations

from pathlib import Path

from chain import federation, recorded

from gateway.chain.finality import Checkpoint
from gateway.chain.ordered import encode_transaction
from hub.consensus.base import FinalBlock, ValidatorUpdate
from hub.ledger.ledger import Ledger
from hub.storage.store import Store


def test_the_example_leads_to_the_application_hash_that_the_engine_sealed(tmp_path: Path) -> None:
    genesis, store = federation.genesis(), Store(tmp_path / "ledger.db")
    ledger = Ledger(genesis, store.chain)
    ledger.genesis(genesis.encode())
    txs = tuple(map(encode_transaction, federation.transactions()))
    result = ledger.finalize(FinalBlock(1, federation.LATER + 3000, bytes(32), txs))
    assert [each.error for each in result.tx_results if each.error] == []
    assert Checkpoint(result.app, recorded.seal(9)).verify(genesis).height == 9
    fourth = genesis.validators[3].key
    assert set(result.validator_updates) == {
        ValidatorUpdate(federation.FIFTH_VALIDATOR.public, 10),
        ValidatorUpdate(fourth, 0),
    }
    store.close()
