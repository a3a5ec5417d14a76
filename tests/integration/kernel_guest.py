"""Runs in the guest: the drivers on /dev/i2c-N, and their chips played by whoever writes the stub's registers.

i2c-stub is a memory: it converts nothing and clears nothing. A player, on a file descriptor of its own, does what the
data sheets say while the driver runs. Each trial prints one JSON object.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Final

import smbus2

from gateway.errors import SensorError
from gateway.sensors.base import Sensor
from gateway.sensors.hardware import PiHardware
from gateway.sensors.registry import open_sensor

ADC, BRIDGE, SUPPLY = 0x48, 0x2A, 0x40
_POLL_S: Final = 0.001


def stub_bus() -> str:
    """The bus that i2c-stub has made, by the name it gives itself."""
    for adapter in sorted(Path("/sys/class/i2c-dev").iterdir()):
        if "stub" in (adapter / "name").read_text().lower():
            return adapter.name
    raise SystemExit("i2c-stub made no bus")


class Player(threading.Thread):
    """A chip: `step` looks at the registers and does what they ask for."""

    def __init__(self, bus: str, address: int) -> None:
        super().__init__(daemon=True)
        self.address = address
        self.bus = smbus2.SMBus(f"/dev/{bus}")
        self.halted = threading.Event()

    def run(self) -> None:
        while not self.halted.is_set():
            self.step()
            time.sleep(_POLL_S)

    def step(self) -> None:
        raise NotImplementedError

    def halt(self) -> None:
        self.halted.set()
        self.join()
        self.bus.close()


class Ads1115Player(Player):
    """ADS1115: OS falls while it converts, then comes the code of the chosen input at the chosen range, and OS rises.

    A request that repeats the last one cannot be seen in a memory; so a ready chip goes on converting.

    Attributes:
        volts: at AIN0..AIN3.
        ends: whether a conversion ever ends.
        conversions: how many a changed request began.
    """

    RANGES: Final = (6.144, 4.096, 2.048, 1.024, 0.512, 0.256, 0.256, 0.256)

    def __init__(self, bus: str) -> None:
        super().__init__(bus, ADC)
        self.volts = [0.0, 0.0, 0.0, 0.0]
        self.ends, self.conversions = True, 0
        self._done = 0x8583  # the power-on value
        self.put(1, self._done)

    def put(self, register: int, value: int) -> None:
        self.bus.write_word_data(self.address, register, (value & 0xFF) << 8 | value >> 8)

    def get(self, register: int) -> int:
        word = self.bus.read_word_data(self.address, register)
        return (word & 0xFF) << 8 | word >> 8

    def step(self) -> None:
        config = self.get(1)
        if not config & 0x8000:
            return
        if config != self._done:
            self.put(1, config & 0x7FFF)
            if not self.ends:
                return
            self.conversions += 1
            time.sleep(0.02)
        volts = self.volts[(config >> 12 & 3)]
        code = round(volts / self.RANGES[config >> 9 & 7] * 32768)
        self.put(0, max(-32768, min(32767, code)) & 0xFFFF)
        if config != self._done:
            self._done = config
            self.put(1, config)


class Nau7802Player(Player):
    """NAU7802: power-up, calibration, and conversions that are there before CR says so.

    Attributes:
        code: what it converts.
        fails_calibration: whether it says CAL_ERR.
        calibrations: how many it has made.
    """

    def __init__(self, bus: str) -> None:
        super().__init__(bus, BRIDGE)
        self.code, self.fails_calibration, self.calibrations = 0, False, 0

    def get(self, register: int) -> int:
        return int(self.bus.read_byte_data(self.address, register))

    def put(self, register: int, value: int) -> None:
        self.bus.write_byte_data(self.address, register, value)

    def step(self) -> None:
        control, filtering = self.get(0x00), self.get(0x02)
        if control & 0x01:
            self.put(0x00, 0x01)
        elif control & 0x02 and not control & 0x08:
            self.put(0x00, control | 0x08)
        elif filtering & 0x04:
            time.sleep(0.05)
            self.calibrations += 1
            self.put(0x02, filtering & ~0x04 | (0x08 if self.fails_calibration else 0))
        elif control & 0x1E == 0x1E:
            for place, value in enumerate((self.code & 0xFFFFFF).to_bytes(3, "big")):
                self.put(0x12 + place, value)
            self.put(0x00, control | 0x20)


class Ina219Player(Player):
    """INA219: always ready with the present values, as reading cannot take the ready bit back from a memory.

    Attributes:
        volts, shunt: what it measures.
        overflows: whether it says so.
        forgets: whether it loses its calibration as often as it gets it.
    """

    def __init__(self, bus: str) -> None:
        super().__init__(bus, SUPPLY)
        self.volts, self.shunt = 12.6, 0.04
        self.overflows = self.forgets = False
        self.step()

    def put(self, register: int, value: int) -> None:
        self.bus.write_word_data(self.address, register, (value & 0xFF) << 8 | value >> 8 & 0xFF)

    def get(self, register: int) -> int:
        word = self.bus.read_word_data(self.address, register)
        return (word & 0xFF) << 8 | word >> 8

    def step(self) -> None:
        steps, calibration = round(self.shunt / 10e-6), self.get(5)
        self.put(1, steps & 0xFFFF)
        self.put(4, steps * calibration // 4096 & 0xFFFF)
        if self.forgets and calibration:
            self.put(5, 0)
        self.put(2, round(self.volts / 0.004) << 3 | 2 | self.overflows)


@contextmanager
def playing(player: Player) -> Iterator[None]:
    player.start()
    try:
        yield
    finally:
        player.halt()


def outcome(sensor: Sensor) -> dict[str, object]:
    try:
        return {"values": dict(sensor.sample())}
    except SensorError as error:
        return {"fault": error.kind, "text": str(error)}


def until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not what():
        if time.monotonic() > deadline:
            raise SystemExit("the player was waited for in vain")
        time.sleep(_POLL_S)


def try_adc(hardware: PiHardware, bus: str) -> Iterator[tuple[str, object]]:
    def sensor(**options: object) -> Sensor:
        return open_sensor("ads1115", {"bus": bus, "rate": 8, **options}, hardware)

    player = Ads1115Player(bus)
    with playing(player):
        player.volts = [1.0, 0.5, -0.25, 0.125]
        for pin in range(4):
            yield f"a{pin}", outcome(sensor(input=f"a{pin}"))
        yield "finer", outcome(sensor(input="a3", range_mv=256))
        repeated = sensor(input="a1")
        first = outcome(repeated)
        player.volts[1] = 1.5
        yield "twice", [first, outcome(repeated)]
        player.volts[0] = 9.0
        yield "saturated", outcome(sensor(input="a0"))
        yield "conversions", player.conversions
        player.ends = False
        yield "unending", outcome(sensor(input="a2"))
        player.put(1, 0x8583)
        player.ends = True
    with playing(Restarting(bus)):
        yield "restarted", outcome(sensor(input="a0"))
    yield "absent", outcome(open_sensor("ads1115", {"bus": bus, "address": 0x4B, "input": "a0"}, hardware))


class Restarting(Ads1115Player):
    """Loses its supply while it converts."""

    def step(self) -> None:
        if self.get(1) != 0x8583:
            self.put(1, 0x8583)


def try_bridge(hardware: PiHardware, bus: str) -> Iterator[tuple[str, object]]:
    player = Nau7802Player(bus)
    with playing(player):
        raw = open_sensor("nau7802", {"bus": bus}, hardware)
        player.code = -123_456
        yield "started", outcome(raw)
        yield "settings", [player.get(0x01), player.get(0x02), player.get(0x00) & 0x96]
        player.code = 2_000_000
        until(lambda: outcome(raw) == {"values": {"raw": 2_000_000}})
        yield "calibrations", player.calibrations
        strain = {"bus": bus, "bridge": "quarter", "gauge_factor": Decimal("2.0")}
        player.code = 1_072_669  # 1000 um/m: 0.4995 mV/V times 128 times 2**24
        gauge = open_sensor("strain", strain, hardware)
        outcome(gauge)
        time.sleep(0.1)
        yield "strain", outcome(gauge)
        player.code = (1 << 23) - 1
        time.sleep(0.1)
        yield "open bridge", outcome(gauge)
        player.code, player.fails_calibration = 5, True
        yield "uncalibrated", outcome(open_sensor("nau7802", {"bus": bus}, hardware))
        player.fails_calibration = False
        yield "calibrated again", outcome(open_sensor("nau7802", {"bus": bus}, hardware))
    player.bus = smbus2.SMBus(f"/dev/{bus}")
    player.put(0x00, 0)  # the supply fails, and nobody plays any longer
    yield "brown-out", [outcome(raw), outcome(raw)]
    player.bus.close()


def try_supply(hardware: PiHardware, bus: str) -> Iterator[tuple[str, object]]:
    sensor = open_sensor("ina219", {"bus": bus, "average": 128}, hardware)
    player = Ina219Player(bus)
    with playing(player):
        yield "drawn", outcome(sensor)
        player.volts, player.shunt = 5.0, -0.1
        time.sleep(0.1)
        yield "charged", outcome(sensor)
        player.overflows = True
        time.sleep(0.1)
        yield "overflow", outcome(sensor)
        player.overflows, player.forgets = False, True
        yield "forgetful", outcome(sensor)
        player.forgets = False
        yield "again", outcome(sensor)
    yield "absent", outcome(open_sensor("ina219", {"bus": bus, "address": 0x41}, hardware))


def main() -> None:
    bus, hardware = stub_bus(), PiHardware()
    for trial in (try_adc, try_bridge, try_supply):
        for name, result in trial(hardware, bus):
            print(json.dumps({"trial": f"{trial.__name__} {name}", "result": result}), flush=True)
    hardware.close()


if __name__ == "__main__":
    main()
