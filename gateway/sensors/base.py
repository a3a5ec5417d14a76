"""What every sensor driver is, and the hardware it is given.

Owns the Protocols `Sensor`, `I2cBus` and `Hardware` and the values that cross them. It does not own time
stamps (the daemon's clock), calibration (`gateway.calibration.application`) or any chip.

Invariants:
* A sample is scaled integers: a value v of a `Quantity` means v * 10**scale of its unit. No float.
* A sensor that has nothing true to say raises `SensorError`; it never returns an old, made-up or zero value.
* Everything that shares a bus is used by one thread: `SensorInfo.bus` names the bus.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

from gateway.clock import Clock

__all__ = [
    "LAN",
    "Claim",
    "Hardware",
    "I2cBus",
    "Pulses",
    "Quantity",
    "SelfTesting",
    "Sensor",
    "SensorInfo",
    "Tally",
    "divide_half_even",
]


LAN: Final = "lan"  # the bus of what tells by itself over the network; nothing on it is sampled


@dataclass(frozen=True, slots=True)
class Quantity:
    """What one number of a sample is: a value v means v * 10**scale of `unit`.

    `low` and `high` are what the element can measure at all, by its data sheet; None where no limit is known.
    """

    name: str
    unit: str
    scale: int
    low: int | None = None
    high: int | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """What a sensor takes of the machine, so that clashes are found before anything is opened.

    Attributes:
        chip: what answers at the address; two kinds of chip cannot share one.
        address: of 7 bits on an I2C bus, the chip select on SPI; None elsewhere.
        channels: of the chip; without any the sensor has the whole chip for itself.
        pins: BCM numbers, beyond those of its bus.
        busy_us: how long a sample holds its bus: the chip's conversions at their nominal length, plus each byte's
            nine bits at 100 kHz.
    """

    chip: str = ""
    address: int | None = None
    channels: tuple[str, ...] = ()
    pins: tuple[int, ...] = ()
    busy_us: int = 0


@dataclass(frozen=True, slots=True)
class SensorInfo:
    """What a sensor is, known without touching it.

    Attributes:
        driver: the name it is opened by.
        model: the chip or element, for people.
        quantities: what `sample` returns, in order.
        min_interval_ms: the shortest time between samples that the chip allows.
        warm_up_ms: how long after power-on its values mean nothing yet.
        bus: everything with the same bus belongs to one thread.
        cycle_ms: the time from one value to the next where a sensor gives one only now and then; 0 where
            every sample is one.
        longest_s: a value that does not change is kept once in so many seconds, where the configuration says nothing
            of its series; 0 keeps every value.
        max_interval_ms: the longest time between samples that the sensor bears; 0 is any.
        claim: what it takes of bus and pins.
        self_test_ms: how long its own test takes (`SelfTesting`); 0 is a sensor without one.
    """

    driver: str
    model: str
    quantities: tuple[Quantity, ...]
    min_interval_ms: int
    warm_up_ms: int
    bus: str
    cycle_ms: int = 0
    max_interval_ms: int = 0
    claim: Claim = Claim()
    longest_s: int = 0
    self_test_ms: int = 0


class Sensor(Protocol):
    """An opened sensor; used by one thread."""

    @property
    def info(self) -> SensorInfo: ...

    def sample(self) -> Mapping[str, int]:
        """Measure once, blocking, and return every quantity by name, or nothing where no value is due.

        Nothing is what a sensor with a `cycle_ms` says between two values: neither a fault nor a sample. Whoever
        asks leaves things as they are; that values come at all is watched by the cycle's time.

        Raises:
            SensorError: there is no usable sample; the next call tries anew, re-initialising the chip
                when it lost its settings.
        """
        ...

    def close(self) -> None:
        """Release what the sensor holds; may be called twice."""
        ...


@runtime_checkable
class SelfTesting(Protocol):
    """A sensor that can test itself."""

    def self_test(self) -> None:
        """Test the chip, blocking for the `SensorInfo.self_test_ms`. Raises SensorError where it fails."""
        ...


class I2cBus(Protocol):
    """The calls of `smbus2.SMBus` that drivers use; each raises `OSError` as smbus2 does."""

    def read_byte_data(self, i2c_addr: int, register: int) -> int: ...

    def write_byte_data(self, i2c_addr: int, register: int, value: int) -> None: ...

    def read_word_data(self, i2c_addr: int, register: int) -> int: ...

    def write_word_data(self, i2c_addr: int, register: int, value: int) -> None: ...

    def read_i2c_block_data(self, i2c_addr: int, register: int, length: int) -> list[int]: ...

    def write_i2c_block_data(self, i2c_addr: int, register: int, data: Sequence[int]) -> None: ...

    def i2c_rdwr(self, *i2c_msgs: Any) -> None: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class Tally:
    """What an I2C bus needed so far.

    Attributes:
        retries: transfers that were well only when they were repeated.
        rescues: steps taken to free it while it was held.
        reopenings: how often its device was opened anew.
        power_cycles: how often its sensors lost their supply to free it.
    """

    retries: int = 0
    rescues: int = 0
    reopenings: int = 0
    power_cycles: int = 0


@dataclass(frozen=True, slots=True)
class Pulses:
    """The edges a DHT would have sent: microseconds between transitions, and how long reading takes."""

    intervals_us: tuple[int, ...]
    duration_ms: int


class Hardware(Protocol):
    """Everything outside that drivers touch: real on a Pi, simulated elsewhere.

    Attributes:
        clock: the clock that conversions and waits run by.
        powered_since_ms: the `clock.monotonic_ms` at which the sensors' supply came up; warm-up counts
            from here, so that a restart of the process does not repeat it.
        is_simulated: nothing real hangs on it.
    """

    @property
    def is_simulated(self) -> bool: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def powered_since_ms(self) -> int: ...

    def i2c(self, name: str) -> I2cBus:
        """Return the bus of that name, opened once.

        Raises:
            SensorError: there is no such bus.
        """
        ...

    def tally(self, bus: str) -> Tally:
        """Return what a bus needed so far, and nothing for one that is no I2C bus; read by the bus's thread."""
        ...

    def pins(self) -> Any:
        """Return the gpiozero pin factory for inputs, to be passed on explicitly as `pin_factory`; outputs are the
        guardian's (`gateway.outputs`).

        Raises:
            SensorError: this machine has no usable pins.
        """
        ...

    def dht_pulses(self, pin: int) -> Callable[[], Pulses] | None:
        """Return what stands in for the DHT's data line, or None if it is a real pin."""
        ...

    def close(self) -> None:
        """Close all buses and pins; may be called twice."""
        ...


def divide_half_even(numerator: int, denominator: int) -> int:
    """Divide exactly and round once, half to even.

    Raises:
        ZeroDivisionError: the denominator is zero.
    """
    if denominator < 0:
        numerator, denominator = -numerator, -denominator
    quotient, remainder = divmod(numerator, denominator)
    twice = 2 * remainder
    return quotient + (twice > denominator or (twice == denominator and quotient % 2 == 1))
