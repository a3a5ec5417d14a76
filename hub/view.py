"""The read model: how the region looks now, kept in memory so that looking costs the ledger nothing.

Owned: the latest of everything per gateway, the latest alarms, counts. Not owned: the truth, which is the
ledger's; what is lost with the process is loaded from the store at start, but for heartbeats.

Times are Unix ms by the hub's clock, but for `wall_ms`, a gateway's word. Methods may be called by any thread;
what they return is the caller's own. Only what the chain knows becomes a gateway here, so that strangers cannot
fill the memory.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from gateway.chain.alarm import CONDITIONS, UNRECORDED, Alarm, Transition
from gateway.chain.block import Header
from gateway.chain.entries import GatewayEntry
from gateway.chain.messages import Birth, Heartbeat
from gateway.chain.reading import PUBLIC, Segment, Series
from gateway.contracts.document import Contract
from gateway.contracts.errors import ContractError

STANDINGS: Final = {0: "good", 6: "revoked", 7: "barred"}
KEPT_ALARMS: Final = 1000
LATE_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class SeriesState:
    """A series' latest value: it stands for `value` · 10^`scale` `unit`. `value` is None where it may not be shown."""

    name: str
    quantity: str
    unit: str
    scale: int
    klass: int
    value: int | None = None
    wall_ms: int | None = None


@dataclass(frozen=True, slots=True)
class ContractState:
    """A contract as its latest alarm left it."""

    condition: str
    faults: tuple[str, ...]
    wall_ms: int


@dataclass(frozen=True, slots=True)
class GatewayState:
    """A gateway as the hub sees it. `stored` is the highest block on disk, `head` the highest final one."""

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


