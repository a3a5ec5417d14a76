"""All outputs of a gateway: what is wanted of each, and what holds when nobody wants anything any more.

Owns the outputs, the last order and what has moved. It has no thread and no socket: `gateway.outputs.server` calls it
in the guardian, tests call it by themselves.

Invariants:
* Not energised is the side that a crash, a cut wire or a power loss falls to: an output that is energised when all is
  normal (a spring-return valve) acts when its power goes, one that is energised in the alarm (a siren) stays silent.
  Every output begins and ends there.
* An output that fails keeps no other from acting.
* Before the first order nothing leaves the safe side, whatever else happens.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from gateway.clock import Clock
from gateway.errors import OutputError
from gateway.outputs.options import MAX_TEST_S, OutputOptions, check_distinct
from gateway.outputs.orders import CAUSES, GONE, STOP, Cause, Moved, Order, OutputState, Want
from gateway.outputs.output import Output

__all__ = ["Board"]

_log = logging.getLogger(__name__)

_KEPT: Final = 256


class Board:
    """The outputs on their pins. One thread calls it.

    Args:
        options: the configured outputs.
        pins: a gpiozero pin factory.
        clock: only its monotonic time is read.

    Raises:
        ValueError: two outputs share a name or a pin.
    """

    def __init__(self, options: Sequence[OutputOptions], pins: Any, clock: Clock) -> None:
        self._clock, self._pins = clock, pins
        self._order: Order | None = None
        self._moves: deque[Moved] = deque(maxlen=_KEPT)
        self._number = 0
        self._outputs: dict[str, Output] = {}
        self._due: int | None = None
        self.configure(options)

    def configure(self, options: Sequence[OutputOptions]) -> None:
        """Hold these outputs from now on: what is as it was stays as it is, what is new waits on the safe side.

        Raises:
            ValueError: two outputs share a name or a pin.
        """
        check_distinct(options)
        same = {each.name: each for each in options if each.name in self._outputs}
        for name, output in list(self._outputs.items()):
            if output.options != same.get(name):
                self._close(self._outputs.pop(name), Cause(STOP, "configuration"))
        kept = self._outputs
        self._outputs = {
            each.name: kept.get(each.name) or Output(each, self._pins, self._tell) for each in options
        }
        for output in self._outputs.values():
            output.prepare()

    @property
    def active(self) -> frozenset[str]:
        """The outputs that act as in an alarm, as far as is known."""
        return frozenset(each.name for each in self.states() if each.active)

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with outputs, in words for people."""
        return tuple(fault for each in self.states() for fault in each.faults)

    def options_of(self, output: str) -> OutputOptions:
        """Return how an output is configured. Raises OutputError: there is none of that name."""
        return self._find(output).options

    def states(self) -> list[OutputState]:
        """Return how each output is."""
        now = self._clock.monotonic_ms()
        return [output.state(now) for output in self._outputs.values()]

    def order(self, order: Order) -> None:
        """Drive every output: those wanted as in an alarm, all others back to normal."""
        self._order = order
        self._want(order.want, order.why, order.renew)

    def leave(self) -> None:
        """Go to what the last order said for a daemon that is gone; fault relays act."""
        if self._order is None:
            return
        wants = {
            name: replace(want, cause=Cause(GONE, want.cause.by)) for name, want in self._order.gone.items()
        }
        relays = (name for name, output in self._outputs.items() if output.options.kind == "fault")
        self._want({**wants, **{name: Want(Cause(GONE)) for name in relays}}, Cause(GONE), frozenset())

    def test(self, output: str, seconds: int, by: str) -> None:
        """Let an output act for some seconds; 0 ends a test. Raises OutputError."""
        found = self._find(output)
        if not 0 <= seconds <= MAX_TEST_S:
            raise OutputError(f"a test lasts at most {MAX_TEST_S} s, not {seconds}")
        found.test(seconds, by, self._clock.monotonic_ms())
        self.tick()

    def tick(self) -> None:
        """Do what time alone brings: patterns, ends of tests and longest runs, read-backs, further tries."""
        self._step(None)

    @property
    def due_ms(self) -> int | None:
        """Monotonic time by which `tick` must be called; None if there is nothing to do."""
        return self._due

    def take(self) -> list[Moved]:
        """Return what has moved since the last call, in order; the latest 256 are kept."""
        moves = list(self._moves)
        self._moves.clear()
        return moves

    def close(self, cause: Cause | None = None) -> None:
        """Leave every output on its safe side and free the pins."""
        for output in self._outputs.values():
            self._close(output, cause)
        self._outputs, self._due = {}, None

    def _find(self, output: str) -> Output:
        if output not in self._outputs:
            names = ", ".join(self._outputs) or "none"
            raise OutputError(f"no output is called {output!r}; there are {names}")
        return self._outputs[output]

    def _want(self, wants: Mapping[str, Want], why: Cause | None, renew: frozenset[str]) -> None:
        now = self._clock.monotonic_ms()
        for name in sorted(wants.keys() - self._outputs.keys()):
            _log.error("output %s: is not configured", name)
        for name, output in self._outputs.items():
            output.want(wants.get(name), now, renew=name in renew)
        self._step(why)

    def _step(self, why: Cause | None) -> None:
        now = self._clock.monotonic_ms()
        dues = [output.step(now, why) for output in self._outputs.values()]
        self._due = min((due for due in dues if due is not None), default=None)

    def _tell(self, moved: Moved) -> None:
        self._number += 1
        self._moves.append(replace(moved, number=self._number))
        _log.warning(
            "output %s %s (%s)%s",
            moved.output,
            "acts" if moved.active else "is back to normal",
            f"{CAUSES[moved.cause.code]} {moved.cause.by}".strip(),
            ("", ", as its read-back shows", ", and did not move")[moved.moved],
        )

    def _close(self, output: Output, cause: Cause | None) -> None:
        try:
            output.close(cause)
        except OutputError as error:
            _log.error("%s", error)
