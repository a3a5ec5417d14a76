"""Power cuts at random moments: every disk that one can leave opens again, and holds what nobody may take back.

A gateway's recording half runs as a process whose writes and syncs are logged (`cutlog.c`). A cut is a moment of
that log: what was synced by then, and a random part of what was not (`cutlog`). Each cut is opened as the next start
would open it; some of them the next start does open, and is cut in its turn.
"""

from __future__ import annotations

import bisect
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cutlog import Disk, Entry, read_log

from gateway.chain.block import Header
from gateway.chain.keys import BLOCK, SigningKey, gateway_id
from gateway.chain.reading import open_segment, segment_hash
from gateway.clock import SystemClock
from gateway.region.enrol import Trust
from gateway.storage.recovery import open_data
from gateway.storage.store import Store

HERE = Path(__file__).resolve().parent
GENESIS, KEY = bytes(31) + b"\1", SigningKey(bytes(range(32)))  # as in tests/gateway/rig.py
BOUND_MS = 300  # as in cut_child.py
LATE_MS = 1_200  # a machine that runs many tests gives the writer its turn late


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory, require: Callable[[str], Path]) -> Path:
    library = tmp_path_factory.mktemp("shim") / "cutlog.so"
    command = [require("cc"), "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o", library]
    subprocess.run([*command, HERE / "cutlog.c", "-ldl"], check=True, timeout=60)
    return library


@dataclass(slots=True)
class Promised:
    """What nobody may take back any more: (ns, value) of readings; alarms' hashes; blocks by epoch and height."""

    readings: list[tuple[int, int]] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    blocks: dict[tuple[int, int], str] = field(default_factory=dict)

    def take(self, entry: Entry) -> None:
        kind, *words = entry.data.decode().split()
        if kind == "reading":
            self.readings.append((entry.ns, int(words[0])))
        elif kind == "alarm":
            if words[0] not in self.alarms:  # each life sends again what nobody has signed for
                self.alarms.append(words[0])
        else:
            place = int(words[0]), int(words[1])
            assert self.blocks.setdefault(place, words[2]) == words[2], f"{place} was given to two blocks"

    def copy(self) -> Promised:
        return Promised(list(self.readings), list(self.alarms), dict(self.blocks))

    def known(self) -> str:
        blocks = [[*place, digest] for place, digest in sorted(self.blocks.items(), key=lambda it: it[0][1])]
        return json.dumps({"blocks": blocks[-1:], "alarms": [[each] for each in self.alarms[-64:]]})


@dataclass(frozen=True, slots=True)
class Found:
    """What a cut cost: readings lost, and how old the oldest of them was."""

    lost: int
    oldest_ms: float


class Lives:
    """A gateway's lives on one disk, each ended by a power cut."""

    def __init__(self, directory: Path, shim: Path, seed: int, *, syncs: bool = True) -> None:
        self.directory, self.shim, self.syncs = directory, shim, syncs
        self.dice = random.Random(seed)
        self.root = directory / "life-0"
        self.root.mkdir()
        self.promised = Promised()
        self.boot = 0

    def live(self, seconds: float, cuts: int) -> list[Found]:
        """Live for some seconds, check so many cuts, and go on from one of them."""
        self.boot += 1
        disk, log = Disk(self.root), self.directory / f"log-{self.boot}"
        self._run(seconds, log)
        entries = read_log(log)
        moments = sorted(self.dice.randrange(1, len(entries) + 1) for _ in range(cuts))
        goes_on = self.dice.randrange(cuts)
        slowest = _slowest_sync_ms(entries)
        promised, found, at = self.promised.copy(), list[Found](), 0
        marks = _fd_of_marks(entries)
        for number, moment in enumerate(moments):
            for index in range(at, moment):
                disk.play(entries[index])
                if entries[index].kind == "w" and index in marks:
                    promised.take(entries[index])
            at = moment
            left = self.directory / f"cut-{self.boot}-{number}"
            left.mkdir()
            disk.cut(self.dice, left)
            (left / "marks").unlink(missing_ok=True)
            if number == goes_on:
                shutil.copytree(left, self.directory / f"life-{self.boot}")
                self.promised = promised.copy()
                # What this cut loses of readings is lost; what it leaves, the next life's blocks hold.
                self.promised.readings.clear()
            try:
                found.append(check(left, promised, entries[moment - 1].ns))
                assert found[-1].oldest_ms <= BOUND_MS + LATE_MS + slowest, found[-1]
            finally:
                shutil.rmtree(left)
        shutil.rmtree(self.root)
        self.root = self.directory / f"life-{self.boot}"
        log.unlink()
        return found

    def _run(self, seconds: float, log: Path) -> None:
        kit = os.pathsep.join(str(HERE.parent / each) for each in ("gateway", ".", ".."))
        environ = {
            **os.environ,
            "PYTHONPATH": kit,
            "LD_PRELOAD": str(self.shim),
            "CUT_ROOT": str(self.root),
            "CUT_LOG": str(log),
            **({} if self.syncs else {"CUT_NO_SYNC": "1"}),
        }
        seed = self.dice.randrange(1 << 30)
        arguments = [str(each) for each in (self.root, seconds, seed, self.boot, self.promised.known())]
        command = [sys.executable, str(HERE / "cut_child.py"), *arguments]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr


