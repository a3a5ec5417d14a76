"""The open block's journal on real files: loss bound, generations, torn and damaged tails, killed writers."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.clock import SimulatedClock
from gateway.errors import JournalError, JournalFull
from gateway.storage.journal import MAX_RECORD_BYTES, MIN_SIZE, PAGE, Journal
from gateway.storage.journal_file import DATA, Slot, read_generation

BOUND_MS = 10_000


def open_journal(path: Path, *, size: int = MIN_SIZE, bound_ms: int = BOUND_MS) -> Journal:
    return Journal(path, size=size, loss_bound_ms=bound_ms, clock=SimulatedClock(speed=0))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "open-block.journal"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    with open_journal(path) as journal:
        yield journal


def reopened(path: Path) -> tuple[tuple[bytes, ...], bool, bool]:
    with open_journal(path) as journal:
        found = journal.recover()
    return found.records, found.torn, found.damaged


def fill(journal: Journal, record: bytes) -> None:
    while journal.room >= len(record):
        journal.append(record)
    with pytest.raises(JournalFull, match="seal the open block"):
        journal.append(record)


def test_appended_records_are_found_in_order_with_their_sequence(path: Path) -> None:
    with open_journal(path) as journal:
        assert [journal.append(record) for record in (b"a", b"bb", b"c" * 5000)] == [0, 1, 2]
    with open_journal(path) as journal:
        found = journal.recover()
    assert (found.generation, found.first_sequence, found.next_sequence) == (1, 0, 3)
    assert found.records == (b"a", b"bb", b"c" * 5000)
    assert not found.torn
    assert not found.damaged
    assert found.since(2) == (b"c" * 5000,)
    assert found.since(0) == found.records
    assert found.since(3) == ()


def test_the_file_keeps_its_size_from_the_first_byte_to_the_last(path: Path, journal: Journal) -> None:
    assert path.stat().st_size == MIN_SIZE
    fill(journal, b"x" * 1000)
    assert path.stat().st_size == MIN_SIZE
    assert path.stat().st_blocks * 512 >= MIN_SIZE  # no holes: a sync needs no metadata


@pytest.mark.parametrize("bound_ms", [0, BOUND_MS])
def test_a_record_fits_exactly_into_the_room_told(path: Path, bound_ms: int) -> None:
    with open_journal(path, bound_ms=bound_ms) as journal:
        records: list[bytes] = []
        while journal.room:
            records.append(bytes([len(records) + 1]) * min(journal.room, 7000))
            journal.append(records[-1])
        with pytest.raises(JournalFull):
            journal.append(b"x")
    assert reopened(path) == (tuple(records), False, False)


def test_a_full_journal_takes_records_again_after_reset(path: Path, journal: Journal) -> None:
    fill(journal, b"x" * 3000)
    last = journal.next_sequence
    journal.reset()
    assert journal.append(b"next") == last
    journal.close()
    assert reopened(path) == ((b"next",), False, False)


def test_reset_forgets_the_sealed_records_without_rewriting_them(path: Path, journal: Journal) -> None:
    journal.append(b"sealed" * 2000)
    journal.sync()
    before = path.read_bytes()[DATA:]
    journal.reset()
    assert path.read_bytes()[DATA:] == before
    assert journal.recover().records == ()
    assert (journal.generation, journal.next_sequence) == (2, 1)


def test_stale_records_of_an_earlier_generation_are_never_taken(path: Path, journal: Journal) -> None:
    for _ in range(5):  # same contents, same boundaries: only the generation tells them apart
        for _ in range(8):
            journal.append(b"same" * 1000)
        journal.reset()
    journal.append(b"same" * 1000)
    journal.close()
    assert reopened(path) == ((b"same" * 1000,), False, False)


def test_a_sequence_may_jump_ahead_but_never_go_back(journal: Journal) -> None:
    journal.append(b"a")
    journal.reset(5000)
    assert journal.append(b"b") == 5000
    with pytest.raises(ValueError, match="sequence 5000 was used already"):
        journal.reset(5000)


def test_what_waits_longest_sets_the_next_sync(path: Path) -> None:
    now = SimulatedClock(speed=0)
    with Journal(path, size=MIN_SIZE, loss_bound_ms=BOUND_MS, clock=now) as journal:
        waits = [journal.next_sync_ms]
        for _ in range(2):
            journal.append(b"a")
            waits.append(journal.next_sync_ms)
            now.advance(4)
        ticked = [journal.tick(), journal.tick(BOUND_MS - 1), journal.tick(BOUND_MS)]
        waits.append(journal.next_sync_ms)
        journal.append(b"b")
        now.advance(BOUND_MS / 1000)
        ticked.append(journal.tick())
    assert waits == [None, BOUND_MS, BOUND_MS, None]
    assert ticked == [False, False, True, True]


def test_a_zero_bound_leaves_nothing_waiting(path: Path) -> None:
    with open_journal(path, bound_ms=0) as journal:
        journal.append(b"a")
        assert journal.next_sync_ms is None


@pytest.mark.parametrize("length", [1, 4046, 4047, 4048, 4049, 4050, 5000])
def test_durable_bytes_are_never_written_again(path: Path, journal: Journal, length: int) -> None:
    journal.append(b"first")
    journal.append(b"r" * length)  # up to the page's last bytes, and beyond
    journal.sync()
    durable = path.read_bytes()
    end = durable.rindex(b"r") + 1
    journal.append(b"the next")
    after = path.read_bytes()
    assert after.index(b"the next") // PAGE == (end - 1) // PAGE + 1
    assert after[:end] == durable[:end]


def test_appends_go_on_while_a_sync_runs(path: Path, journal: Journal) -> None:
    stop = threading.Event()
    errors: list[Exception] = []

    def sync_all_the_time() -> None:
        while not stop.is_set():
            try:
                journal.sync()
            except JournalError as error:
                errors.append(error)
                return

    syncer = threading.Thread(target=sync_all_the_time)
    syncer.start()
    records: list[bytes] = []
    for n in range(400):
        try:
            journal.append(str(n).encode())
            records.append(str(n).encode())
        except JournalFull:
            journal.reset()
            records = []
    stop.set()
    syncer.join()
    assert errors == []
    journal.close()
    assert reopened(path) == (tuple(records), False, False)


# -- damage ---------------------------------------------------------------------------------------


def written(path: Path, records: list[bytes]) -> tuple[bytes, bytes]:
    """The file before and after its last record, over stale bytes of an earlier generation."""
    with open_journal(path) as journal:
        for _ in range(9):
            journal.append(b"\xaa" * 5000)
        journal.reset(0 if not records else journal.next_sequence)
        for record in records[:-1]:
            journal.append(record)
        before = path.read_bytes()
        journal.append(records[-1])
    return before, path.read_bytes()


@pytest.mark.parametrize("filler", [0, 3990, 4000, 4040])  # the last record within a page, and across two
def test_a_write_torn_at_any_byte_loses_that_record_alone(path: Path, filler: int) -> None:
    keep = [b"kept", b"f" * filler] if filler else [b"kept"]
    before, after = written(path, [*keep, b"the last record \xff"])
    start = next(i for i in range(DATA, len(after)) if before[i] != after[i])
    end = after.index(b"the last record \xff") + 17
    for cut in range(start - 1, end + 3):
        content = after[:cut] + before[cut:]
        path.write_bytes(content)
        found, torn, damaged = reopened(path)
        assert found == ((*keep, b"the last record \xff") if cut >= end else tuple(keep)), cut
        assert torn == (content not in (before, after)), cut
        assert not damaged


def test_writing_goes_on_behind_a_torn_tail(path: Path) -> None:
    _, after = written(path, [b"kept", b"torn away" * 2000])
    cut = after.index(b"torn away") + 6000
    path.write_bytes(after[:cut] + bytes(len(after) - cut))
    with open_journal(path) as journal:
        assert journal.recover().torn
        journal.append(b"after the crash")
    assert reopened(path) == ((b"kept", b"after the crash"), False, False)


def test_a_lost_tail_written_anew_does_not_come_back(path: Path) -> None:
    """Later pages reached the card, an earlier one did not; then the same lengths are written again."""
    with open_journal(path) as journal:
        for n in range(40):
            journal.append(b"%04d" % n + b"o" * 500)
    old = bytearray(path.read_bytes())
    old[DATA + PAGE : DATA + 2 * PAGE] = bytes(PAGE)
    path.write_bytes(old)
    with open_journal(path) as journal:
        kept = journal.recover().records
        assert 0 < len(kept) < 40
        for n in range(len(kept), 12):
            journal.append(b"%04d" % n + b"n" * 500)
    found, torn, damaged = reopened(path)
    assert not damaged
    assert not torn
    assert found == kept + tuple(b"%04d" % n + b"n" * 500 for n in range(len(kept), 12))


def test_loss_of_what_was_durable_is_called_damage(path: Path) -> None:
    with open_journal(path) as journal:
        for n in range(6):
            journal.append(b"record %d" % n)
            journal.sync()
    data = bytearray(path.read_bytes())
    data[data.index(b"record 2")] ^= 1
    path.write_bytes(data)
    assert reopened(path) == ((b"record 0", b"record 1"), True, True)


def test_loss_of_what_was_still_waiting_is_no_damage(path: Path) -> None:
    with open_journal(path) as journal:
        journal.append(b"durable")
        journal.sync()
        for n in range(6):
            journal.append(b"waiting %d" % n + b"." * 2000)
    data = bytearray(path.read_bytes())
    data[data.index(b"waiting 2")] ^= 1
    path.write_bytes(data)
    records, torn, damaged = reopened(path)
    assert [record[:9] for record in records] == [b"durable", b"waiting 0", b"waiting 1"]
    assert torn
    assert not damaged


def test_a_reset_torn_in_its_slot_leaves_the_generation_before(path: Path) -> None:
    with open_journal(path) as journal:
        journal.append(b"not stored yet")
        before = path.read_bytes()
        journal.reset()
    after = path.read_bytes()
    offset = next(i for i in range(len(after)) if before[i] != after[i])
    for cut in range(offset + 1, offset + 60):
        path.write_bytes(after[:cut] + before[cut:])
        assert reopened(path) == ((b"not stored yet",), False, False)
        path.write_bytes(after)


def test_a_newest_slot_lost_after_its_records_were_written_is_damage(path: Path) -> None:
    with open_journal(path) as journal:
        journal.append(b"stored")
        journal.reset()
        slot = journal.generation % 2 * PAGE
        journal.append(b"open")
    data = bytearray(path.read_bytes())
    data[slot + 20] ^= 1
    path.write_bytes(data)
    assert reopened(path) == ((), False, True)


def test_a_file_with_both_slots_damaged_is_set_aside_and_begun_anew(path: Path) -> None:
    with open_journal(path) as journal:
        journal.append(b"a")
        journal.reset()
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    data[PAGE + 20] ^= 1
    path.write_bytes(data)
    with open_journal(path) as journal:
        assert journal.recover().damaged
        assert journal.append(b"recording goes on") == 0
        journal.reset(100)
        assert not journal.recover().damaged
    assert path.with_name(path.name + ".damaged").read_bytes() == data


@pytest.mark.parametrize("length", [0, 100, PAGE, DATA, DATA + 10])
def test_a_truncated_file_is_damage_and_whole_again_after_reset(path: Path, length: int) -> None:
    with open_journal(path) as journal:
        journal.append(b"a" * 100)
    os.truncate(path, length)
    with open_journal(path) as journal:
        assert journal.recover().damaged
        journal.reset(7)
        journal.append(b"b")
    assert path.stat().st_size == MIN_SIZE
    assert reopened(path) == ((b"b",), False, False)


def test_a_foreign_file_is_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" * 1000)
    with pytest.raises(JournalError, match="is not a Tocsin journal"):
        open_journal(path)
    assert path.read_bytes() == b"SQLite format 3\0" * 1000


def test_another_versions_file_is_refused_with_the_remedy(path: Path) -> None:
    other = Slot(MIN_SIZE, 2, 0, bytes(16), version=2).pack()
    path.write_bytes(other + bytes(MIN_SIZE - len(other)))
    with pytest.raises(JournalError, match="has version 2, this program writes version 1"):
        open_journal(path)


def test_a_new_size_takes_effect_once_the_old_files_records_are_stored(path: Path) -> None:
    with open_journal(path) as journal:
        journal.append(b"old")
    with open_journal(path, size=2 * MIN_SIZE) as journal:
        assert journal.recover().records == (b"old",)
        assert path.stat().st_size == MIN_SIZE
        journal.reset()
        assert path.stat().st_size == 2 * MIN_SIZE
        assert journal.append(b"new") == 1
        with pytest.raises(JournalError, match="in use by another process"):
            open_journal(path, size=2 * MIN_SIZE)
    with open_journal(path, size=2 * MIN_SIZE) as journal:
        assert journal.recover().records == (b"new",)


def test_two_writers_at_once_are_refused(path: Path, journal: Journal) -> None:
    with pytest.raises(JournalError, match="in use by another process; stop that gateway first"):
        open_journal(path)


def test_a_missing_directory_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="cannot open the journal: No such file or directory"):
        open_journal(tmp_path / "absent" / "j")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("record", [b"", b"x" * (MAX_RECORD_BYTES + 1)])
def test_a_record_of_impossible_length_is_refused(journal: Journal, record: bytes) -> None:
    with pytest.raises(ValueError, match="has 1 to 65534 bytes"):
        journal.append(record)


@pytest.mark.parametrize("size", [0, PAGE, MIN_SIZE + 1])
def test_an_impossible_size_is_refused(path: Path, size: int) -> None:
    with pytest.raises(ValueError, match="journal size must be a multiple"):
        open_journal(path, size=size)


def test_a_negative_loss_bound_is_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="the loss bound must not be negative, but is -1 ms"):
        open_journal(path, bound_ms=-1)


def test_a_closed_journal_refuses_and_closes_again(journal: Journal) -> None:
    journal.close()
    journal.close()
    with pytest.raises(JournalError, match="the journal is closed"):
        journal.append(b"a")


LIMITED = """
import resource, sys
from pathlib import Path
from gateway.clock import SystemClock
from gateway.errors import JournalError
from gateway.storage.journal import Journal
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path, limit, size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
if not path.exists():
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
journal = Journal(path, size=size, loss_bound_ms=1000, clock=SystemClock())
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
refused = 0
for n in range(100):
    try:
        journal.append(b"x" * 1000)
    except JournalError as error:
        refused += 1
        last = error
