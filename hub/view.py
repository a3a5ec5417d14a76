"""The read model: how the region looks now, kept in memory so that looking costs the ledger nothing.

Owned: the latest of everything per gateway, the latest alarms, counts. Not owned: the truth, which is the
ledger's; what is lost with the process is loaded from the store at start, but for heartbeats.

Times are Unix ms by the hub's clock, but for `wall_ms`, a gateway's word. Methods may be called by any thread;
what they return is the caller's own. Only what the chain knows becomes a gateway here, so that strangers cannot
fill the memory.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from gateway.chain.alarm import Alarm, Transition
from gateway.chain.block import Header, list_catalogue
from gateway.chain.entries import GatewayEntry
from gateway.chain.messages import Birth, Heartbeat
from gateway.chain.reading import PUBLIC, Segment
from hub.conditions import Conditions
from hub.shown import (
    STANDINGS,
    AlarmState,
    GatewayState,
    alarm_state,
    carry,
    show_alarm,
    show_gateway,
)
from hub.storage.store import UNPROVEN

KEPT_ALARMS: Final = 1000
KEPT_UNPROVEN: Final = 100
"""How many of the alarms that nobody can vouch for are kept: they must not crowd the others out."""


class View:
    """The read model. `shows` is the highest class of series whose values may be seen."""

    def __init__(self, shows: int = PUBLIC) -> None:
        self._shows = shows
        self._lock = threading.Lock()
        self._gateways: dict[bytes, GatewayState] = {}
        self._alarms: dict[bytes, AlarmState] = {}
        self._conditions: defaultdict[bytes, Conditions] = defaultdict(Conditions)
        self._catalogues: dict[bytes, bytes] = {}  # roots of those in force, by the latest births
        self._arrivals: dict[bytes, dict[int, int]] = {}
        self._readings = self._blocks = 0

    # what is asked

    def gateways(self) -> list[dict[str, Any]]:
        """Return every gateway, by name."""
        with self._lock:
            found = list(self._gateways.values())
        return [show_gateway(each) for each in sorted(found, key=lambda each: (each.name, each.id))]

    def gateway(self, gateway: bytes) -> dict[str, Any] | None:
        """Return one gateway, None where it was never heard of."""
        with self._lock:
            found = self._gateways.get(gateway)
        return None if found is None else show_gateway(found)

    def alarms(self, gateway: bytes | None = None, limit: int = 100) -> list[dict[str, Any]]:
        """Return the latest alarms, latest first, of one gateway or of all."""
        wanted = None if gateway is None else gateway.hex()
        with self._lock:
            found = [each for each in reversed(self._alarms.values()) if wanted in (None, each.gateway)]
        return [show_alarm(each) for each in found[:limit]]

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

    def resumed(self, gateway: bytes, header: Header, latest: Mapping[int, int]) -> None:
        """Take up the highest block that was stored before the start, with its last values by series."""
        with self._lock:
            values = {index: (header.span, value) for index, value in latest.items()}
            self._gateways[gateway] = self._valued(self._gateways[gateway], header, values)

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
            self._gateways[gateway] = replace(self._valued(known, header, latest), gone_ms=None)

    def filled(self, gateway: bytes, header: Header, segments: Iterable[Segment | None]) -> None:
        """Take up what came later of a block that is known: its readings are the latest where it is the highest."""
        latest: dict[int, tuple[int, int]] = {}
        for segment in segments:
            if segment is not None:
                pairs = zip(segment.offsets, segment.values, strict=True)
                latest |= dict(zip(segment.series, pairs, strict=True))
        with self._lock:
            known = self._gateways.get(gateway)
            if known is not None and header.height >= known.stored:
                self._gateways[gateway] = self._valued(known, header, latest)

    def _valued(
        self, known: GatewayState, header: Header, latest: Mapping[int, tuple[int, int]]
    ) -> GatewayState:
        """Return a gateway with the latest (offset, value) by series of a block.

        A backlog comes under the catalogue of its time, where an index may mean another series, of another class.
        """
        series = dict(known.series)
        if self._catalogues.get(header.gateway) == header.catalogue.root:
            for index, (offset, value) in latest.items():
                if index in series and series[index].klass <= self._shows:
                    series[index] = replace(series[index], value=value, wall_ms=header.wall + offset)
        return replace(known, stored=max(known.stored, header.height), series=series)

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
            series = {each.index: carry(each, known.series.get(each.index)) for each in birth.catalogue}
            self._catalogues[gateway] = list_catalogue(birth.catalogue).root
            self._conditions[gateway].born(birth.boot, birth.wall)
            self._gateways[gateway] = replace(
                known,
                born_ms=received,
                boot=birth.boot.hex(),
                heartbeat_interval_ms=birth.heartbeat,
                software=birth.software,
                series=series,
                contracts=self._conditions[gateway].contracts(),
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
        flaws: Collection[str],
        received: int,
        document: bytes | None,
    ) -> None:
        """Take up an alarm with its flaws, none for a good one. `document` is its contract's, None if unknown.

        What nobody vouches for changes no contract's condition, nor what is shown of an alarm that is better known.
        """
        gateway, identity, is_proven = transition.gateway, alarm.hash, UNPROVEN.isdisjoint(flaws)
        state = alarm_state(alarm, transition, flaws, received, document)
        with self._lock:
            known, before = self._gateways.get(gateway), self._alarms.get(identity)
            if before is not None:
                if not is_proven and UNPROVEN.isdisjoint(before.marks):
                    return
                state = replace(state, final_ms=before.final_ms)
            if known is not None:
                state = replace(state, name=known.name)
                if is_proven and not self._conditions[gateway].take(transition):
                    state = replace(state, marks=(*state.marks, "out-of-order"))
                self._gateways[gateway] = replace(known, contracts=self._conditions[gateway].contracts())
            self._alarms[identity] = state
            self._trim(is_proven)

    def _trim(self, is_proven: bool) -> None:
        if not is_proven:
            others = [each for each, state in self._alarms.items() if not UNPROVEN.isdisjoint(state.marks)]
            if len(others) > KEPT_UNPROVEN:
                del self._alarms[others[0]]
        if len(self._alarms) > KEPT_ALARMS:  # whoever has the most loses the oldest of it
            (most, _) = Counter(state.gateway for state in self._alarms.values()).most_common(1)[0]
            del self._alarms[next(each for each, state in self._alarms.items() if state.gateway == most)]

    def alarm_final(self, identity: bytes, at: int) -> None:
        """Take up that an alarm is final since `at`."""
        with self._lock:
            if (found := self._alarms.get(identity)) and found.final_ms is None:
                self._alarms[identity] = replace(found, final_ms=at)

    def _change(self, gateway: bytes, **fields: Any) -> None:
        with self._lock:
            if known := self._gateways.get(gateway):
                self._gateways[gateway] = replace(known, **fields)
