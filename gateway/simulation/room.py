"""A room with simple physics: gas, smoke, heat, humidity, what people breathe out, and a loaded beam.

Owns the equations and their integration. It does not own sensors, faults or when things happen to the
room (`scenario`).

The air is well mixed. Gas and smoke: inflow over volume, diluted by air exchange. Fire: smouldering makes
smoke, carbon monoxide and other compounds; a flame grows with the square of time up to its peak, makes carbon
dioxide and heats the air, which loses heat to walls and by air exchange. Heating dries: the water in the air stays.
People breathe out carbon dioxide and compounds. A beam bends in proportion to its load and with temperature.
Constants are of the right order, not those of any building.

Invariants:
* The state at a time depends on the scenario alone, not on when or how often it is read: integration
  steps lie on a fixed grid and at the events.
* Physical numbers are floats, because nothing here is ever signed; sensors turn them into codes.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Final, Literal, get_args

__all__ = ["Air", "Change", "Gas", "Room", "RoomModel"]

Gas = Literal["ch4", "lpg", "co"]

_STEP_S: Final = 0.25
# Optical density per smoke concentration, dB/m per g/m³, of smouldering wood's order.
_SMOKE_DB_M2_PER_G: Final = 4.0
_CO_YIELD: Final = 0.1  # g per g smouldered
_CO_PPM_M3_PER_G: Final = 860.0  # 1 g/m³ of CO at 20 °C
_FLAME_SMOKE_G_PER_KJ: Final = 0.001
_CO2_OUTSIDE_PPM: Final = 420.0
_CO2_L_PER_MIN: Final = 0.3  # that a person at rest breathes out
_CO2_PPM_M3_PER_KJ: Final = 45.0  # 0.08 g of CO2 per kJ of flame
_VOC_PPB_PER_AIRING: Final = 100.0  # what a room's things give off, per volume of fresh air in two hours
_VOC_PPB_M3_PER_S: Final = 4.0  # of each person
_VOC_PPB_M3_PER_G: Final = 17_000.0  # of smouldering, a twentieth of it by mass
_FLAME_GROWTH_KW_PER_S2: Final = 0.047  # a "fast" t² fire
_AIR_KJ_PER_M3K: Final = 1.2
_WALLS: Final = 5.0  # heat that walls take up at once, as a multiple of the air's
_COOLING_S: Final = 900.0
_THERMAL_STRAIN: Final = 11.0  # µm/m per kelvin, steel or concrete
_CHARGED_V, _RESTING_V, _DISCHARGE_V_PER_H = 13.6, 12.7, 0.3  # a 12 V lead battery and what it feeds


@dataclass(frozen=True, slots=True)
class Room:
    """A room's constants and what goes on in it; events change them.

    Attributes:
        volume_m3: of air.
        air_changes_per_h: fresh air, in room volumes per hour.
        outside_c: temperature outside and at the start, °C.
        humidity: relative humidity at the start, %.
        inflow_l_per_min: gas entering, by gas.
        smoulder_g_per_min: fuel smouldering away.
        flame_peak_kw: what an open flame grows to; 0 is none.
        load_kg: load on the beam.
        strain_per_kg: the beam's strain, µm/m per kg.
        creep_per_s: strain that grows by itself under overload, µm/m per second.
        mains: whether the building has power.
        hood: test gas over the sensors, in ppm by gas; while there is any, they smell nothing else.
        people: who are in it.
        pressure_pa: the weather's.
    """

    volume_m3: float = 40.0
    air_changes_per_h: float = 0.5
    outside_c: float = 21.0
    humidity: float = 45.0
    inflow_l_per_min: Mapping[Gas, float] = field(default_factory=dict)
    smoulder_g_per_min: float = 0.0
    flame_peak_kw: float = 0.0
    load_kg: float = 0.0
    strain_per_kg: float = 0.05
    creep_per_s: float = 0.0
    mains: bool = True
    hood: Mapping[Gas, float] = field(default_factory=dict)
    people: int = 0
    pressure_pa: float = 101_325.0

    def __post_init__(self) -> None:
        if self.volume_m3 <= 0 or self.air_changes_per_h < 0:
            raise ValueError("volume_m3 must be above 0, air_changes_per_h not below")
        if self.people < 0 or not 30_000 <= self.pressure_pa <= 110_000:
            raise ValueError("people must not be below 0, pressure_pa 30000 to 110000")
        for gas in (*self.inflow_l_per_min, *self.hood):
            if gas not in get_args(Gas):
                raise ValueError(f"no gas is called {gas!r}; known are {', '.join(get_args(Gas))}")


@dataclass(frozen=True, slots=True)
class Change:
    """What an event sets in a room; None leaves things as they are."""

    air_changes_per_h: float | None = None
    outside_c: float | None = None
    inflow_l_per_min: Mapping[Gas, float] | None = None
    smoulder_g_per_min: float | None = None
    flame_peak_kw: float | None = None
    load_kg: float | None = None
    creep_per_s: float | None = None
    mains: bool | None = None
    hood: Mapping[Gas, float] | None = None
    people: int | None = None
    pressure_pa: float | None = None

    def apply(self, room: Room) -> Room:
        """Return the room after the event."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(room, **{name: value for name, value in values.items() if value is not None})


