"""The walk test as a technician does it, on a simulated gateway and a real hub: what it certifies, what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from field_site import SENSORS, SIREN, running, scenario, tool

from firmware_tools.authority import write_ticket
from firmware_tools.demo_region import Region
from firmware_tools.demo_site import REGION
from gateway.chain.canonical import encode
from gateway.chain.errors import BadSignature, WrongShape
from gateway.chain.keys import COMMISSIONING, SigningKey
from gateway.chain.workmanship import PASSED, read_commissioning, sign_commissioning

SMOKE_ONLY = SENSORS[
    SENSORS.index('[[sensors]]\nname = "smoke"') : SENSORS.index('[[sensors]]\nname = "beam"')
]
SMOKE = (
    SMOKE_ONLY
    + '[[contracts.templates]]\ntemplate = "smoke-contact"\nnames = { series = "hall.smoke", clear_for = "1s" }\n'
)
HEAD = """
[gateway]
name = "Flat 3, Käthe-Kollwitz-Straße"
region = "{region}"
data = "data"
storage = "ssd"
heartbeat_s = 1

[enrolment]
url = "{api}"
ticket = "ticket"

[seal]
seconds = 2
min_interval_ms = 100

[[hubs]]
name = "{hub}"
url = "{broker}"
"""
SIMULATED = '[simulation]\nscenario = "quiet"\nspeed = 5\n'


class Place:
    """A region with one hub, and folders of gateways that may enrol there."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._region = Region(directory, [], stack)
        self._desk = self._region.found()
        self._region.start_hubs(self._region.hubs)
        self.hub = self._region.hubs[0]

    def folder(self, path: Path, sensors: str) -> Path:
        path.mkdir(parents=True, exist_ok=True)
        (path / "trust").write_bytes(self._desk.genesis.encode())
        write_ticket(self._desk, REGION, 1, path / "ticket")
        head = HEAD.format(region=REGION, api=self.hub.api, hub=self.hub.name, broker=self.hub.broker)
        (path / "gateway.toml").write_text(head + SIMULATED + sensors + SIREN)
        result = tool("technician", "Prüfer 12", "-o", path / "fitter.key")
        assert result.exit_code == 0, result.output
        return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(tmp_path_factory.mktemp("region"), stack)


def walk(folder: Path, *more: object, simulate: object = "quiet", out: str = "flat.pdf") -> Any:
    return tool(
        "walktest", "--config", folder / "gateway.toml", "--simulate", simulate, "--technician", folder / "fitter.key",
        "-o", folder / out, "--timeout", 15, *more,
    )  # fmt: skip


def key_of(folder: Path) -> SigningKey:
    return SigningKey(bytes.fromhex(json.loads((folder / "fitter.key").read_text())["seed"]))


def test_every_detector_is_tried_and_a_certificate_signed(place: Place, tmp_path: Path) -> None:
    folder = place.folder(tmp_path, SENSORS)
    result = walk(folder)
    assert result.exit_code == 0, result.output + result.stderr
    record = read_commissioning((folder / "flat.commissioning").read_bytes())
    assert record.complete
    assert record.site == "Flat 3, Käthe-Kollwitz-Straße"
    assert [(each.sensor, each.outcome) for each in record.trials] == [
        ("mq gas", PASSED),
        ("contact smoke", PASSED),
    ]
    assert all(each.here > 0 and each.hub > 0 for each in record.trials)
    at_hub = {each["hash"] for each in place.hub.ask(f"/v1/alarms?gateway={record.gateway.hex()}")}
    assert {each.alarm.hex() for each in record.trials} <= at_hub
    assert [(each.output, each.acted) for each in record.outputs] == [("siren", 1)]
    page = (folder / "flat.pdf").read_bytes()
    assert page.startswith(b"%PDF-")
    assert b"/EmbeddedFile" in page
    genesis = folder / "trust"
    known = key_of(folder).public.hex()
    rehearsed = tool("verify", folder / "flat.commissioning", "--trust", genesis, "--technician", known)
    assert rehearsed.exit_code == 1
    assert "a rehearsal in simulation" in rehearsed.stderr
    real = sign_commissioning(replace(record, simulated=0), key_of(folder))
    (folder / "real.commissioning").write_bytes(real)
    verified = tool("verify", folder / "real.commissioning", "--trust", genesis, "--technician", known)
    assert verified.exit_code == 0, verified.output
    assert "every detector passed" in verified.output
    other = tool("verify", folder / "flat.commissioning", "--trust", genesis, "--technician", "00" * 32)
    assert other.exit_code == 1
    assert tool("verify", folder / "flat.commissioning", "--trust", genesis).exit_code == 1


