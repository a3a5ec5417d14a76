"""Microchip MCP3008: 10-bit ADC on SPI, by gpiozero.

Owns what a code means and when it cannot be one. The transfer is gpiozero's, over the kernel's SPI on a Pi.

The chip acknowledges nothing: where it is absent or has no supply, the data line rests at one of its ends and every
code is 0 or 1023.

Invariants:
* Full scale is no measurement: a second conversion with the input as the negative one of its pair, which is 0 on a
  chip that is there, tells saturation from an absent chip.
* Zero is a fault too, unless the options say that the input may rest there.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from gateway.errors import SensorError
from gateway.sensors.base import Claim, Hardware, Quantity, SensorInfo, divide_half_even
from gateway.sensors.plausible import Stuck

__all__ = ["BUS", "FULL_CODE", "Converter", "Mcp3008", "Options", "connect", "describe"]

BUS: Final = "spi-0"
FULL_CODE: Final = 1024  # the reference would be this code


@dataclass(frozen=True, slots=True)
class Options:
    """One input of an MCP3008.

    Attributes:
        channel: 0 to 7, against ground.
        device: which chip select, 0 (GPIO8) or 1 (GPIO7), of SPI port 0.
        reference_mv: the voltage at VREF.
        zero: whether a code of 0 is a fault, or a value of an input that may rest at ground.
        stuck_after: equal codes in a row that are a fault; 0 is off.
    """

    channel: int
    device: Literal[0, 1] = 0
    reference_mv: int = 3_300
    zero: Literal["fault", "value"] = "fault"
    stuck_after: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.channel <= 7:
            raise ValueError(f"an MCP3008 has channels 0 to 7, not {self.channel}")
        if self.reference_mv <= 0 or self.stuck_after < 0:
            raise ValueError("reference_mv must be above 0, stuck_after 0 (off) or more")


class Converter:
    """Conversions of one input, 0 to 1022."""

    def __init__(self, options: Options, hardware: Hardware) -> None:
        self._options = options
        self.name: Final = f"MCP3008 spi0.{options.device} channel {options.channel}"
        self._pins = hardware.pins()
        self._input = self._open(options.channel, differential=False)
        self._stuck = Stuck(options.stuck_after, self.name)

    def convert(self) -> int:
        """Return one code, where 1024 would be the reference.

        Raises:
            SensorError: nack (no chip), out-of-range (saturated), wiring (no voltage) or stuck.
        """
        code = self._read(self._input)
        if code == FULL_CODE - 1:
            self._refuse_full()
        if code == 0 and self._options.zero == "fault":
            raise SensorError(
                "wiring", f"{self.name} reads 0; check the chip, its supply and the input's wire"
            )
        self._stuck.check(code)
        return code

    def close(self) -> None:
        """Release the chip; may be called twice."""
        self._input.close()

    def _refuse_full(self) -> None:
        # In the pair's other direction, an input at full scale is subtracted from its partner.
        partner = self._open(self._options.channel ^ 1, differential=True)
        try:
            answers = self._read(partner) == 0
        finally:
            partner.close()
        if answers:
            raise SensorError("out-of-range", f"{self.name} is saturated; lower the voltage at its input")
        raise SensorError("nack", f"{self.name} does not answer; check its supply and wiring")

    def _read(self, device: Any) -> int:
        try:
            return int(device.raw_value)
        except OSError as error:
            raise SensorError("nack", f"{self.name} cannot be read: {error}; check SPI in /boot") from error

    def _open(self, channel: int, *, differential: bool) -> Any:
        from gpiozero import MCP3008
        from gpiozero.exc import GPIOZeroError, SPISoftwareFallback

        try:
            with warnings.catch_warnings():
                # Without the kernel's SPI gpiozero would toggle pins by itself, slowly and in everyone's way.
                warnings.simplefilter("error", SPISoftwareFallback)
                return MCP3008(
                    channel, differential, port=0, device=self._options.device, pin_factory=self._pins
                )
        except (GPIOZeroError, SPISoftwareFallback, OSError) as error:
            raise SensorError("wiring", f"{self.name} cannot be opened: {error}; enable SPI") from error


class Mcp3008:
    """A voltage: the code itself (`raw`) and the same in microvolts, half to even (`voltage`)."""

    def __init__(self, options: Options, hardware: Hardware) -> None:
        self.info: Final = describe(options)
        self._microvolts = options.reference_mv * 1000
        self._converter = Converter(options, hardware)

    def sample(self) -> Mapping[str, int]:
        code = self._converter.convert()
        return {"raw": code, "voltage": divide_half_even(code * self._microvolts, FULL_CODE)}

    def close(self) -> None:
        self._converter.close()


def describe(options: Options) -> SensorInfo:
    """Say what the sensor will give, without touching it."""
    return SensorInfo(
        driver="mcp3008",
        model=f"MCP3008 channel {options.channel}, {options.reference_mv} mV",
        quantities=(Quantity("raw", "count", 0), Quantity("voltage", "V", -6)),
        min_interval_ms=1,
        warm_up_ms=0,
        bus=BUS,
        claim=claim(options),
    )


def claim(options: Options) -> Claim:
    """Return what a sample takes: three bytes at 1 MHz, and as many again where it is at full scale."""
    return Claim("MCP3008", options.device, (f"channel {options.channel}",), busy_us=2 * 24)


def connect(options: Options, hardware: Hardware) -> Mcp3008:
    """Open the chip's SPI.

    Raises:
        SensorError: wiring, when there is no SPI here.
    """
    return Mcp3008(options, hardware)
