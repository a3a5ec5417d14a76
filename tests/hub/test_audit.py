"""One bit changed in anything that a hub keeps is found and named; history rewritten is found from elsewhere."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fleet import Fleet, flip
from hubkit import Hub, lived
from rewriting_disk import change, rows

from gateway.chain.block import Header
from gateway.chain.custody import CustodyBatch, Receipt
from gateway.chain.finality import AppState, Checkpoint, EmbeddedSeal, Seal
from gateway.chain.keys import ALARM_RECEIPT, CUSTODY, NO_HASH, Signed
from gateway.chain.leaf import HEADERS, LogLeaf
from gateway.chain.messages import AlarmReceipt, HeaderFinality, Receipts
from gateway.chain.reading import reading_leaf
from gateway.chain.tenure import Position
from gateway.chain.verify import open_block
from hub.auditing.audit import audit
from hub.auditing.report import AGAINST, LEDGER, STORAGE, Report
from hub.consensus.base import FinalBlock
from hub.consensus.embedded import with_hash
from hub.errors import AuditError
from hub.storage.chainstore import split_txs
from hub.storage.library import claimed_classes
from hub.storage.store import NewBlock

# What is kept, and how an audit names damage to it.
KEPT = {
    ("genesis", "document"): "genesis",
    ("genesis", "hash"): "genesis",
    ("final_blocks", "time"): "final block",
    ("final_blocks", "hash"): "final block",
    ("final_blocks", "txs"): "final block",
    ("final_blocks", "misbehaviour"): "final block",
    ("commits", "time"): "final block",
    ("commits", "log_size"): "final block",
    ("commits", "app"): "final block",
    ("seals", "seal"): "seal of final block",
    ("log", "hash"): "log leaf",
    ("log", "leaf"): "log leaf",
    ("state", "key"): "state entry",
    ("state", "value"): "state entry",
    ("records", "hash"): "of gateway",
    ("records", "kind"): "of gateway",
    ("records", "gateway"): "of gateway",
    ("records", "height"): "of gateway",
    ("records", "tx"): "of gateway",
    ("blocks", "gateway"): "block 1/",
    ("blocks", "epoch"): "block",
    ("blocks", "height"): "block",
    ("blocks", "hash"): "block",
    ("blocks", "wall"): "block",
    ("blocks", "suite"): "block",
    ("blocks", "header"): "block",
    ("blocks", "signature"): "block",
    ("segments", "data"): "segment",
    ("segments", "summary"): "summary kept for charts",
    ("transitions", "hash"): "transition",
    ("alarms", "item"): "alarm",
    ("alarms", "hash"): "alarm",
    ("alarms", "gateway"): "alarm",
    ("alarms", "alarm"): "alarm",
    ("catalogues", "root"): "catalogue",
    ("catalogues", "catalogue"): "catalogue",
    ("contracts", "hash"): "contract",
    ("contracts", "document"): "contract",
    ("contract_sets", "root"): "contract set",
    ("contract_sets", "hashes"): "contract set",
    ("custody_batches", "batch"): "custody batch",
    ("promises", "gateway"): "promise",
    ("promises", "epoch"): "promise",
    ("promises", "height"): "promise",
    ("promises", "promise"): "custody batch",
    ("births", "birth"): "birth",
}
# What a gateway may never have told the hub, so that its absence cannot be a fault.
MAY_BE_MISSING = {"catalogues", "contract_sets"}
# The hub's own notes and times of arrival: nobody signed them, and no audit can vouch for them.
UNSIGNED = {
    ("alarms", "flaw"),
    ("alarms", "received"),
    ("blocks", "received"),
    ("births", "received"),
    ("births", "gateway"),
    ("births", "earlier"),
    *(("sheddings", column) for column in ("segment", "at", "why")),
    *(
        (table, column)
        for table in ("findings", "refusals")
        for column in ("at", "gateway", "kind", "detail", "item")
    ),
}

# What other hubs said, and what is still to be asked of them.
FEDERATION = {"origin", "peer_batches", "peer_promises", "missing", "marks", "witnessed", "split_views"}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    hub = lived(tmp_path / "hub")
    yield hub
    hub.close()


def damaged(value: object, bit: int) -> object:
    if isinstance(value, bytes):
        return flip(value, bit)
    assert isinstance(value, int)
    return value ^ (1 << bit % 20)


def test_an_untouched_directory_is_ok_and_everything_in_it_was_counted(hub: Hub) -> None:
    hub.close()
    report = audit(hub.directory)
    assert (report.verdict, report.faults, report.findings) == ("ok", [], [])
    assert (report.gateways, report.blocks, report.readings, report.alarms) == (3, 7, 106, 1)
    assert (report.records, report.promises, report.final_blocks, report.waiting) == (8, 4, 10, 0)
    assert report.app_hash == hub.ledger.info().app_hash


def test_every_column_is_either_audited_or_nobodys_word(hub: Hub) -> None:
    hub.close()
    tables = [name for (name,) in rows(hub.directory, "SELECT name FROM sqlite_master WHERE type = 'table'")]
    columns = {
        (table, column[1])
        for table in tables
        if not str(table).startswith(("_", "sqlite_"))
        for column in rows(hub.directory, f"PRAGMA table_info({table})")
    }
    heights = {(table, "height") for table in ("final_blocks", "commits", "seals", "steps")}
    places = {("log", "place"), ("promises", "place"), ("promises", "batch"), ("transitions", "block")}
    keys = {(table, "id") for table, _ in columns}
    # Empty under the embedded engine, or verified whenever it is made use of.
    federation = {("steps", "step"), *((t, c) for t, c in columns if t in FEDERATION)}
    assert columns - heights - places - keys - federation - UNSIGNED == set(KEPT)


@pytest.mark.parametrize(("table", "column"), KEPT)
def test_a_flipped_bit_is_named(hub: Hub, table: str, column: str) -> None:
    hub.close()
    path = hub.directory / "ledger.db"
    whole = path.read_bytes()
    # A table without rowids can be addressed by its whole primary key only, which each value here is part of.
    kept = rows(hub.directory, f"SELECT DISTINCT {column} FROM {table}")
    assert kept
    for value, bit in [(value, bit) for (value,) in kept for bit in (1, 203, -7)][:12]:
        sql = f"UPDATE OR IGNORE {table} SET {column} = ? WHERE {column} = ?"
        change(hub.directory, (sql, (damaged(value, bit), value)))
        report = audit(hub.directory)
        assert report.faults, f"{table}.{column} bit {bit} of {value!r}"
        assert {fault.kind for fault in report.faults} == {LEDGER}
        assert any(KEPT[table, column] in fault.text for fault in report.faults), report.faults
        path.write_bytes(whole)


@pytest.mark.parametrize("table", sorted({table for table, _ in KEPT} - {"births"}))
def test_a_row_taken_out_is_missed(hub: Hub, table: str) -> None:
    hub.close()
    (key,) = rows(hub.directory, f"SELECT name FROM pragma_table_info('{table}') WHERE pk = 1")[0]
    (first,) = rows(hub.directory, f"SELECT min({key}) FROM {table}")[0]
    change(hub.directory, (f"DELETE FROM {table} WHERE {key} = ?", (first,)))
    report = audit(hub.directory)
    assert report.faults or (table in MAY_BE_MISSING and report.findings), table


def test_the_first_fault_names_segment_block_and_gateway(hub: Hub) -> None:
    hub.close()
    change(
        hub.directory, ("UPDATE segments SET data = CAST(x'00' || substr(data, 2) AS BLOB) WHERE id = 5", ())
    )
    report = audit(hub.directory)
    gateway = hub.fleet.gateway("a").id.hex()[:16]
    assert report.verdict.startswith(f"block 1/1 of gateway {gateway}…: BadSegment: segment 1 of block 1/1: ")


def test_a_random_bit_of_the_file_is_named_or_was_in_unused_space(hub: Hub) -> None:
    hub.close()
    path = hub.directory / "ledger.db"
    whole, dump = path.read_bytes(), content(path)
    chance = random.Random(7)
    harmless = 0
    for _ in range(120):
        path.write_bytes(flip(whole, chance.randrange(len(whole) * 8)))
        report = audit(hub.directory)
        if report.verdict == "ok":
            harmless += 1
            assert signed_content(content(path)) == signed_content(dump)
        for extra in path.parent.glob("ledger.db-*"):
            extra.unlink()
    assert harmless < 120


def content(path: Path) -> dict[str, list[tuple[object, ...]]]:
    db = sqlite3.connect(path)
    db.text_factory = bytes
    try:
        names = [
            name.decode() for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        return {name: db.execute(f"SELECT * FROM {name}").fetchall() for name in names}
    finally:
        db.close()


def signed_content(found: dict[str, list[tuple[object, ...]]]) -> dict[str, list[tuple[object, ...]]]:
    """Content without what nobody signed."""
    indexes = {"blocks": 9, "alarms": 5, "births": 1}
    kept = {
        name: each
        for name, each in found.items()
        if name not in ("findings", "refusals", "_sqlite_migrations")
    }
    return {
        name: [(*row[: indexes[name]], *row[indexes[name] + 1 :]) if name in indexes else row for row in each]
        for name, each in kept.items()
    }


def test_damage_to_sqlites_own_structure_is_named_as_storage(hub: Hub) -> None:
    hub.close()
    path = hub.directory / "ledger.db"
    (root,) = rows(hub.directory, "SELECT rootpage FROM sqlite_master WHERE name = 'blocks_by_position'")[0]
    (size,) = rows(hub.directory, "PRAGMA page_size")[0]
    whole = bytearray(path.read_bytes())
    whole[(root - 1) * size + 3] ^= 0xFF  # the page's count of cells
    path.write_bytes(whole)
    assert STORAGE in {fault.kind for fault in audit(hub.directory).faults}


def left_by_a_kill(hub: Hub, directory: Path) -> Path:
    """Copy a running hub's directory as a SIGKILL would leave it: its latest commits in the write-ahead log only."""
    shutil.copytree(hub.directory, directory)
    return directory / "ledger.db-wal"


