"""The DHT22: the library's own decoding in its own process, on synthesised edges."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from simulated import kind_of, scenario, simulate

from gateway.clock import SimulatedClock
from gateway.errors import SensorError
from gateway.sensors.base import Pulses
from gateway.sensors.dht22 import Dht22, Options
from gateway.simulation.dht import frame, intervals
from gateway.simulation.faults import Fault
from gateway.simulation.simulation import Simulation

PARENT = """
import time
from gateway.clock import SimulatedClock
from gateway.sensors.dht22 import Dht22, Options
from gateway.simulation.scenario import load_scenario
from gateway.simulation.simulation import Simulation
simulation = Simulation(load_scenario("quiet"), SimulatedClock(0))
simulation.attach("s", "dht22", {"pin": 4})
sensor = Dht22(Options(4), simulation)
sensor.sample()
print(sensor.process_id, flush=True)
time.sleep(60)
"""
COLD = 'title = ""\n[rooms.r]\noutside_c = -12.4\nhumidity = 80\n'


@pytest.fixture
def opened() -> Iterator[tuple[Simulation, Dht22]]:
    simulation = simulate(COLD)
    simulation.attach("s", "dht22", {"pin": 4})
    sensor = Dht22(Options(4), simulation)
    yield simulation, sensor
    sensor.close()


class Scripted(Simulation):
    """A data line that sends the given temperatures, one a frame."""

    def __init__(self, celsius: list[float]) -> None:
        super().__init__(scenario(), SimulatedClock(0))
        self._celsius = celsius

    def dht_pulses(self, pin: int) -> Callable[[], Pulses]:
        return lambda: Pulses(intervals(frame(self._celsius.pop(0), 50.0)), 0)


@pytest.fixture
def scripted() -> Iterator[tuple[list[float], Dht22]]:
    celsius: list[float] = []
    sensor = Dht22(Options(4), Scripted(celsius))
    yield celsius, sensor
    sensor.close()


class Library:
    """The library's process alone, spoken to line by line."""

    def __init__(self, argument: str = "simulated") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gateway.sensors.dht_process", argument],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1,
        )  # fmt: skip
        assert self.process.stdout
        self.greeting = self.process.stdout.readline().strip()

    def ask(self, line: str) -> str:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(line + "\n")
        return self.process.stdout.readline().strip()

    def __enter__(self) -> Library:
        return self

    def __exit__(self, *_: object) -> None:
        with self.process:
            self.process.kill()


@pytest.mark.parametrize(
    ("celsius", "humidity", "data"),
    [
        (23.4, 45.6, "01c800eab3"),
        (-12.4, 80.0, "0320807c1f"),
        (0.0, 0.0, "0000000000"),
        (-0.1, 100.0, "03e880016c"),
    ],
)
def test_the_frame_is_the_data_sheets(celsius: float, humidity: float, data: str) -> None:
    assert frame(celsius, humidity).hex() == data
    edges = intervals(bytes.fromhex(data))
    assert len(edges) == 81
    bits = "".join("1" if us == 70 else "0" for us in edges[1:80:2])
    assert int(bits, 2) == int(data, 16)


def test_a_sample_is_what_the_library_decodes(opened: tuple[Simulation, Dht22]) -> None:
    sample = opened[1].sample()
    assert sample["temperature"] == pytest.approx(-124, abs=3)
    assert sample["humidity"] == pytest.approx(800, abs=10)


def test_attempts_are_spaced_after_failures_too(opened: tuple[Simulation, Dht22]) -> None:
    simulation, sensor = opened
    simulation.inject("s", Fault("checksum", 0, 3))
    kinds = []
    for attempt in range(4):
        kinds.append(kind_of(sensor))
        assert simulation.clock.monotonic_ms() == attempt * 2100
    assert kinds == ["checksum", "checksum", "", ""]


@pytest.mark.parametrize(
    ("fault", "kind"), [("checksum", "checksum"), ("short", "timeout"), ("cut", "wiring")]
)
def test_each_fault_of_the_line_shows_as_its_kind(
    opened: tuple[Simulation, Dht22], fault: str, kind: str
) -> None:
    simulation, sensor = opened
    simulation.inject("s", Fault(fault, 0))  # type: ignore[arg-type]
    assert kind_of(sensor) == kind
    simulation.repair("s")
    assert kind_of(sensor) == ""


