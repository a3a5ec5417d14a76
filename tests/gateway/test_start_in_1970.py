"""A start without network, time or memory of either: the gateway samples, alarms and records all the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from gateway_site import CALM, LEAK, Site
from testhub import wait_until

from gateway import synchrony
from gateway.chain.block import STALE, Header
from gateway.clock import SimulatedClock
from gateway.daemon import Gateway
from gateway.inspection.reporting import status_of
from gateway.outputs.wire import end_simulated
from gateway.simulation.scenario import load_scenario
from gateway.simulation.simulation import Simulation
from gateway.storage.store import Store

HOUR_MS = 3_600_000


def test_in_1970_and_alone_a_gateway_samples_alarms_and_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synchrony, "_TIMESYNCD", tmp_path / "nothing")
    monkeypatch.setattr(synchrony, "_RTCS", tmp_path / "nothing")
    monkeypatch.setattr(synchrony, "_is_set_by_kernel", lambda: False)
    config = Site(tmp_path).config(readings=20)
    simulation = Simulation(load_scenario("quiet"), SimulatedClock(start_wall_ms=0))
    for table in config.sensors:
        simulation.attach(table.name, table.driver, table.options)
    simulation.hold("gas", CALM)
    gateway = Gateway(config, "test", simulation)
    try:
        gateway.start()
        wait_until(lambda: gateway.recorder.latest(), "a sample")
        simulation.hold("gas", LEAK)
        wait_until(lambda: "siren" in gateway.outputs.active, "the siren")
        wait_until(lambda: gateway.store.last_ordinal() > 0, "the alarm's row")
        assert status_of(gateway)["clock"] == "stale"
    finally:
        gateway.stop()
        end_simulated(config.data)
    store = Store(config.data / "gateway.db")
    try:
        headers = [Header.decode(each.header) for each in store.drafts()]
        assert headers
        assert all(each.clock == STALE and each.wall < HOUR_MS for each in headers)
        assert store.loose_transitions() == []
    finally:
        store.close()
