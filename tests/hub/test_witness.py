"""Hubs publish one log alike and cosign each other's; who shows another log is kept as evidence and never cosigned."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from certificates import Authority
from hubs import PATIENCE, RunningHub, eventually
from witnesskit import MINUTE, LogHub, Region, post

from firmware_tools.trusted_log import TrustedLog
from firmware_tools.witness import Server
from firmware_tools.witness import Witness as Outside
from gateway.chain.errors import BadProof, BadSignature, OtherHead, UnknownSigner, WrongChain
from gateway.chain.governance import founding_roster
from gateway.chain.keys import SigningKey
from gateway.chain.members import read_members
from gateway.chain.notes import (
    COSIGNATURE,
    LogHead,
    Note,
    NoteKey,
    Submission,
    cosign_note,
    hub_key,
    log_key,
    parse_lines,
    parse_proof,
    sign_note,
)
from gateway.chain.trees import check_consistency, leaf_hash, root_from_inclusion
from hub.errors import StoreError
from hub.federation.config import WitnessTable
from hub.storage.witness_store import MAX_SPLITS
from hub.witnessing import plainhttp
from hub.witnessing.witness import NotYet, Witness

Make = Callable[..., Region]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Region] = []

    def region(size: int = 4, readers: int = 0) -> Region:
        made.append(Region(tmp_path / str(len(made)), size, readers))
        return made[-1]

    yield region
    for each in made:
        each.close()


def keys_of(region: Region) -> list[NoteKey]:
    origin = region.hubs[0].witness.origin
    return [key for hub in region.genesis.hubs for key in (log_key(origin, hub.key), hub_key(origin, hub))]


def cosigner(region: Region, hub: LogHub) -> NoteKey:
    return hub_key(hub.witness.origin, region.genesis.hub(hub.key.public))


# what is published


def test_hubs_that_look_at_different_moments_publish_the_same_text(make: Make) -> None:
    region = make()
    region.grow("a", "b", seconds=1)
    region.grow("c", seconds=MINUTE / 1000)
    first, *others = region.hubs
    first.publisher.look()
    region.grow("d", "e")
    for hub in others:
        hub.publisher.look()
    region.grow("f")
    texts = {hub.publisher.note().text for hub in region.hubs}  # type: ignore[union-attr]
    assert texts == {first.head(3).text}


def test_a_log_is_published_at_the_next_interval_only(make: Make) -> None:
    region = make()
    hub = region.hubs[0]
    hub.publisher.look()
    assert hub.publisher.note() is None
    region.grow("a")
    hub.publisher.look()
    region.grow("b")
    hub.publisher.look()
    assert hub.publisher.status()["size"] == 1
    region.grow("c", seconds=MINUTE / 1000)
    hub.publisher.look()
    assert hub.publisher.status()["size"] == 3


def test_all_cosign_readers_too_and_every_name_and_time_can_be_read(make: Make) -> None:
    region = make(4, readers=1)
    region.grow("a", "b", "c")
    hub, *others = region.hubs
    hub.asks([(each.name, each.serve()) for each in others])
    hub.publisher.look()
    eventually(lambda: not hub.publisher.status()["missing"], "all cosignatures")
    note = hub.publisher.note()
    assert note is not None
    first, *rest = note.verify(keys_of(region))
    assert first.key == log_key(hub.witness.origin, hub.key.public)
    assert [(each.key.name.rpartition("/")[2], each.time) for each in rest] == [
        (other.name, region.now // 1000) for other in others
    ]


def test_the_next_checkpoint_is_cosigned_from_where_each_witness_is(make: Make) -> None:
    region = make()
    hub, *others = region.hubs
    urls = [(each.name, each.serve()) for each in others]
    hub.asks(urls)
    for names in ("ab", "cde", "f"):
        region.grow(*names, seconds=MINUTE / 1000)
        if names == "cde":  # another hub comes first with two of them
            others[1].witness.add_checkpoint(others[0].submission(2, 3))
        hub.publisher.look()
        size = hub.publisher.status()["size"]
        eventually(lambda: not hub.publisher.status()["missing"], f"cosignatures of {size} leaves")
    assert size == 6


def test_a_witness_that_is_ahead_is_asked_again_with_the_next_checkpoint(make: Make) -> None:
    region = make()
    region.grow("a", "b")
    hub, fast, other = region.hubs[:3]
    hub.asks([(fast.name, fast.serve())])
    region.grow("c", hubs=[fast, other])
    fast.witness.add_checkpoint(other.submission(0, 3))
    hub.publisher.look()
    eventually(lambda: "3 leaves already" in hub.publisher.status()["missing"][fast.name], "its refusal")
    hub.order(region.enrolment("c"), time=region.now)
    region.grow("d", seconds=MINUTE / 1000)
    eventually(lambda: all_cosigned(hub), "its cosignature")
    assert hub.publisher.status()["size"] == 4
    assert list(hub.publisher.status()["cosigned"]) == [fast.name]


def all_cosigned(hub: LogHub) -> bool:
    hub.publisher.look()
    return not hub.publisher.status()["missing"]


def test_one_that_is_dead_or_never_answers_holds_up_nobody(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("_SECONDS", "_WHOLE_SECONDS"):  # who never answers is asked as long as the test lasts
        monkeypatch.setattr(plainhttp, limit, PATIENCE)
    region = make()
    region.grow("a")
    hub, good, dead, silent = region.hubs
    with socket.create_server(("127.0.0.1", 0)) as closed, socket.create_server(("127.0.0.1", 0)) as mute:
        ports = [each.getsockname()[1] for each in (closed, mute)]
        closed.close()
        hub.asks(
            [
                (silent.name, f"http://127.0.0.1:{ports[1]}"),
                (dead.name, f"http://127.0.0.1:{ports[0]}"),
                (good.name, good.serve()),
            ]
        )
        hub.publisher.look()
        eventually(lambda: good.name in hub.publisher.status()["cosigned"], "the good one's cosignature")
        eventually(
            lambda: "does not answer" in hub.publisher.status()["missing"][dead.name],
            "the dead one's trouble",
        )
        assert hub.publisher.status()["missing"][silent.name] == "not asked yet"  # nobody waited for it


def test_an_answer_that_drips_or_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def drip(listener: socket.socket, byte: bytes, pause: float) -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                connection.sendall(byte)
                time.sleep(pause)

    for byte, pause, whole in ((b"x", 0.05, 0.3), (b"x" * 1000, 0, PATIENCE)):
        monkeypatch.setattr(plainhttp, "_WHOLE_SECONDS", whole)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=drip, args=(listener, byte, pause))
            thread.start()
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
            if pause:
                with pytest.raises(plainhttp.Unreached, match="takes too long"):
                    plainhttp.post(url, b"", 5000)
            else:
                assert len(plainhttp.post(url, b"", 5000)[1]) == 5000
            thread.join()


def test_a_witness_that_answers_rubbish_or_with_another_key_is_not_counted(make: Make) -> None:
    region = make()
    region.grow("a")
    hub, impostor, *_ = region.hubs
    url = impostor.serve()
    hub.asks([("hub-3", url), ("hub-4", f"{url}/v1/log/keys?")])
    hub.publisher.look()
    eventually(
        lambda: "not asked yet" not in hub.publisher.status()["missing"].values(), "both have been asked"
    )
    assert hub.publisher.note().lines[1:] == ()  # type: ignore[union-attr]
    assert "no cosignature by" in hub.publisher.status()["missing"]["hub-3"]


def test_a_hub_that_lags_says_so_and_cosigns_once_it_is_there(make: Make) -> None:
    region = make()
    ahead, late = region.hubs[0], region.hubs[1]
    region.grow("a")
    region.grow("b", hubs=[ahead])
    with pytest.raises(NotYet):
        late.witness.add_checkpoint(ahead.submission(0, 2))
    late.order(region.enrolment("b"), time=region.now)
    (line,) = parse_lines(late.witness.add_checkpoint(ahead.submission(0, 2)))
    assert (line.name, line.id) == (cosigner(region, late).name, cosigner(region, late).id)


def test_hubs_are_asked_over_tls_by_an_authority_of_their_own(
    make: Make, tmp_path: Path, require: Callable[[str], Path]
) -> None:
    authority = Authority(tmp_path, require("openssl"))
    region = make()
    region.grow("a")
    hub, other, *_ = region.hubs
    url = other.serve(*map(str, authority.certify("hub")))
    assert url.startswith("https://")
    for ca_file, said in (("", "CERTIFICATE_VERIFY_FAILED"), (str(tmp_path / "no.pem"), "cannot be asked")):
        hub.asks([(other.name, url)], ca_file=ca_file)
        hub.publisher.look()
        eventually(lambda said=said: said in hub.publisher.status()["missing"][other.name], said)  # type: ignore[misc]
    hub.asks([(other.name, url)], ca_file=str(authority.file))
    hub.publisher.look()
    eventually(lambda: other.name in hub.publisher.status()["cosigned"], "the cosignature")


# what a witness does not do


def test_a_witness_remembers_over_a_restart_and_never_goes_back(make: Make) -> None:
    region = make()
    region.grow("a", "b", "c")
    hub, other = region.hubs[:2]
    hub.witness.add_checkpoint(other.submission(0, 2))
    hub.close()
    hub.open()
    for old, new in ((0, 3), (1, 3)):
        with pytest.raises(OtherHead) as caught:
            hub.witness.add_checkpoint(other.submission(old, new))
        assert caught.value.size == 2
    hub.witness.add_checkpoint(other.submission(2, 3))
    store = hub.witness.store
    assert store.head(hub.witness.origin) == other.head(3)
    for head in (other.head(2), LogHead(hub.witness.origin, 3, bytes(32))):
        with pytest.raises(StoreError, match="never goes back"):
            store.advance(head)


def test_racing_submissions_leave_the_largest(make: Make) -> None:
    region = make()
    region.grow(*"abcdefgh")
    hub, other = region.hubs[:2]

    def submit(new: int) -> None:
        while (known := hub.witness.store.head(hub.witness.origin)) is None or known.size < new:
            try:
                hub.witness.add_checkpoint(other.submission(known.size if known else 0, new))
            except OtherHead:
                continue

    threads = [threading.Thread(target=submit, args=(new,)) for new in (3, 8, 5, 8, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert hub.witness.store.head(hub.witness.origin) == other.head(8)


def test_another_log_a_stranger_and_a_mere_cosignature_are_refused(make: Make) -> None:
    region = make()
    region.grow("a")
    hub, other = region.hubs[:2]
    origin, text, stranger = hub.witness.origin, other.head().text, SigningKey(bytes(32))
    elsewhere = LogHead("tocsin-" + "0" * 40, 1, bytes(32)).text
    for error, shown, line in (
        (WrongChain, elsewhere, sign_note(other.key, "w", elsewhere)),
        (BadSignature, text, sign_note(stranger, origin, text)),
        (BadSignature, text, cosign_note(other.key, cosigner(region, other).name, text, 1)),
    ):
        with pytest.raises(error):
            hub.witness.add_checkpoint(Submission(0, (), Note(shown, (line,))))


def test_who_is_no_member_cosigns_nothing(make: Make) -> None:
    region = make()
    region.grow("a")
    hub = region.hubs[0]
    gone = replace(hub.core, identity=replace(hub.core.identity, key=SigningKey(bytes(32))))
    with pytest.raises(UnknownSigner):
        Witness(gone, hub.witness.store).add_checkpoint(region.hubs[1].submission(0, 1))


def forked(region: Region) -> tuple[LogHub, LogHub]:
    """Two hubs whose logs part after the first leaf."""
    honest, liar = region.hubs[0], region.hubs[3]
    region.grow("a")
    region.grow("b", "c", hubs=[honest])
    liar.order(region.enrolment("x"), time=region.now)
    liar.order(region.enrolment("y"), time=region.now)
    return honest, liar


def test_a_hub_that_shows_another_log_is_kept_with_both_notes(make: Make) -> None:
    region = make()
    honest, liar = forked(region)
    honest.witness.add_checkpoint(region.hubs[0].submission(0, 1))
    for _ in range(3):  # it may try as often as it likes
        with pytest.raises(BadProof, match="another log of 3 leaves"):
            honest.witness.add_checkpoint(liar.submission(1, 3))
    (split,) = honest.witness.store.splits()
    theirs, ours = (Note.parse(each) for each in (split.theirs, split.ours))
    signers = [each.verify(keys_of(region))[0].key.public for each in (theirs, ours)]
    assert signers == [liar.key.public, honest.key.public]
    one, other = (LogHead.parse(each.text) for each in (theirs, ours))
    assert (one.origin, one.size) == (other.origin, other.size)
    assert one.root != other.root
    (finding,) = honest.store.notes.findings()
    assert (finding.kind, liar.name in finding.detail) == ("split-view", True)
    assert honest.witness.store.head(honest.witness.origin) == honest.head(1)
    honest.close()
    honest.open()
    assert honest.witness.store.splits() == [split]


def test_a_liar_cannot_fill_the_disk(make: Make) -> None:
    region = make()
    honest, liar = forked(region)
    for number in range(MAX_SPLITS + 5):
        text = LogHead(honest.witness.origin, 2, bytes((number,)) * 32).text
        note = Note(text, (sign_note(liar.key, honest.witness.origin, text),))
        with pytest.raises(BadProof):
            honest.witness.add_checkpoint(Submission(0, (), note))
    assert len(honest.witness.store.splits()) == len(honest.store.notes.findings()) == MAX_SPLITS


def test_a_hub_whose_own_log_is_not_what_it_cosigned_publishes_nothing(make: Make) -> None:
    region = make()
    region.grow("a", "b")
    hub = region.hubs[0]
    hub.publisher.look()
    hub.witness.store.advance(LogHead(hub.witness.origin, 3, bytes(32)))  # before its ledger was put back
    region.grow("c", seconds=MINUTE / 1000)
    with pytest.raises(BadProof, match="is not the one whose 3 leaves it cosigned"):
        hub.publisher.look()
    assert LogHead.parse(hub.publisher.note().text).size == 1  # type: ignore[union-attr]


def test_a_hub_that_was_put_back_publishes_again_once_it_has_caught_up(make: Make) -> None:
    region = make()
    region.grow("a", "b")
    hub, other = region.hubs[:2]
    region.grow("c", hubs=[other])
    hub.witness.store.advance(other.head(3))
    with pytest.raises(NotYet, match="catches up"):
        hub.publisher.look()
    hub.order(region.enrolment("c"), time=region.now)
    hub.publisher.look()
    assert hub.publisher.note() is not None


def test_a_dispute_by_a_witness_is_a_finding_once(make: Make) -> None:
    region = make()
    honest, liar = forked(region)
    liar.publisher.look()
    honest.publisher.look()
    region.grow("e", seconds=MINUTE / 1000, hubs=[honest])
    liar.order(region.enrolment("z"), time=region.now)
    liar.asks([(honest.name, honest.serve())])
    liar.publisher.look()
    eventually(lambda: liar.store.notes.findings(), "the finding")
    (finding,) = liar.store.notes.findings()
    assert (finding.kind, honest.name in finding.detail) == ("log-disputed", True)


# over HTTP


def test_every_refusal_has_the_status_that_tlog_witness_gives_it(make: Make) -> None:
    region = make()
    region.grow("a", "b", "c")
    hub, other = region.hubs[:2]
    url = hub.serve() + "/v1/witness/add-checkpoint"
    good = other.submission(0, 2)
    status, kind, text = post(url, good.encode())
    assert (status, kind) == (200, "text/plain; charset=utf-8")
    assert Note(good.note.text, parse_lines(text)).verify([cosigner(region, hub)])
    assert post(url, other.submission(0, 3).encode()) == (409, "text/x.tlog.size", "2\n")
    assert post(url, other.submission(2, 2).encode())[0] == 200
    assert post(url, b"rubbish")[0] == 400
    assert post(url, Submission(3, (), good.note).encode())[0] == 400
    assert post(url, Submission(2, (bytes(32),), other.submission(0, 3).note).encode())[0] == 422
    assert post(url, b"x" * 200_000)[0] == 413
    text = LogHead("elsewhere.example", 3, bytes(32)).text
    elsewhere = Submission(2, (), Note(text, (sign_note(other.key, "elsewhere.example", text),)))
    assert post(url, elsewhere.encode())[0] == 404
    text = other.head().text
    stranger = sign_note(SigningKey(bytes(32)), hub.witness.origin, text)
    assert post(url, Submission(2, (), Note(text, (stranger,))).encode())[0] == 403
    region.grow("d", hubs=[other])
    assert post(url, other.submission(2, 4).encode())[0] == 503


def test_a_hub_alone_publishes_its_log_with_proofs(tmp_path: Path) -> None:
    with RunningHub(tmp_path / "hub") as hub:
        assert hub.rest.status_of("/v1/log/leaf/0") == 404
        for name in ("a", "b", "c"):
            hub.enrol(name)
        keys = [NoteKey.parse(each) for each in hub.rest.get("/v1/log/keys").decode().splitlines()]
        found = [hub.rest.json(f"/v1/log/leaf/{index}?size=3") for index in range(3)]
        for each in found:
            path = [bytes.fromhex(step) for step in each["path"]]
            leaf = leaf_hash(bytes.fromhex(each["leaf"]))
            assert root_from_inclusion(leaf, each["index"], 3, path).hex() == each["root"]
        before = bytes.fromhex(hub.rest.json("/v1/log/leaf/0?size=2")["root"])
        old, path = parse_proof(hub.rest.get("/v1/log/proof?old=2&new=3"))
        check_consistency(old, before, 3, bytes.fromhex(found[0]["root"]), path)
        assert hub.rest.status_of("/v1/log/proof?old=2&new=9") == 404
        assert hub.rest.json("/v1/log/splits") == []
        roster, sealed = read_members(hub.rest.cbor("/v1/log/members"), hub.fleet.genesis)
        assert (roster, sealed.height > 0) == (founding_roster(hub.fleet.genesis), True)
        publisher = hub.service._publisher
        publisher._interval = 1  # no test waits a minute
        eventually(lambda: hub.rest.status_of("/v1/log/checkpoint") == 200, "a checkpoint")
        note = Note.parse(hub.rest.get("/v1/log/checkpoint"))
        assert [each.key for each in note.verify(keys)] == [keys[0]]
        assert LogHead.parse(note.text).size == hub.rest.json("/v1/status")["checkpoint"]["size"]


# outside witnesses


def test_a_witness_outside_cosigns_after_the_hubs_what_most_votes_stand_behind(
    make: Make, tmp_path: Path
) -> None:
    region = make()
    region.grow("a", "b")
    hub, *others = region.hubs
    outside = Outside(tmp_path / "witness", "university.example/tocsin", [TrustedLog.of(region.genesis)])
    with Server(outside, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            table = WitnessTable(server.url, str(outside.vkey))
            hub.asks([(each.name, each.serve()) for each in others], [table])
            eventually(lambda: all_cosigned(hub), "all cosignatures")
        finally:
            server.shutdown()
            thread.join()
    note = hub.publisher.note()
    assert note is not None
    assert [each.key for each in note.verify([outside.vkey])] == [outside.vkey]
    assert outside.known(hub.witness.origin) == hub.head(1)


def test_a_witness_table_needs_a_cosigning_key_and_an_address() -> None:
    key = SigningKey(bytes(32))
    good = str(NoteKey("w.example", COSIGNATURE, key.public))
    assert WitnessTable("https://w.example", good).key.name == "w.example"
    for url, vkey in (
        ("ftp://w.example", good),
        ("https://w.example", good[:-1]),
        ("https://w.example", str(log_key("w.example", key.public))),
    ):
        with pytest.raises(ValueError):  # noqa: PT011
            WitnessTable(url, vkey)
