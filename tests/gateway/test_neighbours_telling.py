"""What a gateway tells its neighbours comes from its own sensors alone; what they tell drives its own outputs."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from rig import AIR, GAS, KEY, Rig

from gateway.chain.keys import SigningKey, gateway_id
from gateway.chain.neighbour import Building, Neighbour, Raised
from gateway.config import SensorTable, TemplateTable
from gateway.contracts.library import template
from gateway.contracts.source import read_contract
from gateway.decider import ContractSet
from gateway.errors import SensorError
from gateway.neighbours.circle import Circle, Said
from gateway.neighbours.config import NeighboursTable
from gateway.neighbours.lan import Lan
from gateway.neighbours.link import Link
from gateway.neighbours.telling import tell
from gateway.outputs.options import OutputOptions

FLAT = SensorTable("flat-2", "neighbour", 1000, {"member": "flat-2"})
FOREIGN = {"flat-2.alarm", "flat-2.faults"}
TEMPLATES = (
    TemplateTable("gas-ch4", {"series": "kitchen.ch4", "hold": "0s", "pre_hold": "0s", "warm_up": "0s"}),
    TemplateTable("building-alarm", {"series": ("flat-2.alarm",)}),
    TemplateTable("neighbour-silent", {"series": ("flat-2.alarm",), "buzzer": "valve"}),
)


@pytest.fixture
def rig(tmp_path: Path) -> Any:
    texts = [template(each.template, **each.names) for each in TEMPLATES]
    contracts = ContractSet.of([read_contract(text, "test") for text in texts])
    rig = Rig(tmp_path, contracts=contracts, sensors=(GAS, AIR, FLAT))
    yield rig
    rig.stop()


def neighbour(rig: Rig, alarm: int, faults: int = 0) -> None:
    rig.recorder.sample(rig._plan("flat-2"), {"alarm": alarm, "faults": faults})


def test_a_neighbours_alarm_acts_here_and_is_not_told_on(rig: Rig) -> None:
    rig.gas(100)
    neighbour(rig, 2, 1)
    assert rig.recorder.conditions()["building-alarm"][0] == "alarm"
    assert tell(rig.recorder, FOREIGN) == Said()
    rig.gas(9_000)
    assert tell(rig.recorder, FOREIGN) == Said((Raised("gas-ch4", 2),), 0, 0)


def test_a_silent_neighbour_is_a_fault_here_at_once_and_is_not_told_on(rig: Rig) -> None:
    neighbour(rig, 0)
    rig.recorder.fail(rig._plan("flat-2"), SensorError("silent", "as the test wants it"))
    assert sorted(rig.recorder.faulty) == ["flat-2.alarm", "flat-2.faults"]
    assert rig.recorder.conditions()["building-alarm"][1] == ("n1:silent",)
    assert rig.recorder.conditions()["neighbour-silent"][0] == "alarm"
    for _ in range(5):
        rig.fail("gas")
    assert tell(rig.recorder, FOREIGN).faults == 1


def test_what_a_neighbour_told_before_it_fell_silent_stands(rig: Rig) -> None:
    neighbour(rig, 2)
    rig.recorder.fail(rig._plan("flat-2"), SensorError("silent", "as the test wants it"))
    assert rig.recorder.conditions()["building-alarm"] == ("alarm", ("n1:silent",))


def test_a_neighbours_series_are_the_same_whatever_it_does_and_kept_when_they_change(rig: Rig) -> None:
    series = [each for each in rig.catalogue.series if each.name in FOREIGN]
    assert [(each.dead_band, each.longest, each.sensor) for each in series] == [
        (0, 3_600_000, "neighbour flat-2")
    ] * 2
    root = rig.catalogue.listing.root
    for alarm in (0, 0, 0, 1, 1, 0):
        neighbour(rig, alarm)
        rig.advance(5)
    assert rig.catalogue.listing.root == root


@pytest.mark.parametrize("ends", ["silenced", "run out"])
def test_another_flats_alarm_sounds_though_the_first_ones_still_stands(tmp_path: Path, ends: str) -> None:
    flats = [SensorTable(name, "neighbour", 1000, {"member": name}) for name in ("flat-2", "flat-3")]
    text = template("building-alarm", series=("flat-2.alarm", "flat-3.alarm"), clear_for="10s")
    siren = OutputOptions("siren", "siren", 17, max_runtime_s=60)
    contracts = ContractSet.of([read_contract(text, "test")])
    rig = Rig(tmp_path, contracts=contracts, sensors=(GAS, AIR, *flats), siren=siren)

    def pass_time(seconds: int, *alarms: int) -> None:
        for _ in range(seconds):
            for flat, alarm in zip(("flat-2", "flat-3"), alarms, strict=True):
                rig.recorder.sample(rig._plan(flat), {"alarm": alarm, "faults": 0})
            rig.advance(1)
            rig.recorder.tick()

    pass_time(5, 2, 0)
    assert rig.siren
    if ends == "silenced":
        rig.recorder.silence("building-alarm", "button hall")
    else:
        pass_time(60, 2, 0)
    pass_time(5, 2, 0)
    assert not rig.siren
    pass_time(1, 2, 2)
    assert rig.siren
    rig.recorder.silence("building-alarm", "button hall")
    pass_time(5, 2, 0)  # shorter than an alarm takes to be over: what comes now is no other one
    pass_time(1, 2, 2)
    assert not rig.siren
    pass_time(12, 2, 0)
    pass_time(1, 2, 2)
    assert rig.siren
    rig.stop()


def test_a_neighbour_that_changes_its_mind_all_the_time_fills_no_card_and_its_alarm_counts_at_once(
    tmp_path: Path,
) -> None:
    flat = SensorTable("flat-2", "neighbour", 1000, {"member": "flat-2"})
    rig = Rig(tmp_path, sensors=(GAS, AIR, flat))
    other = SigningKey(bytes(32))
    members = tuple(
        Neighbour(name, gateway_id(key.public), key.public, ())
        for name, key in (("flat-1", KEY), ("flat-2", other))
    )
    building = Building(2, "house", members)
    link = Link(rig.identity, NeighboursTable(), rig.catalogue.sensors, rig.recorder, rig.clock)
    now = rig.clock.monotonic_ms()
    ours = link._circle = link._make(building, None, now)
    theirs = Circle(members[1].gateway, bytes(8), other, building, now, heartbeat_ms=5000)
    heard = []
    for i in range(400):
        now = rig.clock.monotonic_ms()
        said = Said((Raised("gas", 2),)) if i % 2 else Said()
        for each in theirs.speak(said, now):
            link._hear(ours, each.data, ("10.0.0.2", 1))
        for each in ours.speak(Said(), now):
            theirs.hear(each.data, ("10.0.0.1", 1), now)
        if link._series[0].at_ms == now:
            heard.append(link._series[0].values[0])
        assert not (i % 2 and i > 1 and link._series[0].values[0] != 2)
        rig.advance(0.01)
    assert 4 <= len(heard) <= 10
    link.stop()
    rig.stop()


def test_ports_are_closed_again_when_there_is_no_roster_any_more() -> None:
    lan = Lan(NeighboursTable(listen=("127.0.0.1:47471",), multicast=()))
    lan.care(0)
    assert list(lan._open) == [("127.0.0.1", 47471)]
    lan.rest()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mine:
        mine.bind(("127.0.0.1", 47471))
    lan.care(1)
    assert lan._open
    lan.close()
