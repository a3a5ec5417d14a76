"""`tocsin-tools capture`: record what passes on the buses, or hold the chips' models against a record."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.options import CAPTURE, configured, refuse_beside, simulate_option

if TYPE_CHECKING:
    from firmware_tools.capture_check import Verdict

_PATH = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option("--config", "path", type=_PATH, help="The gateway's TOML file.")
@simulate_option
@click.option("-o", "--out", type=_PATH, help=f"The record to write, NAME{CAPTURE}.")
@click.option(
    "--seconds",
    default=60.0,
    show_default=True,
    type=click.FloatRange(1),
    help="How long; Ctrl-C ends it too.",
)
@click.option("--check", "checked", type=_PATH, help="Hold the chips' models against this record instead.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def capture(
    path: Path | None,
    scenario: str | None,
    out: Path | None,
    seconds: float,
    checked: Path | None,
    as_json: bool,
) -> None:
    """Record every call on the configured sensors' buses and pins, so that a simulation can answer out of it.

    Play it with --simulate FILE.capture, or `[simulation] capture = "FILE.capture"`. The gateway itself must not run.

    Example: tocsin-tools capture --config /etc/tocsin/gateway.toml -o flat-3.capture --seconds 60

    Example: tocsin-tools capture --check flat-3.capture
    """
    if checked is not None:
        _check(checked, as_json)
        return
    if path is None or out is None:
        raise click.UsageError("name --config and -o, or --check")
    if out.suffix != CAPTURE:
        raise click.UsageError(f"{out} must end in {CAPTURE}, or --simulate does not know it")
    from firmware_tools.capture import record
    from gateway.machine import configured_catalogue, make_hardware

    config = configured(path, scenario)
    refuse_beside(config, "recording")
    catalogue = configured_catalogue(config, str(path))
    hardware, speed = make_hardware(config, catalogue)
    count = record(catalogue, hardware, speed, seconds, out)
    said = {"file": str(out), "bytes": out.stat().st_size, "samples": count.good, "failed": count.failed}
    click.echo(
        json.dumps(said)
        if as_json
        else f"{out}: {said['bytes']} bytes, {count.good} samples, {count.failed} failed"
    )


def _check(path: Path, as_json: bool) -> None:
    from firmware_tools.capture_check import check_models
    from gateway.simulation.capture import read_capture

    verdicts = list(check_models(read_capture(path)))
    if as_json:
        click.echo(json.dumps([{**asdict(each), "holds": each.holds} for each in verdicts]))
    else:
        for each in verdicts:
            _tell(each)
    if not all(each.holds for each in verdicts):
        sys.exit(1)


def _tell(verdict: Verdict) -> None:
    state = "holds" if verdict.holds else "differs"
    late = f", {verdict.late} of {verdict.polls} ready bits at another time" if verdict.polls else ""
    click.echo(
        f"{verdict.place} {verdict.chip}: its model {state}: {verdict.calls} calls, "
        f"{verdict.count} differences{late}"
    )
    for text in verdict.differences:
        click.echo(f"  {text}")
