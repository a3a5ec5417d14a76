"""An MQ-7's heating cycle: one value in 150 seconds, a bus that is never held up, a heater that is watched."""

from __future__ import annotations

import pytest
from simulated import plug, simulate

from gateway.catalogue import make_catalogue
from gateway.config import SensorTable
from gateway.contracts.errors import ContractError
from gateway.errors import ConfigError, SensorError
from gateway.recording.health import FAULT, Health
from gateway.sensors.base import Sensor
from gateway.sensors.heater import CYCLE_MS
from gateway.sensors.registry import read_options
from gateway.simulation.faults import Fault
from gateway.simulation.simulation import Simulation

MQ7 = {"model": "mq7", "input": "a0", "heater_pin": 21, "stuck_after": 0}
# 150 ppm of carbon monoxide from the start on.
GAS = (
    'title = ""\n[rooms.r]\nair_changes_per_h = 0\n'
    "[[events]]\nat_s = 0\nset = {inflow_l_per_min = {co = 360}}\n"
    "[[events]]\nat_s = 1\nset = {inflow_l_per_min = {co = 0}}\n"
)


def watch(
    simulation: Simulation, sensor: Sensor, seconds: int, step_s: float = 1.0
) -> list[tuple[float, int | str]]:
    """Sample as the bus's thread does; return what came, a value or a fault's kind, and when."""
    heard: list[tuple[float, int | str]] = []
    end = simulation.seconds() + seconds
    while simulation.seconds() < end:
        begun = simulation.seconds()
        try:
            if values := sensor.sample():
                heard.append((begun, values["raw"]))
        except SensorError as error:
            heard.append((begun, error.kind))
        assert simulation.seconds() - begun < 0.1  # never waits for its cycle
        simulation.clock.sleep(step_s - (simulation.seconds() - begun))
    return heard


def test_a_value_comes_once_a_cycle_and_nothing_in_between() -> None:
    simulation = simulate(GAS)
    sensor = plug(simulation, "mq", MQ7)
    heard = watch(simulation, sensor, 620)
    assert [round(at) for at, _ in heard] == [150, 300, 450, 600]
    assert all(type(value) is int for _, value in heard)
    assert sensor.info.cycle_ms == CYCLE_MS
    sensor.close()


def test_the_heater_is_hot_for_60_seconds_and_low_for_90() -> None:
    simulation = simulate()
    sensor = plug(simulation, "mq", MQ7)
    levels = []
    for _ in range(310):
        sensor.sample()
        levels.append(bool(simulation.pins().pin(21).state))
        simulation.clock.sleep(1 - simulation.seconds() % 1)
    turns = [i for i in range(1, len(levels)) if levels[i] != levels[i - 1]]
    assert levels[0]
    assert all(abs(turn - due) <= 1 for turn, due in zip(turns, [60, 150, 210, 300], strict=True))
    sensor.close()


def test_the_value_is_that_of_the_cooled_element() -> None:
    simulation = simulate(GAS)
    sensor = plug(simulation, "mq", MQ7)
    (_, value), *_ = watch(simulation, sensor, 160)
    ohm = 10_000 * (150 / 99.042) ** (-1 / 1.518)
    assert value == pytest.approx(5 * 10_000 / (10_000 + ohm) / 4.096 * 32_768, rel=0.02)
    sensor.close()


@pytest.mark.parametrize("polarity", ["5V", "1.4V"])
def test_either_polarity_of_the_switch_will_do(polarity: str) -> None:
    simulation = simulate(GAS)
    sensor = plug(simulation, "mq", {**MQ7, "heater_high": polarity})
    assert len(watch(simulation, sensor, 320)) == 2
    sensor.close()


@pytest.mark.parametrize("text", ['title = ""\n[rooms.r]\n', GAS])
def test_a_dead_heater_is_a_power_fault_until_it_heats_again(text: str) -> None:
    simulation = simulate(text)
    sensor = plug(simulation, "mq", MQ7)
    assert len(watch(simulation, sensor, 155)) == 1
    simulation.inject("s", Fault("heater", simulation.seconds()))
    dead = watch(simulation, sensor, 300)
    assert {kind for _, kind in dead} == {"power"}
    assert dead[0][0] <= 155 + CYCLE_MS / 1000 * 2
    assert len(dead) >= 5  # enough for the series' fault
    simulation.repair("s")
    after = watch(simulation, sensor, 300)
    assert [kind for _, kind in after][-1] != "power"
    sensor.close()


def test_gas_of_every_strength_leaves_a_living_heater_alone() -> None:
    for litres in (1, 4, 10, 30, 100, 500, 2000):
        simulation = simulate(GAS.replace("360", str(litres)))
        sensor = plug(simulation, "mq", MQ7)
        assert all(kind != "power" for _, kind in watch(simulation, sensor, 160)), litres
        sensor.close()


def test_the_heater_is_switched_though_the_adc_does_not_answer() -> None:
    simulation = simulate(GAS)
    sensor = plug(simulation, "mq", MQ7)
    simulation.inject("s", Fault("nack", 30, 140))
    heard = watch(simulation, sensor, 160)
    assert {kind for _, kind in heard[:-1]} == {"nack"}
    assert type(heard[-1][1]) is int
    sensor.close()


def test_a_cycle_that_nobody_observed_to_its_end_gives_no_value() -> None:
    simulation = simulate(GAS)
    sensor = plug(simulation, "mq", MQ7)
    watch(simulation, sensor, 100)
    simulation.clock.sleep(120)
    assert watch(simulation, sensor, 1) == [(pytest.approx(220, abs=1), "timeout")]
    heard = watch(simulation, sensor, 160)
    assert [type(value) for _, value in heard] == [int]
    sensor.close()


def test_a_phase_that_lasted_too_long_makes_the_value_void() -> None:
    simulation = simulate(GAS)
    sensor = plug(simulation, "mq", MQ7)
    watch(simulation, sensor, 50)
    simulation.clock.sleep(30)
    assert [kind for _, kind in watch(simulation, sensor, 95)] == ["timeout"]
    sensor.close()


def test_health_waits_two_cycles_for_a_value() -> None:
    health = Health(1000, 0, 0, CYCLE_MS)
    assert not health.wait(2 * CYCLE_MS)
    assert health.wait(2 * CYCLE_MS + 1)
    assert (health.state, health.reason) == (FAULT, "missing")


def test_a_cycled_sensor_must_be_looked_after_every_second() -> None:
    with pytest.raises(ConfigError, match="period_ms must be at most 1000"):
        make_catalogue((SensorTable("co", "mq", 2000, MQ7),), "test")
    with pytest.raises(ContractError, match="heater_pin is for an mq7"):
        read_options("mq", {**MQ7, "model": "mq4"})


def test_the_catalogue_says_how_often_values_come() -> None:
    catalogue = make_catalogue((SensorTable("co", "mq", 1000, MQ7),), "test")
    assert [each.period for each in catalogue.series] == [CYCLE_MS]
