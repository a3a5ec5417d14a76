"""The gateway's configuration: one TOML file, one tree of frozen dataclasses.

Owns the file's shape, its defaults and the paths in it, which are relative to the file. It opens no device and
no database; what the sensors' tables mean is the drivers' (`gateway.sensors.registry`), what they add up to is
`gateway.catalogue`'s.

Invariant: a file is understood whole or refused, naming file, key and the nearest known key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from gateway.contracts.errors import ContractError
from gateway.contracts.tables import loads_toml, read_table
from gateway.errors import ConfigError
from gateway.neighbours.config import NeighboursTable
from gateway.outputs.options import ButtonOptions, GuardianTable, OutputOptions
from gateway.recording.plausibility import PlausibleTable
from gateway.sensors.bus import BusOptions

__all__ = [
    "Config",
    "ContractsTable",
    "EnrolmentTable",
    "GatewayTable",
    "HubTable",
    "SealTable",
    "SensorTable",
    "SeriesTable",
    "TemplateTable",
    "load_config",
    "parse_config",
]

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")
_LOSS_BOUND_MS: Final = {"sd": 10_000, "ssd": 1_000}
MAX_READINGS: Final = 4_000


@dataclass(frozen=True, slots=True)
class GatewayTable:
    """`[gateway]`: who this is and where it keeps things.

    Attributes:
        name: what installers call it.
        region: the region's name, as in its topics.
        data: directory of key, journals and database.
        storage: what that directory is on; "sd" loses up to 10 s of readings in a power cut, "ssd" 1 s.
        loss_bound_ms: the same, set directly; transitions are never lost.
        trust: file with the genesis, or with its hash as 64 hexadecimal digits. It may stay as it is when another
            chain takes that one over: the gateway follows by itself.
        quota_mb: the most that the database may take; half the disk if left out.
        retain_h: bodies that hubs keep for us stay here for so long all the same.
        ring_s: seconds of full-rate readings kept in memory, and recorded around a transition.
        heartbeat_s: seconds between signed heartbeats.
    """

    name: str
    region: str
    data: str
    storage: Literal["sd", "ssd"] = "sd"
    loss_bound_ms: int | None = None
    trust: str = "trust"
    quota_mb: int | None = None
    retain_h: int = 24
    ring_s: int = 30
    heartbeat_s: int = 30

    def __post_init__(self) -> None:
        if len(self.region) > 64 or not _NAME.fullmatch(self.region):
            raise ValueError(f"region {self.region!r} is not lower-case letters, digits, dots and dashes")
        if not 1 <= len(self.name.encode()) <= 200 or not self.name.isprintable():
            raise ValueError("name must be 1 to 200 printable characters")
        for key, value, least in (
            ("loss_bound_ms", self.loss_bound_ms, 0),
            ("quota_mb", self.quota_mb, 8),
            ("retain_h", self.retain_h, 0),
            ("ring_s", self.ring_s, 0),
            ("heartbeat_s", self.heartbeat_s, 1),
        ):
            if value is not None and value < least:
                raise ValueError(f"{key} must be at least {least}, not {value}")

    @property
    def bound_ms(self) -> int:
        """The longest a reading may wait to be durable."""
        return _LOSS_BOUND_MS[self.storage] if self.loss_bound_ms is None else self.loss_bound_ms


@dataclass(frozen=True, slots=True)
class EnrolmentTable:
    """`[enrolment]`: how to join a chain once. `ticket` holds the seed, and is erased after use."""

    url: str
    ticket: str
    ca_file: str = ""


@dataclass(frozen=True, slots=True)
class HubTable:
    """`[[hubs]]`: one hub, by its name in the genesis or in the federation's roster, and the broker where it listens.

    Attributes:
        url: `mqtt://` or `mqtts://`, see `gateway.mqtt.config.LinkConfig`, as are the files.
        backlog_kib_s: blocks are sent no faster than this; alarms do not count.
    """

    name: str
    url: str
    password_file: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    backlog_kib_s: int = 256

    def __post_init__(self) -> None:
        if self.backlog_kib_s < 1:
            raise ValueError("backlog_kib_s must be at least 1")


@dataclass(frozen=True, slots=True)
class SealTable:
    """`[seal]`: a block is sealed at so many readings or after so many seconds, whichever comes first.

    `min_interval_ms` is the least time between two seals that transitions ask for.
    """

    readings: int = 4_000
    seconds: int = 120
    min_interval_ms: int = 1_000

    def __post_init__(self) -> None:
        if not 1 <= self.readings <= MAX_READINGS:
            raise ValueError(f"readings must be 1 to {MAX_READINGS}: a block has to fit one message")
        if not 1 <= self.seconds <= 86_400 or not 0 <= self.min_interval_ms <= 60_000:
            raise ValueError("seconds must be 1 to 86400, min_interval_ms 0 to 60000")


@dataclass(frozen=True, slots=True)
class SeriesTable:
    """`[[sensors.series]]`: one stream of values out of a sensor.

    Attributes:
        name: unique on this gateway.
        quantity: of the sensor; with a calibration it may be left out.
        class_: who may see it.
        dead_band, longest_s: a value within the dead band (in steps of the series' scale) of the last one
            kept is kept only after so many seconds; both 0 keeps every value, a dead_band of 0 every change.
        calibration: see `gateway.calibration.tables`; without it the quantity itself is the series.
        plausible: what values it can have.
    """

    name: str
    quantity: str = ""
    class_: Literal["public", "internal", "restricted"] = "public"
    dead_band: int = 0
    longest_s: int = 0
    calibration: Mapping[str, object] | None = None
    plausible: PlausibleTable = field(default_factory=PlausibleTable)

    def __post_init__(self) -> None:
        if self.dead_band < 0 or self.longest_s < 0 or (self.dead_band and not self.longest_s):
            raise ValueError("dead_band and longest_s are 0 or above, and a dead_band needs a longest_s")
        if not self.quantity and self.calibration is None:
            raise ValueError("a series needs a quantity or a calibration")


@dataclass(frozen=True, slots=True)
class SensorTable:
    """`[[sensors]]`: a sensor, by driver; without series, each of its quantities is a public one.

    `serial` is what is printed on it, for certificates.
    """

    name: str
    driver: str
    period_ms: int = 1_000
    options: Mapping[str, object] = field(default_factory=dict)
    series: tuple[SeriesTable, ...] = ()
    serial: str = ""

    def __post_init__(self) -> None:
        if len(self.name) > 64 or not _NAME.fullmatch(self.name):
            raise ValueError(
                f"sensor name {self.name!r} is not lower-case letters, digits, dots, dashes and underscores"
            )
        if len(self.serial.encode()) > 64 or not (self.serial.isprintable() or not self.serial):
            raise ValueError("serial must be at most 64 printable characters")
        if not 1 <= self.period_ms <= 86_400_000:
            raise ValueError("period_ms must be 1 to 86400000")


@dataclass(frozen=True, slots=True)
class TemplateTable:
    """`[[contracts.templates]]`: a packaged contract with its places filled."""

    template: str
    names: Mapping[str, str | int | tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ContractsTable:
    """`[contracts]`: what is decided here until an authority grants another set."""

    files: tuple[str, ...] = ()
    templates: tuple[TemplateTable, ...] = ()


@dataclass(frozen=True, slots=True)
class Config:
    """The whole file. `simulation` is read by `gateway.simulation` when it is there."""

    gateway: GatewayTable
    sensors: tuple[SensorTable, ...]
    enrolment: EnrolmentTable | None = None
    hubs: tuple[HubTable, ...] = ()
    seal: SealTable = field(default_factory=SealTable)
    contracts: ContractsTable = field(default_factory=ContractsTable)
    outputs: tuple[OutputOptions, ...] = ()
    buttons: tuple[ButtonOptions, ...] = ()
    guardian: GuardianTable = field(default_factory=GuardianTable)
    buses: tuple[BusOptions, ...] = ()
    neighbours: NeighboursTable = field(default_factory=NeighboursTable)
    simulation: Mapping[str, object] | None = None

    def __post_init__(self) -> None:
        names = [sensor.name for sensor in self.sensors] + [f"hub {hub.name}" for hub in self.hubs]
        names += [f"bus {bus.name}" for bus in self.buses]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice!r} stands twice; give each sensor, hub and bus its own name")

    @property
    def data(self) -> Path:
        """The data directory."""
        return Path(self.gateway.data)


def load_config(path: Path) -> Config:
    """Read a configuration file.

    Raises:
        ConfigError: it cannot be read, or holds what a gateway does not understand.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is no text in UTF-8: {error}") from error
    return parse_config(text, path)


def parse_config(text: str, path: Path) -> Config:
    """Read a configuration from its text; `path` names it, and its directory is where relative paths start.

    Raises:
        ConfigError: as `load_config`.
    """
    try:
        config = read_table(Config, loads_toml(text, str(path)), where=str(path))
    except ContractError as error:
        raise ConfigError(str(error)) from error
    return _resolved(config, path.parent)


def _resolved(config: Config, base: Path) -> Config:
    """Make every path absolute; empty ones stay empty."""

    def at(name: str) -> str:
        return str((base / name).absolute()) if name else ""

    enrolment = config.enrolment
    if enrolment:
        enrolment = replace(enrolment, ticket=at(enrolment.ticket), ca_file=at(enrolment.ca_file))
    hubs = tuple(
        replace(
            hub,
            password_file=at(hub.password_file),
            ca_file=at(hub.ca_file),
            cert_file=at(hub.cert_file),
            key_file=at(hub.key_file),
        )
        for hub in config.hubs
    )
    gateway = replace(config.gateway, data=at(config.gateway.data), trust=at(config.gateway.trust))
    contracts = replace(config.contracts, files=tuple(map(at, config.contracts.files)))
    simulation = config.simulation
    if simulation and isinstance(simulation.get("capture"), str):
        simulation = {**simulation, "capture": at(str(simulation["capture"]))}
    sensors = tuple(
        replace(sensor, series=tuple(_with_record(series, at) for series in sensor.series))
        for sensor in config.sensors
    )
    return replace(
        config,
        gateway=gateway,
        sensors=sensors,
        enrolment=enrolment,
        hubs=hubs,
        contracts=contracts,
        simulation=simulation,
    )


def _with_record(series: SeriesTable, at: Callable[[str], str]) -> SeriesTable:
    """Make the path of a calibration's signed record absolute."""
    table = series.calibration
    if table is None or not isinstance(file := table.get("file"), str):
        return series
    return replace(series, calibration={**table, "file": at(file)})
