"""A bus that is looked after: what is repeated, what frees it, what opens it anew, and what it costs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from simulated import QUIET, kind_of, scenario

from gateway.clock import SimulatedClock
from gateway.errors import SensorError
from gateway.sensors.base import Sensor
from gateway.sensors.bus import BusOptions
from gateway.sensors.registry import open_sensor
from gateway.sensors.rescue import Pinctrl, PinRescue
from gateway.simulation.faults import Fault
from gateway.simulation.simulation import Simulation

ADC = {"input": "a0", "rate": 860}


class Bench:
    """An ADC and a bridge amplifier on one bus, on a clock that only moves when somebody sleeps."""

    def __init__(self, *options: BusOptions) -> None:
        self.clock = SimulatedClock(speed=0)
        self.simulation = Simulation(scenario(QUIET), self.clock, buses=options)
        self.adc = self._open("adc", "ads1115", ADC)
        self.bridge = self._open("bridge", "nau7802", {})

    def _open(self, name: str, driver: str, options: Mapping[str, Any]) -> Sensor:
        self.simulation.attach(name, driver, options)
        return open_sensor(driver, options, self.simulation)

    def strike(self, kind: Any, seconds: float | None = None) -> None:
        self.clock.advance(1.0)
        now = self.simulation.seconds()
        self.simulation.inject("adc", Fault(kind, now, None if seconds is None else now + seconds))

    @property
    def tally(self) -> Any:
        return self.simulation.tally("i2c-1")


def test_a_transfer_that_breaks_off_is_repeated_and_counted() -> None:
    bench = Bench()
    bench.strike("glitch")
    assert kind_of(bench.adc) == ""
    assert bench.tally.retries >= 1


def test_without_retries_a_broken_transfer_is_a_failure() -> None:
    bench = Bench(BusOptions("i2c-1", retries=0))
    bench.strike("glitch")
    assert kind_of(bench.adc) == "nack"
    assert bench.tally.retries == 0


def test_a_chip_that_never_answers_fails_in_spite_of_all_repeats() -> None:
    bench = Bench()
    bench.strike("nack")
    assert [kind_of(bench.adc) for _ in range(10)] == ["nack"] * 10
    assert bench.tally.retries == 0
    assert kind_of(bench.bridge) == ""


def test_nine_clock_pulses_free_a_held_bus_within_one_sample() -> None:
    bench = Bench()
    bench.strike("held")
    began = bench.clock.monotonic_ms()
    assert kind_of(bench.adc) == ""
    assert bench.clock.monotonic_ms() - began < 100
    assert (bench.tally.rescues, bench.tally.reopenings, bench.tally.power_cycles) == (1, 1, 0)
    assert [len(bench.simulation.pins().pin(pin).changes) for pin in (3, 2)] == [20, 2]


def test_lines_driven_as_gpio_are_lost_until_they_are_given_back() -> None:
    bench = Bench()
    pin = bench.simulation.pins().pin(3)
    pin.output_with_state(0)
    pin.input_with_pull("up")
    assert not bench.simulation.bus("i2c-1").is_wired
    bench.simulation.sockets.wires.write(3, "a0")
    assert bench.simulation.bus("i2c-1").is_wired


def test_where_clock_pulses_do_not_help_the_supply_is_switched() -> None:
    options = BusOptions("i2c-7", power_pin=26, power_on="low")
    clock = SimulatedClock(speed=0)
    simulation = Simulation(scenario(QUIET), clock, buses=[options])
    simulation.attach("adc", "ads1115", {**ADC, "bus": "i2c-7"})
    adc = open_sensor("ads1115", {**ADC, "bus": "i2c-7"}, simulation)
    simulation.inject("adc", Fault("held", 0.0))
    assert kind_of(adc) == ""  # its lines are not known, so there are no pulses
    assert simulation.tally("i2c-7").power_cycles == 1
    assert clock.monotonic_ms() >= options.off_ms


def test_a_bus_held_for_ever_is_freed_less_and_less_often() -> None:
    bench = Bench()
    bench.strike("timeout")
    for _ in range(3000):
        assert kind_of(bench.adc) == "timeout"
        bench.clock.advance(0.1)
    assert 10 <= bench.tally.rescues <= 40  # two steps each, after 1, 2, 4 ... 30 s
    bench.simulation.repair("adc")
    assert kind_of(bench.adc) == kind_of(bench.bridge) == ""


def test_a_device_that_is_gone_is_opened_as_soon_as_it_is_back() -> None:
    bench = Bench()
    bench.strike("vanished", 5.0)
    assert kind_of(bench.adc) == "wiring"
    bench.clock.advance(4.9)
    assert kind_of(bench.bridge) == "wiring"
    bench.clock.advance(0.2)
    assert kind_of(bench.bridge) == kind_of(bench.adc) == ""
    assert bench.tally.reopenings == 1


def test_failures_in_a_row_open_the_device_anew_but_not_at_every_one() -> None:
    bench = Bench()
    bench.strike("nack")
    for _ in range(100):
        kind_of(bench.adc)
        bench.clock.advance(0.1)
    assert 1 <= bench.tally.reopenings <= 2


@pytest.mark.parametrize(
    "wrong",
    [{"retries": 6}, {"scl_pin": 3}, {"scl_pin": 3, "sda_pin": 3}, {"power_pin": 28}, {"off_ms": 1}],
)
def test_a_bus_that_cannot_be_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"retries|scl_pin|pins|off_ms"):
        BusOptions("i2c-1", **wrong)  # type: ignore[arg-type]


# on a Pi the lines are given back by a tool

TOOL = """#!/bin/sh
echo "$@" >> {log}
case "$1" in
    get) echo " $2: a0    pu | hi // GPIO$2 = SDA1";;
    set) exit {code};;
esac
"""


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pinctrl").write_text(TOOL.format(log=tmp_path / "log", code=0))
    (tmp_path / "pinctrl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def test_pinctrl_tells_a_pins_function_and_gives_it_back(tool: Path) -> None:
    bench = Bench()
    rescue = PinRescue(BusOptions("i2c-1"), bench.simulation.pins, Pinctrl(), bench.clock)
    assert rescue.pulse()
    assert (tool / "log").read_text().splitlines() == ["get 3", "get 2", "set 3 a0", "set 2 a0"]


def test_a_tool_that_fails_is_told_and_the_bus_is_not_called_freed(tool: Path) -> None:
    (tool / "pinctrl").write_text(TOOL.format(log=tool / "log", code=1))
    bench = Bench()
    assert not PinRescue(BusOptions("i2c-1"), bench.simulation.pins, Pinctrl(), bench.clock).pulse()
    with pytest.raises(SensorError, match="pinctrl set 3 a0"):
        Pinctrl().write(3, "a0")


def test_without_the_tool_no_line_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    bench = Bench()
    assert not PinRescue(BusOptions("i2c-1"), bench.simulation.pins, Pinctrl(), bench.clock).pulse()
    assert not bench.simulation.pins().pin(3).changes
