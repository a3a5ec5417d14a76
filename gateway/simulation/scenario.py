"""Scenarios: what happens to rooms and sensors, and when, as TOML.

Owns the documents' shape, the packaged ones (`scenarios/*.toml`) and their look-up by name. It does not
own physics (`room`) or how faults show (`faults`).

A scenario's seconds are the simulation's clock since its start.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from gateway.contracts.tables import loads_toml, read_table
from gateway.errors import SimulationError
from gateway.simulation.faults import Fault, FaultKind, Faults
from gateway.simulation.room import Change, Room, RoomModel

__all__ = ["Event", "Mishap", "Scenario", "load_scenario", "scenario_names"]


@dataclass(frozen=True, slots=True)
class Event:
    """At `at_s`, `set` changes a room; the scenario's first room if none is named."""

    at_s: float
    set_: Change
    room: str = ""


@dataclass(frozen=True, slots=True)
class Mishap:
    """A fault of some sensors: those of a driver, or the one of that name.

    Attributes:
        kind, at_s, until_s, amount: see `faults.Fault`.
        driver: strikes every sensor of this driver.
        sensor: strikes the sensor of this name, as the configuration calls it.
    """

    kind: FaultKind
    at_s: float
    until_s: float | None = None
    amount: float = 0.0
    driver: str = ""
    sensor: str = ""

    def __post_init__(self) -> None:
        if bool(self.driver) == bool(self.sensor):
            raise ValueError("a fault needs either `driver` or `sensor`")

    def strikes(self, sensor: str, driver: str) -> bool:
        """Say whether it concerns this sensor."""
        return sensor == self.sensor or driver == self.driver


@dataclass(frozen=True, slots=True)
class Scenario:
    """A whole scenario.

    Attributes:
        title: one line for people.
        warm: sensors have been powered long ago; otherwise since the start.
        rooms: by name; the first is where a sensor stands unless it is placed elsewhere.
        events: changes of rooms.
        faults: of sensors.
    """

    title: str
    rooms: Mapping[str, Room]
    warm: bool = True
    events: tuple[Event, ...] = ()
    faults: tuple[Mishap, ...] = ()

    def __post_init__(self) -> None:
        if not self.rooms:
            raise ValueError("a scenario needs a room")
        for event in self.events:
            event.set_.apply(self.rooms[self.room_name(event.room)])

    def room_name(self, name: str) -> str:
        """Return the room of that name, or the first one for "".

        Raises:
            ValueError: there is no such room.
        """
        if name and name not in self.rooms:
            raise ValueError(f"no room is called {name!r}; known are {', '.join(self.rooms)}")
        return name or next(iter(self.rooms))

    def models(self) -> dict[str, RoomModel]:
        """Build the physics of every room."""
        return {
            name: RoomModel(room, [(e.at_s, e.set_) for e in self.events if self.room_name(e.room) == name])
            for name, room in self.rooms.items()
        }

    def faults_of(self, sensor: str, driver: str) -> Faults:
        """Return the faults planned for one sensor."""
        return Faults(
            Fault(m.kind, m.at_s, m.until_s, m.amount) for m in self.faults if m.strikes(sensor, driver)
        )


def scenario_names() -> list[str]:
    """Name the packaged scenarios."""
    folder = files("gateway.simulation") / "scenarios"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))


def load_scenario(name: str) -> Scenario:
    """Read a packaged scenario by name, or a file if `name` ends in `.toml`.

    Raises:
        SimulationError: there is no such scenario.
        TableError: it is not a scenario; the message names the place.
    """
    if name.endswith(".toml"):
        return _read(_text(Path(name)), name)
    if name not in scenario_names():
        near = difflib.get_close_matches(name, scenario_names(), n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(scenario_names())}"
        raise SimulationError(f"no scenario is called {name!r}; {hint}")
    text = (files("gateway.simulation") / "scenarios" / f"{name}.toml").read_text("utf-8")
    return _read(text, f"scenario {name}")


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SimulationError(f"the scenario {path} cannot be read: {error}") from error


def _read(text: str, where: str) -> Scenario:
    return read_table(Scenario, loads_toml(text, where), where=where)
