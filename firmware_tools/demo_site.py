"""What the demo builds: a site with its hubs and some gateways, as files in one directory.

Owns the configurations and what each gateway is expected to show. It starts nothing; `demo` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from firmware_tools.authority import Desk, write_ticket
from firmware_tools.errors import ToolError
from gateway.simulation.scenario import scenario_names

REGION = "demo"
HUB = "hub-1"

# Which contract a scenario is to bring to alarm, and the scenario second at which its accident begins.
EXPECTED = {
    "gas-leak": ("gas-ch4", 5),
    "overload": ("strain-amber", 5),
    "quiet": None,
    "sensor-failure": ("sensor-fault", 5),
    "smoulder": ("smoke-contact", 5),
}
_RECORDED_ONSET_S = 13  # when the load drives onto the bridge in the packaged recording


@dataclass(frozen=True, slots=True)
class Post:
    """One gateway of the demo: its folder's name, what people call it, and what it is expected to show.

    `expected` is the contract that must come to alarm and the second, from the gateway's first reading, at which
    its cause begins; None where nothing may come to alarm.
    """

    folder: str
    name: str
    sensors: str
    scenario: str
    expected: tuple[str, int] | None


_HEAD = """\
[gateway]
name = "{name}"
region = "{region}"
data = "data"
storage = "ssd"
heartbeat_s = 5

[enrolment]
url = "{api}"
ticket = "ticket"

[seal]
seconds = 2
min_interval_ms = 250
"""

_HUB = """
[[hubs]]
name = "{name}"
url = "{url}"
"""

_FLAT = """
[[sensors]]
name = "gas"
driver = "mq"
period_ms = 200
options = { input = "a0", model = "mq4" }
series = [{ name = "kitchen.ch4", calibration = { kind = "mq", gas = "ch4", r0_ohm = 10000, source = "demo" } }]

[[sensors]]
name = "smoke"
driver = "contact"
period_ms = 200
options = { pin = 17, contact = "nc" }
series = [{ name = "hall.smoke", quantity = "active" }]

[[sensors]]
name = "beam"
driver = "strain"
period_ms = 200
options = { bridge = "quarter", gauge_factor = 2.085 }
series = [{ name = "slab.strain", quantity = "strain" }]

[[sensors]]
name = "climate"
driver = "dht22"
period_ms = 5000
options = { pin = 4 }
series = [
    { name = "kitchen.temperature", quantity = "temperature" },
    { name = "kitchen.humidity", quantity = "humidity" },
]

[[contracts.templates]]
template = "gas-ch4"
names = { series = "kitchen.ch4", pre_hold = "2s", hold = "2s" }

[[contracts.templates]]
template = "smoke-contact"
names = { series = "hall.smoke" }

[[contracts.templates]]
template = "strain-amber"
names = { series = "slab.strain", span = "5s", hold = "3s" }

[[contracts.templates]]
template = "sensor-fault"
names = { series = "kitchen.ch4", unit = "ppm", scale = 0, max_age = "2s", hold = "3s" }

[[outputs]]
name = "siren"
kind = "siren"
pin = 23

[[outputs]]
name = "valve"
kind = "valve"
pin = 24

[[outputs]]
name = "buzzer"
kind = "siren"
pin = 25

[simulation]
scenario = "{scenario}"
seed = {seed}
"""

_BRIDGE = """
[[sensors]]
name = "span"
driver = "recording"
period_ms = 100
series = [{ name = "bridge.strain", quantity = "strain" }]

[sensors.options]
path = "package:bridge_load_test.csv.zip"
rows_per_second = 100
columns = { strain = { column = "DMS_CN (um/m)", unit = "um/m", scale = -3 } }

# The limit is set for the example: the recorded load moved the bridge by 6 µm/m only, far below any real limit.
[[contracts.templates]]
template = "strain-amber"
names = { series = "bridge.strain", limit = 64, span = "5s", hold = "3s" }
"""


def posts(scenario: str, count: int) -> list[Post]:
    """Return the gateways of a demo: the scenario's, the recorded bridge, then quiet ones."""
    if scenario not in scenario_names():
        raise ToolError(f"no scenario is called {scenario!r}; there are {', '.join(scenario_names())}")
    every = [
        Post("flat", "Flat 3", _FLAT, scenario, EXPECTED.get(scenario)),
        Post("bridge", "Road bridge", _BRIDGE, "", ("strain-amber", _RECORDED_ONSET_S)),
    ]
    every += [Post(f"stairs-{i}", f"Staircase {i}", _FLAT, "quiet", None) for i in range(1, count - 1)]
    return every[:count]


def prepare(
    post: Post, directory: Path, desk: Desk, api: str, hubs: Sequence[tuple[str, str]], seed: int
) -> Path:
    """Write a gateway's folder: configuration, trust and ticket. Return the configuration's path.

    `hubs` are (name, broker's URL) of every hub it is to speak to.
    """
    folder = directory / post.folder
    folder.mkdir(parents=True)
    (folder / "trust").write_bytes(desk.genesis.encode())
    write_ticket(desk, REGION, 1, folder / "ticket")
    head = _HEAD.format(name=post.name, region=REGION, api=api)
    head += "".join(_HUB.format(name=name, url=url) for name, url in hubs)
    sensors = post.sensors.replace("{scenario}", post.scenario).replace("{seed}", str(seed))
    path = folder / "gateway.toml"
    path.write_text(head + sensors, encoding="utf-8")
    return path
