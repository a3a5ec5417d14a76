"""What a technician does with his hands: clean air, test gas, load off, shunt on; in a simulation, done for him.

Owns the requests and what they come to in a simulated room. It does not own measuring.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from firmware_tools.errors import FitRefused
from gateway.sensors import mq, strain
from gateway.simulation.room import Change, Gas
from gateway.simulation.simulation import Simulation

# What a simulated electrochemical cell's board gives: the maker's zero, and millivolts for each ppm.
_CELL_ZERO_V, _CELL_V_PER_PPM = 0.4, 0.001


@dataclass(frozen=True, slots=True)
class Hand:
    """Asks, waits for the answer, and acts where the hardware is simulated.

    Attributes:
        simulation: None on real hardware.
        sensor: its name.
        confirm: asks for something and returns once it is done; raises where it is not.
    """

    simulation: Simulation | None
    sensor: str
    confirm: Callable[[str], None]

    def clean_air(self) -> None:
        """Have the room aired; a simulated one is as its scenario has it."""
        self.confirm("Air the room well. No gas, smoke, cooking or cleaning agents near the sensor?")

    def gas(self, options: object, gas: str, ppm: float) -> None:
        """Have test gas over the sensor, or clean air again (0)."""
        self.confirm(
            f"Put the hood over the sensor and {ppm:g} ppm of {gas} on it. Does it flow?"
            if ppm
            else "Take the gas away and let clean air over the sensor. Is it clean?"
        )
        if self.simulation is None:
            return
        if not isinstance(options, mq.Options):
            self.simulation.hold(self.sensor, _CELL_ZERO_V + _CELL_V_PER_PPM * ppm)
            return
        if gas not in get_args(Gas):
            raise FitRefused(f"a simulated room holds {', '.join(get_args(Gas))}, no {gas}")
        hood: dict[Any, float] = {gas: float(ppm)} if ppm else {}
        self.simulation.change(Change(hood=hood), self.simulation.room_of(self.sensor))

    def bare(self) -> None:
        """Have the structure without load, and no shunt."""
        self.confirm("Is the structure without load, at its usual temperature, and no shunt connected?")
        if self.simulation is not None:
            self.simulation.hold(self.sensor, None)

    def shunt(self, options: strain.Options, output: float) -> None:
        """Have the shunt connected, which adds so much to the bridge's output over its excitation."""
        self.confirm("Connect the shunt across one arm of the bridge. Is it connected?")
        if self.simulation is None:
            return
        room = self.simulation.room(self.simulation.room_of(self.sensor))
        real = room.at(self.simulation.seconds()).strain
        bare = bridge_output(options.bridge, float(options.gauge_factor) * real * 1e-6)
        self.simulation.hold(self.sensor, bare + output)


def bridge_output(bridge: Literal["quarter", "half", "full"], stretch: float) -> float:
    """Return a bridge's output over its excitation, where its gauges change by `stretch` of their resistance."""
    if bridge == "quarter":
        return stretch / (4 + 2 * stretch)
    return stretch / 2 if bridge == "half" else stretch
