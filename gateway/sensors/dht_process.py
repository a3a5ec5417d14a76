"""The process in which `adafruit_dht` runs: reads one DHT22 whenever a line arrives.

Owns the library's calls. It lives apart because the library keeps the interpreter busy for a quarter of a
second at each read, and may install signal handlers when it is imported. It ends when its standard input
ends, hence with its parent, however that died.

One request a line, one answer a line:
    read                            measure on the real pin
    read <ms> <us>,<us>,...         decode these edges, taking that long
    pulses                          listen on the real pin, and decode nothing
    ok <humidity> <temperature>     both in tenths
    pulses <us>,<us>,...            the edges that were heard
    error <kind> <text>

Invariant: before each measurement what the library remembers is forgotten, so an answer is always of
edges that were read for it; within 2 s of the last call the library reads none, and says nothing.
"""

from __future__ import annotations

import array
import os
import signal
import sys
import time
from typing import Any, Final, TextIO

__all__ = ["main"]

# The library's texts (4.0.12) and what they mean here.
_KINDS: Final = {
    "not found": "wiring",
    "full buffer": "timeout",
    "Checksum": "checksum",
    "unplausible": "out-of-range",
}
# A read is a start signal of 100 ms asleep and 250 ms of listening, wide awake.
_ASLEEP: Final = 100 / 350


def main() -> int:
    """Serve requests until standard input ends. Argument: the pin's BCM number, or `simulated`."""
    # A Ctrl-C is for the parent, which ends this process by ending its input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = _claim_stdout()
    try:
        device = _open(sys.argv[1])
    except (ImportError, RuntimeError, AttributeError, OSError, ValueError, NotImplementedError) as error:
        _say(answers, f"error wiring the DHT library cannot use pin {sys.argv[1]}: {error}")
        return 1
    _say(answers, "ready")
    for line in sys.stdin:
        _say(answers, _measure(device, line.split()))
    return 0


def _claim_stdout() -> TextIO:
    """Keep the pipe for answers; what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return answers


def _say(answers: TextIO, line: str) -> None:
    answers.write(line.replace("\n", " ") + "\n")
    answers.flush()


def _open(pin: str) -> Any:
    import adafruit_dht

    if pin != "simulated":
        import board

        return adafruit_dht.DHT22(getattr(board, f"D{int(pin)}"), use_pulseio=False)

    class SimulatedLine(adafruit_dht.DHT22):  # type: ignore[misc]
        """Takes its edges from the request instead of the pin; all else is the library's."""

        edges = array.array("H")
        duration_s = 0.0

        def _get_pulses_bitbang(self) -> array.array[int]:
            time.sleep(self.duration_s * _ASLEEP)
            end = time.monotonic() + self.duration_s * (1 - _ASLEEP)
            while time.monotonic() < end:
                pass
            return self.edges

    return SimulatedLine(None, use_pulseio=False)


def _measure(device: Any, request: list[str]) -> str:
    if len(request) > 1:
        device.duration_s = int(request[1]) / 1000
        device.edges = array.array("H", [int(us) for us in request[2].split(",")] if len(request) > 2 else [])
        # Simulated time may run faster than the two seconds that a real sensor needs.
        device._last_called = 0
    if request == ["pulses"]:
        return f"pulses {','.join(map(str, device._get_pulses_bitbang()))}"
    device._temperature = device._humidity = None
    try:
        device.measure()
    except RuntimeError as error:
        kind = next((kind for text, kind in _KINDS.items() if text in str(error)), "no-data")
        return f"error {kind} {error}"
    except OSError as error:
        return f"error wiring {error}"
    if device._temperature is None or device._humidity is None:
        return "error no-data the library measured nothing (called within 2 s of the last time)"
    return f"ok {round(device._humidity * 10)} {round(device._temperature * 10)}"


if __name__ == "__main__":
    sys.exit(main())
