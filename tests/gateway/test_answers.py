"""Several hubs' answers as one: the latest counts, what any knows is known, and nobody is waited for for ever."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rig import Rig
from test_keeper import STRANGE, record, signed, started
from test_pruning import answer
from testchain import HUB_KEYS

from gateway.chain.messages import Answer
from gateway.chain.tenure import EpochChangeBody, Position
from gateway.region.answers import Answers
from gateway.storage.holdings import Holdings

HUB, OTHER = HUB_KEYS[0].public, HUB_KEYS[1].public


def at(epoch: int, height: int) -> Position:
    return Position(epoch, height, bytes([epoch, height]) * 16)


@pytest.fixture
def said(tmp_path: Path) -> Answer:
    rig = started(tmp_path)
    shown = answer(rig)
    rig.stop()
    return replace(shown, head=at(1, 5))


def test_the_answer_under_the_highest_seal_counts(said: Answer) -> None:
    answers = Answers(lambda: 2)
    answers.take(replace(said, head=at(1, 7)), 100, 1, 0)
    taken = answers.take(replace(said, hub=OTHER, head=at(1, 6)), 99, 1, 0)
    assert taken is not None
    assert taken.head == at(1, 7)
    taken = answers.take(replace(said, hub=OTHER, head=at(1, 8)), 101, 1, 0)
    assert taken is not None
    assert taken.head == at(1, 8)


def test_a_hub_that_is_behind_what_is_verified_here_takes_nothing_back(said: Answer) -> None:
    answers = Answers(lambda: 2)
    assert answers.take(replace(said, epoch=1), 100, 2, 0) is None
    assert answers.take(replace(said, epoch=2, head=at(2, 5)), 100, 2, 6) is None
    taken = answers.take(replace(said, hub=OTHER, epoch=2, head=at(2, 6)), 90, 2, 6)
    assert taken is not None
    assert taken.head == at(2, 6)


def test_the_only_hub_of_a_chain_is_heard_even_where_its_chain_went_back(said: Answer) -> None:
    answers = Answers(lambda: 1)
    answers.take(replace(said, head=at(1, 7)), 100, 1, 7, alone=True)
    taken = answers.take(said, 90, 1, 7, alone=True)
    assert taken is not None
    assert taken.head == at(1, 5)


def test_blocks_and_alarms_that_any_hub_knows_are_known(said: Answer) -> None:
    answers = Answers(lambda: 2)
    behind = replace(said, known=(at(1, 6), at(1, 7), at(1, 8)), alarms=(b"a" * 32, b"b" * 32))
    answers.take(behind, 99, 1, 0)
    taken = answers.take(replace(said, hub=OTHER, head=at(1, 6), alarms=(b"b" * 32, b"c" * 32)), 100, 1, 0)
    assert taken is not None
    assert taken.known == (at(1, 7), at(1, 8))
    assert set(taken.alarms) == {b"a" * 32, b"b" * 32, b"c" * 32}


def test_a_revocation_counts_whatever_epoch_it_names(said: Answer) -> None:
    taken = Answers(lambda: 1).take(replace(said, standing=6, epoch=1), 100, 2, 9)
    assert taken is not None
    assert taken.standing == 6


def test_blocks_wait_a_while_for_the_other_hubs(said: Answer) -> None:
    now = [0.0]
    answers = Answers(lambda: 2, lambda: now[0])
    answers.take(said, 100, 1, 0)
    assert not answers.is_complete
    now[0] = 10.0
    assert answers.is_complete
    answers = Answers(lambda: 2, lambda: 0.0)
    answers.take(said, 100, 1, 0)
    answers.take(replace(said, hub=OTHER), 90, 1, 0)
    assert answers.is_complete


def confirmed(directory: Path) -> Rig:
    rig = started(directory)
    record(rig, 3)
    rig.keeper.consider(answer(rig), 50)
    assert rig.keeper.is_confirmed
    return rig


def test_a_lagging_hub_changes_neither_epoch_nor_standing(tmp_path: Path) -> None:
    rig = confirmed(tmp_path)
    Holdings(rig.store).add_receipts((), 2)
    for shown in (
        replace(answer(rig), hub=OTHER, epoch=0),  # before this gateway was enrolled
        replace(answer(rig), hub=OTHER, standing=255, epoch=0),
        replace(answer(rig), hub=OTHER, head=signed(rig)[0].position),
    ):
        assert rig.keeper.consider(shown, 40) is None
        assert rig.keeper.is_confirmed
    rig.stop()


def test_a_hub_that_invents_blocks_costs_one_epoch_and_no_more(tmp_path: Path) -> None:
    rig = confirmed(tmp_path)
    lie = replace(answer(rig), hub=OTHER, known=(STRANGE,))
    change = rig.keeper.consider(lie, 50)
    assert change is not None
    body = EpochChangeBody.decode(change.body)
    assert STRANGE in body.orphans
    rig.keeper.consider(replace(answer(rig), epoch=2, head=body.closes), 51)
    assert rig.keeper.is_confirmed
    again = replace(lie, epoch=2, head=body.closes, known=(replace(STRANGE, epoch=2),))
    assert rig.keeper.consider(again, 52) is None
    assert rig.keeper.is_confirmed
    rig.stop()
