"""Every driver beside every fault that its simulated hardware can have: what must be seen, and within which time.

Owns the stated times and the one sensor of each driver that stands for all of them. How a fault is played is
`gateway.simulation.drill`'s.

Times: a fault that fails samples is there with the fifth, so six periods after it began at the latest, and half a
second for the bus's own time-outs; frozen, drifting and noisy values take what the configuration says, here as below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.config import SensorTable, SeriesTable
from gateway.recording.health import DEGRADED, FAULT, WELL
from gateway.recording.plausibility import PlausibleTable
from gateway.simulation.faults import Fault, FaultKind

__all__ = ["BY_DESIGN", "DRILLS", "RATE_MS", "STATED", "Stated", "Subject"]

_STILL_S: Final = 10
RATE_MS: Final = 1_000
_LONG_S: Final = 1e6


@dataclass(frozen=True, slots=True)
class Stated:
    """What is to be seen of a fault: a state, one of some reasons, within so many of a sensor's periods and ms.

    `over` are the periods, beside twelve seconds and a warm-up, after which all is well again when it has ended. One
    of the `whole_bus` strikes all sensors on it.
    """

    state: int
    reasons: tuple[str, ...]
    periods: int
    ms: int = 500
    over: int = 6
    whole_bus: bool = False

    def within_ms(self, period_ms: int) -> int:
        """Return how soon it is to be seen."""
        return self.periods * period_ms + self.ms


_CUT: Final = ("out-of-range", "wiring", "nack", "no-data", "stuck", "timeout")

STATED: Final[Mapping[FaultKind, Stated]] = {
    "nack": Stated(FAULT, ("nack", "wiring", "no-data"), 6),
    "timeout": Stated(FAULT, ("timeout", "wiring", "no-data"), 6, 2_000, whole_bus=True),
    "held": Stated(WELL, ("",), 6, 2_000),  # freed by clock pulses before a sample fails
    "vanished": Stated(FAULT, ("wiring",), 6, whole_bus=True),
    "glitch": Stated(DEGRADED, ("retries",), 12, over=100),
    "brown-out": Stated(FAULT, ("nack", "power", "wiring", "no-data"), 6),
    "checksum": Stated(FAULT, ("checksum",), 6),
    "short": Stated(FAULT, ("no-data", "checksum", "timeout"), 6),
    "stuck": Stated(FAULT, ("stuck",), 6, 2_000),
    "drift": Stated(FAULT, ("out-of-range",), 16),  # which is outside its limits after ten periods
    "noise": Stated(DEGRADED, ("noise",), 66, over=66),
    "cut": Stated(FAULT, _CUT, 6, 1_500),
    "shorted": Stated(FAULT, ("wiring",), 6),
    "heater": Stated(FAULT, ("out-of-range",), 6),
}
"""By kind of fault."""

_BARE: Final[Mapping[FaultKind, str]] = {
    "cut": "a bare contact that opens is its alarm, or its rest: only a supervised loop can tell",
    "stuck": "two levels that do not change are most contacts' whole life",
    "drift": "a contact has no value that could drift: it is a change of level, or nothing",
    "noise": "a contact that chatters is bounced; what is left are changes of level",
}
BY_DESIGN: Final[Mapping[str, Mapping[FaultKind, str]]] = {
    "contact": _BARE,
    "power": _BARE,
    "eol_loop": {"drift": "a loop's resistance is its state: a drift ends in alarm or in a fault of wiring"},
    "mcp3008": {
        "stuck": "ten bits of a steady voltage are often equal: quieter than its own steps",
        "timeout": "nothing times out on SPI: a chip that is gone reads as one that does not answer",
    },
    "sgp40": {
        "drift": "it measures what has no unit: the index learns what is usual, and slow change is usual"
    },
}
"""By driver, what its hardware can have and it cannot show as a fault, and why."""

_WIRES: Final[tuple[FaultKind, ...]] = ("nack", "timeout", "held", "vanished", "glitch", "brown-out")
_ANALOG: Final[tuple[FaultKind, ...]] = ("stuck", "drift", "noise", "cut")


@dataclass(frozen=True, slots=True)
class Subject:
    """The sensor that stands for a driver.

    Attributes:
        quantity: of the series that is looked at.
        table: its plausible values; what its fault shows is set accordingly.
        drift, noise: a fault's `amount`, in the probe's unit: limits are crossed after ten periods; noise is beyond.
        lag_s: how long its element takes to follow what it measures.
        warm_s: how long it warms up again after it was out of reach.
        companion: another sensor on the same bus, which a fault leaves alone.
    """

    driver: str
    options: Mapping[str, object]
    quantity: str
    kinds: tuple[FaultKind, ...]
    table: PlausibleTable = field(default_factory=PlausibleTable)
    drift: float = 0.0
    noise: float = 0.0
    period_ms: int = RATE_MS
    cycle_ms: int = 0
    lag_s: int = 0
    warm_s: int = 0
    companion: tuple[str, Mapping[str, object]] = ("ads1115", {"input": "a3", "address": 0x4B})

    @property
    def value_ms(self) -> int:
        """The time from one value to the next."""
        return max(self.period_ms, self.cycle_ms)

    def limit_ms(self, kind: FaultKind) -> int:
        """Return how soon a fault is to be seen: what is stated, and what its table waits for a frozen value."""
        still_s = self.table.still_s + self.lag_s if kind == "stuck" else 0
        return STATED[kind].within_ms(self.value_ms) + 1000 * still_s

    def over_ms(self, kind: FaultKind) -> int:
        """Return how soon after a fault's end all is to be well."""
        return STATED[kind].over * self.value_ms + 12_000 + 1000 * self.warm_s

    @property
    def tables(self) -> tuple[SensorTable, SensorTable]:
        """The sensor and its companion, as a configuration has them."""
        series = SeriesTable("subject.value", self.quantity, plausible=self.table)
        return (
            SensorTable("subject", self.driver, self.period_ms, self.options, (series,)),
            SensorTable("companion", self.companion[0], RATE_MS, self.companion[1]),
        )

    def fault(self, kind: FaultKind, at_s: float) -> Fault:
        """Return the fault that strikes it; whoever drills takes it away again."""
        per_period = self.drift / (10 * self.value_ms / 1000)
        amount = per_period if kind == "drift" else self.noise if kind == "noise" else 0.0
        return Fault(kind, at_s, at_s + _LONG_S, amount)


