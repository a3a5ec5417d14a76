"""The REST interface: what it shows, what it proves, and how it refuses."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from fleet import FleetGateway
from hubs import PATIENCE, Caller, RunningHub, eventually

from gateway.chain.block import Block, header_hash
from gateway.chain.evidence import verify_evidence
from gateway.chain.finality import Checkpoint, FinalityProof
from gateway.chain.genesis import Genesis
from gateway.chain.leaf import ALARMS, HEADERS, LogLeaf
from gateway.chain.messages import HeaderFinality
from gateway.chain.trees import check_consistency
from hub.api import connection


@dataclass
class Site:
    hub: RunningHub
    gateway: FleetGateway
    caller: Caller
    alarm: str

    @property
    def id(self) -> str:
        return self.gateway.id.hex()

    @property
    def genesis(self) -> Genesis:
        return self.hub.fleet.genesis


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with RunningHub(tmp_path_factory.mktemp("api") / "hub") as hub:
        gateway, caller = hub.join("Flat 3")
        alarm = gateway.alarm()
        caller.say("alarm", alarm.encode())
        caller.alarm_receipt()
        for _ in range(3):
            caller.say("block", gateway.block(10, classes=(0, 1, 2)).encode())
        caller.final(3)
        eventually(lambda: hub.rest.json("/v1/alarms")[0]["final_ms"], "the alarm's finality")
        yield Site(hub, gateway, caller, alarm.hash.hex())


def test_a_gateway_is_shown_with_its_values_positions_and_contracts(site: Site) -> None:
    (shown,) = site.hub.rest.json("/v1/gateways")
    assert (shown["id"], shown["name"], shown["region"]) == (site.id, "Flat 3", "north")
    assert (shown["standing"], shown["epoch"], shown["head"], shown["stored"]) == ("good", 1, 3, 3)
    assert 0 <= shown["finality_lag_ms"] < PATIENCE * 1000
    series = {each["name"]: each for each in shown["series"]}
    assert (series["ch4"]["unit"], series["ch4"]["scale"], series["ch4"]["value"]) == ("%", -3, 1000 + 2 + 8)
    assert series["ch4"]["wall_ms"] > 0
    assert series["ch4"]["kept"] == "every value is kept; taken when they come"
    (contract,) = shown["contracts"]
    assert (contract["contract"], contract["condition"]) == ("gas-ch4", "alarm")


def test_values_of_the_upper_classes_do_not_leave_by_the_interface(site: Site) -> None:
    (shown,) = site.hub.rest.json("/v1/gateways")
    hidden = {each["name"]: each["value"] for each in shown["series"] if each["klass"] > 0}
    assert hidden == {"strain": None, "occupancy": None}
    block = site.hub.rest.json(f"/v1/blocks/{site.id}/2")
    assert [each["name"] for each in block["series"]] == ["ch4", "temperature"]
    whole = Block.decode(site.hub.rest.cbor(f"/v1/blocks/{site.id}/2"))
    assert [bool(each) for each in whole.segments] == [True, False, False]
    assert site.hub.rest.status_of(f"/v1/evidence/blocks/{site.id}/2/0") == 200


def test_a_block_is_shown_and_given_as_it_came(site: Site) -> None:
    shown = site.hub.rest.json(f"/v1/blocks/{site.id}/2")
    whole = Block.decode(site.hub.rest.cbor(f"/v1/blocks/{site.id}/2"))
    assert header_hash(whole.header).hex() == shown["hash"] == site.gateway.blocks[1].hash.hex()
    assert whole.segments[0] == site.gateway.blocks[1].segments[0]
    assert shown["final"]
    heights = [each["height"] for each in site.hub.rest.json(f"/v1/blocks/{site.id}?limit=2")]
    assert heights == [3, 2]


def test_an_alarm_is_shown_with_its_level_times_and_values(site: Site) -> None:
    (shown,) = site.hub.rest.json("/v1/alarms")
    assert (shown["hash"], shown["gateway"], shown["name"]) == (site.alarm, site.id, "Flat 3")
    assert (shown["contract"], shown["before"], shown["level"]) == ("gas-ch4", "normal", "alarm")
    assert shown["received_ms"] <= shown["final_ms"]
    assert shown["marks"] == []
    assert shown["values"] == [{"alias": "ch4", "value": 2101}]
    assert site.hub.rest.json(f"/v1/alarms?gateway={'00' * 16}") == []


def test_a_checkpoint_verifies_as_json_and_as_bytes(site: Site) -> None:
    shown = site.hub.rest.json("/v1/checkpoint")
    assert (
        Checkpoint.decode(bytes.fromhex(shown["checkpoint"])).verify(site.genesis).height == shown["height"]
    )
    checkpoint = Checkpoint.decode(site.hub.rest.cbor(f"/v1/checkpoint?height={shown['height']}"))
    assert checkpoint.app.hash.hex() == shown["app_hash"]
    assert site.hub.rest.status_of("/v1/checkpoint?height=999999") == 404


def test_a_blocks_proof_verifies(site: Site) -> None:
    found = HeaderFinality.decode(site.hub.rest.cbor(f"/v1/proofs/blocks/{site.id}/2"))
    at = found.position
    leaf = LogLeaf(HEADERS, site.gateway.id, at.epoch, at.height, at.hash)
    assert found.proof.verify(leaf, site.genesis).height > 0


def test_an_alarms_proof_verifies(site: Site) -> None:
    found = FinalityProof.decode(site.hub.rest.cbor(f"/v1/proofs/alarms/{site.alarm}"))
    leaf = LogLeaf(ALARMS, site.gateway.id, 0, 0, bytes.fromhex(site.alarm))
    assert found.verify(leaf, site.genesis).height > 0


def test_the_log_is_shown_to_have_only_grown(site: Site) -> None:
    rest, roots = site.hub.rest, {}
    latest = rest.json("/v1/checkpoint")
    for height in range(1, latest["height"] + 1):
        shown = rest.json(f"/v1/checkpoint?height={height}")
        roots[shown["log_size"]] = bytes.fromhex(shown["log_root"])
    new = max(roots)
    for old in [size for size in roots if 0 < size < new]:
        path = rest.json(f"/v1/proofs/consistency?old={old}&new={new}")["path"]
        check_consistency(old, roots[old], new, roots[new], [bytes.fromhex(each) for each in path])
    assert rest.status_of(f"/v1/proofs/consistency?old=1&new={new + 1}") == 404


def test_evidence_by_the_interface_verifies(site: Site) -> None:
    for path in (f"alarms/{site.alarm}", f"blocks/{site.id}/2/1"):
        data = site.hub.rest.cbor(f"/v1/evidence/{path}")
        assert verify_evidence(data, site.genesis.hash).gateway == site.gateway.id


def test_the_genesis_is_given_as_bytes(site: Site) -> None:
    assert Genesis.decode(site.hub.rest.cbor("/v1/genesis")) == site.genesis


def test_status_counts_what_there_is(site: Site) -> None:
    status = site.hub.rest.json("/v1/status")
    assert (status["gateways"], status["blocks"], status["final_blocks"], status["alarms"]) == (1, 3, 3, 1)
    assert status["readings"] == 3 * 30
    assert status["ok"]
    assert status["final_height"] > 0


@pytest.mark.parametrize(
    "path",
    [
        "/v1/gateways/zz",
        f"/v1/gateways/{'00' * 16}",
        "/v1/blocks/00/1",
        f"/v1/blocks/{'00' * 16}/1",
        f"/v1/proofs/alarms/{'00' * 32}",
        f"/v1/proofs/blocks/{'00' * 16}/1",
        f"/v1/evidence/alarms/{'00' * 32}",
        f"/v1/evidence/blocks/{'00' * 16}/1/1",
        "/v1/proofs/alarms/xyz",
    ],
)
def test_what_is_not_there_is_404(site: Site, path: str) -> None:
    assert site.hub.rest.status_of(path) == 404


@pytest.mark.parametrize("number", [-1, -(1 << 70), 1 << 48, (1 << 63) - 1, 1 << 63, 1 << 70])
@pytest.mark.parametrize(
    "path",
    [
        "/v1/checkpoint?height={number}",
        "/v1/proofs/consistency?old={number}&new=1",
        "/v1/proofs/consistency?old=1&new={number}",
        "/v1/blocks/{gateway}/{number}",
        "/v1/proofs/blocks/{gateway}/{number}",
        "/v1/evidence/blocks/{gateway}/{number}/0",
        "/v1/evidence/blocks/{gateway}/1/{number}",
    ],
)
def test_a_number_that_no_place_can_have_is_422_and_no_defect(site: Site, path: str, number: int) -> None:
    assert site.hub.rest.status_of(path.format(gateway=site.id, number=number)) == 422


@pytest.mark.parametrize(
    "path", ["/v1/alarms?limit=0", "/v1/blocks/x/y", "/v1/proofs/consistency?old=a&new=1"]
)
def test_what_cannot_be_meant_is_422(site: Site, path: str) -> None:
    assert site.hub.rest.status_of(path) == 422


def test_requests_that_never_end_do_not_take_the_interface_away(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "REQUEST_SECONDS", 1.0)
    host, _, port = site.hub.rest.url.removeprefix("http://").rpartition(":")
    halves = [
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: ",
        b"POST /v1/records HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n",
    ]
    with contextlib.ExitStack() as stack:
        lorises = []
        for number in range(connection.MAX_CONNECTIONS + 20):
            loris = stack.enter_context(socket.create_connection((host, int(port)), timeout=PATIENCE))
            with contextlib.suppress(OSError):
                loris.sendall(halves[number % 2])
            lorises.append(loris)
        whole = halves[0] + b"y\r\n\r\n"
        second = stack.enter_context(socket.create_connection((host, int(port)), timeout=PATIENCE))

        def ended(loris: socket.socket) -> bool:
            try:
                return loris.recv(1) == b""
            except ConnectionError:
                return True

        assert all(map(ended, lorises))
        second = stack.enter_context(socket.create_connection((host, int(port)), timeout=PATIENCE))
        second.sendall(whole)
        assert second.recv(4096).startswith(b"HTTP/1.1 200")
        second.sendall(halves[0])
        while not ended(second):  # what is left of the answer, then the end
            continue
    assert site.hub.rest.status_of("/healthz") == 200


def test_who_leaves_in_the_middle_of_a_request_is_no_fault_in_the_log(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    host, _, port = site.hub.rest.url.removeprefix("http://").rpartition(":")
    for path in ("records", "federation/requests", "witness/add-checkpoint"):
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as stranger:
            stranger.sendall(f"POST /v1/{path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n".encode())
            time.sleep(0.2)
    assert site.hub.rest.status_of("/healthz") == 200
    assert not caplog.records


def test_the_interface_describes_itself_without_the_network(site: Site) -> None:
    document = json.loads(site.hub.rest.get("/openapi.json"))
    assert {
        "/v1/enrolment",
        "/v1/commands",
        "/v1/gateways",
        "/v1/alarms",
        "/v1/checkpoint",
        "/healthz",
    } <= set(document["paths"])
    assert site.hub.rest.status_of("/docs") == 404
