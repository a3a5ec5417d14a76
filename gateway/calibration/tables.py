"""Calibration records out of configuration: linear ones, tables, and the published curves of gas elements.

Owns the shape of a series' `calibration` table and the sampling of curves. It does not own the record or
its application (`gateway.calibration.application`).

Invariant: curves become tables of integers in decimal arithmetic of a fixed precision, so that the same
configuration gives the same record, and the same bytes, on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from typing import Final, Literal, TypeAlias

from gateway.calibration.application import Calibration, Correction, Divider, Linear, Stage, Table
from gateway.contracts.tables import read_table
from gateway.errors import CalibrationError
from gateway.sensors import mq
from gateway.sensors.curves import Curve, find_curve

__all__ = ["LinearTable", "MqTable", "PointsTable", "mq_calibration", "mq_table", "read_calibration"]

_RATIO_SCALE: Final = 10**6  # a table's x of an element's ratio: millionths
_POINTS: Final = 128  # a straight line between two is off by 0.35 % at most, and half a ppm by rounding
# Far past every element's range, so that very much gas is an alarm and not a fault; in the other
# direction twice the ratio of clean air, beyond which the heater is off.
_MOST_PPM: Final = Decimal(10**6)
_CLEANEST: Final = Decimal(2)
_PRECISION: Final = Context(prec=40)
# Krocker's fit to the MQ-135's data sheet, 0.00035 T² - 0.02718 T + 1.39538 - 0.0018 (H - 33), in use for
# its siblings too; here for T in tenths of °C and H in tenths of %.
_CLIMATE: Final = (35, -27_180, 14_547_800, -1_800, 10**7)


@dataclass(frozen=True, slots=True)
class LinearTable:
    """`kind = "linear"`: (value * numerator + offset) / denominator, for example a zero as installed."""

    kind: Literal["linear"]
    quantity: str
    unit: str
    scale: int
    numerator: int = 1
    denominator: int = 1
    offset: int = 0
    correction: Correction | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class PointsTable:
    """`kind = "table"`: straight lines between points [x, y] of integers."""

    kind: Literal["table"]
    quantity: str
    unit: str
    scale: int
    points: tuple[tuple[int, int], ...]
    correction: Correction | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class MqTable:
    """`kind = "mq"`: whole ppm of a gas, by the published curve of the sensor's element.

    Attributes:
        gas: which of the element's curves.
        r0_ohm: this specimen's R0, found by calibration in clean air.
        temperature, humidity: series of tenths of °C and of % to correct by; both or none.
        source: who found R0, when, with what.
    """

    kind: Literal["mq"]
    gas: str
    r0_ohm: int
    temperature: str = ""
    humidity: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if self.r0_ohm <= 0 or bool(self.temperature) != bool(self.humidity):
            raise ValueError("r0_ohm must be above 0; temperature and humidity go together")


_Tables: TypeAlias = LinearTable | PointsTable | MqTable
_KINDS: Final[Mapping[str, type[_Tables]]] = {"linear": LinearTable, "table": PointsTable, "mq": MqTable}


def read_calibration(table: Mapping[str, object], sensor: object, *, where: str) -> Calibration:
    """Build a record from a series' `calibration` table.

    Args:
        table: as `loads_toml` gives it.
        sensor: the sensor's options (`registry.read_options`); `kind = "mq"` takes its circuit from them.

    Raises:
        TableError: the table is not understood.
        CalibrationError: it does not fit the sensor, or makes no valid record.
    """
    kind = table.get("kind")
    if kind not in _KINDS:
        raise CalibrationError(f"{where}: kind must be one of {', '.join(_KINDS)}, not {kind!r}")
    read = read_table(_KINDS[str(kind)], table, where=where)
    if isinstance(read, MqTable):
        if not isinstance(sensor, mq.Options):
            raise CalibrationError(f"{where}: kind 'mq' is for sensors of the driver mq")
        return mq_calibration(sensor, read)
    stage: Stage = (
        Table(read.points)
        if isinstance(read, PointsTable)
        else Linear(read.numerator, read.denominator, read.offset)
    )
    return Calibration(read.quantity, read.unit, read.scale, (stage,), read.correction, read.source)


def mq_calibration(sensor: mq.Options, table: MqTable) -> Calibration:
    """Build the record of an MQ element: code to Rs/R0 by its circuit, Rs/R0 to ppm by its curve.

    Raises:
        CalibrationError: the element has no curve for that gas.
    """
    try:
        curve = find_curve(sensor.model, table.gas)
    except ValueError as error:
        raise CalibrationError(str(error)) from error
    ratio = Fraction(sensor.load_ohm, table.r0_ohm)
    full = sensor.full_code
    divider = Divider(ratio.numerator, ratio.denominator, full.numerator, full.denominator)
    correction = (
        Correction("divide", table.temperature, table.humidity, *_CLIMATE) if table.temperature else None
    )
    return Calibration("raw", "ppm", 0, (divider, mq_table(curve)), correction, table.source)


def mq_table(curve: Curve) -> Table:
    """Sample a curve at points evenly spaced in the logarithm of the ratio: millionths to whole ppm."""
    with localcontext(_PRECISION):
        low = (_MOST_PPM / curve.a).ln() / curve.b
        high = (curve.clean_air * _CLEANEST).ln()
        ratios = [(low + (high - low) * i / (_POINTS - 1)).exp() for i in range(_POINTS)]
        xs = [int((ratio * _RATIO_SCALE).to_integral_value()) for ratio in ratios]
        ys = [int((curve.a * (Decimal(x) / _RATIO_SCALE) ** curve.b).to_integral_value()) for x in xs]
    return Table(tuple((x, y + curve.offset) for x, y in zip(xs, ys, strict=True)), per=_RATIO_SCALE)
