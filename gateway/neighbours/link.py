"""The neighbours' thread: it owns the series of driver `neighbour`, as a bus's thread owns those of its sensors.

Owns the loop, and that what neighbours tell becomes samples and failures of their series. It does not own the
protocol (`gateway.neighbours.circle`), the sockets (`gateway.neighbours.lan`) or what contracts make of a sample.

Invariants:
* A proven change for the worse is a sample at once, any other one within a second, so that no neighbour fills a card;
  so is every heartbeat. What is not proven is never a sample.
* Without a roster no port is open.
* The roster is that of the contract set in force, and another one takes effect within a second.
* However much comes, what this gateway has to tell goes out between two helpings of it.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.catalogue import SensorPlan
from gateway.chain.errors import ChainError
from gateway.chain.neighbour import Building
from gateway.clock import Clock
from gateway.errors import NeighbourError, SensorError
from gateway.neighbours.bucket import Bucket
from gateway.neighbours.circle import Circle, Outgoing
from gateway.neighbours.config import NeighboursTable, parse_address
from gateway.neighbours.lan import Address, Lan
from gateway.neighbours.peer import Peer, Standing
from gateway.neighbours.telling import tell
from gateway.recording.recorder import Recorder
from gateway.recording.refusals import NEIGHBOUR
from gateway.region.keeper import Identity

__all__ = ["Link"]

_log = logging.getLogger(__name__)

_END_S: Final = 5.0
_HANG_S: Final = 20.0
_LOOK_MS: Final = 1_000
_IDLE_S: Final = 1.0
_PER_S, _BURST = (
    5_000,
    5_000,
)  # datagrams that are looked at; beyond it they wait, and are dropped by the system
_PAUSE_S: Final = 0.02
_SLACK_MS: Final = 500
_SILENT_MS: Final = 30_000


@dataclass(slots=True)
class _Series:
    """A neighbour's sensor: what was made of it last, and when."""

    plan: SensorPlan
    member: str
    silent_ms: int
    shown: Standing = "waiting"
    values: tuple[int, int] = (0, 0)
    at_ms: int = 0


