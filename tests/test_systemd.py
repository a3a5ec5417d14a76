"""The shipped units: systemd understands them, they start programs that exist, and they are confined."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
UNITS = sorted((ROOT / "systemd").glob("*.service"))


@pytest.fixture(params=UNITS, ids=lambda path: path.stem)
def unit(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def with_program_present(unit: Path, directory: Path) -> Path:
    """The unit with a program that this machine has: systemd looks for it."""
    copy = directory / unit.name
    copy.write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text()))
    return copy


def test_a_unit_starts_a_console_script_of_ours(unit: Path) -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    started = re.search(
        r"(?m)^ExecStart=/opt/tocsin/bin/(\S+) run --config /etc/tocsin/\w+\.toml$", unit.read_text()
    )
    assert started is not None
    assert started[1] in scripts
    assert started[1] == unit.stem


def test_systemd_finds_no_fault_in_a_unit(unit: Path, tmp_path: Path, require: Callable[[str], Path]) -> None:
    program = require("systemd-analyze")
    command = [program, "verify", "--man=no", with_program_present(unit, tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")


def test_a_unit_is_confined(unit: Path, tmp_path: Path, require: Callable[[str], Path]) -> None:
    program = require("systemd-analyze")
    command = [program, "security", "--offline=true", "--threshold=25", with_program_present(unit, tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout


def test_every_user_and_group_of_a_unit_is_made(unit: Path) -> None:
    made = set(re.findall(r"(?m)^[ug] (\S+)", (ROOT / "systemd/tocsin.sysusers").read_text()))
    text = unit.read_text()
    names = re.findall(r"(?m)^User=(\S+)", text)
    for groups in re.findall(r"(?m)^SupplementaryGroups=(.*)", text):
        names += groups.split()
    assert names
    assert set(names) <= made