def test_a_killed_hubs_write_ahead_log_is_part_of_what_is_audited(hub: Hub, tmp_path: Path) -> None:
    wal = left_by_a_kill(hub, tmp_path / "killed")
    assert wal.stat().st_size > 0
    report = audit(tmp_path / "killed")
    assert (report.verdict, report.final_blocks) == ("ok", 10)


@pytest.mark.parametrize("part", [0.0, 0.001, 0.3, 0.7, 0.98])
def test_a_bit_flipped_in_the_write_ahead_log_is_named(hub: Hub, tmp_path: Path, part: float) -> None:
    wal = left_by_a_kill(hub, tmp_path / "killed")
    whole = wal.read_bytes()
    wal.write_bytes(flip(whole, 165 + int(len(whole) * part) * 8))
    report = audit(tmp_path / "killed")
    assert report.verdict.startswith("ledger.db-wal is damaged: ")
    assert report.faults[0].kind == STORAGE


def test_a_transaction_that_was_never_finished_is_no_damage(hub: Hub, tmp_path: Path) -> None:
    wal = left_by_a_kill(hub, tmp_path / "killed")
    wal.write_bytes(wal.read_bytes()[:-5000])
    assert "wal" not in audit(tmp_path / "killed").verdict


def test_a_missing_trigger_is_a_fault(hub: Hub) -> None:
    hub.close()
    db = sqlite3.connect(hub.directory / "ledger.db")
    db.execute("DROP TRIGGER blocks_no_update")
    db.close()
    assert audit(hub.directory).verdict == "schema: blocks_no_update is not as a hub makes it"


