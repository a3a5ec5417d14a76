"""The room's physics: whether it is sane, and whether it repeats."""

from __future__ import annotations

import math

import pytest

from gateway.simulation.room import Change, Room, RoomModel


def test_nothing_happens_in_a_quiet_room() -> None:
    model = RoomModel(Room(outside_c=21, humidity=45))
    assert model.at(0) == model.at(10_000)
    assert model.at(0).humidity == pytest.approx(45)


def test_gas_rises_towards_inflow_over_exchange() -> None:
    room = Room(volume_m3=30, air_changes_per_h=3.6, inflow_l_per_min={"ch4": 60})
    model = RoomModel(room)
    # 1 l/s into 30 m³ are 33.3 ppm/s, diluted by 0.001/s: 33333 ppm in the end, 63 % after 1000 s.
    assert model.at(10).ppm["ch4"] == pytest.approx(1000 * (1 - math.exp(-0.01)) * 33.333, rel=1e-3)
    assert model.at(1000).ppm["ch4"] == pytest.approx(33_333 * (1 - math.exp(-1)), rel=1e-3)
    assert model.at(20_000).ppm["ch4"] == pytest.approx(33_333, rel=1e-3)
    assert model.at(20_000).ppm["lpg"] == 0


def test_a_sealed_room_keeps_its_gas_and_an_aired_one_loses_it() -> None:
    events = [
        (0, Change(inflow_l_per_min={"co": 1})),
        (60, Change(inflow_l_per_min={"co": 0})),
        (600, Change(air_changes_per_h=36)),
    ]
    model = RoomModel(Room(volume_m3=10, air_changes_per_h=0), events)
    assert model.at(60).ppm["co"] == pytest.approx(100)
    assert model.at(599).ppm["co"] == pytest.approx(100)
    assert model.at(700).ppm["co"] == pytest.approx(100 * math.exp(-1), rel=1e-3)


def test_smouldering_makes_smoke_and_carbon_monoxide_but_hardly_heat() -> None:
    model = RoomModel(Room(smoulder_g_per_min=10))
    air = model.at(60)
    assert air.smoke > 0.15
    assert 5 < air.ppm["co"] < 50
    assert air.celsius == pytest.approx(21)


def test_a_flame_grows_heats_and_dries_the_air() -> None:
    model = RoomModel(Room(flame_peak_kw=250, humidity=45))
    celsius = [model.at(t).celsius for t in (0, 20, 40, 60)]
    assert celsius == sorted(celsius)
    assert celsius[3] - celsius[2] > celsius[2] - celsius[1] > celsius[1] - celsius[0]
    assert model.at(60).humidity < 45


def test_after_the_fire_it_cools() -> None:
    model = RoomModel(Room(flame_peak_kw=100), [(60, Change(flame_peak_kw=0))])
    hot = model.at(60).celsius
    assert 21 < model.at(600).celsius < hot


def test_strain_follows_load_and_temperature() -> None:
    model = RoomModel(Room(load_kg=1000, strain_per_kg=0.05, flame_peak_kw=100), [(1, Change(load_kg=2000))])
    assert model.at(0.9).strain == pytest.approx(50, abs=0.1)
    heated = model.at(30)
    assert heated.strain == pytest.approx(100 + 11 * (heated.celsius - 21), abs=0.01)


def test_creep_stays_when_the_load_goes() -> None:
    model = RoomModel(Room(), [(0, Change(creep_per_s=0.5)), (10, Change(creep_per_s=0))])
    assert model.at(100).strain == pytest.approx(5)


def test_the_state_does_not_depend_on_how_often_it_is_read() -> None:
    def build() -> RoomModel:
        events = [(3.3, Change(inflow_l_per_min={"lpg": 5})), (7.77, Change(flame_peak_kw=50))]
        return RoomModel(Room(smoulder_g_per_min=3), events)

    often, once = build(), build()
    for i in range(1234):
        often.at(i * 0.01)
    assert often.at(12.345) == once.at(12.345)


def test_an_event_counts_from_its_own_time_on() -> None:
    model = RoomModel(Room(), [(1.1, Change(load_kg=100))])
    assert model.at(1.099).strain == 0
    assert model.at(1.1).strain == pytest.approx(5)


def test_a_late_event_takes_effect_at_once() -> None:
    model = RoomModel(Room())
    model.at(100)
    model.change(50, Change(load_kg=100))
    assert model.at(100).strain == pytest.approx(5)


@pytest.mark.parametrize(
    "wrong", [{"volume_m3": 0}, {"air_changes_per_h": -1}, {"inflow_l_per_min": {"argon": 1}}]
)
def test_impossible_rooms_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"volume_m3|no gas is called"):
        Room(**wrong)  # type: ignore[arg-type]


def test_people_and_flames_make_carbon_dioxide_and_airing_takes_it_away() -> None:
    crowded = RoomModel(
        Room(people=6, air_changes_per_h=0), [(600.0, Change(people=0, air_changes_per_h=20))]
    )
    assert crowded.at(0).co2 == pytest.approx(420)
    assert crowded.at(599).co2 == pytest.approx(420 + 6 * 0.3 / 40_000 * 1e6 * 599 / 60, rel=0.01)
    assert crowded.at(4200).co2 == pytest.approx(420, abs=5)
    burning = RoomModel(Room(flame_peak_kw=100, air_changes_per_h=0))
    assert burning.at(120).co2 > 5_000


def test_what_smoulders_gives_off_compounds_long_before_it_burns() -> None:
    room = RoomModel(Room(smoulder_g_per_min=10))
    quiet = RoomModel(Room())
    assert quiet.at(600).voc == pytest.approx(quiet.at(0).voc, rel=0.01)
    assert room.at(60).voc > 10 * quiet.at(60).voc


def test_the_weather_s_pressure_is_everywhere() -> None:
    room = RoomModel(Room(pressure_pa=99_000), [(10.0, Change(pressure_pa=98_000))])
    assert [room.at(5).pascal, room.at(11).pascal] == [99_000, 98_000]
