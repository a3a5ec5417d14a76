"""Evidence out of a federation's hub, sealed by a real engine: of a gateway that moved here, of a later authority."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from chain import examples, federation, recorded

from gateway.chain.block import Block, Header
from gateway.chain.cometbft import CometSeal
from gateway.chain.evidence import Finding, verify_evidence
from gateway.chain.finality import Seal
from gateway.chain.genesis import COMETBFT
from gateway.chain.ordered import encode_transaction
from gateway.chain.verify import open_block
from hub.consensus.base import FinalBlock
from hub.evidence import Archive, NoEvidence, alarm_evidence, reading_evidence
from hub.ledger.ledger import Ledger
from hub.storage.store import NewBlock, Store

DOC = federation.genesis()
SEALED = range(2, 10)  # the recorded engine had the example's state from final block 2 on


def kept(block: Block) -> NewBlock:
    header, classes = Header.decode(block.header), [each.klass for each in examples.CATALOGUE]
    return NewBlock(block, header, open_block(block, header, classes, DOC), federation.LATER)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    """A hub's store after the page's example and some empty final blocks, each with the engine's own seal."""
    made, store = federation.build(), Store(tmp_path / "ledger.db")
    ledger = Ledger(DOC, store.chain)
    ledger.genesis(DOC.encode())
    store.library.add_catalogue(examples.CATALOGUE)
    store.library.add_contracts([examples.DOCUMENT])
    store.add_blocks([kept(made.block), kept(made.newcomers_block)])
    store.add_alarms([(federation.GID, made.alarm, "")], federation.LATER)
    txs = tuple(map(encode_transaction, federation.transactions()))
    for height in range(1, 10):
        time = federation.LATER + 2999 + height
        ledger.finalize(FinalBlock(height, time, bytes(32), txs if height == 2 else ()))
        ledger.commit()
    for step in recorded.comet_seal(9).steps:
        store.chain.add_step(step)
    for height in SEALED:
        alone = replace(recorded.comet_seal(height), steps=())
        store.chain.add_seal(height, Seal(COMETBFT, alone.encode()))
    yield Archive(DOC, store, ledger)
    store.close()


def proves(data: bytes) -> Finding:
    return verify_evidence(data, DOC.hash)


def test_an_alarm_of_before_the_move_is_proved_with_where_its_gateway_came_from(archive: Archive) -> None:
    made = federation.build()
    found = proves(alarm_evidence(archive, made.alarm.hash))
    assert found.imported is not None
    assert found.imported.chain == federation.old().chain.genesis.hash
    assert found.raised is not None
    assert found.stood is not None
    assert found.stood.transition == found.raised.transition
    assert found.stood.header.height == 2


def test_a_reading_is_proved_with_the_authority_that_the_members_put_in_office(archive: Archive) -> None:
    found = proves(reading_evidence(archive, federation.NEW_ID, 1, 1))
    assert found.enrolled is not None
    assert (found.enrolled.authority, found.enrolled.founding) == ("civil-defence", False)
    assert found.as_of.word == "median of the validators' clocks"


def test_every_seal_in_a_file_shows_all_changes_of_the_validators(archive: Archive) -> None:
    file = reading_evidence(archive, federation.NEW_ID, 1, 1)
    found = proves(file)
    assert found.as_of.height == 9
    stored = archive.store.chain.checkpoint(9)
    assert stored is not None
    assert len(CometSeal.decode(stored.seal.data).steps) == 2


def test_what_is_not_sealed_yet_is_shown_as_of_the_last_seal(archive: Archive) -> None:
    """A federation seals a final block when the next one is decided: standing is what it was under the seal."""
    archive.ledger.finalize(FinalBlock(10, federation.LATER + 9000, bytes(32), ()))
    archive.ledger.commit()
    assert proves(reading_evidence(archive, federation.NEW_ID, 1, 1)).as_of.height == 9


def test_a_block_of_the_chain_taken_over_is_that_chains_to_prove(archive: Archive) -> None:
    with pytest.raises(NoEvidence):
        reading_evidence(archive, federation.GID, 1, 0)