@dataclass(frozen=True, slots=True)
class Air:
    """The room's state at one moment.

    Attributes:
        ppm: gas by volume.
        smoke: optical density, dB/m.
        celsius: of the air.
        humidity: relative, %.
        strain: of the beam, µm/m.
        flame_s: how long a flame has burnt.
        creep: strain that has crept, µm/m.
        mains: whether the building has power.
        battery_s: how long what is fed from the battery has run on it.
        hood: test gas over the sensors, ppm.
        co2: carbon dioxide, ppm.
        voc: volatile compounds, ppb.
        pascal: the air's pressure.
    """

    ppm: Mapping[Gas, float]
    smoke: float
    celsius: float
    humidity: float
    strain: float
    flame_s: float
    creep: float
    mains: bool
    battery_s: float
    hood: Mapping[Gas, float]
    co2: float
    voc: float
    pascal: float

    def smelled(self, gas: Gas) -> float:
        """Return what a gas sensor is exposed to, ppm."""
        return self.hood.get(gas, 0.0) if self.hood else self.ppm[gas]

    @property
    def supply_v(self) -> float:
        """The voltage of a 12 V supply with its battery."""
        return _CHARGED_V if self.mains else _RESTING_V - _DISCHARGE_V_PER_H * self.battery_s / 3600


