"""A whole gateway in a directory, with simulated hardware, a real broker and the test hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from guardians import GuardianThread
from testhub import REGION, TestHub, make_genesis

from gateway.chain.genesis import Genesis
from gateway.clock import SimulatedClock
from gateway.config import Config, parse_config
from gateway.daemon import Gateway
from gateway.outputs.wire import end_simulated
from gateway.simulation.scenario import load_scenario
from gateway.simulation.simulation import Simulation

TOML = """
[gateway]
name = "flat 3"
region = "{region}"
data = "data"
trust = "trust"
loss_bound_ms = 200
heartbeat_s = 1
{extra}

[seal]
readings = {readings}
seconds = {seconds}
min_interval_ms = 100

[[hubs]]
name = "hub"
url = "{url}"

[[sensors]]
name = "gas"
driver = "ads1115"
period_ms = 20
options = {{ input = "a0", rate = 860 }}
series = [
    {{ name = "kitchen.ch4", calibration = {{ kind = "linear", quantity = "raw", unit = "ppm", scale = 0 }} }},
    {{ name = "kitchen.volts", quantity = "voltage", class = "internal" }},
]

[[contracts.templates]]
template = "gas-ch4"
names = {{ series = "kitchen.ch4", pre_hold = "0s", hold = "0s", warm_up = "0s", clear_for = "0s" }}

[[outputs]]
name = "siren"
kind = "siren"
pin = 23

[[outputs]]
name = "valve"
kind = "valve"
pin = 24
"""
CALM, LEAK = 0.25, 2.0  # volts: 2000 and 16000 counts


class Site:
    """A gateway's directory, from which gateways are started again and again."""

    def __init__(
        self, directory: Path, url: str = "mqtt://127.0.0.1:1", genesis: Genesis | None = None
    ) -> None:
        self.directory, self.url = directory, url
        self.genesis = genesis or make_genesis()
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "trust").write_bytes(self.genesis.encode())

    def config(
        self,
        *,
        readings: int = 50,
        seconds: int = 60,
        extra: str = "",
        more: str = "",
        max_age: str = "10s",
    ) -> Config:
        text = (
            TOML.format(url=self.url, region=REGION, readings=readings, seconds=seconds, extra=extra) + more
        )
        text = text.replace('hold = "0s"', f'hold = "0s", max_age = "{max_age}"', 1)
        return parse_config(text, self.directory / "gateway.toml")

    def start(self, config: Config | None = None, enrol_at: TestHub | None = None, **options: Any) -> Started:
        return Started(config or self.config(**options), enrol_at)


class Started:
    """A running gateway and the hand at its sensor."""

    def __init__(self, config: Config, enrol_at: TestHub | None = None) -> None:
        self.simulation = Simulation(load_scenario("quiet"), SimulatedClock())
        for table in config.sensors:
            self.simulation.attach(table.name, table.driver, table.options)
        self.simulation.hold("gas", CALM)
        config.data.mkdir(mode=0o700, exist_ok=True)
        self.guardian = GuardianThread(config.data)
        try:
            self.gateway = Gateway(config, "test", self.simulation)
        except BaseException:
            self.guardian.stop()
            raise
        self.id = self.gateway.identity.gateway
        if enrol_at:  # before its first word
            enrolled(enrol_at, self)
        self.gateway.start()

    @property
    def siren(self) -> bool:
        return "siren" in self.gateway.outputs.active

    def leak(self) -> None:
        self.simulation.hold("gas", LEAK)

    def calm(self) -> None:
        self.simulation.hold("gas", CALM)

    def stop(self) -> None:
        self.gateway.stop()
        self.guardian.stop()
        end_simulated(self.guardian.places[0])  # of the gateway's own, where a test took that one away


def enrolled(hub: TestHub, started: Started) -> None:
    hub.enrol(started.id, started.gateway.identity.key.public)
