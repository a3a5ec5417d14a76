"""What `check` finds before anything is opened: clashes on buses and pins, rates a bus cannot carry, idle series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from testchain import REGION, make_genesis

from gateway.cli import main
from gateway.sensors.registry import describe_sensor

HEAD = f"""
[gateway]
name = "flat 3"
region = "{REGION}"
data = "data"
trust = "trust"
"""


def sensor(name: str, driver: str, options: str = "", more: str = "") -> str:
    return f'[[sensors]]\nname = "{name}"\ndriver = "{driver}"\noptions = {{ {options} }}\n{more}\n'


def output(name: str, pin: int) -> str:
    return f'[[outputs]]\nname = "{name}"\nkind = "relay"\npin = {pin}\n'


def check(folder: Path, *tables: str) -> Any:
    (folder / "trust").write_bytes(make_genesis().encode())
    path = folder / "gateway.toml"
    path.write_text(HEAD + "".join(tables))
    return CliRunner().invoke(main, ["check", "--config", str(path)])


ADC = sensor("gas", "mq", 'input = "a0", model = "mq4"')
BRIDGE = sensor("beam", "strain", 'bridge = "quarter", gauge_factor = 2')
SMOKE = sensor("smoke", "contact", "pin = 17")

CLASHES = {
    "the supply of a bus on a sensor's pin": (
        (ADC, SMOKE, '[[buses]]\nname = "i2c-1"\npower_pin = 17\n'),
        "GPIO17 is claimed by the supply of bus i2c-1 and by sensor smoke",
    ),
    "the lines of another bus on a sensor's pin": (
        (
            sensor("gas", "ads1115", 'input = "a0", bus = "i2c-7"'),
            SMOKE,
            '[[buses]]\nname = "i2c-7"\nscl_pin = 17\nsda_pin = 27\n',
        ),
        "GPIO17 is claimed by bus i2c-7 and by sensor smoke",
    ),
    "two sensors on one channel": (
        (ADC, sensor("volts", "ads1115", 'input = "a0"')),
        "i2c-1 address 0x48: gas and volts both claim ADS1115 a0",
    ),
    "two bridges on one bus": (
        (BRIDGE, sensor("slab", "nau7802")),
        "i2c-1 address 0x2a: beam and slab both claim the whole NAU7802",
    ),
    "two contacts on one pin": (
        (SMOKE, sensor("door", "contact", "pin = 17")),
        "GPIO17 is claimed by sensor smoke and by sensor door",
    ),
    "a data line on an output": (
        (sensor("air", "dht22", "pin = 4", "period_ms = 3000"), output("siren", 4)),
        "GPIO4 is claimed by sensor air and by output siren",
    ),
    "two sensors on one channel by SPI": (
        (sensor("v0", "mcp3008", "channel = 3"), sensor("v1", "mcp3008", "channel = 3")),
        "spi-0 address 0x00: v0 and v1 both claim MCP3008 channel 3",
    ),
    "a contact on SPI's pins": (
        (sensor("v0", "mcp3008", "channel = 3"), sensor("smoke", "contact", "pin = 9")),
        "GPIO9 is claimed by bus spi-0 and by sensor smoke",
    ),
    "a heater on a contact's pin": (
        (sensor("co", "mq", 'input = "a0", model = "mq7", heater_pin = 17'), SMOKE),
        "GPIO17 is claimed by sensor co and by sensor smoke",
    ),
    "two chips at one address": (
        (ADC, sensor("supply", "ina219", "address = 0x48")),
        "i2c-1 address 0x48: gas and supply are different chips (ADS1115, INA219)",
    ),
    "a button on a contact's pin": (
        (SMOKE, '[[buttons]]\nname = "quiet"\npin = 17\ndoes = "silence"\n'),
        "GPIO17 is claimed by sensor smoke and by button quiet",
    ),
    "a read-back on a heater's pin": (
        (
            sensor("co", "mq", 'input = "a0", model = "mq7", heater_pin = 27'),
            output("fan", 22) + "read_back = { pin = 27 }\n",
        ),
        "GPIO27 is claimed by sensor co and by the read-back of output fan",
    ),
    "a bus's supply on an output": (
        (ADC, '[[buses]]\nname = "i2c-1"\npower_pin = 5\n', output("siren", 5)),
        "GPIO5 is claimed by the supply of bus i2c-1 and by output siren",
    ),
    "an output on the bus's own pin": ((ADC, output("siren", 3)), "GPIO3 is claimed by bus i2c-1 and by output siren"),
}  # fmt: skip


@pytest.mark.parametrize("case", CLASHES)
def test_check_names_both_sides_of_a_clash(tmp_path: Path, case: str) -> None:
    tables, said = CLASHES[case]
    result = check(tmp_path, *tables)
    assert result.exit_code == 1, result.output
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_check_names_every_clash_at_once(tmp_path: Path) -> None:
    result = check(tmp_path, ADC, sensor("volts", "ads1115", 'input = "a0"'), SMOKE, output("siren", 17))
    assert "0x48" in result.stderr
    assert "GPIO17" in result.stderr


def test_what_only_looks_like_a_clash_passes(tmp_path: Path) -> None:
    behind_a_multiplexer = sensor("slab", "nau7802", 'bus = "i2c-11"')
    others = sensor("v1", "ads1115", 'input = "a1"') + sensor("v0", "ads1115", 'input = "a0", address = 0x49')
    result = check(tmp_path, ADC, BRIDGE, behind_a_multiplexer, others, SMOKE, output("siren", 23))
    assert result.exit_code == 0, result.output


def test_a_rate_that_a_bus_cannot_carry_is_refused_and_a_crowded_one_warned_of(tmp_path: Path) -> None:
    slow = [
        sensor(f"v{i}", "ads1115", f'input = "a{i}", rate = 8', f"period_ms = {period}")
        for i, period in enumerate((300, 300, 300))
    ]
    assert check(tmp_path, *slow[:2]).exit_code == 0
    assert "i2c-1 is busy 84%" in check(tmp_path, *slow[:2]).stderr
    result = check(tmp_path, *slow)
    assert result.exit_code == 1
    assert "i2c-1 cannot carry v0, v1, v2: their samples take 126%" in result.stderr


def test_check_names_a_contracts_unknown_series_and_the_nearest(tmp_path: Path) -> None:
    smoke = sensor("smoke", "contact", "pin = 17", 'series = [{ name = "hall.smoke", quantity = "active" }]')
    asks = '[[contracts.templates]]\ntemplate = "smoke-contact"\nnames = { series = "hall.smok" }\n'
    result = check(tmp_path, smoke, asks)
    assert result.exit_code == 1
    assert "no series is called 'hall.smok'; did you mean 'hall.smoke'?" in result.stderr


def test_check_warns_of_series_that_nothing_is_decided_on(tmp_path: Path) -> None:
    smoke = sensor("smoke", "contact", "pin = 17", 'series = [{ name = "hall.smoke", quantity = "active" }]')
    asks = '[[contracts.templates]]\ntemplate = "smoke-contact"\nnames = { series = "hall.smoke" }\n'
    assert "no contract reads" not in check(tmp_path, smoke, asks).stderr
    assert "no contract reads hall.smoke" in check(tmp_path, smoke).stderr


def test_check_warns_of_a_calibration_that_nobody_signed(tmp_path: Path) -> None:
    calibration = 'calibration = { kind = "mq", gas = "ch4", r0_ohm = 10000, source = "guess" }'
    gas = sensor(
        "gas",
        "mq",
        'input = "a0", model = "mq4"',
        f'series = [{{ name = "kitchen.ch4", {calibration} }}, {{ name = "kitchen.raw", quantity = "raw" }}]',
    )
    result = check(tmp_path, gas)
    assert result.exit_code == 0, result.output
    assert "kitchen.ch4: nobody signed its calibration" in result.stderr
    assert "kitchen.raw" not in result.stderr  # what the calibrated one is made of is kept on purpose


LEAST: dict[str, dict[str, object]] = {
    "ads1115": {"input": "a0"},
    "bme280": {},
    "contact": {"pin": 17},
    "dht22": {"pin": 4},
    "eol_loop": {"input": "a0"},
    "ina219": {},
    "mcp3008": {"channel": 0},
    "mq": {"input": "a0", "model": "mq4"},
    "nau7802": {},
    "power": {"mains_pin": 5},
    "scd41": {},
    "sgp40": {},
    "sht3x": {},
    "strain": {"bridge": "quarter", "gauge_factor": 2},
}


@pytest.mark.parametrize("driver", sorted(LEAST))
def test_every_driver_on_a_bus_or_pin_claims_it(driver: str) -> None:
    info = describe_sensor(driver, LEAST[driver])
    if info.bus.startswith(("i2c-", "spi")):
        assert info.claim.address is not None
        assert info.claim.chip
        assert info.claim.busy_us > 0
    else:
        assert info.claim.pins
