"""Wall clocks that jump by a year, both ways, under way and across a restart: order and proofs hold all the same."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from proving import alarm_evidence, check_evidence, reading_evidence
from reconcile import check_region
from region import GatewayProcess, Region

from gateway.chain.block import NTP, Header
from gateway.chain.events import ClockStep
from gateway.chain.reading import open_segment, parse_leaf

HERE = Path(__file__).resolve().parent
YEAR_MS = 365 * 86_400_000


@pytest.fixture
def wall(
    tmp_path: Path, require: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[[int], None]:
    """Sets the offset of wall time, in ms, of the processes that are started from now on."""
    library, file = tmp_path / "wallclock.so", tmp_path / "offset"
    source = HERE / "wallclock.c"
    command = [
        require("cc"),
        "-shared",
        "-fPIC",
        "-O2",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-o",
        library,
        source,
        "-ldl",
    ]
    subprocess.run(command, check=True, timeout=60)
    file.write_bytes(bytes(8))

    def move(offset_ms: int) -> None:
        with file.open("r+b") as opened:
            opened.write(offset_ms.to_bytes(8, "little", signed=True))
        monkeypatch.setenv("LD_PRELOAD", str(library))
        monkeypatch.setenv("WALL_OFFSET", str(file))

    return move


def headers(gateway: GatewayProcess) -> list[Header]:
    """Of its signed blocks, in the chain's order."""
    rows = gateway.rows("SELECT header FROM blocks WHERE height > 0 ORDER BY height")
    return [Header.decode(header) for (header,) in rows]


def steps(gateway: GatewayProcess) -> list[int]:
    """The recorded steps of the wall clock, in ms, in the chain's order."""
    found = []
    for (body,) in gateway.rows(
        "SELECT inflate(body) FROM segments JOIN blocks USING (number) WHERE place = 0 AND height > 0 ORDER BY height"
    ):
        for _, leaf in open_segment(0, body).events:
            event = parse_leaf(leaf)
            if isinstance(event, ClockStep):
                found.append(event.step)
    return found


def check_order(chain: list[Header]) -> None:
    """Within a boot monotonic time rises from block to block, whatever wall time does."""
    assert [each.height for each in chain] == list(range(1, len(chain) + 1))
    for before, after in itertools.pairwise(chain):
        if before.boot == after.boot:
            assert after.mono >= before.mono + before.span


def test_jumps_of_a_year_back_and_forward_leave_order_and_proofs_whole(
    tmp_path: Path, wall: Callable[[int], None]
) -> None:
    with Region(tmp_path / "region") as region:
        wall(0)
        gateway = region.add("a", gateway="retain_h = 8760")
        gateway.start()
        region.await_alarms(gateway)
        offsets = [-YEAR_MS, 0, YEAR_MS, 0]
        for offset in offsets:
            wall(offset)
            region.await_blocks(gateway, 2)
        wall(-YEAR_MS)
        region.await_alarms(gateway)
        gateway.kill()
        wall(YEAR_MS)  # while nobody looks
        gateway.start()
        region.await_alarms(gateway)
        wall(0)
        region.await_alarms(gateway)
        alarm, height = region.alarms(gateway)[-1]["hash"], region.await_blocks(gateway)
        region.come_to_rest()
        check_region(region.hub.directory, gateway)
        chain = headers(gateway)
        check_order(chain)
        assert {each.epoch for each in chain} == {1}
        assert all(each.clock == NTP for each in chain)
        expected = [-YEAR_MS, YEAR_MS, YEAR_MS, -YEAR_MS, -YEAR_MS, -YEAR_MS]
        assert [round(each / YEAR_MS) * YEAR_MS for each in steps(gateway)] == expected
        for path in (
            alarm_evidence(region.hub.directory, alarm, tmp_path / "alarm.evidence"),
            reading_evidence(region.hub.directory, gateway.id, height, tmp_path / "reading.evidence"),
        ):
            check_evidence(path, region.genesis)
