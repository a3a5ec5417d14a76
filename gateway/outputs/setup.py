"""What a guardian's board stands on: the machine's pins and clock, or simulated ones.

Owns that choice, which the first daemon makes. It loads a pin library only when it is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.clock import Clock, SimulatedClock, SystemClock
from gateway.outputs.board import Board

if TYPE_CHECKING:
    from gateway.outputs.mock import MockPins

__all__ = ["Setup", "set_up"]


@dataclass(frozen=True, slots=True)
class Setup:
    """A board and what is below it.

    Attributes:
        mock: the simulated pins, None on real ones.
        speed: how fast the board's clock runs.
    """

    board: Board
    mock: MockPins | None
    clock: Clock
    speed: float

    @property
    def kind(self) -> tuple[bool, float]:
        """What it was made for: whether it is simulated, and its speed."""
        return self.mock is not None, self.speed


def set_up(simulated: bool, speed: float) -> Setup:
    """Return a board without outputs on the machine's pins, or on simulated ones.

    Raises:
        SensorError: this machine has no usable pins.
    """
    if simulated:
        from gateway.outputs.mock import MockPins

        mock, clock = MockPins(), SimulatedClock(speed)
        return Setup(Board((), mock.factory, clock), mock, clock, speed)
    from gateway.sensors.hardware import open_pins

    real = SystemClock()
    return Setup(Board((), open_pins(), real), None, real, 1.0)