def test_a_value_the_library_remembers_is_never_a_new_reading() -> None:
    good = ",".join(map(str, intervals(frame(20.0, 50.0))))
    with Library() as library:
        assert library.ask(f"read 0 {good}") == "ok 500 200"
        # Without edges the library is within its two seconds, and would silently repeat 20.0 °C.
        answer = library.ask("read")
        assert answer.startswith("error no-data the library measured nothing")


def test_after_an_error_the_value_before_it_does_not_come_back() -> None:
    good, bad = frame(20.0, 50.0), frame(20.0, 50.0)[:4] + b"\x00"
    with Library() as library:
        assert library.ask(f"read 0 {','.join(map(str, intervals(good)))}") == "ok 500 200"
        assert library.ask(f"read 0 {','.join(map(str, intervals(bad)))}").startswith("error checksum")
        assert library.ask("read").startswith("error no-data")


def test_an_implausible_humidity_is_out_of_range() -> None:
    with Library() as library:
        answer = library.ask(f"read 0 {','.join(map(str, intervals(bytes.fromhex('07d000c89f'))))}")
        assert answer.startswith("error out-of-range")


def test_on_a_machine_without_such_a_pin_the_process_says_so() -> None:
    with Library("4") as library:
        assert library.greeting.startswith("error wiring the DHT library cannot use pin 4")


def test_a_temperature_the_chip_cannot_measure_is_out_of_range(
    scripted: tuple[list[float], Dht22],
) -> None:
    celsius, sensor = scripted
    celsius += [80.0, 80.1, 80.0]
    assert [kind_of(sensor) for _ in range(3)] == ["", "out-of-range", ""]


def test_a_doubled_value_that_passes_the_checksum_is_doubted(scripted: tuple[list[float], Dht22]) -> None:
    celsius, sensor = scripted
    celsius += [20.0, 40.0, 20.0]
    assert [kind_of(sensor) for _ in range(3)] == ["", "slew", ""]


def test_a_fire_that_stays_hot_is_believed_at_the_second_look(scripted: tuple[list[float], Dht22]) -> None:
    celsius, sensor = scripted
    celsius += [20.0, 60.0, 62.0]
    assert [kind_of(sensor) for _ in range(3)] == ["", "slew", ""]


def test_a_killed_process_is_replaced(opened: tuple[Simulation, Dht22]) -> None:
    _, sensor = opened
    assert kind_of(sensor) == ""
    first = sensor.process_id
    assert first
    os.kill(first, signal.SIGKILL)
    time.sleep(0.2)
    assert kind_of(sensor) in ("", "no-data")
    assert kind_of(sensor) == ""
    assert sensor.process_id != first


def test_a_hanging_process_is_a_timeout_and_is_replaced(
    opened: tuple[Simulation, Dht22], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, sensor = opened
    assert kind_of(sensor) == ""
    first = sensor.process_id
    assert first
    monkeypatch.setattr("gateway.sensors.dht22._ANSWER_S", 0.3)
    os.kill(first, signal.SIGSTOP)
    assert kind_of(sensor) == "timeout"
    monkeypatch.undo()
    assert kind_of(sensor) == ""
    assert sensor.process_id != first


def test_the_process_dies_with_its_parent_however_that_died() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 60
    while _alive(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _alive(child)


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_an_interrupt_from_the_keyboard_is_left_to_the_parent(opened: tuple[Simulation, Dht22]) -> None:
    _, sensor = opened
    assert kind_of(sensor) == ""
    first = sensor.process_id
    assert first
    os.kill(first, signal.SIGINT)
    assert kind_of(sensor) == ""
    assert sensor.process_id == first


def test_closing_ends_the_process() -> None:
    simulation = simulate(COLD)
    simulation.attach("s", "dht22", {"pin": 4})
    sensor = Dht22(Options(4), simulation)
    child = sensor.process_id
    assert child
    sensor.close()
    sensor.close()
    assert sensor.process_id is None
    assert not _alive(child)


def test_a_line_that_was_never_attached_is_refused() -> None:
    from gateway.errors import SimulationError

    with pytest.raises(SimulationError, match="no DHT22 is attached to GPIO4"):
        Dht22(Options(4), simulate())


def test_messages_name_the_sensor(opened: tuple[Simulation, Dht22]) -> None:
    simulation, sensor = opened
    simulation.inject("s", Fault("checksum", 0))
    with pytest.raises(SensorError, match="DHT22: Checksum did not validate"):
        sensor.sample()
