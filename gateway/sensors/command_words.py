"""Sensirion's chips, which know no registers: commands of 16 bits, and words with a checksum each.

Owns the framing. It does not own what commands mean, nor how long they take.

Source: the data sheets of SHT3x-DIS, SGP40 and SCD4x: CRC-8 with polynomial 0x31, beginning with 0xFF, over the two
bytes of each word.

Invariant: a word whose checksum does not fit is a fault, never a value.
"""

from __future__ import annotations

from typing import Final

from gateway.clock import Clock
from gateway.errors import SensorError
from gateway.sensors.base import Hardware
from gateway.sensors.i2c import I2cDevice

__all__ = ["CommandChip", "crc8"]

_POLYNOMIAL: Final = 0x31


class CommandChip:
    """A chip at one address of one bus, spoken to in commands."""

    def __init__(self, hardware: Hardware, bus: str, address: int, model: str) -> None:
        self._device = I2cDevice(hardware.i2c(bus), address, f"{model} {bus}/{address:#04x}")
        self._clock: Clock = hardware.clock
        self.name: Final = self._device.name

    def command(self, code: int, *words: int, wait_ms: float = 0) -> None:
        """Send a command with its words, and wait until it is carried out. Raises SensorError, as `I2cDevice`."""
        data = code.to_bytes(2, "big")
        for word in words:
            pair = word.to_bytes(2, "big")
            data += pair + bytes((crc8(pair),))
        self._device.send(data)
        if wait_ms:
            self._clock.sleep(wait_ms / 1000)

    def words(self, count: int) -> tuple[int, ...]:
        """Read words.

        Raises:
            SensorError: checksum, and as `I2cDevice`.
        """
        data = self._device.receive(3 * count)
        triples = [data[at : at + 3] for at in range(0, len(data), 3)]
        if any(crc8(each[:2]) != each[2] for each in triples):
            raise SensorError(
                "checksum", f"{self.name} sent damaged data; shorten the cable or slow the bus down"
            )
        return tuple(int.from_bytes(each[:2], "big") for each in triples)

    def ask(self, code: int, count: int, *words: int, wait_ms: float = 1) -> tuple[int, ...]:
        """Send a command, wait, and read its answer; raises as both."""
        self.command(code, *words, wait_ms=wait_ms)
        return self.words(count)


def crc8(data: bytes) -> int:
    """Return the checksum of a word's two bytes."""
    crc = 0xFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ _POLYNOMIAL if crc & 0x80 else crc << 1) & 0xFF
    return crc
