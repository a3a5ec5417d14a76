"""Push buttons beside the gateway: silence, reset, test.

Owns their pins, bouncing, long presses and the thread that looks at them. What a press brings about is the caller's.

Invariants:
* A press counts once it has lasted its time, and once; the next one begins with a release.
* A button that is held when the gateway starts does nothing before it was let go.
* A button whose pin cannot be read is a fault, and keeps no other from working.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from gateway.errors import GatewayError
from gateway.outputs.options import ButtonOptions
from gateway.outputs.relay import open_contact

__all__ = ["Button", "Buttons"]

_log = logging.getLogger(__name__)

_LOOK_S: Final = 0.025
_AGAIN_S: Final = 5.0


class Button:
    """One button over time. Times are monotonic ms."""

    def __init__(self, options: ButtonOptions) -> None:
        self.options = options
        self._down = True  # until it was seen released
        self._changed: int | None = None  # when the level last differed from what counts
        self._since: int | None = None  # of the press that has not taken effect yet

    @property
    def is_up(self) -> bool:
        """Whether it is at rest."""
        return not self._down

    def look(self, closed: bool, now: int) -> bool:
        """Take its level; say whether a press has taken effect."""
        down = closed == (self.options.contact == "no")
        if down == self._down:
            self._changed = None
        elif self._changed is None:
            self._changed = now
        if self._changed is not None and now - self._changed >= self.options.debounce_ms:
            self._down, self._since = down, self._changed if down else None
            self._changed = None
        if self._since is None or not down or now - self._since < self.options.pressed_ms:
            return False
        self._since = None
        return True


class Buttons:
    """All buttons of a gateway, looked at in one thread.

    Args:
        pins: returns the gpiozero pin factory for inputs.
        pressed: called for each press that takes effect; may raise GatewayError.
    """

    def __init__(
        self,
        options: Sequence[ButtonOptions],
        pins: Callable[[], Any],
        pressed: Callable[[ButtonOptions], None],
    ) -> None:
        self._pins, self._pressed = pins, pressed
        self._buttons = {each.name: Button(each) for each in options}
        self._devices: dict[str, Any] = {}
        self._failed: dict[str, str] = {}
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="buttons", daemon=True)

    def start(self) -> None:
        """Begin to look; without buttons nothing happens."""
        if self._buttons:
            self._thread.start()

    def stop(self) -> None:
        """End, and free the pins; idempotent."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()
        for device in self._devices.values():
            device.close()
        self._devices = {}

    @property
    def are_ready(self) -> bool:
        """Whether each was seen at rest since the start, or cannot be read."""
        return all(button.is_up or name in self._failed for name, button in self._buttons.items())

    @property
    def faults(self) -> tuple[str, ...]:
        """The buttons that cannot be read, and why."""
        return tuple(f"button {name}: {why}" for name, why in self._failed.items())

    def _run(self) -> None:
        tried = dict.fromkeys(self._buttons, -_AGAIN_S)
        while not self._ending.wait(_LOOK_S):
            now = time.monotonic()
            for name, button in self._buttons.items():
                if name in self._failed and now - tried[name] < _AGAIN_S:
                    continue
                tried[name] = now
                self._look(button, round(now * 1000))

    def _look(self, button: Button, now: int) -> None:
        options = button.options
        try:
            if options.name not in self._devices:
                self._devices[options.name] = open_contact(options.pin, options.pull, self._pins())
            closed = bool(self._devices[options.name].value)
        except Exception as error:  # each pin library has a root of its own
            if options.name not in self._failed:
                _log.error("button %s cannot be read: %s", options.name, error)
            self._failed[options.name] = str(error) or type(error).__name__
            return
        self._failed.pop(options.name, None)
        if button.look(closed, now):
            _log.warning("button %s was pressed: %s", options.name, options.does)
            try:
                self._pressed(options)
            except GatewayError as error:
                _log.error("button %s: %s", options.name, error)
