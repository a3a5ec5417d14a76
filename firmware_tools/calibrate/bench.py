"""A calibration as a technician does it: open the sensor, let it warm up, measure under references, sign what fits.

Owns the sensor while it lasts, its warm-up, the taking of values and the signed record. It does not own what is shown
(`View`), asked and applied (`firmware_tools.calibrate.hand`), nor fits and limits (`firmware_tools.calibrate.fit`).

Invariants:
* The record's file is written last, whole, and only after an accepted fit; whatever ends it earlier leaves no file.
* A sensor that fails while it is measured ends the calibration: no value is taken around a fault.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Protocol

from firmware_tools.calibrate.fit import Climate, Fit, Measured
from firmware_tools.errors import FitRefused
from firmware_tools.files import write_whole
from firmware_tools.technician import Technician
from gateway.calibration.application import Calibration, Correction, Linear
from gateway.calibration.record import KIND, Subject, load_calibration
from gateway.calibration.tables import read_calibration
from gateway.catalogue import series_of
from gateway.chain.canonical import encode
from gateway.chain.workmanship import CalibrationRecord, sign_calibration
from gateway.config import Config, SensorTable, SeriesTable
from gateway.contracts.errors import ContractError
from gateway.errors import CalibrationError, ConfigError, SensorError
from gateway.machine import built_ms
from gateway.sensors.base import Hardware, Quantity, Sensor, SensorInfo
from gateway.sensors.registry import describe_sensor, open_sensor, read_options

_DAY_MS: Final = 86_400_000
_FEWEST_CYCLES: Final = 3
_PATIENCE: Final = (
    3  # warm-ups: what may decide an alarm after one is not yet steady enough to be kept for a year
)
_NUMBER: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")
REHEARSAL: Final = bytes(16)  # the gateway of a record made in a simulation: none


class View(Protocol):
    """Whoever stands beside it."""

    def wait(self, what: str, left_s: float) -> None:
        """Something takes so many seconds yet."""
        ...

    def live(self, what: str, value: str, left_s: float) -> None:
        """A value was taken."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """The series to calibrate, out of the configuration.

    Attributes:
        options: the sensor's, as its driver reads them.
        before: its calibration up to now, if that can be read.
        trouble: why it cannot.
    """

    sensor: SensorTable
    series: SeriesTable
    options: Any
    info: SensorInfo
    before: Calibration | None
    trouble: str

    @property
    def quantity(self) -> Quantity:
        """What the sensor gives and the calibration starts from."""
        name = self.before.quantity if self.before else self.series.quantity or self.info.quantities[0].name
        return next(each for each in self.info.quantities if each.name == name)

    @property
    def linear(self) -> Calibration:
        """What the series has been, the quantity as it is where there was none."""
        one = Calibration(self.quantity.name, self.quantity.unit, self.quantity.scale, (Linear(1, 1),))
        return replace(self.before, validity=None) if self.before else one


def find_target(config: Config, series: str, where: str) -> Target:
    """Find a series by its name. Raises ConfigError."""
    named = {
        each.name: (sensor, each)
        for sensor in config.sensors
        for each in series_of(sensor, describe_sensor(sensor.driver, sensor.options))
    }
    if series not in named:
        raise ConfigError(f"{where}: no series is called {series!r}; there are {', '.join(named)}")
    sensor, table = named[series]
    options = read_options(sensor.driver, sensor.options, f"{where}: sensor {sensor.name}")
    info = describe_sensor(sensor.driver, sensor.options)
    before, trouble = None, ""
    try:
        before = _before(table, sensor, options, where)
    except (CalibrationError, ContractError) as error:
        trouble = str(error)
    return Target(sensor, table, options, info, before, trouble)


def _before(table: SeriesTable, sensor: SensorTable, options: object, where: str) -> Calibration | None:
    if table.calibration is None:
        return None
    if table.calibration.get("kind") != KIND:
        return read_calibration(table.calibration, options, where=where)
    return load_calibration(table.calibration, subject_of(sensor, table, None), where=where)


def subject_of(sensor: SensorTable, series: SeriesTable, gateway: bytes | None) -> Subject:
    """Return what a record of a series is of."""
    return Subject(gateway, series.name, sensor.driver, sensor.name, sensor.options)


class Bench:
    """An opened sensor and what corrects it, for one calibration; a context manager."""

    def __init__(self, target: Target, config: Config, hardware: Hardware, view: View) -> None:
        self._target, self._hardware, self._view = target, hardware, view
        self._tables = {each.name: each for each in config.sensors}
        self._sources = {
            series.name: (sensor, series) for sensor in config.sensors for series in sensor.series
        }
        self._open: dict[str, Sensor] = {}

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        for sensor in self._open.values():
            sensor.close()

    def warm_up(self, *, waits: bool) -> None:
        """Wait until the sensor is warm, counting down. Raises FitRefused where it is not and nobody waits."""
        clock = self._hardware.clock
        end = self._hardware.powered_since_ms + _PATIENCE * self._target.info.warm_up_ms
        left_s = (end - clock.monotonic_ms()) / 1000
        if left_s > 0 and not waits:
            raise FitRefused(f"the sensor is still cold: {left_s:.0f} s of its warm-up are left")
        self.pause("warming up", left_s)

    def pause(self, what: str, seconds: float) -> None:
        """Let time pass, counting down; a heater's cycle goes on meanwhile."""
        clock = self._hardware.clock
        end = clock.monotonic_ms() + round(seconds * 1000)
        while (left_ms := end - clock.monotonic_ms()) > 0:
            self._view.wait(what, left_ms / 1000)
            if self._target.info.cycle_ms:
                with contextlib.suppress(SensorError):
                    self._sensor(self._target.sensor).sample()
            clock.sleep(min(1.0, left_ms / 1000))

    def measure(self, what: str, expected: int, seconds: float) -> Measured:
        """Take values for so long, and at least three cycles of a sensor that has such.

        Raises:
            FitRefused: the sensor failed meanwhile, or gave nothing.
        """
        clock, info, period_ms = self._hardware.clock, self._target.info, self._target.sensor.period_ms
        lasts_ms = max(
            round(seconds * 1000), _FEWEST_CYCLES * info.cycle_ms + period_ms * bool(info.cycle_ms)
        )
        begun = due = clock.monotonic_ms()
        readings: list[tuple[int, int]] = []
        while (now := clock.monotonic_ms()) < begun + lasts_ms:
            try:
                values = self._sensor(self._target.sensor).sample()
            except SensorError as error:
                raise FitRefused(f"the sensor failed while it was measured: {error.kind}: {error}") from error
            left_s = (begun + lasts_ms - now) / 1000
            if values:
                value = values[self._target.quantity.name]
                readings.append((now, value))
                self._view.live(what, self._shown(value), left_s)
            else:
                self._view.wait(what, left_s)
            due = max(due + period_ms, now)
            clock.sleep(max(0.0, due - clock.monotonic_ms()) / 1000)
        if not readings:
            raise FitRefused("the sensor gave no value; measure longer")
        return Measured(expected, tuple(readings))

    def climate(self, correction: Correction | None) -> Climate:
        """Sample what the calibration is corrected by. Raises FitRefused."""
        if correction is None:
            return Climate()
        humidity = self._latest(correction.humidity) if correction.humidity else None
        return Climate(self._latest(correction.temperature), humidity)

    def _latest(self, name: str) -> int:
        if name not in self._sources:
            raise FitRefused(f"the correction needs the series {name}, and none is called so")
        sensor, series = self._sources[name]
        try:
            values = self._sensor(sensor).sample()
            value = values[series.quantity]
            if series.calibration is not None:
                options = read_options(sensor.driver, sensor.options)
                value = read_calibration(series.calibration, options, where=name).apply(value)
        except (SensorError, KeyError) as error:
            raise FitRefused(f"the correction needs {name}, which fails: {error}") from error
        return value

    def _sensor(self, table: SensorTable) -> Sensor:
        if table.name not in self._open:
            self._open[table.name] = open_sensor(table.driver, table.options, self._hardware)
        return self._open[table.name]

    def _shown(self, value: int) -> str:
        quantity = self._target.quantity
        return f"{Decimal(value).scaleb(quantity.scale):f} {quantity.unit}"


