"""What can be said of a configuration without touching hardware: what it comes to, and what deserves a look.

Owns the checks across tables. What is wrong for certain raises; what is merely doubtful is a warning.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from gateway.catalogue import Catalogue
from gateway.clock import SystemClock
from gateway.config import Config, HubTable
from gateway.contracting import configured_contracts
from gateway.contracts.engine import Engine
from gateway.contracts.errors import ContractError
from gateway.contracts.explain import lint
from gateway.decider import ContractSet
from gateway.errors import ConfigError, StoreError, TransportError
from gateway.inspection.clashes import check_lines, clashes, crowded, loads
from gateway.machine import configured_catalogue, make_hardware
from gateway.outputs.options import check_distinct
from gateway.region.enrol import Trust, load_trust, read_ticket
from gateway.region.herald import check_birth
from gateway.region.succession import settle
from gateway.region.topics import Topics
from gateway.sensors.registry import read_options
from gateway.storage.recovery import DATABASE
from gateway.storage.store import Store

__all__ = ["Report", "examine"]


@dataclass(frozen=True, slots=True)
class Report:
    """A configuration that can be run. `chain` is the genesis hash, in hexadecimal; `moved` says how it came to it."""

    name: str
    chain: str
    moved: str
    catalogue: Catalogue
    contracts: ContractSet
    outputs: tuple[str, ...]
    warnings: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """Yield the report for people."""
        sensors = len(self.catalogue.sensors)
        yield f"{self.name}: {sensors} sensor{'s' * (sensors != 1)}, {len(self.catalogue.series)} series"
        yield f"  chain {self.chain[:16]}" + (f": {self.moved}" if self.moved else "")
        for plan in self.catalogue.sensors:
            yield f"  {plan.name}: {plan.info.model} on {plan.info.bus}, every {plan.period_ms} ms"
            for channel in plan.channels:
                series = channel.series
                how = f"{channel.quantity} calibrated" if channel.calibration else channel.quantity
                yield f"    {series.name}: {how}, {series.unit} in steps of {Decimal(1).scaleb(series.scale):f}"
        for contract in self.contracts.contracts:
            yield f"  contract {contract.id} version {contract.version}: {contract.title}"
        if building := self.contracts.building:
            yield f"  building {building.name}: {', '.join(each.name for each in building.members)}"
        yield f"  outputs: {', '.join(self.outputs) or 'none'}"
        for bus, share in loads(self.catalogue).items():
            yield f"  {bus}: busy {share:.1%} of its time"

    def statement(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return {
            "name": self.name,
            "chain": self.chain,
            "moved": self.moved,
            "sensors": [plan.name for plan in self.catalogue.sensors],
            "series": [[each.name, each.unit, each.scale] for each in self.catalogue.series],
            "building": self.contracts.building.name if self.contracts.building else None,
            "contracts": {each.id: each.hash.hex() for each in self.contracts.contracts},
            "outputs": list(self.outputs),
            "buses": {bus: round(share, 4) for bus, share in loads(self.catalogue).items()},
            "warnings": list(self.warnings),
        }


def examine(config: Config, where: str) -> Report:
    """Check a configuration. Raises ConfigError."""
    catalogue = configured_catalogue(config, where)
    contracts = configured_contracts(config, where)
    check_birth(catalogue.series, contracts.documents)
    try:
        Engine(contracts.contracts, catalogue.infos, 0)
        check_distinct(config.outputs, config.buttons)
    except (ContractError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from error
    check_lines(config, catalogue, where)
    if found := clashes(config, catalogue):
        raise ConfigError(f"{where}: {'; '.join(found)}")
    if config.simulation is not None:
        _check_simulation(config, catalogue)
    trust, moved = _chain(config)
    _check_hubs(config.hubs, where)
    names = tuple(each.name for each in config.outputs)
    warnings = (*_warnings(config, catalogue, contracts, names), *_strangers(config.hubs, trust))
    return Report(config.gateway.name, trust.hash.hex(), moved, catalogue, contracts, names, warnings)


def _chain(config: Config) -> tuple[Trust, str]:
    """Return the chain this gateway will be of, and in words how that is not the trust file's. Raises ConfigError."""
    trust = load_trust(Path(config.gateway.trust), config.data)
    database = config.data / DATABASE
    if not database.exists():
        return trust, ""
    try:
        store = Store(database, writable=False)
        try:
            own, kept = settle(store, trust, config.data), store.get("genesis")
        finally:
            store.close()
    except StoreError as error:
        raise ConfigError(str(error)) from error
    if own.hash != trust.hash:
        return own, f"the trust file names {trust.hash.hex()[:16]}, which this chain took over"
    if kept is not None and kept != own.hash:
        return own, f"the data directory is of {kept.hex()[:16]}, which this chain takes over"
    return own, ""


