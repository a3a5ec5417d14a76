"""`tocsin-tools`: the workbench's commands. Each parses, calls and prints; what they do is in their own files."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from firmware_tools.authority_cli import init, suspend
from firmware_tools.calibrate_cli import calibrate
from firmware_tools.capture_cli import capture
from firmware_tools.errors import BadFile, ToolError, VerdictFailed
from firmware_tools.selftest_cli import selftest
from firmware_tools.technician_cli import technician
from firmware_tools.verify_cli import verify, witness
from firmware_tools.walktest_cli import walktest
from gateway.chain.errors import ChainError
from gateway.contracts.errors import ContractError
from gateway.errors import GatewayError


class Tools(click.Group):
    """Turns a domain error into one line on stderr and exit code 1; `--debug` lets it through."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (ToolError, ChainError, ContractError, GatewayError) as error:
            if ctx.params.get("debug"):
                raise
            click.echo(f"tocsin-tools: {error}", err=True)
            ctx.exit(1)


@click.group(cls=Tools, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the whole traceback of an error.")
@click.version_option(package_name="tocsin")
def main(debug: bool) -> None:
    """Tocsin's workbench: try it, verify evidence, measure it.

    Example: tocsin-tools demo
    """


main.add_command(calibrate)
main.add_command(technician)
main.add_command(verify)
main.add_command(selftest)
main.add_command(capture)
main.add_command(walktest)
main.add_command(witness)


@main.group()
def authority() -> None:
    """Found a chain, issue tickets, sign contract sets and revocations: what only an authority may do."""


authority.add_command(init)
authority.add_command(suspend)


_DIRECTORY = click.option(
    "--dir",
    "directory",
    required=True,
    type=click.Path(path_type=Path),
    help="The authority's own directory.",
)
_OUT = click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Where to write.")


class Hex(click.ParamType[bytes]):
    """A byte string of fixed length in hexadecimal."""

    def __init__(self, size: int) -> None:
        self.size, self.name = size, f"{size * 2} hex digits"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        text = str(value)
        try:
            data = bytes.fromhex(text)
        except ValueError:
            data = b""
        if len(data) != self.size or len(text) != self.size * 2:
            self.fail(f"{text!r} is not {self.name}", param, ctx)
        return data


@authority.command()
@_DIRECTORY
@click.option("--name", required=True, help="The authority's name, such as city-fire.")
@click.option("--chain", required=True, help="What people call the chain, such as 'North district'.")
@click.option("--hub", required=True, help="The hub's name, as in its hub.toml.")
@click.option(
    "--hub-key", required=True, type=Hex(32), help="The hub's public key: `tocsin-hub init` prints it."
)
def found(directory: Path, name: str, chain: str, hub: str, hub_key: bytes) -> None:
    """Make the authority's key and found a chain with one hub: writes DIR/genesis.cbor.

    Example: tocsin-tools authority found --dir authority --name city-fire --chain North --hub hub-1 --hub-key 3f…
    """
    from firmware_tools.authority import found as found_chain

    desk = found_chain(directory, name, chain, hub, hub_key)
    click.echo(f"{directory / 'genesis.cbor'}: copy it to the hub and to every gateway as its trust file")
    click.echo(desk.genesis.hash.hex())


@authority.command()
@_DIRECTORY
@click.option("--region", required=True, help="The region the gateway will belong to.")
@click.option(
    "--days", default=30, show_default=True, type=click.IntRange(1, 3650), help="How long it is valid."
)
@_OUT
def ticket(directory: Path, region: str, days: int, out: Path) -> None:
    """Issue a ticket that enrols one gateway, once. The file is a secret until it is spent.

    Example: tocsin-tools authority ticket --dir authority --region north -o flat-3.ticket
    """
    from firmware_tools.authority import open_desk, write_ticket

    write_ticket(open_desk(directory), region, days, out)
    click.echo(f"{out}: hand it to one gateway, which erases it at its enrolment")


@authority.command()
@_DIRECTORY
@click.option("--gateway", required=True, type=Hex(16), help="The gateway's id.")
@click.option("--version", required=True, type=click.IntRange(1), help="Higher than any granted before.")
@click.option(
    "--building",
    type=click.Path(path_type=Path),
    help="The roster of its building (TOML): building, and members as tocsin-gateway identity prints them.",
)
@click.argument("contracts", nargs=-1, required=True, type=click.Path(path_type=Path))
@_OUT
def grant(
    directory: Path,
    gateway: bytes,
    version: int,
    building: Path | None,
    contracts: tuple[Path, ...],
    out: Path,
) -> None:
    """Sign a set of CONTRACTS (TOML) for a gateway; POST the file to the hub's /v1/records, which hands it on.

    Example: tocsin-tools authority grant --dir authority --gateway 4c3a… --version 2 ch4.toml -o flat-3.grant

    With a building's roster the gateway speaks with its neighbours; a set granted without one ends that.
    """
    from firmware_tools.authority import open_desk, read_documents
    from gateway.chain.ordered import Grant, encode_transaction

    signed = open_desk(directory).grant(gateway, version, read_documents(contracts, building))
    _write(out, encode_transaction(Grant(signed)))


@authority.command()
@_DIRECTORY
@click.option("--gateway", required=True, type=Hex(16), help="The gateway's id.")
@click.option("--epoch", required=True, type=click.IntRange(0), help="Of the last valid block; 0 for none.")
@click.option("--height", required=True, type=click.IntRange(0), help="Of the last valid block; 0 for none.")
@click.option("--hash", "hash_", required=True, type=Hex(32), help="Of the last valid block; zeros for none.")
@click.option("--reason", required=True, help="In words, on record for ever.")
@_OUT
def revoke(
    directory: Path, gateway: bytes, epoch: int, height: int, hash_: bytes, reason: str, out: Path
) -> None:
    """Sign the end of a gateway's keys after one last block; POST the file to the hub's /v1/records.

    Example: tocsin-tools authority revoke --dir authority --gateway 4c3a… --epoch 1 --height 17 --hash 9b…
    --reason "card stolen" -o flat-3.revocation
    """
    from firmware_tools.authority import open_desk
    from gateway.chain.ordered import Revoke, encode_transaction
    from gateway.chain.tenure import Position

    signed = open_desk(directory).revoke(gateway, Position(epoch, height, hash_), reason)
    _write(out, encode_transaction(Revoke(signed)))


@authority.command()
@_DIRECTORY
@click.option("--gateway", required=True, type=Hex(16), help="The gateway's id.")
@click.option(
    "--boot", required=True, type=Hex(8), help="Its present boot, as the hub's /v1/gateways shows it."
)
@click.option(
    "--action",
    required=True,
    type=click.Choice(["reset", "silence", "new-epoch", "test"]),
    help="What to do.",
)
@click.option(
    "--on",
    "--contract",
    "contract",
    default="none",
    help="The contract to reset or silence, or the output to test.",
)
@click.option(
    "--minutes", default=10, show_default=True, type=click.IntRange(1, 1440), help="How long it is good."
)
@_OUT
def command(
    directory: Path, gateway: bytes, boot: bytes, action: str, contract: str, minutes: int, out: Path
) -> None:
    """Sign a command to a gateway; POST the file to the hub's /v1/commands, which hands it on.

    Example: tocsin-tools authority command --dir authority --gateway 4c3a… --boot 0102… --action reset
    --contract gas-ch4 -o reset.command
    """
    from firmware_tools.authority import open_desk

    _write(out, open_desk(directory).command(gateway, boot, action, contract, minutes).encode())


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror}") from error
    click.echo(f"{path}: {len(data)} bytes")


