"""What the read model shows: gateways and alarms as people see them, as records and as plain JSON values.

Pure. Times are Unix ms by the hub's clock, but for `wall_ms`, a gateway's word.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from gateway.chain.alarm import CONDITIONS, UNRECORDED, Alarm, Transition
from gateway.chain.reading import Series
from gateway.chain.words import describe_policy
from gateway.contracts.document import Contract
from gateway.contracts.errors import ContractError
from hub.conditions import ContractState

STANDINGS: Final = {0: "good", 6: "revoked", 7: "barred", 16: "moving"}
LATE_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class SeriesState:
    """A series' latest value: it stands for `value` · 10^`scale` `unit`. `value` is None where it may not be shown.

    `kept` says in words which values are kept, so that nobody takes an old one for a silent sensor.
    """

    name: str
    quantity: str
    unit: str
    scale: int
    klass: int
    kept: str
    value: int | None = None
    wall_ms: int | None = None


@dataclass(frozen=True, slots=True)
class GatewayState:
    """A gateway as the hub sees it. `stored` is the highest block on disk, `head` the highest final one.

    `boot` is the nonce of the boot that its latest birth names: what a command has to be for.
    """

    id: str
    name: str = ""
    region: str = ""
    standing: str = "unknown"
    epoch: int = 0
    head: int = 0
    stored: int = 0
    final_ms: int | None = None
    finality_lag_ms: int | None = None
    born_ms: int | None = None
    boot: str = ""
    heartbeat_ms: int | None = None
    heartbeat_interval_ms: int | None = None
    gone_ms: int | None = None
    waiting: int | None = None
    faults: int | None = None
    full_permille: int | None = None
    software: str = ""
    series: dict[int, SeriesState] = field(default_factory=dict)
    contracts: dict[str, ContractState] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AlarmState:
    """An alarm as it is shown. `marks` say what is wrong with it; `severity` is the contract's, None if unknown."""

    hash: str
    gateway: str
    name: str
    contract: str
    title: str | None
    severity: str | None
    before: str
    level: str
    faults: tuple[str, ...]
    values: tuple[tuple[str, int], ...]
    wall_ms: int
    received_ms: int
    final_ms: int | None
    marks: tuple[str, ...]


def describe(document: bytes | None) -> tuple[str | None, str | None]:
    """Return title and severity of a contract document, None each where it cannot be read."""
    if document is None:
        return None, None
    try:
        contract = Contract.decode(document)
    except ContractError:
        return None, None
    return contract.title, contract.severity


def carry(series: Series, known: SeriesState | None) -> SeriesState:
    """Return a series as its catalogue has it, with its latest value where it is the same series still."""
    kept = describe_policy(series)
    state = SeriesState(series.name, series.quantity, series.unit, series.scale, series.klass, kept)
    if known is None or replace(known, value=None, wall_ms=None, kept=kept) != state:
        return state
    return replace(known, kept=kept)


def alarm_state(
    alarm: Alarm, transition: Transition, flaws: Iterable[str], received: int, document: bytes | None
) -> AlarmState:
    """Return an alarm as it stands by itself, its gateway without a name and its finality unknown."""
    title, severity = describe(document)
    return AlarmState(
        alarm.hash.hex(),
        transition.gateway.hex(),
        "",
        transition.contract,
        title,
        severity,
        CONDITIONS[transition.before],
        CONDITIONS[transition.after],
        transition.faults,
        tuple((each.alias, each.value) for each in transition.values),
        transition.wall,
        received,
        None,
        (*flaws, *_marks(alarm, transition, received)),
    )


def _marks(alarm: Alarm, transition: Transition, received: int) -> Iterator[str]:
    if alarm.mark == UNRECORDED:
        yield "unrecorded"
    if received - transition.wall > LATE_MS:
        yield "late"
    if transition.wall - received > LATE_MS:
        yield "ahead"


def show_gateway(state: GatewayState) -> dict[str, Any]:
    """Return a gateway as JSON has it."""
    shown = asdict(state)
    shown["series"] = [{"index": index, **series} for index, series in sorted(shown["series"].items())]
    shown["contracts"] = [{"contract": name, **each} for name, each in sorted(shown["contracts"].items())]
    return shown


def show_alarm(state: AlarmState) -> dict[str, Any]:
    """Return an alarm as JSON has it; one that is not final is marked so."""
    shown = asdict(state)
    shown["values"] = [{"alias": alias, "value": value} for alias, value in state.values]
    shown["marks"] = [*state.marks, *(["unanchored"] if state.final_ms is None else [])]
    return shown
