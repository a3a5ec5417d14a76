"""What an authority does in a federation: state who it is before there is one, suspend a member of it."""

from __future__ import annotations

from pathlib import Path

import click

from firmware_tools.errors import BadFile

_DIRECTORY = click.option(
    "--dir",
    "directory",
    required=True,
    type=click.Path(path_type=Path),
    help="The authority's own directory.",
)


@click.command()
@_DIRECTORY
@click.option("--name", required=True, help="The authority's name, such as city-fire.")
@click.option("--regulator", is_flag=True, help="It may suspend members; at least one authority has to.")
def init(directory: Path, name: str, regulator: bool) -> None:
    """Make the authority's key and its signed statement DIR/NAME.authority, for a federation's founding.

    Example: tocsin-tools authority init --dir authority --name city-fire --regulator
    """
    from firmware_tools.authority import state
    from gateway.chain.genesis import AGENCY, REGULATOR

    path = state(directory, name, REGULATOR if regulator else AGENCY)
    click.echo(f"{path}: hand it to everyone who founds the federation; it holds no secret")


@click.command()
@_DIRECTORY
@click.option("--member", required=True, help="The hub's name in the federation.")
@click.option("--reason", required=True, help="In words, on record for ever.")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Where to write.")
def suspend(directory: Path, member: str, reason: str, out: Path) -> None:
    """Sign the end of a member's vote, as the regulator; POST the file to any hub's /v1/records.

    Example: tocsin-tools authority suspend --dir authority --member city --reason "key stolen" -o city.suspension
    """
    from firmware_tools.authority import open_desk
    from gateway.chain.ordered import Suspend, encode_transaction

    data = encode_transaction(Suspend(open_desk(directory).suspend(member, reason)))
    try:
        out.write_bytes(data)
    except OSError as error:
        raise BadFile(f"{out}: {error.strerror}") from error
    click.echo(f"{out}: {len(data)} bytes")