def test_rows_that_no_final_block_accounts_for_are_faults(hub: Hub) -> None:
    hub.close()
    change(
        hub.directory,
        ("INSERT INTO log SELECT max(place) + 1, x'00', leaf FROM log", ()),
        ("INSERT INTO segments VALUES (4000, x'00', x'00')", ()),
        ("INSERT INTO records VALUES (x'00', 3, x'00', 1, x'00')", ()),
    )
    texts = [fault.text for fault in audit(hub.directory).faults]
    for table in ("log", "records", "segments"):
        assert any(text.startswith(f"table {table}: ") for text in texts)


def test_an_alarm_without_its_block_and_a_transition_without_its_alarm_are_findings(hub: Hub) -> None:
    fleet, gateway = hub.fleet, hub.fleet.gateway("a")
    alone = gateway.alarm()
    gateway.pending.clear()
    hub.hear(alone)
    gateway.alarm()
    hub.take(gateway.block())
    hub.close()
    report = audit(hub.directory)
    assert report.verdict == "ok"
    assert any("its block has not come" in finding for finding in report.findings)
    assert any("its alarm has not come" in finding for finding in report.findings)
    assert fleet.gateways


def test_a_final_alarm_marked_as_flawed_is_missed(hub: Hub) -> None:
    hub.close()
    change(hub.directory, ("UPDATE alarms SET flaw = 'BadSignature', alarm = x'00'", ()))
    assert "not among the good alarms kept" in audit(hub.directory).verdict


