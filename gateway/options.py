"""Command-line options that every command with a configuration shares, and what they come to.

Owns `--config` and `--simulate`. It does not own the configuration nor the simulation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from gateway.config import Config, load_config
from gateway.control import is_running
from gateway.errors import ConfigError

__all__ = ["CAPTURE", "config_option", "configured", "refuse_beside", "simulate_option"]

CAPTURE: Final = ".capture"
_Command = TypeVar("_Command", bound=Callable[..., Any])


def config_option(function: _Command) -> _Command:
    """Give a command `--config`, as its argument `path`."""
    return click.option(
        "--config",
        "path",
        required=True,
        type=click.Path(dir_okay=False, path_type=Path),
        help="The gateway's TOML file.",
    )(function)


def simulate_option(function: _Command) -> _Command:
    """Give a command `--simulate`, as its argument `scenario`."""
    return click.option(
        "--simulate",
        "scenario",
        metavar="SCENARIO",
        help=f"Simulate the configured sensors: a scenario's name, its .toml, or a recorded {CAPTURE} file.",
    )(function)


def configured(path: Path, scenario: str | None, *, records: bool = False) -> Config:
    """Read a configuration; a scenario stands in for its hardware, on the seed and places that it may name.

    Args:
        records: a record may do so too: nothing is asked but what its gateway asked.

    Raises:
        ConfigError: it cannot be read, or a record cannot answer here.
    """
    config = _simulated(load_config(path), scenario)
    if not records and "capture" in (config.simulation or {}):
        raise ConfigError("a record answers only what was asked when it was made; simulate a scenario")
    return config


def _simulated(config: Config, scenario: str | None) -> Config:
    if scenario is None:
        return config
    table = dict(config.simulation or {})
    for key in ("scenario", "capture"):
        table.pop(key, None)
    if scenario.endswith(CAPTURE):
        return replace(config, simulation={"capture": str(Path(scenario).absolute())})
    return replace(config, simulation={**table, "scenario": scenario})


def refuse_beside(config: Config, what: str) -> None:
    """Refuse to touch real buses and pins beside the running gateway: each has one owner.

    Raises:
        ConfigError: the gateway of this configuration runs.
    """
    if config.simulation is None and is_running(config.data / "control.sock"):
        raise ConfigError(
            f"the gateway runs and owns the buses: {what} would disturb it; stop it first"
            " (systemctl stop tocsin-gateway), or ask it: tocsin-gateway status"
        )
