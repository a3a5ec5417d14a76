"""Bodies among four real hubs: everywhere by policy, promised by several agencies, had round a hub that withholds."""

from __future__ import annotations

from typing import Any

from agencies import Agency, Federation, wait_for

from gateway.chain.block import Block
from gateway.chain.custody import CustodyBatch


def body(hub: Agency, block: Block, gateway: bytes, height: int) -> bool:
    """Whether a hub serves a block's public bytes."""
    try:
        found = Block.decode(hub.rest.cbor(f"/v1/blocks/{gateway.hex()}/{height}"))
    except OSError:
        return False
    return found.segments[0] == block.segments[0]


def member(hub: Agency, name: str) -> dict[str, Any]:
    return next((each for each in hub.answer("/v1/federation")["members"] if each["name"] == name), {})


def test_a_body_brought_to_one_hub_is_held_and_promised_by_all_agencies(federation: Federation) -> None:
    first = federation.hubs[0]
    caller = federation.call("a", first)
    block = caller.gateway.block(100, classes=(0, 1))
    caller.say("block", block.encode())
    for hub in federation.hubs:
        wait_for(lambda hub=hub: body(hub, block, caller.gateway.id, 1), f"the body at {hub.name}")  # type: ignore[misc]
    promised: set[bytes] = set()
    while len(promised) < 4:  # each comes by the one hub that the gateway speaks to, verified
        promised |= {CustodyBatch.decode(each.batch.body).hub for each in caller.receipts().custody}
    bodies = first.answer("/v1/federation")["bodies"]
    assert bodies["missing"] == 0
    assert {each["name"] for each in bodies["peers"]} == {"hub-2", "hub-3", "hub-4"}
    assert all(each["last_contact"] and each["bytes"] for each in bodies["peers"])
    for hub in federation.hubs[2:]:
        assert federation.audit(hub)["verdict"] == "ok"


def test_a_hub_that_withholds_what_it_promised_is_found_and_the_body_had_from_another(
    founding: Federation,
) -> None:
    one, two, *others = founding.hubs
    two.fault = "withholding"
    with founding as federation:
        at_two = federation.call("a", two)
        gateway = at_two.gateway
        block = gateway.block(100)
        at_two.say("block", block.encode())
        for hub in others:
            wait_for(lambda hub=hub: member(hub, two.name).get("breaches"), f"the breach at {hub.name}")  # type: ignore[misc]
            assert not body(hub, block, gateway.id, 1)
        found = [
            each
            for hub in (one, *others)  # whoever asked first
            for each in hub.answer("/v1/findings")
            if each["kind"] == "custody-lacked"
        ]
        assert found
        assert all(each["detail"].startswith(f"{two.name} signed") for each in found)
        at_one = federation.call("a", one)
        at_one.say("block", block.encode())
        for hub in (one, *others):
            wait_for(lambda hub=hub: body(hub, block, gateway.id, 1), f"the body at {hub.name}")  # type: ignore[misc]
        wait_for(lambda: member(one, two.name).get("breaches"), "the breach at the first")
        assert [member(one, each.name)["breaches"] for each in federation.hubs] == [0, 1, 0, 0]