print(refused, type(last).__name__, last)
"""


def run_limited(path: Path, limit: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LIMITED, str(path), str(limit), str(64 * PAGE)],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_after_a_failed_write_nothing_is_taken_until_reset(path: Path) -> None:
    open_journal(path, size=64 * PAGE).close()
    result = run_limited(path, DATA + 10 * PAGE)  # the kernel refuses writes beyond, as a dying card would
    refused, kind, message = result.stdout.split(maxsplit=2)
    assert kind == "JournalError", result.stderr
    assert "unusable until the open block is stored" in message
    records, _, damaged = reopened(path)
    assert len(records) == 100 - int(refused)
    assert not damaged


def test_a_full_disk_leaves_no_half_made_journal(path: Path) -> None:
    result = run_limited(path, 10 * PAGE)
    assert "JournalError" in result.stderr
    assert "cannot open the journal" in result.stderr
    assert list(path.parent.iterdir()) == []


def test_disk_errors_keep_their_number(tmp_path: Path) -> None:
    with pytest.raises(JournalError) as caught:
        open_journal(tmp_path)
    assert caught.value.errno == errno.EISDIR


# -- killed writers -------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from gateway.clock import SystemClock
from gateway.errors import JournalFull
from gateway.storage.journal import Journal
journal = Journal(Path(sys.argv[1]), size=65536, loss_bound_ms=int(sys.argv[2]), clock=SystemClock())
found = journal.recover()
assert not found.damaged, found
out = sys.stdout
out.write(f"opened {found.first_sequence} {found.next_sequence}\\n"); out.flush()
while True:
    n = journal.next_sequence
    try:
        journal.append(b"%d:" % n + b"." * (n * 37 % 400))
        out.write(f"{n}\\n")
    except JournalFull:
        journal.reset()
        out.write(f"reset {journal.next_sequence}\\n")
    out.flush()
    journal.tick()
"""


