"""The command `tocsin-gateway`: run, check, read, bundle, status, identity, reset, silence, test, help.

Owns arguments, what is printed and exit codes: 0, 1 for an error with one line of remedy, 2 for wrong usage. It
loads no more than a command needs, because `run` has to be quick.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import click

from gateway.chain.errors import ChainError
from gateway.config import Config, load_config
from gateway.contracts.errors import ContractError
from gateway.errors import ConfigError, GatewayError
from gateway.options import config_option, configured, simulate_option
from gateway.outputs.options import MAX_TEST_S

__all__ = ["main"]

_Command = TypeVar("_Command", bound=Callable[..., Any])
_log = logging.getLogger(__name__)

_AGAIN: Final = 75  # EX_TEMPFAIL: the service is started anew


def _reported(function: _Command) -> _Command:
    """Turn our own errors into one line on stderr and exit code 1; `--debug` re-raises."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except (GatewayError, ContractError, ChainError) as error:
            if click.get_current_context().find_root().params.get("debug"):
                raise
            click.echo(f"tocsin-gateway: {error}", err=True)
            sys.exit(1)

    return cast(_Command, call)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the whole traceback of an error.")
@click.version_option(package_name="tocsin", prog_name="tocsin-gateway")
def main(debug: bool) -> None:
    """Run and look after a Tocsin gateway.

    Example: tocsin-gateway check --config /etc/tocsin/gateway.toml
    """


@main.command()
@config_option
@click.option("--verbose", is_flag=True, help="Log more.")
@_reported
def run(path: Path, verbose: bool) -> None:
    """Run the gateway until it is told to end (SIGTERM or Ctrl-C).

    Example: tocsin-gateway run --config /etc/tocsin/gateway.toml
    """
    threading.excepthook = _end_with_thread
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    from gateway.running import Running

    # Other threads would wait the default 5 ms for the interpreter before a pin could be driven.
    sys.setswitchinterval(0.001)
    running = Running(load_config(path), str(path))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: running.end())
    running.start()
    is_over = running.wait()
    _log.info("ending")
    running.stop()
    if not is_over:
        _log.critical("the disk takes data again: the gateway ends, to be started anew with it")
        sys.exit(_AGAIN)


def _end_with_thread(failure: threading.ExceptHookArgs) -> None:
    """End the process where one of its threads dies: a gateway that does half its work in silence is worse.

    The guardian holds the outputs meanwhile, and the service is started anew.
    """
    exception = (failure.exc_type, failure.exc_value or failure.exc_type(), failure.exc_traceback)
    _log.critical("thread %s died; the gateway ends", failure.thread, exc_info=exception)
    logging.shutdown()
    os._exit(70)


@main.command()
@config_option
@simulate_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@_reported
def check(path: Path, scenario: str | None, as_json: bool) -> None:
    """Check a configuration: file, sensors, calibrations, contracts, outputs, trust. Touches no hardware.

    Example: tocsin-gateway check --config /etc/tocsin/gateway.toml
    """
    from gateway.inspection.checking import examine

    report = examine(configured(path, scenario, records=True), str(path))
    if as_json:
        click.echo(json.dumps(report.statement()))
        return
    for line in report.lines():
        click.echo(line)
    for warning in report.warnings:
        click.echo(f"warning: {warning}", err=True)


@main.command()
@config_option
@simulate_option
@click.option("--seconds", type=click.FloatRange(min=0), help="End after so long; by default with Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a sample.")
@_reported
def read(path: Path, scenario: str | None, seconds: float | None, as_json: bool) -> None:
    """Show live values, state, age and rate of every series, without recording or deciding.

    A terminal shows a table, anything else one line a sample. The gateway itself must not run: a bus has one owner.

    Example: tocsin-gateway read --config gateway.toml --simulate gas-leak --seconds 10
    """
    from gateway.inspection.live import follow

    config = configured(path, scenario, records=True)
    follow(config, str(path), seconds, as_json=as_json, is_terminal=sys.stdout.isatty())


@main.command()
@config_option
@click.option(
    "-o", "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The file to write."
)
@click.option(
    "--log",
    "logs",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A log file, in place of the unit's journal; may be repeated.",
)
@click.option(
    "--blocks", default=20, show_default=True, type=click.IntRange(0, 10_000), help="How many blocks."
)
@click.option(
    "--lines", default=5000, show_default=True, type=click.IntRange(1), help="How much of the journal."
)
@_reported
def bundle(path: Path, out: Path, logs: tuple[Path, ...], blocks: int, lines: int) -> None:
    """Pack what support needs into one file: configuration without secrets, logs, status, check, blocks, machine.

    Works with the gateway running or not. Blocks go in as they are stored, whatever class their series have.

    Example: tocsin-gateway bundle --config /etc/tocsin/gateway.toml -o flat-3.tar.gz
    """
    from gateway.inspection.bundle import make_bundle

    contents = make_bundle(path, out, logs=logs, blocks=blocks, lines=lines)
    click.echo(f"{out}: {len(contents.members)} parts, {out.stat().st_size} bytes; index.json lists them")
    for name, why in contents.left_out.items():
        click.echo(f"left out: {name}: {why}", err=True)