@dataclass(frozen=True, slots=True)
class Job:
    """Who calibrates what, by which method, for how many days."""

    technician: Technician
    gateway: bytes
    method: int
    words: str
    days: int


def make_record(target: Target, fit: Fit, job: Job) -> CalibrationRecord:
    """Return the record of an accepted fit, made now. Raises FitRefused: this machine's clock was never set."""
    now_ms = time.time_ns() // 1_000_000
    if now_ms < built_ms():
        raise FitRefused(
            "this machine's clock was never set, and a calibration's end hangs on it; set it first"
        )
    day = time.strftime("%Y-%m-%d", time.gmtime(now_ms / 1000))
    source = f"{job.technician.name}, {job.words}, {day}"[:200]
    subject = subject_of(target.sensor, target.series, job.gateway)
    return CalibrationRecord(
        job.technician.key.public,
        job.technician.name,
        job.gateway,
        subject.series,
        subject.label,
        subject.options_hash,
        job.method,
        fit.points,
        fit.residual,
        encode(replace(fit.calibration, source=source).to_item()),
        now_ms,
        now_ms + job.days * _DAY_MS,
    )


def write_record(record: CalibrationRecord, technician: Technician, path: Path) -> None:
    """Sign a record and put it in its place, whole or not at all. Raises BadFile."""
    write_whole(path, sign_calibration(record, technician.key))


def snippet(target: Target, path: Path, technician: Technician, base: Path) -> str:
    """Return what belongs into the configuration, in `base`, for the record to count."""
    path, base = path.absolute(), base.absolute()
    file = path.relative_to(base) if path.is_relative_to(base) else path
    others = () if target.sensor.series else series_of(target.sensor, target.info)
    return (
        "[[sensors.series]]\n"
        f'name = "{target.series.name}"\n'
        f'calibration = {{ kind = "record", file = "{file}", technician = "{technician.key.public.hex()}" }}'
    ) + "".join(  # a sensor that names one series has no others by itself
        f'\n[[sensors.series]]\nname = "{each.name}"\nquantity = "{each.quantity}"'
        for each in others
        if each.name != target.series.name
    )


def steps(text: str, scale: int) -> int:
    """Turn a number as people write it into a series' steps. Raises FitRefused where they do not hold it."""
    if not _NUMBER.fullmatch(text):
        raise FitRefused(f"{text!r} is no number of ppm, such as 1000 or 2.5 (1 % is 10000 ppm)")
    value = Fraction(text) / Fraction(10) ** scale
    if value.denominator != 1:
        raise FitRefused(f"{text} is not a whole number of the series' steps of 1e{scale}")
    return value.numerator


def taken(table: Mapping[str, object] | None, key: str) -> str:
    """Return a text of a series' present calibration table, "" where it has none."""
    value = (table or {}).get(key, "")
    return value if isinstance(value, str) else ""
