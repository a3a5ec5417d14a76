"""One output pin and the contact that proves it: power on, power off, and whether the relay followed.

Owns gpiozero's devices of one output, polarity included. When there is to be power is `gateway.outputs.output`'s.

Invariants:
* Opened, the pin applies no power; closed, it applied none at the last.
* A freed pin floats: only a resistor at the relay's input keeps it on the safe side then, and while the machine
  starts.
"""

from __future__ import annotations

from typing import Any

from gateway.errors import OutputError
from gateway.outputs.options import OutputOptions, Pull

__all__ = ["Relay", "open_contact"]


class Relay:
    """The pins of one output."""

    def __init__(self, options: OutputOptions, pins: Any) -> None:
        self._options, self._pins = options, pins
        self._device: Any = None
        self._contact: Any = None

    @property
    def is_open(self) -> bool:
        """Whether the pin is held."""
        return self._device is not None

    def open(self) -> None:
        """Take the pins, without power; nothing happens where they are held. Raises OutputError."""
        if self._device is not None:
            return
        from gpiozero import OutputDevice

        try:
            if self._options.read_back is not None and self._contact is None:
                self._contact = open_contact(
                    self._options.read_back.pin, self._options.read_back.pull, self._pins
                )
            self._device = OutputDevice(
                self._options.pin,
                active_high=self._options.active_high,
                initial_value=False,
                pin_factory=self._pins,
            )
        except Exception as error:  # each pin library has a root of its own, and no siren waits for a valve
            raise self._failed("cannot be opened", error) from error

    def write(self, *, energised: bool) -> None:
        """Put power on or take it off. Raises OutputError."""
        try:
            self._device.value = energised
        except Exception as error:  # as above
            raise self._failed("cannot be driven", error) from error

    def follows(self, *, energised: bool) -> bool | None:
        """Say whether the contact is where that power would have it; None where there is none. Raises OutputError."""
        if self._contact is None or self._options.read_back is None:
            return None
        try:
            closed = bool(self._contact.value)
        except Exception as error:  # as above
            raise self._failed("cannot be read back", error) from error
        return closed == (energised == (self._options.read_back.contact == "no"))

    def close(self) -> None:
        """Take power off and free the pins; idempotent. Raises OutputError."""
        if self._device is None:
            return
        try:
            self.write(energised=False)
        finally:
            self._device.close()
            if self._contact is not None:
                self._contact.close()
            self._device = self._contact = None

    def _failed(self, what: str, error: Exception) -> OutputError:
        reason = str(error) or type(error).__name__
        return OutputError(f"output {self._options.name} on GPIO{self._options.pin} {what}: {reason}")


def open_contact(pin: int, pull: Pull, pins: Any) -> Any:
    """Return gpiozero's device of a contact on a pin; its value is 1 while the contact is closed."""
    from gpiozero import DigitalInputDevice

    low_closed = pull.endswith("up")  # against a resistor to 3.3 V it leads to ground
    if pull.startswith("external-"):
        return DigitalInputDevice(pin, pull_up=None, active_state=not low_closed, pin_factory=pins)
    return DigitalInputDevice(pin, pull_up=low_closed, pin_factory=pins)
