"""One output over time: whether it acts, for how long, in which pattern, and whether it was seen to move.

Owns the longest running time, tests, patterns and read-backs of one output. What wants it is the caller's.

Invariants:
* An output that could not be driven is tried again at each step, and says so until it was.
* Every change is told once, as soon as it is known whether the relay followed.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import Any, Final

from gateway.errors import OutputError
from gateway.outputs.options import OutputOptions
from gateway.outputs.orders import (
    DID_NOT_MOVE,
    MAX_RUNTIME,
    MOVED,
    START,
    TEST,
    Cause,
    Moved,
    OutputState,
    Want,
)
from gateway.outputs.patterns import phase
from gateway.outputs.relay import Relay

__all__ = ["Output"]

_log = logging.getLogger(__name__)

_LOOK_MS: Final = 20  # at a read-back that has not followed yet
_AGAIN_MS: Final = 1_000  # a failure is tried again, and what moves by itself is noticed, so soon


class Output:
    """One output. Times are monotonic ms.

    Args:
        tell: takes each change.
    """

    def __init__(self, options: OutputOptions, pins: Any, tell: Callable[[Moved], None]) -> None:
        self.options, self._tell = options, tell
        self._relay = Relay(options, pins)
        self._active: bool | None = None
        self._cause = Cause(START)
        # Until somebody says what is wanted, it stays on the side to which it falls without power.
        self._want = Want(Cause(START)) if options.normally_energised else None
        self._since: int | None = None  # when what wants it began to
        self._tester: tuple[int, Cause] | None = None  # until when, and whose
        self._sounds_since = 0
        self._power: bool | None = None
        self._proof: tuple[int, Moved | None] | None = None  # until when the read-back may take, and for what
        self._failure = ""
        self._strays = False

    def prepare(self) -> None:
        """Take its pins, without power; what cannot be taken is tried again by `step`."""
        if not self._relay.is_open:
            with contextlib.suppress(OutputError):
                self._open()

    def want(self, want: Want | None, now: int, *, renew: bool = False) -> None:
        """Say what wants the output from now on; `step` drives it."""
        if want is None:
            self._since = None
        elif self._since is None or renew:
            self._since = now - (0 if renew else want.ran_ms)
        if (
            want is not None
            and self._active
            and (self._want is None or self._want.pre_alarm != want.pre_alarm)
        ):
            self._sounds_since = now
        self._want = want

    def test(self, seconds: int, by: str, now: int) -> None:
        """Let it act for so long, whatever wants it; 0 ends a test."""
        self._tester = now + seconds * 1000, Cause(TEST, by)

    def step(self, now: int, why: Cause | None = None) -> int | None:
        """Bring the pin to where it belongs.

        Args:
            why: the cause of what ends now, where that is not what began it.

        Returns:
            When to step again at the latest; None: only when something is wanted of it.
        """
        ended = self._end_test(now)
        active = self._is_wanted(now) or self._tester is not None
        cause = self._cause_of(active, now, ended or why) if active or active != self._active else self._cause
        try:
            self._drive(active, cause, now)
        except OutputError as error:
            self._fail(str(error), active, cause)
            return now + _AGAIN_MS
        dues = [
            self._pattern_due(now),
            self._read_back(now),
            self._expiry(),
            self._tester and self._tester[0],
        ]
        return min((due for due in dues if due is not None and due > now), default=None)

    def state(self, now: int) -> OutputState:
        """Return how it is."""
        limit = self.options.max_runtime_s
        ran = now - self._since if limit is not None and self._since is not None else 0
        stray = (
            f"output {self.options.name}: its read-back on GPIO{getattr(self.options.read_back, 'pin', '')}"
        )
        faults = [self._failure] if self._failure else []
        faults += [f"{stray} shows that it did not move"] if self._strays else []
        return OutputState(self.options.name, self._active, self._cause, ran, tuple(faults))

    def close(self, cause: Cause | None = None) -> None:
        """Take its power away and free the pins. Raises OutputError."""
        rest = self.options.normally_energised
        if cause is not None and self._relay.is_open and self._active not in (None, rest):
            self._tell(Moved(self.options.name, rest, cause))
        self._active = self._power = self._proof = None
        self._relay.close()

    # what it is to do

    def _is_wanted(self, now: int) -> bool:
        return self._want is not None and not self._is_expired(now)

    def _is_expired(self, now: int) -> bool:
        limit = self.options.max_runtime_s
        return limit is not None and self._since is not None and now - self._since >= limit * 1000

    def _expiry(self) -> int | None:
        limit, since = self.options.max_runtime_s, self._since
        return since + limit * 1000 if self._active and limit is not None and since is not None else None

    def _end_test(self, now: int) -> Cause | None:
        if self._tester is None or now < self._tester[0]:
            return None
        _, cause = self._tester
        self._tester = None
        return cause

    def _cause_of(self, active: bool, now: int, why: Cause | None) -> Cause:
        if active:
            if self._want is not None and self._is_wanted(now):
                return self._want.cause
            return self._tester[1] if self._tester else self._cause
        if self._want is not None and self._is_expired(now) and (why is None or why.code != TEST):
            return Cause(MAX_RUNTIME, self._want.cause.by)
        return why or self._cause

    # the pin

    def _drive(self, active: bool, cause: Cause, now: int) -> None:
        if not self._relay.is_open:
            self._open()
        if active != self._active:
            self._settle_proof()
            self._sounds_since = now
        self._sound(active, now)
        if self._failure:
            _log.warning("output %s can be driven again", self.options.name)
        self._failure = ""
        changed, self._active, self._cause = active != self._active, active, cause
        if changed:
            self._prove(Moved(self.options.name, active, cause), now)

    def _open(self) -> None:
        self._relay.open()
        self._power = False
        self._active = None if self._failure else self.options.normally_energised

    def _sound(self, active: bool, now: int) -> None:
        """Put the power where the pattern has it."""
        on = active and phase(self._pattern, now - self._sounds_since)[0]
        power = on != self.options.normally_energised
        if power != self._power:
            self._power = None
            self._relay.write(energised=power)
            self._power = power

    @property
    def _pattern(self) -> str:
        is_pre_alarm = self._want is not None and self._want.pre_alarm and self._tester is None
        return (self.options.pre_alarm or self.options.pattern) if is_pre_alarm else self.options.pattern

    def _pattern_due(self, now: int) -> int | None:
        if not self._active:
            return None
        left = phase(self._pattern, now - self._sounds_since)[1]
        return None if left is None else now + left

    def _fail(self, failure: str, active: bool, cause: Cause) -> None:
        if failure != self._failure:
            _log.error("%s", failure)
        if not self._failure:
            self._tell(Moved(self.options.name, active, cause, DID_NOT_MOVE))
        self._failure, self._active, self._power, self._proof = failure, None, None, None

    # the read-back

    def _prove(self, moved: Moved, now: int) -> None:
        if self.options.read_back is None:
            self._tell(moved)
        else:
            self._proof = now + self.options.read_back.within_ms, moved

    def _read_back(self, now: int) -> int | None:
        """Look whether the relay is where its power should have it; return when to look again."""
        if self.options.read_back is None:
            return None
        follows = self._follows()
        if follows:
            if self._strays:
                _log.warning("output %s has followed after all", self.options.name)
            self._strays = False
            self._settle_proof()
        elif self._proof is None and not self._strays:
            self._proof = now + self.options.read_back.within_ms, None  # it moved by itself, or bounces
        if self._proof is None:
            return now + _AGAIN_MS
        if now >= self._proof[0]:
            self._strays = True
            _log.error("output %s: its read-back shows that it did not move", self.options.name)
            self._settle_proof()
            return now + _AGAIN_MS
        return now + _LOOK_MS

    def _settle_proof(self) -> None:
        """Tell the change that waits for its proof, with what the contact shows now."""
        if self._proof is not None and (moved := self._proof[1]) is not None:
            result = MOVED if self._follows() else DID_NOT_MOVE
            self._tell(Moved(moved.output, moved.active, moved.cause, result))
        self._proof = None

    def _follows(self) -> bool:
        """Whether the contact is where the output's present state has it."""
        try:
            energised = bool(self._active) != self.options.normally_energised
            return bool(self._relay.follows(energised=energised))
        except OutputError as error:
            _log.error("%s", error)
            return False
