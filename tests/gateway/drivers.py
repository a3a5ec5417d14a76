"""Every driver as the contract suite tries it: one row each, or more where options change what it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.simulation.faults import FaultKind
from gateway.simulation.room import Change
from gateway.simulation.simulation import Simulation

Kinds = frozenset[str]

LOST: Kinds = frozenset({"nack", "power", "not-ready"})  # without supply, and just after
ON_I2C: dict[FaultKind, Kinds] = {
    "nack": frozenset({"nack"}),
    "timeout": frozenset({"timeout"}),
    "brown-out": LOST,
}
DAMAGED: dict[FaultKind, Kinds] = {"checksum": frozenset({"checksum"})}
FROZEN: dict[FaultKind, Kinds] = {"stuck": frozenset({"stuck"})}
CUT: dict[FaultKind, Kinds] = {"cut": frozenset({"wiring"})}


def hold(value: float, what: str = "") -> Callable[[Simulation], None]:
    return lambda simulation: void(simulation.hold(f"s{what}", value))


def void(_: object) -> None:
    """Nothing; where a lambda must return None."""


@dataclass(frozen=True)
class Row:
    """One driver with options.

    Attributes:
        driver, options: as in a configuration.
        wrong: options beside or instead of those, and what the refusal says.
        faults: what is injected, and as what kinds it may show.
        quantity: what `move` moves, by at least `least`.
        move: changes the input far beyond its noise; None where nothing can be moved.
        beside: another sensor on its bus, which must not notice a fault of this one.
        recovery_s: how long after a fault's end a value is awaited.
        pauses_s: a fault lasts so long.
    """

    driver: str
    options: Mapping[str, Any]
    wrong: tuple[tuple[Mapping[str, Any], str], ...]
    faults: Mapping[FaultKind, Kinds] = field(default_factory=dict)
    quantity: str = ""
    least: int = 1
    move: Callable[[Simulation], None] | None = None
    beside: tuple[str, Mapping[str, Any]] | None = None
    recovery_s: float = 2.0
    lasts_s: float = 3.0


ADC = ("ads1115", {"input": "a3", "address": 0x4B})
SPI = ("mcp3008", {"channel": 7, "device": 1})  # another chip
CONTACT = ("contact", {"pin": 20})

ROWS: Mapping[str, Row] = {
    "ads1115": Row(
        "ads1115",
        {"input": "a0", "stuck_after": 5},
        (
            ({"address": 0x50}, "address 0x48 to 0x4b, not 0x50"),
            ({"input": "a4"}, "input: must be one of"),
            ({"stuck_after": -1}, "stuck_after must be 0"),
        ),
        ON_I2C | FROZEN,
        "voltage",
        900_000,
        hold(2.0),
        ADC,
    ),
    "mcp3008": Row(
        "mcp3008",
        {"channel": 0},
        (({"channel": 8}, "channels 0 to 7, not 8"), ({"reference_mv": 0}, "reference_mv must be above 0")),
        {"nack": frozenset({"nack"}), "brown-out": frozenset({"wiring"})},
        "voltage",
        900_000,
        hold(2.0),
        SPI,
    ),
    "mq": Row(
        "mq",
        {"model": "mq4", "input": "a0", "stuck_after": 5},
        (
            ({"adress": 72}, "adress: .*did you mean 'address'"),
            ({"divider": 0}, "divider at least 1"),
            ({"heater_pin": 5}, "heater_pin is for an mq7"),
        ),
        ON_I2C | FROZEN | CUT,
        "raw",
        5_000,
        hold(3.0),
        ADC,
    ),
    "mq-spi": Row(
        "mq",
        {"model": "mq4", "input": "ch2"},
        (({"device": 2}, "device: must be one of"),),
        {"nack": frozenset({"nack"})} | CUT,
        "raw",
        100,
        hold(3.0),
        SPI,
    ),
    "mq7": Row(
        "mq",
        {"model": "mq7", "input": "a0", "heater_pin": 21, "stuck_after": 0},
        (({"heater_pin": 28}, "header's pin 0 to 27"),),
        ON_I2C | {"heater": frozenset({"power"})},
        "raw",
        2_000,
        lambda simulation: simulation.change(Change(inflow_l_per_min={"co": 10.0})),
        ADC,
        recovery_s=460.0,
        lasts_s=320.0,  # two cycles, in which a heater must show that it is dead
    ),
    "contact": Row(
        "contact",
        {"pin": 17},
        (({"pin": 99}, "pins 0 to 27, not 99"), ({"debounce_ms": -1}, "debounce_ms must be")),
        quantity="active",
        move=hold(0.0),
        beside=CONTACT,
    ),
    "power": Row(
        "power",
        {"mains_pin": 5, "battery_pin": 6},
        (({"battery_pin": 5}, "must be two pins"), ({"mains_pin": 28}, "pins 0 to 27, not 28")),
        quantity="mains",
        move=hold(0.0, ".mains"),
        beside=CONTACT,
    ),
    "eol_loop": Row(
        "eol_loop",
        {"input": "a0"},
        (
            ({"supply_input": "a0"}, "another input than the loop's"),
            ({"alarm_ohm": 100_000}, "too near the end-of-line resistor"),
        ),
        ON_I2C | CUT | {"shorted": frozenset({"wiring"})},
        "state",
        move=hold(0.7),
        beside=ADC,
    ),
    "ina219": Row(
        "ina219",
        {},
        (
            ({"address": 0x50}, "address 0x40 to 0x4f, not 0x50"),
            ({"max_ma": 9999}, "more than the chip's 320 mV"),
        ),
        ON_I2C,
        "voltage",
        5_000,
        hold(5.0),
        ADC,
    ),
    "nau7802": Row(
        "nau7802",
        {"stuck_after": 5},
        (({"stuck_after": -1}, "stuck_after must be 0"), ({"gain": 3}, "gain: must be one of")),
        ON_I2C | FROZEN | {"cut": frozenset({"out-of-range"})},
        "raw",
        1_000_000,
        hold(0.001),
        ADC,
    ),
    "strain": Row(
        "strain",
        {"bridge": "half", "gauge_factor": 2, "stuck_after": 5},
        (({"gauge_factor": 0}, "gauge_factor must be above 0"),),
        ON_I2C | FROZEN | {"cut": frozenset({"out-of-range"})},
        "strain",
        500_000,
        hold(0.001),
        ADC,
    ),
    "dht22": Row(
        "dht22",
        {"pin": 4},
        (({"pin": -1}, "pins 0 to 27, not -1"),),
        {"checksum": frozenset({"checksum"}), "cut": frozenset({"wiring"}), "short": frozenset({"timeout"})},
        beside=("dht22", {"pin": 22}),
        lasts_s=7.0,
        recovery_s=12.0,
    ),
    "bme280": Row(
        "bme280",
        {},
        (
            ({"address": 0x78}, "address 0x76 or 0x77, not 0x78"),
            ({"oversampling": 3}, "oversampling: must be one"),
        ),
        ON_I2C | {"cut": frozenset({"nack"})},
        "temperature",
        1_000,
        hold(40.0, ".temperature"),
        ADC,
    ),
    "sht3x": Row(
        "sht3x",
        {},
        (
            ({"address": 0x46}, "address 0x44 or 0x45, not 0x46"),
            ({"repeatability": "best"}, "must be one of"),
        ),
        ON_I2C | DAMAGED | {"cut": frozenset({"nack"})},
        "humidity",
        2_000,
        hold(80.0, ".humidity"),
        ADC,
    ),
    "sgp40": Row(
        "sgp40",
        {},
        (({"climate": 0x40}, "0x44 or 0x45, or 0, not 0x40"),),
        ON_I2C | DAMAGED | {"cut": frozenset({"nack"})},
        "raw",
        3_000,
        hold(5_000.0, ".voc"),
        ADC,
        recovery_s=5.0,
    ),
    "sgp40-compensated": Row(
        "sgp40",
        {"climate": 0x44, "index": False},
        (({"climate": 68.5}, "climate: "),),
        {"nack": frozenset({"nack"})} | DAMAGED,
        "raw",
        3_000,
        hold(5_000.0, ".voc"),
        ADC,
        recovery_s=5.0,
    ),
    "scd41": Row(
        "scd41",
        {},
        (
            ({"self_calibration": "yes"}, "self_calibration: "),
            ({"altitude_m": 9000}, "altitude_m must be 0 to 3000"),
        ),
        ON_I2C | DAMAGED | {"cut": frozenset({"nack"})},
        "co2",
        200,
        hold(5_000.0, ".co2"),
        ADC,
        lasts_s=12.0,
        recovery_s=13.0,
    ),
    "recording": Row(
        "recording",
        {"path": "package:mq_counts.csv", "columns": {"mq2": {"column": "MQ2", "unit": "count"}}},
        (
            ({"columns": {}}, "at least one quantity"),
            ({"columns": {"a": {"column": "a", "unit": "1", "scale": 99}}}, "scale must be -18 to 18"),
            ({"rows_per_second": -1}, "rows_per_second must be"),
        ),
    ),
}