class Link:
    """Speaks with the neighbours.

    Args:
        plans: all sensors; those of driver `neighbour` are this thread's.
        recorder: takes samples and failures; says what there is to tell, and which roster is in force.
        speed: how many of the clock's seconds pass in one, for simulations.
    """

    def __init__(
        self,
        identity: Identity,
        options: NeighboursTable,
        plans: Sequence[SensorPlan],
        recorder: Recorder,
        clock: Clock,
        speed: float = 1.0,
    ) -> None:
        self._identity, self._options, self._recorder = identity, options, recorder
        self._clock, self._speed = clock, speed
        self._heartbeat_ms = options.heartbeat_s * 1000
        now = clock.monotonic_ms()
        self._series = [
            _Series(plan, str(plan.options["member"]), _silent_ms(plan), at_ms=now)
            for plan in plans
            if plan.driver == "neighbour"
        ]
        self._foreign = {c.series.name for each in self._series for c in each.plan.channels}
        self._lan = Lan(options)
        self._roster: Building | None = None
        self._circle: Circle | None = None
        self._budget = Bucket(_PER_S, _BURST, now)
        self._said = tell(recorder, self._foreign)
        self._news, self._told_ms = True, now
        self._ticked_at = time.monotonic()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="neighbours", daemon=True)

    def start(self) -> None:
        """Begin to listen and to tell."""
        self._thread.start()

    def stop(self) -> None:
        """End; idempotent."""
        self._ending.set()
        self._lan.wake()
        if self._thread.is_alive():
            self._thread.join(_END_S)
        self._lan.close()

    def poke(self) -> None:
        """Take note that contracts or sensors changed their state. May be called from any thread, under any lock."""
        self._news = True
        self._lan.wake()

    def ticks(self) -> bool:
        """Return whether the thread ticked within its time."""
        return self._ticked_at + _HANG_S > time.monotonic()

    def status(self) -> dict[str, Any]:
        """Return how each neighbour stands, as plain values by name."""
        circle, now = self._circle, self._clock.monotonic_ms()
        silent = {each.member: each.silent_ms for each in self._series}
        return {
            peer.member.name: _status_of(peer, now, silent.get(peer.member.name, _SILENT_MS))
            for peer in (circle.peers if circle else ())
        }

    @property
    def trouble(self) -> str:
        """What is wrong with the roster in force, in a line; empty where nothing is."""
        roster = self._roster
        if roster is None:
            return ""
        own = roster.by_gateway.get(self._identity.gateway)
        if own is None:
            return f"the roster of {roster.name} does not name this gateway: it has no neighbours"
        if own.key != self._identity.key.public:
            return f"the roster of {roster.name} has another key of this gateway: no neighbour believes it"
        return ""

    # the thread

    def _run(self) -> None:
        while not self._ending.is_set():
            self._ticked_at = time.monotonic()
            try:
                self._turn()
            except Exception:  # alarms hang on this thread: whatever went wrong, it goes on
                _log.exception("neighbours were not served")
                self._ending.wait(_PAUSE_S)

    def _turn(self) -> None:
        now = self._clock.monotonic_ms()
        circle = self._present(now)
        if circle is not None:
            self._lan.care(now)
            for each in circle.speak(self._tell(now), now):
                self._send(each)
        for series in self._series:
            self._judge(series, now)
        if circle is None:
            self._lan.rest()
            self._lan.receive(_IDLE_S)
            return
        wait_ms = min(circle.due_ms(), now + _LOOK_MS) - now
        for data, source in self._lan.receive(wait_ms / 1000 / self._speed):
            self._hear(circle, data, source)

    def _present(self, now: int) -> Circle | None:
        """Return the circle of the roster in force."""
        roster = self._recorder.contracts.building
        if roster != self._roster:
            self._roster, before = roster, self._circle
            self._circle = None if roster is None else self._make(roster, before, now)
        return self._circle

    def _make(self, roster: Building, before: Circle | None, now: int) -> Circle:
        identity, beat = self._identity, self._heartbeat_ms
        key, boot = identity.key, identity.boot
        circle = Circle(identity.gateway, boot, key, roster, now, heartbeat_ms=beat, before=before)
        names = ", ".join(peer.member.name for peer in circle.peers)
        _log.info("neighbours in %s: %s", roster.name, names or "none")
        if self.trouble:
            _log.error("%s", self.trouble)
        return circle

    def _tell(self, now: int) -> Any:
        if self._news or now - self._told_ms >= _LOOK_MS:
            self._news, self._told_ms = False, now
            self._said = tell(self._recorder, self._foreign)
        return self._said

    def _send(self, outgoing: Outgoing) -> None:
        if outgoing.to is None:
            self._lan.send_all(outgoing.data)
            return
        known = dict.fromkeys(_addresses(outgoing.to.member.addresses))
        if outgoing.to.address is not None:
            known[outgoing.to.address] = None
        self._lan.send(outgoing.data, known)

    def _hear(self, circle: Circle, data: bytes, source: Address) -> None:
        now = self._clock.monotonic_ms()
        if not self._budget.take(now):
            self._ending.wait(_PAUSE_S)  # what comes meanwhile waits in the socket, or is dropped there
        try:
            peer = circle.hear(data, source, now)
        except (ChainError, NeighbourError) as error:
            if self._recorder.refusals.note(NEIGHBOUR, type(error).__name__, data, now):
                _log.warning("a message from %s is refused: %s", source[0], error)
            return
        if peer is not None:
            for series in self._series:
                if series.member == peer.member.name:
                    self._judge(series, now)

    def _judge(self, series: _Series, now: int) -> None:
        """Make a sample or a failure of how a neighbour stands, where that is new, or a heartbeat has passed."""
        peer = self._peer(series.member)
        standing: Standing = "silent" if peer is None else peer.standing(now, series.silent_ms)
        values = (
            (peer.told.alarm, peer.told.faults) if peer and peer.told and standing == "proven" else (0, 0)
        )
        is_fresh = standing != "proven" or (peer is not None and (peer.proven_ms or 0) > series.at_ms)
        is_due = is_fresh and now - series.at_ms >= self._heartbeat_ms - _SLACK_MS
        is_news = (standing, values) != (series.shown, series.values)
        is_better = standing == series.shown == "proven" and values[0] <= series.values[0]
        if standing == "waiting" or not (is_news or is_due) or (is_better and now - series.at_ms < _LOOK_MS):
            return
        series.shown, series.values, series.at_ms = standing, values, now
        if standing == "proven":
            self._recorder.sample(series.plan, {"alarm": values[0], "faults": values[1]})
        elif standing == "unproven":
            self._recorder.fail(
                series.plan, SensorError("unproven", f"neighbour {series.member} does not prove itself")
            )
        else:
            self._recorder.fail(series.plan, SensorError("silent", f"neighbour {series.member} is not heard"))

    def _peer(self, name: str) -> Peer | None:
        peers = self._circle.peers if self._circle else ()
        return next((peer for peer in peers if peer.member.name == name), None)


def _addresses(texts: Sequence[str]) -> Iterator[Address]:
    for each in texts:
        with contextlib.suppress(ValueError):  # a granted roster may hold what is no address: the others do
            yield parse_address(each)


def _silent_ms(plan: SensorPlan) -> int:
    given = plan.options.get("silent_s")
    return given * 1000 if isinstance(given, int) else _SILENT_MS


def _status_of(peer: Peer, now: int, silent_ms: int) -> dict[str, Any]:
    told = peer.told
    return {
        "gateway": peer.member.gateway.hex(),
        "standing": peer.standing(now, silent_ms),
        "age_ms": None if peer.proven_ms is None else now - peer.proven_ms,
        "alarm": None if told is None else told.alarm,
        "faults": None if told is None else told.faults,
        "raised": [] if told is None else [each.contract for each in told.raised],
    }
