"""`tocsin-tools technician`: a technician's key."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("name")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Where to write the key.")
def technician(name: str, out: Path) -> None:
    """Make the key that a technician called NAME signs calibrations and certificates with; print its public half.

    Example: tocsin-tools technician "Fitter 12" -o technician.key
    """
    from firmware_tools.technician import make_technician

    made = make_technician(name, out)
    click.echo(f"{out}: keep it secret; its public half is", err=True)
    click.echo(made.key.public.hex())
