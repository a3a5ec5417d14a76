"""What a calibration shows while it lasts, asks, and says at its end."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Final

import click

from firmware_tools.calibrate.bench import REHEARSAL
from firmware_tools.calibrate.fit import Fit
from firmware_tools.errors import FitRefused
from firmware_tools.words import when
from gateway.chain.workmanship import CalibrationRecord

_QUIET_S: Final = 10.0  # between two lines where there is no terminal


def asker(*, is_sure: bool) -> Callable[[str], None]:
    """Return what asks for a reference; it raises FitRefused on a no. Nothing is asked of who is sure already."""

    def ask(text: str) -> None:
        if is_sure:
            return
        try:
            is_so = click.confirm(text, err=True)
        except click.Abort as error:
            click.echo(err=True)
            raise FitRefused("nobody answered; nothing was written (--yes: it has been seen to)") from error
        if not is_so:
            raise FitRefused("not confirmed; nothing was written")

    return ask


class Screen:
    """One line that is kept up on a terminal; elsewhere a line now and then."""

    def __init__(self, *, is_quiet: bool) -> None:
        self._quiet = is_quiet
        self._is_terminal = sys.stderr.isatty()
        self._said: tuple[str, float] = ("", 0.0)

    def wait(self, what: str, left_s: float) -> None:
        self._show(what, "", left_s)

    def live(self, what: str, value: str, left_s: float) -> None:
        self._show(what, value, left_s)

    def _show(self, what: str, value: str, left_s: float) -> None:
        text = f"{what:24} {value:>18}  {left_s:6.0f} s left"
        before, left_before = self._said
        if self._is_terminal:
            click.echo("\r" + text + " " * 8, nl=False, err=True)
        elif not self._quiet and (what != before or left_before - left_s >= _QUIET_S):
            click.echo(text, err=True)
        else:
            return
        self._said = what, left_s


def tell(fit: Fit, record: CalibrationRecord, path: Path, text: str, config: Path, *, as_json: bool) -> None:
    """Say what was found and what to do with it.

    Args:
        path: where the record is.
        text: what belongs into the configuration.
        config: its file.
    """
    is_rehearsal = record.gateway == REHEARSAL
    if as_json:
        points = [
            {
                "expected": each.expected,
                "count": each.count,
                "mean": str(Decimal(each.mean).scaleb(-3)),
                "deviation": str(Decimal(each.deviation).scaleb(-3)),
                "drift": str(Decimal(each.drift).scaleb(-3)),
            }
            for each in fit.points
        ]
        found = {"result": list(fit.lines), "points": points, "until": record.until, "file": str(path)}
        click.echo(
            json.dumps({**found, "rehearsal": is_rehearsal, "configuration": text}, ensure_ascii=False)
        )
        return
    if sys.stderr.isatty():
        click.echo(err=True)
    for line in fit.lines:
        click.echo(line)
    click.echo(f"{path}: signed by {record.name}, good until {when(record.until)}")
    if is_rehearsal:
        click.echo("This was a rehearsal on simulated sensors: no gateway takes the record.")
        return
    click.echo(f"Put it into {config} in place of the series, and restart the gateway:\n\n{text}")