class RoomModel:
    """A room over time; may be read from several threads.

    Args:
        room: as it is at second 0.
        events: (second, change) in any order; those at or before 0 have happened before the start.
    """

    def __init__(self, room: Room, events: Sequence[tuple[float, Change]] = ()) -> None:
        self._lock = threading.Lock()
        self._room = room
        self._water = room.humidity * _saturation(room.outside_c)
        self._origin_c = room.outside_c
        self._events = sorted(events, key=lambda event: event[0])
        self._time = 0.0
        clean = dict.fromkeys(get_args(Gas), 0.0)
        self._air = self._observe(
            clean, 0.0, room.outside_c, 0.0, 0.0, 0.0, _CO2_OUTSIDE_PPM, _VOC_PPB_PER_AIRING
        )

    def at(self, t: float) -> Air:
        """Return the state at second `t`; times before the latest step give that step's state."""
        with self._lock:
            while (boundary := self._boundary()) <= t:
                self._air = self._step(boundary - self._time)
                self._time = boundary
                self._happen()
            return self._step(t - self._time) if t > self._time else self._air

    def change(self, t: float, change: Change) -> None:
        """Add an event, at once if `t` has passed."""
        with self._lock:
            self._events = sorted([*self._events, (t, change)], key=lambda event: event[0])

    def _boundary(self) -> float:
        on_grid = (math.floor(self._time / _STEP_S) + 1) * _STEP_S
        return max(self._time, min(on_grid, self._events[0][0])) if self._events else on_grid

    def _happen(self) -> None:
        while self._events and self._events[0][0] <= self._time:
            self._room = self._events.pop(0)[1].apply(self._room)
        self._air = self._step(0.0)

    def _step(self, seconds: float) -> Air:
        room, air = self._room, self._air
        exchange = room.air_changes_per_h / 3600
        flame_s = air.flame_s + seconds if room.flame_peak_kw else 0.0
        flame_kw = min(room.flame_peak_kw, _FLAME_GROWTH_KW_PER_S2 * flame_s**2)
        smoulder = room.smoulder_g_per_min / 60 / room.volume_m3
        smoke_g = smoulder + flame_kw * _FLAME_SMOKE_G_PER_KJ / room.volume_m3
        inflow = {
            gas: litres / 60_000 / room.volume_m3 * 1e6 for gas, litres in room.inflow_l_per_min.items()
        }
        inflow["co"] = inflow.get("co", 0.0) + smoulder * _CO_YIELD * _CO_PPM_M3_PER_G
        heating = flame_kw / (room.volume_m3 * _AIR_KJ_PER_M3K * _WALLS)
        breath = room.people * _CO2_L_PER_MIN / 60_000 / room.volume_m3 * 1e6
        co2 = breath + flame_kw * _CO2_PPM_M3_PER_KJ / room.volume_m3
        voc = _VOC_PPB_PER_AIRING / 7200 + room.people * _VOC_PPB_M3_PER_S / room.volume_m3
        voc += smoulder * _VOC_PPB_M3_PER_G
        excess = _decay(air.celsius - room.outside_c, heating, exchange + 1 / _COOLING_S, seconds)
        return self._observe(
            {gas: _decay(c, inflow.get(gas, 0.0), exchange, seconds) for gas, c in air.ppm.items()},
            _decay(air.smoke, smoke_g * _SMOKE_DB_M2_PER_G, exchange, seconds),
            room.outside_c + excess,
            flame_s,
            air.creep + room.creep_per_s * seconds,
            0.0 if room.mains else air.battery_s + seconds,
            _CO2_OUTSIDE_PPM + _decay(air.co2 - _CO2_OUTSIDE_PPM, co2, exchange, seconds),
            _decay(air.voc, voc, exchange, seconds),
        )

    def _observe(
        self,
        ppm: Mapping[Gas, float],
        smoke: float,
        celsius: float,
        flame_s: float,
        creep: float,
        battery_s: float,
        co2: float,
        voc: float,
    ) -> Air:
        """Add what follows from the rest: humidity, strain, and what is the same everywhere."""
        humidity = min(100.0, self._water / _saturation(celsius))
        thermal = _THERMAL_STRAIN * (celsius - self._origin_c)
        strain = self._room.load_kg * self._room.strain_per_kg + creep + thermal
        room = self._room
        return Air(
            ppm=ppm,
            smoke=smoke,
            celsius=celsius,
            humidity=humidity,
            strain=strain,
            flame_s=flame_s,
            creep=creep,
            mains=room.mains,
            battery_s=battery_s,
            hood=room.hood,
            co2=co2,
            voc=voc,
            pascal=room.pressure_pa,
        )


def _decay(value: float, source: float, rate: float, seconds: float) -> float:
    """Solve dv/dt = source - rate*v over `seconds`."""
    if rate == 0:
        return value + source * seconds
    settled = source / rate
    return settled + (value - settled) * math.exp(-rate * seconds)


def _saturation(celsius: float) -> float:
    """Return water vapour's saturation pressure in hPa (Magnus formula over water)."""
    return 6.112 * math.exp(17.62 * celsius / (243.12 + celsius))
