"""What may be signed: drafts until an answer, one block a position, and a new epoch when anything is lacking."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rig import Rig
from test_pruning import answer

from gateway.chain.block import Header, header_hash
from gateway.chain.finality import Sealed
from gateway.chain.keys import BLOCK
from gateway.chain.messages import Answer
from gateway.chain.tenure import EpochChangeBody, Position
from gateway.config import SealTable
from gateway.errors import JournalError, StoreError
from gateway.storage.holdings import Holdings
from gateway.storage.store import Signature, Stored


def record(rig: Rig, blocks: int) -> None:
    for value in range(blocks):
        rig.advance(1)
        rig.gas(value)
        rig.settle()


def started(directory: Path, boot: int = 1) -> Rig:
    return Rig(directory, boot=boot, seal=SealTable(readings=1))


def signed(rig: Rig) -> list[Stored]:
    return rig.store.above(0)


def check_chain(rig: Rig, blocks: list[Stored], after: Position | None = None) -> None:
    previous = after
    for each in blocks:
        header = Header.decode(each.header)
        assert header_hash(each.header) == each.hash
        assert (header.epoch, header.height) == (each.epoch, each.height)
        if previous is not None:
            assert (header.height, header.previous) == (previous.height + 1, previous.hash)
        rig.store.message(each).signed.verify(BLOCK, rig.identity.key.public)
        previous = each.position


def test_nothing_is_signed_before_the_answer_and_all_of_it_after(tmp_path: Path) -> None:
    rig = started(tmp_path)
    record(rig, 5)
    assert signed(rig) == []
    assert rig.keeper.consider(answer(rig)) is None
    assert [each.height for each in signed(rig)] == [1, 2, 3, 4, 5]
    record(rig, 2)
    assert [each.height for each in signed(rig)] == list(range(1, 8))
    check_chain(rig, signed(rig))
    rig.stop()


def test_after_a_restart_the_chain_waits_for_the_next_answer(tmp_path: Path) -> None:
    rig = started(tmp_path)
    rig.keeper.consider(answer(rig))
    record(rig, 3)
    rig.stop()
    rig = started(tmp_path, 2)
    record(rig, 2)
    before = signed(rig)
    assert [each.height for each in before] == [1, 2, 3]
    rig.keeper.consider(replace(answer(rig), head=before[1].position, known=(before[2].position,)))
    assert [each.height for each in signed(rig)] == [1, 2, 3, 4, 5]
    check_chain(rig, signed(rig))
    rig.stop()


@pytest.mark.parametrize("standing", [6, 7, 255])
def test_out_of_good_standing_nothing_is_signed(tmp_path: Path, standing: int) -> None:
    rig = started(tmp_path)
    record(rig, 2)
    assert rig.keeper.consider(replace(answer(rig), standing=standing)) is None
    assert not rig.keeper.is_confirmed
    assert signed(rig) == []
    rig.stop()


STRANGE = Position(1, 9, b"9" * 32)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"head": STRANGE}, 2),
        ({"known": (STRANGE,)}, 2),
        ({"alarms": (b"8" * 32,)}, 2),
        ({"epoch": 4}, 2),
    ],
    ids=["head", "known", "alarm", "epoch"],
)
def test_what_the_chain_knows_and_the_store_lacks_needs_a_new_epoch(
    tmp_path: Path, changes: dict[str, Any], reason: int
) -> None:
    rig = started(tmp_path)
    record(rig, 2)
    asked = replace(answer(rig), **changes)
    change = rig.keeper.consider(asked)
    assert change is not None
    body = EpochChangeBody.decode(change.body)
    assert (body.epoch, body.closes, body.reason) == (asked.epoch + 1, asked.head, reason)
    assert signed(rig) == []
    assert rig.keeper.consider(asked) == change  # the same bytes, however often
    ordered = replace(asked, epoch=asked.epoch + 1, known=())
    assert rig.keeper.consider(ordered) is None
    assert [each.epoch for each in signed(rig)] == [asked.epoch + 1] * 2
    check_chain(rig, signed(rig), asked.head if asked.head.height else None)
    rig.stop()
    rig = started(tmp_path, 2)  # what was forgone once is no reason for a third epoch
    head = signed(rig)[-1].position
    again = replace(answer(rig), epoch=ordered.epoch, head=head, alarms=ordered.alarms)
    assert rig.keeper.consider(again) is None
    assert rig.keeper.is_confirmed
    rig.stop()


def test_a_new_epoch_without_a_block_yet_survives_a_restart(tmp_path: Path) -> None:
    rig = started(tmp_path)
    asked = replace(answer(rig), head=STRANGE)
    rig.keeper.consider(asked)
    rig.keeper.consider(replace(asked, epoch=2))
    assert rig.keeper.head == STRANGE
    rig.stop()
    rig = started(tmp_path, 2)
    assert rig.keeper.head == STRANGE
    assert rig.keeper.consider(replace(answer(rig), epoch=2, head=STRANGE)) is None
    record(rig, 1)
    check_chain(rig, signed(rig), STRANGE)
    rig.stop()


def test_a_change_follows_the_head_that_moved_meanwhile(tmp_path: Path) -> None:
    rig = started(tmp_path)
    rig.keeper.consider(answer(rig))
    record(rig, 4)
    at = [each.position for each in signed(rig)]
    first = replace(answer(rig), head=at[0], known=(STRANGE,))
    change = rig.keeper.consider(first)
    assert change is not None
    assert EpochChangeBody.decode(change.body).orphans == (at[1], at[2], at[3], STRANGE)
    moved = rig.keeper.consider(replace(first, head=at[1]))
    assert moved is not None
    assert EpochChangeBody.decode(moved.body).closes == at[1]
    rig.keeper.consider(replace(first, head=at[1], known=(), epoch=2))
    assert [(each.epoch, each.height) for each in signed(rig)] == [(1, 1), (1, 2), (2, 3), (2, 4)]
    check_chain(rig, signed(rig))
    assert all(rig.store.has_hash(each.hash) for each in at)  # orphans are kept
    rig.stop()


def test_what_is_not_whole_stays_so_until_the_new_epoch(tmp_path: Path) -> None:
    rig = started(tmp_path)
    record(rig, 1)
    rig.stop()
    (tmp_path / "open-0.journal").write_bytes(b"\xff" * (1 << 20))
    with pytest.raises(JournalError):
        started(tmp_path, 2)  # not this program's file: left alone
    (tmp_path / "open-0.journal").unlink()
    rig = started(tmp_path, 3)
    assert rig.keeper.whole
    rig.store.put({"whole": b"\0"})
    rig.stop()
    rig = started(tmp_path, 4)
    assert not rig.keeper.whole
    change = rig.keeper.consider(answer(rig))
    assert change is not None
    assert EpochChangeBody.decode(change.body).reason == 1
    rig.stop()
    rig = started(tmp_path, 5)
    assert rig.keeper.change == change
    rig.keeper.consider(replace(answer(rig), epoch=2))
    assert rig.keeper.whole
    rig.stop()


def test_the_seal_seen_never_goes_back(tmp_path: Path) -> None:
    rig = started(tmp_path)
    shown: Answer = answer(rig)
    rig.keeper.see(shown.checkpoint, Sealed(7, 1, bytes(32), b"\7" * 32, 1))
    rig.keeper.see(shown.checkpoint, Sealed(5, 1, bytes(32), b"\5" * 32, 1))
    rig.keeper.consider(shown)
    record(rig, 1)
    assert Header.decode(signed(rig)[0].header).seen.height == 7
    rig.stop()
    rig = started(tmp_path, 2)
    assert rig.keeper.seen.height == 7
    rig.stop()


def test_a_final_blocks_header_cannot_be_changed(tmp_path: Path) -> None:
    rig = started(tmp_path)
    rig.keeper.consider(answer(rig))
    record(rig, 2)
    Holdings(rig.store).add_receipts((), 1)
    with pytest.raises(StoreError, match="a final block is never changed"):
        rig.store.sign_blocks([Signature(1, STRANGE, b"h", b"s")], (), {})
    with pytest.raises(StoreError, match="never deleted"), rig.store.transaction() as run:
        run("DELETE FROM blocks")
    sql = "INSERT INTO transitions (hash, body, mark, wall_ms) VALUES (x'00', x'00', 0, 0) RETURNING"
    with pytest.raises(StoreError), rig.store.transaction() as run:
        run(f"{sql} no_such_column")
    assert not rig.store.has_transition(b"\0")  # nothing of a failed transaction stays
    rig.stop()
