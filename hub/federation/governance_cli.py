"""`tocsin-hub federation status|propose|approve|leave|rekey`: what a member's operator does while it runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hub.cli_kit import CONFIG, JSON, NotYet, ask, show
from hub.errors import HubError

if TYPE_CHECKING:
    from hub.config import Config, Identity
    from hub.federation.changes import Proposed, Proposer

PATH: Final = click.Path(path_type=Path)


def _words(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if not value.strip():
        raise click.BadParameter("say why: it is on record for ever")
    return value


REASON: Final = click.option("--reason", required=True, callback=_words, help="In words, on record for ever.")
DAYS: Final = click.option(
    "--days", default=14, show_default=True, type=click.IntRange(1, 89), help="How long it stays open."
)


@click.command()
@CONFIG
@JSON
def status(config: Path, as_json: bool) -> None:
    """Show the federation: members and their votes, height, lag, proposals, disk; exit 1 where it stands still.

    Works on a stopped hub too, from its ledger.

    Example: tocsin-hub federation status --config hub/hub.toml
    """
    from rich.console import Console

    from hub.config import load_config
    from hub.federation.status import print_status

    found = _picture(load_config(config))
    if as_json:
        show(found, as_json, "")
    else:
        print_status(found, Console())
    if found.get("standing"):
        raise HubError(f"the chain stands still: {found['standing']}")


@click.group()
def propose() -> None:
    """Propose a change; it is in force once members with more than two thirds of the power approve.

    Example: tocsin-hub federation propose remove rail --reason "agency dissolved"
    """


@propose.command()
@click.argument("statement")
@REASON
@DAYS
@CONFIG
@JSON
def admit(statement: str, reason: str, days: int, config: Path, as_json: bool) -> None:
    """Propose to admit the hub of a STATEMENT: its .member file, or its name where it asked this hub.

    Example: tocsin-hub federation propose admit harbour.member --reason "fifth agency"
    """
    from gateway.chain.governance import ADMIT

    settings, proposer = _proposer(config, reason, days)
    _order(settings, proposer.member(ADMIT, _joining(settings, proposer.identity, statement)), as_json)


@propose.command()
@click.argument("statement", type=PATH)
@REASON
@DAYS
@CONFIG
@JSON
def change(statement: Path, reason: str, days: int, config: Path, as_json: bool) -> None:
    """Propose to give a member the keys and the power of its new STATEMENT, and its good standing again.

    Example: tocsin-hub federation propose change rail.member --reason "key was copied"
    """
    from gateway.chain.governance import CHANGE

    settings, proposer = _proposer(config, reason, days)
    _order(settings, proposer.member(CHANGE, _joining(settings, proposer.identity, str(statement))), as_json)


@propose.command()
@click.argument("name")
@REASON
@DAYS
@CONFIG
@JSON
def remove(name: str, reason: str, days: int, config: Path, as_json: bool) -> None:
    """Propose to remove the member NAME.

    Example: tocsin-hub federation propose remove rail --reason "agency dissolved"
    """
    settings, proposer = _proposer(config, reason, days)
    _check_known(settings, "members", name)
    _order(settings, proposer.remove(name), as_json)


@propose.command()
@click.argument("statement", type=PATH)
@REASON
@DAYS
@CONFIG
@JSON
def appoint(statement: Path, reason: str, days: int, config: Path, as_json: bool) -> None:
    """Propose to put the authority of a STATEMENT (.authority) in office, or to give it a new key.

    Example: tocsin-hub federation propose appoint city-health.authority --reason "new authority"
    """
    from gateway.chain.ceremony import read_authority
    from hub.federation.founding import read_statements

    settings, proposer = _proposer(config, reason, days)
    stated = read_statements([statement]).authorities
    if not stated:
        raise click.UsageError(f"{statement} is no .authority file")
    _order(settings, proposer.appoint(read_authority(stated[0])), as_json)


@propose.command()
@click.argument("name")
@REASON
@DAYS
@CONFIG
@JSON
def dismiss(name: str, reason: str, days: int, config: Path, as_json: bool) -> None:
    """Propose to dismiss the authority NAME.

    Example: tocsin-hub federation propose dismiss city-health --reason "merged"
    """
    settings, proposer = _proposer(config, reason, days)
    _check_known(settings, "authorities", name)
    _order(settings, proposer.dismiss(name), as_json)


@click.command()
@click.argument("proposal")
@CONFIG
@JSON
def approve(proposal: str, config: Path, as_json: bool) -> None:
    """Say this member's yes to a PROPOSAL, by the beginning of its hash as `federation status` shows it.

    Example: tocsin-hub federation approve 5f2c91ab
    """
    from hub.config import load_config
    from hub.federation.changes import approve as approval

    settings = load_config(config)
    found = [each for each in _picture(settings)["proposals"] if each["hash"].startswith(proposal.lower())]
    if len(found) != 1 or len(proposal) < 8:
        raise HubError(
            f"{proposal!r} names {len(found)} proposals: give 8 or more digits of one that"
            " tocsin-hub federation status shows"
        )
    ask(settings, "/v1/records", approval(_identity(settings), bytes.fromhex(found[0]["hash"])))
    about = f"{found[0]['action']} {found[0]['about']}"
    show({"proposal": found[0]["hash"]}, as_json, f"approved: {about}; see tocsin-hub federation status")


@click.command()
@REASON
@DAYS
@CONFIG
@JSON
def leave(reason: str, days: int, config: Path, as_json: bool) -> None:
    """Propose this hub's own removal. It stays a member, and has to run, until the others approve.

    Example: tocsin-hub federation leave --reason "merged with city-fire"
    """
    settings, proposer = _proposer(config, reason, days)
    _check_known(settings, "members", settings.hub.name)
    _order(settings, proposer.remove(settings.hub.name), as_json)


@click.command()
@click.option(
    "--hub", "renew_hub", is_flag=True, help="A new hub key: its voice and its name among the engines."
)
@click.option("--validator", "renew_validator", is_flag=True, help="A new validator key: its vote.")
@click.option(
    "--power", type=click.IntRange(0, 1 << 20), help="Another power; also to vote again once suspended."
)
@CONFIG
@JSON
def rekey(renew_hub: bool, renew_validator: bool, power: int | None, config: Path, as_json: bool) -> None:
    """Make this member's next keys and its new statement NAME.member, for any member to propose as a change.

    The hub takes the keys up by itself once the change is in force, and no two keys ever vote at one height.

    Example: tocsin-hub federation rekey --hub --validator
    """
    from hub.config import load_config
    from hub.federation.keys import state_next

    if not (renew_hub or renew_validator or power is not None):
        raise click.UsageError("give --hub, --validator or --power")
    settings = load_config(config)
    picture = _picture(settings)
    own = next((each for each in picture["members"] if each["self"]), None)
    if own is None:
        raise HubError(f"{settings.hub.name} is no member: tocsin-hub federation join makes its statement")
    genesis = bytes.fromhex(picture["genesis"])
    voice = own["power"] if power is None else power
    path = state_next(settings, genesis, own["agency"], voice, hub=renew_hub, validator=renew_validator)
    said = f"{path}: a member proposes it with: tocsin-hub federation propose change {path}"
    show({"statement": str(path)}, as_json, said)


def _picture(config: Config) -> dict[str, Any]:
    """Return how the federation stands: of the running hub, or from a stopped one's ledger. Raises HubError."""
    from hub.endpoints import is_running

    if is_running(config.directory):
        found: dict[str, Any] = ask(config, "/v1/federation")
        return found
    from gateway.chain.genesis import COMETBFT
    from hub.config import load_genesis
    from hub.federation.view import describe
    from hub.storage.store import Store

    genesis = load_genesis(config.directory / config.hub.genesis)
    if genesis.engine != COMETBFT:
        raise HubError("this hub is alone: it has no federation; tocsin-hub status shows how it is")
    store = Store(config.ledger, read_only=True)
    try:
        return describe(config, genesis, store.chain, None, time.time_ns() // 1_000_000)
    finally:
        store.close()


def _identity(config: Config) -> Identity:
    from hub.config import load_identity

    return load_identity(config)


def _proposer(config: Path, reason: str, days: int) -> tuple[Config, Proposer]:
    from hub.config import load_config
    from hub.federation.changes import Proposer

    settings = load_config(config)
    return settings, Proposer(_identity(settings), reason, time.time_ns() // 1_000_000, days)


def _joining(config: Config, identity: Identity, statement: str) -> Any:
    """Return the statement of a file, or of a hub of this name that asked for admission. Raises HubError."""
    from gateway.chain.governance import Joining
    from hub.federation.founding import read_member

    path = Path(statement)
    if not path.is_file():
        for each in ask(config, "/v1/federation")["requests"]:
            if each["name"] == statement:
                return Joining.decode(bytes.fromhex(each["statement"]))
        raise HubError(f"{statement!r} is no file, and no hub of this name asked this one to be admitted")
    return read_member(path, identity.genesis)


def _check_known(config: Config, kind: str, name: str) -> None:
    """Check that a proposal is about somebody. Raises HubError."""
    names = [each["name"] for each in _picture(config)[kind]]
    if name not in names:
        raise HubError(f"{name!r} is not among the {kind}: {', '.join(names)}")


def _order(config: Config, proposed: Proposed, as_json: bool) -> None:
    identity = proposed.hash.hex()
    try:
        ask(config, "/v1/records", proposed.tx)
    except NotYet as error:
        raise HubError(
            f"proposal {identity[:16]} was handed in and is not final yet: tocsin-hub federation status says whether"
            " the chain stands still, and lists it once it is final; there is no need to propose again"
        ) from error
    said = f"proposed; the others say yes with: tocsin-hub federation approve {identity[:16]}"
    show({"proposal": identity}, as_json, said)
