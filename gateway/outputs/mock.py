"""Simulated pins for the guardian: relays that move their read-back contacts, unless they are jammed.

Owns the contacts' levels. Pins and their noted changes are `gateway.simulation.pins`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from gateway.outputs.options import OutputOptions, ReadBack
from gateway.simulation.pins import make_factory

__all__ = ["MockPins"]

_MOVES_NS: Final = 15_000_000  # what a small relay takes


class MockPins:
    """A pin factory with relays on it.

    Attributes:
        factory: gpiozero's, for the outputs.
    """

    def __init__(self) -> None:
        self._levels: dict[int, Callable[[], bool]] = {}
        self._jammed: dict[int, bool] = {}
        self.factory = make_factory(self._levels, {}, {})

    def wire(self, options: Sequence[OutputOptions]) -> None:
        """Put a relay on each output that is read back."""
        for each in options:
            if each.read_back is not None:
                self._levels[each.read_back.pin] = self._contact(each, each.read_back)

    def jam(self, options: OutputOptions, jammed: bool) -> None:
        """Keep a relay where it is, or let it go."""
        if jammed:
            self._jammed[options.pin] = self._has_power(options)
        else:
            self._jammed.pop(options.pin, None)

    def level(self, pin: int) -> bool:
        """Return a pin's level."""
        return bool(self.factory.pin(pin).state)

    def changes(self, pin: int) -> list[tuple[int, bool]]:
        """Return a pin's latest changes: `time.monotonic_ns()` and level."""
        return list(self.factory.pin(pin).changes)

    def _contact(self, options: OutputOptions, read_back: ReadBack) -> Callable[[], bool]:
        def level() -> bool:
            closed = self._has_power(options) == (read_back.contact == "no")
            return closed != read_back.low_closed

        return level

    def _has_power(self, options: OutputOptions) -> bool:
        """Whether the armature is where power brings it: it follows the pin a little later."""
        if options.pin in self._jammed:
            return self._jammed[options.pin]
        pin: Any = self.factory.pin(options.pin)
        level = bool(pin.state)
        if pin.changes and time.monotonic_ns() - pin.changes[-1][0] < _MOVES_NS:
            level = not level
        return level == options.active_high
