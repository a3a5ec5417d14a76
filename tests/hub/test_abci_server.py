"""The ABCI socket: frames however they come, answers in order, and an exception for whatever cannot be answered."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import abcikit
import pytest
from abcikit import COMMIT, FLUSH, INFO, Client, check, echo, finalize, kinds, query
from comets import federal
from fleet import Fleet, seeded
from hubkit import MemoryStore
from test_consensus_contract import a_life, apply_all, final_blocks

from gateway.chain.cometbft import chain_id
from gateway.chain.genesis import Validator
from gateway.chain.keys import SigningKey
from hub.consensus import abci_pb2 as pb
from hub.consensus.abci import MAX_FRAME, AbciServer, framed
from hub.consensus.application import APP_VERSION, DEFECT, Application, app_state
from hub.consensus.base import (
    DUPLICATE_VOTE,
    Applied,
    FinalBlock,
    Misbehaviour,
    Result,
    SnapshotInfo,
    TxResult,
    ValidatorUpdate,
)
from hub.consensus.comet_home import address
from hub.errors import StoreError
from hub.ledger.ledger import Commit, Ledger

PATIENCE = 20.0


class Follower:
    """Hears what the application tells."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def decided(self, height: int) -> None:
        self.heard.append(("decided", height))

    def committed(self, block: FinalBlock, result: Result) -> None:
        self.heard.append(("committed", block.height))

    def checked(self, tx: bytes, result: TxResult) -> None:
        self.heard.append(("checked", tx, result.code))


class FailingStore(MemoryStore):
    """A disk that is full until it is not."""

    def __init__(self) -> None:
        super().__init__()
        self.is_full = threading.Event()
        self.tried = threading.Event()

    def commit(self, commit: Commit) -> None:
        self.tried.set()
        if self.is_full.is_set():
            raise StoreError("the disk is full")
        super().commit(commit)


class Snapshots:
    """A provider of one snapshot of two chunks."""

    info = SnapshotInfo(9, 1, 2, bytes(32), b"m")

    def __init__(self) -> None:
        self.applied: list[tuple[int, bytes]] = []

    def snapshots(self) -> list[SnapshotInfo]:
        return [self.info]

    def chunk(self, height: int, form: int, index: int) -> bytes:
        return b"%d/%d/%d" % (height, form, index)

    def offer(self, info: SnapshotInfo, app_hash: bytes) -> bool:
        return info == self.info and app_hash == bytes(32)

    def apply(self, index: int, chunk: bytes) -> Applied:
        self.applied.append((index, chunk))
        return Applied.ACCEPTED if chunk else Applied.AGAIN


