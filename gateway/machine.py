"""What a gateway runs on: its hardware, its data directory, and the name of this program.

Owns the choice between a Pi's hardware and a simulation. What the hardware does is its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from gateway.catalogue import Catalogue, make_catalogue
from gateway.clock import Clock, SimulatedClock
from gateway.config import Config
from gateway.contracts.errors import ContractError
from gateway.errors import ConfigError, GatewayError
from gateway.region.enrol import known_gateway
from gateway.sensors.base import Hardware

__all__ = ["built_ms", "configured_catalogue", "data_directory", "make_hardware", "open_hardware", "software"]


def configured_catalogue(config: Config, where: str, *, runs: bool = False) -> Catalogue:
    """Return the catalogue that a configuration comes to on this machine.

    Args:
        runs: it is to be signed by this gateway, so a technician's record must be of it. Otherwise it must be where
            the key can be seen: systemd shows a credential to the gateway alone.

    Raises:
        ConfigError: as `make_catalogue`; or the gateway's key cannot be read.
    """
    gateway = known_gateway(Path(config.gateway.data))
    return make_catalogue(
        config.sensors, where, config.gateway.ring_s * 1000, gateway or (b"" if runs else None)
    )


def make_hardware(
    config: Config, catalogue: Catalogue, given: Hardware | None = None
) -> tuple[Hardware, float]:
    """Return the hardware a configuration names, real or simulated, and how fast its clock runs.

    Raises:
        ConfigError: the simulation cannot be set up.
    """
    if given is None:
        given = open_hardware(config, [(plan.name, plan.driver, plan.options) for plan in catalogue.sensors])
    return given, given.clock.speed if isinstance(given.clock, SimulatedClock) else 1.0


def open_hardware(
    config: Config, sensors: Iterable[tuple[str, str, Mapping[str, object]]], clock: Clock | None = None
) -> Hardware:
    """Return the hardware a configuration names.

    Args:
        sensors: name, driver and options of each that is simulated.
        clock: of a simulation, instead of one at its own speed.

    Raises:
        ConfigError: the simulation cannot be set up.
    """
    if config.simulation is None:
        from gateway.sensors.hardware import PiHardware

        return PiHardware(buses=config.buses)
    from gateway.simulation.capture import Replay
    from gateway.simulation.simulation import Simulation

    try:
        if "capture" in config.simulation:
            return Replay.from_table(config.simulation, where="simulation")
        return Simulation.from_table(
            config.simulation, sensors, where="simulation", clock=clock, buses=config.buses
        )
    except (GatewayError, ContractError) as error:
        raise ConfigError(str(error)) from error


def software() -> str:
    """Return this program's name and version."""
    try:
        return f"tocsin-gateway {version('tocsin')}"
    except PackageNotFoundError:
        return "tocsin-gateway"


def built_ms() -> int:
    """Return the Unix time before which this program was not there: its file's; 0 where that cannot be told."""
    try:
        return Path(__file__).stat().st_mtime_ns // 1_000_000
    except OSError:
        return 0


def data_directory(path: Path) -> Path:
    """Return a data directory, made where it was missing. Raises ConfigError."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{path}: the data directory cannot be made: {error.strerror}") from error
    return path
