"""A sensor's fault cannot be inhibited: whatever is commanded, silenced, granted or configured, it is signed as an
event, and the fault relay acts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rig import AIR, GAS, Rig, gas_contract
from test_recorder import blocks, opened

from gateway.catalogue import make_catalogue
from gateway.chain.events import Status
from gateway.chain.reading import parse_leaf
from gateway.config import SensorTable, SeriesTable
from gateway.decider import ContractSet
from gateway.outputs.options import OutputOptions
from gateway.recording.gauges import Gauges
from gateway.recording.health import FAULT
from gateway.recording.plausibility import PlausibleTable
from gateway.storage.store import Store

PANEL = OutputOptions("panel", "fault", 5)


def relay_acts(rig: Rig) -> bool:
    return not rig.pins.pin(5).state  # it is energised while all is well


def fault(rig: Rig) -> None:
    for _ in range(5):
        rig.advance(0.1)
        rig.fail("gas", "nack")


def silence(rig: Rig) -> None:
    rig.recorder.silence("gas-ch4", "console")


def reset(rig: Rig) -> None:
    rig.recorder.reset("gas-ch4", "console")


def take_contracts_away(rig: Rig) -> None:
    rig.recorder.swap(ContractSet.of([], 1))


def grant_others(rig: Rig) -> None:
    rig.recorder.swap(gas_contract(2, hold="60s"))


def try_the_siren(rig: Rig) -> None:
    rig.recorder.test("siren", 5, "console")


def wait_long(rig: Rig) -> None:
    for _ in range(10):
        rig.advance(60)
        rig.recorder.tick()


ATTEMPTS = [silence, reset, take_contracts_away, grant_others, try_the_siren, wait_long]


def signed(directory: Path) -> list[tuple[int, str]]:
    store = Store(directory / "gateway.db")
    leaves = [leaf for each in blocks(store) for _, leaf in opened(store, each)[0].events]
    store.close()
    return [
        (e.state, e.reason) for leaf in leaves if isinstance(e := parse_leaf(leaf), Status) and not e.series
    ]


@pytest.mark.parametrize("attempt", ATTEMPTS)
@pytest.mark.parametrize("before", [True, False])
def test_nothing_that_can_be_done_to_a_gateway_hides_a_fault(
    tmp_path: Path, attempt: Callable[[Rig], None], before: bool
) -> None:
    rig = Rig(tmp_path, relays=(PANEL,))
    rig.advance(1)
    rig.gas(1)
    rig.air(200)
    if before and attempt is not wait_long:  # nobody would sample meanwhile
        attempt(rig)
    assert not relay_acts(rig)
    fault(rig)
    assert relay_acts(rig)
    if not before:
        attempt(rig)
        rig.recorder.tick()
        assert relay_acts(rig)
    rig.stop()
    assert (FAULT, "nack") in signed(tmp_path)


def test_a_contract_that_comes_into_force_during_a_fault_is_told_of_it(tmp_path: Path) -> None:
    rig = Rig(tmp_path, contracts=ContractSet.of([]))
    rig.advance(1)
    rig.gas(1)
    fault(rig)
    rig.recorder.swap(gas_contract(1))
    rig.recorder.tick()
    assert rig.recorder.conditions()["gas-ch4"][1] == ("gas:nack",)
    rig.stop()


@pytest.mark.parametrize("class_", ["public", "internal", "restricted"])
def test_a_fault_is_an_event_of_every_class_and_policy(tmp_path: Path, class_: str) -> None:
    (series,) = GAS.series
    kept = replace(series, class_=class_, dead_band=1_000_000, longest_s=86_400)  # type: ignore[arg-type]
    rig = Rig(tmp_path, sensors=(replace(GAS, series=(kept,)), AIR), relays=(PANEL,))
    rig.advance(1)
    rig.gas(1)
    fault(rig)
    assert relay_acts(rig)
    rig.stop()
    store = Store(tmp_path / "gateway.db")
    leaves = [
        leaf
        for each in blocks(store)
        for segment in opened(store, each).values()
        for _, leaf in segment.events
    ]
    store.close()
    states = [(e.series, e.state) for leaf in leaves if isinstance(e := parse_leaf(leaf), Status)]
    assert (0, FAULT) in states


numbers = st.integers(0, 1 << 40)


@given(
    table=st.builds(
        PlausibleTable,
        low=st.none() | st.integers(-(1 << 40), -1),
        high=st.none() | numbers,
        slew=numbers,
        slew_floor=numbers,
        still_s=numbers,
        noise=numbers.filter(bool),
        for_s=numbers,
    ),
    period_ms=st.integers(10, 60_000),
)
@settings(deadline=None)
def test_no_plausible_table_hides_failures(table: PlausibleTable, period_ms: int) -> None:
    series = SeriesTable("value", "raw", plausible=table)
    catalogue = make_catalogue(
        (SensorTable("adc", "ads1115", period_ms, {"input": "a0"}, (series,)),), "test"
    )
    channel = catalogue.sensors[0].channels[0]
    gauges = Gauges(catalogue, powered_since_ms=-10_000_000, now_ms=0)
    changes = [gauges.fail(channel, "nack", period_ms * i) for i in range(1, 6)]
    assert changes[-1]
    assert gauges.faulty() == ["value"]
