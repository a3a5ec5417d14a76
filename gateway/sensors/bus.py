"""An I2C bus that is looked after: broken transfers are repeated, a held bus is freed, a lost one is opened anew.

Owns what happens between a driver's call and the device: repeats, their count, and when the bus is rescued or
reopened. It does not own what freeing a bus takes (`gateway.sensors.rescue`) nor what an error means for a sensor
(`gateway.sensors.i2c`).

Invariants:
* A failing chip is never hidden: a transfer is repeated a few times at once, and what needed it is counted.
* A timeout costs the bus 35 ms on a Pi, so it is never just repeated: the bus is freed first. That is tried at most
  once a second, and less and less often while it does not help.
* A device that is gone is looked for again at every call, one that only fails now and then.
* Used by the bus's one thread.
"""

from __future__ import annotations

import contextlib
import errno
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeVar

from gateway.clock import Clock
from gateway.sensors.base import I2cBus, Tally

__all__ = ["BusOptions", "Rescue", "TendedBus"]

_log = logging.getLogger(__name__)

_T = TypeVar("_T")

# A missing acknowledge, a transfer that broke off, another master's turn: the next try may be well.
_PASSING: Final = frozenset({errno.EREMOTEIO, errno.EIO, errno.ENXIO, errno.EAGAIN})
_GONE: Final = frozenset({errno.ENODEV, errno.EBADF, errno.ESHUTDOWN})
_REOPEN_AFTER: Final = 5  # failures in a row, of whatever chips
_REOPEN_MS: Final = 10_000
_RESCUE_MS: Final = 1_000
_RESCUE_MOST_MS: Final = 30_000
_SAY_MS: Final = 60_000
# The first bus is wired to the same pins of every Pi's header.
_FIRST_BUS: Final = "i2c-1"
_FIRST_SCL, _FIRST_SDA = 3, 2


@dataclass(frozen=True, slots=True)
class BusOptions:
    """`[[buses]]`: an I2C bus and how it may be freed when a chip holds it.

    Attributes:
        name: as in /dev.
        retries: how often a transfer that broke off is repeated at once.
        scl_pin, sda_pin: BCM numbers of its lines, so that nine clock pulses can free it; i2c-1 needs none named.
        power_pin: BCM number of the output that switches the supply of all its sensors; a resistor has to keep it on
            while nobody drives the pin.
        power_on: that output's level while they are supplied.
        off_ms: how long they go without, when the supply is switched to free the bus.
    """

    name: str
    retries: int = 2
    scl_pin: int | None = None
    sda_pin: int | None = None
    power_pin: int | None = None
    power_on: Literal["high", "low"] = "high"
    off_ms: int = 500

    def __post_init__(self) -> None:
        if not 0 <= self.retries <= 5:
            raise ValueError(f"retries must be 0 to 5, not {self.retries}: a chip that fails is to be seen")
        if (self.scl_pin is None) != (self.sda_pin is None):
            raise ValueError("scl_pin and sda_pin go together")
        pins = [pin for pin in (self.scl_pin, self.sda_pin, self.power_pin) if pin is not None]
        if any(not 0 <= pin <= 27 for pin in pins) or len(set(pins)) != len(pins):
            raise ValueError("pins are different BCM numbers, 0 to 27")
        if not 10 <= self.off_ms <= 10_000:
            raise ValueError("off_ms must be 10 to 10000")

    @property
    def lines(self) -> tuple[int, int] | None:
        """The BCM numbers of SCL and SDA, where they are known."""
        if self.scl_pin is not None and self.sda_pin is not None:
            return self.scl_pin, self.sda_pin
        return (_FIRST_SCL, _FIRST_SDA) if self.name == _FIRST_BUS else None


class Rescue(Protocol):
    """What can be done for a held bus. Each step returns whether it could be taken, and raises nothing."""

    def pulse(self) -> bool:
        """Give nine clock pulses, so that a chip which waits for them lets the data line go."""
        ...

    def power_cycle(self) -> bool:
        """Switch the sensors' supply off and on."""
        ...


