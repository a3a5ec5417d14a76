"""The programs that a bench measures, each in a process of its own: a gateway, and the bare programs beside it.

Owned: what runs there, and the conversation: one JSON list a line in, one JSON value a line out, the first one
when it is ready. A program ends with its standard input. Not owned: what is made of the answers.

Invariant: a bare program loads nothing of ours but this file, and this file nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gateway.daemon import Gateway

__all__ = ["SENSOR", "SIREN_PIN", "main"]

SENSOR: Final = "gas-0"
SIREN_PIN: Final = 23

_CALM, _LEAK = 0.9, 3.8  # volts at an MQ-4 of 10 kΩ: clean air, and beyond 20 % of the lower explosive limit
_LOOK_S: Final = 0.005
_PATIENCE_S: Final = 10.0

Hold = Callable[[bool], int]
Changes = deque[tuple[int, bool]]
Look = Callable[[], tuple[int, bool] | None]


def main(arguments: Sequence[str]) -> int:
    """Run the program that the first argument names, with those that follow."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the bench, which ends its processes
    name, *rest = arguments
    programs: dict[str, Callable[..., None]] = {
        "gateway": run_gateway,
        "loop": run_loop,
        "idle": run_idle,
        "datagrams": run_datagrams,
        "load": run_load,
        "pace": run_pace,
        "crowd": run_crowd,
        "verify": run_verify,
    }
    programs[name](*rest)
    return 0


def run_gateway(config: str) -> None:
    """Run the daemon as `tocsin-gateway run` does, with a hand at its simulated gas sensor."""
    from gateway.config import load_config
    from gateway.daemon import Gateway
    from gateway.outputs.wire import ask, end_simulated, places

    sys.setswitchinterval(0.001)
    given = load_config(Path(config))
    gateway = Gateway(given, config)
    arrivals = Arrivals({plan.name: plan.period_ms for plan in gateway.catalogue.sensors})
    taken = gateway.recorder.sample

    def sample(plan: Any, values: Any) -> None:
        arrivals.note(plan.name)
        taken(plan, values)

    gateway.recorder.sample = sample  # type: ignore[method-assign]
    gateway.start()
    while not gateway.recorder.latest():
        time.sleep(_LOOK_S)
    _say(sorted(sys.modules))
    simulation: Any = gateway.hardware
    meeting = places(given.data)

    def hold(leak: bool) -> int:
        return int(simulation.hold(SENSOR, _LEAK if leak else _CALM))

    def siren() -> tuple[int, bool] | None:
        """The siren's latest change, as the guardian saw it."""
        changes = ask(meeting, {"do": "pin", "pin": SIREN_PIN})["changes"]
        return changes[-1] if changes else None

    verbs: dict[str, Callable[..., Any]] = {
        "toggle": lambda *rest: toggle(hold, siren, *rest),
        "hold": hold,
        "alarm-bytes": lambda: _alarm_bytes(gateway),
        "model-seconds": simulation.model_seconds,
        "lateness": arrivals.lateness,
        "modules": lambda: sorted(sys.modules),
    }
    for verb, *rest in _requests():
        _say(verbs[verb](*rest))
    gateway.stop()
    end_simulated(given.data)


def _alarm_bytes(gateway: Gateway) -> int:
    from gateway.chain.alarm import Alarm

    row = gateway.store.unacknowledged("no hub of this name")[0]
    return len(Alarm.sign(gateway.identity.key, row.body, row.mark).encode())


def run_loop(period_ms: str) -> None:
    """Run a thread that looks at a variable once a period, and does nothing else."""
    level, changes = False, Changes()

    def look() -> None:
        seen, due = level, time.monotonic()
        while True:
            due += int(period_ms) / 1000
            time.sleep(max(0.0, due - time.monotonic()))
            if level != seen:
                seen = level
                changes.append((time.monotonic_ns(), seen))

    def hold(up: bool) -> int:
        nonlocal level
        level = up
        return time.monotonic_ns()

    threading.Thread(target=look, daemon=True).start()
    _say("ready")
    for _, *rest in _requests():
        _say(toggle(hold, lambda: changes[-1] if changes else None, *rest))


def run_idle(wakes_per_s: str, conversion_ms: str, dht_period_s: str, dht_busy_ms: str, others: str) -> None:
    """Run threads that wake as often as a gateway's and do nothing, and one that listens as a DHT22's does."""

    def sample() -> None:
        due = time.monotonic()
        while True:
            due += 1 / int(wakes_per_s)
            time.sleep(int(conversion_ms) / 1000)
            time.sleep(max(0.0, due - time.monotonic()))

    def listen() -> None:
        while True:
            end = time.monotonic() + int(dht_busy_ms) / 1000
            while time.monotonic() < end:
                pass
            time.sleep(int(dht_period_s) - int(dht_busy_ms) / 1000)

    def wait() -> None:
        while True:
            time.sleep(1)

    for target in (sample, listen, *[wait] * int(others)):
        threading.Thread(target=target, daemon=True).start()
    _say("ready")
    for _ in _requests():
        pass


