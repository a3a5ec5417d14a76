"""What the configured sensors add up to: the catalogue of series, and how each comes out of its sensor.

Owns the order of series (that of the file), their records in the format, calibrations and report by
exception's settings. It touches no hardware: drivers describe themselves from their options.

Invariant: the same configuration gives the same catalogue, byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from gateway.calibration.application import Calibration
from gateway.chain.block import Listing, list_catalogue
from gateway.chain.canonical import encode
from gateway.chain.errors import ChainError
from gateway.chain.events import MAX_SERIES
from gateway.chain.reading import Series
from gateway.config import SensorTable, SeriesTable
from gateway.contracts.document import SeriesInfo
from gateway.contracts.errors import ContractError
from gateway.errors import ConfigError, GatewayError
from gateway.recording.plausibility import PlausibleTable
from gateway.sensors.base import Quantity, SensorInfo
from gateway.sensors.registry import describe_sensor, read_options

__all__ = ["Catalogue", "Channel", "SensorPlan", "make_catalogue", "series_of"]

_CLASSES: Final = {"public": 0, "internal": 1, "restricted": 2}


@dataclass(frozen=True, slots=True)
class Channel:
    """One series of a sensor: its record, the quantity it is made of, and its calibration, if it has one.

    `limits` are the lowest and the highest value that its sensor's quantity can have.
    """

    series: Series
    quantity: str
    calibration: Calibration | None
    limits: tuple[int | None, int | None] = (None, None)
    plausible: PlausibleTable = field(default_factory=PlausibleTable)


@dataclass(frozen=True, slots=True)
class SensorPlan:
    """One configured sensor, with what it will give."""

    name: str
    driver: str
    options: Mapping[str, object]
    period_ms: int
    info: SensorInfo
    channels: tuple[Channel, ...]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All sensors and their series. `series` are in the order of their indices."""

    sensors: tuple[SensorPlan, ...]
    series: tuple[Series, ...]

    @property
    def listing(self) -> Listing:
        """What a header commits to."""
        return list_catalogue(self.series)

    @property
    def infos(self) -> dict[str, SeriesInfo]:
        """What contracts must know, by series name."""
        return {each.name: SeriesInfo(each.unit, each.scale, each.klass) for each in self.series}


def make_catalogue(
    sensors: tuple[SensorTable, ...], where: str, ring_ms: int = 0, gateway: bytes | None = None
) -> Catalogue:
    """Return the catalogue of configured sensors.

    Args:
        where: the configuration's name, for messages.
        ring_ms: how long every value is kept before and after a transition, of a series that leaves values out.
        gateway: its id, which technicians' records must name; empty while it has no key, None where it is not known.

    Raises:
        ConfigError: an unknown driver, option, quantity or calibration; a name twice; too many series.
    """
    plans: list[SensorPlan] = []
    taken: dict[str, str] = {}
    for table in sensors:
        plan = _plan(table, len(taken), f"{where}: sensor {table.name}", _Owner(gateway, ring_ms))
        for channel in plan.channels:
            name = channel.series.name
            if name in taken:
                raise ConfigError(f"{where}: series {name} is of sensor {taken[name]} and of {table.name}")
            taken[name] = table.name
        plans.append(plan)
    if len(taken) > MAX_SERIES:
        raise ConfigError(f"{where}: {len(taken)} series, at most {MAX_SERIES} are allowed")
    _check_corrections(plans, taken, where)
    _check_agreements(plans, where)
    return Catalogue(tuple(plans), tuple(c.series for plan in plans for c in plan.channels))


@dataclass(frozen=True, slots=True)
class _Owner:
    """The gateway whose catalogue it is: its id, and for how long it keeps full-rate readings."""

    gateway: bytes | None
    ring_ms: int


