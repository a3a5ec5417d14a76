"""One chip on an I2C bus: register access, with the kernel's error numbers turned into fault kinds.

Owns the translation of `OSError`. It does not own registers' meanings or retries.

Invariant: every transfer carries the address; nothing is cached between transfers.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Final, TypeVar

from gateway.errors import SensorError, SensorErrorKind
from gateway.sensors.base import I2cBus

__all__ = ["I2cDevice", "wire_us"]

T = TypeVar("T")

# What i2c-dev reports differs by controller: a missing acknowledge is EREMOTEIO on the BCM2835 and
# DesignWare, ENXIO on others and ENODEV from i2c-stub; EIO is a transfer that broke off.
_KINDS: Final[dict[int, SensorErrorKind]] = {
    errno.EREMOTEIO: "nack",
    errno.EIO: "nack",
    errno.ENXIO: "nack",
    errno.ENODEV: "nack",
    errno.ETIMEDOUT: "timeout",
    errno.EAGAIN: "timeout",
    errno.EBADMSG: "checksum",
}
_HINTS: Final[dict[SensorErrorKind, str]] = {
    "nack": "does not answer; check its wiring and address",
    "timeout": "holds the bus; power-cycle the sensor",
    "checksum": "sent damaged data; shorten the cable or slow the bus down",
    "wiring": "cannot be reached",
}


class I2cDevice:
    """Register access to the chip at one address of one bus."""

    def __init__(self, bus: I2cBus, address: int, name: str) -> None:
        self._bus = bus
        self._address = address
        self.name: Final = name

    def read_byte(self, register: int) -> int:
        """Read one register.

        Raises:
            SensorError: nack, timeout, checksum or wiring, as the kernel reports it.
        """
        return self._do(lambda: self._bus.read_byte_data(self._address, register))

    def write_byte(self, register: int, value: int) -> None:
        """Write one register; raises like `read_byte`."""
        self._do(lambda: self._bus.write_byte_data(self._address, register, value))

    def read_word(self, register: int) -> int:
        """Read a register of 16 bits, most significant byte first; raises like `read_byte`."""
        return _swapped(self._do(lambda: self._bus.read_word_data(self._address, register)))

    def write_word(self, register: int, value: int) -> None:
        """Write a register of 16 bits, most significant byte first; raises like `read_byte`."""
        self._do(lambda: self._bus.write_word_data(self._address, register, _swapped(value)))

    def read_block(self, register: int, length: int) -> bytes:
        """Read `length` bytes, at most 32, in the chip's own order; raises like `read_byte`."""
        data = self._do(lambda: self._bus.read_i2c_block_data(self._address, register, length))
        if len(data) != length:
            raise SensorError("no-data", f"{self.name} sent {len(data)} of {length} bytes")
        return bytes(data)

    def send(self, data: bytes) -> None:
        """Write bytes to a chip that knows no registers; raises like `read_byte`."""
        from smbus2 import i2c_msg

        self._do(lambda: self._bus.i2c_rdwr(i2c_msg.write(self._address, list(data))))

    def receive(self, length: int) -> bytes:
        """Read bytes of a chip that knows no registers; raises like `read_byte`."""
        from smbus2 import i2c_msg

        message = i2c_msg.read(self._address, length)
        self._do(lambda: self._bus.i2c_rdwr(message))
        return bytes(message)

    def _do(self, transfer: Callable[[], T]) -> T:
        try:
            return transfer()
        except OSError as error:
            kind = _KINDS.get(error.errno or 0, "wiring")
            raise SensorError(kind, f"{self.name} {_HINTS[kind]} ({error.strerror or error})") from error


def wire_us(count: int) -> int:
    """Return how long so many bytes, addresses included, take at 100 kHz: nine bits each."""
    return count * 90


def _swapped(word: int) -> int:
    """Turn an SMBus word, whose first byte on the wire is its least, into the chip's, or back."""
    return (word & 0xFF) << 8 | word >> 8
