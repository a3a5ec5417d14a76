"""Sirens, relays and valves: what a contract wants, brought to pins that fall to the safe side.

Owns polarity, the longest running time and the drive itself. Which outputs are wanted is the contracts'.
One thread calls it.

Invariants:
* Not energised is the side that a crash, a cut wire or a power loss falls to: an output that is
  energised when all is normal (a spring-return valve) acts when its power goes, one that is energised in
  the alarm (a siren) stays silent. Every output begins and ends there.
* An output that fails keeps no other from acting, and is tried again at each call.
* A freed pin floats: only a resistor at the relay's input keeps it on the safe side then, and while the
  machine starts.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from gateway.clock import Clock
from gateway.errors import OutputError

__all__ = ["OutputChange", "OutputOptions", "Outputs"]

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_LAST_BCM_PIN: Final = 27
_NORMALLY_ENERGISED_KINDS: Final = frozenset({"valve"})


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """One output of the configuration.

    Attributes:
        name: what contracts call it.
        kind: what hangs on the pin.
        pin: BCM number, 0 to 27.
        energised: when power is applied; by default a valve's in the normal state, so that its spring
            closes it on alarm and on any loss of power, a siren's and a relay's in the alarm.
        active_high: whether the pin's high level applies power.
        max_runtime_s: seconds after which an alarm that lasts no longer drives the output, until the
            alarm has ended and come again, or another one comes; only for outputs energised in the alarm.
    """

    name: str
    kind: Literal["siren", "relay", "valve"]
    pin: int
    energised: Literal["alarm", "normal"] | None = None
    active_high: bool = True
    max_runtime_s: int | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no output name; use a-z, 0-9, - and _, at most 32")
        if not 0 <= self.pin <= _LAST_BCM_PIN:
            raise ValueError(f"output {self.name}: pin {self.pin} is no BCM number from 0 to {_LAST_BCM_PIN}")
        if self.max_runtime_s is not None and (self.max_runtime_s <= 0 or self.normally_energised):
            raise ValueError(
                f"output {self.name}: max_runtime_s must be positive, and would undo what an output"
                ' energised when normal protects; set energised = "alarm" or leave it out'
            )

    @property
    def normally_energised(self) -> bool:
        if self.energised is None:
            return self.kind in _NORMALLY_ENERGISED_KINDS
        return self.energised == "normal"


@dataclass(frozen=True, slots=True)
class OutputChange:
    """A pin that was driven to another state.

    Attributes:
        name: the output.
        active: it now acts as in an alarm (siren sounds, valve is shut).
        because: "wanted" by the contracts, or "max-runtime".
        monotonic_ms: the instant behind the drive.
    """

    name: str
    active: bool
    because: Literal["wanted", "max-runtime"]
    monotonic_ms: int


class Outputs:
    """All outputs of a gateway.

    Construction opens each pin on its safe side; a pin that cannot be opened is tried again by `apply`.

    Args:
        options: the configured outputs.
        pins: a gpiozero pin factory.
        clock: only its monotonic time is read.

    Raises:
        ValueError: two outputs share a name or a pin.
    """

    def __init__(self, options: Sequence[OutputOptions], pins: Any, clock: Clock) -> None:
        for what in ("name", "pin"):
            values = [getattr(option, what) for option in options]
            twice = next((value for value in values if values.count(value) > 1), None)
            if twice is not None:
                raise ValueError(f"two outputs have the {what} {twice!r}; give each its own")
        self._clock = clock
        self._wanted: frozenset[str] = frozenset()
        self._outputs = {option.name: _Output(option, pins) for option in options}
        for output in self._outputs.values():
            output.try_open()

    @property
    def active(self) -> frozenset[str]:
        """The outputs that act as in an alarm, as far as is known."""
        return frozenset(name for name, output in self._outputs.items() if output.active)

    @property
    def next_expiry_ms(self) -> int | None:
        """Monotonic time by which `tick` must be called for the next `max_runtime_s`; None if none runs."""
        return min(
            (ms for output in self._outputs.values() if (ms := output.expiry_ms) is not None), default=None
        )

    def apply(self, desired: Mapping[str, bool]) -> tuple[OutputChange, ...]:
        """Drive every output: those that map to True as in an alarm, all others back to normal.

        Returns:
            What changed, in the order driven.

        Raises:
            OutputError: some outputs failed or are not configured. All others have been driven; the
                error's `changes` are theirs.
        """
        self._wanted = frozenset(name for name, wanted in desired.items() if wanted)
        failures = [f"{name}: is not configured" for name in sorted(self._wanted - self._outputs.keys())]
        changes = []
        for name, output in self._outputs.items():
            try:
                change = output.drive(name in self._wanted, self._clock)
            except OutputError as error:
                failures.append(str(error))
            else:
                changes += [change] if change else []
        if failures:
            raise OutputError("; ".join(failures), changes=tuple(changes))
        return tuple(changes)

    def renew(self, names: Iterable[str]) -> None:
        """Let these outputs run for their `max_runtime_s` anew, from the next drive: another alarm wants them."""
        for name in names:
            if name in self._outputs:
                self._outputs[name].renew()

    def tick(self) -> tuple[OutputChange, ...]:
        """End what ran for its `max_runtime_s`, and try again what failed; returns and raises as `apply`."""
        return self.apply(dict.fromkeys(self._wanted, True))

    def close(self) -> None:
        """Leave every output on its safe side and free the pins.

        Raises:
            OutputError: some could not be brought there; all others were.
        """
        failures = []
        for output in self._outputs.values():
            try:
                output.close()
            except OutputError as error:
                failures.append(str(error))
        if failures:
            raise OutputError("; ".join(failures))


class _Output:
    """One pin; `active` is the state as last driven, None while that is unknown."""

    def __init__(self, options: OutputOptions, pins: Any) -> None:
        self._options, self._pins = options, pins
        self._device: Any = None
        self._wanted_since_ms: int | None = None
        self.active: bool | None = None

    @property
    def expiry_ms(self) -> int | None:
        limit, since = self._options.max_runtime_s, self._wanted_since_ms
        return since + limit * 1000 if self.active and limit is not None and since is not None else None

    def try_open(self) -> None:
        with contextlib.suppress(OutputError):
            self._open()

    def drive(self, wanted: bool, clock: Clock) -> OutputChange | None:
        now = clock.monotonic_ms()
        if not wanted:
            self._wanted_since_ms = None
        elif self._wanted_since_ms is None:
            self._wanted_since_ms = now
        active = wanted and not self._expired(now)
        if active == self.active:
            return None
        self._open()
        self._write(energised=active != self._options.normally_energised)
        self.active = active
        because: Literal["wanted", "max-runtime"] = "wanted" if active == wanted else "max-runtime"
        return OutputChange(self._options.name, active, because, clock.monotonic_ms())

    def renew(self) -> None:
        self._wanted_since_ms = None

    def close(self) -> None:
        if self._device is None:
            return
        try:
            self._write(energised=False)
        finally:
            self._device.close()
            self._device = self.active = None

    def _expired(self, now: int) -> bool:
        limit, since = self._options.max_runtime_s, self._wanted_since_ms
        return limit is not None and since is not None and now - since >= limit * 1000

    def _open(self) -> None:
        if self._device is not None:
            return
        from gpiozero import OutputDevice

        try:
            self._device = OutputDevice(
                self._options.pin,
                active_high=self._options.active_high,
                initial_value=False,
                pin_factory=self._pins,
            )
        except Exception as error:  # each pin library has a root of its own, and no siren waits for a valve
            raise self._failed("cannot be opened", error) from error
        self.active = self._options.normally_energised

    def _write(self, *, energised: bool) -> None:
        try:
            self._device.value = energised
        except Exception as error:  # as above
            self.active = None
            raise self._failed("cannot be driven", error) from error

    def _failed(self, what: str, error: Exception) -> OutputError:
        reason = str(error) or type(error).__name__
        return OutputError(f"output {self._options.name} on GPIO{self._options.pin} {what}: {reason}")
