"""Members that lie: a double vote costs a member its vote, and a flood costs nobody else anything."""

from __future__ import annotations

import threading
import time

import pytest
from agencies import Federation, wait_for
from doublevotes import signed_twice
from test_four_hubs import Line
from test_membership import members

from gateway.chain.ordered import Headers, encode_transaction
from hub.consensus.comet_home import read_validator_key
from hub.consensus.comet_rpc import MAX_BATCH, RpcClient
from hub.errors import EngineRefusal, EngineSilent


def test_a_forged_double_vote_takes_the_members_vote_away_everywhere(federation: Federation) -> None:
    *others, liar = federation.hubs
    line = Line(federation, "flat", others[0])
    line.await_final(line.send())
    key = read_validator_key(liar.directory / "engine/config/priv_validator_key.json")
    rpc = RpcClient(others[0].directory / "engine")
    try:
        rpc.call("broadcast_evidence", evidence=signed_twice(rpc, federation.genesis, key, 2))
    finally:
        rpc.close()
    line.send()  # evidence alone makes no block
    for hub in others:
        wait_for(
            lambda hub=hub: (
                members(hub)[liar.name]["power"] == 0 and members(hub)[liar.name]["standing"] != "good"
            ),  # type: ignore[misc]
            f"the end of the vote, at {hub.name}",
        )
        wait_for(
            lambda hub=hub: any(each["kind"] == "misbehaviour" for each in hub.answer("/v1/findings")),  # type: ignore[misc]
            f"the finding at {hub.name}",
        )
    liar.kill()
    line.await_final(line.send(), *others)  # three of three
    federation.await_same()
    for hub in others:
        assert federation.audit(hub)["verdict"] == "ok"


@pytest.mark.soak
def test_a_mempool_flood_of_one_member_holds_up_no_alarm_of_the_others(federation: Federation) -> None:
    *others, bad = federation.hubs
    line, flood = Line(federation, "flat", others[0]), federation.fleet.gateway("flooding")
    line.await_final(line.send())
    federation.call("flooding", bad)
    blocks = [flood.block(1) for _ in range(3000)]  # good headers: what is not good is dropped at once
    txs = [encode_transaction(Headers((each.signed,))) for each in blocks]
    txs[::10] = [bytes((255, number % 256)) * 400 for number in range(len(txs[::10]))]  # and junk among them
    over = threading.Event()

    def offer() -> None:
        rpc = RpcClient(bad.directory / "engine")
        while not over.is_set():
            for at in range(0, len(txs), MAX_BATCH):
                if over.is_set():
                    break
                try:
                    rpc.broadcast(txs[at : at + MAX_BATCH])
                except (EngineRefusal, EngineSilent):
                    time.sleep(0.1)
        rpc.close()

    thread = threading.Thread(target=offer)
    thread.start()
    try:
        time.sleep(2)
        for _ in range(5):
            alarm = line.alarm()
            for hub in federation.hubs:
                wait_for(
                    lambda hub=hub, alarm=alarm: any(  # type: ignore[misc]
                        each["hash"] == alarm and each["final_ms"] for each in hub.ask("/v1/alarms") or ()
                    ),
                    f"the alarm final at {hub.name}, while the flood goes on",
                )
        line.await_final(line.send())
    finally:
        over.set()
        thread.join()
    federation.await_same()
