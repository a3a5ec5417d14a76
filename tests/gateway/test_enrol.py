"""Joining a chain: what is posted, what is believed of the answer, and when the ticket is gone."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from gateway_site import Site
from testhub import AUTHORITY, REGION, make_genesis, wait_until

from gateway.chain.governance import founding_roster
from gateway.chain.keys import TICKET, SigningKey, gateway_id
from gateway.chain.tenure import Enrolment, Ticket
from gateway.chain.verify import enrolled_id, verify_enrolment
from gateway.config import EnrolmentTable
from gateway.errors import ConfigError, TransportError
from gateway.region.enrol import (
    CREDENTIAL,
    EnrolmentRefused,
    Trust,
    enrol,
    erase_ticket,
    known_gateway,
    load_key,
    load_trust,
)

GENESIS = make_genesis()
SPENDER = SigningKey(b"\7" * 32)


class Desk:
    """A hub's enrolment over HTTP: keeps what was posted, answers as it is told."""

    def __init__(self) -> None:
        self.posted: list[bytes] = []
        self.status = 201
        self.answer: object = {
            "gateway": "",
            "region": REGION,
            "broker": "",
            "genesis": GENESIS.encode().hex(),
        }
        desk = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/enrolment"
                desk.posted.append(self.rfile.read(int(self.headers["Content-Length"])))
                body = json.dumps(desk.answer).encode()
                self.send_response(desk.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.stop()


def write_ticket(path: Path, region: str = REGION, genesis: bytes = GENESIS.hash) -> Path:
    body = Ticket(genesis, AUTHORITY.public, SPENDER.public, region, 1 << 42)
    signed = AUTHORITY.signed(TICKET, body.encode())
    path.write_text(json.dumps({"ticket": signed.encode().hex(), "seed": SPENDER.seed.hex()}))
    return path


def attempt(desk: Desk, directory: Path, trust: Trust | None = None) -> SigningKey:
    key, _ = load_key(directory)
    table = EnrolmentTable(desk.url, str(directory / "ticket"))
    enrol(table, key, "flat 3", REGION, trust or Trust(GENESIS.hash, None), directory)
    return key


def test_an_enrolment_is_signed_by_ticket_and_key_and_spends_the_ticket(desk: Desk, tmp_path: Path) -> None:
    write_ticket(tmp_path / "ticket")
    key = attempt(desk, tmp_path)
    enrolment = Enrolment.decode(desk.posted[0])
    ticket, body = verify_enrolment(enrolment, GENESIS, founding_roster(GENESIS), 0)
    assert (ticket.region, body.name, body.key) == (REGION, "flat 3", key.public)
    assert enrolled_id(enrolment) == gateway_id(key.public)
    assert load_trust(_hash_file(tmp_path), tmp_path).genesis == GENESIS
    assert (tmp_path / "ticket").exists(), (
        "only what is noted may make the ticket go: a crash may come between"
    )
    erase_ticket(tmp_path / "ticket")
    assert not (tmp_path / "ticket").exists()
    erase_ticket(tmp_path / "ticket")


def _hash_file(directory: Path) -> Path:
    path = directory / "trust"
    path.write_text(GENESIS.hash.hex() + "\n")
    return path


def test_the_genesis_of_another_chain_is_refused_and_the_ticket_kept(desk: Desk, tmp_path: Path) -> None:
    write_ticket(tmp_path / "ticket")
    desk.answer = {"genesis": make_genesis(name="another").encode().hex()}
    with pytest.raises(EnrolmentRefused, match="the trust file names"):
        attempt(desk, tmp_path)
    assert (tmp_path / "ticket").exists()
    assert not (tmp_path / "genesis.cbor").exists()


@pytest.mark.parametrize("answer", [[], {}, {"genesis": "zz"}, {"genesis": 5}, {"genesis": "00"}])
def test_an_answer_that_is_none_is_no_enrolment(desk: Desk, tmp_path: Path, answer: object) -> None:
    write_ticket(tmp_path / "ticket")
    desk.answer = answer
    with pytest.raises(TransportError):
        attempt(desk, tmp_path)
    assert (tmp_path / "ticket").exists()


@pytest.mark.parametrize(("status", "error"), [(403, EnrolmentRefused), (503, TransportError)])
def test_a_refusal_is_told_from_a_hub_that_cannot_now(
    desk: Desk, tmp_path: Path, status: int, error: type[Exception]
) -> None:
    write_ticket(tmp_path / "ticket")
    desk.status, desk.answer = status, {"error": "TicketUsed", "detail": "it was spent"}
    with pytest.raises(error, match="it was spent"):
        attempt(desk, tmp_path)
    desk.status, desk.answer = 201, {"genesis": GENESIS.encode().hex()}
    attempt(desk, tmp_path)
    assert desk.posted[0] == desk.posted[1]  # a repeat is the same bytes


def test_a_hub_that_is_away_is_a_matter_of_patience(tmp_path: Path) -> None:
    write_ticket(tmp_path / "ticket")
    key, _ = load_key(tmp_path)
    table = EnrolmentTable("http://127.0.0.1:1", str(tmp_path / "ticket"))
    with pytest.raises(TransportError, match="no answer"):
        enrol(table, key, "x", REGION, Trust(GENESIS.hash, None), tmp_path)


@pytest.mark.parametrize(("region", "genesis"), [("south", GENESIS.hash), (REGION, bytes(32))])
def test_a_ticket_for_elsewhere_is_not_posted(
    desk: Desk, tmp_path: Path, region: str, genesis: bytes
) -> None:
    write_ticket(tmp_path / "ticket", region, genesis)
    with pytest.raises(ConfigError, match="another chain"):
        attempt(desk, tmp_path)
    assert desk.posted == []


@pytest.mark.parametrize("text", ["", "{}", '{"ticket": "00", "seed": "00"}', "[]"])
def test_a_file_that_is_no_ticket_is_named(desk: Desk, tmp_path: Path, text: str) -> None:
    (tmp_path / "ticket").write_text(text)
    with pytest.raises(ConfigError, match="not a ticket file"):
        attempt(desk, tmp_path)


def test_a_kept_genesis_counts_only_under_the_trusted_hash(tmp_path: Path) -> None:
    (tmp_path / "genesis.cbor").write_bytes(make_genesis(name="another").encode())
    assert load_trust(_hash_file(tmp_path), tmp_path) == Trust(GENESIS.hash, None)
    (tmp_path / "genesis.cbor").write_bytes(b"torn")
    assert load_trust(_hash_file(tmp_path), tmp_path).genesis is None


def test_a_gateway_records_while_it_cannot_enrol_and_joins_later(desk: Desk, tmp_path: Path) -> None:
    site = Site(tmp_path / "g")
    write_ticket(site.directory / "ticket")
    desk.status = 503
    enrolment = f'[enrolment]\nurl = "{desk.url}"\nticket = "ticket"\n'
    run = site.start(readings=10, more=enrolment)
    wait_until(lambda: run.gateway.store.last_number() > 2 and bool(desk.posted), "blocks and an attempt")
    assert run.gateway.hubs == ()
    desk.status = 201
    wait_until(lambda: bool(run.gateway.hubs), "the enrolment")
    run.stop()
    posted = len(desk.posted)
    run = site.start(more=enrolment)
    wait_until(lambda: bool(run.gateway.hubs), "the hub's link")
    run.stop()
    assert len(desk.posted) == posted  # once in a lifetime


def test_a_gateways_id_is_known_from_its_key_wherever_that_is_and_nothing_is_made(tmp_path: Path) -> None:
    data, given = tmp_path / "data", tmp_path / "credentials"
    data.mkdir()
    given.mkdir()
    assert known_gateway(data, {}) is None
    assert known_gateway(tmp_path / "none", {}) is None
    assert list(data.iterdir()) == []
    (given / CREDENTIAL).write_text("22" * 32)
    named = known_gateway(data, {"CREDENTIALS_DIRECTORY": str(given)})
    assert named == gateway_id(SigningKey(b"\x22" * 32).public)
    key, _ = load_key(data, {})
    assert known_gateway(data, {}) == gateway_id(key.public)
