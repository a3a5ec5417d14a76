"""Live values of every sensor, for whoever stands beside it: nothing is recorded, decided or sent.

Owns the loop and what is printed: a table where there is a terminal, lines where there is none, or JSON. Sampling is
the daemon's own (`gateway.sampler`), so are calibration and each series' state (`gateway.recording.gauges`).
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

import click

from gateway.catalogue import Catalogue, Channel, SensorPlan
from gateway.config import Config
from gateway.errors import SensorError
from gateway.machine import configured_catalogue, make_hardware
from gateway.options import refuse_beside
from gateway.recording.gauges import Gauges
from gateway.recording.health import STATES
from gateway.sampler import Samplers
from gateway.sensors.base import LAN, Hardware

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Board", "Row", "decimal", "follow", "table"]

_REFRESH_S: Final = 0.25
_COUNTED: Final = 32  # samples over which a rate is taken
_RATE_MS: Final = 10_000
_COLOURS: Final = {"OK": "green", "WARMING": "cyan", "DEGRADED": "yellow", "FAULT": "bold red"}


@dataclass(slots=True)
class Row:
    """One series as it is shown. Times are monotonic ms; `value` is the last good one, None before it."""

    series: str
    unit: str
    scale: int
    value: int | None = None
    state: str = "OK"
    reason: str = ""
    at: int | None = None
    taken: deque[int] = field(default_factory=lambda: deque(maxlen=_COUNTED))

    def age_s(self, now: int) -> float | None:
        """Return how old the value is; None before the first."""
        return None if self.at is None else (now - self.at) / 1000

    def rate_hz(self, now: int) -> float:
        """Return how many good values came in a second, over the last seconds."""
        recent = [at for at in self.taken if now - at <= _RATE_MS]
        return (len(recent) - 1) * 1000 / (recent[-1] - recent[0]) if len(set(recent)) > 1 else 0.0


class _Shown(Protocol):
    """Whoever is told of each sample at once."""

    def good(self, row: Row) -> None: ...

    def bad(self, row: Row, error: SensorError) -> None: ...


class Board:
    """Takes samples where a gateway has its recorder, and knows how each series is.

    Attributes:
        rows: by series, in the catalogue's order; neighbours tell the running gateway alone.
    """

    def __init__(self, catalogue: Catalogue, hardware: Hardware, shown: _Shown | None = None) -> None:
        self.clock = hardware.clock
        sampled = [plan for plan in catalogue.sensors if plan.info.bus != LAN]
        self._channels = [channel for plan in sampled for channel in plan.channels]
        found = [channel.series for channel in self._channels]
        self.rows = {each.name: Row(each.name, each.unit, each.scale) for each in found}
        self._shown = shown
        self._lock = threading.Lock()
        self._gauges = Gauges(
            catalogue,
            powered_since_ms=hardware.powered_since_ms,
            now_ms=self.clock.monotonic_ms(),
        )

    def sample(self, plan: SensorPlan, values: Mapping[str, int]) -> None:
        """Take what a sensor measured just now."""
        with self._lock:
            now = self.clock.monotonic_ms()
            for channel in plan.channels:
                try:
                    self._good(channel, self._gauges.value(channel, values, now), now)
                except SensorError as error:
                    self._bad(channel, error, now)

    def fail(self, plan: SensorPlan, error: SensorError) -> None:
        """Take note that a sensor gave no sample."""
        with self._lock:
            now = self.clock.monotonic_ms()
            for channel in plan.channels:
                if error.kind == "power":
                    self._gauges.power(channel, plan.info.warm_up_ms, now)
                self._bad(channel, error, now)

    def retried(self, plan: SensorPlan) -> None:
        """Take note that a sensor's bus had to repeat what it was asked."""
        with self._lock:
            for channel in plan.channels:
                self._gauges.retry(channel)

    def settle(self) -> int:
        """Take note that time has passed; return the present time."""
        with self._lock:
            now = self.clock.monotonic_ms()
            self._gauges.wait(now)
            for channel in self._channels:
                self._state(channel)
        return now

    def _good(self, channel: Channel, value: int, now: int) -> None:
        self._gauges.succeed(channel, now)
        row = self._state(channel)
        row.value, row.at = value, now
        row.taken.append(now)
        if self._shown is not None:
            self._shown.good(row)

    def _bad(self, channel: Channel, error: SensorError, now: int) -> None:
        self._gauges.fail(channel, error.kind, now)
        row = self._state(channel)
        if self._shown is not None:
            self._shown.bad(row, error)

    def _state(self, channel: Channel) -> Row:
        row, status = self.rows[channel.series.name], self._gauges.status(channel)
        row.state, row.reason = STATES[status.state], status.reason
        return row


