"""`tocsin-tools selftest`: arguments, questions, what is printed and the exit code."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.options import config_option, configured, simulate_option
from gateway.outputs.options import OutputOptions

if TYPE_CHECKING:
    from firmware_tools.selftest.finding import Finding


@click.command()
@config_option
@simulate_option
@click.option("--yes", is_flag=True, help="Let outputs act without asking: sirens sound, valves shut.")
@click.option("--no-outputs", is_flag=True, help="Let no output act.")
@click.option(
    "--samples", default=20, show_default=True, type=click.IntRange(3, 1000), help="Of each sensor."
)
@click.option("--cycles", is_flag=True, help="Wait for sensors that give one value in minutes (MQ-7).")
@click.option(
    "--output-seconds", default=2, show_default=True, type=click.IntRange(1, 60), help="An output acts."
)
@click.option("--hub", help="The hub's REST address; by default where the gateway enrols.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--root",
    hidden=True,
    default="/",
    type=click.Path(path_type=Path),
    help="Where this machine's /proc and /sys are.",
)
def selftest(
    path: Path,
    scenario: str | None,
    yes: bool,
    no_outputs: bool,
    samples: int,
    cycles: bool,
    output_seconds: int,
    hub: str | None,
    as_json: bool,
    root: Path,
) -> None:
    """Test a gateway on the spot: buses, sensors, outputs, supply, clock, watchdog, disk, hubs.

    Each line is ok, a warning, or failed, with its remedy. Exit code 1 where something failed. Beside a running
    gateway nothing is touched: it is asked instead.

    Example: tocsin-tools selftest --config /etc/tocsin/gateway.toml --yes
    """
    from firmware_tools.selftest.whole import Plan, self_test
    from gateway.inspection.facts import Machine

    def asks(output: OutputOptions) -> bool:
        if no_outputs or yes:
            return yes and not no_outputs
        if not sys.stdin.isatty():
            return False
        loud = "It will SOUND." if output.kind == "siren" else "It will act."
        return click.confirm(f"Test {output.kind} {output.name} for {output_seconds} s? {loud}", err=True)

    logging.getLogger("gateway").addHandler(logging.NullHandler())  # what it would say stands in the findings
    findings = []
    plan = Plan(samples, cycles, asks, output_seconds, hub)
    for finding in self_test(configured(path, scenario), str(path), plan, Machine(root)):
        findings.append(finding)
        if not as_json:
            click.echo(finding.line())
    _conclude(findings, as_json)


def _conclude(findings: Sequence[Finding], as_json: bool) -> None:
    """Sum up; end with 1 where something failed."""
    from firmware_tools.selftest.finding import FAILED, worst

    verdict = worst(findings)
    counts = {each: sum(1 for f in findings if f.verdict == each) for each in ("ok", "warning", "failed")}
    if as_json:
        statement = {"verdict": verdict, "counts": counts, "findings": [f.statement() for f in findings]}
        click.echo(json.dumps(statement, ensure_ascii=False))
    else:
        click.echo(f"{counts['ok']} ok, {counts['warning']} warnings, {counts['failed']} failed")
    if verdict == FAILED:
        sys.exit(1)
