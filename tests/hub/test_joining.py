"""Who joins believes no single hub: two show the same snapshot, and its final block is proved under the genesis."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fedkit import Federation, SealingHub, agreed
from fleet import flip
from hubs import free_port

from hub.config import load_config
from hub.errors import ConfigError, ConsensusError
from hub.federation.config import FederationTable, PeerTable
from hub.federation.founding import Place, init, own_validator
from hub.federation.joining import begin, find_beginning, forget
from hub.federation.light_relay import LightRelay
from hub.lock import only_one
from hub.peers.link import PeerLink
from hub.storage.store import Store

SNAPSHOT = bytes(range(32))


class Shown(ThreadingHTTPServer):
    """A hub's REST interface that answers what it is told to."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.asked: list[bytes] = []

        class Handler(BaseHTTPRequestHandler):
            server: Shown

            def do_GET(self) -> None:
                answer = self.server.answers.get(self.path)
                self.send_response(200 if answer is not None else 404)
                self.send_header("Content-Length", str(len(answer or b"")))
                self.end_headers()
                self.wfile.write(answer or b"")

            def do_POST(self) -> None:
                self.server.asked.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.do_GET()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        super().__init__(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self.thread.start()

    @property
    def link(self) -> PeerLink:
        return PeerLink(self.url)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def show(self, *snapshots: tuple[int, bytes]) -> None:
        found = [{"height": height, "chunks": 1, "hash": identity.hex()} for height, identity in snapshots]
        self.answers["/v1/snapshots"] = json.dumps(found).encode()

    def prove(self, hub: SealingHub, *heights: int, shown_as: int = 0) -> None:
        for height in heights:
            checkpoint = hub.store.chain.checkpoint(height)
            assert checkpoint is not None
            self.answers[f"/v1/checkpoint?height={shown_as or height}"] = checkpoint.encode()

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        self.thread.join()


@pytest.fixture
def hubs() -> Iterator[list[Shown]]:
    made = [Shown() for _ in range(3)]
    yield made
    for each in made:
        each.close()


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[SealingHub]:
    """A hub whose chain the others prove: voters changed twice."""
    four = Federation()
    hub = SealingHub(tmp_path / "chain", four)
    hub.order(*agreed(four, four.admit(0, 4)))
    hub.order(*agreed(four, four.admit(0, 5), 1, 2, 4))
    hub.order()
    yield hub
    hub.close()


def test_the_latest_snapshot_that_two_show_alike_is_taken_with_all_changes_of_voters(
    hubs: list[Shown], chain: SealingHub
) -> None:
    one, two, three = hubs
    one.show((2, SNAPSHOT), (4, SNAPSHOT), (9, SNAPSHOT))
    two.show((2, SNAPSHOT), (4, SNAPSHOT))
    three.show((9, flip(SNAPSHOT, 1)))
    one.prove(chain, 4, 5)
    found, givers = find_beginning(chain.genesis, [hub.link for hub in hubs])
    assert (found.height, found.snapshot) == (4, SNAPSHOT)
    assert found.checkpoint.verify(chain.genesis).height == 4
    assert [step.header.height for step in found.steps] == [2, 4]
    assert [giver.url for giver in givers] == [one.url, two.url]
    assert (found.sync.height, found.sync.hash) == (5, found.seal.header.hash)


def test_one_hub_alone_is_not_believed(hubs: list[Shown], chain: SealingHub) -> None:
    one, two, three = hubs
    one.show((4, SNAPSHOT))
    one.prove(chain, 4, 5)
    two.answers["/v1/snapshots"] = b'[{"height": "much"}]'
    with pytest.raises(ConsensusError, match="no two of"):
        find_beginning(chain.genesis, [hub.link for hub in hubs])
    three.show((4, flip(SNAPSHOT, 1)), (5, SNAPSHOT))
    with pytest.raises(ConsensusError, match="no two of"):
        find_beginning(chain.genesis, [hub.link for hub in hubs])


def test_a_final_block_is_believed_only_under_the_genesis(
    hubs: list[Shown], chain: SealingHub, tmp_path: Path
) -> None:
    one, two, _ = hubs
    links = [hub.link for hub in hubs]
    other = SealingHub(tmp_path / "other", Federation(size=5))
    try:
        other.order()
        other.order()
        other.order()
        one.show((4, SNAPSHOT))
        two.show((4, SNAPSHOT))
        one.prove(other, 4, 5)
        two.prove(chain, 3, shown_as=4)
        two.prove(chain, 5)
        with pytest.raises(ConsensusError, match="none of 2 hubs proves final block 4"):
            find_beginning(chain.genesis, links)
        two.prove(chain, 4, 5)
        assert find_beginning(chain.genesis, links)[0].height == 4
    finally:
        other.close()


def test_the_light_client_is_handed_on_to_the_hub_that_it_names(hubs: list[Shown]) -> None:
    one, two, _ = hubs
    two.answers["/v1/engine"] = b'{"jsonrpc": "2.0", "id": 1, "result": {}}'
    with LightRelay([one.link, two.link]) as relay:
        first, second = (PeerLink(url) for url in relay.urls)
        assert second.post("", b"question", 1000) == two.answers["/v1/engine"]
        assert two.asked == [b"question"]
        for lost in (first, PeerLink(relay.urls[0][:-1] + "7"), PeerLink(relay.urls[0] + "x")):
            with pytest.raises(Exception, match="HTTP 502"):
                lost.post("", b"question", 1000)


@pytest.fixture
def member(tmp_path: Path, hubs: list[Shown]) -> Path:
    """A member's directory that is to begin by a snapshot of two others."""
    peers = tuple(PeerTable(f"hub-{place}", "", hub.url) for place, hub in enumerate(hubs, 1))
    directory = tmp_path / "hub"
    init(directory, Place("hub-0", "agency-0", "north", api=free_port(), peers=peers, snapshot=True))
    return directory


def engine_data(directory: Path) -> Path:
    """Make what an engine leaves when it is killed."""
    own_validator(load_config(directory / "hub.toml"))
    data = directory / "engine/data"
    for name in ("blockstore.db", "state.db", "cs.wal"):
        (data / name).mkdir()
        (data / name / "000001.log").write_bytes(b"something")
    return data


def names(data: Path) -> set[str]:
    return {each.name for each in data.iterdir()}


def rows(directory: Path) -> dict[str, int]:
    store = Store(directory / "ledger.db")
    tables = ("commits", "seals", "log", "state", "origin", "findings")
    found = {table: int(store.database.value(f"SELECT count(*) FROM {table}")) for table in tables}
    store.close()
    return found


def test_a_beginning_that_was_cut_off_before_the_engine_had_it_starts_from_nothing(
    hubs: list[Shown], chain: SealingHub, member: Path
) -> None:
    for hub in hubs:
        hub.show((4, SNAPSHOT))
        hub.prove(chain, 4, 5)
    data, store = engine_data(member), Store(member / "ledger.db")
    with store.database.write() as db:  # as a taking leaves it: the final block's effects, and no final block
        db.execute("INSERT INTO commits VALUES (4, 1, 0, ?)", (chain.ledger.committed.app.encode(),))
        db.execute("INSERT INTO origin VALUES (x'01', x'02')")
    with ExitStack() as stack:
        found = begin(load_config(member / "hub.toml"), chain.genesis, store, stack)
    store.close()
    assert found is not None
    assert found.height == 4
    assert len(found.servers) == 3
    assert names(data) == {"priv_validator_state.json"}
    assert not any(rows(member).values())


def test_a_hub_that_stands_on_final_blocks_is_left_alone(chain: SealingHub, member: Path) -> None:
    data = engine_data(member)
    config = load_config(member / "hub.toml")
    with ExitStack() as stack:
        assert begin(config, chain.genesis, chain.store, stack) is None
    assert "blockstore.db" in names(data)


def test_an_operator_has_a_chain_forgotten_and_nothing_else(chain: SealingHub, member: Path) -> None:
    hub = SealingHub(member, chain.federation)
    hub.order()
    hub.store.notes.add_finding(1, bytes(16), "kind", "what only this hub knows")
    hub.close()
    data = engine_data(member)
    with only_one(member), pytest.raises(ConfigError, match="another hub runs"):
        forget(member)
    forget(member)
    assert rows(member) == {"commits": 0, "seals": 0, "log": 0, "state": 0, "origin": 0, "findings": 1}
    assert names(data) == {"priv_validator_state.json"}
    assert (member / "engine/config/priv_validator_key.json").exists()


PEER = PeerTable("a", "", "http://a")
OTHER = PeerTable("b", "127.0.0.1:1")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"snapshot_from": ("a",)}, "two peers"),
        ({"snapshot_from": ("a", "b")}, "no peer's url"),
        ({"snapshot_from": ("a", "nobody")}, "no peer's url"),
        ({"snapshot_every": 1}, "at least 2"),
        ({"prune_after": 0}, "at least 2"),
        ({"archive": False}, "someone has to keep every block"),
    ],
)
def test_a_table_that_would_not_do_is_refused(table: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FederationTable(peers=(PEER, OTHER), **table)


def test_blocks_are_dropped_only_where_another_hub_keeps_them_all() -> None:
    keeper = PeerTable("a", "", "http://a", archive=True)
    assert FederationTable(peers=(keeper,), archive=False, prune_after=7).keep_blocks == 7
    assert FederationTable(peers=(keeper,), prune_after=7).keep_blocks == 0
