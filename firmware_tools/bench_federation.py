"""A federation's figures: four agencies' hubs on two cores, beside one hub alone on the same in the same run.

- `fed-alarm`: from an alarm at a gateway that speaks to all four hubs to its finality on the last of them.
- `fed-anchors`: headers final per second at saturation on all four, one to a transaction and as many together as a
  hub takes from its queue at once. They go to the engines themselves, without broker and bodies (see
  `bench_federation_load`); beside it the embedded engine in a process of its own, on the same state machine.
  CometBFT's own published saturation is 400 transactions of 1 KiB a second, at 175 validators.
- `fed-readings`: readings final per second, whole blocks of 600 brought to all brokers as gateways bring them.
- `fed-block-interval`: ms between final blocks while anchors come in at saturation.
- `fed-memory`, `fed-disk`: of each node. On disk, an idle federation's growth is scaled from its heartbeats, one in
  30 s as in use; half of it is the engine's own write-ahead log, which ends growing at 1 GB.
- `fed-catch-up`: final blocks per second of a hub that was away while anchors came in.
- `fed-verify`: one evidence file, in process and as the command.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from firmware_tools.bench_federation_site import Site, site
from firmware_tools.bench_figure import Figure, percentile
from firmware_tools.bench_site import Child
from firmware_tools.demo_process import run

__all__ = ["Sizes", "measure_federation"]

_HUBS: Final = 4
_ALARM_MS: Final = 1500.0
_VERIFY_MS: Final = 10.0
_COMMAND_MS: Final = 500.0
_BATCH: Final = 64
_PER_BLOCK: Final = 60
_PER_FULL_BLOCK: Final = 600
_DAILY: Final = 86_400 / 30 / 1e6  # MB a day, of bytes a heartbeat
_RAMP: Final = 0.2  # of the time under load


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured.

    Attributes:
        onsets: of alarms; each is two transitions.
        seconds: under each load.
        idle: seconds without any.
        gateways, heights: made up for anchors, and how many blocks each has.
        full_gateways, full_heights: the same for readings.
        alone: anchors of the hub alone.
        singles, batched, blocks: in the air at once, as headers, headers in batches, and whole blocks.
        repeats: of verification, each in a process of its own.
    """

    onsets: int = 20
    seconds: float = 10.0
    idle: float = 60.0
    gateways: int = 32
    heights: int = 1600
    full_gateways: int = 16
    full_heights: int = 320
    alone: int = 8000
    singles: int = 512
    batched: int = 2048
    blocks: int = 256
    repeats: int = 8


@dataclass(frozen=True, slots=True)
class _Alone:
    """What one hub with the embedded engine does: ms of alarms, readings per second, MB, ms of verification.

    `engine` is what `hub.bench_anchors` prints.
    """

    alarms: list[float]
    engine: Mapping[str, Mapping[str, float]]
    readings: float
    memory: float
    verified: tuple[float, float]


def measure_federation(sizes: Sizes = Sizes()) -> Iterator[Figure]:
    """Measure; about three minutes. Raises ToolError.

    The hub alone is measured while the federation idles, which takes some hundredths of a core.
    """
    with site(_HUBS) as four, four.load() as load:
        load.tell("crowd", "anchors", _PER_BLOCK, sizes.gateways, sizes.heights)
        begun, before, height = time.monotonic(), four.disk(), four.height(four.hubs[0])
        with site(1) as one, one.load() as lesser:
            alone = _measure_alone(one, lesser, sizes)
        time.sleep(max(0.0, begun + sizes.idle - time.monotonic()))
        grown, beats = four.disk() - before, four.height(four.hubs[0]) - height
        load.answer()
        idle, beside = grown / max(beats, 1), alone.engine["heartbeat"]["bytes"]
        yield Figure("fed-disk-idle", idle * _DAILY, "MB/day", peer=beside * _DAILY)
        took, alarm = four.alarms(sizes.onsets)
        for share, limit in ((50, None), (95, _ALARM_MS)):
            ours, beside = percentile(took, share), percentile(alone.alarms, share)
            yield Figure(f"fed-alarm-p{share}", ours, "ms", limit, beside)
        yield from _anchors(four, load, sizes, alone)
        yield Figure("fed-readings", _readings(four, load, sizes), "readings/s", peer=alone.readings)
        engine, hub = four.weigh()
        yield Figure("fed-memory-engine", engine, "MB")
        yield Figure("fed-memory-hub", hub, "MB", peer=alone.memory)
        yield Figure("fed-catch-up", _catch_up(four, load, sizes), "blocks/s")
        inside, command = _verify(four, alarm, sizes.repeats)
    yield Figure("fed-verify", inside, "ms", _VERIFY_MS, alone.verified[0])
    yield Figure("fed-verify-command", command, "ms", _COMMAND_MS, alone.verified[1])