@main.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@_reported
def status(path: Path, as_json: bool) -> None:
    """Ask the running gateway how it is.

    Example: tocsin-gateway status --config gateway.toml
    """
    from gateway.inspection.reporting import neighbour_words

    answer = _ask(load_config(path), {"do": "status"})
    if as_json:
        click.echo(json.dumps(answer))
        return
    epoch, height = answer["head"]
    click.echo(f"gateway {answer['gateway']} of chain {answer['chain'][:16]}, {answer['software']}")
    click.echo(f"block {epoch}/{height}, {'publishing' if answer['publishing'] else 'not publishing yet'}")
    click.echo(f"wall time: {answer['clock']}")
    for name, state in answer["contracts"].items():
        click.echo(f"{name}: {' '.join([state['condition'], *state['faults']])}")
    for name, state in answer["neighbours"].items():
        click.echo(f"neighbour {name}: {neighbour_words(state)}")
    for output in answer["output_states"]:
        doing = {True: "acts", False: "is at rest", None: "cannot be driven"}[output["active"]]
        click.echo(f"output {output['name']} {doing} ({output['cause']}){_faults_of(output['faults'])}")
    click.echo(
        f"outputs acting: {', '.join(answer['outputs']) or 'none'}; series in fault: {answer['faults']}"
    )
    for trouble in answer["troubles"]:
        click.echo(f"trouble: {trouble}", err=True)


@main.command()
@config_option
@_reported
def identity(path: Path) -> None:
    """Print this gateway's entry for the roster of its building. It has a key from its first start on.

    Example: tocsin-gateway identity --config gateway.toml >> building.toml
    """
    from gateway.region.enrol import load_key

    config = load_config(path)
    if not (config.data / "key").exists():
        raise ConfigError(f"{config.data / 'key'} is not there yet: start the gateway once, and ask again")
    key, _ = load_key(config.data)
    name = re.sub("[^a-z0-9]+", "-", config.gateway.name.lower()).strip("-") or "name-it"
    click.echo(f'\n[[members]]  # in gateway.toml: [[neighbours.members]]\nname = "{name[:64]}"')
    click.echo(f'key = "{key.public.hex()}"')
    click.echo('addresses = ["192.168.1.11:47470"]  # where it listens; fix it in the router')


def _faults_of(faults: list[str]) -> str:
    return "".join(f"; {each}" for each in faults)


@main.command()
@config_option
@click.argument("contract")
@_reported
def reset(path: Path, contract: str) -> None:
    """Reset a latched contract of the running gateway, by its id. One that is still in alarm stays there.

    Example: tocsin-gateway reset --config gateway.toml gas-ch4
    """
    config = load_config(path)
    _ask(config, {"do": "reset", "contract": contract})
    click.echo(f"{contract}: {_ask(config, {'do': 'status'})['contracts'][contract]['condition']}")


@main.command()
@config_option
@click.argument("contract")
@_reported
def silence(path: Path, contract: str) -> None:
    """Silence the sirens of a contract until its state changes; the alarm stays.

    Example: tocsin-gateway silence --config gateway.toml gas-ch4
    """
    _ask(load_config(path), {"do": "silence", "contract": contract})
    click.echo(f"{contract}: silenced; the alarm stays")


@main.command()
@config_option
@click.argument("output")
@click.option(
    "--seconds", type=click.IntRange(0, MAX_TEST_S), default=5, show_default=True, help="0 ends it."
)
@_reported
def test(path: Path, output: str, seconds: int) -> None:
    """Let an output of the running gateway act for some seconds: a siren sounds, a valve shuts.

    Example: tocsin-gateway test --config gateway.toml siren --seconds 2
    """
    _ask(load_config(path), {"do": "test", "output": output, "seconds": seconds})
    click.echo(f"{output}: {f'acts for {seconds} s' if seconds else 'its test is over'}")


@main.command(name="help")
def help_() -> None:
    """Show the installer's manual: from a bare Pi to a signed certificate.

    Example: tocsin-gateway help
    """
    from importlib import resources

    from rich.console import Console
    from rich.markdown import Markdown

    text = resources.files("gateway").joinpath("manual", "installing.md").read_text(encoding="utf-8")
    console = Console()
    if console.is_terminal:
        with console.pager(styles=True):
            console.print(Markdown(text))
    else:
        click.echo(text)


def _ask(config: Config, request: dict[str, Any]) -> Any:
    from gateway.control import ask

    return ask(config.data / "control.sock", request)


if __name__ == "__main__":
    main()
