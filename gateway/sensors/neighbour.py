"""A gateway of the same building as a sensor: whether its own alarms sound, and how many of its sensors are in fault.

Owns what such a sensor is. It is not sampled: `gateway.neighbours.link` gives its samples as they are told and proven.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NoReturn

from gateway.errors import SensorError
from gateway.sensors.base import LAN, Hardware, Quantity, SensorInfo

__all__ = ["Options", "connect", "describe"]

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")
_CYCLES: Final = 2  # without a value for so many of its cycles a series is in fault, whoever watches it
_QUIET_S: Final = 3_600


@dataclass(frozen=True, slots=True)
class Options:
    """A neighbour.

    Attributes:
        member: its name in the building's roster.
        silent_s: not heard for so long, it is in fault.
    """

    member: str
    silent_s: int = 30

    def __post_init__(self) -> None:
        if len(self.member) > 64 or not _NAME.fullmatch(self.member):
            raise ValueError(f"member {self.member!r} is not a name of the roster")
        if not 3 <= self.silent_s <= 3_600:
            raise ValueError("silent_s must be 3 to 3600: three heartbeats have to fit")


def describe(options: Options) -> SensorInfo:
    """Say what a neighbour tells: `alarm` 0 normal, 1 pre-alarm, 2 alarm; `faults` its series in fault."""
    return SensorInfo(
        driver="neighbour",
        model=f"neighbour {options.member}",
        quantities=(Quantity("alarm", "1", 0), Quantity("faults", "1", 0)),
        min_interval_ms=1,
        warm_up_ms=0,
        bus=LAN,
        cycle_ms=options.silent_s * 1000 // _CYCLES
        + 2_000,  # the link says `silent` before `missing` would be
        longest_s=_QUIET_S,
    )


def connect(options: Options, hardware: Hardware) -> NoReturn:
    """Refuse: a neighbour tells by itself. Raises SensorError."""
    raise SensorError("no-data", f"neighbour {options.member} is not sampled: it tells by itself")
