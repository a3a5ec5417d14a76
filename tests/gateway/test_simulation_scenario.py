"""Scenarios: the packaged ones, their reading, and whether they repeat."""

from __future__ import annotations

from pathlib import Path

import pytest
from simulated import QUIET, kind_of, plug, scenario, simulate

from gateway.clock import SimulatedClock
from gateway.contracts.tables import TableError, loads_toml
from gateway.errors import SimulationError
from gateway.sensors.registry import open_sensor
from gateway.simulation.faults import Fault
from gateway.simulation.room import Change
from gateway.simulation.scenario import load_scenario, scenario_names
from gateway.simulation.simulation import Simulation
from gateway.simulation.wiring import Placement

SENSORS = {
    "ch4": ("mq", {"model": "mq4", "input": "a0"}),
    "smoke": ("contact", {"pin": 17}),
    "beam": ("strain", {"bridge": "quarter", "gauge_factor": 2}),
    "climate": ("dht22", {"pin": 4}),
}


def play(name: str, seconds: float, seed: int = 0) -> dict[str, list[dict[str, int] | str]]:
    """Every sensor once a second or so; a fault shows as its kind."""
    simulation = Simulation(load_scenario(name), SimulatedClock(0), seed)
    opened = {n: plug(simulation, driver, options, n) for n, (driver, options) in SENSORS.items()}
    seen: dict[str, list[dict[str, int] | str]] = {n: [] for n in opened}
    while simulation.seconds() < seconds:
        for sensor_name, sensor in opened.items():
            try:
                seen[sensor_name].append(dict(sensor.sample()))
            except Exception as error:
                seen[sensor_name].append(getattr(error, "kind", repr(error)))
    for sensor in opened.values():
        sensor.close()
    simulation.close()
    return seen


def test_the_scenarios_are_packaged() -> None:
    assert {"gas-leak", "overload", "quiet", "sensor-failure", "smoulder"} < set(scenario_names())


@pytest.mark.parametrize("name", scenario_names())
def test_each_scenario_plays(name: str) -> None:
    seen = play(name, 15)
    assert all(any(isinstance(sample, dict) for sample in samples) for samples in seen.values())


def test_the_same_seed_repeats_and_another_does_not() -> None:
    first = play("gas-leak", 20, seed=1)
    assert play("gas-leak", 20, seed=1) == first
    assert play("gas-leak", 20, seed=2) != first


def test_noise_of_one_sensor_does_not_depend_on_the_others() -> None:
    alone = simulate(seed=3)
    sensor = plug(alone, "ads1115", {"input": "a0"})
    expected = [sensor.sample() for _ in range(10)]
    both = simulate(seed=3)
    sensor = plug(both, "ads1115", {"input": "a0"})
    other = plug(both, "ads1115", {"input": "a1"}, "other")
    seen = []
    for _ in range(10):
        seen.append(sensor.sample())
        other.sample()
    assert seen == expected


def test_a_gas_leak_passes_a_fifth_of_the_explosive_limit_and_is_aired() -> None:
    air = load_scenario("gas-leak").models()["cupboard"]
    assert air.at(5).ppm["ch4"] == 0
    assert air.at(19).ppm["ch4"] > 8800
    assert air.at(90).ppm["ch4"] < 1000


def test_smouldering_trips_the_detector_long_before_heat() -> None:
    air = load_scenario("smoulder").models()["bedroom"]
    assert air.at(16).smoke > 0.15
    assert air.at(60).celsius < 22
    assert air.at(180).celsius > 57


def test_an_overload_passes_all_three_limits() -> None:
    air = load_scenario("overload").models()["hall"]
    assert air.at(0).strain == pytest.approx(20)
    assert [air.at(t).strain > limit for t, limit in ((6, 60), (16, 80), (26, 100))] == [True] * 3


def test_failing_sensors_fail_as_planned_and_recover() -> None:
    simulation = Simulation(load_scenario("sensor-failure"), SimulatedClock(0))
    gas = plug(simulation, *SENSORS["ch4"], "ch4")
    assert kind_of(gas) == ""
    simulation.clock.sleep(6)
    assert kind_of(gas) == "nack"
    simulation.clock.sleep(10)
    assert kind_of(gas) == ""


