"""MQ gas sensor (heated SnO2 element) on an input of an ADS1115: raw counts.

Owns the element's limits and its warm-up. It does not own concentrations: raw counts are a series of
their own, and the signed calibration record (`gateway.calibration`) turns them into ppm.

These elements are cross-sensitive and drift: what they give is indicative. They need a burn-in of a day
or two once, and minutes after each power-on.

Invariant: an input without any voltage is a fault (heater off, wire off), never "no gas".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal

from gateway.errors import SensorError
from gateway.sensors import ads1115
from gateway.sensors.base import Hardware, Quantity, SensorInfo

__all__ = ["Mq", "MqModel", "Options", "connect", "describe"]

MqModel = Literal["mq2", "mq4", "mq5", "mq7", "mq135"]

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
        input, bus, address, range_mv, rate: the ADC's, see `ads1115.Options`.
        stuck_after: equal codes in a row that are a fault; a heated element is never that quiet. 0 is off.
        load_ohm: the load resistor on the module.
        supply_mv: the element's supply.
        divider: the load's voltage over the voltage at the ADC's pin, for boards with a divider.
    """

    model: MqModel
    input: Literal["a0", "a1", "a2", "a3"]
    bus: str = "i2c-1"
    address: int = 0x48
    range_mv: ads1115.RangeMv = 4096
    rate: ads1115.Rate = 128
    stuck_after: int = 100
    load_ohm: int = 10_000
    supply_mv: int = 5_000
    divider: Decimal = Decimal(1)

    def __post_init__(self) -> None:
        self.adc()
        if min(self.load_ohm, self.supply_mv) <= 0 or self.divider < 1:
            raise ValueError("load_ohm and supply_mv must be above 0, divider at least 1")

    def adc(self) -> ads1115.Options:
        """Return the ADC's part."""
        return ads1115.Options(self.input, self.bus, self.address, self.range_mv, self.rate, self.stuck_after)


class Mq:
    """The ADC's code over the load resistor (`raw`)."""

    def __init__(self, options: Options, hardware: Hardware) -> None:
        self.info: Final = describe(options)
        self._converter = ads1115.Converter(options.adc(), hardware)

    def sample(self) -> Mapping[str, int]:
        code = self._converter.convert()
        if code <= 0:
            raise SensorError(
                "wiring", f"{self.info.model} gives no voltage; check its heater and output wire"
            )
        return {"raw": code}

    def close(self) -> None:
        """The bus belongs to the hardware; nothing is held here."""


def describe(options: Options) -> SensorInfo:
    """Say what the sensor will give, without touching it."""
    return SensorInfo(
        driver="mq",
        model=options.model.upper().replace("MQ", "MQ-"),
        quantities=(Quantity("raw", "count", 0),),
        min_interval_ms=-(-1000 // options.rate),
        warm_up_ms=_WARM_UP_MS[options.model],
        bus=options.bus,
    )


def connect(options: Options, hardware: Hardware) -> Mq:
    """Open the sensor; the chip itself is first touched by `sample`."""
    return Mq(options, hardware)
