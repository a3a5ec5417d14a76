"""A gateway's recording half for a few seconds, in a directory whose every write is logged.

It notes in the file `marks` what nobody may take back: readings that were recorded, alarms and blocks that were
announced. Arguments: the directory, seconds, a seed, the boot's number, and what earlier lives had announced, as JSON.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from dataclasses import replace
from pathlib import Path

from rig import GAS, Rig, gas_contract
from test_pruning import answer

from gateway.chain.tenure import NOWHERE, Position
from gateway.clock import SystemClock
from gateway.config import SealTable, SensorTable, SeriesTable

BOUND_MS = 300
COUNT = SensorTable(
    "count", "ads1115", 100, {"input": "a1"}, (SeriesTable("count", "raw", class_="internal"),)
)


def main(directory: Path, seconds: float, seed: int, boot: int, known: dict[str, list[list[object]]]) -> int:
    dice = random.Random(seed)
    rig = Rig(
        directory,
        SystemClock(),
        boot=boot,
        seal=SealTable(readings=60, seconds=2, min_interval_ms=50),
        contracts=gas_contract(max_age="30d", clear_for="0s"),
        sensors=(GAS, COUNT),
        bound_ms=BOUND_MS,
    )
    marks = Marks(rig, directory / "marks")
    rig.writer._announce = marks.announced
    head = Position(*_position(known["blocks"][-1])) if known["blocks"] else NOWHERE
    alarms = tuple(bytes.fromhex(str(each[0])) for each in known["alarms"][-64:])
    rig.keeper.consider(replace(answer(rig), head=head, alarms=alarms))
    if not rig.keeper.is_confirmed:
        return 3  # it would need a new epoch: something that was announced is not there
    marks.announced()
    until, number, leak = time.monotonic() + seconds, boot * 10_000, False
    while time.monotonic() < until:
        time.sleep(dice.uniform(0.001, 0.004))
        number += 1
        rig._sample("count", {"raw": number, "voltage": 0})
        marks.note("reading", number)
        if dice.random() < 0.02:
            leak = not leak
            rig.gas(9000 if leak else 100)
            rig.recorder.reset("gas-ch4", "test")
    if dice.random() < 0.5:
        rig.stop()
    os._exit(0)


def _position(values: list[object]) -> tuple[int, int, bytes]:
    epoch, height, digest = values
    return int(str(epoch)), int(str(height)), bytes.fromhex(str(digest))


class Marks:
    def __init__(self, rig: Rig, path: Path) -> None:
        self._rig = rig
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._number = self._ordinal = 0

    def note(self, *words: object) -> None:
        os.write(self._file, (" ".join(map(str, words)) + "\n").encode())

    def announced(self) -> None:
        """What the store has now is sent to hubs, which may keep and sign for it."""
        for row in self._rig.store.unacknowledged("nobody", 1000, after=self._ordinal):
            self._ordinal = max(self._ordinal, row.ordinal)
            self.note("alarm", row.hash.hex())
        for each in self._rig.store.unreceipted("nobody", self._number, 1000):
            self._number = each.number
            self.note("block", each.epoch, each.height, each.hash.hex())


if __name__ == "__main__":
    where, seconds, seed, boot, known = sys.argv[1:]
    sys.exit(main(Path(where), float(seconds), int(seed), int(boot), json.loads(known)))
