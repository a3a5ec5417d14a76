"""`tocsin-tools`: the workbench's commands. Each parses, calls and prints; what they do is in their own files."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from firmware_tools.errors import ToolError


class Tools(click.Group):
    """Turns a domain error into one line on stderr and exit code 1; `--debug` lets it through."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except ToolError as error:
            if ctx.params.get("debug"):
                raise
            click.echo(f"tocsin-tools: {error}", err=True)
            ctx.exit(1)


@click.group(cls=Tools, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the whole traceback of an error.")
@click.version_option(package_name="tocsin")
def main(debug: bool) -> None:
    """Tocsin's workbench: try it, verify evidence, measure it."""


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--trust", required=True, type=click.Path(path_type=Path), help="The genesis, or its hash in hexadecimal."
)
@click.option("--json", "as_json", is_flag=True, help="Print the proved statement as one JSON object.")
def verify(file: Path, trust: Path, as_json: bool) -> None:
    """Verify an evidence FILE offline, trusting only a genesis.

    Example: tocsin-tools verify alarm.evidence --trust genesis.cbor
    """
    from firmware_tools.verify import explain, verify_file

    finding = verify_file(file, trust)
    if as_json:
        json.dump(finding.statement(), sys.stdout, ensure_ascii=False)
        click.echo()
    else:
        click.echo("Verified.\n" + "\n".join(explain(finding)))
