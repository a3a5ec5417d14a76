"""An audit of one hub of a federation: all of its chain once more, and every bit of what seals it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fedkit import Federation, SealingHub, agreed
from fleet import flip
from hubkit import DAY_MS
from rewriting_disk import change, rows

from gateway.chain.cometbft import CometSeal
from gateway.chain.custody import Promise, issue_receipts
from gateway.chain.keys import ALARM_RECEIPT
from gateway.chain.messages import AlarmReceipt
from gateway.chain.verify import open_block
from hub.auditing.audit import audit
from hub.auditing.report import AGAINST, LEDGER, Report
from hub.consensus.base import DUPLICATE_VOTE, Misbehaviour
from hub.storage.store import NewBlock

KEPT = {
    ("final_blocks", "time"): "final block",
    ("final_blocks", "hash"): "final block",
    ("final_blocks", "txs"): "final block",
    ("final_blocks", "misbehaviour"): "final block",
    ("commits", "time"): "final block",
    ("commits", "app"): "final block",
    ("seals", "seal"): "seal of final block",
    ("steps", "step"): "seal of final block",
    ("log", "leaf"): "log leaf",
    ("state", "value"): "state entry",
    ("records", "gateway"): "record kept",
    ("records", "tx"): "record kept",
    ("peer_batches", "hub"): "custody batch",
    ("peer_batches", "batch"): "custody batch",
    ("peer_promises", "height"): "custody batch",
    ("peer_promises", "promise"): "custody batch",
}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[SealingHub]:
    """Hub 0 of four, after everything happened once: members came, went, were suspended, caught, replaced."""
    four = Federation()
    hub = SealingHub(tmp_path / "hub", four)
    fleet = four.fleet
    hub.order()
    a = fleet.gateway("a")
    hub.order(fleet.order_enrolment(a.enrol()))
    block = a.block()
    hub.store.library.add_catalogue(a.catalogue)
    hub.store.library.add_contracts(a.documents)
    header = hub.ledger.headers.read(block.signed)[0]
    hub.store.add_blocks(
        [NewBlock(block, header, open_block(block, header, a.classes, four.genesis), fleet.now)]
    )
    promise = Promise(a.id, 1, 1, block.hash, 1, fleet.now + DAY_MS)
    hub.store.custody.add(issue_receipts(four.key(0), four.genesis.hash, [promise], fleet.now))
    theirs = issue_receipts(four.key(1), four.genesis.hash, [promise], fleet.now)
    hub.store.peer_custody.add(four.key(1).public, theirs[0].batch, [promise])
    hub.order(fleet.order_headers(block), *agreed(four, four.admit(0, 4)))
    hub.order(caught=[Misbehaviour(four.address(3), 4, DUPLICATE_VOTE)])
    hub.order(*agreed(four, four.change(0, 1, turn=1), 2, 4))
    hub.order(four.suspend(2), four.lack(1, theirs[0]))
    hub.order(*agreed(four, four.change(0, 2), 1, 4), *agreed(four, four.remove(0, 3), 1, 4))
    hub.order()
    yield hub
    hub.close()


def test_a_federations_chain_replays_to_what_is_kept(hub: SealingHub) -> None:
    hub.close()
    report = audit(hub.directory)
    assert report.faults == []
    assert report.findings == ["the last 1 final blocks have no seal yet; the hub's next start brings it"]
    assert (report.height, report.app_hash) == (hub.height, hub.ledger.committed.app.hash)
    assert (report.blocks, report.promises, report.begins) == (1, 1, 1)
    assert len(rows(hub.directory, "SELECT * FROM steps")) == 5


@pytest.mark.parametrize(("table", "column"), KEPT)
def test_a_flipped_bit_is_named(hub: SealingHub, table: str, column: str) -> None:
    hub.close()
    path = hub.directory / "ledger.db"
    whole = path.read_bytes()
    (last,) = rows(hub.directory, "SELECT max(height) FROM seals")[0]
    where = f"WHERE height <= {last} AND height > 1" if table == "final_blocks" else ""
    kept = rows(hub.directory, f"SELECT {column} FROM {table} {where}")
    assert kept
    for value, bit in [(value, bit) for (value,) in kept for bit in (1, 777, -7)][:9]:
        wrong = flip(value, bit) if isinstance(value, bytes) else int(str(value)) ^ (1 << bit % 20)
        change(
            hub.directory, (f"UPDATE OR IGNORE {table} SET {column} = ? WHERE {column} = ?", (wrong, value))
        )
        report = audit(hub.directory)
        assert report.faults, f"{table}.{column} bit {bit} of {value!r}"
        assert {fault.kind for fault in report.faults} == {LEDGER}
        assert any(KEPT[table, column] in fault.text for fault in report.faults), report.faults
        path.write_bytes(whole)


def test_every_bit_of_a_seal_and_of_a_step_matters(hub: SealingHub) -> None:
    hub.close()
    path = hub.directory / "ledger.db"
    whole = path.read_bytes()
    for table, column, height in (("seals", "seal", 4), ("steps", "step", None)):
        at = height or rows(hub.directory, "SELECT min(height) FROM steps")[0][0]
        (value,) = rows(hub.directory, f"SELECT {column} FROM {table} WHERE height = {at}")[0]
        assert isinstance(value, bytes)
        for bit in range(0, len(value) * 8, 1009):
            change(
                hub.directory, (f"UPDATE {table} SET {column} = ? WHERE height = ?", (flip(value, bit), at))
            )
            assert audit(hub.directory).faults, (table, bit)
            path.write_bytes(whole)


def test_a_change_of_voters_taken_out_is_missed_and_one_put_in_is_found(hub: SealingHub) -> None:
    hub.close()
    path = hub.directory / "ledger.db"
    whole = path.read_bytes()
    for at, _ in rows(hub.directory, "SELECT height, step FROM steps"):
        change(hub.directory, ("DELETE FROM steps WHERE height = ?", (at,)))
        assert "change of voters" in audit(hub.directory).verdict
        path.write_bytes(whole)
    change(hub.directory, ("INSERT INTO steps SELECT 2, step FROM steps LIMIT 1", ()))
    assert audit(hub.directory).faults


def test_a_missing_seal_is_a_fault_but_at_the_end(hub: SealingHub) -> None:
    hub.close()
    path = hub.directory / "ledger.db"
    whole = path.read_bytes()
    change(hub.directory, ("DELETE FROM seals WHERE height > ?", (hub.height - 4,)))
    report = audit(hub.directory)
    assert not report.faults
    assert "the last 4 final blocks have no seal yet" in report.findings[0]
    path.write_bytes(whole)
    change(hub.directory, ("DELETE FROM seals WHERE height = 3", ()))
    assert audit(hub.directory).verdict == "seal of final block 3: BadProof: it is missing"


def test_a_final_block_cannot_be_moved_in_time_or_given_other_transactions(hub: SealingHub) -> None:
    hub.close()
    path = hub.directory / "ledger.db"
    whole = path.read_bytes()
    moves = (
        "UPDATE final_blocks SET time = time + 1 WHERE height = 5",
        "UPDATE final_blocks SET time = time + 1 WHERE height = 1",
        "UPDATE final_blocks SET txs = x'814100' WHERE height = 4",
    )
    for sql in moves:
        change(
            hub.directory,
            (sql, ()),
            (
                "UPDATE commits SET time = (SELECT time FROM final_blocks f WHERE f.height = commits.height)",
                (),
            ),
        )
        assert "seal of final block" in audit(hub.directory).verdict
        path.write_bytes(whole)


def against(directory: Path, data: bytes) -> Report:
    report = audit(directory, data)
    assert AGAINST in {fault.kind for fault in report.faults}
    return report


def test_it_says_what_it_was_held_against(hub: SealingHub) -> None:
    early, late = hub.store.chain.checkpoint(3), hub.checkpoint
    assert early is not None
    receipt = hub.store.custody.receipts(hub.federation.fleet.gateway("a").id, 1, 1, 1)[0]
    hub.close()
    assert audit(hub.directory).against == ""
    assert audit(hub.directory, early.encode()).against == "a checkpoint of final block 3"
    assert audit(hub.directory, late.encode()).against == f"a checkpoint of final block {hub.height - 1}"
    report = audit(hub.directory, receipt.encode())
    assert report.verdict == "ok"
    assert report.against.startswith("the promise of block 1/1 of gateway ")


def test_a_compact_checkpoint_for_readers_who_know_the_voters_is_held_against_too(hub: SealingHub) -> None:
    whole = hub.checkpoint
    hub.close()
    seal = CometSeal.decode(whole.seal.data)
    assert seal.steps
    compact = replace(whole, seal=replace(whole.seal, data=replace(seal, steps=()).encode()))
    assert audit(hub.directory, compact.encode()).against
    forged = replace(compact, app=replace(compact.app, log_size=1))
    assert "BadProof" in against(hub.directory, forged.encode()).verdict


def test_another_history_of_the_same_members_is_found_from_elsewhere(hub: SealingHub, tmp_path: Path) -> None:
    other = SealingHub(tmp_path / "other", Federation())
    other.order()
    for _ in range(6):
        other.order(other.federation.appoint(0, "coastguard", other.federation.key(9)))
    kept = other.store.chain.checkpoint(4)
    other.close()
    hub.close()
    assert kept is not None
    assert "it was rewritten" in against(hub.directory, kept.encode()).verdict


def test_a_receipt_binds_the_hub_that_gave_it_under_whatever_roster(hub: SealingHub) -> None:
    four, gateway = hub.federation, hub.federation.fleet.gateway("a")
    theirs = hub.store.peer_custody.receipts(gateway.id, 1, 1, 1)[0]
    alarm = gateway.alarm()
    hub.store.add_alarms([(gateway.id, alarm, "")], four.fleet.now)
    hub.close()
    assert "it binds hub 'hub-1'" in against(hub.directory, theirs.encode()).verdict
    body = AlarmReceipt(four.genesis.hash, four.key(3).public, gateway.id, (alarm.hash,))
    gone = four.key(3).signed(ALARM_RECEIPT, body.encode())
    assert "hub-3" not in {each.name for each in hub.roster.members}
    assert audit(hub.directory, gone.encode()).verdict == "ok", (
        "who was a member once can be held to its word"
    )
    stranger = four.key(8).signed(ALARM_RECEIPT, replace(body, hub=four.key(8).public).encode())
    assert "UnknownSigner" in against(hub.directory, stranger.encode()).verdict


def test_a_chain_that_begins_with_a_snapshot_says_where_it_begins(hub: SealingHub) -> None:
    base = 5
    again = SealingHub(hub.directory.with_name("again"), hub.federation)
    for block in hub.store.chain.final_blocks():
        if block.height <= base:
            again.ledger.finalize(block)
            again.ledger.commit()
    origin = list(again.store.chain.entries())
    again.close()
    hub.close()
    change(
        hub.directory,
        *[("INSERT INTO origin VALUES (?, ?)", entry) for entry in origin],
        *[(f"DELETE FROM {table} WHERE height < {base}", ()) for table in ("commits", "seals")],
        (f"DELETE FROM final_blocks WHERE height <= {base}", ()),
    )
    report = audit(hub.directory)
    assert report.faults == []
    assert (report.begins, report.height) == (base + 1, hub.height)
    change(hub.directory, ("UPDATE origin SET value = x'00' WHERE key = (SELECT max(key) FROM origin)", ()))
    assert audit(hub.directory).faults
