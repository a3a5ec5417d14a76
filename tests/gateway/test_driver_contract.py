"""What every driver promises (`gateway.sensors.base`), tried on each by the same tests.

A new driver needs a row in `drivers.py`, and nothing here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing

import pytest
from drivers import ROWS, Row
from simulated import plug, simulate

from gateway.contracts.tables import TableError
from gateway.errors import SENSOR_ERROR_KINDS, SensorError
from gateway.sensors.base import SelfTesting, Sensor
from gateway.sensors.registry import DRIVERS, describe_sensor, open_sensor
from gateway.simulation.dht import DhtLine, Pulses
from gateway.simulation.faults import Fault, FaultKind
from gateway.simulation.probe import Probe
from gateway.simulation.simulation import Simulation

NOT_SAMPLED = {"neighbour"}
FAULTS = [pytest.param(name, kind, id=f"{name}-{kind}") for name, row in ROWS.items() for kind in row.faults]
ON_A_BUS = [name for name, row in ROWS.items() if "timeout" in row.faults]
WITH_ELEMENTS = [name for name, row in ROWS.items() if row.driver != "recording"]
_STEP_S = 0.5


class Rig:
    """One driver on simulated hardware, sampled as its bus's thread does."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.simulation: Simulation = simulate()
        self.sensor: Sensor = plug(self.simulation, row.driver, row.options)
        info = self.sensor.info
        self._step_s = max(_STEP_S, info.min_interval_ms / 1000)
        if info.max_interval_ms:
            self._step_s = min(self._step_s, info.max_interval_ms / 1000)

    def value(self, within_s: float | None = None) -> Mapping[str, int]:
        """The next sample that is one; what a driver says about starting up is passed over."""
        info = self.sensor.info
        end = self.simulation.seconds() + (within_s or 2 * info.cycle_ms / 1000 + 10)
        while self.simulation.seconds() < end:
            try:
                if values := self.sensor.sample():
                    return values
            except SensorError as error:
                if error.kind not in ("power", "not-ready"):
                    raise
            self.simulation.clock.sleep(self._step_s)
        raise AssertionError("no value came")

    def watch(self, until_s: float) -> Iterator[str]:
        """Sample until then; yield "" for a value and the kind of each failure."""
        while self.simulation.seconds() < until_s:
            try:
                if self.sensor.sample():
                    yield ""
            except SensorError as error:
                yield error.kind
            self.simulation.clock.sleep(self._step_s)

    def fail(self, kind: FaultKind, lasts_s: float) -> float:
        """Let a fault begin now; return when it ends."""
        now = self.simulation.seconds()
        self.simulation.inject("s", Fault(kind, now, now + lasts_s))
        return now + lasts_s


@pytest.fixture(params=ROWS)
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    rig = Rig(ROWS[request.param])
    with closing(rig.sensor):
        yield rig


def some(names: Iterable[str]) -> pytest.MarkDecorator:
    """Only these drivers."""
    return pytest.mark.parametrize("rig", list(names), indirect=True)


def test_every_driver_has_a_row() -> None:
    assert {row.driver for row in ROWS.values()} | NOT_SAMPLED == set(DRIVERS)


def test_it_describes_itself_without_hardware(rig: Rig) -> None:
    info = describe_sensor(rig.row.driver, rig.row.options)
    assert info == rig.sensor.info
    assert info.driver == rig.row.driver
    assert info.model
    assert info.bus
    names = [quantity.name for quantity in info.quantities]
    assert names
    assert len(set(names)) == len(names)
    assert info.min_interval_ms >= 1
    assert not info.max_interval_ms or info.max_interval_ms >= info.min_interval_ms


@pytest.mark.parametrize("name", ON_A_BUS)
def test_it_claims_its_address_and_its_time_on_the_bus(name: str) -> None:
    info = describe_sensor(ROWS[name].driver, ROWS[name].options)
    assert info.bus == "i2c-1"
    assert info.claim.chip
    assert 0x03 <= (info.claim.address or 0) <= 0x77
    assert info.claim.busy_us > 0


@pytest.mark.parametrize("name", ON_A_BUS)
def test_opening_touches_no_chip(name: str) -> None:
    row = ROWS[name]
    simulation = simulate()
    before = simulation.clock.monotonic_ms()
    with closing(open_sensor(row.driver, row.options, simulation)) as sensor:
        assert simulation.clock.monotonic_ms() == before
        with pytest.raises(SensorError) as caught:
            sensor.sample()
    assert caught.value.kind == "nack"


def test_every_sample_is_integers_of_just_the_described_quantities(rig: Rig) -> None:
    for _ in range(5):
        values = rig.value()
        assert list(values) == [quantity.name for quantity in rig.sensor.info.quantities]
        assert all(type(value) is int for value in values.values())
        for quantity in rig.sensor.info.quantities:
            value = values[quantity.name]
            assert quantity.low is None or value >= quantity.low
            assert quantity.high is None or value <= quantity.high
        rig.simulation.clock.sleep(rig.sensor.info.min_interval_ms / 1000)


