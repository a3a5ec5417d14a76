"""What frees an I2C bus that a chip holds low: nine clock pulses, or its supply switched off and on.

Owns the two procedures and the return of the lines to the I2C controller. It does not own when they are tried
(`gateway.sensors.bus`).

A chip that missed a clock pulse in the middle of a byte holds SDA low until it has been clocked through the byte and
its acknowledge; then a stop ends the transfer (NXP UM10204, 3.1.16). As GPIO the lines belong to the controller no
more, and no driver gives them back: `PinFunctions` does, on a Pi by the tool `pinctrl` of raspi-utils.

Invariants:
* The lines are driven low or let go, never driven high: another chip may hold them.
* They are only taken where they can be given back: otherwise the bus would be lost for good.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Callable
from typing import Any, Final, Protocol

from gateway.clock import Clock
from gateway.errors import SensorError
from gateway.sensors.bus import BusOptions

__all__ = ["PinFunctions", "PinRescue", "Pinctrl"]

_log = logging.getLogger(__name__)

_PULSES: Final = 9
_HALF_S: Final = 0.00005  # half a clock's time, slow enough for every chip
_SETTLE_S: Final = 0.1  # after the supply is back
_TOOL_S: Final = 5.0


class PinFunctions(Protocol):
    """What pins are used for."""

    def read(self, pin: int) -> str | None:
        """Return a pin's function as `write` takes it; None where that cannot be told."""
        ...

    def write(self, pin: int, function: str) -> None:
        """Give a pin a function back. Raises SensorError."""
        ...


class Pinctrl:
    """Pin functions by the tool of that name, which Raspberry Pi OS has. It needs access to /dev/gpiomem."""

    def read(self, pin: int) -> str | None:
        """Return `a0` to `a8` of a pin that a controller has, as in " 2: a0    pu | hi // GPIO2 = SDA1"."""
        if shutil.which("pinctrl") is None:
            return None
        done = self._run("get", str(pin))
        words = done.stdout.split() if done is not None and done.returncode == 0 else []
        return words[1] if len(words) > 1 and words[0] == f"{pin}:" else None

    def write(self, pin: int, function: str) -> None:
        done = self._run("set", str(pin), function)
        if done is None or done.returncode:
            raise SensorError(
                "wiring", f"GPIO{pin} did not become {function} again; run: pinctrl set {pin} {function}"
            )

    def _run(self, *words: str) -> subprocess.CompletedProcess[str] | None:
        try:
            return subprocess.run(
                ["pinctrl", *words], capture_output=True, text=True, timeout=_TOOL_S, check=False
            )
        except (OSError, subprocess.SubprocessError) as error:
            _log.error("pinctrl %s: %s", " ".join(words), error)
            return None


class PinRescue:
    """Frees one bus by its lines or its supply.

    Args:
        pins: returns the gpiozero pin factory; raises SensorError.
    """

    def __init__(
        self, options: BusOptions, pins: Callable[[], Any], functions: PinFunctions, clock: Clock
    ) -> None:
        self._options, self._pins, self._functions, self._clock = options, pins, functions, clock

    def pulse(self) -> bool:
        lines = self._options.lines
        if lines is None:
            return False
        before = [(pin, self._functions.read(pin)) for pin in lines]
        functions = [(pin, function) for pin, function in before if function is not None]
        if len(functions) != len(lines):
            _log.error(
                "bus %s is not freed by clock pulses: its lines could not be given back;"
                " install raspi-utils for its tool pinctrl",
                self._options.name,
            )
            return False
        try:
            self._clock_through(*lines)
        except Exception as error:  # gpiozero's, lgpio's or the system's: the lines go back all the same
            _log.error("bus %s could not be clocked: %s", self._options.name, error)
        return self._give_back(functions)

    def power_cycle(self) -> bool:
        number = self._options.power_pin
        if number is None:
            return False
        on = self._options.power_on == "high"
        try:
            pin = self._pins().pin(number)
            pin.output_with_state(not on)
            self._clock.sleep(self._options.off_ms / 1000)
            pin.output_with_state(on)
        except Exception as error:  # as above; the sensors' thread must go on
            _log.error("the supply of bus %s could not be switched: %s", self._options.name, error)
            return False
        self._clock.sleep(_SETTLE_S)
        _log.warning("the supply of bus %s was switched off and on", self._options.name)
        return True

    def _clock_through(self, scl: int, sda: int) -> None:
        factory = self._pins()
        clock, data = factory.pin(scl), factory.pin(sda)
        try:
            data.input_with_pull("up")
            clock.input_with_pull("up")
            for _ in range(_PULSES):
                self._drop(clock)
                self._let_go(clock)
            self._drop(clock)
            self._drop(data)
            self._let_go(clock)
            self._let_go(data)  # while the clock is high: a stop
        finally:
            clock.close()
            data.close()

    def _drop(self, pin: Any) -> None:
        pin.output_with_state(0)
        self._clock.sleep(_HALF_S)

    def _let_go(self, pin: Any) -> None:
        pin.input_with_pull("up")
        self._clock.sleep(_HALF_S)

    def _give_back(self, functions: list[tuple[int, str]]) -> bool:
        given = True
        for pin, function in functions:
            try:
                self._functions.write(pin, function)
            except SensorError as error:
                _log.error("bus %s: %s", self._options.name, error)
                given = False
        return given
