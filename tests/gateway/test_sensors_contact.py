"""A smoke detector's relay on simulated pins."""

from __future__ import annotations

import pytest
from simulated import kind_of, plug, simulate

from gateway.errors import SensorError
from gateway.simulation.faults import Fault

SMOKY = 'title = ""\n[rooms.r]\n[[events]]\nat_s = 1\nset = {smoulder_g_per_min = 600}\n'
PULLS = ["up", "down", "external-up", "external-down"]


@pytest.mark.parametrize("pull", PULLS)
@pytest.mark.parametrize("contact", ["nc", "no"])
def test_smoke_makes_the_contact_active_however_it_is_wired(contact: str, pull: str) -> None:
    simulation = simulate(SMOKY)
    sensor = plug(simulation, "contact", {"pin": 17, "contact": contact, "pull": pull})
    assert sensor.sample() == {"active": 0}
    simulation.clock.sleep(3)
    assert sensor.sample() == {"active": 1}
    sensor.close()


@pytest.mark.parametrize(("contact", "active"), [("nc", 1), ("no", 0)])
def test_a_cut_wire_is_noticed_only_when_wired_normally_closed(contact: str, active: int) -> None:
    simulation = simulate()
    sensor = plug(simulation, "contact", {"pin": 17, "contact": contact})
    assert sensor.sample() == {"active": 0}
    simulation.inject("s", Fault("cut", 0))
    assert sensor.sample() == {"active": active}
    sensor.close()


def test_a_glitch_shorter_than_the_debounce_time_does_not_count() -> None:
    simulation = simulate()
    sensor = plug(simulation, "contact", {"pin": 17, "debounce_ms": 50})
    sensor.sample()
    simulation.inject("s", Fault("cut", simulation.seconds(), simulation.seconds() + 0.02))
    assert sensor.sample() == {"active": 0}
    sensor.close()


def test_a_chattering_contact_is_a_wiring_fault() -> None:
    simulation = simulate()
    sensor = plug(simulation, "contact", {"pin": 17, "debounce_ms": 10})
    sensor.sample()
    now = simulation.seconds()
    for i in range(0, 40, 2):
        simulation.inject("s", Fault("cut", now + i * 0.01 - 0.005, now + i * 0.01 + 0.005))
    assert kind_of(sensor) == "wiring"
    sensor.close()


def test_a_pin_in_use_is_refused_by_name_and_free_again_after_close() -> None:
    simulation = simulate()
    sensor = plug(simulation, "contact", {"pin": 17}, "one")
    from gateway.sensors.registry import open_sensor

    with pytest.raises(SensorError, match="GPIO17 cannot be opened") as caught:
        open_sensor("contact", {"pin": 17}, simulation)
    assert caught.value.kind == "wiring"
    sensor.close()
    sensor.close()
    open_sensor("contact", {"pin": 17}, simulation).close()


def test_every_change_of_a_pin_is_timed() -> None:
    simulation = simulate(SMOKY)
    sensor = plug(simulation, "contact", {"pin": 17})
    sensor.sample()
    simulation.clock.sleep(3)
    sensor.sample()
    changes = list(simulation.pins().pin(17).changes)
    assert [level for _, level in changes[-2:]] == [False, True]
    assert changes[-2][0] < changes[-1][0]
    sensor.close()


def test_hold_moves_a_contact_at_once() -> None:
    simulation = simulate()
    sensor = plug(simulation, "contact", {"pin": 17})
    assert sensor.sample() == {"active": 0}
    simulation.hold("s", 0.0)
    assert sensor.sample() == {"active": 1}
    sensor.close()
