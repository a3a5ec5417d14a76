"""Evidence files made and verified by the programs that people use, each a process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from gateway.chain.genesis import Genesis


def run(module: str, *arguments: object) -> tuple[int, str]:
    """A command of one of the packages: its exit code and all it printed."""
    code = f"import sys; from {module} import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def run_audit(directory: Path, *arguments: object) -> tuple[int, str]:
    return run("hub.cli", "audit", "--dir", directory, *arguments)


def reading_evidence(hub: Path, gateway: bytes, height: int, path: Path) -> Path:
    """The evidence of a block's first public leaf, beside a running hub or without one."""
    where = ("--gateway", gateway.hex(), "--block", height, "--leaf", 0)
    code, text = run("hub.cli", "evidence", "--dir", hub, *where, "-o", path)
    assert code == 0, text
    return path


def alarm_evidence(hub: Path, alarm: str, path: Path) -> Path:
    code, text = run("hub.cli", "evidence", "--dir", hub, "--alarm", alarm, "-o", path)
    assert code == 0, text
    return path


def check_evidence(path: Path, genesis: Genesis) -> str:
    """Have a file verified offline, with nothing but the genesis; return what it says."""
    trust = path.with_suffix(".trust")
    trust.write_bytes(genesis.encode())
    code, text = run("firmware_tools.cli", "verify", path, "--trust", trust)
    assert code == 0, text
    return text
