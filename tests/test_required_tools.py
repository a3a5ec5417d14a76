"""What `TOCSIN_REQUIRE` promises: a tool that is missed fails the run instead of skipping its tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")


def run(directory: Path, required: str) -> tuple[int, str]:
    """Run, where only pytest is installed, a test that asks for qemu."""
    (directory / "conftest.py").write_text(CONFTEST.read_text())
    (directory / "test_it.py").write_text("def test_it(require):\n    require('qemu')\n")
    environment = {**os.environ, "TOCSIN_REQUIRE": required, "PATH": str(directory), "PYTEST_ADDOPTS": ""}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-rs",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        directory,
        directory,
    ]
    result = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=60
    )
    return result.returncode, result.stdout + result.stderr


def test_a_missing_tool_skips_with_the_way_to_get_it(tmp_path: Path) -> None:
    code, output = run(tmp_path, "node")
    assert code == pytest.ExitCode.OK
    assert "qemu is not installed (apt-get install qemu-system-x86)" in output


def test_a_missing_tool_that_is_required_fails(tmp_path: Path) -> None:
    code, output = run(tmp_path, "node, qemu")
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "TOCSIN_REQUIRE names qemu, but qemu is not installed" in output


def test_a_misspelt_tool_is_refused(tmp_path: Path) -> None:
    code, output = run(tmp_path, "mosquito")
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "TOCSIN_REQUIRE names mosquito; known are mosquitto," in output
