"""This gateway's own challenges: the present one, and the one before.

Invariant: an echo of either was made after that challenge was, so within two lifetimes; no clock but the
monotonic one is asked, and nothing outlives the process.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from typing import Final

__all__ = ["LIFE_MS", "Challenges", "random_challenge"]

LIFE_MS: Final = 60_000


def random_challenge() -> bytes:
    """Return 16 random bytes."""
    return secrets.token_bytes(16)


class Challenges:
    """What neighbours are to echo.

    Args:
        draw: gives 16 random bytes.

    Attributes:
        serial: of the present challenge; the one before has one less.
        present: the challenge.
    """

    def __init__(self, now_ms: int, draw: Callable[[], bytes] = random_challenge) -> None:
        self._draw = draw
        self.serial = 0
        self.present = self._before = draw()
        self._made_ms = now_ms

    def turn(self, now_ms: int) -> None:
        """Make a new one when the present one has lived its time."""
        if now_ms - self._made_ms >= LIFE_MS:
            self.renew(now_ms)

    def renew(self, now_ms: int) -> None:
        """Make a new one."""
        self._before, self.present = self.present, self._draw()
        self.serial += 1
        self._made_ms = now_ms

    def serial_of(self, echoes: Iterable[bytes]) -> int | None:
        """Return the serial of the latest of one's own among some echoes; None where there is none."""
        given = set(echoes)
        if self.present in given:
            return self.serial
        return self.serial - 1 if self.serial and self._before in given else None
