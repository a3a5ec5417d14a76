"""The shipped units: systemd understands them, they start programs that exist, and they are confined."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Callable
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path

import pytest

from gateway.outputs.wire import SYSTEM

ROOT = Path(__file__).resolve().parent.parent
UNITS = sorted((ROOT / "systemd").glob("*.service"))
GATEWAY = ROOT / "systemd/tocsin-gateway.service"
GUARDIAN = ROOT / "systemd/tocsin-guardian.service"
PROGRAMS = [unit for unit in UNITS if "@" not in unit.name and unit != GUARDIAN]


@pytest.fixture(params=UNITS, ids=lambda path: path.stem)
def unit(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def with_program_present(unit: Path, directory: Path) -> Path:
    """The unit with a program that this machine has, and beside the others: systemd looks for them."""
    for each in UNITS:
        (directory / each.name).write_text(
            re.sub(r"(?m)^ExecStart=/opt/\S+", "ExecStart=/bin/true", each.read_text())
        )
    if unit.stem.endswith("@"):  # as a gateway's failure would start it
        unit = unit.with_name(f"{unit.stem}tocsin-gateway.service.service")
        (directory / unit.name).write_text((directory / "tocsin-failed@.service").read_text())
    return directory / unit.name


def values(unit: Path, key: str) -> list[str]:
    return re.findall(rf"(?m)^{key}=(.*)$", unit.read_text())


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_a_unit_starts_a_console_script_of_ours(program: Path) -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    started = re.search(
        r"(?m)^ExecStart=/opt/tocsin/bin/(\S+) run --config /etc/tocsin/\w+\.toml$", program.read_text()
    )
    assert started is not None
    assert started[1] in scripts
    assert started[1] == program.stem


def test_systemd_finds_no_fault_in_a_unit(unit: Path, tmp_path: Path, require: Callable[[str], Path]) -> None:
    program = require("systemd-analyze")
    command = [program, "verify", "--man=no", with_program_present(unit, tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")


def test_a_unit_is_confined(unit: Path, tmp_path: Path, require: Callable[[str], Path]) -> None:
    program = require("systemd-analyze")
    command = [program, "security", "--offline=true", "--threshold=20", with_program_present(unit, tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout


def test_every_user_and_group_of_a_unit_is_made(unit: Path) -> None:
    made = set(re.findall(r"(?m)^[ug] (\S+)", (ROOT / "systemd/tocsin.sysusers").read_text()))
    names = values(unit, "User")
    for groups in values(unit, "SupplementaryGroups"):
        names += groups.split()
    assert names or values(unit, "DynamicUser") == ["yes"]
    assert set(names) <= made


def test_a_unit_writes_to_nothing_but_directories_that_systemd_makes_for_it(unit: Path) -> None:
    assert values(unit, "ProtectSystem") == ["strict"]
    assert values(unit, "ReadWritePaths") == []


def test_devices_are_allowed_by_class_because_their_numbers_change(unit: Path) -> None:
    allowed = values(unit, "DeviceAllow")
    assert all(re.fullmatch(r"char-(gpiochip|i2c|spidev|(bcm2835|rpi)-gpiomem) rw", each) for each in allowed)
    assert values(unit, "DevicePolicy") == ["closed"] or values(unit, "PrivateDevices") == ["yes"]


def test_what_a_unit_may_open_the_rules_give_to_a_group_that_it_is_in(unit: Path) -> None:
    lines = (ROOT / "systemd/60-tocsin.rules").read_text()
    rules = re.findall(r'(?m)^SUBSYSTEM=="(\S+?)",.* GROUP="(\w+)", MODE="0660"$', lines)
    groups = " ".join(values(unit, "SupplementaryGroups")).split()
    kernel = {"gpiochip": "gpio", "i2c": "i2c-dev"}  # the subsystem, where the class is called otherwise
    for each in values(unit, "DeviceAllow"):
        subsystem = re.sub(r"char-(\S+) rw", lambda found: kernel.get(found[1], found[1]), each)
        assert any(fnmatch(subsystem, pattern) and group in groups for pattern, group in rules), each


def test_the_gateway_is_watched_over_and_told_of_when_it_keeps_failing() -> None:
    assert values(GATEWAY, "Type") == ["notify"]
    assert values(GATEWAY, "WatchdogSec") == ["30"]
    assert values(GATEWAY, "Restart") == ["always"]
    assert values(GATEWAY, "OnFailure") == ["tocsin-failed@%n.service"]


def test_what_keeps_failing_is_started_again_once_its_limit_of_starts_is_over() -> None:
    failed = ROOT / "systemd/tocsin-failed@.service"
    assert values(failed, "OnSuccess") == ["%i"]
    waits = [int(each) for each in re.findall(r"(?m)^ExecStart=/bin/sleep (\d+)$", failed.read_text())]
    watched = [unit for unit in UNITS if any("tocsin-failed@" in each for each in values(unit, "OnFailure"))]
    assert watched
    for unit in watched:
        assert sum(waits) > int(values(unit, "StartLimitIntervalSec")[0])


def test_the_guardian_is_started_where_the_gateway_looks_for_it_and_by_the_user_it_hears() -> None:
    (started,) = values(GUARDIAN, "ExecStart")
    assert started == "/opt/tocsin/bin/python -m gateway.outputs.guardian --in /run/tocsin-guardian"
    assert find_spec("gateway.outputs.guardian") is not None
    assert values(GUARDIAN, "RuntimeDirectory") == ["tocsin-guardian"]
    assert f"{SYSTEM}=/run/tocsin-guardian" in values(GATEWAY, "Environment")
    assert values(GUARDIAN, "User") == values(GATEWAY, "User")
    assert values(GUARDIAN, "RuntimeDirectoryMode") == ["0700"]


def test_the_gateways_end_is_not_the_guardians_and_the_guardian_is_never_given_up() -> None:
    for binding in ("PartOf", "BindsTo", "StopPropagatedFrom", "Requires"):
        assert values(GUARDIAN, binding) == values(GATEWAY, binding) == []
    assert values(GATEWAY, "Wants") == ["tocsin-guardian.service"]
    assert values(GUARDIAN, "Restart") == ["always"]
    assert values(GUARDIAN, "StartLimitIntervalSec") == ["0"]
