"""A power supply's contacts."""

from __future__ import annotations

import pytest
from simulated import kind_of, plug, simulate

from gateway.contracts.errors import ContractError
from gateway.errors import SensorError
from gateway.sensors.registry import open_sensor, read_options
from gateway.simulation.faults import Fault

BOTH = {"mains_pin": 5, "battery_pin": 6}
CUT_OFF = 'title = ""\n[rooms.r]\n[[events]]\nat_s = 1\nset = {mains = false}\n'


@pytest.mark.parametrize("pull", ["up", "down", "external-up", "external-down"])
@pytest.mark.parametrize("closed", ["good", "failed"])
def test_one_is_well_and_zero_is_not_however_it_is_wired(closed: str, pull: str) -> None:
    simulation = simulate(CUT_OFF)
    sensor = plug(simulation, "power", {**BOTH, "closed": closed, "pull": pull})
    assert sensor.sample() == {"mains": 1, "battery": 1}
    simulation.clock.sleep(2)
    assert sensor.sample() == {"mains": 0, "battery": 1}
    simulation.clock.sleep(5 * 3600)
    assert sensor.sample() == {"mains": 0, "battery": 0}
    sensor.close()


def test_a_cut_wire_reads_as_a_failure() -> None:
    simulation = simulate()
    sensor = plug(simulation, "power", {"mains_pin": 5})
    simulation.inject("s", Fault("cut", 0))
    assert sensor.sample() == {"mains": 0}
    sensor.close()


def test_one_contact_may_be_all_there_is() -> None:
    sensor = plug(simulate(), "power", {"battery_pin": 6})
    assert [each.name for each in sensor.info.quantities] == ["battery"]
    assert sensor.sample() == {"battery": 1}
    sensor.close()


def test_a_chattering_contact_is_a_wiring_fault() -> None:
    simulation = simulate()
    sensor = plug(simulation, "power", {**BOTH, "debounce_ms": 10})
    sensor.sample()
    now = simulation.seconds()
    for i in range(0, 40, 2):
        simulation.inject("s", Fault("cut", now + i * 0.01 - 0.005, now + i * 0.01 + 0.005))
    assert kind_of(sensor) == "wiring"
    sensor.close()


def test_a_pin_in_use_leaves_the_other_one_free() -> None:
    simulation = simulate()
    holder = plug(simulation, "contact", {"pin": 6}, "holder")
    with pytest.raises(SensorError, match="GPIO6"):
        open_sensor("power", BOTH, simulation)
    plug(simulation, "contact", {"pin": 5}, "other").close()
    holder.close()


@pytest.mark.parametrize("options", [{}, {"mains_pin": 5, "battery_pin": 5}, {"mains_pin": 40}])
def test_options_that_make_no_supply_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ContractError):
        read_options("power", options)
