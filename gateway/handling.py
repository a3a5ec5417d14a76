"""What people beside the gateway may do: silence, reset and test, by button or at the console.

Owns the meaning of a button and of the control socket's requests about alarms and outputs. Who may is settled by who
can reach the button or the socket; commands from afar are `gateway.region.orders`'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.decider import Decider
from gateway.errors import ConfigError, OutputError
from gateway.outputs.options import ButtonOptions
from gateway.recording.recorder import Recorder

__all__ = ["Hands"]

_CONSOLE: Final = "console"


class Hands:
    """Buttons and console of one gateway."""

    def __init__(self, recorder: Recorder, decider: Decider) -> None:
        self._recorder, self._decider = recorder, decider

    def press(self, button: ButtonOptions) -> None:
        """Do what a button does. Raises OutputError where a test cannot be made."""
        by = f"button {button.name}"
        if button.does == "test":
            self._test(button.outputs or self._decider.sirens(), button.seconds, by)
            return
        for contract in self._recorder.restless():
            if button.contract in (None, contract):
                if button.does == "silence":
                    self._recorder.silence(contract, by)
                else:
                    self._recorder.reset(contract, by)

    def ask(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Do what the console asks for. Raises ConfigError, MismatchError, OutputError."""
        match request:
            case {"do": "reset", "contract": str(contract)}:
                self._recorder.reset(contract, _CONSOLE)
                return {}
            case {"do": "silence", "contract": str(contract)}:
                if not self._recorder.silence(contract, _CONSOLE):
                    raise ConfigError(f"no contract is called {contract!r}")
                return {}
            case {"do": "test", "output": str(output), "seconds": int(seconds)}:
                self._test([output], seconds, _CONSOLE)
                return {}
        raise ConfigError("known requests are status, reset, silence and test")

    def _test(self, outputs: Sequence[str], seconds: int, by: str) -> None:
        failures = []
        for output in outputs:
            try:
                self._recorder.test(output, seconds, by)
            except OutputError as error:
                failures.append(str(error))
        if failures:
            raise OutputError("; ".join(failures))
