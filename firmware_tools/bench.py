"""`tocsin-tools bench`: which figures there are, and who measures them.

The hub's own (ingest, audit) come from its own command, run as a process: the workbench imports nothing of a hub.
Each figure is measured beside its limit or peer in the same run, since a machine is never the same twice.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from firmware_tools.errors import ProcessFailed

__all__ = ["NAMES", "measure"]

NAMES: Final = (
    "ingest",
    "alarm",
    "neighbours",
    "faults",
    "gateway",
    "load",
    "wear",
    "e2e",
    "audit",
    "federation",
)
_HUBS: Final = frozenset({"ingest", "audit"})


def measure(
    names: Sequence[str], note: Callable[[str], None], warn: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """Measure some figures, all where none is named, and yield them as plain values.

    Args:
        names: of `NAMES`.
        note: told what is being measured.
        warn: told what is left out, because this machine lacks what it needs and nobody asked for it by name.

    Raises:
        ToolError: something could not be measured.
    """
    wanted = [name for name in NAMES if name in names or not names]
    if not names and shutil.which("cometbft") is None:
        wanted.remove("federation")
        warn("federation: skipped, because CometBFT is not on PATH")
    if hubs := [name for name in wanted if name in _HUBS]:
        note(f"measuring {' and '.join(hubs)}")
        yield from _of_hub(hubs)
    for name in wanted:
        if name not in _HUBS:
            note(f"measuring {name}")
            for figure in _measures()[name]():
                yield figure.to_json()


def _measures() -> dict[str, Callable[[], Any]]:
    # Here, not above: they load much of the gateway.
    from firmware_tools.bench_alarm import measure_alarm
    from firmware_tools.bench_e2e import measure_e2e
    from firmware_tools.bench_faults import measure_faults
    from firmware_tools.bench_federation import measure_federation
    from firmware_tools.bench_gateway import measure_gateway
    from firmware_tools.bench_load import measure_load
    from firmware_tools.bench_neighbours import measure_neighbours
    from firmware_tools.bench_wear import measure_wear

    return {
        "alarm": measure_alarm,
        "neighbours": measure_neighbours,
        "faults": measure_faults,
        "gateway": measure_gateway,
        "load": measure_load,
        "wear": measure_wear,
        "e2e": measure_e2e,
        "federation": measure_federation,
    }


def _of_hub(names: Sequence[str]) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "hub", "bench", "--json"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise ProcessFailed(f"tocsin-hub bench: {lines[-1] if lines else 'no output'}")
    figures: list[dict[str, Any]] = json.loads(done.stdout)
    return [figure for figure in figures if str(figure["name"]).split("-")[0] in names]
