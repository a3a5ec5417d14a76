"""What the configuration says of outputs, of the buttons beside them, and of the guardian that holds them.

Owns these tables' shapes, bounds and defaults, and an output's form on the way to the guardian. It loads nothing
that touches pins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

__all__ = [
    "MAX_TEST_S",
    "ButtonOptions",
    "GuardianTable",
    "OutputOptions",
    "Pull",
    "ReadBack",
    "check_distinct",
    "options_of",
    "plain",
]

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_LAST_BCM_PIN: Final = 27
_NORMALLY_ENERGISED_KINDS: Final = frozenset({"valve", "fault"})
_LONG_PRESS_MS: Final = 3_000
MAX_TEST_S: Final = 60
MIN_HOLD_S: Final = 3  # a daemon speaks at least once a second
MAX_HOLD_S: Final = 300

Pull = Literal["up", "down", "external-up", "external-down"]
Pattern = Literal["continuous", "intermittent", "temporal-3", "slow"]


@dataclass(frozen=True, slots=True)
class ReadBack:
    """A contact that a relay moves along with its own, read to prove that it moved.

    Attributes:
        pin: BCM number of the input.
        contact: "no" is closed while the relay has power, "nc" while it has none.
        pull: the resistor opposite the contact, as with the driver `contact`.
        within_ms: the relay has moved by then, or has failed.
    """

    pin: int
    contact: Literal["no", "nc"] = "no"
    pull: Pull = "up"
    within_ms: int = 500

    def __post_init__(self) -> None:
        _check_pin("read_back", self.pin)
        if not 10 <= self.within_ms <= 60_000:
            raise ValueError("read_back: within_ms must be 10 to 60000")

    @property
    def low_closed(self) -> bool:
        """Whether a closed contact pulls the pin to ground, against a resistor to 3.3 V."""
        return self.pull.endswith("up")


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """One output of the configuration.

    Attributes:
        name: what contracts call it.
        kind: what hangs on the pin; "fault" is a relay towards a certified panel, energised while all is well,
            which acts on every fault and when the daemon or the guardian is gone, and which no contract drives.
        pin: BCM number, 0 to 27.
        energised: when power is applied; by default a valve's in the normal state, so that its spring
            closes it on alarm and on any loss of power, a siren's and a relay's in the alarm.
        active_high: whether the pin's high level applies power.
        max_runtime_s: seconds after which an alarm that lasts no longer drives the output, until the
            alarm has ended and come again, or another one comes; only for outputs energised in the alarm.
        pattern: how a siren sounds, see `gateway.outputs.patterns`.
        pre_alarm: how it sounds where only a pre-alarm wants it; as `pattern` if left out.
        line: the series that supervises the wire to it; a fault of that series is the output's.
        read_back: the contact that proves that it moved.
    """

    name: str
    kind: Literal["siren", "relay", "valve", "fault"]
    pin: int
    energised: Literal["alarm", "normal"] | None = None
    active_high: bool = True
    max_runtime_s: int | None = None
    pattern: Pattern = "continuous"
    pre_alarm: Pattern | None = None
    line: str | None = None
    read_back: ReadBack | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no output name; use a-z, 0-9, - and _, at most 32")
        _check_pin(f"output {self.name}", self.pin)
        if self.max_runtime_s is not None and (self.max_runtime_s <= 0 or self.normally_energised):
            raise ValueError(
                f"output {self.name}: max_runtime_s must be positive, and would undo what an output"
                ' energised when normal protects; set energised = "alarm" or leave it out'
            )
        if self.kind == "fault" and self.energised == "alarm":
            raise ValueError(
                f"output {self.name}: a fault relay is energised while all is well, so that a cut wire or a dead"
                " gateway shows at the panel; leave energised out"
            )
        if self.is_pulsed and (self.kind != "siren" or self.read_back is not None):
            raise ValueError(
                f"output {self.name}: a pattern is for a siren without a read-back; set it continuous"
            )

    @property
    def normally_energised(self) -> bool:
        """Whether it has power in the normal state, so that it acts when that goes."""
        if self.energised is None:
            return self.kind in _NORMALLY_ENERGISED_KINDS
        return self.energised == "normal"

    @property
    def is_pulsed(self) -> bool:
        """Whether it ever goes on and off by itself."""
        return {self.pattern, self.pre_alarm or "continuous"} != {"continuous"}


@dataclass(frozen=True, slots=True)
class ButtonOptions:
    """A push button beside the gateway.

    Attributes:
        name: what the record of a press says.
        pin: BCM number of the input.
        does: "silence" every siren that sounds, "reset" what is latched, or "test" outputs.
        contract: the only one that it silences or resets; all if left out.
        outputs: what it tests; all sirens if left out.
        seconds: how long a test lasts.
        contact, pull: how it is wired, as with the driver `contact`.
        debounce_ms: a press or release counts after so long.
        hold_ms: it does nothing before it was held for so long; 3 s for a reset if left out.
    """

    name: str
    pin: int
    does: Literal["silence", "reset", "test"]
    contract: str | None = None
    outputs: tuple[str, ...] = ()
    seconds: int = 5
    contact: Literal["no", "nc"] = "no"
    pull: Pull = "up"
    debounce_ms: int = 50
    hold_ms: int | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no button name; use a-z, 0-9, - and _, at most 32")
        _check_pin(f"button {self.name}", self.pin)
        if not 0 <= self.debounce_ms <= 1000 or not 0 <= self.pressed_ms <= 60_000:
            raise ValueError(f"button {self.name}: debounce_ms must be 0 to 1000, hold_ms 0 to 60000")
        if not 1 <= self.seconds <= MAX_TEST_S:
            raise ValueError(f"button {self.name}: a test lasts 1 to {MAX_TEST_S} s")

    @property
    def pressed_ms(self) -> int:
        """How long it has to be held, after its bouncing."""
        if self.hold_ms is None:
            return _LONG_PRESS_MS if self.does == "reset" else 0
        return self.hold_ms


@dataclass(frozen=True, slots=True)
class GuardianTable:
    """`[guardian]`: `hold_s` seconds without a daemon leave the outputs as they are; then the safe state comes."""

    hold_s: int = 30

    def __post_init__(self) -> None:
        if not MIN_HOLD_S <= self.hold_s <= MAX_HOLD_S:
            raise ValueError(f"hold_s must be {MIN_HOLD_S} to {MAX_HOLD_S}: a dead daemon protects nobody")


def check_distinct(outputs: Sequence[OutputOptions], buttons: Sequence[ButtonOptions] = ()) -> None:
    """Raise ValueError where two outputs or buttons share a name or a pin."""
    pins = [each.pin for each in outputs]
    pins += [each.read_back.pin for each in outputs if each.read_back is not None]
    pins += [each.pin for each in buttons]
    given: tuple[tuple[str, str, Sequence[object]], ...] = (
        ("outputs", "name", [each.name for each in outputs]),
        ("buttons", "name", [each.name for each in buttons]),
        ("outputs", "pin", pins),
    )
    for kind, what, values in given:
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            raise ValueError(f"two {kind} have the {what} {twice!r}; give each its own")


def plain(outputs: Iterable[OutputOptions]) -> list[dict[str, Any]]:
    """Return outputs as plain values, for `options_of`."""
    return [asdict(each) for each in outputs]


def options_of(tables: Iterable[Mapping[str, Any]]) -> tuple[OutputOptions, ...]:
    """Return the outputs of plain values. Raises ValueError, TypeError, KeyError."""
    found = []
    for table in tables:
        given = dict(table)
        read_back = given.pop("read_back", None)
        found.append(OutputOptions(**given, read_back=ReadBack(**read_back) if read_back else None))
    return tuple(found)


def _check_pin(where: str, pin: int) -> None:
    if not 0 <= pin <= _LAST_BCM_PIN:
        raise ValueError(f"{where}: pin {pin} is no BCM number from 0 to {_LAST_BCM_PIN}")
