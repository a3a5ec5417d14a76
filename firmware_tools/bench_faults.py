"""How soon a sensor's fault is seen, beside the time that is stated for it, and what looking for it costs.

Every driver is drilled with every fault that its simulated hardware can have, by the gateway's own samplers on a
simulated clock: the times are the simulated ones. Of each kind of fault the figure is the driver's that came closest to
its limit. The cost is that of a value with every rule of plausibility on, beside the same without any.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Final

from firmware_tools.bench_figure import Figure
from firmware_tools.errors import ToolError
from gateway.catalogue import Catalogue, make_catalogue
from gateway.config import SensorTable, SeriesTable
from gateway.inspection.live import Board
from gateway.recording.gauges import Gauges
from gateway.recording.health import STATES, WELL
from gateway.recording.plausibility import PlausibleTable
from gateway.sampler import Taker
from gateway.simulation.drill import Drill
from gateway.simulation.faults import FaultKind
from gateway.simulation.simulation import Simulation
from gateway.simulation.subjects import DRILLS, STATED

__all__ = ["measure_faults"]

_VALUES: Final = 20_000
_ROUNDS: Final = 5


def measure_faults() -> Iterator[Figure]:
    """Measure. Raises ToolError: a fault was not seen."""
    buses = logging.getLogger("gateway.sensors")
    level = buses.level
    buses.setLevel(logging.CRITICAL)  # their warnings are what is wanted here
    try:
        for kind, stated in STATED.items():
            if stated.state != WELL:  # a bus that is freed shows nothing
                yield _slowest(kind)
    finally:
        buses.setLevel(level)
    bare, judged = (_cost(table) for table in (PlausibleTable(), _every_rule()))
    yield Figure("faults-plausible", judged, "us a value", peer=bare)


class _Ground:
    """What `tocsin-gateway read` shows, as the ground of a drill."""

    def __init__(self, catalogue: Catalogue, simulation: Simulation) -> None:
        self._board = Board(catalogue, simulation)

    @property
    def taker(self) -> Taker:
        return self._board

    def tick(self) -> None:
        self._board.settle()

    def state(self, series: str) -> tuple[int, str]:
        row = self._board.rows[series]
        return STATES.index(row.state), row.reason


def _slowest(kind: FaultKind) -> Figure:
    figures = []
    for subject in DRILLS.values():
        if kind in subject.kinds:
            drill = Drill(subject, kind, _Ground)
            try:
                after = drill.run().after_ms
            finally:
                drill.close()
            if after is None:
                raise ToolError(f"{subject.driver}: the fault {kind} was not seen")
            figures.append(Figure(f"faults-{kind}", after, "ms", limit=subject.limit_ms(kind)))
    return max(figures, key=lambda each: each.ratio or 0)


def _every_rule() -> PlausibleTable:
    return PlausibleTable(low=0, high=10_000, slew=10_000, still_s=60, noise=1_000, quiet=1)


def _cost(table: PlausibleTable) -> float:
    series = SeriesTable("value", "raw", plausible=table)
    sensor = SensorTable("adc", "ads1115", 100, {"input": "a0"}, (series,))
    catalogue = make_catalogue((sensor,), "bench")
    channel = catalogue.sensors[0].channels[0]

    def take() -> None:
        gauges = Gauges(catalogue, powered_since_ms=-1_000_000, now_ms=0)
        for at in range(_VALUES):
            gauges.value(channel, {"raw": 500 + at % 7}, 100 * at)
            gauges.succeed(channel, 100 * at)

    return min(_timed(take) for _ in range(_ROUNDS)) / _VALUES * 1e6


def _timed(work: Callable[[], None]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun
