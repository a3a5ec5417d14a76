"""A new hub begins by a snapshot instead of replaying everything; a hub that was away for too long comes back so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from agencies import Agency, Federation, wait_for
from proving import check_evidence, reading_evidence
from test_four_hubs import Line, check_all, final_height
from test_membership import carry, members

EVERY = 8


def with_snapshots(hubs: list[Agency], *lines: str) -> None:
    """Have hubs make snapshots often, and whatever else `lines` says."""
    for hub in hubs:
        change(hub, "[federation]\n", f"snapshot_every = {EVERY}", "idle_seconds = 5", *lines)


def change(hub: Agency, after: str, *lines: str) -> None:
    """Add lines to a hub's configuration, below another one."""
    path = hub.directory / "hub.toml"
    text = path.read_text()
    assert after in text
    path.write_text(text.replace(after, after + "".join(f"{line}\n" for line in lines)))


def shown(hub: Agency) -> set[tuple[int, str]]:
    return {(each["height"], each["hash"]) for each in hub.ask("/v1/snapshots") or ()}


def alike(hubs: list[Agency], above: int = 0) -> int:
    """Wait until hubs show the same snapshot above a height, and return its height."""

    def look() -> int:
        same = set.intersection(*(shown(hub) for hub in hubs))
        return max((height for height, _ in same if height > above), default=0)

    return wait_for(look, "the same snapshot at all hubs")


def newcomer(federation: Federation, *how: str) -> Agency:
    """A fifth hub, admitted and not started, that begins by a snapshot."""
    first, *others = federation.hubs
    fifth = Agency(federation.directory, 5)
    peers = [f"--peer={hub.name}=127.0.0.1:{hub.p2p},{hub.url}" for hub in federation.hubs]
    who = ("--name", fifth.name, "--agency", fifth.agency, "--region", federation.fleet.region)
    where = ("--p2p", f"127.0.0.1:{fifth.p2p}", "--api", fifth.api, "--broker", fifth.broker, "--snapshot")
    done = fifth.command("federation", "init", fifth.directory, *who, *where, *how, *peers)
    assert done.returncode == 0, done.stderr
    genesis = ("--genesis", first.directory / "genesis.cbor", "--hash", federation.genesis.hash.hex())
    done = fifth.command("federation", "join", fifth.directory, *genesis, "--agency", fifth.agency, *how)
    assert done.returncode == 0, done.stderr
    carry(first, others[:2], "admit", fifth.directory / f"{fifth.name}.member")
    wait_for(lambda: fifth.name in members(others[0]), "the fifth in the roster")
    federation.hubs.append(fifth)
    return fifth


def await_begun(hub: Agency) -> None:
    """Wait until a hub that began by a snapshot has started anew and follows the others."""
    wait_for(lambda: "from a snapshot" in hub.log.read_text(), "the snapshot")
    wait_for(lambda: hub.endpoints and hub.status.get("ok"), "the hub upon its snapshot")


def test_a_fifth_hub_begins_by_a_snapshot_and_votes(founding: Federation) -> None:
    with_snapshots(founding.hubs)
    with founding as federation:
        line = Line(federation, "flat", federation.hubs[0])
        line.await_final(line.send(3))
        fifth = newcomer(federation)
        with_snapshots([fifth])
        height = alike(federation.hubs[:4])
        fifth.start()
        wait_for(fifth.engine_pid, "its engine")
        fifth.kill()  # before anything of the snapshot is in force
        federation.start([fifth])
        await_begun(fifth)
        own = Line(federation, "cellar", fifth)
        own.await_final(own.send(2))
        line.await_final(line.send(2))
        federation.await_same()
        assert fifth.ask(f"/v1/checkpoint?height={height}") is not None
        wait_for(lambda: members(federation.hubs[1])[fifth.name]["power"], "its vote")
        after = alike(federation.hubs, above=height)  # its own is the same, byte for byte
        for hub in federation.hubs:
            assert json.dumps(hub.ask(f"/v1/checkpoint?height={after}"))
        found = federation.audit(fifth)
        assert found["verdict"] == "ok"
        assert found["begins"] >= height


def engine(hub: Agency, method: object, **params: object) -> dict[str, Any]:
    """What a hub's engine answers to a light client."""
    question = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
    _, answer = hub.rest.post("/v1/engine", json.dumps(question).encode())
    return dict(answer)


def lowest(hub: Agency) -> int:
    """The first block that a hub's engine still has."""
    found = engine(hub, "commit", height="1")
    if "result" in found:
        return 1
    return int(found["error"]["message"].rpartition("lowest height is ")[2])


@pytest.mark.soak
def test_a_hub_away_for_longer_than_blocks_are_kept_comes_back_by_a_snapshot(
    founding: Federation, tmp_path: Path
) -> None:
    *others, away = founding.hubs
    with_snapshots(founding.hubs)
    for hub in others:
        change(hub, "[federation]\n", "archive = false", "prune_after = 4")
        change(hub, f'name = "{away.name}"\n', "archive = true")
    with founding as federation:
        line = Line(federation, "flat", others[0])
        line.await_final(line.send())
        away.stop()
        stood = final_height(others[0])
        while any(lowest(hub) <= stood + 1 for hub in others):
            line.await_final(line.send(1), *others)
        proof = reading_evidence(others[0].directory, line.gateway.id, 1, tmp_path / "old.evidence")
        assert "/1" in check_evidence(proof, federation.genesis), "what is dropped is proved all the same"

        federation.start([away])
        wait_for(lambda: away.status.get("final_height"), "its height")
        assert away.height <= stood + 1, "what it misses nobody has any more"
        away.stop()
        done = away.command("federation", "resync", away.directory)
        assert done.returncode == 0, done.stderr
        change(away, "[federation]\n", f"snapshot_from = {json.dumps([hub.name for hub in others])}")
        federation.start([away])
        await_begun(away)
        line.await_final(line.send())
        others[0].kill()  # its vote is needed now
        line = Line(federation, "cellar", away)
        line.await_final(line.send(), away, *others[1:])
        federation.start([others[0]])
        check_all(federation)


def test_a_light_client_is_answered_and_nobody_else(federation: Federation) -> None:
    hub = federation.hubs[0]
    assert engine(hub, "commit", height="1")["result"]["signed_header"]["header"]["height"] == "1"
    assert len(engine(hub, "validators", height="1", page="1", per_page="100")["result"]["validators"]) == 4
    assert "error" in engine(hub, "commit", height="-1")
    for method in (
        "status",
        "net_info",
        "dial_peers",
        "unsafe_flush_mempool",
        "broadcast_tx_sync",
        ["commit"],
    ):
        assert engine(hub, method)["error"] == "BadQuestion"
    for body in (b"", b"[]", b"{}", b'{"id": 1, "method": "commit", "params": []}', b"\xff", b"[" * 4000):
        assert hub.rest.post("/v1/engine", body)[0] == 400
    assert hub.rest.post("/v1/engine", b" " * 5000)[0] == 413
