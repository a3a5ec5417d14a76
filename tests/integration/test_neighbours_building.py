"""Three gateways of one building, as processes, with neither hub nor broker: they sound together."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from building import PATIENCE, YEAR_MS, Building, Flat, Tap, acquainted, until
from click.testing import CliRunner

from firmware_tools.authority import found
from firmware_tools.cli import main as tools
from gateway.chain.keys import gateway_id
from gateway.chain.neighbour import Raised, read_message, sign_message
from gateway.contracts.library import template

WITHIN = 1.0  # what the product promises
REFUSED = {"Replayed", "BadSignature", "OtherBuilding", "Unproven", "NotCanonical", "TooLarge"}
SLOW = 4.0  # added where a busy machine is asked over a pipe


@pytest.mark.parametrize(
    "ways",
    [{"multicast": False}, {"unicast": False}, {}, {"host": "[::1]", "multicast": False}],
    ids=["unicast alone", "multicast alone", "both", "IPv6"],
)
def test_an_alarm_in_one_flat_sounds_in_all_and_ends_in_all(tmp_path: Path, ways: dict[str, Any]) -> None:
    with Building(tmp_path, **ways) as flats:
        acquainted(flats)
        assert not any(each.sounds for each in flats)
        flats[0].ask("leak")
        until("sirens in all flats", [lambda f=f: f.sounds for f in flats], WITHIN + SLOW)
        assert [each.condition("building-alarm") for each in flats] == ["normal", "alarm", "alarm"]
        flats[0].ask("calm")
        until("the alarm's end", [lambda: flats[0].condition("gas-ch4") == "latched"])
        assert all(each.sounds for each in flats)
        flats[0].ask("reset")
        until("quiet in the others", [lambda f=f: not f.sounds for f in flats], WITHIN + SLOW)


def test_a_gateway_that_restarts_in_the_midst_of_an_alarm_sounds_within_a_second(tmp_path: Path) -> None:
    with Building(tmp_path) as flats:
        acquainted(flats)
        flats[0].ask("leak")
        until("sirens in all flats", [lambda f=f: f.sounds for f in flats], WITHIN + SLOW)
        flats[1].kill()
        flats[1].end_guardian()
        for each in ("gateway.db", "gateway.db-wal", "gateway.db-shm"):  # it remembers nothing of the alarm
            (flats[1].directory / "data" / each).unlink(missing_ok=True)
        assert not flats[1].sounds
        flats[1].start()
        until("its siren", [lambda: flats[1].sounds], WITHIN + SLOW)
        assert flats[1].condition("building-alarm") == "alarm"
        flats[0].kill()  # the flat where it is, in the midst of it: nobody goes quiet
        until("silence", [lambda: flats[1].standing("flat-1") == "silent"], 30)
        assert flats[1].sounds
        assert flats[2].sounds


def test_a_neighbour_that_dies_is_a_fault_here_and_no_fault_once_it_is_back(tmp_path: Path) -> None:
    with Building(tmp_path) as flats:
        acquainted(flats)
        flats[2].kill()
        until("silence", [lambda f=f: f.standing("flat-3") == "silent" for f in flats[:2]], 30)
        until("faults", [lambda f=f: f.condition("neighbour-silent") == "alarm" for f in flats[:2]])
        status = flats[0].ask("status")
        assert status["contracts"]["building-alarm"]["faults"] == ["n2:silent"]
        assert status["faults"] == 2  # both its series; flat 2 has the same, which is no echo of these
        assert flats[1].ask("status")["neighbours"]["flat-1"]["faults"] == 0
        assert not flats[0].sounds
        flats[2].start()
        until("its return", [lambda f=f: f.condition("neighbour-silent") == "normal" for f in flats[:2]])
        assert flats[0].ask("readings flat-2.alarm") == [0]  # once, however often it was told


def test_clocks_a_year_off_make_no_difference(tmp_path: Path) -> None:
    building = Building(tmp_path)
    try:
        flats = [
            each.start(clock_ms=shift)
            for each, shift in zip(building.flats, (0, -YEAR_MS, YEAR_MS), strict=True)
        ]
        acquainted(flats)
        flats[1].ask("leak")
        until("sirens in all flats", [lambda f=f: f.sounds for f in flats], WITHIN + SLOW)
    finally:
        building.__exit__()


def test_forged_replayed_and_delayed_messages_drive_no_siren_and_are_recorded(tmp_path: Path) -> None:
    building = Building(tmp_path, multicast=False, tapped=True)
    with Tap(building.tap, building.flats[1].port) as tap, building as flats:
        acquainted(flats)
        flats[0].ask("leak")
        until("the alarm's end", [lambda: flats[1].sounds], WITHIN + SLOW)
        alarms = tap.taken()
        assert any(read_message(each)[1].alarm for each in alarms)
        flats[0].ask("calm")
        until("the latch", [lambda: flats[0].condition("gas-ch4") == "latched"])
        flats[0].ask("reset")
        until("quiet", [lambda f=f: not f.sounds for f in flats], WITHIN + SLOW)
        signed, state = read_message(alarms[-1])
        forged = replace(state, counter=10**6, raised=(Raised("gas", 2),))
        old = replace(forged, echoes=(bytes(16),))  # of a challenge that is long over
        time.sleep(2.5)  # so late is no copy by another way
        for data in (
            *alarms,
            replace(signed, body=forged.encode()).encode(),
            sign_message(flats[2].key, forged),
            sign_message(flats[0].key, replace(forged, building="elsewhere")),
            sign_message(flats[0].key, old),
            alarms[-1][:-1],
            bytes(1_400),
        ):
            tap.say(data)
        until("records", [lambda: set(flats[1].ask("refusals")) >= REFUSED], 10)
        assert not flats[1].sounds
        assert flats[1].condition("building-alarm") == "normal"
        until("trust", [lambda: flats[1].standing("flat-1") == "proven"], WITHIN + SLOW)


def test_a_flood_keeps_no_alarm_from_sounding_here_or_there(tmp_path: Path) -> None:
    with Building(tmp_path) as flats:
        acquainted(flats)
        ending = threading.Event()
        thread = threading.Thread(target=flood, args=([each.port for each in flats], ending))
        thread.start()
        try:
            flats[0].ask("leak")
            until("sirens in all flats", [lambda f=f: f.sounds for f in flats], 2 * PATIENCE)
        finally:
            ending.set()
            thread.join()
        until("its record", [lambda: "Flooded" in flats[1].ask("refusals")])


def flood(ports: list[int], ending: threading.Event) -> None:
    """Send what looks like a message, from an address of its own, thousands a second."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("127.0.0.3", 0))
        while not ending.is_set():
            for _ in range(50):
                for port in ports:
                    opened.sendto(b"\x83\x01" + bytes(300), ("127.0.0.1", port))
            ending.wait(0.01)