def _check_hubs(hubs: Sequence[HubTable], where: str) -> None:
    from gateway.region.mouth import link_config

    for hub in hubs:
        try:
            link_config(hub, Topics("region", bytes(16), hub.name)).check()
        except TransportError as error:
            raise ConfigError(f"{where}: hub {hub.name!r}: {error}") from error
    urls = [hub.url for hub in hubs]
    twice = next((url for url in urls if urls.count(url) > 1), None)
    if twice is not None:
        raise ConfigError(f"{where}: two hubs share {twice}: each has a broker of its own")


def _strangers(hubs: Sequence[HubTable], trust: Trust) -> Iterator[str]:
    for hub in hubs:
        if trust.genesis and all(each.name != hub.name for each in trust.genesis.hubs):
            yield f"hub {hub.name!r} is not in the genesis: it waits until the federation's roster names it"


def _warnings(
    config: Config, catalogue: Catalogue, contracts: ContractSet, outputs: tuple[str, ...]
) -> Iterator[str]:
    for contract in contracts.contracts:
        yield from lint(contract, catalogue.infos)
        named = {*contract.actions.pre_alarm, *contract.actions.alarm, *contract.actions.fault}
        for name in sorted(named - set(outputs)):
            yield f"contract {contract.id} drives {name!r}, and no output is called so"
    for plan in catalogue.sensors:
        raw = {channel.quantity for channel in plan.channels if channel.calibration is None}
        for channel in plan.channels:
            if channel.calibration is not None and channel.quantity not in raw:
                yield f"{plan.name}: only {channel.series.name} is recorded, not the {channel.quantity} it was made of"
    yield from crowded(catalogue)
    yield from _unread(catalogue, contracts)
    yield from _uncalibrated(catalogue, contracts)
    yield from _slow_inputs(catalogue, contracts)
    yield from _of_neighbours(config, catalogue)
    if not config.hubs:
        yield "no hub is configured: blocks stay here, and alarms are seen by nobody else"
    if config.enrolment and Path(config.enrolment.ticket).exists():
        read_ticket(Path(config.enrolment.ticket))


def _unread(catalogue: Catalogue, contracts: ContractSet) -> Iterator[str]:
    """Series that decide nothing: read by no contract, no correction, and no calibrated series' raw quantity."""
    read = _read(contracts)
    unread = []
    for plan in catalogue.sensors:
        made_of = {channel.quantity for channel in plan.channels if channel.calibration is not None}
        for channel in plan.channels:
            correction = channel.calibration.correction if channel.calibration else None
            read |= {correction.temperature, correction.humidity} if correction else set()
            if channel.calibration is not None or channel.quantity not in made_of:
                unread.append(channel.series.name)
    if names := [name for name in unread if name not in read]:
        yield f"no contract reads {', '.join(names)}: recorded, but nothing is decided on it"


def _uncalibrated(catalogue: Catalogue, contracts: ContractSet) -> Iterator[str]:
    """Calibrations that are missing where a contract decides on bare counts, unsigned, or over."""
    read, now = _read(contracts), SystemClock().wall_ms()
    for plan in catalogue.sensors:
        for channel in plan.channels:
            name = channel.series.name
            if channel.calibration is None:
                if name in read and channel.series.unit == "count":
                    yield f"{name} is decided on as bare counts: it has no calibration; tocsin-tools calibrate"
                continue
            validity = channel.calibration.validity
            if validity is None:
                yield f"{name}: nobody signed its calibration, and it never expires; tocsin-tools calibrate"
            elif now >= validity.until_ms:
                yield f"{name}: its calibration expired on {_day(validity.until_ms)}; tocsin-tools calibrate"


def _slow_inputs(catalogue: Catalogue, contracts: ContractSet) -> Iterator[str]:
    """Inputs that a contract would call missing between two of their values."""
    cycles = {c.series.name: plan.info.cycle_ms for plan in catalogue.sensors for c in plan.channels}
    for contract in contracts.contracts:
        for each in contract.inputs:
            if each.max_age <= (cycle := cycles.get(each.series, 0)):
                yield (
                    f"contract {contract.id}: {each.series} has a value every {cycle // 1000} s,"
                    f" and max_age calls it missing after {each.max_age // 1000} s"
                )


def _day(wall_ms: int) -> str:
    return f"{datetime.fromtimestamp(wall_ms // 1000, UTC):%Y-%m-%d}"


def _read(contracts: ContractSet) -> set[str]:
    return {given.series for contract in contracts.contracts for given in contract.inputs}


def _of_neighbours(config: Config, catalogue: Catalogue) -> Iterator[str]:
    known = [each.name for each in config.neighbours.members]
    for plan in catalogue.sensors:
        if plan.driver != "neighbour":
            continue
        options = read_options(plan.driver, plan.options)
        if not known:
            yield f"{plan.name}: [neighbours] names no building: it counts as silent until a roster is granted"
        elif options.member not in known:
            yield f"{plan.name}: no member of the building is called {options.member!r}: it counts as silent"
        if options.silent_s < 3 * config.neighbours.heartbeat_s:
            yield f"{plan.name}: silent_s is less than three heartbeats of {config.neighbours.heartbeat_s} s"


def _check_simulation(config: Config, catalogue: Catalogue) -> None:
    hardware, _ = make_hardware(config, catalogue)
    hardware.close()