@main.command()
@click.option("--scenario", default="gas-leak", show_default=True, help="What happens at the first gateway.")
@click.option(
    "--gateways", default=3, show_default=True, type=click.IntRange(1, 20), help="How many gateways run."
)
@click.option(
    "--hubs",
    default=1,
    show_default=True,
    type=click.IntRange(1, 6),
    help="1, or 4 and more: a federation of agencies, which needs CometBFT on PATH.",
)
@click.option(
    "--seconds", default=40.0, show_default=True, type=click.FloatRange(5, 3600), help="How long it runs."
)
@click.option("--headless", is_flag=True, help="Draw nothing; taken by itself where there is no terminal.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one JSON object.")
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    help="Keep every file here; by default nothing is kept.",
)
def demo(
    scenario: str,
    gateways: int,
    hubs: int,
    seconds: float,
    headless: bool,
    as_json: bool,
    directory: Path | None,
) -> None:
    """Run a whole region on this machine: broker, hub and gateways, an accident, an audit, a verdict.

    Example: tocsin-tools demo --scenario smoulder --dir /tmp/tocsin

    With --hubs 4 four agencies' hubs come to one history; kill one meanwhile, and only its own row changes.
    """
    from rich.console import Console

    from firmware_tools import demo as demonstration

    console = Console(stderr=as_json)
    outcome = demonstration.run_demo(
        scenario=scenario,
        gateways=gateways,
        hubs=hubs,
        seconds=seconds,
        headless=headless or not console.is_terminal,
        directory=directory,
        console=console,
    )
    if as_json:
        click.echo(demonstration.as_json(outcome))
    else:
        click.echo("\n".join(demonstration.report(outcome)))
    if outcome.faults:
        raise VerdictFailed(outcome.faults[0])


@main.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list of all figures.")
def bench(names: tuple[str, ...], as_json: bool) -> None:
    """Measure figures, each beside its limit or peer in the same run.

    There are ingest, alarm, neighbours, faults, gateway, load, wear, e2e, audit and federation; the last needs
    CometBFT on PATH, and wear counts its own device alone where it may make one (root, loop devices).

    Example: tocsin-tools bench alarm e2e
    """
    from firmware_tools import bench as benches
    from firmware_tools.bench_figure import words

    if unknown := [name for name in names if name not in benches.NAMES]:
        raise click.UsageError(f"no figure is called {unknown[0]!r}; there are {', '.join(benches.NAMES)}")

    def note(text: str) -> None:
        if sys.stderr.isatty():
            click.echo(f"{text} ...", err=True)

    def warn(text: str) -> None:
        click.echo(f"tocsin-tools: {text}", err=True)

    figures = []
    for figure in benches.measure(names, note, warn):
        figures.append(figure)
        if not as_json:
            click.echo(words(figure))
    if as_json:
        click.echo(json.dumps(figures, ensure_ascii=False))
