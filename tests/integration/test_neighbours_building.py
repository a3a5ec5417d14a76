"""Three gateways of one building, as processes, with neither hub nor broker: they sound together."""

from __future__ import annotations

from pathlib import Path

import pytest
from building import Building, acquainted, until

WITHIN = 1.0  # what the product promises
SLOW = 4.0  # added where a busy machine is asked over a pipe


@pytest.mark.parametrize(
    "ways", [{"multicast": False}, {"unicast": False}, {}], ids=["unicast alone", "multicast alone", "both"]
)
def test_an_alarm_in_one_flat_sounds_in_all_and_ends_in_all(tmp_path: Path, ways: dict[str, bool]) -> None:
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
