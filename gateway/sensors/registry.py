"""Drivers by name, loaded when first asked for.

Owns the list of drivers and the reading of their options. A driver is a module with a frozen dataclass
`Options`, `describe(options) -> SensorInfo` and `connect(options, hardware) -> Sensor`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any, Final, cast

from gateway.contracts.tables import read_table
from gateway.errors import ConfigError
from gateway.sensors.base import Hardware, Sensor, SensorInfo

__all__ = ["DRIVERS", "describe_sensor", "open_sensor", "read_options"]

DRIVERS: Final[Mapping[str, str]] = {
    name: f"gateway.sensors.{name}"
    for name in (
        *("ads1115", "bme280", "contact", "dht22", "eol_loop", "ina219", "mcp3008", "mq", "nau7802"),
        *("neighbour", "power", "recording", "scd41", "sgp40", "sht3x", "strain"),
    )
}


def read_options(driver: str, options: Mapping[str, object], where: str = "") -> Any:
    """Turn a sensor's table into its driver's `Options`, touching no hardware.

    Args:
        where: names the table in messages; the driver's name if left out.

    Raises:
        ConfigError: there is no such driver; the message names the nearest.
        TableError: the options are not the driver's.
    """
    return read_table(_module(driver).Options, options, where=where or f"sensor {driver}")


def describe_sensor(driver: str, options: Mapping[str, object]) -> SensorInfo:
    """Say what a sensor will give, touching no hardware; raises like `read_options`."""
    return cast(SensorInfo, _module(driver).describe(read_options(driver, options)))


def open_sensor(driver: str, options: Mapping[str, object], buses: Hardware) -> Sensor:
    """Open a sensor by its driver's name on real or simulated hardware.

    Raises:
        ConfigError: there is no such driver; the message names the nearest.
        TableError: the options are not the driver's.
        SensorError: its bus or pin does not exist here. That a chip does not answer shows in `sample`.
    """
    return cast(Sensor, _module(driver).connect(read_options(driver, options), buses))


def _module(driver: str) -> ModuleType:
    if driver not in DRIVERS:
        near = difflib.get_close_matches(driver, DRIVERS, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(DRIVERS)}"
        raise ConfigError(f"no driver is called {driver!r}; {hint}")
    return import_module(DRIVERS[driver])