def test_a_granted_roster_takes_effect_at_once_and_so_does_a_members_removal(tmp_path: Path) -> None:
    desk = found(tmp_path / "authority", "city-fire", "North", "hub-1", bytes(32))
    building = Building(tmp_path, genesis=desk.genesis.encode())
    members = [
        f'[[members]]\nname = "{each.name}"\nkey = "{each.key.public.hex()}"\naddresses = ["127.0.0.1:{each.port}"]\n'
        for each in building.flats
    ]
    with building as flats:
        assert flats[0].ask("status")["neighbours"] == {}
        for each in flats:
            assert grant(tmp_path, each, 1, members) == 1
        acquainted(flats)
        for each in flats[:2]:
            assert grant(tmp_path, each, 2, members[:2]) == 2
        until("the removal", [lambda: "flat-3" not in flats[0].ask("status")["neighbours"]], WITHIN + SLOW)
        flats[2].ask("leak")
        until("its own siren", [lambda: flats[2].sounds], WITHIN + SLOW)
        until("its refusal", [lambda: "UnknownNeighbour" in flats[0].ask("refusals")])
        assert not flats[0].sounds
        flats[1].ask("leak")
        until("the sirens of those who stay", [lambda f=f: f.sounds for f in flats[:2]], WITHIN + SLOW)
        own = gateway_id(flats[0].key.public).hex()
        other = members[0].replace(flats[0].key.public.hex(), f'{"ab" * 32}"\ngateway = "{own}')
        for version, roster, trouble in (
            (3, members[1:], "does not name this gateway"),
            (
                4,
                [other, members[1]],
                "another key of this gateway",
            ),
        ):
            grant(tmp_path, flats[0], version, roster)
            until(trouble, [lambda t=trouble: any(t in each for each in flats[0].ask("status")["troubles"])])


def grant(directory: Path, flat: Flat, version: int, members: list[str]) -> int:
    """Sign a set with the tool and hand it over; return the version then in force."""
    files = {"building": 'building = "test-house"\n' + "".join(members)}
    files |= {"ch4": template("gas-ch4", series="own.ch4", pre_hold="0s", hold="0s", warm_up="0s")}
    others = [f"flat-{i}.alarm" for i in (1, 2, 3) if f"flat-{i}" != flat.name]
    files |= {"alarm": template("building-alarm", series=others)}
    for name, text in files.items():
        (directory / f"{name}.toml").write_text(text)
    paths = {name: str(directory / f"{name}.toml") for name in files}
    out = directory / f"{flat.name}-{version}.grant"
    result = CliRunner().invoke(
        tools,
        ["authority", "grant", "--dir", str(directory / "authority"), "--gateway", gateway_id(flat.key.public).hex(),
         "--version", str(version), "--building", paths["building"], paths["ch4"], paths["alarm"], "-o", str(out)],
        catch_exceptions=False,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return int(flat.ask(f"grant {out}"))
