"""The recording half of a gateway on a directory: real journals, database, contracts and pins, samples by hand."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpiozero.pins.mock import MockFactory

from gateway.catalogue import Catalogue, make_catalogue
from gateway.chain.keys import SigningKey, gateway_id
from gateway.clock import Clock, SimulatedClock
from gateway.config import SealTable, SensorTable, SeriesTable
from gateway.contracts.library import template
from gateway.contracts.source import read_contract
from gateway.decider import ContractSet, Decider
from gateway.errors import SensorError, SensorErrorKind, StoreError
from gateway.outputs.board import Board
from gateway.outputs.options import OutputOptions
from gateway.outputs.orders import Order
from gateway.recording.logbook import Logbook
from gateway.recording.recorder import Recorder
from gateway.recording.writer import Writer
from gateway.region.enrol import Trust
from gateway.region.keeper import Identity, Keeper
from gateway.storage.recovery import open_data
from gateway.storage.store import Store

KEY = SigningKey(bytes(range(32)))
GENESIS = bytes(31) + b"\1"
SIREN = OutputOptions("siren", "siren", 17)
VALVE = OutputOptions("valve", "valve", 22)
START_MS = 1_760_000_000_000

GAS = SensorTable(
    "gas",
    "ads1115",
    100,
    {"input": "a0"},
    (
        SeriesTable(
            "kitchen.ch4", calibration={"kind": "linear", "quantity": "raw", "unit": "ppm", "scale": 0}
        ),
    ),
)
AIR = SensorTable(
    "air",
    "dht22",
    3000,
    {"pin": 4},
    (
        SeriesTable("kitchen.temperature", "temperature", dead_band=5, longest_s=60),
        SeriesTable("kitchen.humidity", "humidity", class_="internal"),
    ),
)


def gas_contract(version: int = 0, **names: Any) -> ContractSet:
    given = {"series": "kitchen.ch4", "hold": "0s", "pre_hold": "0s", "warm_up": "0s", **names}
    return ContractSet.of([read_contract(template("gas-ch4", **given), "test")], version)


class Rig:
    """A gateway's recording half; `boot` numbers its starts on the same directory."""

    def __init__(
        self,
        directory: Path,
        clock: Clock | None = None,
        *,
        boot: int = 1,
        seal: SealTable | None = None,
        contracts: ContractSet | None = None,
        sensors: Sequence[SensorTable] = (GAS, AIR),
        bound_ms: int = 1000,
        genesis: bytes = GENESIS,
        powered_since_ms: int = -10_000_000,
        siren: OutputOptions = SIREN,
        relays: Sequence[OutputOptions] = (),
    ) -> None:
        self.clock = clock or SimulatedClock(speed=0, start_wall_ms=START_MS)
        self.directory, self.is_ready = directory, False
        self.identity = Identity(genesis, gateway_id(KEY.public), KEY, boot.to_bytes(8, "big"))
        self.catalogue: Catalogue = make_catalogue(tuple(sensors), "test", 30_000, self.identity.gateway)
        directory.mkdir(exist_ok=True)
        contracts = contracts or gas_contract()
        listing = self.catalogue.listing

        def prepare(store: Store) -> None:
            with contextlib.suppress(StoreError):  # on a worn disk
                store.add_listing(listing.root, [each.encode() for each in self.catalogue.series])
                store.add_listing(contracts.listing.root, contracts.documents)

        trust = Trust(genesis, None)
        self.found = found = open_data(directory, trust, self.identity.gateway, bound_ms, self.clock, prepare)
        self.store = found.store
        self.keeper = Keeper(self.identity, self.store, whole=found.whole)
        self.pins = MockFactory()
        self.outputs = Board([siren, VALVE, *relays], self.pins, self.clock)
        self.outputs.order(Order())  # a guardian that was there before the gateway
        self.outputs.take()
        kinds = {"siren": "siren", "valve": "valve"} | {each.name: each.kind for each in relays}
        now = self.clock.monotonic_ms()
        self.decider = Decider(
            contracts,
            self.catalogue.infos,
            self.outputs,
            kinds,
            now,
            faults=lambda: self.recorder.faulty if self.is_ready else (),
        )
        self.announced = threading.Event()
        self.writer = Writer(
            self.identity,
            self.store,
            self.keeper,
            found.journals,
            self.clock,
            left=found.left,
            unwritten=found.unwritten,
            release=lambda journal: self.recorder.release(journal),
            care=self.care,
            announce=self.announced.set,
        )
        self.logbook = Logbook(
            self.identity.boot,
            found.number,
            [each.klass for each in self.catalogue.series],
            listing,
            contracts.listing,
            journals=found.journals,
            seal=seal or SealTable(),
            clock=self.clock,
            shelf=self.writer,
            state=self.decider.state,
            clock_state=lambda: 1,
        )
        self.recorder = Recorder(
            self.identity,
            self.catalogue,
            self.decider,
            self.logbook,
            self.writer,
            powered_since_ms=powered_since_ms,
        )
        loose = [row.body for row in self.store.loose_transitions()]
        self.is_ready = True
        self.writer.start()
        self.recorder.start(found.state, loose)

    def care(self) -> None:
        """What the gateway does for its store; tests replace it."""

    def gas(self, value: int) -> None:
        self._sample("gas", {"raw": value, "voltage": 0})

    def air(self, temperature: int, humidity: int = 500) -> None:
        self._sample("air", {"temperature": temperature, "humidity": humidity})

    def fail(self, sensor: str, kind: SensorErrorKind = "nack") -> None:
        self.recorder.fail(self._plan(sensor), SensorError(kind, "as the test wants it"))

    def advance(self, seconds: float) -> None:
        assert isinstance(self.clock, SimulatedClock)
        self.clock.advance(seconds)

    @property
    def siren(self) -> bool:
        return bool(self.pins.pin(17).state)

    def settle(self) -> None:
        """Wait until all that was handed over is written, and a journal is free."""
        for _ in range(12_000):  # a minute
            with self.writer._wake:
                if not self.writer._decisions and not self.writer._blocks and self.logbook._free:
                    return
            time.sleep(0.005)
        raise AssertionError("the writer did not come to rest")

    def stop(self) -> None:
        self.recorder.end()
        self.writer.stop()
        self.close()

    def close(self) -> None:
        """Leave everything as it is, as SIGKILL does."""
        with self.writer._wake:
            self.writer._decisions.clear()
            self.writer._blocks.clear()
            self.writer._unwritten.clear()
        self.writer.stop()
        self.store.close()
        for journal in self.found.journals:
            journal.close()
        for _, journal in self.found.left:
            journal.close()
        self.pins.reset()

    def _sample(self, name: str, values: Mapping[str, int]) -> None:
        self.recorder.sample(self._plan(name), values)

    def _plan(self, name: str) -> Any:
        return next(each for each in self.catalogue.sensors if each.name == name)
