"""A hub as a whole: started, stopped, started again, short of disk, beside another broker."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import ssl
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from brokers import Mosquitto
from hubs import PATIENCE, Caller, HubProcess, RunningHub, eventually, new_fleet

from gateway.chain.canonical import encode
from gateway.chain.finality import Seal
from gateway.chain.keys import HUB_STATE, Signed
from gateway.chain.messages import HubState
from gateway.chain.tenure import NOWHERE
from hub.config import load_config
from hub.consensus.base import FinalEvent
from hub.errors import ConfigError, HubError
from hub.finality import Finality
from hub.service import Service


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RunningHub]:
    with RunningHub(tmp_path / "hub") as running:
        yield running


def state(caller: Caller) -> HubState:
    payload = caller.queue("state").get(timeout=PATIENCE)
    return HubState.decode(Signed.decode(payload).verify(HUB_STATE, caller.fleet.hub_key.public))


def test_an_enrolled_gateways_birth_is_answered_with_where_the_chain_stands(hub: RunningHub) -> None:
    answer = hub.call(hub.enrol("a")).birth()
    assert (answer.standing, answer.epoch, answer.head, answer.known) == (0, 1, NOWHERE, ())
    assert answer.checkpoint.verify(hub.fleet.genesis).height >= 2


def test_a_block_becomes_final_and_is_receipted(hub: RunningHub) -> None:
    gateway, caller = hub.join("a")
    block = gateway.block(60)
    caller.say("block", block.encode())
    receipts = caller.final(1)
    assert [each.promise.hash for each in receipts.custody] == [block.hash]
    assert receipts.custody[0].promise.classes == 1
    assert receipts.finality is not None
    assert receipts.finality.position == gateway.head


def test_an_alarm_is_acknowledged_shown_and_final(hub: RunningHub) -> None:
    gateway, caller = hub.join("a")
    alarm = gateway.alarm()
    caller.say("alarm", alarm.encode())
    assert caller.alarm_receipt().alarms == (alarm.hash,)
    shown = eventually(lambda: [a for a in hub.rest.json("/v1/alarms") if a["final_ms"]], "finality")
    assert shown[0]["hash"] == alarm.hash.hex()
    assert (shown[0]["name"], shown[0]["level"], shown[0]["marks"]) == ("a", "alarm", [])


def test_an_answer_names_the_head_and_the_alarms_that_the_chain_knows(hub: RunningHub) -> None:
    gateway, caller = hub.join("a")
    alarms = [gateway.alarm() for _ in range(2)]
    for alarm in alarms:
        caller.say("alarm", alarm.encode())
        caller.alarm_receipt()
    caller.say("block", gateway.block().encode())
    caller.final(1)
    gateway.reboot()
    answer = caller.birth()
    assert answer.head == gateway.head
    assert answer.alarms == tuple(each.hash for each in alarms)


def shown(hub: RunningHub) -> dict[str, Any]:
    """What must be the same before and after a restart."""
    gateways = hub.rest.json("/v1/gateways")
    kept = ("id", "name", "region", "standing", "epoch", "head", "stored", "series", "contracts", "software")
    alarms = [{**each, "final_ms": each["final_ms"] is not None} for each in hub.rest.json("/v1/alarms")]
    return {
        "gateways": [{key: each[key] for key in kept} for each in gateways],
        "alarms": alarms,
        "blocks": hub.rest.json("/v1/status")["blocks"],
    }


def test_a_restart_shows_what_was_shown_before(tmp_path: Path) -> None:
    hub = RunningHub(tmp_path / "hub")
    with hub:
        gateway, caller = hub.join("a")
        caller.say("alarm", gateway.alarm().encode())
        caller.alarm_receipt()
        caller.say("block", gateway.block(9).encode())
        caller.final(1)
        eventually(lambda: hub.rest.json("/v1/alarms")[0]["final_ms"], "finality")
        before = shown(hub)
    with hub:
        assert without_times(shown(hub)) == without_times(before)
        caller = hub.call(gateway)
        caller.say("block", gateway.block().encode())
        assert caller.final(2).finality is not None


def without_times(found: dict[str, Any]) -> dict[str, Any]:
    """A series' last value is dated by its block's end after a restart."""
    for gateway in found["gateways"]:
        for series in gateway["series"]:
            series["wall_ms"] = series["wall_ms"] is not None
    return found


def test_a_damaged_chart_summary_does_not_keep_the_hub_from_starting(tmp_path: Path) -> None:
    hub = RunningHub(tmp_path / "hub")
    with hub:
        gateway, caller = hub.join("a")
        caller.say("block", gateway.block(10).encode())
        caller.final(1)
        before = hub.rest.json(f"/v1/gateways/{gateway.id.hex()}")["series"]
    with contextlib.closing(sqlite3.connect(hub.directory / "ledger.db")) as db:
        (trigger,) = db.execute("SELECT sql FROM sqlite_master WHERE name = 'segments_no_update'").fetchone()
        db.execute("DROP TRIGGER segments_no_update")
        db.execute("UPDATE segments SET summary = x'8100'")
        db.execute(trigger)
        db.commit()
    with hub:
        after = hub.rest.json(f"/v1/gateways/{gateway.id.hex()}")["series"]
        assert [each["value"] for each in after] == [each["value"] for each in before]
        summaries = hub.rest.json(f"/v1/blocks/{gateway.id.hex()}/1")["series"]
        assert [(each["name"], each["count"]) for each in summaries] == [("ch4", 5), ("temperature", 5)]


def test_the_hubs_state_rises_in_version_over_stops_and_kills(tmp_path: Path) -> None:
    process = HubProcess(tmp_path / "hub", new_fleet())
    rest = process.start()
    gateway = process.fleet.gateway("a")
    rest.post("/v1/enrolment", gateway.enrol().encode())
    caller = Caller(process.fleet, gateway, process.endpoints["broker"])
    try:
        heard = [state(caller)]
        for end in (process.stop, process.kill):
            end()
            process.start()
            latest = heard[-1].version
            while not (heard[-1].online and heard[-1].version > latest):
                heard.append(state(caller))
    finally:
        caller.close()
        process.kill()
    versions = list(dict.fromkeys(each.version for each in heard))  # brokers repeat what they retain
    assert versions == sorted(versions)


def limit_disk(hub: RunningHub, *, full: bool) -> None:
    """Let the database grow no further, as on a full disk, or let it grow again."""
    database = hub.service._core.store.database
    size = database.value("PRAGMA page_count")
    with database.write() as db:
        db.execute(f"PRAGMA max_page_count = {size if full else 1 << 30}")


def test_on_a_full_disk_alarms_are_shown_without_receipt_and_all_is_taken_when_there_is_room(
    hub: RunningHub,
) -> None:
    gateway, caller = hub.join("a")

    def marks() -> list[list[str]]:
        return [each["marks"] for each in hub.rest.json("/v1/alarms?limit=1000")]

    limit_disk(hub, full=True)
    while not any("unstored" in each for each in marks()):
        caller.say("alarm", gateway.alarm().encode())
        eventually(lambda: len(marks()) == len(gateway.alarms), "the alarm")
    caller.say("block", gateway.block(600).encode())
    caller.birth()
    assert hub.rest.json("/v1/status")["blocks"] == 0
    limit_disk(hub, full=False)
    acknowledged: set[bytes] = set()
    for alarm in gateway.alarms:
        caller.say("alarm", alarm.encode())
    while acknowledged != {each.hash for each in gateway.alarms}:
        acknowledged |= set(caller.alarm_receipt().alarms)
    caller.say("block", gateway.replay(1).encode())
    assert caller.final(1).finality is not None
    eventually(lambda: all(not each for each in marks()), "the alarms' finality")


def test_what_is_stored_but_not_ordered_is_offered_again_at_the_next_start(tmp_path: Path) -> None:
    hub = RunningHub(tmp_path / "hub")
    with hub:
        gateway, caller = hub.join("a")
        hub.service._engine.stop()
        caller.say("block", gateway.block().encode())
        caller.say("alarm", gateway.alarm().encode())
        caller.alarm_receipt()
        eventually(lambda: hub.rest.json("/v1/status")["blocks"] == 1, "the block")
        assert hub.rest.status_of("/healthz") == 503
        assert hub.rest.post("/v1/enrolment", hub.fleet.gateway("b").enrol().encode())[0] == 503
    with hub:
        eventually(lambda: hub.rest.json("/v1/status")["final_blocks"] == 1, "the block's finality")
        eventually(lambda: hub.rest.json("/v1/alarms")[0]["final_ms"], "the alarm's finality")


def test_what_is_sealed_is_receipted_while_the_next_final_block_waits_for_its_seal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, goes_on = threading.Event(), threading.Event()
    follow, begun = Finality.follow, list[int]()

    def follow_late(finality: Finality, event: FinalEvent, *values: Any) -> None:
        assert not begun or waits.wait(PATIENCE)
        follow(finality, event, *values)

    monkeypatch.setattr(Finality, "follow", follow_late)
    with RunningHub(tmp_path / "hub") as hub:
        gateway, caller = hub.join("a")
        chain = hub.service._core.store.chain
        seal = chain.add_seal

        def seal_late(height: int, value: Seal) -> None:
            begun.append(height)
            if len(begun) > 1:
                waits.set()
                goes_on.wait(PATIENCE)
            seal(height, value)

        monkeypatch.setattr(chain, "add_seal", seal_late)
        try:
            caller.say("block", gateway.block().encode())
            eventually(lambda: begun, "the first block's finality")
            caller.say("block", gateway.block().encode())
            found = caller.final(1).finality
            assert found is not None
            assert found.position.height == 1
            assert hub.rest.status_of(f"/v1/proofs/blocks/{gateway.id.hex()}/2") == 404
        finally:
            goes_on.set()
        assert caller.final(2).finality is not None


def test_an_epoch_change_that_leaves_out_a_signed_block_is_refused_and_one_that_owns_up_is_not(
    hub: RunningHub,
) -> None:
    gateway, caller = hub.join("a")
    hub.service._engine.stop()
    caller.say("block", gateway.block().encode())
    eventually(lambda: hub.rest.json("/v1/status")["blocks"] == 1, "the block")
    answer = caller.birth()
    assert [each.height for each in answer.known] == [1]
    honest = gateway.epoch_change(NOWHERE)
    gateway.epoch, gateway.head, gateway.blocks = 1, NOWHERE, []
    forgetful = gateway.epoch_change(NOWHERE)
    caller.say("record", encode([1, forgetful.to_item()]))
    assert caller.answer().epoch == 1
    eventually(lambda: hub.refusals(gateway) == ["BadRecord"], "the refusal")
    refused = hub.rest.json("/v1/status")["refused"]
    caller.say("record", encode([1, honest.to_item()]))
    caller.birth()
    assert hub.rest.json("/v1/status")["refused"] == refused


def test_a_hub_beside_mosquitto_says_farewell_when_it_stops(
    tmp_path: Path, require: Callable[[str], Path]
) -> None:
    broker = Mosquitto(tmp_path / "broker", require("mosquitto"))
    hub = RunningHub(tmp_path / "hub")
    file = hub.directory / "hub.toml"
    file.write_text(file.read_text().replace("[broker]\nport = 0", f'[broker]\nurl = "{broker.url}"'))
    hub.config = load_config(file)
    try:
        with hub:
            gateway, caller = hub.join("a")
            caller.say("alarm", gateway.alarm().encode())
            caller.alarm_receipt()
            caller.say("block", gateway.block().encode())
            assert caller.final(1).finality is not None
            assert state(caller).online
            hub.service.__exit__(None, None, None)
            while state(caller).online:
                pass
    finally:
        broker.stop()


def test_the_interface_over_tls(tmp_path: Path, require: Callable[[str], Path]) -> None:
    hub = RunningHub(tmp_path / "hub")
    subprocess.run(
        [
            str(require("openssl")),
            *["req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=localhost", "-days", "2"],
            *["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "api.key", "-out", "api.pem"],
        ],
        cwd=hub.directory,
        check=True,
        capture_output=True,
    )
    file = hub.directory / "hub.toml"
    text = file.read_text().replace("[api]\n", '[api]\ncert_file = "api.pem"\nkey_file = "api.key"\n')
    file.write_text(text)
    context = ssl.create_default_context(cafile=str(hub.directory / "api.pem"))
    with Service(load_config(file)) as service:
        assert service.api_url.startswith("https://")

        def healthy() -> bool:
            try:
                with urllib.request.urlopen(service.api_url + "/healthz", context=context) as answer:
                    return bool(json.load(answer)["ok"])
            except urllib.error.HTTPError as error:
                error.close()
                return False

        eventually(healthy, "health")


def test_a_chain_whose_ledger_was_lost_is_not_begun_anew_by_chance(tmp_path: Path) -> None:
    hub = RunningHub(tmp_path / "hub")
    with hub:
        hub.enrol("a")
        height = hub.rest.json("/healthz")["final_height"]
    ledger = hub.directory / "ledger.db"
    ledger.rename(tmp_path / "kept.db")
    with pytest.raises(ConfigError, match=f"final block 0, but this hub has sealed {height}"):
        hub.__enter__()
    ledger.unlink()
    (tmp_path / "kept.db").rename(ledger)
    with hub:
        assert hub.rest.json("/healthz")["final_height"] >= height


def test_health_names_what_has_ended(hub: RunningHub) -> None:
    assert hub.rest.json("/healthz")["ended"] == []
    hub.service._workers[0].stop()
    assert hub.rest.status_of("/healthz") == 503
    assert hub.service.health()["ended"] == ["finality"]


@pytest.mark.parametrize("name", ["endpoints.json", "broker", "reached.json"])
def test_a_file_in_the_way_is_named(tmp_path: Path, name: str) -> None:
    hub = RunningHub(tmp_path / "hub")
    if name == "broker":
        (hub.directory / name).write_text("in the way")
    else:
        (hub.directory / name).mkdir()
    with pytest.raises(HubError, match=name):
        hub.__enter__()


def test_what_cannot_start_leaves_nothing_behind(tmp_path: Path) -> None:
    hub = RunningHub(tmp_path / "hub")
    file = hub.directory / "hub.toml"
    whole = file.read_text()
    for wrong, error in (
        (whole.replace("[broker]\nport = 0", '[broker]\nurl = "ftp://x"'), ConfigError),
        (whole.replace("[api]\n", '[api]\ncert_file = "none"\nkey_file = "none"\n'), ConfigError),
    ):
        file.write_text(wrong)
        with pytest.raises(error), Service(load_config(file)):
            pass
    file.write_text(whole)
    with hub, pytest.raises(ConfigError, match="another hub runs"), Service(load_config(file)):
        pass


def test_an_address_in_use_is_named(hub: RunningHub, tmp_path: Path) -> None:
    other = RunningHub(tmp_path / "other")
    port = hub.service.api_url.rpartition(":")[2]
    file = other.directory / "hub.toml"
    file.write_text(file.read_text().replace("[api]\nport = 0", f"[api]\nport = {port}"))
    with (
        pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1 port {port}"),
        Service(load_config(file)),
    ):
        pass
