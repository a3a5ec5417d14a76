"""What a verification may cost: in processor time, so that a busy machine fails nobody."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from gateway.chain import finality
from gateway.chain.evidence import verify_evidence

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "format.json").read_text())["evidence"]
FEDERAL = [each for each in VECTORS if "federation" in each["name"]]
IN_PROCESS_SECONDS: Final = 0.010
COMMAND_SECONDS: Final = 0.5
HEAVY: Final = {"rich", "lark", "http.server", "gateway.contracts.document", "firmware_tools.demo"}


@pytest.mark.parametrize("vector", FEDERAL, ids=[each["name"] for each in FEDERAL])
def test_evidence_under_a_federations_seals_takes_at_most_ten_milliseconds(vector: dict[str, str]) -> None:
    data, trust = bytes.fromhex(vector["file"]), bytes.fromhex(vector["trust"])
    took = []
    for _ in range(5):
        finality._verify_comet.cache_clear()  # as in a process that saw none of its seals before
        begun = time.process_time()
        verify_evidence(data, trust)
        took.append(time.process_time() - begun)
    assert min(took) < IN_PROCESS_SECONDS


def test_the_command_takes_at_most_half_a_second(tmp_path: Path) -> None:
    evidence, trust = tmp_path / "item.evidence", tmp_path / "trust"
    evidence.write_bytes(bytes.fromhex(FEDERAL[0]["file"]))
    trust.write_text(FEDERAL[0]["trust"])
    command = [sys.executable, "-c", "from firmware_tools.cli import main; main()", "verify"]
    took = []
    for _ in range(3):  # the first one may have modules to compile
        begun = spent_by_children()
        subprocess.run(
            [*command, str(evidence), "--trust", str(trust)], check=True, stdout=subprocess.DEVNULL
        )
        took.append(spent_by_children() - begun)
    assert min(took) < COMMAND_SECONDS


def spent_by_children() -> float:
    """Processor time of all children that have ended, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_the_command_loads_nothing_heavy() -> None:
    script = "import sys; import firmware_tools.cli, firmware_tools.verify; print(*sys.modules, sep='\\n')"
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert not HEAVY & set(loaded.split())
