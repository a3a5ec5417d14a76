"""What a simulated chip is to the bus: bytes in, bytes out.

Owns the Protocol, and what several models need. It does not own any chip's registers.

Invariants:
* A chip sees only written bytes and the number of bytes to be read, as on the wire.
* `now_ms` is the clock's monotonic time; `t` given to a probe is the scenario's seconds.
"""

from __future__ import annotations

import errno
import os
import time
from dataclasses import dataclass
from typing import NoReturn, Protocol

__all__ = ["Chip", "Watch", "clamp", "refuse"]


class Chip(Protocol):
    """Something that answers at one address; what it does not acknowledge ends in `refuse`."""

    def reset(self, now_ms: int) -> None:
        """Take power-on values, as when the supply returned at `now_ms`."""
        ...

    def write(self, data: bytes, now_ms: int) -> None: ...

    def read(self, length: int, now_ms: int) -> bytes: ...


@dataclass(slots=True)
class Watch:
    """Notes when an input's register first showed a code above a limit.

    Attributes:
        above: the limit, in codes.
        monotonic_ns: `time.monotonic_ns()` of that moment; None while it has not happened.
    """

    above: int
    monotonic_ns: int | None = None

    def see(self, code: int) -> None:
        """Take note of a code that has just entered the register."""
        if self.monotonic_ns is None and code > self.above:
            self.monotonic_ns = time.monotonic_ns()


def clamp(code: int, bits: int) -> int:
    """Return a signed code as a register of so many bits holds it: at its ends it stays."""
    limit = 1 << (bits - 1)
    return max(-limit, min(limit - 1, code))


def refuse() -> NoReturn:
    """Do not acknowledge. Raises OSError, as the controller does then."""
    raise OSError(errno.EREMOTEIO, os.strerror(errno.EREMOTEIO))
