"""Simulated SPI: an MCP3008 behind gpiozero's own interface, in place of the kernel's.

Owns the chip's answer to a transfer and the wire's faults. It does not own what the inputs carry (`probe`); the framing
is gpiozero's, whose MCP3008 runs on top as it does on a Pi.

Source: Microchip DS21295D, 5 and 6.1: a start bit, single-ended or differential, three bits of channel; then one
undefined bit, a null bit and ten bits, most significant first.

Invariant: nothing acknowledges on SPI. Without a chip or its supply the data line rests low, by the Pi's pull-down; a
chip that does not let go of it ("nack", "timeout") holds it high.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from gateway.simulation.faults import Faults

__all__ = ["SELECTS", "Mcp3008Chip", "SpiChip", "make_interface"]

SELECTS: Final = {0: 8, 1: 7}
"""The BCM number of each device's chip select."""

_LEVELS: Final = 1024


class SpiChip(Protocol):
    """Something behind a chip select."""

    def transfer(self, data: Sequence[int]) -> list[int]:
        """Return what comes back while these bytes go out, as many."""
        ...


class Mcp3008Chip:
    """One MCP3008, and the faults of all sensors on it.

    Args:
        now_s: the scenario's present second.
        reference_v: at VREF.

    Attributes:
        inputs: what is connected to each channel, in volts; an absent one floats at 0 V.
        faults: of the sensors on it.
        model_seconds: CPU time spent here so far.
    """

    def __init__(self, now_s: Callable[[], float], reference_v: float) -> None:
        self._now_s = now_s
        self._reference_v = reference_v
        self.inputs: dict[int, Callable[[float], float]] = {}
        self.faults: list[Faults] = []
        self.model_seconds = 0.0

    def transfer(self, words: Sequence[int]) -> list[int]:
        """Answer as many bytes as are sent."""
        begun = time.thread_time()
        try:
            return self._answer(bytes(words), self._now_s())
        finally:
            self.model_seconds += time.thread_time() - begun

    def _answer(self, sent: bytes, t: float) -> list[int]:
        bits = "".join(f"{byte:08b}" for byte in sent)
        start = bits.find("1")
        if any(f.find(kind, t) for f in self.faults for kind in ("nack", "timeout")):
            return [0xFF] * len(sent)
        if any(f.find("brown-out", t) for f in self.faults) or start < 0 or start + 5 > len(bits):
            return [0x00] * len(sent)
        code = self._code(bits[start + 1] == "1", int(bits[start + 2 : start + 5], 2), t)
        # Undefined up to the null bit; high here, so that a reader who took it for data would be wrong.
        answer = "1" * (start + 6) + "0" + f"{code:010b}"
        answer = answer[: len(bits)].ljust(len(bits), "0")
        return [int(answer[i : i + 8], 2) for i in range(0, len(answer), 8)]

    def _code(self, single: bool, channel: int, t: float) -> int:
        volts = self._volts(channel, t)
        if not single:
            volts -= self._volts(channel ^ 1, t)
        return max(0, min(_LEVELS - 1, int(volts / self._reference_v * _LEVELS)))

    def _volts(self, channel: int, t: float) -> float:
        probe = self.inputs.get(channel)
        return probe(t) if probe else 0.0


def make_interface(chips: Mapping[int, SpiChip]) -> Any:
    """Return the class that the pin factory makes SPI interfaces of.

    Args:
        chips: by the BCM number of their chip select; may be filled later.
    """
    # Here, not above: importing the simulation must not load GPIO code.
    from gpiozero.pins import SPI

    class BusInterface(SPI):  # type: ignore[misc]
        """gpiozero's view of one chip select."""

        def __init__(self, *, select_pin: str, pin_factory: Any, **_: Any) -> None:
            super().__init__(pin_factory=pin_factory)
            self._chip = chips.get(int(select_pin.removeprefix("GPIO")))
            self._is_closed = False

        @property
        def closed(self) -> bool:
            return self._is_closed

        def close(self) -> None:
            self._is_closed = True
            super().close()

        def transfer(self, data: Sequence[int]) -> list[int]:
            return self._chip.transfer(data) if self._chip else [0x00] * len(data)

        def _get_clock_mode(self) -> int:
            return 0

        def _get_bits_per_word(self) -> int:
            return 8

    return BusInterface
