"""The simulated bus against smbus2's own messages, and the chips' sequences."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest
from simulated import plug, simulate
from smbus2 import SMBus, i2c_msg

from gateway.clock import SimulatedClock
from gateway.simulation.bus import SimulatedBus
from gateway.simulation.chips.ads1115 import Ads1115Chip
from gateway.simulation.chips.nau7802 import Nau7802Chip
from gateway.simulation.faults import Fault, Faults

ADC, BRIDGE = 0x48, 0x2A


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(0)


@pytest.fixture
def bus(clock: SimulatedClock) -> SimulatedBus:
    bus = SimulatedBus(clock, 0)
    adc, bridge = Ads1115Chip(bus.seconds), Nau7802Chip(bus.seconds)
    adc.inputs[0] = lambda t: 1.0 + t
    bridge.bridge = lambda t: 0.001
    bus.plug(ADC, adc, Faults())
    bus.plug(BRIDGE, bridge, Faults())
    return bus


def test_it_has_the_calls_of_smbus2_that_drivers_use() -> None:
    calls = [name for name in vars(SimulatedBus) if not name.startswith("_") and hasattr(SMBus, name)]
    assert set(calls) >= {
        "read_byte_data", "write_byte_data", "read_word_data", "write_word_data", "read_i2c_block_data",
        "write_i2c_block_data", "i2c_rdwr", "close",
    }  # fmt: skip


def test_power_on_values_are_the_data_sheets(bus: SimulatedBus) -> None:
    assert bus.read_i2c_block_data(ADC, 1, 2) == [0x85, 0x83]
    assert bus.read_i2c_block_data(ADC, 2, 2) == [0x80, 0x00]
    assert bus.read_i2c_block_data(ADC, 3, 2) == [0x7F, 0xFF]
    assert bus.read_byte_data(BRIDGE, 0) == 0


def test_words_are_little_endian_on_the_wire(bus: SimulatedBus) -> None:
    assert bus.read_word_data(ADC, 1) == 0x8385
    bus.write_word_data(ADC, 2, 0x3412)
    assert bus.read_i2c_block_data(ADC, 2, 2) == [0x12, 0x34]


def test_combined_transfers_keep_the_pointer_between_messages(bus: SimulatedBus) -> None:
    read = i2c_msg.read(ADC, 2)
    bus.i2c_rdwr(i2c_msg.write(ADC, [1]), read)
    assert bytes(read) == b"\x85\x83"
    again = i2c_msg.read(ADC, 2)
    bus.i2c_rdwr(again)
    assert bytes(again) == b"\x85\x83"


@pytest.mark.parametrize(
    "transfer",
    [
        lambda bus: bus.read_byte_data(0x50, 0),
        lambda bus: bus.write_byte_data(0x50, 0, 0),
        lambda bus: bus.read_word_data(0x50, 0),
        lambda bus: bus.write_word_data(0x50, 0, 0),
        lambda bus: bus.read_i2c_block_data(0x50, 0, 2),
        lambda bus: bus.write_i2c_block_data(0x50, 0, [1]),
        lambda bus: bus.i2c_rdwr(i2c_msg.read(0x50, 1)),
    ],
)
def test_an_absent_address_does_not_acknowledge(
    bus: SimulatedBus, transfer: Callable[[SimulatedBus], object]
) -> None:
    with pytest.raises(OSError, match="Remote I/O error") as caught:
        transfer(bus)
    assert caught.value.errno == errno.EREMOTEIO


def test_blocks_over_32_bytes_are_refused_as_smbus2_does(bus: SimulatedBus) -> None:
    with pytest.raises(ValueError, match="over 32"):
        bus.read_i2c_block_data(ADC, 0, 33)
    with pytest.raises(ValueError, match="over 32"):
        bus.write_i2c_block_data(ADC, 0, [0] * 33)


def test_a_conversion_shows_only_when_its_time_is_over(bus: SimulatedBus, clock: SimulatedClock) -> None:
    bus.write_i2c_block_data(ADC, 1, [0xC3, 0x83])  # AIN0, ±4.096 V, single, 128 SPS: 7.8 ms
    clock.advance(0.007)
    assert bus.read_i2c_block_data(ADC, 1, 2) == [0x43, 0x83]
    assert bus.read_i2c_block_data(ADC, 0, 2) == [0, 0]
    clock.advance(0.001)
    assert bus.read_i2c_block_data(ADC, 1, 2) == [0xC3, 0x83]
    assert int.from_bytes(bus.read_i2c_block_data(ADC, 0, 2), "big") == round(1.008 * 8000)


def test_continuous_mode_converts_without_being_started(bus: SimulatedBus, clock: SimulatedClock) -> None:
    bus.write_i2c_block_data(ADC, 1, [0x42, 0x83])
    for second in (1, 2):
        clock.advance(1)
        assert int.from_bytes(bus.read_i2c_block_data(ADC, 0, 2), "big") == (1 + second) * 8000


def test_an_input_beyond_the_range_saturates(bus: SimulatedBus, clock: SimulatedClock) -> None:
    clock.advance(60)
    bus.write_i2c_block_data(ADC, 1, [0xC3, 0x83])
    clock.advance(0.01)
    assert bus.read_i2c_block_data(ADC, 0, 2) == [0x7F, 0xFF]


def test_the_bridge_adc_is_ready_only_after_power_up(bus: SimulatedBus, clock: SimulatedClock) -> None:
    bus.write_byte_data(BRIDGE, 0, 0x02)
    assert bus.read_byte_data(BRIDGE, 0) & 0x08 == 0
    clock.advance(0.001)
    assert bus.read_byte_data(BRIDGE, 0) & 0x08


def test_calibrating_without_power_is_an_error(bus: SimulatedBus, clock: SimulatedClock) -> None:
    bus.write_byte_data(BRIDGE, 2, 0x34)
    assert bus.read_byte_data(BRIDGE, 2) & 0x04
    clock.advance(1)
    assert bus.read_byte_data(BRIDGE, 2) & 0x0C == 0x08


def test_a_chip_that_was_not_powered_up_never_converts(bus: SimulatedBus, clock: SimulatedClock) -> None:
    bus.write_byte_data(BRIDGE, 0, 0x10)
    clock.advance(1)
    assert bus.read_byte_data(BRIDGE, 0) & 0x20 == 0


def test_conversions_come_at_the_rate_and_are_taken_by_reading(
    bus: SimulatedBus, clock: SimulatedClock
) -> None:
    bus.write_byte_data(BRIDGE, 0, 0x02)
    clock.advance(0.001)
    bus.write_byte_data(BRIDGE, 2, 0x30)  # 80 SPS
    assert bus.read_byte_data(BRIDGE, 0) & 0x08
    bus.write_byte_data(BRIDGE, 0, 0x16)
    assert bus.read_byte_data(BRIDGE, 0) & 0x20 == 0
    clock.advance(0.013)
    assert bus.read_byte_data(BRIDGE, 0) & 0x20
    assert bus.read_i2c_block_data(BRIDGE, 0x12, 3) == list(round(0.001 * 2**24).to_bytes(3, "big"))
    assert bus.read_byte_data(BRIDGE, 0) & 0x20 == 0


def test_the_register_reset_forgets_everything(bus: SimulatedBus) -> None:
    bus.write_byte_data(BRIDGE, 1, 0x27)
    bus.write_byte_data(BRIDGE, 0, 0x01)
    assert bus.read_byte_data(BRIDGE, 1) == 0


def test_a_brown_out_is_silence_and_then_power_on_values(clock: SimulatedClock) -> None:
    bus, faults = SimulatedBus(clock, 0), Faults([Fault("brown-out", 1, 2)])
    bus.plug(ADC, Ads1115Chip(bus.seconds), faults)
    bus.write_i2c_block_data(ADC, 2, [1, 2])
    clock.advance(1.5)
    with pytest.raises(OSError, match="Remote I/O"):
        bus.read_i2c_block_data(ADC, 2, 2)
    clock.advance(1)
    assert bus.read_i2c_block_data(ADC, 2, 2) == [0x80, 0x00]
    bus.write_i2c_block_data(ADC, 2, [1, 2])
    assert bus.read_i2c_block_data(ADC, 2, 2) == [1, 2]


def test_the_model_counts_its_own_time() -> None:
    simulation = simulate()
    sensor = plug(simulation, "ads1115", {"input": "a0"})
    assert simulation.model_seconds() == 0
    for _ in range(200):
        sensor.sample()
    assert 0 < simulation.model_seconds() < 1


def test_the_onset_is_when_the_register_first_shows_the_value() -> None:
    simulation = simulate()
    sensor = plug(simulation, "ads1115", {"input": "a0"})
    watch = simulation.watch("s", above=20_000)
    sensor.sample()
    assert watch.monotonic_ns is None
    changed = simulation.hold("s", 3.0)
    assert sensor.sample()["raw"] > 20_000
    assert watch.monotonic_ns is not None
    assert watch.monotonic_ns > changed
    first = watch.monotonic_ns
    sensor.sample()
    assert watch.monotonic_ns == first
    simulation.hold("s", None)
    assert sensor.sample()["raw"] < 20_000
