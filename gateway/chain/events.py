"""Events: what stands in a segment besides readings, each a record under its kind's number.

A contract's transition (kind 1) is bytes of its own, see `gateway.chain.alarm`. Offsets are ms after the header's
first reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Final

from gateway.chain.canonical import INT_MAX
from gateway.chain.errors import WrongShape
from gateway.chain.record import (
    ClockState,
    Hash,
    Int,
    Many,
    Name,
    Range,
    Record,
    Text,
    UInt,
)

MAX_SERIES: Final = 256
MAX_OFFSET: Final = 0xFFFFFFFF
MAX_EARLIER: Final = 256

TRANSITION: Final = 1
STATUS: Final = 2
SHEDDING: Final = 3
CLOCK_STEP: Final = 4
OUTCOME: Final = 5
ACTUATION: Final = 6
REFUSAL: Final = 7
EARLIER: Final = 8


@dataclass(frozen=True, slots=True)
class Status(Record):
    """Event 2, in its series' class: a sensor's series changed its state.

    State 0 is well, 1 degraded, 2 fault, 3 warming up. What a series without a calibration has recorded while it is
    degraded or in fault may be what its sensor said and nothing believed: contracts heard only what could be true.
    """

    series: Annotated[int, Range(0, MAX_SERIES - 1)]
    offset: Annotated[int, Range(0, MAX_OFFSET)]
    state: Annotated[int, Range(0, 3)]
    reason: Annotated[str, Text(32)]


@dataclass(frozen=True, slots=True)
class Shedding(Record):
    """Event 3: bodies or summaries of final blocks were given up for want of space.

    What is 1 summaries, 2 quiet public bodies with some receipt, 3 oldest bodies; heights are inclusive.
    """

    what: Annotated[int, Range(1, 3)]
    first: UInt
    last: UInt
    count: UInt

    def check(self, where: str) -> None:
        if self.first > self.last:
            raise WrongShape(f"{where}: first is above last")


@dataclass(frozen=True, slots=True)
class ClockStep(Record):
    """Event 4: wall time moved by `step` ms against monotonic time; `state` is the header's clock state after."""

    offset: Annotated[int, Range(0, MAX_OFFSET)]
    step: Int
    state: ClockState


@dataclass(frozen=True, slots=True)
class Outcome(Record):
    """Event 5: what became of a command. Code 0 done, 1 refused: late, 2 refused: another boot, 3 failed."""

    command: Hash
    offset: Annotated[int, Range(0, MAX_OFFSET)]
    code: Annotated[int, Range(0, 3)]


@dataclass(frozen=True, slots=True)
class Actuation(Record):
    """Event 6: an output was driven (`active` 1) or let go (0), and why.

    Cause 1 a contract, 2 a fault, 3 its longest time is over, 4 silenced, 5 reset, 6 a test, 7 the daemon was gone,
    8 start, 9 stop. `by` is the contract's id, or who ordered it: the first 16 bytes of a command's hash as
    hexadecimal digits, `button` and its name, or `console`. `moved` tells what the read-back saw: 0 none is wired,
    1 the output moved, 2 it did not.
    """

    offset: Annotated[int, Range(0, MAX_OFFSET)]
    output: Name
    active: Annotated[int, Range(0, 1)]
    cause: Annotated[int, Range(1, 9)]
    by: Annotated[str, Text(96)]
    moved: Annotated[int, Range(0, 2)]


@dataclass(frozen=True, slots=True)
class Refusal(Record):
    """Event 7: messages that were not obeyed, at once or, of one kind and reason, together at most once a minute.

    What is 1 a command, 2 a contract grant, 3 a neighbour's message. `reason` is the name of the rule that was
    broken, `count` how many there were since the one before, `first` SHA-256 (no domain) of the first one's bytes.
    """

    offset: Annotated[int, Range(0, MAX_OFFSET)]
    what: Annotated[int, Range(1, 3)]
    reason: Annotated[str, Text(64)]
    count: Annotated[int, Range(1, INT_MAX)]
    first: Hash


@dataclass(frozen=True, slots=True)
class Sample(Record):
    """A value that was taken `back` ms before its event's offset."""

    back: Annotated[int, Range(0, MAX_OFFSET)]
    value: Int


@dataclass(frozen=True, slots=True)
class Earlier(Record):
    """Event 8, in its series' class: values that the policy had left out, kept for a transition at `offset`.

    They were taken before the block began, so that no reading of it may go back to them; in the order of taking.
    """

    series: Annotated[int, Range(0, MAX_SERIES - 1)]
    offset: Annotated[int, Range(0, MAX_OFFSET)]
    values: Annotated[tuple[Sample, ...], Many(1, MAX_EARLIER)]

    def check(self, where: str) -> None:
        if any(one.back < other.back for one, other in pairwise(self.values)):
            raise WrongShape(f"{where}.values: they stand in the order of taking")


Event = Status | Shedding | ClockStep | Outcome | Actuation | Refusal | Earlier
OfSeries = Status | Earlier  # events of one series, which stand in its class
EVENTS: Final[dict[int, type[Event]]] = {
    STATUS: Status,
    SHEDDING: Shedding,
    CLOCK_STEP: ClockStep,
    OUTCOME: Outcome,
    ACTUATION: Actuation,
    REFUSAL: Refusal,
    EARLIER: Earlier,
}
KINDS: Final = {record: kind for kind, record in EVENTS.items()}