def _measure_alone(one: Site, load: Child, sizes: Sizes) -> _Alone:
    done = one.beside("hub.bench_anchors", sizes.alone)
    took, alarm = one.alarms(sizes.onsets)
    readings = _readings(one, load, sizes)
    return _Alone(took, json.loads(done), readings, one.weigh()[1], _verify(one, alarm, sizes.repeats))


def _anchors(four: Site, load: Child, sizes: Sizes, alone: _Alone) -> Iterator[Figure]:
    load.ask("enrol", "anchors")
    intervals: list[float] = []
    for name, batch, window in (("single", 1, sizes.singles), ("batched", _BATCH, sizes.batched)):
        before = four.disk()
        told = load.ask("anchors", sizes.seconds, batch, window, four.all)
        intervals += load.ask("intervals", told["first"], told["last"])
        peer = alone.engine[name]
        yield Figure(f"fed-anchors-{name}", _rate(told, sizes), "anchors/s", peer=peer["per_second"])
        grown = (four.disk() - before) / told["final"]
        yield Figure(f"fed-disk-load-{name}", grown / 1e3, "MB/1000 anchors", peer=peer["bytes"] / 1e3)
    interval, beside = percentile(intervals, 50), alone.engine["single"]["interval_ms"]
    yield Figure("fed-block-interval", interval, "ms", peer=beside)


def _readings(where: Site, load: Child, sizes: Sizes) -> float:
    load.ask("crowd", "readings", _PER_FULL_BLOCK, sizes.full_gateways, sizes.full_heights)
    load.ask("enrol", "readings")
    told = load.ask("readings", sizes.seconds, sizes.blocks, where.all)
    return _rate(told, sizes) * _PER_FULL_BLOCK


def _rate(told: Mapping[str, Any], sizes: Sizes) -> float:
    """Return what became final per second once the load had come up, from one final block to another."""
    steady = [each for each in told["samples"] if each[0] >= _RAMP * sizes.seconds]
    if len(steady) < 2:
        return float(told["final"] / told["seconds"])
    (begun, before), (ended, after) = steady[0], steady[-1]
    return float((after - before) / (ended - begun))


def _catch_up(four: Site, load: Child, sizes: Sizes) -> float:
    *others, away = four.hubs
    four.end(away)
    load.ask("anchors", sizes.seconds, 1, sizes.singles, four.all[: len(others)])
    return four.catch_up(away)


def _verify(where: Site, alarm: str, repeats: int) -> tuple[float, float]:
    """Return the ms that verifying an alarm's evidence takes, in a process that is loaded and as a command."""
    evidence = where.evidence(alarm, where.directory / "alarm.evidence")
    trust = where.directory / "authority" / "genesis.cbor"
    inside, commands = [], []
    for _ in range(repeats):
        with Child(where.directory / "log", "verify", evidence, trust) as child:
            inside.append(child.ask("verify"))
        begun = time.perf_counter()
        run("tocsin-tools", "verify", evidence, "--trust", trust)
        commands.append((time.perf_counter() - begun) * 1000)
    return percentile(inside, 50), percentile(commands, 50)