@pytest.mark.parametrize("bound_ms", [0, 5])
def test_a_killed_writer_loses_nothing_that_was_appended(path: Path, bound_ms: int) -> None:
    rng = random.Random(bound_ms)
    for _ in range(10):
        command = [sys.executable, "-c", WRITER, str(path), str(bound_ms)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            lines = [writer.stdout.readline() for _ in range(rng.randrange(1, 300))]
            writer.kill()
            lines += writer.stdout.read().splitlines(keepends=True)
        with open_journal(path) as journal:
            found = journal.recover()
        assert not found.damaged
        last = next(line for line in reversed(lines) if line.endswith("\n"))
        said = int(last.split()[-1]) + (0 if " " in last else 1)
        assert said <= found.next_sequence <= said + 1
        for n, record in enumerate(found.records, found.first_sequence):
            assert record == b"%d:" % n + b"." * (n * 37 % 400)


# -- any bytes, any history -----------------------------------------------------------------------

actions = st.lists(
    st.one_of(
        st.binary(min_size=1, max_size=6000),
        st.sampled_from(["sync", "reset", "reopen"]),
        st.tuples(st.just("tear"), st.integers(0, 200)),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=60)
@given(actions)
def test_any_history_is_found_as_it_was_written(history: list[bytes | str | tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "j"
        journal = open_journal(path)
        expected: list[bytes] = []
        before: bytes | None = None  # the file before the last record, while that is not durable
        for action in history:
            if isinstance(action, bytes):
                before = path.read_bytes()
                try:
                    journal.append(action)
                    expected.append(action)
                except JournalFull:
                    action = "reset"
            if action == "sync":
                journal.sync()
                before = None
            elif action == "reset":
                journal.reset()
                expected, before = [], None
            elif not isinstance(action, bytes):
                journal.close()
                if isinstance(action, tuple) and before is not None and not tear(path, before, action[1]):
                    expected.pop()
                journal, before = open_journal(path), None
            found = journal.recover()
            assert list(found.records) == expected
            assert not found.damaged
        journal.close()


def tear(path: Path, before: bytes, cut: int) -> bool:
    """Undo the last write from its byte `cut` on; say whether it is whole all the same."""
    after = path.read_bytes()
    start = next(i for i in range(len(after)) if before[i] != after[i])
    torn = after[: start + cut] + before[start + cut :]
    path.write_bytes(torn)
    return torn == after


@settings(deadline=None)
@given(st.binary(max_size=300), st.integers(0, 3 * PAGE), st.data())
def test_any_bytes_are_scanned_without_error(noise: bytes, offset: int, data: st.DataObject) -> None:
    slot = Slot(MIN_SIZE, 1, 0, bytes(16))
    content = bytearray(slot.pack().ljust(3 * PAGE, b"\xff"))
    content[offset : offset + len(noise)] = noise
    found = read_generation(bytes(content), slot)
    assert found.records == ()
    assert Slot.unpack(noise) is None
