"""The gateways that benches run, as files: gas sensors that share converters, a DHT22, a siren, a valve.

Owns the configurations. It starts nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from firmware_tools.authority import Desk, write_ticket
from firmware_tools.bench_process import SIREN_PIN
from firmware_tools.demo_site import REGION

__all__ = ["DHT_BUSY_MS", "PERIOD_MS", "RATE", "write_gateway"]

PERIOD_MS: Final = 100
RATE: Final = 250  # conversions a second: ten inputs on one bus have to fit a period
_A_BUS: Final = 16  # inputs: four converters of four
DHT_BUSY_MS: Final = 250  # what the DHT library's listening takes of a core at each read

_HEAD: Final = """\
[gateway]
name = "Bench"
region = "{region}"
data = "{data}"
storage = "{storage}"
{more}
[seal]
readings = {seal}

[simulation]
scenario = "quiet"
speed = {speed}

[[outputs]]
name = "siren"
kind = "siren"
pin = {siren}

[[outputs]]
name = "valve"
kind = "valve"
pin = 24

[[sensors]]
name = "climate"
driver = "dht22"
period_ms = {dht_ms}
options = {{ pin = 4 }}
series = [
    {{ name = "room.temperature", quantity = "temperature" }},
    {{ name = "room.humidity", quantity = "humidity" }},
]
"""
_SYNC: Final = """
[enrolment]
url = "{api}"
ticket = "ticket"
"""
_HUB: Final = """
[[hubs]]
name = "{name}"
url = "{broker}"
"""
_GAS: Final = """
[[sensors]]
name = "gas-{index}"
driver = "mq"
period_ms = {period}
options = {{ bus = "{bus}", input = "a{input}", address = {address}, model = "mq4", rate = {rate} }}

[[sensors.series]]
name = "room.ch4-{index}"
calibration = {{ kind = "mq", gas = "ch4", r0_ohm = 10000, source = "bench" }}
{policy}
"""
_TEMPLATE: Final = """
[[contracts.templates]]
template = "gas-ch4"
names = {{ id = "gas-ch4-{index}", series = "room.ch4-{index}" }}
"""
# Neither hold nor latch: what is measured is the chain from the register to the pin, again and again.
_CONTRACT: Final = """\
id = "gas-ch4-0"
version = 1
title = "Methane at 20 % of the lower explosive limit, at once"
severity = "critical"
kind = "rapid"

[inputs.gas]
series = "room.ch4-0"
unit = "ppm"
scale = 0
max_age = "10s"

[alarm]
when = "gas >= 8800"

[actions]
alarm = ["siren"]
"""


def write_gateway(
    folder: Path,
    desk: Desk,
    *,
    gas: int,
    dht_ms: int,
    period_ms: int = PERIOD_MS,
    policy: str = "",
    seal: int = 600,
    data: str = "data",
    storage: str = "ssd",
    more: str = "",
    speed: float = 1,
    api: str = "",
    hubs: Sequence[tuple[str, str]] = (),
) -> Path:
    """Write a gateway's folder and return its configuration's path.

    Args:
        gas: how many MQ-4 there are, four to a converter. With one, its contract follows it at once, both ways;
            with more, each has the packaged contract.
        dht_ms: the DHT22's period.
        period_ms: the gas sensors'.
        policy: keys of their series, as text: report by exception.
        seal: readings a block.
        data: the data directory.
        storage, more: the key of that name, and other lines of its table.
        speed: of the simulation.
        api: URL at which it enrols.
        hubs: names of its hubs and the URLs of their brokers; none for a gateway by itself.
    """
    folder.mkdir(parents=True)
    (folder / "trust").write_bytes(desk.genesis.encode())
    text = "" if gas > 1 else 'contracts.files = ["contract.toml"]\n\n'
    where = {"data": data, "storage": storage, "more": more, "speed": speed}
    text += _HEAD.format(region=REGION, seal=seal, siren=SIREN_PIN, dht_ms=dht_ms, **where)
    for index in range(gas):
        text += _GAS.format(
            index=index,
            period=period_ms,
            policy=policy,
            bus=f"i2c-{1 + index // _A_BUS}",
            input=index % 4,
            address=0x48 + index % _A_BUS // 4,
            rate=RATE,
        )
        text += _TEMPLATE.format(index=index) if gas > 1 else ""
    if hubs:
        write_ticket(desk, REGION, 1, folder / "ticket")
        text += _SYNC.format(api=api)
    for name, broker in hubs:
        text += _HUB.format(name=name, broker=broker)
    (folder / "contract.toml").write_text(_CONTRACT, encoding="utf-8")
    path = folder / "gateway.toml"
    path.write_text(text, encoding="utf-8")
    return path
