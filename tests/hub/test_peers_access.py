"""Who may ask a hub for what, how often and how much: strangers, the suspended, the hasty, replays, classes."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from certificates import Authority
from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from fleet import seeded
from hubs import Rest
from peerkit import QUICK, Node, Order

from gateway.chain.block import Block
from gateway.chain.governance import SuspensionBody
from gateway.chain.keys import BODY_REQUEST, CHALLENGE, SUSPENSION, SigningKey
from gateway.chain.ordered import Suspend, encode_transaction
from gateway.chain.possession import BodyRequest
from hub.api.server import ApiServer
from hub.config import ApiTable
from hub.peers.door import FRESH_MS, NotFresh, NotWelcome, TooFast
from hub.peers.link import Bucket, PeerLink, PeerRefusal, PeerSilent
from hub.peers.wire import GIVEN, LACKING, MAX_ANSWER, MAX_REQUEST, SHED, WITHHELD, BodiesAnswer


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Order]:
    with Order(tmp_path) as order:
        yield order


@pytest.fixture
def block(two: Order) -> Block:
    """A final block of all classes, held by the first hub."""
    (gateway,) = two.enrol("a")
    made = gateway.block(10, classes=(0, 1, 2))
    two.nodes[0].bring(gateway, made)
    two.make()
    return made


def request(by: Node, of: Node, *hashes: bytes, **fields: object) -> BodyRequest:
    fleet = by.fleet
    body = BodyRequest(fleet.genesis.hash, by.key.public, of.key.public, hashes, 0b111, fleet.now)
    return replace(body, **fields)  # type: ignore[arg-type]


def signed(body: BodyRequest, key: SigningKey, domain: str = BODY_REQUEST) -> bytes:
    return key.signed(domain, body.encode()).encode()


def states(answer: bytes) -> list[int]:
    (body,) = BodiesAnswer.decode(answer, max_size=MAX_ANSWER).bodies
    return [each.state for each in body.segments]


def test_a_member_has_public_and_internal_segments_and_no_restricted_ones(two: Order, block: Block) -> None:
    one, other = two.nodes
    answer = one.server.bodies(signed(request(other, one, block.hash), other.key))
    assert states(answer) == [GIVEN, GIVEN, WITHHELD]
    (body,) = BodiesAnswer.decode(answer, max_size=MAX_ANSWER).bodies
    assert tuple(each.data for each in body.segments) == (*block.segments[:2], b"")


def test_a_member_of_the_same_agency_or_a_trusted_one_has_all(tmp_path: Path) -> None:
    trusting = replace(QUICK, trusted=("hub-2",))
    with Order(tmp_path, hub_1=trusting) as order:
        (gateway,) = order.enrol("a")
        made = gateway.block(10, classes=(0, 2))
        one, other = order.nodes
        one.bring(gateway, made)
        order.make()
        other.pull()
        assert other.holds(made)
        roster = one.ledger.committed.roster(order.fleet.genesis)
        member, sister = roster.members[1], replace(roster.members[1], agency=roster.members[0].agency)
        assert QUICK.allows(member, roster.members[0]) == 0b011
        assert QUICK.allows(sister, roster.members[0]) == 0b111


def test_restricted_segments_that_a_hub_may_not_have_are_left_missing_without_asking_on_and_on(
    two: Order, block: Block
) -> None:
    other = two.nodes[1]
    other.pull()
    kept = other.store.bodies.find(block.hash)
    assert kept is not None
    assert kept.segments == (*block.segments[:2], b"")
    (receipt,) = other.store.custody.receipts(kept.gateway, 1, 1, 1)
    assert receipt.promise.classes == 0b011
    before = other.peers.views()[0].bytes
    assert not other.puller("hub-1").round()
    assert other.peers.views()[0].bytes - before < 1000


def test_a_stranger_is_not_answered(two: Order, block: Block) -> None:
    one, other = two.nodes
    stranger = SigningKey(seeded("stranger"))
    body = request(other, one, block.hash, hub=stranger.public)
    rest = Rest(one.api.url)
    status, answer = rest.post("/v1/peers/bodies", signed(body, stranger))
    assert (status, answer["error"]) == (403, "UnknownSigner")
    status, answer = rest.post("/v1/peers/bodies", signed(request(other, one, block.hash), stranger))
    assert (status, answer["error"]) == (403, "BadSignature")


def test_a_request_is_good_for_its_question_its_hub_and_its_chain_alone(two: Order, block: Block) -> None:
    one, other = two.nodes
    rest = Rest(one.api.url)
    for body, domain, name in (
        (request(other, other, block.hash), BODY_REQUEST, "NotWelcome"),
        (request(other, one, block.hash), CHALLENGE, "BadSignature"),
        (request(other, one, block.hash, genesis=seeded("other")), BODY_REQUEST, "WrongChain"),
    ):
        status, answer = rest.post("/v1/peers/bodies", signed(body, other.key, domain))
        assert (status, answer["error"]) == (403, name)


@pytest.mark.parametrize("off", [-FRESH_MS - 1, FRESH_MS + 1])
def test_a_stale_request_or_one_of_the_future_is_refused(two: Order, block: Block, off: int) -> None:
    one, other = two.nodes
    body = request(other, one, block.hash, time=two.fleet.now + off)
    with pytest.raises(NotFresh, match="compare the clocks"):
        one.server.bodies(signed(body, other.key))


def test_a_replayed_request_is_refused_for_as_long_as_it_would_be_fresh(two: Order, block: Block) -> None:
    one, other = two.nodes
    payload = signed(request(other, one, block.hash), other.key)
    one.server.bodies(payload)
    for _ in range(2):
        with pytest.raises(NotFresh, match="answered before"):
            one.server.bodies(payload)
        two.fleet.now += FRESH_MS
    two.fleet.now += FRESH_MS
    with pytest.raises(NotFresh, match="compare the clocks"):
        one.server.bodies(payload)


def test_a_suspended_member_is_not_answered(two: Order, block: Block) -> None:
    one, other = two.nodes
    fleet = two.fleet
    body = SuspensionBody(fleet.genesis.hash, fleet.regulator.public, "hub-2", "misuse", fleet.now)
    result = two.make(encode_transaction(Suspend(fleet.regulator.signed(SUSPENSION, body.encode()))))
    assert not result.tx_results[0].error
    with pytest.raises(NotWelcome, match="good standing"):
        one.server.bodies(signed(request(other, one, block.hash), other.key))
    with pytest.raises(PeerRefusal, match="good standing"):
        other.pull()
    assert not other.holds(block)


@pytest.mark.parametrize("payload", [b"", b"\x83\x01", bytes(64), b"\xff" * MAX_REQUEST], ids=len)
def test_bytes_that_are_no_request_are_refused(two: Order, payload: bytes) -> None:
    for question in ("bodies", "receipts", "library", "possession"):
        status, answer = Rest(two.nodes[0].api.url).post(f"/v1/peers/{question}", payload)
        assert status == 400, answer
    with pytest.raises((PeerRefusal, PeerSilent)):
        PeerLink(two.nodes[0].api.url).post("/v1/peers/bodies", bytes(MAX_REQUEST + 1), 1000)


def test_a_block_that_is_not_known_or_not_held_is_said_so(two: Order, block: Block) -> None:
    one, other = two.nodes
    other.peers.headers.catch_up()
    answer = other.server.bodies(signed(request(one, other, block.hash), one.key))
    assert states(answer) == [LACKING, LACKING, WITHHELD]
    two.fleet.now += 1
    assert states(other.server.bodies(signed(request(one, other, seeded("no block")), one.key))) == []


def test_what_was_shed_is_said_to_be_shed_and_not_asked_for_again(two: Order, block: Block) -> None:
    one, other = two.nodes
    kept = one.store.bodies.find(block.hash)
    assert kept is not None
    one.store.bodies.shed([kept.id * 4], two.fleet.now, "for a test")
    answer = one.server.bodies(signed(request(other, one, block.hash), other.key))
    assert states(answer) == [SHED, GIVEN, WITHHELD]
    other.pull()
    found = other.store.bodies.find(block.hash)
    assert found is not None
    assert found.segments == (b"", block.segments[1], b"")


def test_a_member_has_its_share_of_bytes_and_no_more(tmp_path: Path) -> None:
    slow = replace(QUICK, bytes_per_second=8192)
    with Order(tmp_path, hub_1=slow) as order:
        (gateway,) = order.enrol("a")
        one, other = order.nodes
        blocks = [gateway.block(800) for _ in range(4)]
        one.bring(gateway, *blocks)
        order.make()
        one.server.bodies(signed(request(other, one, *(each.hash for each in blocks)), other.key))
        order.fleet.now += 1
        with pytest.raises(TooFast) as refused:
            one.server.bodies(signed(request(other, one, blocks[0].hash), other.key))
        assert refused.value.seconds > 1
        link = PeerLink(one.api.url)
        order.fleet.now += 1
        with pytest.raises(PeerRefusal, match="share") as told:
            link.post("/v1/peers/bodies", signed(request(other, one, blocks[0].hash), other.key), MAX_ANSWER)
        assert told.value.seconds > 1, "it says for how long"


def test_a_hub_fetches_no_more_than_its_own_rate(tmp_path: Path) -> None:
    slow = replace(QUICK, bytes_per_second=8192)
    with Order(tmp_path, hub_2=slow) as order:
        (gateway,) = order.enrol("a")
        one, other = order.nodes
        blocks = [gateway.block(800) for _ in range(80)]
        one.bring(gateway, *blocks)
        order.make()
        other.peers.headers.catch_up()
        while other.puller("hub-1").round():
            pass
        assert 0 < sum(map(other.holds, blocks)) < len(blocks)
        assert not other.puller("hub-1").round(), "its rate is used up for a while"


def test_a_bucket_fills_with_time_and_holds_a_second() -> None:
    now = [0.0]
    bucket = Bucket(1000, lambda: now[0])
    bucket.spend(3000)
    assert bucket.wait() == pytest.approx(2.0)
    now[0] = 2.0
    assert bucket.wait() == 0
    now[0] = 1000.0
    bucket.spend(1001)
    assert bucket.wait() > 0, "a long rest saves up one second, not a thousand"


def test_an_answer_that_is_too_long_is_cut_off(two: Order, block: Block) -> None:
    one, other = two.nodes
    with pytest.raises(PeerSilent, match="more than 100 bytes"):
        PeerLink(one.api.url).post(
            "/v1/peers/bodies", signed(request(other, one, block.hash), other.key), 100
        )


def test_a_hub_that_is_away_is_left_alone_for_ever_longer(two: Order) -> None:
    one, other = two.nodes
    url = one.api.url
    one.api.stop()
    puller = other.puller("hub-1")
    rests = [puller._try() for _ in range(4)]
    assert all(rest > 0 for rest in rests)
    assert rests[3] > rests[0]
    (view,) = other.peers.views()
    assert view.failures == 4
    assert url in view.trouble


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b""]
)
def test_an_answer_that_drips_is_given_up(head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.peers.link._WHOLE_SECONDS", 0.3)
    over = threading.Event()

    def drip(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(head)
            with contextlib.suppress(OSError):
                while not over.wait(0.05):
                    connection.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip, args=(server,))
        thread.start()
        try:
            with pytest.raises(PeerSilent, match=r"0\.3 s"):
                PeerLink(f"http://127.0.0.1:{server.getsockname()[1]}").post("/v1/peers/bodies", b"", 2000)
        finally:
            over.set()
            thread.join()


def test_over_tls_a_hub_is_asked_only_under_the_authority_that_was_named(
    tmp_path: Path, require: Callable[[str], Path]
) -> None:
    authority = Authority(tmp_path, require("openssl"))
    certificate, key = authority.certify("hub")
    app = FastAPI()

    @app.post("/x")
    def answer() -> str:
        return "yes"

    server = ApiServer(app, ApiTable(port=0, cert_file=str(certificate), key_file=str(key)))
    server.start()
    try:
        assert PeerLink(server.url, str(authority.file)).post("/x", b"", 100) == b'"yes"'
        with pytest.raises(PeerSilent, match="certificate"):
            PeerLink(server.url).post("/x", b"", 100)
    finally:
        server.stop()


def test_a_redirect_is_not_followed() -> None:
    app = FastAPI()

    @app.post("/x")
    def answer() -> RedirectResponse:
        return RedirectResponse("/y")

    @app.post("/y")
    def other() -> str:
        return "yes"

    server = ApiServer(app, ApiTable(port=0))
    server.start()
    try:
        with pytest.raises(PeerSilent, match="307"):
            PeerLink(server.url).post("/x", b"", 100)
    finally:
        server.stop()
