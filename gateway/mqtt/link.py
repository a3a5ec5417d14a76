"""A link to one broker over MQTT 3.1.1, taken up again whenever it falls. Gateways and hubs use the same.

Owned: back-off, the order of callbacks, the bounded ways in and out. Not owned: one connection
(`gateway.mqtt.session`), its settings (`gateway.mqtt.config`), topics, what a payload means, whether to trust it,
and what is to be sent again: a PUBACK says only that a broker took a message over, so a sender keeps what has no
signed receipt.

Invariants:
- Nothing is carried from one connection to the next here. What was on its way out is the caller's to
  send again; what came in and was not acknowledged, the broker's persistent session brings again.
- An inbound message is acknowledged after its handler took it, never before: at least once, in order.
- Neither way is unbounded: `publish` waits for room in the window and then fails; what does not fit the
  inbox is left to the broker, and asked for by a new connection once the inbox is empty.
- Callbacks run one at a time in the link's own thread, where they may block; paho's thread never waits.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from gateway.mqtt.config import LinkConfig, LinkDown, PayloadTooLarge, parse_url
from gateway.mqtt.session import Message, Session

__all__ = ["MAX_PAYLOAD", "Link"]

_log = logging.getLogger(__name__)

MAX_PAYLOAD: Final = 132 * 1024  # a block of 128 KiB in its envelope
_BACK_OFF_SECONDS: Final = (0.1, 0.3, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
_STEADY_SECONDS: Final = 10.0  # having held so long, a connection starts over with the shortest back-off
_CLOSE_SECONDS: Final = 5.0
_MESSAGE_OVERHEAD: Final = 1024  # what a queued message costs beside its payload, roughly


class Link:
    """A connection to the broker that is taken up again whenever it falls. Thread-safe; start it once.

    Args:
        config: how to connect.
        on_message: called with topic and payload. True acknowledges: the message is dealt with, be it by
            refusing it. False, or LinkDown raised, does not: the connection ends and the broker delivers
            the message again after a back-off. Any other exception is a defect: it is logged, counted and
            acknowledged, so that one message cannot block all others.
        on_up: called when connected and subscribed, before any message of that connection.
        on_down: called when such a connection is over.

    Raises:
        LinkUrlError: `config` cannot be used.
    """

    def __init__(
        self,
        config: LinkConfig,
        on_message: Callable[[str, bytes], bool],
        *,
        on_up: Callable[[], None] = lambda: None,
        on_down: Callable[[], None] = lambda: None,
    ) -> None:
        self._config = config
        self._url = parse_url(config)
        self._on_message = on_message
        self._on_up = on_up
        self._on_down = on_down
        self._counts: Counter[str] = Counter()
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._inbox_bytes = 0
        self._lock = threading.Lock()  # guards _counts, _inbox_bytes
        self._closing = threading.Event()
        self._session: Session | None = None
        name = f"link-{config.client_id}"
        self._threads = (
            threading.Thread(target=self._keep_connected, name=name, daemon=True),
            threading.Thread(target=self._work, name=f"{name}-inbox", daemon=True),
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Begin to connect, and return at once."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Take leave of the broker, so that the will is not published; idempotent. Call no callback after.

        A callback may call this; its own thread then ends after it returns.
        """
        self._closing.set()
        if session := self._session:
            session.end("closed by this side")
        for thread in self._threads:
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join(_CLOSE_SECONDS)  # not for ever: a TLS handshake with a dead peer takes its time

    @property
    def is_connected(self) -> bool:
        """Whether the broker has accepted the connection and every subscription, and no end was seen."""
        session = self._session
        return session is not None and session.is_up

    def counts(self) -> dict[str, int]:
        """Return what was dropped, by reason: `oversized`, `bad-topic`, `handler-error`."""
        with self._lock:
            return dict(self._counts)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, timeout: float = 5.0) -> None:
        """Hand a message to the broker with QoS 1; returning says no more than that it is on its way.

        Args:
            topic: where to; no wildcards.
            payload: at most `MAX_PAYLOAD` bytes.
            retain: whether the broker keeps it for later subscribers.
            timeout: seconds to wait for room in the window.

        Raises:
            LinkDown: not connected, the connection fell, or the window stayed full.
            PayloadTooLarge: it will never pass.
        """
        if len(payload) > MAX_PAYLOAD:
            raise PayloadTooLarge(
                f"{len(payload)} bytes for {topic}, but a message has at most {MAX_PAYLOAD}"
            )
        session = self._session
        if session is None or not session.is_up:
            raise LinkDown(f"not connected to {self._config.url}")
        session.publish(topic, payload, retain=retain, timeout=timeout)

    def _keep_connected(self) -> None:
        attempt = 0
        while not self._closing.is_set():
            began = time.monotonic()
            self._session = session = Session(self._config, self._url, self._receive, self._enqueue_up)
            if self._closing.is_set():
                break
            reason = session.run()
            _log.log(logging.DEBUG if self._closing.is_set() else logging.WARNING, "%s", reason)
            if session.was_up:
                self._inbox.put(self._call_down)
            if time.monotonic() - began > _STEADY_SECONDS:
                attempt = 0
            # Spread, so that a region does not come back in one instant.
            delay = _BACK_OFF_SECONDS[min(attempt, len(_BACK_OFF_SECONDS) - 1)]
            self._closing.wait(delay * random.uniform(0.5, 1.0))
            attempt += 1
        self._inbox.put(None)

    def _work(self) -> None:
        while item := self._inbox.get():
            item()

    def _enqueue_up(self, session: Session) -> None:
        self._inbox.put(lambda: self._call_up(session))

    def _call_up(self, session: Session) -> None:
        session.settled.wait()
        if session.was_up:
            _log.info("link to %s is up", self._config.url)
            self._guarded(self._on_up)

    def _call_down(self) -> None:
        self._guarded(self._on_down)

    def _guarded(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except LinkDown as error:
            _log.info("link fell while it was being reported: %s", error)
        except Exception:
            self._count("handler-error")
            _log.exception("callback of the link to %s failed", self._config.url)

    def _receive(self, session: Session, message: Message) -> None:
        """Put one message in the inbox; called in paho's thread, returns at once."""
        if len(message.payload) > MAX_PAYLOAD:
            self._drop("oversized", session, message)
            return
        try:
            topic = message.topic
        except UnicodeDecodeError:
            self._drop("bad-topic", session, message)
            return
        cost = len(message.payload) + _MESSAGE_OVERHEAD
        with self._lock:
            session.is_full |= self._inbox_bytes > 0 and self._inbox_bytes + cost > self._config.inbox_bytes
            if session.is_full:  # for good, lest a later message overtake the ones left out
                return
            self._inbox_bytes += cost
        self._inbox.put(lambda: self._handle(session, message, topic, cost))

    def _handle(self, session: Session, message: Message, topic: str, cost: int) -> None:
        try:
            # What an ended connection brought will come again; handling it now would be for nothing.
            if not session.is_over:
                self._deliver(session, message, topic)
        finally:
            with self._lock:
                self._inbox_bytes -= cost
                is_drained = session.is_full and self._inbox_bytes == 0
            if is_drained:
                session.end("inbox was full: the broker is asked again for what did not fit")

    def _deliver(self, session: Session, message: Message, topic: str) -> None:
        try:
            taken = self._on_message(topic, bytes(message.payload))
        except LinkDown as error:
            taken = False
            _log.info("link fell while %s was handled: %s", topic, error)
        except Exception:
            taken = True
            self._count("handler-error")
            _log.exception("handler failed on %s (%d bytes), which is given up", topic, len(message.payload))
        if taken:
            session.acknowledge(message)
        else:
            session.end(f"handler could not take {topic} now")

    def _drop(self, reason: str, session: Session, message: Message) -> None:
        self._count(reason)
        _log.warning("dropped a message of %d bytes from the broker: %s", len(message.payload), reason)
        session.acknowledge(message)

    def _count(self, reason: str) -> None:
        with self._lock:
            self._counts[reason] += 1
