"""A hub that truncates or rewrites its history with its own key passes its own audit, and not one against the past."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from fleet import Fleet
from proving import run, run_audit
from region import Region
from rewriting import rewrite

from gateway.chain.leaf import ALARMS
from hub.consensus.base import FinalBlock


@dataclass
class Past:
    """A stopped hub's directory, and what others kept of its history."""

    directory: Path
    fleet: Fleet
    checkpoint: Path
    receipt: Path


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Past:
    directory = tmp_path_factory.mktemp("region")
    with Region(directory) as region:
        gateway = region.add("a")
        gateway.start()
        region.await_alarms(gateway, more=3)
        region.await_blocks(gateway)
        region.come_to_rest()
    hub, checkpoint, receipt = region.hub.directory, directory / "checkpoint.cbor", directory / "receipt.cbor"
    code, text = run("hub.cli", "checkpoint", "--dir", hub, "-o", checkpoint)
    assert code == 0, text
    receipt.write_bytes(gateway.rows("SELECT body FROM receipts ORDER BY number DESC LIMIT 1")[0][0])
    return Past(hub, region.fleet, checkpoint, receipt)


@pytest.fixture
def past(lived: Past, tmp_path: Path) -> Past:
    return replace(lived, directory=shutil.copytree(lived.directory, tmp_path / "hub"))


def verdicts(past: Past) -> tuple[int, int, int]:
    """Exit codes of the audit alone, against the checkpoint, and against the custody receipt."""
    alone, text = run_audit(past.directory)
    assert alone == 0, text
    kept = [run_audit(past.directory, "--against", path) for path in (past.checkpoint, past.receipt)]
    for code, text in kept:
        assert code == 0 or text.startswith("against: "), text
    return alone, kept[0][0], kept[1][0]


def test_an_honest_history_agrees_with_what_was_kept_of_it(past: Past) -> None:
    assert verdicts(past) == (0, 0, 0)


def test_a_truncated_history_is_found_by_a_checkpoint_and_by_a_receipt(past: Past) -> None:
    def truncate(block: FinalBlock) -> FinalBlock | None:
        return block if block.height <= 6 else None

    rewrite(past.directory, past.fleet.genesis, past.fleet.hub_key, truncate)
    assert verdicts(past) == (0, 1, 1)


def test_a_history_without_its_alarms_is_found_by_a_checkpoint(past: Past) -> None:
    def hush(block: FinalBlock) -> FinalBlock:
        return replace(block, txs=tuple(tx for tx in block.txs if tx[1] != ALARMS))

    rewrite(past.directory, past.fleet.genesis, past.fleet.hub_key, hush)
    assert verdicts(past) == (0, 1, 0)


def test_a_truncated_history_that_goes_on_is_found_all_the_same(past: Past) -> None:
    """As high as the true one was, so that its height gives nothing away."""

    def empty(block: FinalBlock) -> FinalBlock:
        return block if block.height <= 6 else replace(block, txs=())

    rewrite(past.directory, past.fleet.genesis, past.fleet.hub_key, empty)
    assert verdicts(past) == (0, 1, 1)
