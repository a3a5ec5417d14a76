"""The MCP3008 through gpiozero's own code, against a chip that answers bit by bit."""

from __future__ import annotations

from typing import Any

import pytest
from simulated import kind_of, plug, simulate

from gateway.contracts.errors import ContractError
from gateway.sensors.registry import open_sensor, read_options
from gateway.simulation.faults import Fault
from gateway.simulation.simulation import Simulation


def chip_of(simulation: Simulation, select: int = 8) -> Any:
    return simulation.sockets.selects[select]


@pytest.mark.parametrize(("volts", "code"), [(0.0033, 1), (1.65, 512), (3.2935, 1021), (3.2954, 1022)])
@pytest.mark.parametrize("channel", range(8))
def test_each_channel_gives_its_code(channel: int, volts: float, code: int) -> None:
    simulation = simulate()
    sensor = plug(simulation, "mcp3008", {"channel": channel})
    chip_of(simulation).inputs[channel] = lambda t: volts
    assert sensor.sample() == {"raw": code, "voltage": round(code * 3_300_000 / 1024)}
    sensor.close()


def test_two_chips_are_told_apart_by_their_select() -> None:
    simulation = simulate()
    first = plug(simulation, "mcp3008", {"channel": 0}, "first")
    second = plug(simulation, "mcp3008", {"channel": 0, "device": 1}, "second")
    chip_of(simulation, 8).inputs[0] = lambda t: 1.0
    chip_of(simulation, 7).inputs[0] = lambda t: 2.0
    assert first.sample()["raw"] < second.sample()["raw"]


def test_saturation_and_a_line_held_high_are_two_faults() -> None:
    simulation = simulate()
    sensor = plug(simulation, "mcp3008", {"channel": 3})
    chip_of(simulation).inputs[3] = lambda t: 3.4
    chip_of(simulation).inputs[2] = lambda t: 3.3
    assert kind_of(sensor) == "out-of-range"
    simulation.inject("s", Fault("nack", 0))
    assert kind_of(sensor) == "nack"


def test_a_chip_without_supply_reads_zero_which_is_no_value() -> None:
    simulation = simulate()
    sensor = plug(simulation, "mcp3008", {"channel": 0})
    assert kind_of(sensor) == ""
    simulation.inject("s", Fault("brown-out", 0, 9))
    assert kind_of(sensor) == "wiring"
    simulation.repair("s")
    assert kind_of(sensor) == ""


def test_an_absent_chip_is_a_fault() -> None:
    simulation = simulate()
    assert kind_of(open_sensor("mcp3008", {"channel": 0}, simulation)) == "wiring"


def test_zero_is_a_value_where_the_options_say_so() -> None:
    simulation = simulate()
    sensor = plug(simulation, "mcp3008", {"channel": 0, "zero": "value"})
    chip_of(simulation).inputs[0] = lambda t: 0.0
    assert sensor.sample() == {"raw": 0, "voltage": 0}


def test_a_frozen_input_is_stuck_after_so_many_equal_codes() -> None:
    simulation = simulate()
    sensor = plug(simulation, "mcp3008", {"channel": 0, "stuck_after": 3})
    chip_of(simulation).inputs[0] = lambda t: 1.0
    assert [kind_of(sensor) for _ in range(4)] == ["", "", "stuck", "stuck"]


def test_what_the_chip_does_not_have_is_refused() -> None:
    with pytest.raises(ContractError, match="channels 0 to 7"):
        read_options("mcp3008", {"channel": 8})


def test_an_mq_element_reads_the_same_gas_through_either_adc() -> None:
    simulation = simulate()
    fine = plug(simulation, "mq", {"model": "mq4", "input": "a0", "divider": 2}, "fine")
    coarse = plug(simulation, "mq", {"model": "mq4", "input": "ch0", "divider": 2}, "coarse")
    volts = [fine.sample()["raw"] * 4.096 / 32768, coarse.sample()["raw"] * 3.3 / 1024]
    assert volts[0] == pytest.approx(volts[1], abs=0.01)
    assert (fine.info.bus, coarse.info.bus) == ("i2c-1", "spi-0")