def _fd_of_marks(entries: list[Entry]) -> set[int]:
    """The log's places of what went to the file of marks."""
    fds: dict[int, bytes] = {}
    places = set()
    for index, entry in enumerate(entries):
        if entry.kind == "o":
            fds[entry.fd] = entry.data
        elif entry.kind == "w" and fds[entry.fd].endswith(b"/marks"):
            places.add(index)
    return places


def _slowest_sync_ms(entries: list[Entry]) -> float:
    begun: dict[int, int] = {}
    slowest = 0.0
    for entry in entries:
        if entry.kind == "s":
            begun.setdefault(entry.fd, entry.ns)
        elif entry.kind == "S":
            slowest = max(slowest, (entry.ns - begun.pop(entry.fd, entry.ns)) / 1e6)
    return slowest


def check(directory: Path, promised: Promised, cut_ns: int) -> Found:
    """Open what a cut left as the next start does, and hold it against what was promised before."""
    found = open_data(directory, Trust(GENESIS, None), gateway_id(KEY.public), BOUND_MS, SystemClock())
    store = found.store
    try:
        assert found.whole, "the gateway would take a new epoch"
        assert (store.is_writable, found.left, found.unwritten) == (True, (), ())
        assert store.one("PRAGMA integrity_check") == ("ok",)
        for (epoch, height), digest in promised.blocks.items():
            stored = store.at(height)
            assert stored is not None, f"block {epoch}/{height} was published and is not here"
            assert (stored.epoch, stored.hash.hex()) == (epoch, digest)
        missing = [each for each in promised.alarms if not store.has_transition(bytes.fromhex(each))]
        assert missing == []
        present = _readings(store)
    finally:
        store.close()
        for journal in found.journals:
            journal.close()
    lost = [ns for ns, value in promised.readings if value not in present]
    if lost:  # what is lost is the end
        after = bisect.bisect(promised.readings, (min(lost),))
        assert len(lost) >= len(promised.readings) - after
    return Found(len(lost), (cut_ns - min(lost)) / 1e6 if lost else 0.0)


def _readings(store: Store) -> set[int]:
    """The values of the counting series in every block, each block's bytes checked against its header."""
    values, previous = set(), None
    for stored in (*store.above(0), *store.drafts()):
        block, header = store.message(stored), Header.decode(stored.header)
        if stored.height:
            block.signed.verify(BLOCK, KEY.public)
            if previous is not None:
                assert (header.height, header.previous) == (previous.height + 1, previous.hash)
            previous = stored
        for head, body in zip(header.segments, block.segments, strict=True):
            assert segment_hash(body) == head.hash
            if head.klass == 1:
                values.update(open_segment(1, body).values)
    return values


def test_fifty_power_cuts_lose_no_more_than_was_said(tmp_path: Path, shim: Path) -> None:
    lives = Lives(tmp_path, shim, seed=1)
    found = [each for _ in range(5) for each in lives.live(1.0, 10)]
    assert len(found) == 50
    assert lives.promised.blocks  # there was something to lose
    assert lives.promised.alarms
    assert any(each.lost for each in found)


@pytest.mark.soak
def test_a_thousand_power_cuts_lose_no_more_than_was_said(tmp_path: Path, shim: Path) -> None:
    lives = Lives(tmp_path, shim, seed=2)
    assert sum(len(lives.live(3.0, 40)) for _ in range(25)) == 1000


def test_without_syncs_a_power_cut_does_cost_what_was_promised(tmp_path: Path, shim: Path) -> None:
    """The test of the tests above: they would see it."""
    lives = Lives(tmp_path, shim, seed=3, syncs=False)
    with pytest.raises(AssertionError):
        lives.live(2.0, 20)
