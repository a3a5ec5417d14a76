"""Sending to one hub: births, alarms, heartbeats, epoch changes and blocks, over one link, in this order.

Owns when what is sent, and sent again. It does not own the connection (`gateway.mqtt`), which block is next
(`gateway.region.window`), alarms that are on no disk (`gateway.region.crier`), nor what arrives
(`gateway.region.hearing`).

Invariants:
* A broker's acknowledgement means nothing here: alarms and blocks are sent until the hub has signed for them.
* Alarms go first, and even while the hub is offline, has not answered, or is no member that is known; blocks wait
  for a hub that is online and in good standing, and for an answer to this boot's birth.
* What one hub does or leaves undone is nothing to the others: each has its own link, window and acknowledgements.
* Before a block goes the birth that names its catalogue and contracts.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterable
from typing import Final

from gateway.chain.alarm import Alarm
from gateway.chain.block import Header
from gateway.chain.errors import ChainError
from gateway.config import HubTable
from gateway.errors import StoreError
from gateway.mqtt.config import LinkDown
from gateway.mqtt.link import Link
from gateway.region.crier import Crier
from gateway.region.hearing import Heard, Hearing
from gateway.region.mouth import Mouth, link_config
from gateway.region.topics import Topics, epoch_payload
from gateway.region.window import Window
from gateway.storage.store import ALARM_PAGE, Stored, Transition

__all__ = ["HubSync"]

_log = logging.getLogger(__name__)

_ALARM_AGAIN_S: Final = 5.0
_STRANGER_AGAIN_S: Final = 60.0  # one whose acknowledgements do not count
_NEWEST: Final = 32
_BIRTH_AGAIN_S: Final = (5.0, 10.0, 30.0)  # without an answer, or without one that lets blocks go
_CHANGE_AGAIN_S: Final = 5.0
_ROOM_S: Final = 0.2  # a full link is no reason to keep an alarm waiting behind a block
_IDLE_S: Final = 30.0


class HubSync:
    """Speaks with one hub until it is stopped.

    Raises:
        LinkUrlError: the hub's URL cannot be used.
    """

    def __init__(self, table: HubTable, mouth: Mouth) -> None:
        self._mouth, self.name = mouth, table.name
        self._topics = Topics(mouth.region, mouth.identity.gateway, table.name)
        parts = mouth.store, mouth.keeper, mouth.orders
        self._hearing = Hearing(
            mouth.identity, mouth.federation, table.name, *parts, mouth.succeeded, mouth.time
        )
        custodians = mouth.federation.custodians
        self._window = Window(mouth.store, table.name, table.backlog_kib_s * 1024, custodians)
        self._lock = threading.Condition()  # guards all below and the window
        self._stopping = self._up = self._stirred = self._announced = False
        self._online: bool | None = None
        self._birth, self._birth_at, self._births, self._birth_due = 0, 0.0, 0, True
        self._answered, self._refused = False, ""
        self._born: tuple[bytes, bytes] | None = None
        self._birth_for: tuple[bytes, bytes] | None = None
        self._basis = self._present_basis()
        self._alarms: dict[bytes, float] = {}
        self._heard_up_to = 0  # ordinal of transitions
        self._beat_at = self._change_at = 0.0
        self._link = Link(
            link_config(table, self._topics, lambda: mouth.time.doubt_ms),
            self._take,
            on_up=self._on_up,
            on_down=self._on_down,
        )
        self._crier = Crier(table.name, mouth.unwritten, self._send_alarm)
        self._thread = threading.Thread(target=self._run, name=f"sync-{table.name}", daemon=True)

    def start(self) -> None:
        """Begin to connect and to send."""
        self._link.start()
        self._crier.start()
        self._thread.start()

    def stop(self) -> None:
        """Take leave; idempotent."""
        with self._lock:
            self._stopping = True
            self._lock.notify()
        self._thread.join()
        self._crier.stop()
        self._link.close()

    def announce(self) -> None:
        """There is something new to send."""
        self._crier.announce()
        with self._lock:
            self._announced = self._stirred = True
            self._lock.notify()

    def rebirth(self) -> None:
        """What a birth says has changed."""
        with self._lock:
            self._birth_due = self._stirred = True
            self._lock.notify()

    def receipted(self, numbers: Iterable[int]) -> None:
        """The hub's receipts for these blocks are in the store, whoever brought them."""
        with self._lock:
            self._window.received(numbers)
            self._stirred = True
            self._lock.notify()

    @property
    def is_connected(self) -> bool:
        """Whether the broker is there; whether the hub is, its receipts show."""
        return self._link.is_connected

    @property
    def trouble(self) -> str:
        """What is wrong with the hub or its chain, as far as can be seen from here; mostly empty."""
        with self._lock:
            stuck = self._window.trouble if self._online is not False else ""
        return self._hearing.trouble or stuck

    # what arrives, in the link's thread

    def _on_up(self) -> None:
        with self._lock:
            self._up = self._birth_due = self._announced = self._stirred = True
            self._births = 0
            self._window.reset()
            self._alarms.clear()
            self._lock.notify()

    def _on_down(self) -> None:
        with self._lock:
            self._up = False

    def _take(self, topic: str, payload: bytes) -> bool:
        try:
            heard = self._hearing.hear(self._topics.kind(topic), payload, self._birth)
        except ChainError as error:
            text = f"message on {topic} is refused: {type(error).__name__}: {error}"
            _log.log(logging.DEBUG if text == self._refused else logging.WARNING, text)
            self._refused = text  # a suspended hub goes on to say its state, every few seconds
        except StoreError as error:
            # Acknowledged all the same: the hub says it again when it is sent again what it signed for.
            _log.error("message on %s cannot be kept: %s", topic, error)
        else:
            self._heed(heard)
        return True

    def _heed(self, heard: Heard) -> None:
        self._crier.acknowledged(heard.alarms)
        self._mouth.receipted(heard.received)
        with self._lock:
            self._answered |= heard.answered
            if heard.online is not None:
                if heard.online and self._online is False:
                    self._window.reset()
                    self._birth_due = True
                self._online = heard.online
            for each in heard.alarms:
                self._alarms.pop(each, None)
                if heard.forgotten:  # the store goes on to name it: not again on this connection
                    self._alarms[each] = math.inf
            if heard.resend:
                self._window.request(*heard.resend)
            if heard.rebirth:  # for the blocks that it was sent last
                self._birth_due, self._birth_for = True, self._born
            self._stirred = True
            self._lock.notify()

    # what is sent, in a thread of its own

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._stirred and not self._stopping:
                    self._lock.wait(self._patience())
                if self._stopping:
                    return
                self._stirred = False
                up = self._up
            if up:
                try:
                    self._send(time.monotonic())
                except LinkDown as error:
                    _log.debug("hub %s: %s", self.name, error)
                    with self._lock:
                        self._lock.wait(_ROOM_S)
                except Exception as error:  # whatever it is, the next alarm must find this thread alive
                    _log.error("hub %s: not all can be sent: %s: %s", self.name, type(error).__name__, error)
                    with self._lock:
                        self._lock.wait(_ALARM_AGAIN_S)

    def _patience(self) -> float:
        if not self._up:
            return _IDLE_S
        now = time.monotonic()
        dues = [
            self._beat_at + self._mouth.heartbeat_s,
            *(at + self._alarm_again_s for at in self._alarms.values()),
        ]
        if not self._is_satisfied:
            dues.append(self._birth_again_at())
        if self._mouth.keeper.change is not None:
            dues.append(self._change_at + _CHANGE_AGAIN_S)
        wait = min(dues) - now
        if self._may_send_blocks():
            wait = min(wait, self._window.wait(now))
        return max(0.005, min(wait, _IDLE_S))

    def _send(self, now: float) -> None:
        try:
            if self._birth_due or (not self._is_satisfied and now >= self._birth_again_at()):
                self._send_birth(*(self._birth_for or self._mouth.roots()), now)
        finally:  # alarms go although a birth cannot be made; a hub takes them in any order
            self._send_alarms(now)
        if now - self._beat_at >= self._mouth.heartbeat_s:
            self._beat_at = now
            custodians = self._mouth.federation.custodians
            waiting = self._mouth.store.waiting(self.name, self._window.floor, custodians)
            self._publish("heartbeat", self._mouth.herald.heartbeat(waiting).encode())
        self._send_change(now)
        if self._may_send_blocks():
            with self._lock:
                if self._basis != (
                    basis := self._present_basis()
                ):  # blocks were signed anew, or have to be kept anew
                    self._basis = basis
                    self._window.reset()
                stored, is_idle = self._window.next(now), self._window.is_idle
            if stored is not None:
                self._send_block(stored, now)
            elif is_idle and self._born != (roots := self._mouth.roots()):
                self._send_birth(*roots, now)  # the last blocks were of an earlier configuration

    def _present_basis(self) -> tuple[int, int]:
        """Return what decides which blocks are to be sent: the epoch, and who counts as keeping them."""
        return self._mouth.keeper.epoch, self._mouth.federation.roster.version

    def _birth_again_at(self) -> float:
        return self._birth_at + _BIRTH_AGAIN_S[min(self._births, len(_BIRTH_AGAIN_S) - 1)]

    def _may_send_blocks(self) -> bool:
        return self._mouth.keeper.is_confirmed and self._online is not False and self._hearing.is_trusted

    @property
    def _is_satisfied(self) -> bool:
        """Whether the last birth was answered, and blocks may go."""
        return self._answered and self._mouth.keeper.is_confirmed

    @property
    def _alarm_again_s(self) -> float:
        return _ALARM_AGAIN_S if self._hearing.is_trusted else _STRANGER_AGAIN_S

    def _send_birth(self, catalogue: bytes, contracts: bytes, now: float) -> None:
        version, signed = self._mouth.herald.birth(catalogue, contracts)
        self._birth, self._answered = version, False
        self._hearing.asked(version)
        self._publish("birth", signed.encode(), retain=True)
        self._born, self._birth_at, self._births = (catalogue, contracts), now, self._births + 1
        self._birth_due, self._birth_for = False, None

    def _send_alarms(self, now: float) -> None:
        if not self._announced and all(now - at < self._alarm_again_s for at in self._alarms.values()):
            return
        self._announced = False
        for row in self._unheard():
            if now - self._alarms.get(row.hash, -math.inf) >= self._alarm_again_s:
                self._send_alarm(row)
                with self._lock:
                    self._alarms[row.hash] = now

    def _send_alarm(self, row: Transition) -> None:
        self._publish("alarm", Alarm.sign(self._mouth.identity.key, row.body, row.mark).encode())

    def _unheard(self) -> list[Transition]:
        """The transitions whose alarm the hub has not acknowledged; what has no row yet is the crier's."""
        last = self._mouth.store.last_ordinal()
        rows = self._mouth.store.unacknowledged(self.name, after=self._heard_up_to)
        self._heard_up_to = rows[0].ordinal - 1 if rows else last
        if len(rows) == ALARM_PAGE:  # what a hub will not acknowledge must not keep the newest from it
            newest = self._mouth.store.unacknowledged(self.name, _NEWEST, after=rows[-1].ordinal, newest=True)
            rows = [*newest, *rows]
            self._announced = True
        return rows

    def _send_change(self, now: float) -> None:
        change = self._mouth.keeper.change
        if change is not None and now - self._change_at >= _CHANGE_AGAIN_S:
            self._change_at = now
            self._publish("record", epoch_payload(change))

    def _send_block(self, stored: Stored, now: float) -> None:
        header = Header.decode(stored.header)
        needed = header.catalogue.root, header.contracts.root
        if needed != self._born:
            self._send_birth(*needed, now)
        payload = self._mouth.store.message(stored).encode()
        self._publish("block", payload, timeout=_ROOM_S)
        with self._lock:
            self._window.sent(stored, len(payload), now)
            self._stirred = True

    def _publish(self, kind: str, payload: bytes, *, retain: bool = False, timeout: float = 5.0) -> None:
        self._link.publish(self._topics.own(kind), payload, retain=retain, timeout=timeout)
