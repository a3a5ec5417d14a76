"""A command from an authority, over REST, the hub and the broker, to a gateway's process, and its outcome back."""

from __future__ import annotations

import re
from pathlib import Path

from fleet import FleetGateway
from hubs import eventually
from region import PATIENCE, GatewayProcess, Region

from gateway.chain.events import Outcome
from gateway.chain.keys import COMMAND, Signed, digest
from gateway.chain.reading import PUBLIC, open_segment, parse_leaf
from hub.storage.store import Store

DONE, ANOTHER_BOOT = 0, 2
NEW_EPOCH = 3


def command(region: Region, gateway: GatewayProcess, boot: str) -> Signed:
    addressee = FleetGateway(region.fleet, gateway.name)
    addressee.id, addressee.boot = gateway.id, bytes.fromhex(boot)
    signed = region.fleet.command(addressee, action=NEW_EPOCH, not_after=1 << 47)
    assert region.rest.post("/v1/commands", signed.encode()) == (202, {"gateway": gateway.id.hex()})
    return signed


def outcome(region: Region, gateway: GatewayProcess, signed: Signed) -> list[int]:
    """The codes that the gateway's blocks hold for a command."""
    store, found = Store(region.hub.directory / "ledger.db", read_only=True), []
    try:
        for header in store.latest_headers(gateway.id, 512):
            block = store.block(gateway.id, header.position)
            data = block.segments[0] if block and header.header.segments[0].klass == PUBLIC else b""
            leaves = [parse_leaf(leaf) for _, leaf in open_segment(PUBLIC, data).events] if data else []
            found += [leaf for leaf in leaves if isinstance(leaf, Outcome)]
    finally:
        store.close()
    return [each.code for each in found if each.command == digest(COMMAND, signed.body)]


def refused(region: Region, gateway: GatewayProcess) -> set[str]:
    """The rules by which the gateway, as its findings tell, has refused something."""
    found = region.shown(gateway)["findings"]
    return {rule for each in found for rule in re.findall(r"refused: (\w+)", each["detail"])}


def test_a_command_is_carried_out_once_and_its_outcome_is_in_a_block(tmp_path: Path) -> None:
    with Region(tmp_path) as region:
        gateway = region.add("a")
        gateway.start()
        region.await_blocks(gateway)
        stale = command(region, gateway, "00" * 8)
        signed = command(region, gateway, region.shown(gateway)["boot"])
        eventually(lambda: "epoch-change" in region.findings(gateway), "the new epoch", PATIENCE)
        assert region.rest.post("/v1/commands", signed.encode())[0] == 202
        eventually(lambda: outcome(region, gateway, signed) == [DONE], "the outcome", PATIENCE)
        eventually(lambda: outcome(region, gateway, stale) == [ANOTHER_BOOT], "the refusal", PATIENCE)
        region.await_blocks(gateway)
        eventually(
            lambda: refused(region, gateway) == {"AnotherBoot", "Repeated"}, "what it refused", PATIENCE
        )
        assert [each for each in region.findings(gateway) if each != "refusal"] == [
            "command",
            "command",
            "epoch-change",
        ]
        assert outcome(region, gateway, signed) == [DONE]
