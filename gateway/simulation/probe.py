"""One simulated input: a physical value on its way into a chip, with noise and faults.

Owns noise, freezing, drift and the open wire. It does not own the room's physics or the chip.

Invariant: noise depends on the seed and the number of earlier reads of this input, on nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from gateway.simulation.faults import Faults

__all__ = ["Probe"]


class Probe:
    """An input that follows `measure`, a function of scenario seconds.

    Args:
        measure: the clean value at time t, in volts (ADC) or V/V (bridge).
        noise: standard deviation.
        open_value: what the chip sees when the wire is cut.
        seed: of the noise.

    Attributes:
        held: a value that replaces the measured one, set by `Simulation.hold`.
    """

    def __init__(
        self, measure: Callable[[float], float], *, noise: float, open_value: float, faults: Faults, seed: str
    ) -> None:
        self._measure = measure
        self._noise = noise
        self._open_value = open_value
        self._faults = faults
        self._random = Random(seed)
        self._last: float | None = None
        self.held: float | None = None

    def read(self, t: float) -> float:
        """Return the value at scenario time `t`."""
        if self._faults.find("cut", t):
            return self._open_value
        if self._last is not None and self._faults.find("stuck", t):
            return self._last
        value = self._measure(t) if self.held is None else self.held
        if drift := self._faults.find("drift", t):
            value += drift.amount * (t - drift.at_s)
        extra = self._faults.find("noise", t)
        deviation = self._noise + (extra.amount if extra else 0.0)
        self._last = value + self._random.gauss(0.0, deviation) if deviation else value
        return self._last