class View:
    """The read model. `shows` is the highest class of series whose values may be seen."""

    def __init__(self, shows: int = PUBLIC) -> None:
        self._shows = shows
        self._lock = threading.Lock()
        self._gateways: dict[bytes, GatewayState] = {}
        self._alarms: OrderedDict[bytes, AlarmState] = OrderedDict()
        self._counters: dict[bytes, tuple[bytes, int]] = {}
        self._arrivals: dict[bytes, dict[int, int]] = {}
        self._readings = self._blocks = 0

    # what is asked

    def gateways(self) -> list[dict[str, Any]]:
        """Return every gateway, by name."""
        with self._lock:
            found = list(self._gateways.values())
        return [_show(each) for each in sorted(found, key=lambda each: (each.name, each.id))]

    def gateway(self, gateway: bytes) -> dict[str, Any] | None:
        """Return one gateway, None where it was never heard of."""
        with self._lock:
            found = self._gateways.get(gateway)
        return None if found is None else _show(found)

    def alarms(self, gateway: bytes | None = None, limit: int = 100) -> list[dict[str, Any]]:
        """Return the latest alarms, latest first, of one gateway or of all."""
        wanted = None if gateway is None else gateway.hex()
        with self._lock:
            found = [each for each in reversed(self._alarms.values()) if wanted in (None, each.gateway)]
        return [_show_alarm(each) for each in found[:limit]]

    def counts(self) -> dict[str, int]:
        """Return totals: blocks and the final ones among them, alarms kept here, readings since the start."""
        with self._lock:
            return {
                "gateways": len(self._gateways),
                "blocks": self._blocks,
                "final_blocks": sum(each.head for each in self._gateways.values()),
                "readings": self._readings,
                "alarms": len(self._alarms),
            }

    # what happens

    def loaded(self, blocks: int) -> None:
        """Take up how many blocks were stored before the start."""
        self._blocks = blocks

    def resumed(self, gateway: bytes, height: int, latest: dict[int, int], wall: int) -> None:
        """Take up the highest block that was stored before the start, with the last values by series."""
        with self._lock:
            known = self._gateways[gateway]
            series = {
                index: replace(each, value=latest[index], wall_ms=wall)
                if index in latest and each.klass <= self._shows
                else each
                for index, each in known.series.items()
            }
            self._gateways[gateway] = replace(known, stored=max(known.stored, height), series=series)

    def enrolled(self, gateway: bytes, name: str) -> None:
        """Take up a gateway's name."""
        with self._lock:
            known = self._gateways.get(gateway, GatewayState(gateway.hex()))
            self._gateways[gateway] = replace(known, name=name)

    def entry(self, gateway: bytes, entry: GatewayEntry) -> None:
        """Take up what the chain says of a gateway."""
        standing = STANDINGS.get(entry.standing, str(entry.standing))
        with self._lock:
            known = self._gateways.get(gateway, GatewayState(gateway.hex()))
            self._gateways[gateway] = replace(
                known,
                region=entry.region,
                standing=standing,
                epoch=entry.epoch,
                head=entry.head.height,
                stored=max(known.stored, entry.head.height),
            )

    def stored(
        self, gateway: bytes, header: Header, segments: Iterable[Segment | None], received: int
    ) -> None:
        """Take up a block that is on disk now: its readings are the latest."""
        latest: dict[int, tuple[int, int]] = {}
        readings = 0
        for segment in segments:
            if segment is not None:
                readings += len(segment.series)
                pairs = zip(segment.offsets, segment.values, strict=True)
                latest |= dict(zip(segment.series, pairs, strict=True))
        with self._lock:
            self._blocks += 1
            self._readings += readings
            self._arrivals.setdefault(gateway, {})[header.height] = received
            known = self._gateways.get(gateway, GatewayState(gateway.hex()))
            series = dict(known.series)
            for index, (offset, value) in latest.items():
                if index in series and series[index].klass <= self._shows:
                    series[index] = replace(series[index], value=value, wall_ms=header.wall + offset)
            self._gateways[gateway] = replace(
                known, stored=max(known.stored, header.height), series=series, gone_ms=None
            )

    def final(self, gateway: bytes, entry: GatewayEntry, at: int) -> None:
        """Take up that a gateway's blocks up to its head are final since `at`."""
        self.entry(gateway, entry)
        with self._lock:
            arrivals = self._arrivals.pop(gateway, {})
            arrived = arrivals.get(entry.head.height)
            self._arrivals[gateway] = {
                height: when for height, when in arrivals.items() if height > entry.head.height
            }
            lag = None if arrived is None else max(at - arrived, 0)
            self._gateways[gateway] = replace(self._gateways[gateway], final_ms=at, finality_lag_ms=lag)

    def born(self, gateway: bytes, birth: Birth, received: int) -> None:
        """Take up a gateway's birth: its series and what it runs."""
        with self._lock:
            known = self._gateways.get(gateway, GatewayState(gateway.hex()))
            series = {each.index: _carry(each, known.series.get(each.index)) for each in birth.catalogue}
            self._gateways[gateway] = replace(
                known,
                born_ms=received,
                heartbeat_interval_ms=birth.heartbeat,
                software=birth.software,
                series=series,
                gone_ms=None,
            )

    def beat(self, gateway: bytes, heartbeat: Heartbeat, received: int) -> None:
        """Take up a heartbeat."""
        self._change(
            gateway,
            heartbeat_ms=received,
            waiting=heartbeat.waiting,
            faults=heartbeat.faults,
            full_permille=heartbeat.full,
            gone_ms=None,
        )

    def gone(self, gateway: bytes, at: int) -> None:
        """Take up the broker's hint that a gateway's connection ended."""
        self._change(gateway, gone_ms=at)

    def alarmed(
        self,
        alarm: Alarm,
        transition: Transition,
        flaws: Iterable[str],
        received: int,
        document: bytes | None,
    ) -> None:
        """Take up an alarm. `document` is its contract's, None where it is not known."""
        gateway, identity = transition.gateway, alarm.hash
        title, severity = describe(document)
        with self._lock:
            known = self._gateways.get(gateway)
            boot, counter = self._counters.get(gateway, (b"", 0))
            in_boot = counter if boot == transition.boot else 0
            marks = [*flaws, *_marks(alarm, transition, received, in_boot)]
            self._alarms[identity] = AlarmState(
                identity.hex(),
                gateway.hex(),
                known.name if known else "",
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
                tuple(marks),
            )
            if len(self._alarms) > KEPT_ALARMS:
                self._alarms.popitem(last=False)
            if known and "out-of-order" not in marks:
                self._counters[gateway] = (transition.boot, transition.counter)
                state = ContractState(CONDITIONS[transition.after], transition.faults, transition.wall)
                contracts = known.contracts | {transition.contract: state}
                self._gateways[gateway] = replace(known, contracts=contracts)

    def alarm_final(self, identity: bytes, at: int) -> None:
        """Take up that an alarm is final since `at`."""
        with self._lock:
            if (found := self._alarms.get(identity)) and found.final_ms is None:
                self._alarms[identity] = replace(found, final_ms=at)

    def _change(self, gateway: bytes, **fields: Any) -> None:
        with self._lock:
            if known := self._gateways.get(gateway):
                self._gateways[gateway] = replace(known, **fields)


def describe(document: bytes | None) -> tuple[str | None, str | None]:
    """Return title and severity of a contract document, None each where it cannot be read."""
    if document is None:
        return None, None
    try:
        contract = Contract.decode(document)
    except ContractError:
        return None, None
    return contract.title, contract.severity


def _carry(series: Series, known: SeriesState | None) -> SeriesState:
    """Return a series as its catalogue has it, with its latest value where it is the same series still."""
    state = SeriesState(series.name, series.quantity, series.unit, series.scale, series.klass)
    if known is None or replace(known, value=None, wall_ms=None) != state:
        return state
    return known


def _marks(alarm: Alarm, transition: Transition, received: int, counter: int) -> Iterable[str]:
    if alarm.mark == UNRECORDED:
        yield "unrecorded"
    if received - transition.wall > LATE_MS:
        yield "late"
    if transition.wall - received > LATE_MS:
        yield "ahead"
    if transition.counter < counter:
        yield "out-of-order"


def _show(state: GatewayState) -> dict[str, Any]:
    shown = asdict(state)
    shown["series"] = [{"index": index, **series} for index, series in sorted(shown["series"].items())]
    shown["contracts"] = [{"contract": name, **each} for name, each in sorted(shown["contracts"].items())]
    return shown


def _show_alarm(state: AlarmState) -> dict[str, Any]:
    shown = asdict(state)
    shown["values"] = [{"alias": alias, "value": value} for alias, value in state.values]
    shown["marks"] = [*state.marks, *(["unanchored"] if state.final_ms is None else [])]
    return shown