def _limits(low: int, high: int, noise: int) -> PlausibleTable:
    return PlausibleTable(low=low, high=high, noise=noise, still_s=_STILL_S)


_GPIO: Final = ("contact", {"pin": 12})
_SPI: Final = ("mcp3008", {"channel": 0, "device": 1})

DRILLS: Final[Mapping[str, Subject]] = {
    each.driver: each
    for each in (
        Subject("ads1115", {"input": "a0"}, "raw", (*_WIRES, *_ANALOG), _limits(100, 12_000, 100), 0.6, 0.05),
        Subject(
            "mq",
            {"model": "mq4", "input": "a0"},
            "raw",
            (*_WIRES, *_ANALOG, "heater"),
            _limits(500, 30_000, 400),
            3.5,
            0.2,
        ),
        Subject(
            "eol_loop",
            {"input": "a0"},
            "resistance",
            (*_WIRES, "stuck", "noise", "cut", "shorted"),
            PlausibleTable(noise=60, still_s=_STILL_S),
            0.0,
            0.05,
        ),
        Subject("ina219", {}, "voltage", (*_WIRES, *_ANALOG), _limits(9_000, 15_000, 60), 2.5, 0.2),
        Subject("nau7802", {}, "raw", (*_WIRES, *_ANALOG), _limits(-500_000, 500_000, 3_000), 4e-4, 5e-6),
        Subject(
            "strain",
            {"gauge_factor": 2, "bridge": "quarter"},
            "strain",
            (*_WIRES, *_ANALOG),
            _limits(-500_000, 500_000, 3_000),
            4e-4,
            5e-6,
        ),
        Subject("bme280", {}, "temperature", (*_WIRES, *_ANALOG), _limits(-1_000, 6_000, 50), 45.0, 2.0),
        Subject(
            "sht3x", {}, "temperature", (*_WIRES, *_ANALOG, "checksum"), _limits(-1_000, 6_000, 50), 45.0, 2.0
        ),
        Subject(
            "sgp40",
            {},
            "raw",
            (*_WIRES, "stuck", "noise", "cut", "checksum"),
            PlausibleTable(noise=300, still_s=_STILL_S),
            0.0,
            100.0,
            lag_s=10,
            warm_s=62,
        ),
        Subject(
            "scd41",
            {},
            "co2",
            (*_WIRES, *_ANALOG, "checksum"),
            PlausibleTable(low=200, high=3_000, noise=8, still_s=300),
            6_000.0,
            300.0,
            cycle_ms=5_000,
            lag_s=120,
        ),
        Subject(
            "mcp3008",
            {"channel": 0},
            "raw",
            ("nack", "brown-out", "drift", "noise", "cut"),
            PlausibleTable(low=20, high=500, noise=10),
            0.8,
            0.1,
            companion=_SPI,
        ),
        Subject(
            "dht22",
            {"pin": 4},
            "temperature",
            ("checksum", "short", "cut"),
            period_ms=3_000,
            companion=_GPIO,
        ),
        Subject("contact", {"pin": 5}, "active", (), companion=_GPIO),
        Subject("power", {"mains_pin": 6}, "mains", (), companion=_GPIO),
    )
}
"""By driver. `recording` and `neighbour` have no hardware."""
