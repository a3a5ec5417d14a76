"""`tocsin-hub backup`, `restore` and `help`."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Final

import click

from hub.cli_kit import JSON, show

PATH: Final = click.Path(path_type=Path)
TOPICS: Final = ("federation",)


@click.command()
@click.argument("directory", metavar="DIR", type=PATH)
@click.option("-o", "--output", required=True, type=PATH, help="The file to write.")
@click.option("--with-keys", is_flag=True, help="The keys as well: the file is as secret as they are then.")
@JSON
def backup(directory: Path, output: Path, with_keys: bool, as_json: bool) -> None:
    """Write a backup of the hub in DIR, also while it runs: configuration, genesis, ledger, keys if asked for.

    Example: tocsin-hub backup hub -o /mnt/safe/hub.backup --with-keys
    """
    from rich.console import Console

    from hub.backup import backup as write_backup

    with Console(stderr=True).status("copying the ledger"):
        size = write_backup(directory, output, with_keys=with_keys)
    keys = "with its keys: keep it as safe as them" if with_keys else "without its keys: keep those elsewhere"
    show({"file": str(output), "bytes": size, "keys": with_keys}, as_json, f"{output}: {size} bytes, {keys}")


@click.command()
@click.argument("file", type=PATH)
@click.argument("directory", metavar="DIR", type=PATH)
@JSON
def restore(file: Path, directory: Path, as_json: bool) -> None:
    """Make a hub's directory DIR from a backup FILE. The hub that it replaces must never run again.

    A federation's hub follows the others first, and votes only when it can sign nothing for the second time.

    Example: tocsin-hub restore /mnt/safe/hub.backup hub
    """
    from dataclasses import asdict

    from rich.console import Console

    from hub.backup import restore as read_backup

    with Console(stderr=True).status("unpacking the ledger"):
        found = read_backup(file, directory)
    said = [f"{directory}: restored; the hub it replaces must never run again"]
    if not found.keys:
        said.append(
            f"no keys: put hub.key into {directory}, or make new ones with tocsin-hub federation rekey"
        )
    if found.waits:
        said.append("it votes again by itself, some final blocks after its start")
    if not found.follows:
        said.append(
            "what it sealed after the backup is lost: gateways and keepers of checkpoints will notice"
        )
    show(asdict(found), as_json, "\n".join(said))


@click.command(name="help")
@click.argument("topic", type=click.Choice(TOPICS), default=TOPICS[0])
def help_(topic: str) -> None:
    """Show a chapter of the operator's manual.

    Example: tocsin-hub help federation
    """
    from rich.console import Console
    from rich.markdown import Markdown

    text = resources.files("hub").joinpath("manual", f"{topic}.md").read_text(encoding="utf-8")
    console = Console()
    if console.is_terminal:
        with console.pager(styles=True):
            console.print(Markdown(text))
    else:
        click.echo(text)
