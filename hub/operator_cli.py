"""`tocsin-hub command` and `events`: what an operator orders of a gateway, and what became of it there.

Both ask the running hub. A command is signed with the hub's own key; what an authority signs goes to the REST
interface as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hub.cli_kit import CONFIG, JSON, ask, hexadecimal, show
from hub.errors import HubError

if TYPE_CHECKING:
    from hub.config import Config

ACTIONS: Final = ("reset", "silence", "new-epoch", "test")

_GATEWAY: Final = click.option("--gateway", required=True, help="A gateway's id: 32 hexadecimal digits.")


@click.command()
@CONFIG
@_GATEWAY
@click.option("--action", required=True, type=click.Choice(ACTIONS), help="What to do.")
@click.option(
    "--on", "--contract", "name", default="", help="The contract to reset or silence, or the output to test."
)
@click.option(
    "--minutes", default=10, show_default=True, type=click.IntRange(1, 1440), help="How long it is good."
)
@JSON
def command(config: Path, gateway: str, action: str, name: str, minutes: int, as_json: bool) -> None:
    """Have a gateway reset or silence a contract, test an output, or begin a new epoch.

    Example: tocsin-hub command --config hub/hub.toml --gateway 4c3a… --action test --on siren
    """
    if not name and action != "new-epoch":
        raise click.UsageError(
            f"--action {action} needs --on: the name of a contract, or of an output to test"
        )
    from hub.config import load_config

    settings, wanted = load_config(config), hexadecimal(gateway, 16)
    boot = ask(settings, f"/v1/gateways/{wanted.hex()}")["boot"]
    if not boot:
        raise HubError(
            f"gateway {gateway} has not said hello to this hub yet: a command is for one boot of it"
        )
    payload, identity = _signed(settings, wanted, bytes.fromhex(boot), action, name or "none", minutes)
    ask(settings, "/v1/commands", payload)
    found = {"gateway": wanted.hex(), "command": identity.hex(), "boot": boot}
    follow = f"tocsin-hub events --config {config} --gateway {wanted.hex()}"
    show(found, as_json, f"handed on as command {identity.hex()}; its outcome comes with a block: {follow}")


def _signed(
    settings: Config, gateway: bytes, boot: bytes, action: str, name: str, minutes: int
) -> tuple[bytes, bytes]:
    """Return a command's bytes and the hash that its outcome will name."""
    import secrets

    from gateway.chain.keys import COMMAND, digest
    from gateway.chain.messages import Command
    from hub.clock import wall_ms
    from hub.config import load_identity

    identity = load_identity(settings)
    key, until = identity.key, wall_ms() + minutes * 60_000
    number, nonce = ACTIONS.index(action) + 1, secrets.token_bytes(16)
    body = Command(identity.genesis.hash, key.public, gateway, boot, nonce, number, name, until).encode()
    return key.signed(COMMAND, body).encode(), digest(COMMAND, body)


@click.command()
@CONFIG
@_GATEWAY
@click.option(
    "--limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="How many, at most."
)
@JSON
def events(config: Path, gateway: str, limit: int, as_json: bool) -> None:
    """Show what a gateway's latest blocks tell: outputs that acted and why, refused messages, outcomes, sensors.

    Each can be proved: tocsin-hub evidence --gateway … --block … --leaf …

    Example: tocsin-hub events --config hub/hub.toml --gateway 4c3a…
    """
    from hub.config import load_config

    wanted = hexadecimal(gateway, 16).hex()
    found = ask(load_config(config), f"/v1/gateways/{wanted}/events?limit={limit}")
    if as_json:
        show({"gateway": wanted, "events": found}, as_json, "")
        return
    for each in found:
        click.echo(_line(each))


def _line(event: dict[str, Any]) -> str:
    from datetime import UTC, datetime

    wall = event["wall_ms"]
    try:
        when = "" if wall is None else f"{datetime.fromtimestamp(wall / 1000, UTC):%Y-%m-%d %H:%M:%S}"
    except (OverflowError, ValueError, OSError):
        when = f"{wall} ms"
    return f"{when:19}  block {event['epoch']}/{event['height']} leaf {event['leaf']}: {event['says']}"
