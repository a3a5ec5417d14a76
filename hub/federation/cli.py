"""`tocsin-hub federation`: founding, joining, changing and watching a federation. Each command parses, calls, prints.

Imports that cost time stand inside the commands, so that `--help` is quick.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hub.cli_kit import JSON, show
from hub.federation.governance_cli import approve, leave, propose, rekey, status

if TYPE_CHECKING:
    from gateway.chain.genesis import Genesis
    from hub.federation.config import PeerTable

PATH: Final = click.Path(path_type=Path)
DIRECTORY: Final = click.Path(path_type=Path, exists=True, file_okay=False)
PORT: Final = click.IntRange(0, 65535)
HOME: Final = click.argument("directory", metavar="DIR", type=PATH)


class Peer(click.ParamType["PeerTable"]):
    """Another hub: NAME=HOST:PORT for its engine, and after a comma the URL of its REST interface."""

    name = "NAME=HOST:PORT[,URL]"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> PeerTable:
        from hub.federation.config import PeerTable

        name, _, rest = str(value).partition("=")
        p2p, _, url = rest.partition(",")
        try:
            return PeerTable(name, p2p, url)
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


@click.group()
def federation() -> None:
    """Several hubs, each of another agency, that agree on one history. `tocsin-hub help federation` is the manual.

    Example: tocsin-hub federation status
    """


for _command in (status, propose, approve, leave, rekey):
    federation.add_command(_command)


@federation.command()
@HOME
@click.option("--name", required=True, help="The hub's name in the federation.")
@click.option("--agency", required=True, help="The agency that runs it.")
@click.option("--region", default="region", show_default=True, help="The region whose gateways it serves.")
@click.option("--power", default=1, show_default=True, type=click.IntRange(1, 1 << 20), help="Its votes.")
@click.option("--reader", is_flag=True, help="It follows, verifies and witnesses, and has no vote.")
@click.option(
    "--p2p", default="127.0.0.1:26656", show_default=True, help="Where its engine listens for peers."
)
@click.option("--api", default=8080, show_default=True, type=PORT, help="Port of its REST interface.")
@click.option("--broker", default=1883, show_default=True, type=PORT, help="Port of its embedded broker.")
@click.option("--peer", "peers", multiple=True, type=Peer(), help="Another hub; once for each.")
@click.option(
    "--predecessor", type=DIRECTORY, help="Directory of the hub alone whose chain is to go on here."
)
@click.option("--snapshot", is_flag=True, help="To join by a snapshot from those peers that have a URL.")
@JSON
def init(
    directory: Path,
    name: str,
    agency: str,
    region: str,
    power: int,
    reader: bool,
    p2p: str,
    api: int,
    broker: int,
    peers: tuple[PeerTable, ...],
    predecessor: Path | None,
    snapshot: bool,
    as_json: bool,
) -> None:
    """Make a hub's keys and configuration in DIR on its own machine, and its statement DIR/NAME.member.

    The statement is signed and holds no secret: hand it to all others. What is in DIR already is kept.

    Example: tocsin-hub federation init hub --name city --agency city-fire --region north
    """
    from hub.federation import founding

    if snapshot and sum(bool(peer.url) for peer in peers) < 2:
        raise click.UsageError(
            "--snapshot needs two --peer with a URL: a snapshot is taken that two show alike"
        )
    before = "" if predecessor is None else str(predecessor.absolute())
    place = founding.Place(
        name, agency, region, 0 if reader else power, p2p, api, broker, peers, before, snapshot
    )
    path = founding.init(directory, place)
    show({"statement": str(path)}, as_json, f"{path}: hand it to the others; it holds no secret")


@federation.command()
@HOME
@click.argument("statements", nargs=-1, type=PATH)
@click.option("--chain", default="", help="To found one: what people call it; the same words for everyone.")
@click.option(
    "--custodians",
    default=2,
    show_default=True,
    type=click.IntRange(1, 64),
    help="To found one: agencies that sign for a body before its gateway may prune it; the same for everyone.",
)
@click.option("--genesis", type=PATH, help="To join one that exists: its genesis, from any member.")
@click.option("--agency", default="", help="To join one that exists: the agency that runs this hub.")
@click.option(
    "--power", default=1, show_default=True, type=click.IntRange(1, 1 << 20), help="... and its votes."
)
@click.option("--reader", is_flag=True, help="... or none.")
@click.option("--ask", "url", default="", help="... and the REST address of a member to ask for admission.")
@click.option("--hash", "spoken", default="", help="The genesis' hash, once it was compared with the others.")
@JSON
def join(
    directory: Path,
    statements: tuple[Path, ...],
    chain: str,
    custodians: int,
    genesis: Path | None,
    agency: str,
    power: int,
    reader: bool,
    url: str,
    spoken: str,
    as_json: bool,
) -> None:
    """Found a federation from everyone's STATEMENTS, or join one that exists by its genesis.

    Without --hash it only shows the genesis' hash. Compare it with all others, by voice or face to face; then
    give the same command with --hash, which puts the genesis in place. Statements are .member files, .authority
    files (tocsin-tools authority init) and .takeover files (tocsin-hub federation close).

    Example: tocsin-hub federation join hub *.member *.authority --chain "North federation"
    """
    from hub.federation import founding

    if bool(statements) == bool(genesis) or bool(statements) != bool(chain):
        raise click.UsageError("give statements and --chain to found a federation, or --genesis to join one")
    if genesis is not None and not agency:
        raise click.UsageError("give --agency: whose hub this is")
    if genesis is None:
        found = founding.found(directory, founding.read_statements(statements), chain, custodians)
    else:
        found = founding.joined(genesis)
    if not spoken:
        _show_genesis(found, as_json)
        return
    path = founding.agree(directory, found, spoken)
    said = f"{path} is in place: tocsin-hub run --config {directory / 'hub.toml'}"
    if genesis is not None:
        statement = founding.ask_to_join(directory, found, agency, 0 if reader else power)
        said += f"\n{statement}: a member proposes it with: tocsin-hub federation propose admit {statement}"
        if url:
            _ask_admission(url, statement)
    show({"genesis": str(path), "hash": found.hash.hex()}, as_json, said)


@federation.command()
@HOME
@click.option("--successor", required=True, type=PATH, help="The federation's genesis, or its draft.")
@click.option("-o", "--output", required=True, type=PATH, help="The .takeover file to write.")
@JSON
def close(directory: Path, successor: Path, output: Path, as_json: bool) -> None:
    """End the chain of the stopped hub alone in DIR, for good, in favour of the federation that goes on with it.

    The draft is what `federation join` leaves in a founder's directory before there are .takeover files.

    Example: tocsin-hub federation close hub --successor hub-1/genesis.draft -o hub.takeover
    """
    from hub.config import load_genesis
    from hub.federation import founding

    if output.suffix != founding.CLOSED:
        raise click.UsageError(f"the file's name has to end in {founding.CLOSED}")
    height = founding.close_chain(directory, load_genesis(successor), output)
    said = f"{output}: the chain ends at final block {height}; hand the file to all others, and join again with it"
    show({"statement": str(output), "height": height}, as_json, said)


@federation.command()
@HOME
@JSON
def resync(directory: Path, as_json: bool) -> None:
    """Empty the chain of the stopped hub in DIR, to be had from the others again: it was away for too long.

    Keys, what the engine signed last, bodies and promises stay. With `snapshot_from` in hub.toml it begins with a
    snapshot, else with the first final block.

    Example: tocsin-hub federation resync hub
    """
    from hub.federation.joining import forget

    forget(directory)
    show({"directory": str(directory)}, as_json, f"{directory}: the next start has the chain from the others")


def _show_genesis(genesis: Genesis, as_json: bool) -> None:
    from hub.federation.founding import described, readable

    lines = [f"{name:24} {agency:24} {voice:12} {key}" for name, agency, voice, key in described(genesis)]
    lines += [f"takes over chain {each.genesis.hex()[:16]} at {each.height}" for each in genesis.takeovers]
    lines += ["", f"hash: {readable(genesis.hash)}", ""]
    lines += ["Compare it with everyone, then give the same command with --hash and this hash."]
    show({"hash": genesis.hash.hex(), "name": genesis.name}, as_json, "\n".join(lines))


def _ask_admission(url: str, statement: Path) -> None:
    from hub.cli_kit import fetch, read

    fetch(url.rstrip("/"), "/v1/federation/requests", read(statement))
