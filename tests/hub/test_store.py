"""What the hub's database promises: append-only, durable, whole batches or nothing, readers beside the writer."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fedkit import Federation, SealingHub
from fleet import CONTRACT_DOCUMENT, Fleet, seeded
from hubkit import Hub, lived
from hypothesis import given
from hypothesis import strategies as st

from gateway.chain.block import Block, Header, list_catalogue
from gateway.chain.governance import founding_roster
from gateway.chain.leaf import CHANGE_EPOCH, ENROL, GRANT_CONTRACTS, HEADERS, LogLeaf
from gateway.chain.ordered import Enrol, decode_transaction
from gateway.chain.reading import Segment
from gateway.chain.tenure import NOWHERE, Position
from gateway.chain.trees import leaf_hash
from hub.consensus.base import DUPLICATE_VOTE, FinalBlock, Misbehaviour
from hub.errors import ConsensusError, StoreError
from hub.ledger.ledger import Ledger
from hub.storage.schema import expected_objects
from hub.storage.store import Store
from hub.storage.summaries import Summary, pack_summaries, unpack_summaries

REFUSAL = r"append-only|only with its shedding"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    hub = Hub(tmp_path / "hub", Fleet())
    yield hub
    hub.close()


def test_ledger_tables_refuse_update_and_delete(tmp_path: Path) -> None:
    hub = lived(tmp_path / "hub")
    tables = {name for name, sql in expected_objects().items() if sql.startswith("CREATE TABLE")}
    changeable = {"births", "state", "missing", "marks", "witnessed", "_sqlite_migrations"}
    hub.store.bodies.shed([12], 1, "kept long enough")
    hub.store.notes.add_finding(1, bytes(16), "kind", "detail")
    hub.store.notes.add_refusal(1, bytes(16), "kind", "detail", bytes(32))
    with hub.store.database.write() as db:
        for row in (
            "steps VALUES (1, x'00')",
            "origin VALUES (x'00', x'00')",
            "peer_batches VALUES (1, x'00', x'00')",
        ):
            db.execute(f"INSERT INTO {row}")  # which only a federation has
        db.execute("INSERT INTO peer_promises VALUES (1, 0, x'00', 1, 1, x'00')")
        db.execute("INSERT INTO split_views VALUES (1, 1, x'00', x'00', x'00')")
    for table in sorted(tables - changeable):
        column = hub.store.database.value(f"SELECT name FROM pragma_table_info('{table}')")
        for sql in (f"UPDATE {table} SET {column} = {column}", f"DELETE FROM {table}"):
            with (
                pytest.raises(StoreError, match=REFUSAL),
                hub.store.database.write() as db,
            ):
                db.execute(sql)
    with pytest.raises(StoreError, match="append-only"), hub.store.database.write() as db:
        db.execute("DELETE FROM state")
    hub.close()


def test_a_block_comes_back_as_it_came_and_repeats_are_known(hub: Hub) -> None:
    (gateway,) = hub.enrol("a")
    gateway.alarm()
    blocks = [gateway.block(12, classes=(0, 1, 2)), gateway.block(3)]
    assert hub.keep(*blocks, blocks[0]) == [True, True, False]
    assert hub.keep(blocks[1]) == [False]
    for block in blocks:
        assert hub.store.block(gateway.id, gateway.position(block)) == block
    assert hub.store.block(gateway.id, Position(1, 2, seeded("no such block"))) is None
    assert hub.store.count_blocks() == hub.store.count_blocks(gateway.id) == 2


def test_a_segment_that_was_withheld_is_taken_up_when_it_comes(hub: Hub) -> None:
    (gateway,) = hub.enrol("a")
    block = gateway.block(4, classes=(0, 1))
    partly = replace(block, segments=(block.segments[0], b""))
    assert hub.keep(partly) == [True]
    assert hub.store.block(gateway.id, gateway.head) == partly
    assert hub.keep(block) == [False]
    assert hub.store.block(gateway.id, gateway.head) == block


def test_two_blocks_at_one_position_are_both_kept_as_evidence(hub: Hub) -> None:
    (gateway,) = hub.enrol("a")
    block, fork = gateway.block(), gateway.fork(1)
    hub.keep(block, fork)
    kept = hub.store.headers_at(gateway.id, 1, 1)
    assert [each.signed for each in kept] == [block.signed, fork.signed]


def test_blocks_above_the_final_head_wait_in_chain_order(hub: Hub) -> None:
    (gateway,) = hub.enrol("a")
    blocks = [gateway.block() for _ in range(4)]
    hub.keep(*reversed(blocks))
    assert [each.position.height for each in hub.store.headers_after(gateway.id, 1, 1)] == [2, 3, 4]
    assert [each.position.height for each in hub.store.headers_after(gateway.id, 1, 0, limit=2)] == [1, 2]
    latest = hub.store.latest_headers(gateway.id, 2, before=4)
    assert [each.position.height for each in latest] == [3, 2]
    wall = Header.decode(blocks[1].header).wall
    assert hub.store.latest_headers(gateway.id, 1, wall=wall)[0].position.height == 2
    assert hub.store.latest_headers(gateway.id, 1)[0].header == Header.decode(blocks[3].header)


def test_a_batch_that_fails_leaves_nothing_behind(hub: Hub) -> None:
    (gateway,) = hub.enrol("a")
    good = hub.opened(gateway.block())
    bad = replace(hub.opened(gateway.block()), received=object())
    with pytest.raises(StoreError):
        hub.store.add_blocks([good, bad])  # type: ignore[list-item]
    assert hub.store.count_blocks() == 0
    assert hub.store.add_blocks([good]) == [True]


def test_a_transition_leads_to_its_block(hub: Hub) -> None:
    (gateway,) = hub.enrol("a")
    alarm = gateway.alarm()
    hub.keep(gateway.block())
    assert hub.store.blocks_with(alarm.hash) == [(gateway.id, gateway.head)]


def test_alarms_are_kept_once_by_their_bytes_and_marked(hub: Hub) -> None:
    (gateway,) = hub.enrol("a")
    alarm = gateway.alarm()
    forged = replace(alarm, signature=bytes(64))
    assert hub.store.add_alarms([(gateway.id, forged, "BadSignature")], 1) == [True]
    assert hub.store.add_alarms([(gateway.id, alarm, ""), (gateway.id, alarm, "")], 2) == [True, False]
    assert hub.store.add_alarms([(gateway.id, alarm, "")], 3) == [False]
    assert [(each.flaw, each.alarm) for each in hub.store.alarms(transition=alarm.hash)] == [
        ("BadSignature", forged),
        ("", alarm),
    ]
    assert [each.received for each in hub.store.alarms(gateway=gateway.id, after=1)] == [2]
    assert [each.received for each in hub.store.latest_alarms(limit=1)] == [2]
    assert hub.store.latest_alarms(bytes(16)) == []


def test_catalogues_and_contracts_come_back_by_their_roots(hub: Hub) -> None:
    gateway = hub.fleet.gateway("a")
    assert hub.store.library.add_catalogue(gateway.catalogue) == list_catalogue(gateway.catalogue)
    listing = hub.store.library.add_contracts([b"b", CONTRACT_DOCUMENT, b"b"])
    assert listing.count == 2
    assert hub.store.library.catalogue(list_catalogue(gateway.catalogue).root) == gateway.catalogue
    assert sorted(hub.store.library.contracts(listing.root) or []) == sorted([b"b", CONTRACT_DOCUMENT])
    assert hub.store.library.contracts(bytes(32)) is None
    assert hub.store.library.catalogue(bytes(32)) is None


def test_the_latest_birth_replaces_the_one_before(hub: Hub) -> None:
    gateway = hub.fleet.gateway("a")
    first, second = gateway.birth(), gateway.birth()
    assert hub.store.library.birth(gateway.id) is None
    hub.store.library.set_birth(gateway.id, first, 1)
    hub.store.library.set_birth(gateway.id, second, 2, (b"boot-two", b"boot-one"))
    assert hub.store.library.birth(gateway.id) == (second, 2)
    assert hub.store.library.earlier_boots(gateway.id) == (b"boot-two", b"boot-one")
    assert hub.store.gateways() == [gateway.id]


def test_receipts_come_back_with_paths_that_hold(hub: Hub) -> None:
    a, b = hub.enrol("a", "b")
    blocks = [each.block() for _ in range(3) for each in (a, b)]
    given_out = hub.promise(*blocks)
    again = hub.promise(blocks[0])
    assert hub.store.custody.receipts(a.id, 1, 1, 2) == [given_out[0], *again, given_out[2]]
    for receipt in hub.store.custody.receipts(b.id, 1, 1, 9):
        receipt.verify(hub.fleet.genesis, founding_roster(hub.fleet.genesis))


def test_the_hubs_notes_come_back_latest_last(hub: Hub) -> None:
    notes, a, b = hub.store.notes, bytes(16), b"b" * 16
    for at, gateway in enumerate((a, b, a)):
        notes.add_refusal(at, gateway, "BadSignature", f"refusal {at}", bytes(32))
        notes.add_finding(at, gateway, "gap", f"finding {at}")
    assert [each.at for each in notes.refusals(limit=2)] == [1, 2]
    assert [(each.at, each.kind) for each in notes.findings(a)] == [(0, "gap"), (2, "gap")]


def test_records_are_kept_with_the_transaction_that_made_them(tmp_path: Path) -> None:
    hub = lived(tmp_path / "hub")
    gateway = hub.fleet.gateway("a")
    records = hub.store.chain.records(gateway.id)
    assert [each.kind for each in records] == [ENROL, GRANT_CONTRACTS, CHANGE_EPOCH]
    transaction = decode_transaction(records[0].tx)
    assert isinstance(transaction, Enrol)
    assert (transaction.enrolment.hash, records[0].gateway) == (records[0].hash, gateway.id)
    assert hub.store.chain.record(records[0].hash) == records[0]
    assert hub.store.chain.record(bytes(32)) is None
    hub.close()


def test_checkpoints_are_found_by_height_and_by_what_they_cover(tmp_path: Path) -> None:
    hub = lived(tmp_path / "hub")
    chain, gateway = hub.store.chain, hub.fleet.gateway("a")
    leaf = LogLeaf(HEADERS, gateway.id, 1, 1, gateway.blocks[0].hash)
    index = chain.log_index(leaf_hash(leaf.encode()))
    assert index == hub.ledger.index(leaf)
    assert index is not None
    assert chain.log_leaf(index) == leaf.encode()
    covering = chain.checkpoint_covering(index)
    assert covering is not None
    assert covering == chain.checkpoint(3)
    assert hub.ledger.finality(index, covering).verify(leaf, hub.fleet.genesis).height == 3
    assert chain.checkpoint_covering(10_000) is None
    assert chain.checkpoint() == chain.checkpoint(10)
    assert chain.checkpoint(11) is None
    entry = hub.ledger.committed.entry(gateway.id)
    assert entry is not None
    assert entry.head != NOWHERE
    assert hub.ledger.committed.entry(bytes(16)) is None
    hub.close()


def test_a_database_of_another_chain_is_refused(hub: Hub) -> None:
    other = Fleet(5).genesis
    with pytest.raises(ConsensusError, match="another chain"):
        Ledger(other, hub.store.chain).genesis(other.encode())


def test_a_log_that_does_not_add_up_is_refused_at_start(tmp_path: Path) -> None:
    hub = lived(tmp_path / "hub")
    hub.close()
    db = sqlite3.connect(tmp_path / "hub" / "ledger.db")
    db.execute("DROP TRIGGER log_no_update")
    db.execute("UPDATE log SET hash = zeroblob(32) WHERE place = 2")
    db.commit()
    db.close()
    store = Store(tmp_path / "hub" / "ledger.db")
    with pytest.raises(ConsensusError, match="tocsin-hub audit"):
        Ledger(hub.fleet.genesis, store.chain)
    store.close()


def test_readers_never_see_half_a_batch(hub: Hub) -> None:
    (gateway,) = hub.enrol("a")
    batches = [[hub.opened(gateway.block(1)) for _ in range(10)] for _ in range(20)]
    seen, done = set(), threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(hub.store.count_blocks() % 10)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for batch in batches:
        hub.store.add_blocks(batch)
    done.set()
    for thread in threads:
        thread.join()
    assert seen == {0}


def test_what_cannot_be_opened_or_written_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such database"):
        Store(tmp_path / "none.db", read_only=True)
    (tmp_path / "noise.db").write_bytes(b"this is no database" * 500)
    with pytest.raises(StoreError, match=r"noise\.db"):
        Store(tmp_path / "noise.db")
    store = Store(tmp_path / "ledger.db")
    read_only = Store(tmp_path / "ledger.db", read_only=True)
    with pytest.raises(StoreError, match="for reading only"):
        read_only.notes.add_finding(1, b"", "", "")
    read_only.close()
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.count_blocks()


@given(
    st.lists(
        st.tuples(st.integers(0, 255), st.integers(-(1 << 63), (1 << 63) - 1)),
        min_size=1,
        max_size=50,
    )
)
def test_summaries_count_and_survive_packing(readings: list[tuple[int, int]]) -> None:
    series, values = zip(*readings, strict=True)
    found = unpack_summaries(pack_summaries(Segment(b"", (), series, (0,) * len(series), values, ())))
    for each in found:
        own = [value for index, value in readings if index == each.series]
        assert each == Summary(each.series, len(own), min(own), max(own), own[-1], sum(own))
    assert [each.series for each in found] == sorted(set(series))


def test_an_alarm_is_judged_anew_where_its_gateway_was_unknown_and_only_there(hub: Hub) -> None:
    (gateway,) = hub.enrol("a")
    hub.store.add_alarms([(gateway.id, gateway.alarm(), "UnknownGateway")], 1)
    (stored,) = hub.store.alarms(gateway=gateway.id)
    hub.store.judge_alarm(stored, "")
    assert [each.flaw for each in hub.store.alarms(gateway=gateway.id)] == [""]
    with pytest.raises(StoreError, match="append-only"):
        hub.store.judge_alarm(stored, "BadSignature")


def test_latest_alarms_are_not_crowded_out_by_what_nobody_vouches_for(hub: Hub) -> None:
    (gateway,) = hub.enrol("a")
    own = gateway.alarm()
    hub.store.add_alarms([(gateway.id, own, "")], 1)
    for flaw in ("UnknownGateway", "BadSignature"):
        for number in range(5):
            forged = replace(gateway.alarm(), signature=bytes([number]) * 64)
            hub.store.add_alarms([(gateway.id, forged, flaw)], 2)
    assert [each.hash for each in hub.store.latest_alarms(gateway.id, 2)] == [own.hash]
    assert len(hub.store.latest_alarms(limit=4, proven=False)) == 4


@pytest.mark.parametrize(
    "damage", [b"", b"\x00", b"\x81\x00", b"\x86\x00\x01\x02\x03\x04\x61a", b"\x86\x40\x01\x02\x03\x04\x05"]
)
def test_a_damaged_summary_is_made_anew_from_its_segment(hub: Hub, damage: bytes) -> None:
    (gateway,) = hub.enrol("a")
    hub.keep(gateway.block(4, classes=(0, 1)))
    whole = hub.store.latest_headers(gateway.id)[0].summaries
    with hub.store.database.write() as db:
        db.execute("DROP TRIGGER segments_no_update")
        db.execute("UPDATE segments SET summary = ?", (damage,))
    with pytest.raises(StoreError, match="damaged"):
        unpack_summaries(damage)
    assert hub.store.latest_headers(gateway.id)[0].summaries == whole
    with hub.store.database.write() as db:
        db.execute("UPDATE segments SET data = x'00'")
    assert hub.store.latest_headers(gateway.id)[0].summaries == ()


@given(st.binary(max_size=60))
def test_bytes_that_are_no_summaries_are_refused_by_name(data: bytes) -> None:
    with contextlib.suppress(StoreError):
        unpack_summaries(data)


def test_a_block_has_the_summaries_of_all_its_segments_even_of_shed_ones(hub: Hub) -> None:
    (gateway,) = hub.enrol("a")
    whole = gateway.block(4, classes=(0, 1, 2))
    hub.keep(replace(whole, segments=(b"", *whole.segments[1:])))
    assert [each.series for each in hub.store.latest_headers(gateway.id)[0].summaries] == [2, 3]
    hub.keep(whole)
    hub.store.bodies.shed(range(4, 8), hub.fleet.now, "kept long enough")
    found = hub.store.latest_headers(gateway.id)[0].summaries
    assert [(each.series, each.count, each.last) for each in found] == [
        (0, 2, 1002),
        (1, 2, 1003),
        (2, 4, 2003),
        (3, 4, 3003),
    ]
    assert hub.store.block(gateway.id, gateway.head) == replace(whole, segments=(b"", b"", b""))


def test_a_whole_block_of_the_largest_size_fits(hub: Hub) -> None:
    (gateway,) = hub.enrol("a")
    block = gateway.block(4096)
    assert hub.keep(block) == [True]
    assert isinstance(hub.store.block(gateway.id, gateway.head), Block)


def test_a_final_blocks_row_comes_with_its_effects_unless_it_was_there_before(tmp_path: Path) -> None:
    hub = SealingHub(tmp_path / "hub", Federation())
    caught = (Misbehaviour(hub.federation.address(2), 1, DUPLICATE_VOTE),)
    block = FinalBlock(1, hub.federation.fleet.now, seeded("hash"), (), caught)
    hub.ledger.finalize(block)
    assert hub.store.chain.last_final() is None
    hub.ledger.commit()
    assert list(hub.store.chain.final_blocks()) == [block]
    early = FinalBlock(2, block.time + 1, seeded("next"), ())
    hub.store.chain.append_final(early)
    hub.ledger.finalize(early)
    hub.ledger.commit()
    assert hub.store.chain.last_final() == early
    hub.close()