def _plan(table: SensorTable, first: int, where: str, owner: _Owner) -> SensorPlan:
    try:
        options = read_options(table.driver, table.options, where)
        info = describe_sensor(table.driver, table.options)
        if table.period_ms < info.min_interval_ms:
            raise ConfigError(
                f"{where}: period_ms must be at least {info.min_interval_ms} for a {info.model}"
            )
        if info.max_interval_ms and table.period_ms > info.max_interval_ms:
            raise ConfigError(
                f"{where}: period_ms must be at most {info.max_interval_ms} for this {info.model}:"
                " so often it has to be looked at, whatever it gives"
            )
        quantities = {quantity.name: quantity for quantity in info.quantities}
        valued = replace(
            table, period_ms=max(table.period_ms, info.cycle_ms)
        )  # as values come, not as it is asked
        channels = tuple(
            _channel(series, first + i, quantities, options, valued, where, owner)
            for i, series in enumerate(series_of(table, info))
        )
    except (ContractError, ChainError, GatewayError) as error:
        text = str(error)
        raise ConfigError(text if text.startswith(where) else f"{where}: {text}") from error
    return SensorPlan(table.name, table.driver, table.options, table.period_ms, info, channels)


def series_of(table: SensorTable, info: SensorInfo) -> tuple[SeriesTable, ...]:
    """Return a sensor's series; one of each quantity, where the configuration names none."""
    return table.series or tuple(
        SeriesTable(f"{table.name}.{quantity.name}", quantity.name, longest_s=info.longest_s)
        for quantity in info.quantities
    )


def _channel(
    table: SeriesTable,
    index: int,
    quantities: Mapping[str, Quantity],
    options: object,
    sensor: SensorTable,
    where: str,
    owner: _Owner,
) -> Channel:
    calibration = _calibration(table, options, sensor, f"{where}: series {table.name}", owner)
    name = calibration.quantity if calibration else table.quantity
    if name not in quantities or table.quantity not in ("", name):
        raise ConfigError(
            f"{where}: series {table.name}: no quantity is called {table.quantity or name!r};"
            f" there are {', '.join(quantities)}"
        )
    result = calibration or quantities[name]
    series = Series(
        index,
        table.name,
        name,
        result.unit,
        result.scale,
        _CLASSES[table.class_],
        table.dead_band,
        table.longest_s * 1000,
        sensor.period_ms,
        owner.ring_ms if table.longest_s else 0,
        f"{sensor.driver} {sensor.name}",
        encode(calibration.to_item()) if calibration else b"",
    )
    series.encode()  # checks every range
    quantity = quantities[name]
    return Channel(series, name, calibration, (quantity.low, quantity.high), table.plausible)


def _calibration(
    table: SeriesTable, options: object, sensor: SensorTable, where: str, owner: _Owner
) -> Calibration | None:
    if table.calibration is None:
        return None
    # Here, not above: records, curves and decimals are needed only where something is calibrated.
    from gateway.calibration.record import KIND, Subject, load_calibration
    from gateway.calibration.tables import read_calibration

    if table.calibration.get("kind") != KIND:
        return read_calibration(table.calibration, options, where=where)
    subject = Subject(owner.gateway, table.name, sensor.driver, sensor.name, sensor.options)
    return load_calibration(table.calibration, subject, where=where)


def _check_corrections(plans: list[SensorPlan], known: Mapping[str, str], where: str) -> None:
    for plan in plans:
        for channel in plan.channels:
            correction = channel.calibration.correction if channel.calibration else None
            for name in (correction.temperature, correction.humidity) if correction else ():
                if name and name not in known:
                    raise ConfigError(
                        f"{where}: series {channel.series.name}: its correction needs the series {name}"
                    )


def _check_agreements(plans: list[SensorPlan], where: str) -> None:
    known = {channel.series.name: channel.series for plan in plans for channel in plan.channels}
    for plan in plans:
        for channel in plan.channels:
            mine = channel.series
            for name in channel.plausible.agrees_with:
                other = known.get(name)
                if other is None or other is mine or (other.unit, other.scale) != (mine.unit, mine.scale):
                    raise ConfigError(
                        f"{where}: series {mine.name}: agrees_with names {name}, which must be another series"
                        f" in {mine.unit} of scale {mine.scale}"
                    )
