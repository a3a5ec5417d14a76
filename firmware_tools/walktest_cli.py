"""`tocsin-tools walktest`: arguments, requests to the technician, and the exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from gateway.options import config_option, configured, simulate_option

_PATH = click.Path(dir_okay=False, path_type=Path)


@click.command()
@config_option
@simulate_option
@click.option("--technician", "key", required=True, type=_PATH, help="The key that signs the certificate.")
@click.option("--hub", help="The hub's REST address; by default where the gateway enrols.")
@click.option(
    "-o", "--out", required=True, type=_PATH, help="The certificate, a PDF; its signed record stands beside."
)
@click.option("--site", "name", default="", help="What people call the place; by default the gateway's name.")
@click.option("--only", multiple=True, metavar="SENSOR", help="Try this detector; may be repeated.")
@click.option("--again", is_flag=True, help="Repeat what has passed.")
@click.option(
    "--timeout",
    default=120.0,
    show_default=True,
    type=click.FloatRange(1),
    help="Seconds for each, beyond its hold.",
)
@click.option(
    "--incomplete", is_flag=True, help="Write what there is where it is not enough, marked INCOMPLETE."
)
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one JSON object.")
def walktest(
    path: Path,
    scenario: str | None,
    key: Path,
    hub: str | None,
    out: Path,
    name: str,
    only: tuple[str, ...],
    again: bool,
    timeout: float,
    incomplete: bool,
    as_json: bool,
) -> None:
    """Set off each detector in turn, see its alarm here and at the hub, and sign a certificate of it.

    The gateway must run; with --simulate one is started, and the room sets its detectors off. What has passed is kept
    beside the certificate (.walktest), so that the test can be resumed. Nothing is certified that was not seen: then
    what is missing is printed, and the exit code is 1.

    Example: tocsin-tools walktest --config /etc/tocsin/gateway.toml --technician technician.key -o flat-3.pdf
    """
    from firmware_tools.technician import load_technician
    from firmware_tools.walktest.hand import TechniciansHand
    from firmware_tools.walktest.run import Wish, certify, gateway_of, open_session, walk

    def ask(text: str) -> str:
        return str(click.prompt(text, default="", show_default=False, prompt_suffix=" > ", err=True))

    def note(text: str) -> None:
        click.echo(text, err=as_json)

    if out.suffix != ".pdf":
        raise click.UsageError(f"{out} must end in .pdf")
    technician, config = load_technician(key), configured(path, scenario)
    with gateway_of(config, str(path), TechniciansHand(ask)) as hand:
        session = open_session(config, str(path), name, out.with_suffix(".walktest"))
        if session.resume():
            note(f"{session.path}: goes on where it was left")
        missing = walk(session, hub, hand, Wish(only, again, timeout), note)
    files = certify(session, technician, out, complete=not missing) if incomplete or not missing else ()
    if as_json:
        outcomes = {sensor: each.outcome for sensor, each in session.outcomes.items()}
        click.echo(json.dumps({"missing": missing, "files": list(map(str, files)), "outcomes": outcomes}))
    _conclude(missing, files, note)


def _conclude(missing: Sequence[str], files: Sequence[Path], note: Callable[[str], None]) -> None:
    """Say what was written and what is missing; end with 1 where anything is."""
    for text in missing:
        click.echo(f"missing: {text}", err=True)
    for each in files:
        note(f"{each}{' (INCOMPLETE)' if missing else ''}")
    if missing:
        click.echo("tocsin-tools: not certified; see to what is missing and run this again", err=True)
        sys.exit(1)
