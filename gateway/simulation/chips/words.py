"""What Sensirion's chips have in common: commands of 16 bits, words with a checksum each, and no answer while busy.

Source: the data sheets of SHT3x-DIS, SGP40 and SCD4x. Owns the framing, the checksums and when a chip does not
acknowledge. It does not own any chip's commands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.simulation.chips.base import refuse
from gateway.simulation.faults import Faults

__all__ = ["WordChip", "checksum", "scaled"]


class WordChip:
    """One chip; what it does at a command is its subclass's `obey`.

    Args:
        seconds: turns `now_ms` into the scenario's seconds.
        faults: of which "checksum" damages what the chip sends.
    """

    POWER_UP_MS = 1.0

    def __init__(self, seconds: Callable[[int], float], faults: Faults) -> None:
        self.seconds = seconds
        self._faults = faults
        self.reset(0)

    def reset(self, now_ms: int) -> None:
        self._busy_until: float = now_ms + self.POWER_UP_MS
        self._answer: bytes | None = None

    def write(self, data: bytes, now_ms: int) -> None:
        if now_ms < self._busy_until or len(data) == 1:
            refuse()
        if not data:
            return
        self._answer = None
        groups = [data[at : at + 3] for at in range(2, len(data), 3)]
        intact = all(len(each) == 3 and checksum(each[:2]) == each[2] for each in groups)
        words = [int.from_bytes(each[:2], "big") for each in groups] if intact else None
        self.obey(int.from_bytes(data[:2], "big"), words, now_ms)

    def read(self, length: int, now_ms: int) -> bytes:
        if now_ms < self._busy_until or self._answer is None:
            refuse()
        answer, self._answer = self._answer, None
        if self._faults.find("checksum", self.seconds(now_ms)):
            answer = bytes((answer[0] ^ 0x10, *answer[1:]))
        return (answer + b"\xff" * length)[:length]

    def obey(self, command: int, words: Sequence[int] | None, now_ms: int) -> None:
        """Carry out a command.

        Args:
            words: what came with it; None where a checksum was wrong.
        """
        raise NotImplementedError

    def take(self, ms: float, now_ms: int, *answer: int) -> None:
        """Be busy for so long, then have these words to be read."""
        self._busy_until = now_ms + ms
        if answer:
            pairs = (word.to_bytes(2, "big") for word in answer)
            self._answer = b"".join(pair + bytes((checksum(pair),)) for pair in pairs)


def checksum(pair: bytes) -> int:
    """Return the remainder of a word's 16 bits, over 0xFFFF's effect, by x**8 + x**5 + x**4 + 1."""
    value = (int.from_bytes(pair, "big") ^ 0xFF00) << 8
    for bit in range(23, 7, -1):
        if value >> bit & 1:
            value ^= 0x131 << bit - 8
    return value


def scaled(value: float, low: float, span: float) -> int:
    """Return a value as 16 bits of a range."""
    return max(0, min(0xFFFF, round((value - low) / span * 0xFFFF)))