def test_a_fault_strikes_by_driver_or_by_name() -> None:
    text = QUIET + '[[faults]]\nkind = "nack"\nat_s = 0\nsensor = "a"\n'
    simulation = simulate(text)
    one = plug(simulation, "ads1115", {"input": "a0"}, "a")
    other = plug(simulation, "ads1115", {"input": "a0", "address": 0x49}, "b")
    assert (kind_of(one), kind_of(other)) == ("nack", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('title = "x"', "rooms: is missing"),
        ('title = "x"\n[rooms]', "needs a room"),
        (QUIET + "volum_m3 = 1", "rooms.flat.volum_m3: .*did you mean 'volume_m3'"),
        (QUIET + '[[events]]\nat_s = 1\nroom = "x"\nset = {}', "no room is called 'x'; known are flat"),
        (QUIET + "[[events]]\nat_s = 1\nset = {inflow_l_per_min = {x = 1}}", "no gas is called 'x'"),
        (QUIET + '[[faults]]\nkind = "nak"\nat_s = 1\ndriver = "mq"', "did you mean 'nack'"),
        (QUIET + '[[faults]]\nkind = "nack"\nat_s = 1', "either `driver` or `sensor`"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(TableError, match=message):
        scenario(text)


def test_unknown_scenarios_are_refused_with_the_nearest() -> None:
    with pytest.raises(SimulationError, match="no scenario is called 'gas'; did you mean 'gas-leak'"):
        load_scenario("gas")
    with pytest.raises(SimulationError, match="cannot be read"):
        load_scenario("/nowhere/x.toml")


def test_a_scenario_may_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('title = "mine"\n[rooms.r]\n')
    assert load_scenario(str(path)).title == "mine"


def test_the_configurations_table_builds_the_simulation() -> None:
    text = 'scenario = "gas-leak"\nseed = 7\nspeed = 20\n[sensors.far]\nroom = "flat"\n'
    sensors = [
        ("far", "mq", {"model": "mq4", "input": "a0"}),
        ("near", "mq", {"model": "mq4", "input": "a1"}),
    ]
    simulation = Simulation.from_table(loads_toml(text, "t"), sensors, where="t")
    assert isinstance(simulation.clock, SimulatedClock)
    assert simulation.clock.speed == 20
    far, near = (open_sensor(driver, options, simulation) for _, driver, options in sensors)
    simulation.clock.sleep(15)
    assert near.sample()["raw"] > 2 * far.sample()["raw"]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ('scenario = "quiet"\nspeed = 0', TableError, "t: speed must be above 0"),
        ('scenario = "quiet"\nsed = 1', TableError, "did you mean 'seed'"),
        ('scenario = "quite"', SimulationError, "did you mean 'quiet'"),
        (
            'scenario = "quiet"\n[sensors.x]',
            SimulationError,
            "t: sensors.x places a sensor that does not exist",
        ),
    ],
)
def test_a_wrong_simulation_table_is_refused(text: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Simulation.from_table(loads_toml(text, "t"), [], where="t")


@pytest.mark.parametrize(
    ("driver", "options", "placement", "message"),
    [
        ("mq", {"model": "mq4", "input": "a0"}, Placement(room="x"), "no room is called 'x'"),
        ("mq", {"model": "mq7", "input": "a0"}, Placement(gas="ch4"), "no curve of mq7 for ch4"),
    ],
)
def test_what_cannot_be_simulated_is_refused(
    driver: str, options: dict[str, object], placement: Placement, message: str
) -> None:
    with pytest.raises(SimulationError, match=f"sensor s cannot be simulated: {message}"):
        simulate(s=placement).attach("s", driver, options)


@pytest.mark.parametrize(
    ("driver", "options"),
    [("ads1115", {"input": "a0"}), ("contact", {"pin": 17}), ("dht22", {"pin": 17})],
)
def test_a_place_can_be_taken_once(driver: str, options: dict[str, object]) -> None:
    simulation = simulate()
    simulation.attach("one", driver, options)
    with pytest.raises(SimulationError, match="is taken"):
        simulation.attach("other", driver, options)


def test_technicians_change_rooms_and_break_sensors_while_it_runs() -> None:
    simulation = simulate()
    sensor = plug(simulation, "strain", {"bridge": "full", "gauge_factor": 2})
    before = sensor.sample()["strain"]
    simulation.change(Change(load_kg=1000))
    assert sensor.sample()["strain"] - before == pytest.approx(50_000, abs=3000)
    assert simulation.room().at(simulation.seconds()).strain == pytest.approx(50)
    simulation.inject("s", Fault("drift", simulation.seconds(), amount=1e-5))
    simulation.clock.sleep(1)
    # A full bridge with k = 2: 10 µV/V are 5 µm/m.
    assert sensor.sample()["strain"] - before == pytest.approx(55_000, abs=3000)
    simulation.repair("s")
    simulation.inject("s", Fault("noise", 0, amount=1e-4))
    values = [sensor.sample()["strain"] for _ in range(20)]
    assert max(values) - min(values) > 50_000


def test_an_unattached_sensor_is_refused_by_name() -> None:
    with pytest.raises(SimulationError, match="'x' has none; attached are none"):
        simulate().inject("x", Fault("nack", 0))


def test_a_leaking_boiler_passes_the_steps_of_the_dose() -> None:
    kitchen = load_scenario("boiler-co").models()["kitchen"]
    ppm = [kitchen.at(t).ppm["co"] for t in (60, 150, 220, 540, 2400)]
    assert ppm[0] == 0
    assert 50 < ppm[1] < 100 < ppm[2] < 300 < ppm[3]
    assert ppm[4] < 50


def test_a_power_cut_runs_the_battery_down() -> None:
    flat = load_scenario("power-cut").models()["flat"]
    states = [(flat.at(t).mains, flat.at(t).supply_v < 11.5) for t in (0, 3600, 5 * 3600, 25_300)]
    assert states == [(True, False), (False, False), (False, True), (True, False)]


def test_stale_air_passes_1000_ppm_and_is_aired() -> None:
    (room,) = load_scenario("stale-air").models().values()
    assert room.at(60).co2 < 500
    assert room.at(1490).co2 > 1000
    assert room.at(5000).co2 < 700
