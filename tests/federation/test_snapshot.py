"""A new hub begins by a snapshot instead of replaying everything; a hub that was away for too long comes back so."""

from __future__ import annotations

import json

from agencies import Agency, Federation, wait_for
from test_four_hubs import Line
from test_membership import carry, members

EVERY = 8


def with_snapshots(federation: Federation, hubs: list[Agency], *lines: str) -> None:
    """Have hubs make snapshots often, and whatever else `lines` says."""
    for hub in hubs:
        add(hub, f"snapshot_every = {EVERY}", "idle_seconds = 2", *lines)


def add(hub: Agency, *lines: str) -> None:
    """Add lines to the table of the federation in a hub's configuration."""
    path = hub.directory / "hub.toml"
    text = path.read_text()
    path.write_text(text.replace("[federation]\n", "\n".join(("[federation]", *lines, ""))))


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
    with_snapshots(founding, founding.hubs)
    with founding as federation:
        line = Line(federation, "flat", federation.hubs[0])
        line.await_final(line.send(3))
        fifth = newcomer(federation)
        with_snapshots(federation, [fifth])
        height = alike(federation.hubs[:4])
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
        assert found["begins"] > EVERY // 2
