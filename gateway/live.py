"""Live values of every sensor, for whoever stands beside it: nothing is recorded, decided or sent.

Owns the loop and what is printed. Sampling is the daemon's own (`gateway.sampler`), calibration too.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from typing import Any

import click

from gateway.catalogue import Channel, SensorPlan, make_catalogue
from gateway.config import Config
from gateway.errors import SensorError
from gateway.machine import make_hardware
from gateway.sampler import Samplers

__all__ = ["follow"]


def follow(config: Config, where: str, seconds: float | None, *, as_json: bool) -> None:
    """Print each sample until the time is over or Ctrl-C. Raises ConfigError."""
    catalogue = make_catalogue(config.sensors, where)
    hardware, speed = make_hardware(config, catalogue)
    samplers = Samplers(catalogue.sensors, hardware, _Printer(as_json), speed)
    samplers.start()
    try:
        threading.Event().wait(seconds)
    except KeyboardInterrupt:
        pass  # the way to end it
    finally:
        samplers.stop()
        hardware.close()


class _Printer:
    """Takes samples where a gateway has its recorder."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._lock = threading.Lock()
        self._latest: dict[str, int] = {}

    def sample(self, plan: SensorPlan, values: Mapping[str, int]) -> None:
        with self._lock:
            for channel in plan.channels:
                try:
                    self._show(channel, self._value(channel, values))
                except SensorError as error:
                    self._fail(channel, error)

    def fail(self, plan: SensorPlan, error: SensorError) -> None:
        with self._lock:
            for channel in plan.channels:
                self._fail(channel, error)

    def _value(self, channel: Channel, values: Mapping[str, int]) -> int:
        value = values[channel.quantity]
        if channel.calibration is not None:
            correction = channel.calibration.correction
            names = (correction.temperature, correction.humidity) if correction else ()
            value = channel.calibration.apply(value, *map(self._latest.get, names))
        self._latest[channel.series.name] = value
        return value

    def _show(self, channel: Channel, value: int) -> None:
        series = channel.series
        if self._as_json:
            self._print({"series": series.name, "value": value, "scale": series.scale, "unit": series.unit})
        else:
            click.echo(
                f"{time.strftime('%H:%M:%S')} {series.name:32} {_decimal(value, series.scale)} {series.unit}"
            )

    def _fail(self, channel: Channel, error: SensorError) -> None:
        if self._as_json:
            self._print({"series": channel.series.name, "fault": error.kind, "detail": str(error)})
        else:
            click.echo(
                f"{time.strftime('%H:%M:%S')} {channel.series.name:32} {error.kind}: {error}", err=True
            )

    def _print(self, item: dict[str, Any]) -> None:
        click.echo(json.dumps({"time": round(time.time() * 1000), **item}))


def _decimal(value: int, scale: int) -> str:
    """Return a scaled integer as people write it."""
    if scale >= 0:
        return str(value * 10**scale)
    digits = f"{abs(value):0{1 - scale}}"
    return f"{'-' if value < 0 else ''}{digits[:scale]}.{digits[scale:]}"
