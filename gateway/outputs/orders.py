"""What the daemon and the guardian say to each other of outputs: orders, states, movements, and their plain form.

Owns these values and nothing that acts on them. Plain values are what JSON has; reading them back raises ValueError
where they are not what was written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

__all__ = [
    "CAUSES",
    "CONTRACT",
    "DID_NOT_MOVE",
    "FAULT",
    "GONE",
    "MAX_RUNTIME",
    "MOVED",
    "NOT_WIRED",
    "RESET",
    "SILENCE",
    "START",
    "STOP",
    "TEST",
    "Cause",
    "Driver",
    "Moved",
    "Order",
    "OutputState",
    "Want",
]

# As in the chain's record of an actuation.
CONTRACT: Final = 1
FAULT: Final = 2
MAX_RUNTIME: Final = 3
SILENCE: Final = 4
RESET: Final = 5
TEST: Final = 6
GONE: Final = 7
START: Final = 8
STOP: Final = 9

CAUSES: Final = {
    CONTRACT: "contract",
    FAULT: "fault",
    MAX_RUNTIME: "max-runtime",
    SILENCE: "silenced",
    RESET: "reset",
    TEST: "test",
    GONE: "daemon gone",
    START: "start",
    STOP: "stop",
}
"""Causes in words."""

NOT_WIRED: Final = 0
MOVED: Final = 1
DID_NOT_MOVE: Final = 2


@dataclass(frozen=True, slots=True)
class Cause:
    """Why an output acts or ceases to: one of the codes above, and by whom or what."""

    code: int
    by: str = ""


@dataclass(frozen=True, slots=True)
class Want:
    """That an output is to act.

    Attributes:
        pre_alarm: no more than a pre-alarm wants it.
        ran_ms: how long it has run already, of its `max_runtime_s`, where the guardian does not know.
    """

    cause: Cause
    pre_alarm: bool = False
    ran_ms: int = 0


@dataclass(frozen=True, slots=True)
class Order:
    """All that is to act now; everything else is to be back to normal.

    Attributes:
        gone: what is to act instead once the daemon is gone for longer than the hold.
        why: the cause of what this order ends, where that is none of what was wanted before.
        renew: the outputs that run for their `max_runtime_s` anew: another alarm wants them.
    """

    want: Mapping[str, Want] = field(default_factory=dict)
    gone: Mapping[str, Want] = field(default_factory=dict)
    why: Cause | None = None
    renew: frozenset[str] = frozenset()

    def plain(self) -> dict[str, Any]:
        """Return the order as plain values."""
        return {
            "want": _plain_wants(self.want),
            "gone": _plain_wants(self.gone),
            "why": None if self.why is None else [self.why.code, self.why.by],
            "renew": sorted(self.renew),
        }

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Order:
        """Return the order of plain values. Raises ValueError, TypeError, KeyError."""
        why = item["why"]
        renew = frozenset(str(name) for name in item["renew"])
        return cls(_wants(item["want"]), _wants(item["gone"]), _cause(*why) if why else None, renew)


@dataclass(frozen=True, slots=True)
class Moved:
    """That an output acts now, or is back to normal.

    Attributes:
        moved: whether its read-back proved it: NOT_WIRED, MOVED or DID_NOT_MOVE, the last also where its pin
            could not be driven.
        number: counts from 1 for each guardian.
    """

    output: str
    active: bool
    cause: Cause
    moved: int = NOT_WIRED
    number: int = 0

    def plain(self) -> list[Any]:
        """Return it as plain values."""
        return [self.output, int(self.active), self.cause.code, self.cause.by, self.moved, self.number]

    @classmethod
    def of(cls, item: Iterable[Any]) -> Moved:
        """Return what plain values say. Raises ValueError, TypeError."""
        output, active, code, by, moved, number = item
        return cls(str(output), bool(active), _cause(code, by), int(moved), int(number))


@dataclass(frozen=True, slots=True)
class OutputState:
    """An output as it is.

    Attributes:
        active: it acts as in an alarm; None where its pin cannot be driven and so nobody knows.
        cause: of that.
        ran_ms: how long it has run of its `max_runtime_s`; 0 where it has none.
        faults: words for people, none while all is well.
    """

    name: str
    active: bool | None
    cause: Cause
    ran_ms: int = 0
    faults: tuple[str, ...] = ()

    def plain(self) -> list[Any]:
        """Return it as plain values."""
        return [self.name, self.active, self.cause.code, self.cause.by, self.ran_ms, list(self.faults)]

    @classmethod
    def of(cls, item: Iterable[Any]) -> OutputState:
        """Return what plain values say. Raises ValueError, TypeError."""
        name, active, code, by, ran_ms, faults = item
        return cls(str(name), active, _cause(code, by), int(ran_ms), tuple(map(str, faults)))


class Driver(Protocol):
    """Whoever drives the outputs: the guardian, asked over its socket, or in tests its board itself."""

    def order(self, order: Order) -> None:
        """Bring all outputs to where they are wanted; return when they are there, or very soon. Never raises."""
        ...

    def test(self, output: str, seconds: int, by: str) -> None:
        """Let an output act for some seconds. Raises OutputError: there is none of that name, or it cannot."""
        ...

    def take(self) -> list[Moved]:
        """Return what has moved since the last call, in order."""
        ...

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with outputs or guardian, in words for people; none while all is well."""
        ...


def _plain_wants(wants: Mapping[str, Want]) -> dict[str, Any]:
    return {
        name: [each.cause.code, each.cause.by, int(each.pre_alarm), each.ran_ms]
        for name, each in wants.items()
    }


def _wants(item: Mapping[str, Any]) -> dict[str, Want]:
    return {
        str(name): Want(_cause(code, by), bool(pre_alarm), int(ran_ms))
        for name, (code, by, pre_alarm, ran_ms) in item.items()
    }


def _cause(code: Any, by: Any) -> Cause:
    if not CONTRACT <= int(code) <= STOP:
        raise ValueError(f"{code} is no cause")
    return Cause(int(code), str(by))