def test_a_silent_detector_is_named_nothing_is_certified_and_the_test_resumes(
    place: Place, tmp_path: Path
) -> None:
    folder = place.folder(tmp_path, SMOKE)
    # A contact wired normally closed that never opens: its detector's relay is welded.
    welded = scenario(tmp_path, '[[faults]]\nkind = "stuck"\nsensor = "smoke"\nat_s = 0\n')
    result = walk(folder, "--timeout", 3, simulate=welded)
    assert result.exit_code == 1
    assert "missing: smoke failed: silent: no alarm here" in result.stderr
    assert "missing: output siren did not act" in result.stderr
    assert not list(folder.glob("*.pdf"))
    assert not list(folder.glob("*.commissioning"))
    again = walk(folder)
    assert again.exit_code == 0, again.stderr
    assert "goes on where it was left" in again.output
    third = walk(folder, "--json")
    assert json.loads(third.stdout)["outcomes"] == {"smoke": PASSED}
    assert "waiting for its alarm" not in third.stderr  # what has passed is not repeated


def test_what_is_incomplete_or_in_fault_is_certified_only_on_request_and_says_so(
    place: Place, tmp_path: Path
) -> None:
    folder = place.folder(tmp_path, SENSORS)
    broken = scenario(tmp_path, '[[faults]]\nkind = "nack"\nsensor = "beam"\nat_s = 0\n')
    result = walk(folder, "--only", "smoke", "--incomplete", simulate=broken)
    assert result.exit_code == 1
    assert "missing: gas was not tried" in result.stderr
    assert "missing: slab.strain is in fault: nack" in result.stderr
    record = read_commissioning((folder / "flat.commissioning").read_bytes())
    assert not record.complete
    known = key_of(folder).public.hex()
    verified = tool(
        "verify", folder / "flat.commissioning", "--trust", folder / "trust", "--technician", known
    )
    assert verified.exit_code == 1
    assert "incomplete" in verified.stderr


def test_beside_a_running_gateway_the_technician_is_asked_and_may_leave_one_out(
    place: Place, tmp_path: Path
) -> None:
    folder = place.folder(tmp_path, SENSORS)
    fire = scenario(
        tmp_path,
        "[[events]]\nat_s = 30\nset = { smoulder_g_per_min = 200 }\n",
        "[[events]]\nat_s = 34\nset = { smoulder_g_per_min = 0, air_changes_per_h = 7200 }\n",
    )
    whole = folder / "gateway.toml"
    real = folder / "real.toml"  # the same gateway as it is on a Pi: nothing in it is simulated
    real.write_text(whole.read_text().replace(SIMULATED, ""))
    whole.write_text(whole.read_text().replace('"quiet"', f'"{fire}"'))
    with running(whole):
        result = tool(
            "walktest", "--config", real, "--technician", folder / "fitter.key", "-o", folder / "a.pdf",
            "--timeout", 15,
            text="s\n\n\n",
        )  # fmt: skip
    assert "gas: put the hood over it and let test gas flow" in result.stderr
    assert "smoke: press its test button, or hold test smoke to it" in result.stderr
    assert "smoke: passed" in result.stdout, result.output + result.stderr
    assert "missing: gas was not tried: gas was left out" in result.stderr
    assert result.exit_code == 1
    assert not (folder / "a.pdf").exists()


def test_a_hub_that_is_not_reached_leaves_the_detector_untried(place: Place, tmp_path: Path) -> None:
    folder = place.folder(tmp_path, SMOKE)
    result = walk(folder, "--hub", "http://127.0.0.1:9")
    assert result.exit_code == 1
    assert "smoke was not tried: the hub does not answer" in result.stderr


def test_without_a_running_gateway_the_remedy_is_named(place: Place, tmp_path: Path) -> None:
    folder = place.folder(tmp_path, SMOKE)
    config = folder / "gateway.toml"
    config.write_text(config.read_text().replace(SIMULATED, ""))
    result = tool(
        "walktest", "--config", config, "--technician", folder / "fitter.key", "-o", folder / "a.pdf"
    )
    assert result.exit_code == 1
    assert "is it running?" in result.stderr


def test_a_record_cannot_call_itself_complete_nor_be_altered(place: Place, tmp_path: Path) -> None:
    folder = place.folder(tmp_path, SMOKE)
    assert (
        walk(
            folder, "--only", "smoke", "--timeout", 3, "--incomplete", "--hub", "http://127.0.0.1:9"
        ).exit_code
        == 1
    )
    key, data = key_of(folder), (folder / "flat.commissioning").read_bytes()
    record = read_commissioning(data)
    with pytest.raises(WrongShape):
        sign_commissioning(replace(record, complete=1), key)
    item = record.to_item()
    item[-3] = 1  # complete
    forged = key.signed(COMMISSIONING, encode(item)).encode()
    with pytest.raises(WrongShape):
        read_commissioning(forged)
    with pytest.raises(BadSignature):
        read_commissioning(data[:-1] + bytes((data[-1] ^ 1,)))
