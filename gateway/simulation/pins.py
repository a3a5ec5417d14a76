"""Simulated GPIO: gpiozero's mock factory, whose inputs follow the room and whose changes are timed.

Owns the connection of an input to what drives it. It does not own devices or the room.

Invariants:
* An input's level is computed when it is read, so it needs no thread and is never late.
* Every change of any pin is noted with `time.monotonic_ns()`, outputs included.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from gateway.simulation.bus import SimulatedBus
from gateway.simulation.spi import SpiChip, make_interface

__all__ = ["KEPT_CHANGES", "Lines", "make_factory"]

KEPT_CHANGES: Final = 1024


def make_factory(
    levels: dict[int, Callable[[], bool]],
    chips: Mapping[int, SpiChip],
    before: dict[int, Callable[[], None]],
) -> Any:
    """Return a pin factory; its pins have `changes`, a deque of (monotonic_ns, level).

    Args:
        levels: by BCM number, what an input reads; may be filled later. Other inputs rest at their pull.
        chips: by the BCM number of their chip select, what answers on SPI; may be filled later.
        before: by BCM number, called before a pin's level changes; may be filled later.
    """
    # Here, not above: importing the simulation must not load GPIO code.
    from gpiozero.pins.mock import MockFactory

    interface = make_interface(chips)

    class RoomFactory(MockFactory):  # type: ignore[misc]
        """Pins of the room, and its SPI."""

        def _get_spi_class(self, shared: bool, hardware: bool) -> Any:
            return interface

    return RoomFactory(pin_class=_pin_class(levels, before))


def _pin_class(levels: dict[int, Callable[[], bool]], before: dict[int, Callable[[], None]]) -> Any:
    from gpiozero.pins.mock import MockPin

    class RoomPin(MockPin):  # type: ignore[misc]
        """A pin that the room drives."""

        def __init__(self, factory: Any, info: Any) -> None:
            self.changes: deque[tuple[int, bool]] = deque(maxlen=KEPT_CHANGES)
            self._number = int(info.name.removeprefix("GPIO"))
            super().__init__(factory, info)
            self._level = levels.get(self._number)

        def _get_state(self) -> bool:
            if self._level is not None and self._function == "input":
                (self.drive_high if self._level() else self.drive_low)()
            return bool(super()._get_state())

        def _change_state(self, value: bool) -> bool:
            if value != self._state and (notice := before.get(self._number)):
                notice()
            changed = bool(super()._change_state(value))
            if changed:
                self.changes.append((time.monotonic_ns(), value))
            return changed

    return RoomPin


class Lines:
    """The lines of simulated I2C buses, as `gateway.sensors.rescue.PinFunctions` sees them.

    Whoever drives a line has taken it from the controller, until it is given back.

    Args:
        before: as in `make_factory`.
    """

    _OF_I2C: Final = "a0"

    def __init__(self, before: dict[int, Callable[[], None]]) -> None:
        self._before = before
        self._functions: dict[int, str] = {}
        self._given: dict[int, Callable[[], None]] = {}

    def connect(self, bus: SimulatedBus, scl: int, sda: int) -> None:
        """Let the pins be a bus's lines."""
        for pin in (scl, sda):
            self._functions[pin] = self._OF_I2C

        def edge(pin: int) -> None:
            self._functions[pin] = "op"
            bus.is_wired = False
            if pin == scl:
                bus.tick()

        self._before[scl], self._before[sda] = partial(edge, scl), partial(edge, sda)
        self._given[scl] = self._given[sda] = lambda: self._settle(bus, (scl, sda))

    def read(self, pin: int) -> str | None:
        return self._functions.get(pin)

    def write(self, pin: int, function: str) -> None:
        self._functions[pin] = function
        self._given[pin]()

    def _settle(self, bus: SimulatedBus, pins: tuple[int, int]) -> None:
        bus.is_wired = all(self._functions[pin] == self._OF_I2C for pin in pins)