class TendedBus:
    """A bus with the calls of `smbus2.SMBus`.

    Args:
        open_: opens the device; raises OSError.

    Attributes:
        tally: what it needed so far.
    """

    def __init__(
        self, options: BusOptions, open_: Callable[[], I2cBus], clock: Clock, rescue: Rescue
    ) -> None:
        self._options, self._open, self._clock = options, open_, clock
        self._rescue = rescue
        self._bus: I2cBus | None = open_()
        self._failures = 0
        self._reopen_at = self._rescue_at = clock.monotonic_ms()
        self._patience_ms = _RESCUE_MS
        self._said: dict[str, int] = {}
        self._steps: list[Callable[[], bool]] = []
        self.tally: Final = Tally()

    def read_byte_data(self, i2c_addr: int, register: int) -> int:
        return self._do(lambda bus: bus.read_byte_data(i2c_addr, register))

    def write_byte_data(self, i2c_addr: int, register: int, value: int) -> None:
        self._do(lambda bus: bus.write_byte_data(i2c_addr, register, value))

    def read_word_data(self, i2c_addr: int, register: int) -> int:
        return self._do(lambda bus: bus.read_word_data(i2c_addr, register))

    def write_word_data(self, i2c_addr: int, register: int, value: int) -> None:
        self._do(lambda bus: bus.write_word_data(i2c_addr, register, value))

    def read_i2c_block_data(self, i2c_addr: int, register: int, length: int) -> list[int]:
        return self._do(lambda bus: bus.read_i2c_block_data(i2c_addr, register, length))

    def write_i2c_block_data(self, i2c_addr: int, register: int, data: Sequence[int]) -> None:
        self._do(lambda bus: bus.write_i2c_block_data(i2c_addr, register, data))

    def i2c_rdwr(self, *i2c_msgs: Any) -> None:
        self._do(lambda bus: bus.i2c_rdwr(*i2c_msgs))

    def close(self) -> None:
        """Close the device; may be called twice."""
        bus, self._bus = self._bus, None
        if bus is not None:
            with contextlib.suppress(OSError):  # of a device that is gone
                bus.close()

    def _do(self, transfer: Callable[[I2cBus], _T]) -> _T:
        repeats = 0
        while True:
            try:
                result = transfer(self._device())
            except OSError as error:
                self._failures += 1
                if not self._mends(error, repeats):
                    raise
                repeats += 1
            else:
                self._failures, self._steps, self._patience_ms = 0, [], _RESCUE_MS
                self.tally.retries += bool(repeats)
                return result

    def _device(self) -> I2cBus:
        if self._bus is None:
            self._bus = self._open()
            self.tally.reopenings += 1
            self._say("was opened anew", self._clock.monotonic_ms())
        return self._bus

    def _mends(self, error: OSError, repeats: int) -> bool:
        """Do what may help; say whether the transfer is to be tried again."""
        if self._bus is None:  # it could not be opened
            return False
        if error.errno == errno.ETIMEDOUT:
            return self._frees()
        if error.errno in _GONE or self._failures >= _REOPEN_AFTER:
            return self._reopens()
        return error.errno in _PASSING and repeats < self._options.retries

    def _reopens(self) -> bool:
        now = self._clock.monotonic_ms()
        if now < self._reopen_at:
            return False
        self._reopen_at = now + _REOPEN_MS
        self.close()
        return True

    def _frees(self) -> bool:
        """Take the next step to free a held bus; False where none is left, or it is too early to try again."""
        now = self._clock.monotonic_ms()
        if not self._steps and now >= self._rescue_at:
            self._say("is held; trying to free it", now)
            self._steps = [lambda: True, self._power_cycles, self._rescue.pulse]  # the last one first
            self._rescue_at = now + self._patience_ms
            self._patience_ms = min(2 * self._patience_ms, _RESCUE_MOST_MS)
        self.close()
        while self._steps:
            if self._steps.pop()():
                self.tally.rescues += 1
                return True
        return False

    def _say(self, what: str, now: int) -> None:
        """Log what is done, each at most once a minute."""
        if now >= self._said.get(what, now):
            self._said[what] = now + _SAY_MS
            _log.warning("bus %s %s", self._options.name, what)

    def _power_cycles(self) -> bool:
        done = self._rescue.power_cycle()
        self.tally.power_cycles += done
        return done
