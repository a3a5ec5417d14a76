"""`tocsin-tools calibrate`: clean air, span gas, strain's zero and shunt, each measured, judged and signed.

Owns the commands' options and the order of each method. What is shown is `firmware_tools.calibrate.view`'s, the work is
`firmware_tools.calibrate.bench`'s.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from firmware_tools.errors import FitRefused
from gateway.options import config_option, configured, refuse_beside, simulate_option

if TYPE_CHECKING:
    from firmware_tools.calibrate.bench import Bench, Target
    from firmware_tools.calibrate.fit import Fit
    from firmware_tools.calibrate.hand import Hand
    from gateway.config import Config
    from gateway.sensors.base import Hardware

_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Setting:
    """What all methods have in common."""

    series: str
    path: Path
    technician: Path
    out: Path | None
    days: int
    seconds: float
    settle: float
    yes: bool
    waits: bool
    scenario: str | None
    speed: float
    gateway: str
    as_json: bool


_COMMON: Final = (
    click.argument("series"),
    config_option,
    click.option("--technician", required=True, type=click.Path(path_type=Path), help="The key that signs."),
    click.option(
        "-o", "--out", type=click.Path(path_type=Path), help="The record; SERIES.calibration if left out."
    ),
    click.option(
        "--days", default=365, show_default=True, type=click.IntRange(1, 3650), help="How long it holds."
    ),
    click.option(
        "--seconds",
        default=60.0,
        show_default=True,
        type=click.FloatRange(5, 3600),
        help="Of each measurement.",
    ),
    click.option(
        "--settle",
        default=60.0,
        show_default=True,
        type=click.FloatRange(0, 3600),
        help="Waited after each change.",
    ),
    click.option("-y", "--yes", is_flag=True, help="Ask nothing: what would be asked has been seen to."),
    click.option(
        "--wait/--no-wait", "waits", default=True, help="Wait for the warm-up, or refuse a cold sensor."
    ),
    simulate_option,
    click.option(
        "--speed",
        default=20.0,
        show_default=True,
        type=click.FloatRange(0, 10_000),
        help="Of a simulation's clock; 0 is as fast as it goes.",
    ),
    click.option("--gateway", default="", help="The gateway's id, where its key cannot be read from here."),
    click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object."),
)


def common(function: _Command) -> _Command:
    """Give a command the options of all methods, as one argument `setting`."""

    @functools.wraps(function)
    def wrapped(**given: Any) -> Any:
        names = Setting.__dataclass_fields__
        setting = Setting(**{name: given.pop(name) for name in names})
        return function(setting, **given)

    return functools.reduce(lambda inner, each: each(inner), reversed(_COMMON), wrapped)  # type: ignore[return-value]


@click.group()
def calibrate() -> None:
    """Calibrate a sensor in the field, and sign what was found.

    Example: tocsin-tools calibrate clean-air kitchen.ch4 --config gateway.toml --technician technician.key
    """


_gas = click.option(
    "--gas", default="", help="Whose curve; what the configuration says, or the element is sold for."
)
_new = click.option(
    "--new-element", "is_new", is_flag=True, help="It was never measured: R0 may be far from 10 kohm."
)


@calibrate.command("clean-air")
@common
@_gas
@_new
def clean_air(setting: Setting, gas: str, is_new: bool) -> None:
    """Find an MQ element's R0 in clean air.

    Example: tocsin-tools calibrate clean-air kitchen.ch4 --config gateway.toml --technician technician.key
    """
    from gateway.chain.workmanship import CLEAN_AIR

    def work(bench: Bench, target: Target, hand: Hand) -> Fit:
        from firmware_tools.calibrate.mq import element, fit

        options, table = element(target, gas)
        hand.clean_air()
        bench.warm_up(waits=setting.waits)
        return fit(bench, options, table, [bench.measure("clean air", 0, setting.seconds)], is_new=is_new)

    _calibrate(setting, CLEAN_AIR, "clean air", work)


@calibrate.command()
@common
@click.option(
    "--ppm", "gases", multiple=True, required=True, help="Of a test gas; 0 is clean air. Several are allowed."
)
@_gas
@_new
def span(setting: Setting, gases: tuple[str, ...], gas: str, is_new: bool) -> None:
    """Calibrate with test gas: an MQ element's R0, or the straight line of any other gas sensor (0 and more).

    Example: tocsin-tools calibrate span boiler.co --ppm 0 --ppm 100 --config gateway.toml --technician technician.key
    """
    from gateway.chain.workmanship import KNOWN_GAS

    def work(bench: Bench, target: Target, hand: Hand) -> Fit:
        from firmware_tools.calibrate.bench import steps
        from firmware_tools.calibrate.fit import fit_span
        from firmware_tools.calibrate.mq import element, fit
        from gateway.sensors import mq

        is_mq = isinstance(target.options, mq.Options)
        scale = 0 if is_mq else target.linear.scale
        expected = [steps(each, scale) for each in gases]
        smelled = element(target, gas)[1].gas if is_mq else gas or "test gas"
        bench.warm_up(waits=setting.waits)
        measured = []
        for text, value in zip(gases, expected, strict=True):
            hand.gas(target.options, smelled, float(text))
            bench.pause(f"{text} ppm settling", max(setting.settle, target.info.cycle_ms / 1000))
            measured.append(bench.measure(f"{text} ppm", value, setting.seconds))
        if is_mq:
            return fit(bench, *element(target, gas), measured, is_new=is_new)
        return fit_span(target.linear, measured)

    _calibrate(setting, KNOWN_GAS, f"test gas {', '.join(gases)} ppm", work)


@calibrate.command()
@common
def zero(setting: Setting) -> None:
    """Make what a strain sensor gives now, without load, its zero.

    Example: tocsin-tools calibrate zero beam.strain --config gateway.toml --technician technician.key
    """
    from gateway.chain.workmanship import ZERO

    def work(bench: Bench, target: Target, hand: Hand) -> Fit:
        from firmware_tools.calibrate.strain import fit_zero

        _strain(target)
        hand.bare()
        bench.warm_up(waits=setting.waits)
        bench.pause("settling", setting.settle)
        measured = bench.measure("zero", 0, setting.seconds)
        return fit_zero(target.linear, measured, bench.climate(target.linear.correction))

    _calibrate(setting, ZERO, "zero without load", work)


@calibrate.command()
@common
@click.option(
    "--shunt-ohm", required=True, type=click.FloatRange(min=1, min_open=True), help="The shunt resistor."
)
@click.option(
    "--gauge-ohm", default=120.0, show_default=True, type=click.FloatRange(min=1), help="The gauge."
)
@click.option("--up", is_flag=True, help="The shunt lies across a neighbouring arm: it pretends tension.")
def shunt(setting: Setting, shunt_ohm: float, gauge_ohm: float, up: bool) -> None:
    """Find a strain sensor's gain with a resistor across one gauge of the bridge.

    Example: tocsin-tools calibrate shunt beam.strain --shunt-ohm 59880 --config gateway.toml --technician fitter.key
    """
    from gateway.chain.workmanship import SHUNT

    def work(bench: Bench, target: Target, hand: Hand) -> Fit:
        from firmware_tools.calibrate.strain import bridge_strain, fit_shunt, shunt_output

        options = _strain(target)
        output = shunt_output(Fraction(gauge_ohm), Fraction(shunt_ohm), up=up)
        pretended = bridge_strain(options, output)
        hand.bare()
        bench.warm_up(waits=setting.waits)
        bench.pause("settling", setting.settle)
        bare = bench.measure("without shunt", 0, setting.seconds)
        hand.shunt(options, float(output))
        bench.pause("settling", setting.settle)
        return fit_shunt(target.linear, bare, bench.measure("with shunt", pretended, setting.seconds))

    _calibrate(setting, SHUNT, f"shunt of {shunt_ohm:g} ohm", work)


def _strain(target: Target) -> Any:
    from gateway.sensors import strain

    if not isinstance(target.options, strain.Options) or target.quantity.name != "strain":
        raise FitRefused(f"{target.series.name} is no strain of the driver strain")
    return target.options


def _calibrate(setting: Setting, method: int, words: str, work: Callable[[Bench, Target, Hand], Fit]) -> None:
    """Open the sensor, do the work, and sign and write what was accepted."""
    from firmware_tools.calibrate.bench import Bench, Job, find_target, make_record, snippet, write_record
    from firmware_tools.calibrate.hand import Hand
    from firmware_tools.calibrate.view import Screen, asker, tell
    from firmware_tools.technician import load_technician
    from gateway.simulation.simulation import Simulation

    technician = load_technician(setting.technician)
    config = configured(setting.path, setting.scenario)
    refuse_beside(config, "calibrating")
    target = find_target(config, setting.series, str(setting.path))
    gateway = _gateway(setting, config)
    hardware = _hardware(setting, config)
    try:
        simulation = hardware if isinstance(hardware, Simulation) else None
        hand = Hand(simulation, target.sensor.name, asker(is_sure=setting.yes))
        with Bench(target, config, hardware, Screen(is_quiet=setting.as_json)) as bench:
            fit = work(bench, target, hand)
    finally:
        hardware.close()
    record = make_record(target, fit, Job(technician, gateway, method, words, setting.days))
    path = setting.out or setting.path.parent / f"{setting.series}.calibration"
    write_record(record, technician, path)
    text = snippet(target, path, technician, setting.path.parent)
    tell(fit, record, path, text, setting.path, as_json=setting.as_json)


def _gateway(setting: Setting, config: Config) -> bytes:
    """Return the id that the record is for; none, where a real gateway's sensors are only simulated."""
    from firmware_tools.calibrate.bench import REHEARSAL
    from gateway.config import load_config
    from gateway.region.enrol import known_gateway

    if setting.scenario is not None and load_config(setting.path).simulation is None:
        return REHEARSAL
    try:
        gateway = bytes.fromhex(setting.gateway) or known_gateway(config.data)
    except ValueError as error:
        raise FitRefused(f"--gateway: {setting.gateway!r} is not hexadecimal") from error
    if gateway is None or len(gateway) != 16:
        raise FitRefused(
            f"the gateway has no key yet in {config.data}, and its records name it: start it once, or give --gateway"
        )
    return gateway


def _hardware(setting: Setting, config: Config) -> Hardware:
    from gateway.clock import SimulatedClock
    from gateway.machine import open_hardware

    sensors = [(each.name, each.driver, each.options) for each in config.sensors]
    return open_hardware(config, sensors, SimulatedClock(setting.speed))