def test_blocks_that_wait_are_verified_too(hub: Hub) -> None:
    gateway = hub.fleet.gateway("a")
    hub.keep(gateway.block())
    hub.close()
    assert (audit(hub.directory).verdict, audit(hub.directory).waiting) == ("ok", 1)
    change(hub.directory, ("UPDATE blocks SET signature = zeroblob(64) WHERE id = 8", ()))
    assert "BadSignature" in audit(hub.directory).verdict


def test_a_segment_shed_on_record_is_a_finding_and_a_broken_promise_a_fault(hub: Hub) -> None:
    (free, held) = (hub.store.latest_headers(hub.fleet.gateway("a").id, 1)[0], 1)
    hub.store.bodies.shed([free.id * 4], hub.fleet.now, "kept long enough")
    hub.close()
    report = audit(hub.directory)
    assert report.verdict == "ok"
    assert any("were shed" in finding for finding in report.findings)
    change(
        hub.directory,
        ("INSERT INTO sheddings VALUES (?, ?, '')", (held * 4, hub.fleet.now)),
        ("UPDATE segments SET data = x'' WHERE id = 4", ()),
    )
    assert "was to be kept until" in audit(hub.directory).verdict
    change(hub.directory, ("DELETE FROM sheddings WHERE segment = ?", (held * 4,)))
    assert "emptied without a shedding on record" in audit(hub.directory).verdict


def test_a_checkpoint_or_receipt_kept_elsewhere_agrees_with_an_honest_history(hub: Hub) -> None:
    gateway = hub.fleet.gateway("a")
    early = hub.store.chain.checkpoint(3)
    assert early is not None
    block = gateway.block()
    hub.take(block)
    receipt = hub.promise(block)[0]
    leaf = LogLeaf(HEADERS, gateway.id, gateway.head.epoch, gateway.head.height, block.hash)
    index = hub.ledger.index(leaf)
    assert index is not None
    finality = HeaderFinality(gateway.head, hub.ledger.finality(index, hub.checkpoint))
    message = Receipts(hub.fleet.genesis.hash, hub.fleet.hub_key.public, (receipt,), finality)
    hub.close()
    for kept in (early, hub_checkpoint(hub), receipt, message):
        assert audit(hub.directory, kept.encode()).verdict == "ok"


def hub_checkpoint(hub: Hub) -> Checkpoint:
    reopened = Hub(hub.directory, hub.fleet)
    try:
        return reopened.checkpoint
    finally:
        reopened.close()


def rewritten(hub: Hub, directory: Path, heights: int) -> Hub:
    """Return a hub whose history ends earlier, or goes on otherwise, sealed with the same key: consistent in itself."""
    other = Hub(directory, hub.fleet)
    for block in hub.store.chain.final_blocks():
        if block.height > heights:
            break
        other.order(*block.txs)
    other.last = replace(other.last, hash=other.last.hash or NO_HASH)
    return other


def against(directory: Path, kept: Checkpoint | Receipt | Signed) -> Report:
    report = audit(directory, kept.encode())
    assert AGAINST in {fault.kind for fault in report.faults}
    return report


def test_a_truncated_and_resealed_history_is_found_from_elsewhere(hub: Hub, tmp_path: Path) -> None:
    kept = hub.checkpoint
    short = rewritten(hub, tmp_path / "short", 1)
    short.close()
    assert audit(tmp_path / "short").verdict == "ok", "alone, it contradicts nothing"
    report = against(tmp_path / "short", kept)
    assert "this history ends at 1" in report.verdict


