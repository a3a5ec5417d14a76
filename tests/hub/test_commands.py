"""Commands through the hub: checked, handed on as they were signed, on record; and nothing else is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from fleet import FleetGateway, seeded
from hubs import PATIENCE, Caller, RunningHub, eventually

from gateway.chain.keys import COMMAND, Signed, SigningKey, digest
from gateway.chain.messages import Command
from gateway.mqtt.config import LinkConfig
from gateway.mqtt.link import Link


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with RunningHub(tmp_path_factory.mktemp("commands") / "hub") as running:
        yield running


@pytest.fixture
def joined(hub: RunningHub) -> tuple[FleetGateway, Caller]:
    return hub.join(f"gateway {len(hub.fleet.gateways)}")


def heard(caller: Caller) -> Signed:
    return Signed.decode(caller.queue("command").get(timeout=PATIENCE))


@pytest.mark.parametrize("who", ["regulator", "agency", "hub_key"])
def test_a_command_of_an_authority_or_hub_reaches_its_gateway_as_it_was_signed(
    hub: RunningHub, joined: tuple[FleetGateway, Caller], who: str
) -> None:
    gateway, caller = joined
    command = hub.fleet.command(gateway, by=getattr(hub.fleet, who))
    assert hub.rest.post("/v1/commands", command.encode()) == (202, {"gateway": gateway.id.hex()})
    assert heard(caller) == command
    assert Command.decode(command.body).boot == gateway.boot


def test_the_boot_that_a_command_has_to_name_is_shown(
    hub: RunningHub, joined: tuple[FleetGateway, Caller]
) -> None:
    gateway, caller = joined
    gateway.reboot()
    caller.birth()
    assert hub.rest.json(f"/v1/gateways/{gateway.id.hex()}")["boot"] == gateway.boot.hex()


def test_a_command_is_on_record_once_by_the_hash_that_its_outcome_will_name(
    hub: RunningHub, joined: tuple[FleetGateway, Caller]
) -> None:
    gateway, caller = joined
    command = hub.fleet.command(gateway, action=2)
    for _ in range(2):
        hub.rest.post("/v1/commands", command.encode())
        assert heard(caller) == command
    (found,) = hub.rest.json(f"/v1/gateways/{gateway.id.hex()}")["findings"]
    assert (found["kind"], found["item"]) == ("command", digest(COMMAND, command.body).hex())
    assert found["detail"] == "command of agency: silence for gas-ch4"


LIES: dict[str, Callable[[RunningHub, FleetGateway], bytes]] = {
    "NotCanonical": lambda hub, gateway: b"",
    "WrongShape": lambda hub, gateway: gateway.fleet.agency.signed(COMMAND, b"\x80").encode(),
    "WrongChain": lambda hub, gateway: changed(hub, gateway, genesis=seeded("other chain")),
    "UnknownSigner": lambda hub, gateway: hub.fleet.command(gateway, by=SigningKey(seeded("x"))).encode(),
    "BadSignature": lambda hub, gateway: changed(hub, gateway, signer=hub.fleet.regulator.public),
    "UnknownGateway": lambda hub, gateway: changed(hub, gateway, gateway=bytes(16)),
    "BadRecord": lambda hub, gateway: hub.fleet.command(gateway, not_after=hub.fleet.now - 60_000).encode(),
}


def changed(hub: RunningHub, to: FleetGateway, **fields: bytes) -> bytes:
    """A command with other fields, signed by the agency."""
    body = Command.decode(hub.fleet.command(to).body)
    return hub.fleet.agency.signed(COMMAND, replace(body, **fields).encode()).encode()  # type: ignore[arg-type]


@pytest.mark.parametrize("name", LIES)
def test_a_command_that_breaks_a_rule_is_refused_by_name_and_goes_nowhere(
    hub: RunningHub, joined: tuple[FleetGateway, Caller], name: str
) -> None:
    gateway, caller = joined
    status, answer = hub.rest.post("/v1/commands", LIES[name](hub, gateway))
    assert (status, answer["error"]) == (422, name)
    good = hub.fleet.command(gateway)
    hub.rest.post("/v1/commands", good.encode())
    assert heard(caller) == good, "the first that it hears"
    assert name not in hub.refusals(gateway), "nobody knows whose doing it was"
    assert name in [each["kind"] for each in hub.rest.json("/v1/refusals")]


def test_a_command_is_not_taken_while_the_broker_is_away(hub: RunningHub) -> None:
    gateway, caller = hub.join("cut off")
    config = LinkConfig(hub.service.broker_url, f"hub-{hub.config.hub.name}", ())
    thief = Link(config, lambda *_: True)  # takes the hub's place at the broker again and again
    thief.start()
    try:
        command = hub.fleet.command(gateway).encode()
        eventually(lambda: hub.rest.post("/v1/commands", command)[0] == 503, "the refusal")
    finally:
        thief.close()
    eventually(lambda: hub.rest.post("/v1/commands", command)[0] == 202, "the link")
    assert heard(caller).encode() == command
