"""The drivers on the Linux kernel's own I2C: /dev/i2c-N, i2c-dev and smbus2, on a stock Debian kernel in QEMU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from kernelkit import NoKernelError, find_kernel, run_in_guest

GUEST = Path(__file__).with_name("kernel_guest.py")


@pytest.fixture(scope="module")
def said(
    require: Callable[[str], Path],
    lacking: Callable[[str, str], NoReturn],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """What every trial in the guest came to, by its name."""
    qemu, busybox = require("qemu"), require("busybox")
    try:
        find_kernel()
    except NoKernelError as error:
        lacking("qemu", f"there is {error}")
    lines = run_in_guest(qemu, busybox, GUEST, (0x48, 0x2A, 0x40), tmp_path_factory.mktemp("guest"))
    return {line["trial"]: line["result"] for line in lines}


def values(result: Any) -> Any:
    assert "values" in result, result
    return result["values"]


def test_each_input_of_the_adc_is_read_through_the_kernel(said: dict[str, Any]) -> None:
    volts = [1.0, 0.5, -0.25, 0.125]
    for pin, expected in enumerate(volts):
        assert values(said[f"try_adc a{pin}"]) == {"raw": expected * 8000, "voltage": expected * 1e6}
    assert values(said["try_adc finer"]) == {"raw": 16_000, "voltage": 125_000}


def test_a_new_voltage_is_a_new_value(said: dict[str, Any]) -> None:
    first, second = said["try_adc twice"]
    assert (values(first)["voltage"], values(second)["voltage"]) == (500_000, 1_500_000)
    assert said["try_adc conversions"] >= 6


@pytest.mark.parametrize(
    ("trial", "kind"),
    [("saturated", "out-of-range"), ("unending", "timeout"), ("restarted", "power"), ("absent", "nack")],
)
def test_what_ails_the_adc_is_named(said: dict[str, Any], trial: str, kind: str) -> None:
    assert said[f"try_adc {trial}"].get("fault") == kind, said[f"try_adc {trial}"]


def test_the_bridge_s_start_up_runs_on_the_kernel(said: dict[str, Any]) -> None:
    assert values(said["try_bridge started"]) == {"raw": -123_456}
    # 3.0 V, gain 128; 80 a second, calibrated; powered, converting, own supply
    assert said["try_bridge settings"] == [0x2F, 0x30, 0x96]
    assert said["try_bridge calibrations"] == 1


def test_a_gauge_gives_the_strain_that_its_code_means(said: dict[str, Any]) -> None:
    found = values(said["try_bridge strain"])
    assert found["raw"] == 1_072_669
    assert abs(found["strain"] - 1_000_000) <= 2


def test_what_ails_the_bridge_is_named_and_ends(said: dict[str, Any]) -> None:
    assert said["try_bridge open bridge"].get("fault") == "out-of-range"
    assert said["try_bridge uncalibrated"].get("fault") == "not-ready"
    assert values(said["try_bridge calibrated again"]) == {"raw": 5}
    assert [each.get("fault") for each in said["try_bridge brown-out"]] == ["power", "not-ready"]


def test_a_supply_is_read_by_the_kernel_s_words(said: dict[str, Any]) -> None:
    assert values(said["try_supply drawn"]) == {"voltage": 12_600, "current": 400_000}
    assert values(said["try_supply charged"]) == {"voltage": 5_000, "current": -1_000_000}
    assert values(said["try_supply again"]) == {"voltage": 5_000, "current": -1_000_000}


@pytest.mark.parametrize(
    ("trial", "kind"), [("overflow", "out-of-range"), ("forgetful", "power"), ("absent", "nack")]
)
def test_what_ails_the_supply_s_chip_is_named(said: dict[str, Any], trial: str, kind: str) -> None:
    assert said[f"try_supply {trial}"].get("fault") == kind, said[f"try_supply {trial}"]
