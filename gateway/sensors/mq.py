"""MQ gas sensor (heated SnO2 element) on an input of an ADS1115 or an MCP3008: raw counts.

Owns the element's limits and its warm-up. It does not own concentrations: raw counts are a series of
their own, and the signed calibration record (`gateway.calibration`) turns them into ppm; nor the heating cycle that
makes a CO meter of an MQ-7 (`heater`).

These elements are cross-sensitive and drift: what they give is indicative. They need a burn-in of a day
or two once, and minutes after each power-on.

Invariant: an input without any voltage is a fault (heater off, wire off), never "no gas".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Final, Literal

from gateway.sensors import ads1115, mcp3008
from gateway.sensors.base import Claim, Hardware, Quantity, SensorInfo
from gateway.sensors.heater import CYCLE_MS, TURN_MS, HeaterCycle

__all__ = ["Mq", "MqModel", "Options", "connect", "describe"]

MqModel = Literal["mq2", "mq4", "mq5", "mq7", "mq135"]
MqInput = Literal["a0", "a1", "a2", "a3", "ch0", "ch1", "ch2", "ch3", "ch4", "ch5", "ch6", "ch7"]

# Minutes, not the burn-in: what the makers and common practice give for each power-on. The MQ-7 needs
# three of its 150 s heating cycles.
_WARM_UP_MS: Final[dict[MqModel, int]] = {
    "mq2": 180_000, "mq4": 180_000, "mq5": 180_000, "mq7": 450_000, "mq135": 300_000,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Options:
    """An MQ element between its supply and the load resistor, whose voltage the ADC reads.

    Attributes:
        model: which element.
        input: of an ADS1115 (a0 to a3), or the channel of an MCP3008 (ch0 to ch7).
        bus, address, range_mv, rate: an ADS1115's, see `ads1115.Options`.
        device, reference_mv: an MCP3008's, see `mcp3008.Options`.
        stuck_after: equal codes in a row that are a fault; a heated element is never that quiet. 0 is off.
        load_ohm: the load resistor on the module.
        supply_mv: the element's supply.
        divider: the load's voltage over the voltage at the ADC's pin, for boards with a divider.
        heater_pin: the output that switches an MQ-7's heater between 5 V and 1.4 V; without one its module ties
            the heater to 5 V, and it answers to hydrogen more than to CO.
        heater_high: the heater's voltage at the pin's high level.
    """

    model: MqModel
    input: MqInput
    bus: str = "i2c-1"
    address: int = 0x48
    range_mv: ads1115.RangeMv = 4096
    rate: ads1115.Rate = 128
    device: Literal[0, 1] = 0
    reference_mv: int = 3_300
    stuck_after: int = 100
    load_ohm: int = 10_000
    supply_mv: int = 5_000
    divider: Decimal = Decimal(1)
    heater_pin: int | None = None
    heater_high: Literal["5V", "1.4V"] = "5V"

    def __post_init__(self) -> None:
        self.adc()
        if min(self.load_ohm, self.supply_mv) <= 0 or self.divider < 1:
            raise ValueError("load_ohm and supply_mv must be above 0, divider at least 1")
        if self.heater_pin is not None and (self.model != "mq7" or not 0 <= self.heater_pin <= 27):
            raise ValueError("heater_pin is for an mq7, on a header's pin 0 to 27")

    def adc(self) -> ads1115.Options | mcp3008.Options:
        """Return the ADC's part."""
        match self.input:
            case "a0" | "a1" | "a2" | "a3":
                return ads1115.Options(
                    self.input, self.bus, self.address, self.range_mv, self.rate, self.stuck_after
                )
        # Ten bits hide the noise of an element in still air, so equal codes prove nothing.
        return mcp3008.Options(int(self.input[2:]), self.device, self.reference_mv)

    @property
    def full_code(self) -> Fraction:
        """The ADC's code if the whole supply lay over the load resistor."""
        adc = self.adc()
        if isinstance(adc, mcp3008.Options):
            full, span_mv = mcp3008.FULL_CODE, adc.reference_mv
        else:
            full, span_mv = ads1115.FULL_CODE, adc.range_mv
        return Fraction(self.supply_mv * full, span_mv) / Fraction(self.divider)


class Mq:
    """The ADC's code over the load resistor (`raw`); once per heating cycle where there is one."""

    def __init__(self, options: Options, hardware: Hardware) -> None:
        self.info: Final = describe(options)
        self._clock = hardware.clock
        adc = options.adc()
        self._converter: ads1115.Converter | mcp3008.Converter = (
            mcp3008.Converter(adc, hardware)
            if isinstance(adc, mcp3008.Options)
            else ads1115.Converter(
                adc, hardware, f"{self.info.model} gives no voltage; check its heater and output wire"
            )
        )
        self._heater = (
            HeaterCycle(options.heater_pin, options.heater_high == "5V", hardware)
            if options.heater_pin is not None
            else None
        )

    def sample(self) -> Mapping[str, int]:
        if self._heater is None:
            return {"raw": self._converter.convert()}
        now_ms = self._clock.monotonic_ms()
        self._heater.turn(now_ms)  # whatever the ADC says
        code = self._converter.convert()
        return {"raw": code} if self._heater.takes(code, now_ms) else {}

    def close(self) -> None:
        if self._heater is not None:
            self._heater.close()
        if isinstance(self._converter, mcp3008.Converter):
            self._converter.close()


def describe(options: Options) -> SensorInfo:
    """Say what the sensor will give, without touching it."""
    on_spi = isinstance(options.adc(), mcp3008.Options)
    return SensorInfo(
        driver="mq",
        model=options.model.upper().replace("MQ", "MQ-"),
        quantities=(Quantity("raw", "count", 0),),
        min_interval_ms=1 if on_spi else -(-1000 // options.rate),
        warm_up_ms=_WARM_UP_MS[options.model],
        bus=mcp3008.BUS if on_spi else options.bus,
        cycle_ms=0 if options.heater_pin is None else CYCLE_MS,
        max_interval_ms=0 if options.heater_pin is None else TURN_MS,
        claim=_claim(options),
    )


def _claim(options: Options) -> Claim:
    match options.adc():
        case mcp3008.Options() as adc:
            claim = mcp3008.claim(adc)
        case adc:
            claim = ads1115.claim(adc.address, adc.rate, adc.input)
    return claim if options.heater_pin is None else replace(claim, pins=(options.heater_pin,))


def connect(options: Options, hardware: Hardware) -> Mq:
    """Open the sensor; the chip itself is first touched by `sample`."""
    return Mq(options, hardware)
