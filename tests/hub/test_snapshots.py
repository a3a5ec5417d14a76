"""Snapshots are the same on every hub; one that was altered makes no ledger, and a true one makes the same ledger."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from fedkit import agreed
from fleet import flip
from hubs import eventually
from snapshotkit import SMALL, Giver, Joiner

from gateway.chain.canonical import encode
from hub.auditing.audit import audit
from hub.consensus.base import Applied
from hub.errors import StoreError
from hub.federation.snapshot_form import ENTRIES, HEAD, LEAVES, RECORDS, describe, read_chunk
from hub.federation.snapshot_taking import Beginning, Taking
from hub.federation.snapshots import Snapshots


@pytest.fixture
def giver(tmp_path: Path) -> Iterator[Giver]:
    giver = Giver(tmp_path / "giver")
    yield giver
    giver.close()


@pytest.fixture
def join(tmp_path: Path, giver: Giver) -> Iterator[Callable[[Beginning], Joiner]]:
    made: list[Joiner] = []

    def make(beginning: Beginning) -> Joiner:
        made.append(Joiner(tmp_path / "joiner", giver, beginning))
        return made[-1]

    yield make
    for joiner in made:
        joiner.store.close()


def test_the_same_final_blocks_give_the_same_bytes(tmp_path: Path, giver: Giver) -> None:
    other = Giver(tmp_path / "other")
    try:
        info, again = giver.live(), other.live()
        assert info == again
        assert giver.chunks(info) == other.chunks(again)
        kinds = [read_chunk(chunk)[0] for chunk in giver.chunks(info)]
        assert kinds == sorted(kinds)
        assert set(kinds) == {HEAD, LEAVES, ENTRIES, RECORDS}
        assert kinds.count(RECORDS) > 1
    finally:
        other.close()


def test_a_hub_goes_on_from_a_snapshot_as_if_it_had_seen_everything(
    giver: Giver, join: Callable[[Beginning], Joiner]
) -> None:
    info = giver.live()
    begin = giver.beginning(info)
    joiner = join(begin)
    assert joiner.take(info, giver.chunks(info), begin.checkpoint.app.hash) is Applied.ACCEPTED
    giver.order(giver.federation.fleet.order_headers(giver.a.block()))
    joiner.follow(giver)
    assert joiner.ledger.committed.app == giver.hub.ledger.committed.app
    assert joiner.store.chain.records(giver.a.id) == giver.hub.store.chain.records(giver.a.id)
    checkpoint = joiner.store.chain.checkpoint()
    assert checkpoint is not None
    assert checkpoint.verify(giver.federation.genesis).height == giver.hub.height - 1
    own = Snapshots(joiner.directory, joiner.store.database, 4, size=SMALL)
    own.start()
    with joiner.store.database.read() as db:
        assert own.make(giver.hub.height, db) == giver.make()
    own.worker.stop()
    joiner.store.close()
    report = audit(joiner.directory)
    assert report.verdict == "ok"
    assert report.begins == info.height + 1


def test_voters_that_change_at_the_very_snapshot_are_known_to_whoever_begins_with_it(
    giver: Giver, join: Callable[[Beginning], Joiner]
) -> None:
    four = giver.federation
    giver.order()
    giver.hub.decide(agreed(four, four.admit(0, 4)))
    info = giver.make()
    giver.order()
    begin = giver.beginning(info)
    assert begin.seal.header.next_validators != begin.seal.header.validators
    joiner = join(begin)
    assert joiner.take(info, giver.chunks(info), begin.checkpoint.app.hash) is Applied.ACCEPTED
    giver.order()
    joiner.follow(giver)
    last = joiner.store.chain.checkpoint()
    assert last is not None
    assert last.verify(four.genesis).height == giver.hub.height - 1


def test_a_chunk_that_was_altered_on_its_way_is_had_again(
    giver: Giver, join: Callable[[Beginning], Joiner]
) -> None:
    info = giver.live()
    begin, chunks = giver.beginning(info), giver.chunks(info)
    joiner = join(begin)
    assert joiner.taking.offer(info, begin.checkpoint.app.hash)
    for index, chunk in enumerate(chunks):
        assert joiner.taking.apply(index, flip(chunk, 77)) is Applied.AGAIN
        assert joiner.is_empty
        assert joiner.taking.apply(index, chunk) is Applied.ACCEPTED
    assert joiner.taking.apply(len(chunks), b"") is Applied.AGAIN
    joiner.ledger.load()
    assert joiner.ledger.committed.height == info.height


def test_only_the_snapshot_that_was_verified_beforehand_is_taken_up(
    giver: Giver, join: Callable[[Beginning], Joiner]
) -> None:
    info = giver.live()
    begin = giver.beginning(info)
    joiner, true = join(begin), begin.checkpoint.app.hash
    assert not joiner.taking.offer(info, flip(true, 3))
    assert not joiner.taking.offer(replace(info, height=info.height + 4), true)
    assert not joiner.taking.offer(replace(info, hash=flip(info.hash, 3)), true)
    assert not joiner.taking.offer(replace(info, metadata=flip(info.metadata, 3)), true)
    assert not joiner.taking.offer(replace(info, chunks=info.chunks - 1), true)
    assert not joiner.taking.offer(replace(info, format=2), true)
    assert joiner.taking.offer(info, true)


def altered(chunks: list[bytes], kind: int, change: Callable[[list[Any]], list[Any]]) -> list[bytes]:
    """Return chunks of which the last of a kind was changed, its items replaced by what `change` makes of them."""
    place = max(at for at, chunk in enumerate(chunks) if read_chunk(chunk)[0] == kind)
    made = encode([kind, change(read_chunk(chunks[place])[1])])
    return [*chunks[:place], made, *chunks[place + 1 :]]


FORGERIES: dict[str, tuple[int, Callable[[list[Any]], list[Any]]]] = {
    "a leaf": (LEAVES, lambda items: [*items[:-1], flip(items[-1], 9)]),
    "a leaf is missing": (LEAVES, lambda items: items[:-1]),
    "a leaf stands twice": (LEAVES, lambda items: [*items, items[-1]]),
    "leaves are no bytes": (LEAVES, lambda items: [7]),
    "a state entry": (ENTRIES, lambda items: [*items[:-1], [items[-1][0], b"\x00"]]),
    "a state entry is missing": (ENTRIES, lambda items: items[:-1]),
    "a state entry stands twice": (ENTRIES, lambda items: [*items, items[-1]]),
    "a record's hash": (RECORDS, lambda items: [[flip(items[0][0], 5), *items[0][1:]]]),
    "a record's bytes": (RECORDS, lambda items: [[*items[0][:4], items[0][4] + b"\x00"]]),
    "a record's kind": (RECORDS, lambda items: [[items[0][0], 12, *items[0][2:]]]),
    "records are no lists": (RECORDS, lambda items: [b""]),
    "the head's log": (HEAD, lambda items: [[items[0][0], [7, *items[0][1][1:]]]]),
    "the head's header": (HEAD, lambda items: [[[12, *items[0][0][1:]], items[0][1]]]),
    "the head is empty": (HEAD, lambda items: []),
}


@pytest.mark.parametrize("what", FORGERIES)
def test_a_snapshot_that_two_liars_show_alike_makes_no_ledger(
    giver: Giver, join: Callable[[Beginning], Joiner], what: str
) -> None:
    info = giver.live()
    begin, true = giver.beginning(info), giver.chunks(info)
    forged = altered(true, *FORGERIES[what])
    lie = describe(info.height, [sha256(chunk).digest() for chunk in forged])
    joiner = join(replace(begin, snapshot=lie.hash))
    assert joiner.take(lie, forged, begin.checkpoint.app.hash) is Applied.REFUSED
    assert joiner.is_empty
    joiner.store.close()
    joiner = join(begin)
    assert joiner.take(info, true, begin.checkpoint.app.hash) is Applied.ACCEPTED


def test_a_taking_that_was_cut_off_leaves_an_empty_ledger_that_starts_again(
    giver: Giver, join: Callable[[Beginning], Joiner]
) -> None:
    info = giver.live()
    begin, chunks = giver.beginning(info), giver.chunks(info)
    joiner = join(begin)
    joiner.taking.offer(info, begin.checkpoint.app.hash)
    for index, chunk in enumerate(chunks[:-1]):
        joiner.taking.apply(index, chunk)
    (joiner.directory / "snapshot.incoming" / "2").unlink()  # as if the disk had failed just now
    with pytest.raises(StoreError):
        joiner.taking.apply(len(chunks) - 1, chunks[-1])
    assert joiner.is_empty
    joiner.store.close()
    joiner = join(begin)
    assert joiner.take(info, chunks, begin.checkpoint.app.hash) is Applied.ACCEPTED
    assert joiner.ledger.committed.height == info.height
    assert not (joiner.directory / "snapshot.incoming").exists()


def test_a_ledger_that_has_begun_is_never_replaced(giver: Giver, join: Callable[[Beginning], Joiner]) -> None:
    info = giver.live()
    begin, chunks = giver.beginning(info), giver.chunks(info)
    joiner = join(begin)
    for block in giver.hub.store.chain.final_blocks():
        joiner.ledger.finalize(block)
        joiner.ledger.commit()
    before = joiner.ledger.committed
    assert joiner.take(info, chunks, begin.checkpoint.app.hash) is Applied.REFUSED
    joiner.ledger.load()
    assert joiner.ledger.committed.app == before.app


def test_a_hub_starts_anew_where_its_snapshot_does_not_come_and_once_it_stands_on_it(
    giver: Giver, join: Callable[[Beginning], Joiner]
) -> None:
    info = giver.live()
    begin, chunks = giver.beginning(info), giver.chunks(info)
    joiner = join(begin)
    told: list[str] = []
    place = joiner.directory, joiner.store.database, 1000  # it makes none itself
    waiting = Snapshots(*place, taking=joiner.taking, anew=told.append, patience=0.1)
    waiting.start()
    eventually(lambda: told, "the word that none comes")
    waiting.worker.stop()
    assert waiting.apply(0, chunks[0]) is Applied.ABORTED
    assert "newer ones" in told.pop()

    taking = Taking(joiner.directory, joiner.store.database, giver.federation.genesis, begin)
    provider = Snapshots(*place, taking=taking, begun=joiner.ledger.load, anew=told.append)
    assert provider.offer(info, begin.checkpoint.app.hash)
    for index, chunk in enumerate(chunks):
        assert provider.apply(index, chunk) is Applied.ACCEPTED
    assert joiner.ledger.committed.height == info.height
    assert not told, "the engine has yet to take it up"
    provider.committed(info.height + 1)
    provider.committed(info.height + 2)
    assert len(told) == 1
    assert "from a snapshot" in told[0]


def follow(giver: Giver, count: int) -> int:
    """Commit empty final blocks as the engine does, and return the height that it is to keep from then on."""
    for _ in range(count):
        giver.hub.decide(())
        giver.retained = giver.snapshots.committed(giver.hub.height)
    return giver.retained


def test_the_latest_two_are_kept_shown_once_two_blocks_stand_on_them_and_found_after_a_restart(
    giver: Giver,
) -> None:
    follow(giver, 13)
    giver.snapshots.worker.stop()
    assert [each.height for each in giver.snapshots.snapshots()] == [8]
    giver.snapshots.committed(14)
    assert [each.height for each in giver.snapshots.snapshots()] == [8, 12]
    assert giver.snapshots.chunk(4, 1, 0) == b""
    assert giver.snapshots.chunk(8, 2, 0) == b""
    assert giver.snapshots.chunk(8, 1, 99) == b""
    kept = giver.hub.directory / "snapshots"
    shutil.copytree(kept / "12", kept / "16.new")
    (kept / "20").mkdir()
    giver.snapshots = giver.provider(4)
    giver.snapshots.committed(14)
    assert [each.height for each in giver.snapshots.snapshots()] == [8, 12]
    assert {each.name for each in kept.iterdir()} == {"8", "12"}


def test_a_snapshot_shows_one_moment_although_the_chain_goes_on(giver: Giver) -> None:
    giver.live()
    follow(giver, 4 - giver.hub.height % 4)
    height, app = giver.hub.height, giver.hub.ledger.committed.app
    giver.hub.order(giver.federation.fleet.order_headers(giver.a.block()))
    giver.snapshots.worker.stop()
    assert giver.hub.ledger.committed.app != app
    _, [[_, shown]] = read_chunk(giver.snapshots.chunk(height, 1, 0))
    assert shown == app.to_item()


def test_the_engine_keeps_its_latest_blocks_and_what_stands_on_a_snapshot(giver: Giver) -> None:
    assert follow(giver, 9) == 0, "an archive keeps all"
    giver.snapshots.worker.stop()
    giver.snapshots = giver.provider(4, keep=3)
    assert follow(giver, 1) == 4, "whoever begins with the snapshot of 4 needs what stands on it"
    giver.snapshots.worker.stop()
    giver.snapshots = giver.provider(4, keep=8)
    assert follow(giver, 1) == 3, "the last eight"
