"""A simulated installation in one call, for the sensor tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.clock import SimulatedClock
from gateway.contracts.tables import loads_toml, read_table
from gateway.errors import SensorError
from gateway.sensors.base import Sensor
from gateway.sensors.registry import open_sensor
from gateway.simulation.scenario import Scenario
from gateway.simulation.simulation import Simulation
from gateway.simulation.wiring import Placement

QUIET = 'title = "quiet"\n[rooms.flat]\n'


def scenario(text: str = QUIET) -> Scenario:
    return read_table(Scenario, loads_toml(text, "test"), where="test")


def simulate(text: str = QUIET, seed: int = 0, **placements: Placement) -> Simulation:
    """A scenario on a clock that only moves when somebody sleeps."""
    return Simulation(scenario(text), SimulatedClock(speed=0), seed, placements)


def plug(simulation: Simulation, driver: str, options: Mapping[str, Any], name: str = "s") -> Sensor:
    simulation.attach(name, driver, options)
    return open_sensor(driver, options, simulation)


def kind_of(sensor: Sensor) -> str:
    """The kind of fault that the next sample ends in, or "" for a good one."""
    try:
        sensor.sample()
    except SensorError as error:
        return error.kind
    return ""