@pytest.mark.parametrize("name", WITH_ELEMENTS)
def test_an_old_value_is_never_given_as_a_new_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked as often as one likes: each value is of an element that was looked at for it."""
    looks: Counter[str] = Counter()
    read, pulses = Probe.read, DhtLine.__call__

    def looked(self: Probe, t: float) -> float:
        looks["all"] += 1
        return read(self, t)

    def pulsed(self: DhtLine) -> Pulses:
        looks["all"] += 1
        return pulses(self)

    monkeypatch.setattr(Probe, "read", looked)
    monkeypatch.setattr(DhtLine, "__call__", pulsed)
    rig = Rig(ROWS[name])  # only now: chips keep the method that they were given
    with closing(rig.sensor):
        rig.value()
        for _ in range(50 if rig.row.driver != "dht22" else 3):
            before = looks["all"]
            if rig.sensor.sample():
                assert looks["all"] > before


@some(name for name, row in ROWS.items() if row.move)
def test_a_change_shows_with_the_next_value(rig: Rig) -> None:
    row = rig.row
    assert row.move is not None
    before = rig.value()[row.quantity]
    row.move(rig.simulation)
    if rig.sensor.info.cycle_ms == 0:
        after = rig.sensor.sample()[row.quantity]
    else:
        rig.simulation.clock.sleep(0.1)
        after = rig.value()[row.quantity]
    assert abs(after - before) >= row.least


def test_at_its_shortest_interval_it_gives_values(rig: Rig) -> None:
    info = rig.sensor.info
    rig.value()
    interval = (info.max_interval_ms or info.min_interval_ms) / 1000
    for _ in range(10 if rig.row.driver != "dht22" else 3):
        due = rig.simulation.seconds() + interval
        values = rig.sensor.sample()
        assert values or info.cycle_ms
        rig.simulation.clock.sleep(max(0.0, due - rig.simulation.seconds()))


@pytest.mark.parametrize(("name", "kind"), FAULTS)
def test_a_fault_shows_as_what_it_is_and_ends(name: str, kind: FaultKind) -> None:
    rig = Rig(ROWS[name])
    row = rig.row
    with closing(rig.sensor):
        rig.value()
        end = rig.fail(kind, row.lasts_s)
        seen = list(rig.watch(end))
        kinds = {each for each in seen if each}
        assert kinds
        assert kinds <= row.faults[kind]
        assert kinds <= SENSOR_ERROR_KINDS
        # Once it is seen nothing is given for a value until it ends.
        assert "" not in seen[seen.index(next(each for each in seen if each)) :]
        heard = list(rig.watch(end + row.recovery_s))
        assert heard[-1] == ""


@pytest.mark.parametrize("name", ON_A_BUS)
def test_a_transfer_that_breaks_off_is_repeated_and_nobody_notices(name: str) -> None:
    rig = Rig(ROWS[name])
    with closing(rig.sensor):
        rig.value()
        end = rig.fail("glitch", rig.row.lasts_s)
        assert set(rig.watch(end)) == {""}
        assert rig.simulation.tally(rig.sensor.info.bus).retries > 0


@pytest.mark.parametrize("name", ON_A_BUS)
def test_after_an_instant_without_supply_it_is_started_anew(name: str) -> None:
    rig = Rig(ROWS[name])
    with closing(rig.sensor):
        rig.value()
        now = rig.simulation.seconds()
        rig.simulation.inject("s", Fault("brown-out", now))
        heard = list(rig.watch(now + rig.row.recovery_s))
        assert heard[-1] == ""
        assert set(heard) <= {"", "nack", "power", "not-ready"}


@pytest.mark.parametrize(("name", "kind"), [each for each in FAULTS if each.values[1] != "timeout"])
def test_a_fault_leaves_the_others_on_its_bus_alone(name: str, kind: FaultKind) -> None:
    rig = Rig(ROWS[name])
    assert rig.row.beside is not None
    other = plug(rig.simulation, *rig.row.beside, name="other")
    with closing(rig.sensor), closing(other):
        rig.value()
        end = rig.fail(kind, rig.row.lasts_s)
        for _ in rig.watch(end):
            assert other.sample()


def test_closing_twice_is_harmless(rig: Rig) -> None:
    rig.value()
    rig.sensor.close()
    rig.sensor.close()


@pytest.mark.parametrize("name", ON_A_BUS)
def test_closing_without_a_chip_is_harmless(name: str) -> None:
    rig = Rig(ROWS[name])
    rig.value()
    rig.fail("nack", 60)
    rig.sensor.close()


@pytest.mark.parametrize(
    ("name", "options", "message"), [(name, *wrong) for name, row in ROWS.items() for wrong in row.wrong]
)
def test_wrong_options_are_refused_by_name(name: str, options: Mapping[str, object], message: str) -> None:
    row = ROWS[name]
    with pytest.raises(TableError, match=message):
        describe_sensor(row.driver, {**row.options, **options})


def test_every_row_has_a_wrong_option() -> None:
    assert all(row.wrong for row in ROWS.values())


def test_who_can_test_itself_says_so(rig: Rig) -> None:
    assert isinstance(rig.sensor, SelfTesting) == bool(rig.sensor.info.self_test_ms)


@some(n for n, row in ROWS.items() if describe_sensor(row.driver, row.options).self_test_ms)
def test_who_tests_itself_goes_on_afterwards(rig: Rig) -> None:
    assert isinstance(rig.sensor, SelfTesting)
    before = rig.simulation.clock.monotonic_ms()
    rig.sensor.self_test()
    assert rig.simulation.clock.monotonic_ms() - before <= rig.sensor.info.self_test_ms
    assert rig.value()
    rig.fail("nack", 60)
    with pytest.raises(SensorError):
        rig.sensor.self_test()