def follow(config: Config, where: str, seconds: float | None, *, as_json: bool, is_terminal: bool) -> None:
    """Show each sample until the time is over or Ctrl-C. Raises ConfigError."""
    refuse_beside(config, "reading them")
    catalogue = configured_catalogue(config, where)
    hardware, speed = make_hardware(config, catalogue)
    draws = is_terminal and not as_json
    board = Board(catalogue, hardware, None if draws else _Json() if as_json else _Lines())
    samplers = Samplers(catalogue.sensors, hardware, board, speed)
    samplers.start()
    try:
        with contextlib.suppress(KeyboardInterrupt):  # the way to end it
            if draws:
                _draw(config.gateway.name, board, seconds)
            else:
                threading.Event().wait(seconds)
    finally:
        samplers.stop()
        hardware.close()


def table(title: str, board: Board) -> Table:
    """Return what a terminal shows: one line for each series."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=title, title_justify="left", expand=False)
    for name, side in (("series", "left"), ("value", "right"), ("unit", "left"), ("state", "left")):
        shown.add_column(name, justify="right" if side == "right" else "left", overflow="fold")
    shown.add_column("age", justify="right")
    shown.add_column("rate", justify="right")
    now = board.settle()
    for row in board.rows.values():
        value = "-" if row.value is None else decimal(row.value, row.scale)
        state = Text(f"{row.state} {row.reason}".strip(), style=_COLOURS.get(row.state, ""))
        age = row.age_s(now)
        dimmed = "dim" if row.state == "FAULT" else ""  # what stands there is not its value any more
        shown.add_row(
            row.series,
            Text(value, style=dimmed),
            row.unit,
            state,
            "-" if age is None else f"{age:.1f} s",
            f"{row.rate_hz(now):.1f} Hz",
        )
    return shown


def _draw(title: str, board: Board, seconds: float | None) -> None:
    from rich.live import Live

    ends = None if seconds is None else time.monotonic() + seconds
    with Live(table(title, board), refresh_per_second=1 / _REFRESH_S) as live:
        while ends is None or time.monotonic() < ends:
            time.sleep(_REFRESH_S if ends is None else max(0.0, min(_REFRESH_S, ends - time.monotonic())))
            live.update(table(title, board))


class _Lines:
    """One line a sample; failures on stderr."""

    def good(self, row: Row) -> None:
        value = decimal(row.value or 0, row.scale)
        click.echo(f"{time.strftime('%H:%M:%S')} {row.series:32} {value} {row.unit}{_aside(row)}")

    def bad(self, row: Row, error: SensorError) -> None:
        click.echo(
            f"{time.strftime('%H:%M:%S')} {row.series:32} {error.kind}: {error}{_aside(row)}", err=True
        )


def _aside(row: Row) -> str:
    return "" if row.state == "OK" else f" [{row.state}]"


class _Json:
    """One JSON object a sample."""

    def good(self, row: Row) -> None:
        self._print(row, {"value": row.value, "scale": row.scale, "unit": row.unit})

    def bad(self, row: Row, error: SensorError) -> None:
        self._print(row, {"fault": error.kind, "detail": str(error)})

    def _print(self, row: Row, item: dict[str, Any]) -> None:
        head = {"time": round(time.time() * 1000), "series": row.series, "state": row.state}
        click.echo(json.dumps({**head, **({"reason": row.reason} if row.reason else {}), **item}))


def decimal(value: int, scale: int) -> str:
    """Return a scaled integer as people write it."""
    if scale >= 0:
        return str(value * 10**scale)
    digits = f"{abs(value):0{1 - scale}}"
    return f"{'-' if value < 0 else ''}{digits[:scale]}.{digits[scale:]}"
