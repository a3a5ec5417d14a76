"""The demo's live view: what the hub knows, drawn as it comes. It only draws; `demo` asks and decides."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from firmware_tools.words import quantity

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 32
_COLOURS = {"normal": "green", "pre-alarm": "yellow", "alarm": "bold white on red", "latched": "bold red"}


@dataclass
class Board:
    """What is drawn, and the short history behind the sparklines."""

    title: str
    seconds: float
    elapsed: float = 0.0
    gateways: Sequence[Mapping[str, Any]] = ()
    alarms: Sequence[Mapping[str, Any]] = ()
    hubs: Sequence[Mapping[str, Any]] = ()
    note: str = "starting"
    _history: dict[tuple[str, str], deque[int]] = field(
        default_factory=lambda: defaultdict(lambda: deque(maxlen=_WIDTH))
    )

    def update(self, gateways: Sequence[Mapping[str, Any]], alarms: Sequence[Mapping[str, Any]]) -> None:
        """Take what the hub says now."""
        self.gateways, self.alarms = gateways, alarms
        for gateway in gateways:
            for series in gateway["series"]:
                if series["value"] is not None:
                    self._history[gateway["id"], series["name"]].append(series["value"])

    def __rich__(self) -> RenderableType:
        head = Text.assemble(
            ("Tocsin  ", "bold"),
            self.title,
            f"   {self.elapsed:4.0f} / {self.seconds:.0f} s   ",
            (self.note, "dim"),
        )
        federation = [Panel(self._hubs(), title="hubs", title_align="left")] if len(self.hubs) > 1 else []
        return Group(
            head,
            *federation,
            Panel(self._series(), title="series, as the hub holds them", title_align="left"),
            Panel(self._chains(), title="chains", title_align="left"),
            Panel(self._alarms(), title="alarms", title_align="left"),
        )

    def _hubs(self) -> Table:
        table = _table("hub", "agency", "final block", "items", "", "peers")
        for hub in self.hubs:
            status = hub["status"] or {}
            state = Text("well", "green") if status.get("ok") else Text("not well", "yellow")
            if not hub["alive"]:
                state = Text("gone", "bold red")
            elif not status:
                state = Text("silent", "yellow")
            shown = [str(status.get(key, "")) for key in ("final_height", "log_size")]
            table.add_row(hub["name"], hub["agency"], *shown, state, str(status.get("peers", "")))
        return table

    def _series(self) -> Table:
        table = _table("gateway", "series", "", "latest", "unit")
        table.columns[3].justify = "right"
        for gateway in self.gateways:
            name = gateway["name"]
            for series in gateway["series"]:
                latest = series["value"]
                shown = "" if latest is None else quantity(latest, series["scale"])
                bars = sparkline(self._history[gateway["id"], series["name"]])
                unit = "" if series["unit"] == "1" else series["unit"]
                table.add_row(name, series["name"], Text(bars, "cyan"), shown, unit)
                name = ""
        return table

    def _chains(self) -> Table:
        table = _table("gateway", "block", "final", "lag", "contracts")
        for gateway in self.gateways:
            lag = gateway["finality_lag_ms"]
            states = Text("  ").join(
                Text(f"{each['contract']} {each['condition']}", _COLOURS[each["condition"]])
                for each in gateway["contracts"]
            )
            table.add_row(
                gateway["name"],
                f"{gateway['epoch']}/{gateway['stored']}",
                f"{gateway['epoch']}/{gateway['head']}",
                "" if lag is None else f"{lag} ms",
                states or Text("all normal", "green"),
            )
        return table

    def _alarms(self) -> RenderableType:
        if not self.alarms:
            return Text("none", "dim")
        table = _table("time", "gateway", "contract", "", "severity", "final after")
        for alarm in list(self.alarms)[:8]:
            moment = datetime.fromtimestamp(alarm["wall_ms"] / 1000, UTC)
            final = alarm["final_ms"]
            table.add_row(
                f"{moment:%H:%M:%S}.{alarm['wall_ms'] % 1000:03d}",
                alarm["name"],
                alarm["contract"],
                Text(alarm["level"], _COLOURS[alarm["level"]]),
                alarm["severity"] or "",
                "not yet" if final is None else f"{final - alarm['wall_ms']} ms",
            )
        return table


def sparkline(values: Sequence[int]) -> str:
    """Draw values as bars from their least to their greatest; equal ones as a low line."""
    if not values:
        return ""
    least, most = min(values), max(values)
    if least == most:
        return _BARS[0] * len(values)
    return "".join(_BARS[(value - least) * (len(_BARS) - 1) // (most - least)] for value in values)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, expand=False)
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table
