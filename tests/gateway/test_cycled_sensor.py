"""A sensor with a value every 150 seconds, from its pins through the bus's thread's hands to contract and record."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from rig import START_MS, Rig
from simulated import scenario

from gateway.clock import SimulatedClock
from gateway.config import SensorTable, SeriesTable, load_config
from gateway.contracts.library import template
from gateway.contracts.source import read_contract
from gateway.decider import ContractSet
from gateway.inspection.checking import examine
from gateway.sampler import _Bus
from gateway.simulation.faults import Fault
from gateway.simulation.simulation import Simulation

# 400 ppm of carbon monoxide from second 200 on.
GAS = 'title = ""\n[rooms.r]\nair_changes_per_h = 0\n[[events]]\nat_s = 200\nset = {hood = {co = 400}}\n'
CO = SensorTable(
    "co",
    "mq",
    1000,
    {"model": "mq7", "input": "a0", "heater_pin": 21},
    (SeriesTable("boiler.co", calibration={"kind": "mq", "gas": "co", "r0_ohm": 10_000}),),
)


class House:
    """A gateway's recording half, its one sensor sampled each second as its bus's thread does."""

    def __init__(self, directory: Path) -> None:
        clock = SimulatedClock(speed=0, start_wall_ms=START_MS)
        contract = template("co-300", series="boiler.co", hold="0s", max_age="5m", warm_up="0s")
        contracts = ContractSet.of([read_contract(contract, "co-300")], 0)
        self.rig = Rig(directory, clock, sensors=(CO,), contracts=contracts)
        self.simulation = Simulation(scenario(GAS), clock)
        self.simulation.attach(CO.name, CO.driver, CO.options)
        (self.plan,) = self.rig.catalogue.sensors
        self.bus = _Bus((self.plan,), self.simulation, self.rig.recorder, 1.0, threading.Event())

    def run(self, until_s: int) -> None:
        clock = self.rig.clock
        while self.simulation.seconds() < until_s:
            begun = clock.monotonic_ms()
            self.bus._sample(self.plan)
            self.rig.recorder.tick()
            clock.sleep((1000 - (clock.monotonic_ms() - begun)) / 1000)

    @property
    def condition(self) -> tuple[str, tuple[str, ...]]:
        return self.rig.recorder.conditions()["co-300"]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "data")


def test_a_value_every_150_seconds_is_no_fault_in_between_and_alarms_at_its_time(house: House) -> None:
    house.run(299)
    assert house.condition == ("normal", ())
    assert house.rig.recorder.faults == 0
    house.run(305)
    assert house.condition == ("alarm", ())
    house.run(440)  # nothing is due; what was last said stands
    assert house.condition == ("alarm", ())
    assert house.rig.recorder.faults == 0
    value, at = house.rig.recorder.latest()["boiler.co"]
    assert value == pytest.approx(400, rel=0.03)
    assert at - house.rig.clock.monotonic_ms() <= -100_000
    house.rig.stop()


def test_a_heater_that_dies_is_a_fault_within_two_cycles_and_never_clean_air(house: House) -> None:
    house.run(310)
    house.simulation.inject("co", Fault("heater", house.simulation.seconds()))
    house.run(310 + 300)
    condition, faults = house.condition
    assert condition == "alarm"  # what is missing never clears
    assert faults == ("co:power",)
    assert house.rig.recorder.faults == 1
    house.simulation.repair("co")
    house.run(310 + 300 + 310)
    assert house.condition[1] == ()
    house.rig.stop()


@pytest.mark.parametrize(("max_age", "warned"), [("30s", True), ("150s", True), ("5m", False)])
def test_a_contract_too_impatient_for_its_input_is_warned_of(
    tmp_path: Path, max_age: str, warned: bool
) -> None:
    (tmp_path / "trust").write_text("00" * 32 + "\n")
    (tmp_path / "gateway.toml").write_text(
        '[gateway]\nname = "flat"\nregion = "north"\ndata = "data"\n'
        '[[sensors]]\nname = "co"\ndriver = "mq"\n'
        'options = { model = "mq7", input = "a0", heater_pin = 21 }\n'
        '[[sensors.series]]\nname = "boiler.co"\n'
        'calibration = { kind = "mq", gas = "co", r0_ohm = 10000 }\n'
        '[[contracts.templates]]\ntemplate = "co-300"\n'
        f'names = {{ series = "boiler.co", hold = "0s", max_age = "{max_age}" }}\n'
        '[[outputs]]\nname = "siren"\nkind = "siren"\npin = 17\n'
    )
    warnings = examine(load_config(tmp_path / "gateway.toml"), "test").warnings
    assert any("a value every 150 s" in each for each in warnings) == warned
