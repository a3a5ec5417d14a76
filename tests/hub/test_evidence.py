"""Evidence out of a running hub and its directory: it verifies with the genesis alone, and no byte may change."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fleet import CONTRACT_DOCUMENT, FleetGateway, flip
from hubs import Caller, RunningHub, eventually

from gateway.chain.alarm import Alarm
from gateway.chain.canonical import encode
from gateway.chain.errors import ChainError
from gateway.chain.evidence import verify_evidence
from gateway.chain.reading import INTERNAL
from hub.evidence import Archive, NoEvidence, alarm_evidence, find_leaf, reading_evidence


@dataclass
class Site:
    """A hub whose one gateway has sealed three blocks, two of them with an alarm, and rotated its key between."""

    hub: RunningHub
    gateway: FleetGateway
    caller: Caller
    alarms: list[Alarm]
    archive: Archive

    @property
    def trust(self) -> bytes:
        return self.hub.fleet.genesis.hash


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with RunningHub(tmp_path_factory.mktemp("evidence") / "hub") as hub:
        gateway, caller = hub.join("a")
        alarms = [gateway.alarm()]
        caller.say("alarm", alarms[0].encode())
        caller.alarm_receipt()
        caller.say("block", gateway.block(10, classes=(0, 1)).encode())
        caller.final(1)
        caller.say("record", encode([2, gateway.rotate().to_item()]))
        gateway.see(caller.answer().checkpoint)
        alarms.append(gateway.alarm())
        caller.say("alarm", alarms[1].encode())
        caller.alarm_receipt()
        for _ in range(2):
            caller.say("block", gateway.block(10, classes=(0, 1)).encode())
        caller.final(3)
        eventually(lambda: all(each["final_ms"] for each in hub.rest.json("/v1/alarms")), "alarms' finality")
        archive = Archive.open(hub.directory / "ledger.db")
        yield Site(hub, gateway, caller, alarms, archive)
        archive.close()


@pytest.mark.parametrize("height", [1, 2, 3])
def test_a_readings_file_says_what_was_read_and_who_vouches_for_it(site: Site, height: int) -> None:
    found = verify_evidence(reading_evidence(site.archive, site.gateway.id, height, 3), site.trust)
    assert found.stood is not None
    assert (found.gateway, found.stood.header.height) == (site.gateway.id, height)
    assert found.stood.series == site.gateway.catalogue[1]
    assert found.stood.documents == (CONTRACT_DOCUMENT,)
    assert (found.enrolled is not None) == (height == 1)  # the later ones are under a rotated key


def test_a_rotated_keys_end_is_shown_and_the_later_keys_absence_of_one(site: Site) -> None:
    first = verify_evidence(reading_evidence(site.archive, site.gateway.id, 1, 0), site.trust)
    second = verify_evidence(reading_evidence(site.archive, site.gateway.id, 2, 0), site.trust)
    assert first.end is not None
    assert first.end.last.height == 1
    assert second.end is None


def test_a_blocks_signature_is_bounded_from_both_sides(site: Site) -> None:
    found = verify_evidence(reading_evidence(site.archive, site.gateway.id, 2, 0), site.trust)
    assert found.stood is not None
    assert found.stood.seen is not None
    assert found.stood.seen.height < found.stood.accepted.height
    assert found.stood.seen.time <= found.stood.accepted.time <= found.as_of.time


@pytest.mark.parametrize("index", [0, 1])
def test_an_alarms_file_holds_the_alarm_its_contract_and_its_block(site: Site, index: int) -> None:
    found = verify_evidence(alarm_evidence(site.archive, site.alarms[index].hash), site.trust)
    assert found.raised is not None
    assert found.stood is not None
    assert found.stood.transition == found.raised.transition
    assert found.raised.document == CONTRACT_DOCUMENT
    assert found.stood.header.height == index + 1


def test_an_alarm_whose_block_is_not_there_yet_stands_by_itself(site: Site) -> None:
    alarm = site.gateway.alarm()
    site.caller.say("alarm", alarm.encode())
    site.caller.alarm_receipt()

    def look() -> bytes:
        return bytes(site.hub.rest.cbor(f"/v1/evidence/alarms/{alarm.hash.hex()}"))

    path = f"/v1/evidence/alarms/{alarm.hash.hex()}"
    eventually(lambda: site.hub.rest.status_of(path) == 200, "finality")
    found = verify_evidence(look(), site.trust)
    assert found.raised is not None
    assert found.stood is None


def test_a_leaf_is_found_by_series_and_time_in_a_class_of_its_own(site: Site) -> None:
    klass, leaf = find_leaf(site.archive, site.gateway.id, 2, "strain", 1 << 60)
    assert (klass, leaf) == (INTERNAL, 9)
    found = verify_evidence(reading_evidence(site.archive, site.gateway.id, 2, leaf, klass), site.trust)
    assert found.stood is not None
    assert found.stood.series is not None
    assert found.stood.series.name == "strain"


def test_any_byte_changed_and_the_file_does_not_verify(site: Site) -> None:
    data = alarm_evidence(site.archive, site.alarms[0].hash)
    dice = random.Random(1)
    for _ in range(300):
        changed = flip(data, dice.randrange(len(data) * 8))
        with pytest.raises(ChainError):
            verify_evidence(changed, site.trust)


@pytest.mark.parametrize(
    ("height", "leaf", "klass", "said"),
    [
        (9, 0, 0, "no final block 9"),
        (1, 99, 0, "leaves 0 to"),
        (1, -1, 0, "leaves 0 to"),
        (1, 0, 2, "no open segment of class 2"),
    ],
)
def test_what_is_not_there_is_named(site: Site, height: int, leaf: int, klass: int, said: str) -> None:
    with pytest.raises(NoEvidence, match=said):
        reading_evidence(site.archive, site.gateway.id, height, leaf, klass)


def test_an_unknown_alarm_series_or_gateway_is_named(site: Site) -> None:
    with pytest.raises(NoEvidence, match="is not final"):
        alarm_evidence(site.archive, bytes(32))
    with pytest.raises(NoEvidence, match="no reading of 'radon'"):
        find_leaf(site.archive, site.gateway.id, 1, "radon", 1 << 60)
    with pytest.raises(NoEvidence, match="no final block"):
        reading_evidence(site.archive, bytes(16), 1, 0)


def test_a_directory_without_a_chain_is_named(tmp_path: Path) -> None:
    from hub.storage.store import Store

    Store(tmp_path / "ledger.db").close()
    with pytest.raises(NoEvidence, match="holds no chain"):
        Archive.open(tmp_path / "ledger.db")
