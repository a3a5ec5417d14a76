"""Every lie over real MQTT to a running hub: refused by its own name, on record, while honest gateways go on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from fleet import FleetGateway
from hubs import Caller
from paho.mqtt.client import MQTT_ERR_SUCCESS, Client
from paho.mqtt.enums import CallbackAPIVersion
from proving import run_audit
from region import PATIENCE, GatewayProcess, Region, read_rows, wait_for

from gateway.chain.canonical import MAX_MESSAGE, encode

WHOLE = 3

LIES: dict[str, tuple[str, Any]] = {
    "a fork": ("HeightRepeated", lambda liar: liar.fork(2).encode()),
    "a skipped height": ("HeightSkipped", lambda liar: liar.skip().encode()),
    "a forged epoch": ("WrongEpoch", lambda liar: liar.forge_epoch().encode()),
    "a detached block": ("NotSuccessor", lambda liar: liar.detach().encode()),
    "a back-dated block": ("BackDated", lambda liar: liar.back_date().encode()),
    "another chain's block": ("WrongChain", lambda liar: liar.elsewhere().encode()),
    "a stranger's key": ("BadSignature", lambda liar: liar.impersonate().encode()),
    "a false root": ("BadSegment", lambda liar: liar.misroot().encode()),
    "a false count": ("BadSegment", lambda liar: liar.miscount().encode()),
    "a series of no catalogue": ("BadSegment", lambda liar: liar.overreach().encode()),
    "a flipped bit": ("BadSegment", lambda liar: liar.tamper(liar.block()).encode()),
    "nothing": ("NotCanonical", lambda liar: b""),
    "a truncated message": ("NotCanonical", lambda liar: liar.block(60).encode()[:-9]),
    "trailing bytes": ("NotCanonical", lambda liar: liar.block().encode() + b"\0"),
    "an oversized message": ("TooLarge", lambda liar: encode([1, bytes(MAX_MESSAGE), bytes(64), [b""]])),
    "deep CBOR": ("TooLarge", lambda liar: b"\x81" * 100_000 + b"\0"),
    "CBOR that claims to be huge": ("NotCanonical", lambda liar: b"\x9a\xff\xff\xff\xff" + bytes(100)),
    "wide integers": ("NotCanonical", lambda liar: b"\x98\x04" + liar.block().encode()[1:]),
    "a map": ("NotCanonical", lambda liar: b"\xa1\x61a\x01"),
    "an indefinite length": ("NotCanonical", lambda liar: b"\x9f\x01\xff"),
    "another shape": ("WrongShape", lambda liar: encode([1, b"header"])),
}


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Region]:
    with Region(tmp_path_factory.mktemp("region")) as region:
        yield region


@pytest.fixture(scope="module")
def honest(region: Region) -> GatewayProcess:
    gateway = region.add("honest")
    gateway.start()
    region.await_blocks(gateway)
    return gateway


def join(region: Region, name: str) -> tuple[FleetGateway, Caller]:
    """A gateway with some final blocks behind it."""
    caller = region.call(name)
    for _ in range(WHOLE):
        caller.say("block", caller.gateway.block().encode())
    caller.final(WHOLE)
    return caller.gateway, caller


def refused(region: Region, gateway: FleetGateway) -> set[str]:
    listed = region.rest.json("/v1/refusals?limit=1000")
    return {each["kind"] for each in listed if each["gateway"] == gateway.id.hex()}


def await_refusal(region: Region, gateway: FleetGateway, name: str) -> None:
    wait_for(lambda: name in refused(region, gateway), f"the refusal by {name}")


def standing_of(region: Region, gateway: FleetGateway) -> str:
    return str(region.rest.json(f"/v1/gateways/{gateway.id.hex()}")["standing"])


def test_every_lie_is_refused_by_its_name_while_an_honest_gateway_goes_on(
    region: Region, honest: GatewayProcess
) -> None:
    head = region.shown(honest)["head"]
    for what, (name, lie) in LIES.items():
        liar, caller = join(region, what)
        caller.say("block", lie(liar))
        await_refusal(region, liar, name)
        assert refused(region, liar) == {name}, what
        shown = region.rest.json(f"/v1/gateways/{liar.id.hex()}")
        assert (shown["head"], shown["stored"]) == (WHOLE, WHOLE), what
        standing = "barred" if what == "a fork" else "good"  # once the proof against it is ordered
        wait_for(lambda liar=liar, standing=standing: standing_of(region, liar) == standing, what)  # type: ignore[misc]
    wait_for(lambda: region.shown(honest)["head"] >= head + 5, "honest blocks")
    assert region.shown(honest)["refusals"] == []


def test_reordered_and_replayed_blocks_change_nothing_and_are_receipted(region: Region) -> None:
    gateway, caller = join(region, "reordered")
    blocks = [gateway.block() for _ in range(3)]
    for block in reversed(blocks):
        caller.say("block", block.encode())
    await_refusal(region, gateway, "HeightSkipped")
    for block in blocks:
        caller.say("block", block.encode())
    caller.final(WHOLE + 3)
    caller.say("block", gateway.replay(2).encode())
    heights = [each.promise.height for each in caller.receipts().custody]
    while heights != [2]:
        heights = [each.promise.height for each in caller.receipts().custody]
    assert region.rest.json(f"/v1/gateways/{gateway.id.hex()}")["head"] == WHOLE + 3


def test_a_revoked_key_signs_nothing_more(region: Region) -> None:
    gateway, caller = join(region, "revoked")
    revocation = region.fleet.order_revocation(region.fleet.revocation(gateway.id, gateway.head))
    assert region.rest.post("/v1/records", revocation)[0] == 201
    caller.say("block", gateway.block().encode())
    await_refusal(region, gateway, "RevokedKey")
    alarm = gateway.alarm()
    caller.say("alarm", alarm.encode())
    assert caller.alarm_receipt().alarms == (alarm.hash,)
    shown = next(each for each in region.rest.json("/v1/alarms") if each["hash"] == alarm.hash.hex())
    assert "RevokedKey" in shown["marks"]


def test_a_stranger_is_refused_and_his_alarm_shown_as_a_strangers(region: Region) -> None:
    caller = region.stranger("stranger")
    caller.birth()
    caller.say("block", caller.gateway.block().encode())
    await_refusal(region, caller.gateway, "UnknownGateway")
    alarm = caller.gateway.alarm()
    caller.say("alarm", alarm.encode())

    def shown() -> list[list[str]]:
        listed = region.rest.json("/v1/alarms")
        return [each["marks"] for each in listed if each["hash"] == alarm.hash.hex()]

    assert "UnknownGateway" in wait_for(shown, "the alarm")[0]


def publish_raw(region: Region, topic: str, payload: bytes) -> bool:
    """Send as a client that keeps no limit; whether the broker acknowledged it."""
    host, _, port = region.endpoints["broker"].removeprefix("mqtt://").rpartition(":")
    client = Client(CallbackAPIVersion.VERSION2, "raw")
    client.connect(host, int(port))
    message = client.publish(topic, payload, qos=1)
    end = time.monotonic() + PATIENCE
    try:
        while not message.is_published() and time.monotonic() < end:
            if client.loop(0.1) != MQTT_ERR_SUCCESS:
                break
        client.disconnect()
        return message.is_published()
    except RuntimeError:  # the client library's word for a connection that was cut meanwhile
        return False


@pytest.mark.parametrize(("size", "taken"), [(200_000, True), (1 << 20, False)])
def test_a_message_that_no_reader_takes_harms_nobody(
    region: Region, honest: GatewayProcess, size: int, taken: bool
) -> None:
    """One is dropped by the hub's connection, the other by the broker, which closes its sender's."""
    gateway, caller = join(region, f"flooder of {size}")
    assert publish_raw(region, f"{caller.root}/block", bytes(size)) is taken
    if taken:
        wait_for(lambda: region.rest.json("/v1/status")["dropped"].get("oversized"), "the drop")
    caller.say("block", gateway.block().encode())
    caller.final(WHOLE + 1)
    region.await_blocks(honest)


def test_after_all_lies_the_refusals_are_on_disk_and_the_chain_audits_clean(
    region: Region, honest: GatewayProcess
) -> None:
    region.await_blocks(honest)
    region.await_alarms(honest)
    assert honest.stop() == 0
    assert region.hub.stop() == 0
    code, text = run_audit(region.hub.directory)
    assert code == 0, text
    kinds = {kind for (kind,) in read_rows(region.hub.directory / "ledger.db", "SELECT kind FROM refusals")}
    assert {name for name, _ in LIES.values()} | {"RevokedKey", "UnknownGateway"} <= kinds
    findings = read_rows(region.hub.directory / "ledger.db", "SELECT gateway, kind FROM findings")
    assert {kind for _, kind in findings} == {"equivocation", "revocation", "bad-segment"}
    assert honest.id not in {gateway for gateway, _ in findings}
