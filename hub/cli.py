"""`tocsin-hub`: the hub's commands. Each parses, calls and prints; what they do is in their own files.

Imports that cost time stand inside the commands, so that `--help` is quick.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.chain.errors import ChainError
from gateway.contracts.errors import ContractError
from hub.backup_cli import backup, help_, restore
from hub.cli_kit import CONFIG, DIRECTORY, JSON, NUMBER, ask, hexadecimal, read, show, write
from hub.errors import HubError
from hub.federation.cli import federation
from hub.operator_cli import command, events

if TYPE_CHECKING:
    from hub.auditing.report import Report


class Hub(click.Group):
    """Turns a domain error into one line on stderr and exit code 1; `--debug` lets it through."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (HubError, ChainError, ContractError) as error:
            if ctx.params.get("debug"):
                raise
            click.echo(f"tocsin-hub: {error}", err=True)
            ctx.exit(1)


@click.group(cls=Hub, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the whole traceback of an error.")
@click.version_option(package_name="tocsin")
def main(debug: bool) -> None:
    """Tocsin's hub: takes in a region's blocks and alarms, orders them, and proves them."""


for _command in (federation, backup, restore, command, events, help_):
    main.add_command(_command)


@main.command()
@DIRECTORY
@click.option("--name", required=True, help="The hub's name, as the genesis will have it.")
@click.option("--region", default="region", show_default=True, help="The region it serves.")
@JSON
def init(directory: Path, name: str, region: str, as_json: bool) -> None:
    """Make a hub's directory with its key and hub.toml, and print the public key for the genesis.

    Example: tocsin-hub init --dir hub --name hub-1 --region north
    """
    from hub.config import init_directory

    public = init_directory(directory, name, region).public.hex()
    config = directory / "hub.toml"
    show({"name": name, "key": public, "config": str(config)}, as_json, public)


@main.command()
@CONFIG
def run(config: Path) -> None:
    """Run the hub until it is told to stop (Ctrl-C or SIGTERM).

    Example: tocsin-hub run --config hub/hub.toml
    """
    import logging

    from hub.config import load_config
    from hub.service import run as run_service

    settings = load_config(config)
    logging.basicConfig(
        level=settings.log.level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    run_service(settings)


@main.command()
@CONFIG
@JSON
def status(config: Path, as_json: bool) -> None:
    """Show the running hub's state and its gateways; exit 1 where it does not do its work.

    Example: tocsin-hub status --config hub/hub.toml
    """
    from hub.config import load_config

    settings = load_config(config)
    found = ask(settings, "/v1/status")
    if as_json:
        show(found, as_json, "")
    else:
        _print_status(found, ask(settings, "/v1/gateways"), ask(settings, "/v1/alarms?limit=10"))
    if not found["ok"]:
        raise HubError("the hub runs but is not well: see broker and consensus above, and its log")


@main.command()
@DIRECTORY
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    help="A checkpoint or custody receipt that was kept elsewhere.",
)
@JSON
def audit(directory: Path, against: Path | None, as_json: bool) -> None:
    """Verify everything a stopped hub holds, from disk; exit 1 naming the first fault.

    Example: tocsin-hub audit --dir hub --against checkpoint.cbor
    """
    from dataclasses import asdict

    from hub.auditing.audit import audit as audit_directory

    kept = None if against is None else read(against)
    with _progress(as_json) as progress:
        report = audit_directory(directory, kept, progress)
    if as_json:
        found = asdict(report) | {"verdict": report.verdict, "app_hash": report.app_hash.hex()}
        show(found, as_json, "")
    else:
        _print_audit(report)
    if report.faults:
        raise HubError(f"audit: {report.verdict}")


@main.command()
@DIRECTORY
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The file to write.")
def checkpoint(directory: Path, output: Path) -> None:
    """Write the latest checkpoint, to be kept elsewhere: it binds the hub to its history.

    Example: tocsin-hub checkpoint --dir hub -o checkpoint.cbor
    """
    from hub.storage.store import Store

    store = Store(directory / "ledger.db", read_only=True)
    try:
        found = store.chain.checkpoint()
    finally:
        store.close()
    if found is None:
        raise HubError(f"{directory} has no final block yet: run the hub first")
    write(output, found.encode())
    click.echo(
        f"{output}: keep it away from this machine; tocsin-hub audit --against {output} holds the hub to it"
    )


@main.command()
@DIRECTORY
@click.option("--gateway", help="A gateway's id: 32 hexadecimal digits.")
@click.option("--block", "height", type=NUMBER, help="The height of one of its final blocks.")
@click.option("--leaf", type=NUMBER, help="Index of the leaf in its segment.")
@click.option(
    "--class", "klass", type=click.IntRange(0, 2), default=0, show_default=True, help="Class of the segment."
)
@click.option("--series", help="Instead of --leaf: the last reading of this series in the block ...")
@click.option("--until", type=int, default=1 << 62, help="... that is not after this time (Unix ms).")
@click.option("--alarm", help="Instead of all these: an alarm, by its hash in 64 hexadecimal digits.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The file to write.")
def evidence(
    directory: Path,
    gateway: str | None,
    height: int | None,
    leaf: int | None,
    klass: int,
    series: str | None,
    until: int,
    alarm: str | None,
    output: Path,
) -> None:
    """Write the evidence file of one reading or alarm, beside a running hub or without one.

    Example: tocsin-hub evidence --dir hub --alarm 5f2c... -o alarm.evidence
    """
    from hub.evidence import Archive, alarm_evidence, find_leaf, reading_evidence

    if (alarm is None) == (gateway is None or height is None or (leaf is None) == (series is None)):
        raise click.UsageError("give --alarm, or --gateway, --block and one of --leaf and --series")
    archive = Archive.open(directory / "ledger.db")
    try:
        if alarm is not None:
            data = alarm_evidence(archive, hexadecimal(alarm, 32))
        else:
            assert gateway is not None
            assert height is not None
            wanted = hexadecimal(gateway, 16)
            if series is not None:
                klass, leaf = find_leaf(archive, wanted, height, series, until)
            assert leaf is not None
            data = reading_evidence(archive, wanted, height, leaf, klass)
    finally:
        archive.close()
    write(output, data)
    click.echo(
        f"{output}: {len(data)} bytes; check it with: tocsin-tools verify {output} --trust genesis.cbor"
    )


@main.command()
@JSON
def bench(as_json: bool) -> None:
    """Measure ingest and audit, each beside its limit measured in the same run.

    Example: tocsin-hub bench --json
    """
    from rich.console import Console

    from hub.bench import run as measure

    with Console(stderr=True).status("measuring ingest and audit"):
        figures = [figure.to_json() for figure in measure()]
    if as_json:
        json.dump(figures, sys.stdout)
        click.echo()
        return
    for each in figures:
        beside = f", {each['ratio']} of {each.get('limit', each.get('peer'))}" if "ratio" in each else ""
        click.echo(f"{each['name']}: {each['value']} {each['unit']}{beside}")


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Give a function that shows how far an audit is, on stderr where a person looks on."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda done, total: None
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("final blocks")
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _print_audit(report: Report) -> None:
    for fault in report.faults:
        click.echo(f"{fault.kind}: {fault.text}")
    for finding in report.findings:
        click.echo(f"finding: {finding}")
    click.echo(
        f"{'NOT OK' if report.faults else 'ok'}: {report.final_blocks} final blocks, {report.gateways} gateways, "
        f"{report.blocks} blocks with {report.readings} readings, {report.alarms} alarms, "
        f"{report.actuations} actuations, {report.refused} refused messages, "
        f"{report.records} records, {report.promises} promises, in {report.seconds:.1f} s"
    )
    if report.begins > 1:
        click.echo(f"begins at final block {report.begins}, after a snapshot that a seal vouches for")
    if report.against and not report.faults:
        click.echo(f"held against {report.against}")
    if report.unused:
        click.echo(
            f"{report.unused} bytes of the file are unused page space: what stands there changes nothing"
        )


def _print_status(
    status: dict[str, Any], gateways: list[dict[str, Any]], alarms: list[dict[str, Any]]
) -> None:
    from rich.console import Console
    from rich.table import Column, Table

    console = Console()
    console.print(
        f"hub {status['hub']} of region {status['region']}: final block {status['final_height']}, "
        f"{status['blocks']} blocks, {status['final_blocks']} final, {status['alarms']} alarms; "
        f"broker {'up' if status['broker_up'] else 'DOWN'}, consensus {'up' if status['consensus'] else 'DOWN'}",
        soft_wrap=True,
    )
    if status["standing"]:
        console.print(f"the chain stands still: {status['standing']}", soft_wrap=True, highlight=False)
    table = Table(
        Column("gateway", overflow="fold", min_width=32),
        "name",
        "standing",
        "final",
        "stored",
        "lag ms",
        show_edge=False,  # so that a row stays within 80 columns
    )
    for each in gateways:
        lag = each["finality_lag_ms"]
        table.add_row(
            each["id"],
            each["name"],
            each["standing"],
            f"{each['epoch']}/{each['head']}",
            str(each["stored"]),
            "" if lag is None else str(lag),
        )
    console.print(table)
    for each in alarms:
        final = "not final yet" if each["final_ms"] is None else "final"
        line = f"{each['name']}: {each['contract']} {each['level']}, {final}: {each['hash']}"
        console.print(line, soft_wrap=True, highlight=False)
