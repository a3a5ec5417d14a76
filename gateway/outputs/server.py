"""The guardian's work: a daemon's orders to the board, and what holds while there is no daemon.

Owns the requests, the hold, and the times at which the board is called. The board's rules are
`gateway.outputs.board`'s, who is connected is `gateway.outputs.peers`'.

Invariants:
* One daemon at a time gives orders; another one is refused while that one speaks.
* From the daemon's last order on everything stays as it is for the hold, whether it died, hangs, or is being started
  anew, and be that again and again; then the board goes to what that order said for this case, until there is another.
* What moved is told again and again until a daemon has taken it, as far back as is kept.
* Nothing that a peer sends ends the guardian.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import GatewayError, OutputError
from gateway.notify import Notifier
from gateway.outputs import wire
from gateway.outputs.board import Board
from gateway.outputs.options import GuardianTable, options_of
from gateway.outputs.orders import STOP, Cause, Moved, Order
from gateway.outputs.peers import Peers
from gateway.outputs.setup import Setup, set_up
from gateway.outputs.wire import Listener

if TYPE_CHECKING:
    from gateway.outputs.mock import MockPins

__all__ = ["Server"]

_log = logging.getLogger(__name__)

_SILENT_S: Final = 5.0  # a daemon that says nothing for so long has given up its place
_LONELY_S: Final = 30.0  # then one that a daemon started, and that holds nothing real, ends
_IDLE_S: Final = 60.0
_PAUSE_S: Final = 0.05
_KEPT: Final = 256


class Server:
    """A guardian. `serve` runs it in the caller's thread.

    Args:
        lingers: it stays for the next daemon, as the system's own does; otherwise it ends some time after simulated
            outputs were left alone, or where nobody ever came.
        notifier: is told that it is alive.
    """

    def __init__(self, listener: Listener, *, lingers: bool, notifier: Notifier | None = None) -> None:
        self._peers, self._lingers = Peers(listener), lingers
        self._notifier = notifier or Notifier({})
        self._setup: Setup | None = None
        self._born = os.urandom(8).hex()
        self._hold_s = float(GuardianTable().hold_s)
        self._daemon: socket.socket | None = None
        self._heard = self._ordered = time.monotonic()
        self._left = False
        self._moves: deque[Moved] = deque(maxlen=_KEPT)
        self._faults: tuple[str, ...] = ()
        self._ending = False

    def stop(self) -> None:
        """Let `serve` return; callable from a signal's handler and from other threads."""
        self._ending = True
        self._peers.wake()

    def serve(self) -> None:
        """Serve until `stop`."""
        try:
            while not self._ending:
                try:
                    self._turn()
                except Exception:  # sirens hang on this process: whatever went wrong, it goes on
                    _log.exception("the outputs were not looked after")
                    time.sleep(_PAUSE_S)
        finally:
            self._close()

    def _turn(self) -> None:
        for connection in self._peers.heard(self._wait_s()):
            self._hear(connection)
        self._look()
        self._notifier.alive()

    # time

    def _wait_s(self) -> float:
        dues = [self._next_s] if self._next_s is not None else []
        if self._setup and (due := self._setup.board.due_ms) is not None:
            wait = (due - self._setup.clock.monotonic_ms()) / 1000 / self._setup.speed
            dues.append(time.monotonic() + wait)
        beat = (self._notifier.watchdog_s or 2 * _IDLE_S) / 2
        return max(0.0, min(beat, min(dues, default=math.inf) - time.monotonic()))

    def _look(self) -> None:
        """Do what is due, and tell the daemon what came of it."""
        if self._setup is not None:
            due = self._setup.board.due_ms
            if due is not None and self._setup.clock.monotonic_ms() >= due:
                self._setup.board.tick()
        if self._next_s is not None and time.monotonic() >= self._next_s:
            self._leave()
        if self._collect() or (self._setup and self._setup.board.faults != self._faults):
            self._report()

    @property
    def _next_s(self) -> float | None:
        """When, on the monotonic clock, the daemon's silence is to have its next consequence."""
        if self._setup is None:
            return self._heard + _LONELY_S if self._ends_alone else None
        if not self._left:
            return self._ordered + self._hold_s
        return self._heard + self._hold_s + _LONELY_S if self._ends_alone else None

    @property
    def _ends_alone(self) -> bool:
        return not self._lingers and (self._setup is None or self._setup.mock is not None)

    def _leave(self) -> None:
        if self._setup is None or self._left:
            self._ending = True
            return
        self._left = True
        _log.error("no daemon for %.0f s: the outputs go to the contracts' safe state", self._hold_s)
        self._setup.board.leave()

    # peers

    def _hear(self, connection: socket.socket) -> None:
        request: Mapping[str, Any] | None = {}
        try:
            request = wire.receive(connection)
            answer = self._answer(connection, request) if request is not None else None
        except BlockingIOError:
            return
        except OSError:
            answer = None
        except (GatewayError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
            number = request.get("id") if request else None
            answer = {"ok": False, "re": number, "error": str(error) or type(error).__name__}
        if answer is None:
            self._drop(connection)
        else:
            self._send(connection, answer)

    def _drop(self, connection: socket.socket) -> None:
        if self._peers.drop(connection) and connection is self._daemon:
            self._daemon, self._heard = None, time.monotonic()
            _log.warning("the daemon is gone; its outputs are held for %.0f s", self._hold_s)

    def _send(self, connection: socket.socket, message: Mapping[str, Any]) -> None:
        try:
            wire.send(connection, message)
        except BlockingIOError:
            pass  # it hangs; all of this is told again
        except OSError:
            self._drop(connection)

    # requests

    def _answer(self, connection: socket.socket, request: Mapping[str, Any]) -> Mapping[str, Any]:
        verbs: dict[str, Callable[[Any, Any], Mapping[str, Any]]] = {
            "hello": self._hello,
            "order": self._obey,
            "seen": self._seen,
            "test": self._test,
            "status": self._status,
            "pin": self._pin,
            "jam": self._jam,
            "end": self._end,
        }
        verb = verbs.get(str(request.get("do")))
        if verb is None:
            raise OutputError(f"known requests are {', '.join(verbs)}")
        return verb(connection, request)

    def _hello(self, connection: socket.socket, request: Mapping[str, Any]) -> Mapping[str, Any]:
        if self._daemon is not None and self._daemon is not connection:
            if time.monotonic() - self._heard < _SILENT_S:
                raise OutputError(f"process {wire.peer(self._daemon)[0]} gives the orders; stop it first")
            self._drop(self._daemon)
        hold = GuardianTable(int(request["hold_s"])).hold_s
        self._set_up(request)
        self._daemon, self._heard, self._hold_s = connection, time.monotonic(), float(hold)
        _log.info("process %d gives the orders now", wire.peer(connection)[0])
        return self._told("hello")

    def _set_up(self, request: Mapping[str, Any]) -> None:
        options = options_of(request["outputs"])
        kind = bool(request["simulated"]), float(request["speed"])
        if self._setup is not None and self._setup.kind != kind:
            self._setup.board.close(Cause(STOP, "configuration"))
            self._setup, self._born = None, os.urandom(8).hex()
            self._moves.clear()
        if self._setup is None:
            self._setup, self._ordered = set_up(*kind), time.monotonic()
        if self._setup.mock is not None:
            self._setup.mock.wire(options)
        self._setup.board.configure(options)

    def _obey(self, connection: socket.socket, request: Mapping[str, Any]) -> Mapping[str, Any]:
        if connection is not self._daemon:
            raise OutputError("only the daemon gives orders; say hello first")
        board = self._board()
        order = Order.of(request["order"])
        self._heard = self._ordered = time.monotonic()
        if self._left:
            _log.warning("the daemon is back")
        self._left = False
        board.order(order)
        self._forget(int(request["seen"]))
        return self._told(int(request["id"]))

    def _seen(self, connection: socket.socket, request: Mapping[str, Any]) -> Mapping[str, Any]:
        if connection is self._daemon:
            self._forget(int(request["seen"]))
        return {"ok": True}

    def _forget(self, seen: int) -> None:
        """Drop what the daemon has taken and recorded."""
        while self._moves and self._moves[0].number <= seen:
            self._moves.popleft()

    def _test(self, connection: socket.socket, request: Mapping[str, Any]) -> Mapping[str, Any]:
        self._board().test(str(request["output"]), int(request["seconds"]), str(request["by"]))
        return self._told(request.get("id")) if connection is self._daemon else {"ok": True}

    def _status(self, _: socket.socket, request: Mapping[str, Any]) -> Mapping[str, Any]:
        states = self._setup.board.states() if self._setup else []
        return {
            "ok": True,
            "born": self._born,
            "daemon": wire.peer(self._daemon)[0] if self._daemon else None,
            "left": self._left,
            "hold_s": self._hold_s,
            "outputs": [each.plain() for each in states],
            "waiting": [each.plain() for each in self._moves],
        }

    # simulated pins

    def _pin(self, _: socket.socket, request: Mapping[str, Any]) -> Mapping[str, Any]:
        pin, since = int(request["pin"]), int(request.get("since", 0))
        mock = self._mock()
        changes = [each for each in mock.changes(pin) if each[0] > since]
        return {"ok": True, "level": mock.level(pin), "changes": changes}

    def _jam(self, _: socket.socket, request: Mapping[str, Any]) -> Mapping[str, Any]:
        options = self._board().options_of(str(request["output"]))
        self._mock().jam(options, bool(request["jammed"]))
        return {"ok": True}

    def _end(self, _: socket.socket, request: Mapping[str, Any]) -> Mapping[str, Any]:
        if self._setup is not None:
            self._mock()
        self._ending = True
        return {"ok": True}

    # what is told

    def _collect(self) -> bool:
        moves = self._setup.board.take() if self._setup else []
        self._moves += moves
        return bool(moves)

    def _told(self, answered: object = None) -> Mapping[str, Any]:
        self._collect()
        board = self._board()
        self._faults = board.faults
        return {
            "ok": True,
            "re": answered,
            "born": self._born,
            "states": [each.plain() for each in board.states()],
            "moves": [each.plain() for each in self._moves],
        }

    def _report(self) -> None:
        if self._daemon is not None:
            self._send(self._daemon, self._told())

    def _board(self) -> Board:
        if self._setup is None:
            raise OutputError("no daemon has said yet which outputs there are")
        return self._setup.board

    def _mock(self) -> MockPins:
        if self._setup is None or self._setup.mock is None:
            raise OutputError("the pins are real ones")
        return self._setup.mock

    def _close(self) -> None:
        if self._setup is not None:
            self._setup.board.close(Cause(STOP))
            self._collect()
            self._report()
        self._peers.close()
