"""The daemon's side of the guardian: orders out, what moved back, and a guardian started where there is none.

Owns the connection, the thread that keeps it, and the guardian's start where the system does not start it. What is
wanted is `gateway.decider`'s.

Invariants:
* `order` and `test` wait for the pins, but never for longer than a quarter of a second, and `order` for a guardian that
  does not answer not at all: whoever calls them holds a lock that samples wait for.
* The latest order is given again to each guardian that comes, with how long each output has run.
* A guardian that ended is a fault from that moment, and its outputs have fallen to the side without power; that is
  told as a movement of each.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from gateway.errors import OutputError
from gateway.outputs import wire
from gateway.outputs.options import OutputOptions, check_distinct, plain
from gateway.outputs.orders import FAULT, Cause, Moved, Order, OutputState
from gateway.outputs.spawn import Spawned

__all__ = ["Guardian"]

_log = logging.getLogger(__name__)

_ANSWER_S: Final = 0.25
_PATIENCE_S: Final = 5.0  # one that answers nothing for so long is hung
_START_S: Final = 5.0
_LOOK_S: Final = 0.02
_AGAIN_S: Final = 1.0
_DIED: Final = Cause(FAULT, "guardian")


class Guardian:
    """A guardian as the daemon sees it.

    Args:
        options: the configured outputs; without any there is no guardian.
        directories: where it is met, see `wire.places`.
        hold_s: what it holds without a daemon.
        simulated, speed: whether its pins are simulated, and how fast its clock runs.
        spawns: it is started here when there is none.
        poke: called when something has come that `take` returns or `faults` shows.

    Raises:
        ValueError: two outputs share a name or a pin.
    """

    def __init__(
        self,
        options: Sequence[OutputOptions],
        directories: Sequence[Path],
        *,
        hold_s: int = 30,
        simulated: bool = False,
        speed: float = 1.0,
        spawns: bool = True,
        poke: Callable[[], None] = lambda: None,
    ) -> None:
        check_distinct(options)
        self._options, self._directories, self._poke = options, directories, poke
        self._hello = {
            "do": "hello",
            "outputs": plain(options),
            "hold_s": hold_s,
            "simulated": simulated,
            "speed": speed,
        }
        self._spawned = Spawned(directories) if spawns else None
        self._lock = threading.Condition()
        self._connection: socket.socket | None = None
        self._order: Order | None = None
        self._sent = self._answered = 0
        self._sent_at = 0.0  # when what is unanswered was sent
        self._states: dict[str, OutputState] = {}
        self._born, self._seen, self._taken = "", 0, 0
        self._moves: list[Moved] = []
        self._trouble = "the guardian has not answered yet"
        self._refusals: dict[int, str] = {}
        self._begun = time.monotonic()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="guardian", daemon=True)

    def start(self) -> None:
        """Begin to look for the guardian, or start it; return at once."""
        if self._options:
            self._thread.start()

    def close(self) -> None:
        """Leave the guardian, which holds the outputs for the next daemon; idempotent."""
        self._ending.set()
        with self._lock:
            connection = self._connection
            self._lock.notify_all()
        if connection is not None:
            with contextlib.suppress(OSError):
                wire.send(connection, {"do": "seen", "seen": self._taken})
                connection.shutdown(socket.SHUT_RDWR)
        if self._thread.is_alive():
            self._thread.join()

    def wait(self, seconds: float) -> None:
        """Wait until it answers. Raises OutputError where it does not within that time."""
        with self._lock:
            if self._options and not self._lock.wait_for(lambda: self._born and not self._trouble, seconds):
                raise OutputError(self._trouble)

    # orders

    def order(self, order: Order) -> None:
        """Bring all outputs to where they are wanted: they are there at the return, unless the guardian fails."""
        with self._lock:
            self._order = replace(order, why=None, renew=frozenset())
            self._give(order)

    def test(self, output: str, seconds: int, by: str) -> None:
        """Let an output act for some seconds. Raises OutputError: there is none of that name, or it cannot."""
        with self._lock:
            if self._connection is None:
                raise OutputError(self._trouble if self._options else "no outputs are configured")
            request = {"do": "test", "output": output, "seconds": seconds, "by": by}
            if not self._request(request, _ANSWER_S):
                raise OutputError("the guardian does not answer")
            if (refusal := self._refusals.pop(self._sent, "")) != "":
                raise OutputError(refusal)

    def take(self) -> list[Moved]:
        """Return what has moved since the last call, in order."""
        with self._lock:
            moves, self._moves, self._taken = self._moves, [], self._seen
            return moves

    @property
    def active(self) -> frozenset[str]:
        """The outputs that act as in an alarm, as far as is known."""
        return frozenset(name for name, state in self._states.items() if state.active)

    @property
    def states(self) -> tuple[OutputState, ...]:
        """How each output was when the guardian last spoke of it."""
        return tuple(self._states.values())

    @property
    def trouble(self) -> str:
        """What is wrong with the guardian itself, "" while it answers."""
        if not self._options or not self._trouble:
            return ""
        is_early = not self._born and time.monotonic() - self._begun < _START_S
        return "" if is_early else self._trouble

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with outputs or guardian, in words for people."""
        own = [fault for state in self._states.values() for fault in state.faults]
        return (*([f"guardian: {self.trouble}"] if self.trouble else []), *own)

    def _give(self, order: Order) -> None:
        if self._connection is None:
            return
        request = {"do": "order", "order": order.plain(), "seen": self._taken}
        self._request(request, _ANSWER_S if self._sent == self._answered else 0)

    def _request(self, request: dict[str, Any], patience_s: float) -> bool:
        """Send a request and wait for its answer; return whether it came."""
        connection = self._connection
        assert connection is not None
        if self._sent == self._answered:
            self._sent_at = time.monotonic()
        self._sent += 1
        number = self._sent
        try:
            wire.send(connection, {**request, "id": number})
        except BlockingIOError:
            pass  # it hangs; `_late` sees to that
        except OSError:
            return False  # it is gone, as the thread will see
        came = self._lock.wait_for(
            lambda: self._answered >= number or self._connection is not connection, patience_s
        )
        if not came and patience_s:
            self._trouble = "the guardian does not answer"
        return came and self._answered >= number

    # the thread

    def _keep(self) -> None:
        while not self._ending.is_set():
            try:
                connection = self._meet()
            except OutputError as error:
                self._say(str(error))
                self._ending.wait(_AGAIN_S)
                continue
            with connection:
                self._talk(connection)

    def _meet(self) -> socket.socket:
        """Return a connection to a guardian, which is started where there is none. Raises OutputError."""
        try:
            return wire.meet(self._directories)
        except OutputError:
            if self._spawned is None:
                raise
        self._spawned.start()
        end = time.monotonic() + _START_S
        while True:
            try:
                return wire.meet(self._directories)
            except OutputError:
                if self._ending.wait(_LOOK_S) or time.monotonic() > end:
                    raise
                self._spawned.check()

    def _talk(self, connection: socket.socket) -> None:
        """Say hello, give the order that holds, and listen until the end."""
        try:
            wire.send(connection, self._hello)
            answer = self._listen(connection, time.monotonic() + _PATIENCE_S)
            if answer is None or not answer.get("ok"):
                self._say(str((answer or {}).get("error", "the guardian ended")))
                self._ending.wait(_AGAIN_S)
                return
            self._begin(connection, answer)
            while (message := self._listen(connection)) is not None:
                self._hear(message)
        except (OSError, ValueError, TypeError, LookupError) as error:
            _log.error("the guardian: %s", error)
        finally:
            self._end()

    def _listen(self, connection: socket.socket, end: float | None = None) -> dict[str, Any] | None:
        """Return its next message, None at its end; one that owes an answer for too long is ended."""
        while not wire.is_readable(connection, _AGAIN_S):
            is_over = end is not None and time.monotonic() > end
            if is_over or self._is_late():
                self._say("the guardian hangs")
                hung = wire.peer(connection)[0]
                if (
                    self._spawned is not None and hung > 0
                ):  # the system kills its own; 0 is of another namespace
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(hung, signal.SIGKILL)
            if is_over or self._ending.is_set():
                return None
        return wire.receive(connection)

    def _is_late(self) -> bool:
        return self._sent > self._answered and time.monotonic() - self._sent_at > _PATIENCE_S

    def _begin(self, connection: socket.socket, hello: dict[str, Any]) -> None:
        with self._lock:
            known = self._states if hello["born"] != self._born else {}
            self._connection, self._trouble, self._sent, self._answered = connection, "", 0, 0
            if hello["born"] != self._born:
                self._born, self._seen, self._taken = str(hello["born"]), 0, 0
            self._understand(hello)
            if self._order is not None:
                wants = {
                    name: replace(want, ran_ms=known[name].ran_ms if name in known else 0)
                    for name, want in self._order.want.items()
                }
                # Not waited for: this is the thread that hears the answer.
                self._sent, self._sent_at = 1, time.monotonic()
                order = replace(self._order, want=wants).plain()
                wire.send(connection, {"do": "order", "order": order, "seen": self._taken, "id": 1})
            self._lock.notify_all()
        _log.info("the guardian is process %d", wire.peer(connection)[0])
        self._poke()

    def _hear(self, message: dict[str, Any]) -> None:
        with self._lock:
            before = len(self._moves), self._trouble
            number = message.get("re")
            if isinstance(number, int):
                self._answered, self._trouble = max(self._answered, number), ""
                self._sent_at = time.monotonic()
            if not message.get("ok"):
                self._refusals = {self._answered: str(message.get("error", "refused"))}
                _log.error("the guardian refuses: %s", message.get("error"))
            if "states" in message:
                self._understand(message)
            self._lock.notify_all()
            changed = (len(self._moves), self._trouble) != before
        if changed or message.get("re") is None:
            self._poke()

    def _understand(self, message: dict[str, Any]) -> None:
        self._states = {state.name: state for state in map(OutputState.of, message["states"])}
        for moved in map(Moved.of, message["moves"]):
            if moved.number > self._seen:
                self._seen = moved.number
                self._moves.append(moved)

    def _end(self) -> None:
        """The connection has ended: whoever closed it, nobody holds the pins for us now."""
        with self._lock:
            had, self._connection = self._connection, None
            self._answered = self._sent
            if had is not None and not self._ending.is_set():
                self._say("the guardian ended")
                rests = {each.name: each.normally_energised for each in self._options}
                states = dict(self._states)  # others look at the present ones without the lock
                for name, rest in rests.items():
                    state = states.get(name, OutputState(name, rest, _DIED))
                    if state.active == (not rest):
                        self._moves.append(Moved(name, rest, _DIED))
                    states[name] = replace(state, active=rest, cause=_DIED, faults=())
                self._states = states
            self._lock.notify_all()
        self._poke()

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble:
            _log.error("outputs: %s", trouble)
        self._trouble = trouble