def run_datagrams() -> None:
    """Answer each datagram with the time at which it was taken."""
    bare = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bare.bind(("127.0.0.1", 0))

    def answer() -> None:
        while True:
            _, source = bare.recvfrom(2048)
            bare.sendto(str(time.monotonic_ns()).encode(), source)

    threading.Thread(target=answer, daemon=True).start()
    _say(bare.getsockname()[1])
    for _ in _requests():
        pass


class Arrivals:
    """When samples were taken, and how late: behind the moments, a period apart, that suit the earliest of them.

    Args:
        periods: of each stream of samples, by name, ms.
    """

    def __init__(self, periods: dict[str, int]) -> None:
        self._periods = periods
        self._times: dict[str, list[float]] = {name: [] for name in periods}

    def note(self, name: str) -> None:
        self._times[name].append(time.monotonic() * 1000)

    def lateness(self) -> list[float]:
        """Return the lateness of all samples since the last call, ms."""
        found = []
        for name, period in self._periods.items():
            times, self._times[name] = self._times[name], []
            phases = [at - round((at - times[0]) / period) * period for at in times]
            found += [phase - min(phases) for phase in phases]
        return found


def run_pace(threads: str, streams: str, period_ms: str) -> None:
    """Run threads that share streams of moments between them, and do nothing at each but note it."""
    count, period = int(streams), int(period_ms)
    arrivals = Arrivals({str(index): period for index in range(count)})

    def keep(mine: Sequence[int]) -> None:
        due = time.monotonic()
        while True:
            for index in mine:
                arrivals.note(str(index))
            due += period / 1000
            time.sleep(max(0.0, due - time.monotonic()))

    for number in range(int(threads)):
        mine = range(number, count, int(threads))
        threading.Thread(target=keep, args=(mine,), daemon=True).start()
    time.sleep(period / 1000)
    _say("ready")
    for _ in _requests():
        _say(arrivals.lateness())


def run_load() -> None:
    """Import the modules that the first request lists, and stay."""
    for number, names in enumerate(_requests()):
        for name in names if number == 0 else ():
            # A name in sys.modules may be one that a library made up; and some modules print.
            with contextlib.suppress(ImportError), contextlib.redirect_stdout(sys.stderr):
                importlib.import_module(name)
        _say("ready")


def run_crowd(authority: str, hubs: str) -> None:
    """Be the made-up gateways of `bench_federation_load`: each request is one of its verbs, with what follows it."""
    from firmware_tools.bench_federation_load import Load

    load = Load(Path(authority), json.loads(hubs))
    _say("ready")
    for verb, *rest in _requests():
        _say(getattr(load, verb)(*rest))
    load.close()


def run_verify(evidence: str, trust: str) -> None:
    """Verify an evidence file at a request; only the first time is the whole work, since seals are remembered."""
    from firmware_tools.verify import verify_file

    _say("ready")
    for _ in _requests():
        begun = time.perf_counter()
        verify_file(Path(evidence), Path(trust))
        _say((time.perf_counter() - begun) * 1000)


def toggle(hold: Hold, latest: Look, count: int, period_ms: int, seed: int) -> list[float]:
    """Put an input up and down, up at random instants within a period.

    Args:
        hold: moves the input, and returns the `time.monotonic_ns()` of that.
        latest: returns when what follows it changed last, as `time.monotonic_ns()`, and to what.

    Returns:
        The milliseconds from each rise to the change it caused.
    """
    random, latencies = Random(seed), []
    for _ in range(count):
        time.sleep(random.uniform(0, period_ms / 1000))
        latencies.append(_follow(hold, latest, True))
        _follow(hold, latest, False)
    return latencies


def _follow(hold: Hold, latest: Look, level: bool) -> float:
    onset = hold(level)
    end = time.monotonic() + _PATIENCE_S
    while (change := latest()) is None or change[0] < onset or change[1] != level:
        if time.monotonic() > end:
            raise TimeoutError(f"nothing followed the input to {level} within {_PATIENCE_S:.0f} s")
        time.sleep(_LOOK_S)
    return (change[0] - onset) / 1e6


def _requests() -> Iterator[list[Any]]:
    for line in sys.stdin:
        yield json.loads(line)


def _say(answer: object) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
