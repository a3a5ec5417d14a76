"""A disk that does not answer: it fails nothing, it only takes for ever. Pins and alarms do not wait for it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rig import Rig
from testhub import PATIENCE, wait_until

import gateway.recording.feed
import gateway.storage.journal
import gateway.storage.journal_file
from gateway.chain.alarm import UNRECORDED
from gateway.config import SealTable

LONG_S = 10 * PATIENCE


class HangingDevice:
    """Writes to journals wait for as long as it `hangs`."""

    def __init__(self, write: Callable[[int, bytes, int], None]) -> None:
        self._write, self._answers, self.waits = write, threading.Event(), threading.Event()
        self._answers.set()

    def hang(self) -> None:
        self._answers.clear()

    def answer(self) -> None:
        self._answers.set()

    def __call__(self, file: int, data: bytes, offset: int) -> None:
        if not self._answers.is_set():
            self.waits.set()
            self._answers.wait(LONG_S)
        self._write(file, data, offset)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[HangingDevice]:
    device = HangingDevice(gateway.storage.journal_file.write_at)
    monkeypatch.setattr(gateway.storage.journal, "write_at", device)
    yield device
    device.answer()


def done(action: Callable[[], None]) -> threading.Event:
    """Run something in a thread; set when it is through."""
    over = threading.Event()

    def run() -> None:
        action()
        over.set()

    threading.Thread(target=run, daemon=True).start()
    return over


def test_a_reading_that_the_disk_does_not_take_delays_no_pin(tmp_path: Path, device: HangingDevice) -> None:
    rig = Rig(tmp_path)
    rig.gas(100)
    device.hang()
    rig.air(300)
    assert device.waits.wait(PATIENCE)
    assert done(lambda: rig.air(310)).wait(PATIENCE)
    assert done(lambda: rig.gas(30_000)).wait(PATIENCE)
    assert rig.siren
    assert not rig.announced.is_set()
    device.answer()
    assert rig.announced.wait(PATIENCE)
    rig.stop()


def test_what_is_not_durable_in_two_seconds_is_published_unrecorded(
    tmp_path: Path, device: HangingDevice
) -> None:
    rig = Rig(tmp_path)
    rig.gas(100)
    device.hang()
    rig.gas(30_000)
    assert rig.writer.unwritten() == []
    wait_until(lambda: len(rig.writer.unwritten()) == 1, "the alarm that is not durable")
    (late,) = rig.writer.unwritten()
    assert late.mark == UNRECORDED
    device.answer()
    rig.settle()
    assert rig.writer.unwritten() == []
    (row,) = rig.store.unacknowledged("hub")
    assert (row.hash, row.mark) == (late.hash, UNRECORDED)
    rig.stop()


def test_a_store_that_waits_holds_up_no_pin_and_no_alarm(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    other = sqlite3.connect(tmp_path / "gateway.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    rig.gas(30_000)
    assert rig.siren
    wait_until(lambda: len(rig.writer.unwritten()) == 1, "the alarm that has no row")
    other.execute("ROLLBACK")
    other.close()
    rig.settle()
    assert len(rig.store.unacknowledged("hub")) == 1
    rig.stop()


def test_the_journal_is_durable_before_the_row_of_a_transition(tmp_path: Path, device: HangingDevice) -> None:
    rig = Rig(tmp_path, bound_ms=60_000)
    device.hang()
    rig.gas(100)
    rig.gas(30_000)
    assert device.waits.wait(PATIENCE)
    assert rig.store.loose_transitions() == []  # the store would take it
    device.answer()
    assert rig.announced.wait(PATIENCE)
    rig.settle()
    rig.stop()


def test_what_outgrows_the_queue_makes_the_block_one_to_be_sealed_soon(
    tmp_path: Path, device: HangingDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.recording.feed, "_MAX_BYTES", 1000)
    rig = Rig(tmp_path, seal=SealTable(readings=4000, seconds=3600))
    device.hang()
    rig.gas(0)
    assert device.waits.wait(PATIENCE)  # from here on nothing leaves the queue
    for value in range(200):
        rig.advance(0.001)
        rig.gas(value)
    assert not rig.found.journals[0].is_whole
    assert rig.recorder.due_ms() <= rig.clock.monotonic_ms() + 1000
    rig.advance(1.1)
    rig.recorder.tick()
    device.answer()
    rig.settle()
    (stored,) = rig.store.drafts()
    (journal, other) = rig.found.journals
    assert stored.number == 1
    assert journal.is_whole  # empty, and good again for the block after the next
    assert other.is_whole
    rig.stop()
