"""What two parts of a configuration both claim, and what a bus is asked for beyond its time.

Owns the comparison of claims: chips and channels on I2C buses, pins of sensors, outputs and buses, the buses' time.
What a sensor claims its driver says (`gateway.sensors.base.Claim`). It touches nothing.

A multiplexer's channels are buses with names of their own in Linux, so equal addresses behind it do not clash.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Final

from gateway.catalogue import Catalogue, SensorPlan
from gateway.config import Config
from gateway.errors import ConfigError
from gateway.sensors.base import LAN

__all__ = ["check_lines", "clashes", "crowded", "loads"]

_BUS_PINS: Final = {
    "i2c-0": (0, 1),
    "i2c-1": (2, 3),
    "spi-0": (7, 8, 9, 10, 11),
}
_FULL: Final = 1.0
_BUSY: Final = 0.7
"""A bus above this share has no time left for a retry or a slow chip."""


def clashes(config: Config, catalogue: Catalogue) -> list[str]:
    """Return what cannot work: each names both sides and the remedy."""
    plans = catalogue.sensors
    return [*_on_buses(plans), *_on_pins(config, plans), *_overloads(catalogue)]


def check_lines(config: Config, catalogue: Catalogue, where: str) -> None:
    """Raise ConfigError where an output's line is supervised by a series that does not exist."""
    names = [series.name for series in catalogue.series]
    for output in config.outputs:
        if output.line is not None and output.line not in names:
            near = get_close_matches(output.line, names, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names) or 'none'}"
            raise ConfigError(
                f"{where}: output {output.name}: no series is called {output.line!r} to supervise its line; {hint}"
            )


def loads(catalogue: Catalogue) -> dict[str, float]:
    """Return by bus which share of its time its sensors take."""
    shares: dict[str, float] = {}
    for plan in catalogue.sensors:
        if plan.info.bus == LAN:
            continue
        share = plan.info.claim.busy_us / 1000 / plan.period_ms
        shares[plan.info.bus] = shares.get(plan.info.bus, 0.0) + share
    return shares


def crowded(catalogue: Catalogue) -> Iterator[str]:
    """Yield a warning for each bus that carries its rates, but barely."""
    for bus, share in loads(catalogue).items():
        if _BUSY < share <= _FULL:
            yield f"{bus} is busy {share:.0%} of its time: nothing is left for a retry; lengthen a period_ms"


def _on_buses(plans: Sequence[SensorPlan]) -> Iterator[str]:
    chips: dict[tuple[str, int], list[SensorPlan]] = {}
    for plan in plans:
        if plan.info.claim.address is not None:
            chips.setdefault((plan.info.bus, plan.info.claim.address), []).append(plan)
    for (bus, address), sharing in chips.items():
        for index, plan in enumerate(sharing):
            for other in sharing[:index]:
                if why := _clash(other, plan):
                    yield (
                        f"{bus} address {address:#04x}: {other.name} and {plan.name} {why}; change an address, or put"
                        " one behind a multiplexer"
                    )


def _clash(one: SensorPlan, other: SensorPlan) -> str:
    a, b = one.info.claim, other.info.claim
    if a.chip != b.chip:
        return f"are different chips ({a.chip}, {b.chip})"
    if not a.channels or not b.channels:
        return f"both claim the whole {a.chip}"
    both = sorted(set(a.channels) & set(b.channels))
    return f"both claim {a.chip} {both[0]}" if both else ""


def _pin_users(config: Config, plans: Sequence[SensorPlan]) -> Iterator[tuple[int, str]]:
    """Yield each pin that is claimed, and who claims it; a bus claims its pins once."""
    options = {each.name: each for each in config.buses}
    for bus in dict.fromkeys(plan.info.bus for plan in plans):
        own = options.get(bus)
        lines = own.lines if own is not None and own.lines is not None else _BUS_PINS.get(bus, ())
        yield from ((pin, f"bus {bus}") for pin in lines)
        if own is not None and own.power_pin is not None:
            yield own.power_pin, f"the supply of bus {bus}"
    for plan in plans:
        yield from ((pin, f"sensor {plan.name}") for pin in plan.info.claim.pins)
    for output in config.outputs:
        yield output.pin, f"output {output.name}"
        if output.read_back is not None:
            yield output.read_back.pin, f"the read-back of output {output.name}"
    yield from ((button.pin, f"button {button.name}") for button in config.buttons)


def _on_pins(config: Config, plans: Sequence[SensorPlan]) -> Iterator[str]:
    users: dict[int, str] = {}
    for pin, user in _pin_users(config, plans):
        if (first := users.setdefault(pin, user)) != user:
            yield f"GPIO{pin} is claimed by {first} and by {user}; give one another pin"


def _overloads(catalogue: Catalogue) -> Iterator[str]:
    for bus, share in loads(catalogue).items():
        if share > _FULL:
            names = [plan.name for plan in catalogue.sensors if plan.info.bus == bus]
            yield (
                f"{bus} cannot carry {', '.join(names)}: their samples take {share:.0%} of its time; lengthen"
                " period_ms, raise a converter's rate, or use a second bus"
            )