def test_a_rewritten_history_is_found_from_elsewhere(hub: Hub, tmp_path: Path) -> None:
    kept = hub.store.chain.checkpoint(2)
    assert kept is not None
    other = rewritten(hub, tmp_path / "other", 1)
    for name in ("x", "y", "z"):
        other.enrol(name)
    other.close()
    assert audit(tmp_path / "other").verdict == "ok"
    assert "it was rewritten" in against(tmp_path / "other", kept).verdict


def retime(hub: Hub, shift: int) -> None:
    """Move every final block in time, as the hub's own key can: chained, committed and sealed anew."""
    hub.close()
    previous, statements = NO_HASH, []
    final = (
        "SELECT height, time, txs, app FROM final_blocks JOIN commits USING (height, time) ORDER BY height"
    )
    for height, time, txs, app in rows(hub.directory, final):
        block = with_hash(FinalBlock(height, time + shift, NO_HASH, split_txs(txs)), previous)  # type: ignore
        previous = block.hash
        app_hash = AppState.decode(app).hash  # type: ignore[arg-type]
        body = EmbeddedSeal(hub.fleet.genesis.hash, block.height, block.time, app_hash)
        seal = Seal.embedded(hub.fleet.hub_key, body).encode()
        at = "WHERE height = ?"
        statements += [
            (f"UPDATE final_blocks SET time = ?, hash = ? {at}", (block.time, block.hash, height)),
            (f"UPDATE commits SET time = ? {at}", (block.time, height)),
            (f"UPDATE seals SET seal = ? {at}", (seal, height)),
        ]
    change(hub.directory, *statements)


def test_a_history_moved_in_time_is_found_from_elsewhere(hub: Hub) -> None:
    """Times are in no application hash, so log and state of the kept checkpoint are all still there."""
    kept = hub.store.chain.checkpoint(3)
    assert kept is not None
    retime(hub, -300_000)
    assert audit(hub.directory).verdict == "ok", "alone, it contradicts nothing"
    said = against(hub.directory, kept).verdict
    assert "final block 3 was sealed twice" in said
    assert "rewritten" in said


def test_a_history_moved_in_time_contradicts_what_gateways_signed_to_have_seen(hub: Hub) -> None:
    retime(hub, 1)
    (finding,) = audit(hub.directory).findings
    assert "block 2/4 of gateway" in finding
    assert "saw another seal of final block" in finding


def test_promises_moved_in_time_are_found_by_a_receipt_kept_elsewhere(hub: Hub) -> None:
    receipt = hub.store.custody.receipts(hub.fleet.gateway("a").id, 1, 1, 1)[0]
    hub.close()
    body = CustodyBatch.decode(receipt.batch.body)
    batch = hub.fleet.hub_key.signed(CUSTODY, replace(body, time=body.time - 300_000).encode())
    change(hub.directory, ("UPDATE custody_batches SET batch = ?", (batch.encode(),)))
    assert audit(hub.directory).verdict == "ok", "alone, it contradicts nothing"
    assert "custody batch that this history does not have" in against(hub.directory, receipt).verdict


def test_a_good_alarm_that_is_kept_as_a_strangers_is_a_finding(hub: Hub) -> None:
    gateway = hub.fleet.gateway("a")
    own, forged = gateway.alarm(), gateway.alarm()
    gateway.pending.clear()
    for alarm in (own, replace(forged, signature=bytes(64))):
        hub.store.add_alarms([(gateway.id, alarm, "UnknownGateway")], hub.fleet.now)
    hub.close()
    (finding,) = audit(hub.directory).findings
    assert finding.startswith(f"alarm {own.hash.hex()[:16]}… of gateway {gateway.id.hex()[:16]}… is its own")


def test_a_gateway_that_contradicts_a_catalogue_it_tells_later_does_not_make_the_hub_a_liar(
    hub: Hub,
) -> None:
    """Nothing that the hub could have known was wrong with the block; its own bytes must still hold together."""
    gateway = hub.fleet.gateway("a")
    told = gateway.catalogue
    gateway.catalogue = (replace(told[0], klass=2),)
    block = gateway.block_of({0: [reading_leaf(0, 0, 7)]})
    header = Header.decode(block.header)
    opened = open_block(block, header, claimed_classes(block, header), hub.fleet.genesis)
    hub.store.add_blocks([NewBlock(block, header, opened, hub.fleet.now)])
    hub.order(hub.fleet.order_headers(block))
    hub.store.library.add_catalogue(gateway.catalogue)
    hub.close()
    report = audit(hub.directory)
    assert report.verdict == "ok"
    assert any("contradicts the catalogue it names" in finding for finding in report.findings)
    change(hub.directory, ("UPDATE segments SET data = x'824081830001' WHERE id / 4 = 8", ()))
    assert "BadSegment" in audit(hub.directory).verdict