class Site:
    """A ledger behind a served socket. `machine` may be put in the ledger's place before `serve`."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.fleet = directory, Fleet()
        keys = [SigningKey(seeded("hub", place)) for place in range(4)]
        voters = [Validator(seeded("voter", place), 10) for place in range(4)]
        self.fleet.genesis = federal(self.fleet.genesis, keys, voters, self.fleet.genesis.created)
        self.members = {address(key.public) for key in keys}
        self.store, self.follower = FailingStore(), Follower()
        self.machine: Ledger = Ledger(self.fleet.genesis, self.store)
        self.snapshots: Snapshots | None = None
        self.clients: list[Client] = []

    def serve(self) -> Client:
        self.app = Application(
            self.machine, self.fleet.genesis, self.follower, self.members.__contains__, self.snapshots
        )
        self.server = AbciServer(self.directory, self.app.answer)
        self.server.start()
        return self.connect()

    def connect(self) -> Client:
        self.clients.append(Client(self.directory))
        return self.clients[-1]

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.app.stop()
        self.server.stop()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


def test_messages_arrive_whole_however_the_socket_cuts_them(site: Site) -> None:
    client = site.serve()
    texts = [random.Random(size).randbytes(size).hex() for size in (0, 1, 40, 70, 300, 9000)]
    for byte in b"".join(framed(echo(text)) for text in texts):
        client.socket.sendall(bytes((byte,)))
    assert [client.hear().echo.text for _ in texts] == texts


def test_many_requests_at_once_are_answered_in_their_order_and_kind(site: Site) -> None:
    client, fleet = site.serve(), site.fleet
    tx = fleet.order_enrolment(fleet.gateway("a").enrol())
    asked = [
        echo("1"),
        FLUSH,
        INFO,
        check(tx),
        FLUSH,
        query("/p2p/filter/addr/1.2.3.4:5"),
        check(b"x"),
        echo("2"),
    ]
    answers = client.ask(*asked * 30)
    expected = ["echo", "flush", "info", "check_tx", "flush", "query", "check_tx", "echo"]
    assert kinds(answers) == expected * 30
    assert [answer.check_tx.code for answer in answers if answer.WhichOneof("value") == "check_tx"] == [
        0,
        1,
    ] * 30


def test_four_connections_are_answered_each_for_itself(site: Site) -> None:
    first = site.serve()
    others = [site.connect() for _ in range(3)]
    site.store.is_full.set()
    first.ask(finalize(FinalBlock(1, site.fleet.now, bytes(32), ())))
    first.socket.sendall(framed(COMMIT))
    assert site.store.tried.wait(PATIENCE)
    for place, client in enumerate(others):
        assert client.ask(echo(str(place)))[0].echo.text == str(place)
    assert "full" in site.app.trouble


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff\xff\xff\xff\xff\xff",  # a length without end
        bytes((0x80, 0x80, 0x80, 0x80, 0x10)),  # 4 GiB
        b"\x03\xff\xff\xff",  # no protobuf
        b"\x00",  # no request at all
        b"\x03\x92\x01\x00",  # extend_vote, which the genesis leaves off
    ],
)
def test_what_is_no_request_is_answered_by_an_exception_and_the_end(site: Site, garbage: bytes) -> None:
    client = site.serve()
    client.socket.sendall(garbage)
    assert client.hear().WhichOneof("value") == "exception"
    assert client.is_over()
    assert site.connect().ask(echo("still here"))[0].echo.text == "still here"


def test_a_message_of_the_greatest_length_is_taken_and_one_byte_more_is_not(site: Site) -> None:
    client = site.serve()
    room = MAX_FRAME - len(echo("x" * MAX_FRAME).SerializeToString()) + MAX_FRAME
    assert len(client.ask(echo("x" * room))[0].echo.text) == room
    client.socket.sendall(framed(echo("x" * (room + 1)))[:10])
    assert client.hear().WhichOneof("value") == "exception"


def test_an_engine_killed_in_the_middle_of_a_message_does_no_harm(site: Site) -> None:
    client = site.serve()
    client.socket.sendall(framed(echo("x" * 1000))[:500])
    abcikit.abandon(client)
    assert site.connect().ask(echo("next"))[0].echo.text == "next"


def test_the_machine_gives_the_same_bytes_through_the_socket_as_without_it(site: Site) -> None:
    blocks = final_blocks(site.fleet)
    reference = MemoryStore()
    expected = apply_all(Ledger(site.fleet.genesis, reference), blocks)
    client = site.serve()
    for block, result in zip(blocks, expected, strict=True):
        assert isinstance(result, Result)
        finalized, committed = client.ask(finalize(block), COMMIT)
        assert finalized.finalize_block.app_hash == result.app_hash
        codes = [each.code for each in finalized.finalize_block.tx_results]
        assert codes == [each.code for each in result.tx_results]
        assert committed.commit.retain_height == 0
    assert sorted(site.store.entries()) == sorted(reference.entries())
    assert site.store.kept == reference.kept
    (info,) = client.ask(INFO)
    assert (info.info.last_block_height, info.info.app_version) == (len(blocks), APP_VERSION)
    assert info.info.last_block_app_hash == site.machine.info().app_hash
    heights = [block.height for block in blocks]
    assert [each for each in site.follower.heard if each[0] != "checked"] == [  # type: ignore[index]
        (what, height) for height in heights for what in ("decided", "committed")
    ]


def test_a_chain_begins_with_its_own_genesis_alone(site: Site) -> None:
    client, genesis = site.serve(), site.fleet.genesis
    (info,) = client.ask(INFO)
    assert (info.info.last_block_height, info.info.last_block_app_hash) == (0, b"")

    def begin(name: str, state: bytes, height: int = 1) -> pb.Request:
        return pb.Request(init_chain=pb.InitChain(chain_id=name, app_state=state, initial_height=height))

    right = json.dumps(app_state(genesis)).encode()
    (begun,) = client.ask(begin(chain_id(genesis.hash), right))
    assert begun.init_chain.app_hash == b""
    other = json.dumps(app_state(Fleet(1).genesis)).encode()
    for wrong in (
        begin("tocsin", right),
        begin(chain_id(genesis.hash), other),
        begin(chain_id(genesis.hash), b""),
        begin(chain_id(genesis.hash), right, 7),
    ):
        assert kinds(site.connect().ask(wrong)) == ["exception"]


def test_only_members_may_connect(site: Site) -> None:
    client = site.serve()
    member, stranger = min(site.members), bytes(20)
    asked = [
        f"/p2p/filter/id/{member.hex()}",
        f"/p2p/filter/id/{stranger.hex()}",
        "/p2p/filter/id/zz",
        "/p2p/filter/addr/127.0.0.1:26656",
        "/store/key",
    ]
    answers = client.ask(*map(query, asked))
    assert [answer.query.code == 0 for answer in answers] == [True, False, False, True, False]


def test_a_proposal_is_made_within_its_bounds_and_one_with_junk_in_it_is_refused(site: Site) -> None:
    client, fleet = site.serve(), site.fleet
    txs = [fleet.order_enrolment(fleet.gateway(f"gateway-{i:02}").enrol()) for i in range(40)]
    room = sum(map(len, txs[:20]))
    (made,) = client.ask(pb.Request(prepare_proposal=pb.PrepareProposal(max_tx_bytes=room, txs=txs)))
    taken = list(made.prepare_proposal.txs)
    assert taken == txs[: len(taken)]
    assert 0 < len(pb.Txs(txs=taken).SerializeToString()) <= room  # each behind a tag and its length
    good, bad = client.ask(
        pb.Request(process_proposal=pb.Proposal(txs=taken)),
        pb.Request(process_proposal=pb.Proposal(txs=[*taken, b"junk"])),
    )
    assert (good.process_proposal.result, bad.process_proposal.result) == (1, 2)


def test_a_commit_is_answered_only_once_it_is_on_disk(site: Site) -> None:
    client = site.serve()
    site.store.is_full.set()
    client.ask(finalize(FinalBlock(1, site.fleet.now, bytes(32), ())))
    client.socket.sendall(framed(COMMIT))
    assert site.store.tried.wait(PATIENCE)
    client.socket.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.hear()
    site.store.is_full.clear()
    again = site.connect()
    end = time.monotonic() + PATIENCE
    while again.ask(INFO)[0].info.last_block_height != 1:
        assert time.monotonic() < end
    assert site.app.trouble == ""


def test_a_hub_that_stops_leaves_a_commit_unanswered_that_is_not_on_disk(site: Site) -> None:
    client = site.serve()
    site.store.is_full.set()
    client.ask(finalize(FinalBlock(1, site.fleet.now, bytes(32), ())))
    client.socket.sendall(framed(COMMIT))
    assert site.store.tried.wait(PATIENCE)
    site.app.stop()
    site.server.stop()
    with pytest.raises(EOFError):
        client.hear()
    assert site.machine.info().height == 0


def test_a_final_block_out_of_order_or_a_commit_of_nothing_ends_the_engine(site: Site) -> None:
    client = site.serve()
    (answer,) = client.ask(COMMIT)
    assert "did not finalize" in answer.exception.text
    (answer,) = site.connect().ask(finalize(FinalBlock(2, 1, bytes(32), ())))
    assert "does not follow" in answer.exception.text


def test_a_transaction_that_brings_out_a_defect_is_refused_and_stops_nobody(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(tx: bytes) -> TxResult:
        raise ZeroDivisionError(tx)

    monkeypatch.setattr(site.machine, "check", defect)
    client = site.serve()
    first, second = client.ask(check(b"poison"), echo("alive"))
    assert first.check_tx.code == DEFECT
    assert second.echo.text == "alive"
    assert site.follower.heard == [("checked", b"poison", DEFECT)]


def test_a_defect_in_finalize_is_an_exception_never_an_answer(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(block: FinalBlock) -> Result:
        raise ZeroDivisionError(block.height)

    monkeypatch.setattr(site.machine, "finalize", defect)
    client = site.serve()
    (answer,) = client.ask(finalize(FinalBlock(1, 1, bytes(32), ())))
    assert "defect" in answer.exception.text
    assert client.is_over()


def test_misbehaviour_and_changes_of_voters_cross_the_socket(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    caught = Misbehaviour(bytes(range(20)), 7, DUPLICATE_VOTE)
    updates = (ValidatorUpdate(bytes(32), 0), ValidatorUpdate(bytes([1]) * 32, 10))
    seen: list[FinalBlock] = []
    honest = site.machine.finalize

    def finalized(block: FinalBlock) -> Result:
        seen.append(block)
        result = honest(FinalBlock(block.height, block.time, block.hash, block.txs))
        return Result(result.app, result.tx_results, updates)

    monkeypatch.setattr(site.machine, "finalize", finalized)
    client = site.serve()
    block = FinalBlock(1, site.fleet.now + 123, bytes(range(32)), (), (caught,))
    (answer,) = client.ask(finalize(block))
    assert seen == [block]
    told = answer.finalize_block.validator_updates
    assert [(each.key.ed25519, each.power) for each in told] == [(each.key, each.power) for each in updates]


def test_snapshots_are_the_providers_and_without_one_there_are_none(tmp_path: Path) -> None:
    offered = pb.Snapshot(height=9, format=1, chunks=2, hash=bytes(32), metadata=b"m")
    asked = [
        pb.Request(list_snapshots=pb.Nothing()),
        pb.Request(offer_snapshot=pb.OfferSnapshot(snapshot=offered, app_hash=bytes(32))),
        pb.Request(load_snapshot_chunk=pb.LoadSnapshotChunk(height=9, format=1, chunk=1)),
        pb.Request(apply_snapshot_chunk=pb.ApplySnapshotChunk(index=0, chunk=b"c")),
        pb.Request(apply_snapshot_chunk=pb.ApplySnapshotChunk(index=1, chunk=b"")),
    ]
    site = Site(tmp_path)
    site.snapshots = Snapshots()
    listed, taken, loaded, *applied = site.serve().ask(*asked)
    assert list(listed.list_snapshots.snapshots) == [offered]
    assert taken.offer_snapshot.result == 1
    assert loaded.load_snapshot_chunk.chunk == b"9/1/1"
    assert [each.apply_snapshot_chunk.result for each in applied] == [Applied.ACCEPTED, Applied.AGAIN]
    site.close()
    bare = Site(tmp_path)
    listed, taken, loaded, *applied = bare.serve().ask(*asked)
    assert not listed.list_snapshots.snapshots
    assert taken.offer_snapshot.result == 3
    assert loaded.load_snapshot_chunk.chunk == b""
    assert [each.apply_snapshot_chunk.result for each in applied] == [Applied.ABORTED] * 2
    bare.close()


def test_a_socket_deep_in_a_directory_tree_can_be_reached(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    site = Site(deep)
    assert site.serve().ask(echo("deep"))[0].echo.text == "deep"
    assert (deep / "abci.sock").stat().st_mode & 0o777 == 0o600
    site.close()


def test_a_life_is_checked_as_it_is_without_a_socket(site: Site) -> None:
    client, reference = site.serve(), Ledger(site.fleet.genesis, MemoryStore())
    for height, txs in enumerate(a_life(site.fleet), 1):
        answers = client.ask(*(check(tx, again=bool(height % 2)) for tx in txs))
        assert [each.check_tx.code for each in answers] == [reference.check(tx).code for tx in txs]
        block = FinalBlock(height, site.fleet.now + height, bytes(32), txs)
        client.ask(finalize(block), COMMIT)
        apply_all(reference, [block])