def test_an_alarm_taken_away_is_found_by_the_receipt_that_its_gateway_kept(hub: Hub) -> None:
    fleet, gateway = hub.fleet, hub.fleet.gateway("a")
    alarm = gateway.alarm()
    gateway.pending.clear()
    hub.store.add_alarms([(gateway.id, alarm, "")], fleet.now)
    hub.close()
    body = AlarmReceipt(fleet.genesis.hash, fleet.hub_key.public, gateway.id, (alarm.hash,))
    kept = fleet.hub_key.signed(ALARM_RECEIPT, body.encode())
    assert audit(hub.directory, kept.encode()).verdict == "ok"
    change(hub.directory, ("DELETE FROM alarms WHERE hash = ?", (alarm.hash,)))
    assert audit(hub.directory).verdict == "ok", "alone, it contradicts nothing"
    assert "was on this hub's disk and is not now" in against(hub.directory, kept).verdict
    forged = gateway.key.signed(ALARM_RECEIPT, body.encode())
    assert "BadSignature" in against(hub.directory, forged).verdict


def test_a_good_gateways_alarm_that_is_kept_as_a_revoked_ones_is_a_fault(hub: Hub) -> None:
    gateway = hub.fleet.gateway("a")
    hub.store.add_alarms([(gateway.id, gateway.alarm(), "RevokedKey")], hub.fleet.now)
    gateway.pending.clear()
    hub.close()
    assert "which no final block revokes" in audit(hub.directory).verdict


def test_a_promise_given_and_not_kept_is_found_by_its_receipt(hub: Hub, tmp_path: Path) -> None:
    receipt = hub.store.custody.receipts(hub.fleet.gateway("a").id, 1, 1, 1)[0]
    other = rewritten(hub, tmp_path / "other", 1)
    other.close()
    assert "the block is not held" in against(tmp_path / "other", receipt).verdict


def test_a_checkpoint_of_another_chain_or_altered_is_no_witness(hub: Hub, tmp_path: Path) -> None:
    checkpoint = hub.checkpoint
    stranger = Hub(tmp_path / "stranger", Fleet(9))
    stranger.order()
    assert "BadSignature" in against(hub.directory, stranger.checkpoint).verdict
    stranger.close()
    altered = replace(checkpoint, app=replace(checkpoint.app, log_size=1))
    assert "BadProof" in against(hub.directory, altered).verdict


def test_what_cannot_be_audited_is_said(hub: Hub, tmp_path: Path) -> None:
    hub.close()
    with pytest.raises(AuditError, match=r"genesis\.cbor"):
        audit(tmp_path / "nowhere")
    with pytest.raises(AuditError, match="no checkpoint and no receipt"):
        audit(hub.directory, b"noise")
    (hub.directory / "ledger.db").unlink()
    with pytest.raises(AuditError, match=r"ledger\.db"):
        audit(hub.directory)


def test_progress_is_told_of_each_final_block(hub: Hub) -> None:
    hub.close()
    told: list[tuple[int, int]] = []
    audit(hub.directory, progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 10) for done in range(1, 11)]


def test_a_final_blocks_place_in_time_and_order_is_checked(hub: Hub) -> None:
    hub.close()
    change(hub.directory, ("DELETE FROM final_blocks WHERE height = 4", ()))
    assert "final block 4 is missing" in audit(hub.directory).verdict


def test_positions_name_blocks_by_epoch_and_height(hub: Hub) -> None:
    gateway = hub.fleet.gateway("a")
    assert hub.store.header(gateway.id, Position(1, 1, gateway.blocks[0].hash)) is not None
    assert hub.store.chain.last_final() == FinalBlock(10, hub.last.time, hub.last.hash, ())
