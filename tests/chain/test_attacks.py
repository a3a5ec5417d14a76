"""Attacks on the ledger format, each named after what the attacker wants. Every one of them must fail."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import pytest
from chain import examples, federation, recorded
from chain.examples import AUTHORITY, CATALOGUE, DOCUMENT, GATEWAY, GID, HUB, T0, TICKET_KEY, key

from gateway.chain.alarm import RECORDED, UNRECORDED, Alarm, Transition
from gateway.chain.block import NOTHING_SEEN, Block, Header, Seen, SegmentHead, list_catalogue, listing
from gateway.chain.canonical import INT_MAX, decode, encode
from gateway.chain.cometbft import CometSeal
from gateway.chain.custody import Promise, Receipt, issue_receipts
from gateway.chain.entries import (
    GatewayEntry,
    KeyEnd,
    KeyEntry,
    KeySpan,
    key_end_key,
    key_key,
)
from gateway.chain.errors import BadEvidence, ChainError, RevokedKey
from gateway.chain.events import ClockStep, Outcome, Shedding, Status
from gateway.chain.evidence import AlarmPart, BlockPart, ContractPart, Evidence, Finding, verify_evidence
from gateway.chain.finality import Checkpoint, EmbeddedSeal, Entry, Seal, verify_seal
from gateway.chain.genesis import COMETBFT, REGULATOR, Authority, Genesis, Hub, Validator, read_trust
from gateway.chain.governance import founding_roster
from gateway.chain.keys import (
    BLOCK,
    ENROLMENT,
    EPOCH,
    NO_HASH,
    REVOCATION,
    ROTATION,
    SUITE,
    TICKET,
    Signed,
    SigningKey,
    gateway_id,
    signing_input,
    verify,
)
from gateway.chain.leaf import ALARMS, ENROL, EQUIVOCATE, HEADERS, REVOKE, ROTATE, LogLeaf
from gateway.chain.reading import (
    build_segment,
    event_leaf,
    leaf_hashes,
    open_segment,
    reading_leaf,
    salt,
    segment_hash,
    transition_leaf,
)
from gateway.chain.state import StateProof
from gateway.chain.tenure import (
    NOWHERE,
    ContractGrant,
    Enrolment,
    EnrolmentBody,
    EpochChange,
    EpochChangeBody,
    Position,
    Revocation,
    Rotation,
    RotationBody,
    Ticket,
)
from gateway.chain.trees import LogTree, leaf_hash
from gateway.chain.verify import (
    check_ordered_time,
    check_standing,
    check_successor,
    open_block,
    verify_enrolment,
    verify_epoch_change,
    verify_equivocation,
    verify_grant,
    verify_revocation,
    verify_rotation,
)

DOC = examples.genesis()
ROSTER = founding_roster(DOC)
EXAMPLE = examples.build()
THIEF = key("thief")
CLASSES = [series.klass for series in CATALOGUE]
MOVED = examples.transition(DOC.hash)
SECRET = sha256(b"segment secret").digest()


def proves(file: Evidence, trusted: bytes = DOC.hash) -> Finding:
    return verify_evidence(file.encode(), trusted)


def refused(file: Evidence, trusted: bytes = DOC.hash) -> None:
    with pytest.raises(ChainError):
        proves(file, trusted)


def make_header(
    segments: Sequence[tuple[int, Sequence[bytes]]], **changes: Any
) -> tuple[bytes, tuple[bytes, ...]]:
    """A header over raw segments [(class, leaves)], committed to as they are, however wrong."""
    heads, bodies = [], []
    for klass, leaves in segments:
        secret = SECRET if klass else b""
        body = build_segment(klass, secret, leaves)
        hashes = LogTree(leaf_hashes(secret, leaves))
        heads.append(SegmentHead(klass, len(leaves), hashes.root(), segment_hash(body), 0))
        bodies.append(body)
    fields: dict[str, Any] = {
        "genesis": DOC.hash, "gateway": GID, "epoch": 1, "height": 1, "previous": NO_HASH, "boot": examples.BOOT,
        "wall": T0 + 20_000, "mono": 60_000, "span": 1300, "clock": 1, "catalogue": list_catalogue(CATALOGUE),
        "contracts": listing([DOCUMENT]), "seen": NOTHING_SEEN, "segments": tuple(heads),
    }  # fmt: skip
    return Header(**(fields | changes)).encode(), tuple(bodies)


def make_block(segments: Sequence[tuple[int, Sequence[bytes]]], **changes: Any) -> Block:
    header, bodies = make_header(segments, **changes)
    return Block(SUITE, header, GATEWAY.sign(BLOCK, header), bodies)


@dataclass
class Court:
    """A chain that accepted one block of ours, and whatever else an attacker got into log and state."""

    chain: examples.Chain
    enrolment: Enrolment
    enrolled: Checkpoint

    @classmethod
    def open(cls) -> Court:
        chain, enrolment = examples.Chain(DOC), examples.make_enrolment(DOC)
        chain.accept(ENROL, enrolment.hash)
        begin = KeyEntry(GID, GATEWAY.public, 1, ENROL, enrolment.hash)
        chain.put(key_key(GID, GATEWAY.public), begin.encode())
        return cls(chain, enrolment, chain.seal(10))

    def try_leaf(
        self,
        block: Block,
        segment: int = 0,
        index: int = 0,
        series: int | None = None,
        seen: Checkpoint | None = None,
        alarm: AlarmPart | None = None,
    ) -> Evidence:
        header = Header.decode(block.header)
        at = len(self.chain.log)
        self.chain.accept(HEADERS, block.hash, header.epoch, header.height)
        accepted = self.chain.seal(30)
        part = BlockPart(
            header=block.signed,
            leaf=examples.leaf_part(block, segment, index),
            series=None if series is None else examples.series_part(series),
            contracts=(ContractPart(0, DOCUMENT, ()),),
            finality=self.chain.proof(at, accepted),
            seen=seen,
        )
        return Evidence(1, DOC, part, alarm, self.standing(accepted))

    def standing(self, checkpoint: Checkpoint) -> Any:
        return replace(examples.standing(self.chain, self.enrolment.encode(), checkpoint))


# --- evidence: a file that proves something else than what happened ---------------------------------------


def test_the_honest_files_prove_what_happened() -> None:
    """What the attacks below vary does verify: they fail for their own reason."""
    for file in (EXAMPLE.reading, EXAMPLE.restricted, EXAMPLE.status, EXAMPLE.alarm_evidence, EXAMPLE.both):
        proves(file)
    block = make_block(
        [(0, [reading_leaf(0, 0, 1), transition_leaf(MOVED.encode())]), (2, [reading_leaf(1, 5, 1)])]
    )
    court = Court.open()
    found = proves(court.try_leaf(block, 1, 0, 1))
    assert found.stood
    assert found.stood.value == 1
    assert open_block(block, Header.decode(block.header), CLASSES, DOC)


def test_altering_any_byte_of_an_evidence_file_never_changes_what_it_proves() -> None:
    source = random.Random(5)
    for file in (EXAMPLE.reading, EXAMPLE.restricted, EXAMPLE.both):
        data = file.encode()
        meant = verify_evidence(data, DOC.hash).statement()
        for _ in range(250):
            altered = bytearray(data)
            altered[source.randrange(len(data))] ^= 1 << source.randrange(8)
            try:
                found = verify_evidence(bytes(altered), DOC.hash)
            except ChainError:
                continue
            assert found.statement() == meant


def test_altering_any_field_of_an_evidence_file_never_changes_what_it_proves() -> None:
    """Every integer, string and array of the file is replaced, dropped, doubled or swapped, one at a time."""
    for file in (EXAMPLE.reading, EXAMPLE.alarm_evidence):
        data = file.encode()
        meant = verify_evidence(data, DOC.hash).statement()
        item = decode(data, max_size=1 << 20)
        for altered in structural(item):
            try:
                found = verify_evidence(encode(altered), DOC.hash).statement()
            except ChainError:
                continue
            weaker = (
                {**found["block"], "seen": None, "contracts": []}
                if isinstance(found["block"], dict)
                else None
            )
            meant_block = meant["block"]
            expected = (
                {**meant_block, "seen": None, "contracts": []}
                if isinstance(meant_block, dict)
                else meant_block
            )
            assert {**found, "block": weaker} == {**meant, "block": expected} or _only_less(found, meant)


def _only_less(found: dict[str, Any], meant: dict[str, Any]) -> bool:
    """Whether a statement says the same but for the contract document that was left out of the file."""
    return bool(meant["alarm"]) and {**found["alarm"], "document": True} == meant["alarm"]


def structural(item: Any) -> Iterator[Any]:
    if isinstance(item, list):
        for i, part in enumerate(item):
            for altered in structural(part):
                yield [*item[:i], altered, *item[i + 1 :]]
            yield [*item[:i], *item[i + 1 :]]
            yield [*item[:i], part, *item[i:]]
            if i and item[i - 1] != part:
                yield [*item[: i - 1], part, item[i - 1], *item[i + 1 :]]
        yield []
    elif isinstance(item, int):
        yield from (item + 1, item - 1, 0)
    elif isinstance(item, bytes):
        yield from (b"", item[:-1], item + b"\0", bytes(len(item)))
    else:
        yield item + "x"


def test_an_evidence_file_under_another_trusted_genesis_is_refused() -> None:
    refused(EXAMPLE.reading, replace(DOC, name="Another region").hash)
    other = replace(DOC, name="Another region")
    refused(replace(EXAMPLE.reading, genesis=other), other.hash)
    refused(replace(EXAMPLE.alarm_evidence, genesis=other), other.hash)


def test_a_leaf_claimed_at_another_place_or_segment_is_refused() -> None:
    part = EXAMPLE.reading.block
    assert part
    for leaf in (
        replace(part.leaf, index=3),
        replace(part.leaf, index=6),
        replace(part.leaf, segment=1),
        replace(part.leaf, segment=2),
        replace(part.leaf, path=part.leaf.path[:-1]),
        replace(part.leaf, path=(*part.leaf.path, NO_HASH)),
        replace(part.leaf, leaf=reading_leaf(0, 1000, 9121)),
        replace(part.leaf, salt=bytes(16)),
        replace(part.leaf, salt=part.leaf.leaf[:8]),
    ):
        refused(replace(EXAMPLE.reading, block=replace(part, leaf=leaf)))


def test_a_salt_that_swallows_part_of_its_leaf_is_refused() -> None:
    """Salt and leaf are hashed side by side: the border must not move."""
    part = EXAMPLE.restricted.block
    assert part
    whole = part.leaf.salt + part.leaf.leaf
    for cut in (0, 8, 15):
        leaf = replace(part.leaf, salt=whole[:cut], leaf=whole[cut:])
        refused(replace(EXAMPLE.restricted, block=replace(part, leaf=leaf)))


def test_a_reading_beside_another_series_is_refused() -> None:
    part = EXAMPLE.reading.block
    assert part
    assert part.series
    renamed = replace(part.series, series=replace(part.series.series, name="bathroom.ch4"))
    rescaled = replace(part.series, series=replace(part.series.series, scale=-3))
    moved = replace(part.series, series=replace(CATALOGUE[1], index=0))
    for series in (renamed, rescaled, moved, examples.series_part(1), None):
        refused(replace(EXAMPLE.reading, block=replace(part, series=series)))


def test_a_transition_of_another_gateway_cannot_stand_as_this_gateways() -> None:
    stolen = replace(MOVED, gateway=gateway_id(THIEF.public))
    block = make_block([(0, [transition_leaf(stolen.encode())])])
    refused(Court.open().try_leaf(block))
    with pytest.raises(ChainError):
        open_block(block, Header.decode(block.header), CLASSES, DOC)


def test_a_transition_of_another_chain_cannot_stand_in_this_one() -> None:
    foreign = replace(MOVED, genesis=bytes(32))
    block = make_block([(0, [transition_leaf(foreign.encode())])])
    refused(Court.open().try_leaf(block))
    with pytest.raises(ChainError):
        open_block(block, Header.decode(block.header), CLASSES, DOC)


def test_a_public_reading_hidden_in_the_restricted_segment_is_refused() -> None:
    block = make_block([(2, [reading_leaf(0, 0, 9120)])])
    refused(Court.open().try_leaf(block, 0, 0, 0))
    with pytest.raises(ChainError):
        open_block(block, Header.decode(block.header), CLASSES, DOC)


def test_a_restricted_reading_leaked_in_the_public_segment_is_refused() -> None:
    block = make_block([(0, [reading_leaf(1, 0, 3)])])
    refused(Court.open().try_leaf(block, 0, 0, 1))
    with pytest.raises(ChainError):
        open_block(block, Header.decode(block.header), CLASSES, DOC)


@pytest.mark.parametrize(
    "leaf",
    [
        event_leaf(Status(0, 1301, 2, "nack")),
        event_leaf(ClockStep(1301, -5000, 1)),
        event_leaf(Outcome(bytes(32), 0xFFFFFFFF, 0)),
        reading_leaf(0, 1301, 1),
    ],
    ids=["status", "clock step", "outcome", "reading"],
)
def test_a_leaf_after_its_blocks_span_is_refused(leaf: bytes) -> None:
    block = make_block([(0, [leaf])])
    with pytest.raises(ChainError):
        open_block(block, Header.decode(block.header), CLASSES, DOC)
    refused(Court.open().try_leaf(block, 0, 0, 0 if leaf[1] != 4 and leaf[1] != 5 else None))


@pytest.mark.parametrize(
    "leaf", [event_leaf(Status(2, 0, 2, "")), reading_leaf(2, 0, 0), reading_leaf(255, 0, 0)]
)
def test_a_leaf_of_a_series_that_the_catalogue_lacks_is_refused(leaf: bytes) -> None:
    block = make_block([(0, [leaf])])
    with pytest.raises(ChainError):
        open_block(block, Header.decode(block.header), CLASSES, DOC)


@pytest.mark.parametrize("klass", [1, 2])
@pytest.mark.parametrize(
    "leaf",
    [
        transition_leaf(MOVED.encode()),
        event_leaf(Shedding(3, 1, 2, 2)),
        event_leaf(ClockStep(0, 5, 1)),
        event_leaf(Outcome(bytes(32), 0, 0)),
    ],
    ids=["transition", "shedding", "clock step", "outcome"],
)
def test_an_event_that_all_must_see_cannot_hide_in_a_closed_segment(klass: int, leaf: bytes) -> None:
    with pytest.raises(ChainError):
        open_segment(klass, build_segment(klass, SECRET, [leaf]))
    honest = make_block([(klass, [reading_leaf(0, 0, 0)])])
    head = Header.decode(honest.header)
    root = LogTree(leaf_hashes(SECRET, [leaf])).root()
    header = replace(head, segments=(replace(head.segments[0], root=root),)).encode()
    file = Court.open().try_leaf(replace(honest, header=header, signature=GATEWAY.sign(BLOCK, header)))
    assert file.block
    part = replace(file.block.leaf, leaf=leaf, salt=salt(SECRET, 0), path=())
    refused(replace(file, block=replace(file.block, leaf=part)))


@pytest.mark.parametrize("body", [b"", b"junk", MOVED.encode()[:-1], MOVED.encode() + b"\0"])
def test_an_event_that_nobody_can_read_is_no_transition(body: bytes) -> None:
    with pytest.raises(ChainError):
        open_segment(0, build_segment(0, b"", [transition_leaf(body)]))


def test_the_public_segment_cannot_be_encrypted() -> None:
    head = Header.decode(EXAMPLE.block.header)
    hidden = replace(head, segments=(replace(head.segments[0], key_id=7), *head.segments[1:]))
    with pytest.raises(ChainError):
        hidden.encode()


def test_a_segment_in_another_segments_place_or_missing_is_refused() -> None:
    header, block = Header.decode(EXAMPLE.block.header), EXAMPLE.block
    for segments in (block.segments[::-1], block.segments[:1], (*block.segments, b"")):
        with pytest.raises(ChainError):
            open_block(replace(block, segments=segments), header, CLASSES, DOC)
    withheld = replace(block, segments=(block.segments[0], b""))
    assert open_block(withheld, header, CLASSES, DOC)[1] is None


def test_a_header_cannot_be_read_as_any_other_signed_body() -> None:
    """Every body a gateway or hub signs is refused under every domain but its own."""
    signed = EXAMPLE.block.signed
    for domain in (
        "tocsin/alarm/v1",
        "tocsin/birth/v1",
        "tocsin/epoch/v1",
        "tocsin/seal/v1",
        "tocsin/block/v2",
        "",
    ):
        with pytest.raises(ChainError):
            signed.verify(domain, GATEWAY.public)
    for suite in (0, 2, 255):
        with pytest.raises(ChainError):
            verify(GATEWAY.public, BLOCK, suite, signed.body, signed.signature)


def test_the_border_between_domain_and_body_cannot_move() -> None:
    assert signing_input("a", 1, b"b") != signing_input("a\x00\x01b"[:1], 1, b"\x00b")
    body = b"\x01" + EXAMPLE.block.header
    signature = GATEWAY.sign("tocsin/block", body)
    with pytest.raises(ChainError):
        verify(GATEWAY.public, BLOCK, SUITE, body, signature)


@pytest.mark.parametrize(
    "public",
    [
        bytes(32),
        b"\x01" + bytes(31),
        b"\x01" + bytes(30) + b"\x80",
        b"\xed" + b"\xff" * 30 + b"\x7f",
        b"\xec" + b"\xff" * 30 + b"\x7f",
        bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
        bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
        b"\xee" + b"\xff" * 30 + b"\x7f",
    ],
)
def test_a_key_of_small_order_or_of_another_spelling_verifies_nothing(public: bytes) -> None:
    for signature in (bytes(64), b"\x01" + bytes(63), public + bytes(32)):
        for body in (b"", b"anything", b"anything else"):
            with pytest.raises(ChainError):
                verify(public, BLOCK, SUITE, body, signature)


def test_a_signature_has_one_spelling_of_its_scalar() -> None:
    order = (1 << 252) + 27742317777372353535851937790883648493
    signature = GATEWAY.sign(BLOCK, b"body")
    scalar = int.from_bytes(signature[32:], "little") + order
    verify(GATEWAY.public, BLOCK, SUITE, b"body", signature)
    with pytest.raises(ChainError):
        verify(GATEWAY.public, BLOCK, SUITE, b"body", signature[:32] + scalar.to_bytes(32, "little"))


@pytest.mark.parametrize("length", [0, 31, 33, 63, 65])
def test_a_key_or_signature_of_another_length_is_a_named_error(length: int) -> None:
    with pytest.raises(ChainError):
        verify(bytes(length), BLOCK, SUITE, b"", bytes(64))
    with pytest.raises(ChainError):
        verify(GATEWAY.public, BLOCK, SUITE, b"", bytes(length))


# --- time: older or younger than it was --------------------------------------------------------------------


def seen_of(checkpoint: Checkpoint) -> Seen:
    return examples.seen_of(checkpoint, DOC)


def test_a_block_back_dated_by_a_colluding_hub_is_refused() -> None:
    """It names the seal of a later final block than the one that claims to have accepted it."""
    court = Court.open()
    future = court.chain.height + 40
    body = EmbeddedSeal(DOC.hash, future, T0 + 900_000, court.chain.app.hash)
    later = Checkpoint(court.chain.app, Seal.embedded(HUB, body))
    block = make_block([(0, [reading_leaf(0, 0, 1)])], seen=seen_of(later))
    refused(court.try_leaf(block, 0, 0, 0, later))


def test_a_block_accepted_inside_the_log_that_it_had_seen_is_refused() -> None:
    court = Court.open()
    longer = Court.open()
    for i in range(5):
        longer.chain.accept(ALARMS, bytes((i,)) * 32)
    ahead = longer.chain.app
    body = EmbeddedSeal(DOC.hash, 1, T0 + 10_000, ahead.hash)
    later = Checkpoint(ahead, Seal.embedded(HUB, body))
    block = make_block([(0, [reading_leaf(0, 0, 1)])], seen=seen_of(later))
    refused(court.try_leaf(block, 0, 0, 0, later))


def test_a_header_that_names_an_unknown_seal_is_still_evidence_against_its_gateway() -> None:
    """Acceptance never checks the seal, so a bogus one must not make the block unprovable: only its bound is lost."""
    block = make_block([(0, [reading_leaf(0, 0, 1)])], seen=Seen(1 << 60, 1 << 60, b"\xff" * 32))
    found = proves(Court.open().try_leaf(block, 0, 0, 0))
    assert found.stood
    assert found.stood.seen is None


def test_a_seal_beside_the_header_that_it_does_not_name_is_refused() -> None:
    court = Court.open()
    block = make_block([(0, [reading_leaf(0, 0, 1)])], seen=seen_of(court.enrolled))
    other = court.chain.seal(11)
    refused(court.try_leaf(block, 0, 0, 0, other))
    court = Court.open()
    assert proves(court.try_leaf(block, 0, 0, 0, court.enrolled))


def entry(**changes: Any) -> GatewayEntry:
    return replace(examples.entry(1, Position(1, 1, EXAMPLE.block.hash), 0, 61_300, 1), **changes)


def following(**changes: Any) -> Header:
    header, _ = make_header(
        [(0, [reading_leaf(0, 0, 1)])],
        **(
            {"height": 2, "previous": EXAMPLE.block.hash, "mono": 61_300, "seen": Seen(1, 1, b"\1" * 32)}
            | changes
        ),
    )
    return Header.decode(header)


def test_the_successor_is_accepted_and_nothing_beside_it() -> None:
    check_successor(following(), entry())
    for changes in (
        {"height": 1, "previous": NO_HASH},
        {"height": 3},
        {"previous": b"\2" * 32},
        {"epoch": 2},
        {"mono": 61_299},
        {"seen": NOTHING_SEEN},
    ):
        with pytest.raises(ChainError):
            check_successor(following(**changes), entry())
    check_successor(following(mono=0, boot=b"another!"), entry())


def test_a_new_epochs_block_signed_before_the_epoch_was_ordered_is_refused() -> None:
    closed = entry(epoch=2, opened_at=7)
    with pytest.raises(ChainError):
        check_successor(following(epoch=2, seen=Seen(1, 7, b"\1" * 32)), closed)
    check_successor(following(epoch=2, seen=Seen(1, 8, b"\1" * 32)), closed)


def test_a_new_epochs_first_block_must_have_seen_its_order_even_where_nothing_was_final_before() -> None:
    fresh = examples.entry(2, NOWHERE, 7, 0, 0)
    header, _ = make_header([(0, [reading_leaf(0, 0, 1)])], epoch=2)
    with pytest.raises(ChainError):
        check_successor(Header.decode(header), fresh)


@pytest.mark.parametrize("field", ["wall", "mono"])
def test_times_whose_sum_leaves_the_range_cannot_halt_the_hubs(field: str) -> None:
    """The ledger adds the span to them: what it then cannot encode must have been refused as a header."""
    for value in (INT_MAX, (1 << 53) - 1, (1 << 53) - 1300):
        try:
            header, _ = make_header([(0, [reading_leaf(0, 0, 1)])], **{field: value})
        except ChainError:
            continue
        accepted = Header.decode(header)
        entry(mono=accepted.mono + accepted.span).encode()


def test_a_seen_seal_without_a_height_has_no_size_either() -> None:
    """Else its size alone would pass for having seen an epoch's order."""
    with pytest.raises(ChainError):
        make_header([(0, [reading_leaf(0, 0, 1)])], seen=Seen(0, 100, NO_HASH))


def test_an_ordered_time_beyond_ten_minutes_of_the_final_block_is_refused() -> None:
    for off in (600_001, -600_001):
        with pytest.raises(ChainError):
            check_ordered_time(T0 + off, T0)
    check_ordered_time(T0 + 600_000, T0)


# --- finality: acceptance that never was -------------------------------------------------------------------


def test_a_log_leaf_of_another_kind_place_or_gateway_proves_no_acceptance() -> None:
    proof, header = EXAMPLE.finality, Header.decode(EXAMPLE.block.header)
    leaf = LogLeaf(HEADERS, GID, header.epoch, header.height, EXAMPLE.block.hash)
    proof.verify(leaf, DOC)
    for other in (
        replace(leaf, kind=ALARMS),
        replace(leaf, gateway=bytes(16)),
        replace(leaf, epoch=2),
        replace(leaf, height=2),
        replace(leaf, hash=EXAMPLE.alarm.hash),
    ):
        with pytest.raises(ChainError):
            proof.verify(other, DOC)
    size = proof.checkpoint.app.log_size
    for changed in (
        replace(proof, index=1),
        replace(proof, index=0),
        replace(proof, index=size),
        replace(proof, path=(*proof.path, NO_HASH)),
        replace(proof, path=()),
        replace(proof, checkpoint=replace(proof.checkpoint, app=replace(proof.checkpoint.app, log_size=4))),
    ):
        with pytest.raises(ChainError):
            changed.verify(leaf, DOC)


def test_an_inner_node_of_the_log_is_no_accepted_item() -> None:
    log = EXAMPLE.chain.log
    node = log.leaf(0) + log.leaf(1)
    assert leaf_hash(node) != log.root(2)
    with pytest.raises(ChainError):
        LogLeaf.decode(node)


def test_a_seal_by_another_key_engine_or_chain_is_refused() -> None:
    checkpoint = EXAMPLE.finality.checkpoint
    said = EmbeddedSeal(DOC.hash, 3, T0, checkpoint.app.hash)
    forged = [
        Seal.embedded(THIEF, said),
        Seal.embedded(AUTHORITY, said),
        Seal.embedded(GATEWAY, said),
        Seal.embedded(HUB, replace(said, genesis=bytes(32))),
        replace(checkpoint.seal, engine=COMETBFT),
        recorded.seal(9),
    ]
    for seal in forged:
        with pytest.raises(ChainError):
            Checkpoint(checkpoint.app, seal).verify(DOC)
    with pytest.raises(ChainError):
        Checkpoint(replace(checkpoint.app, state_root=bytes(32)), checkpoint.seal).verify(DOC)


def comet() -> tuple[Genesis, CometSeal]:
    """The recorded engine's chain, and a seal of it with at least one change of validators."""
    return federation.genesis(), recorded.comet_seal(9)


def comet_refused(genesis: Genesis, seal: CometSeal) -> None:
    with pytest.raises(ChainError):
        verify_seal(Seal(COMETBFT, seal.encode()), genesis)


def test_a_recorded_engines_seal_holds() -> None:
    genesis, seal = comet()
    assert verify_seal(Seal(COMETBFT, seal.encode()), genesis).height == seal.header.height - 1


def test_a_commit_without_two_thirds_or_with_a_vote_twice_is_refused() -> None:
    genesis, seal = comet()
    votes = seal.commit.precommits
    for forged in (
        votes[:1],
        votes[:2],
        (votes[0], votes[0], votes[0]),
        (votes[0], votes[0], *votes[1:]),
        votes[::-1],
        (*votes[:-1], replace(votes[-1], validator=63)),
        (*votes[:-1], replace(votes[-1], signature=votes[0].signature)),
        (*votes[:-1], replace(votes[-1], nanos=(votes[-1].nanos + 1) % 1_000_000_000)),
    ):
        comet_refused(genesis, replace(seal, commit=replace(seal.commit, precommits=forged)))
    comet_refused(genesis, replace(seal, commit=replace(seal.commit, round=seal.commit.round + 1)))
    comet_refused(genesis, replace(seal, commit=replace(seal.commit, parts=seal.commit.parts + 1)))


def test_steps_left_out_doubled_or_made_up_are_refused() -> None:
    genesis, seal = comet()
    for step in seal.steps:
        comet_refused(genesis, replace(seal, steps=tuple(each for each in seal.steps if each != step)))
        comet_refused(genesis, replace(seal, steps=(step, *seal.steps)))
        stranger = (*step.validators, Validator(THIEF.public, 1))
        comet_refused(genesis, replace(seal, steps=(replace(step, validators=stranger), *seal.steps[1:])))
        unordered = replace(step, validators=step.validators[::-1])
        comet_refused(genesis, replace(seal, steps=(unordered, *seal.steps[1:])))
        heavier = tuple(replace(each, power=each.power + 1) for each in step.validators)
        comet_refused(genesis, replace(seal, steps=(replace(step, validators=heavier), *seal.steps[1:])))


def test_every_field_of_a_comet_header_is_under_its_signatures() -> None:
    genesis, seal = comet()
    for name in seal.header.__slots__:
        value = getattr(seal.header, name)
        other: Any
        if isinstance(value, int):
            other = value + 1
        elif isinstance(value, str):
            other = value[:-1] + ("0" if value[-1] != "0" else "1")
        else:
            other = bytes((value[0] ^ 1,)) + value[1:] if value else bytes(32)
        comet_refused(genesis, replace(seal, header=replace(seal.header, **{name: other})))


def test_a_seal_of_the_same_validators_for_another_chain_is_refused() -> None:
    genesis, seal = comet()
    comet_refused(replace(genesis, name="Another region"), seal)


def test_validators_of_great_power_do_not_overflow_into_a_quorum() -> None:
    genesis, seal = comet()
    heavy = tuple(replace(each, power=1 << 40) for each in genesis.validators)
    comet_refused(replace(genesis, validators=(*heavy, Validator(THIEF.public, 1 << 40))), seal)
    with pytest.raises(ChainError):
        replace(genesis, validators=(Validator(THIEF.public, (1 << 40) + 1),)).encode()


# --- state: keys that never were, or never ended -----------------------------------------------------------


def test_a_state_proof_of_another_key_or_value_is_refused() -> None:
    file = EXAMPLE.reading
    known = file.standing
    for standing in (
        replace(known, begin=known.end),
        replace(known, end=known.begin),
        replace(known, begin=replace(known.begin, value=b"")),
        replace(known, end=Entry(b"", known.begin.proof)),
        replace(known, end=Entry(b"", StateProof((), b"", b""))),
        replace(known, end=Entry(b"", replace(known.end.proof, siblings=known.end.proof.siblings[:-1]))),
        replace(
            known, end=Entry(b"", replace(known.end.proof, siblings=(*known.end.proof.siblings, NO_HASH)))
        ),
        replace(known, key=THIEF.public),
        replace(known, origin=b""),
    ):
        refused(replace(file, standing=standing))


def test_the_end_of_a_key_cannot_be_hidden_by_showing_another_gateways_absence() -> None:
    court = Court.open()
    file = court.try_leaf(make_block([(0, [reading_leaf(0, 0, 1)])]), 0, 0, 0)
    end = KeyEnd(REVOKE, NOWHERE, b"\7" * 32)
    court.chain.put(key_end_key(GID, GATEWAY.public), end.encode())
    now = court.chain.seal(60)
    refused(replace(file, standing=court.standing(now)))
    stranger = key_end_key(bytes(16), GATEWAY.public)
    hidden = replace(court.standing(now), end=Entry(b"", court.chain.state.prove(stranger)))
    refused(replace(file, standing=hidden))


def ended(end: KeyEnd, first: int = 1) -> Evidence:
    """The evidence of the block at (1, 1), its key ended so."""
    court = Court.open()
    file = court.try_leaf(make_block([(0, [reading_leaf(0, 0, 1)])]), 0, 0, 0)
    begin = KeyEntry(GID, GATEWAY.public, first, ENROL, court.enrolment.hash)
    court.chain.put(key_key(GID, GATEWAY.public), begin.encode())
    court.chain.put(key_end_key(GID, GATEWAY.public), end.encode())
    return replace(file, standing=court.standing(court.chain.seal(60)))


def test_a_block_after_its_keys_end_or_before_its_beginning_is_refused() -> None:
    block = make_block([(0, [reading_leaf(0, 0, 1)])])
    for kind in (REVOKE, EQUIVOCATE):
        with pytest.raises(RevokedKey):
            proves(ended(KeyEnd(kind, NOWHERE, NO_HASH)))
        with pytest.raises(RevokedKey):
            proves(ended(KeyEnd(kind, Position(1, 1, b"\7" * 32), NO_HASH)))
        assert proves(ended(KeyEnd(kind, Position(1, 1, block.hash), NO_HASH))).end
        assert proves(ended(KeyEnd(kind, Position(1, 2, b"\7" * 32), NO_HASH))).end
    with pytest.raises(RevokedKey):
        proves(ended(KeyEnd(ROTATE, NOWHERE, NO_HASH)))
    with pytest.raises(BadEvidence, match="by enrolment at height 1"):
        proves(ended(KeyEnd(ROTATE, Position(0, 9, NO_HASH), NO_HASH), first=2))


def test_a_key_looked_up_before_its_block_was_accepted_is_refused() -> None:
    """'Not ended' must not be as of a final block that could not know yet."""
    court = Court.open()
    early = court.standing(court.enrolled)
    file = court.try_leaf(make_block([(0, [reading_leaf(0, 0, 1)])]), 0, 0, 0)
    assert proves(file)
    with pytest.raises(BadEvidence):
        proves(replace(file, standing=early))


def test_the_enrolment_of_another_gateway_or_ticket_is_refused() -> None:
    file = EXAMPLE.reading
    ticket = Ticket(DOC.hash, AUTHORITY.public, key("ticket 2").public, "south", T0 + 86_400_000)
    body = EnrolmentBody(AUTHORITY.signed(TICKET, ticket.encode()), GATEWAY.public, "Elsewhere").encode()
    other = Enrolment(SUITE, body, key("ticket 2").sign(ENROLMENT, body), GATEWAY.sign(ENROLMENT, body))
    verify_enrolment(other, DOC, ROSTER, T0)
    refused(replace(file, standing=replace(file.standing, origin=other.encode())))


# --- alarms ------------------------------------------------------------------------------------------------


def test_an_alarms_mark_cannot_be_switched_on_the_way() -> None:
    for mark in (RECORDED, UNRECORDED):
        alarm = Alarm.sign(GATEWAY, MOVED.encode(), mark)
        alarm.verify(GATEWAY.public)
        with pytest.raises(ChainError):
            replace(alarm, mark=1 - mark).verify(GATEWAY.public)


def test_an_unrecorded_alarm_cannot_be_signed_again_as_a_recorded_one() -> None:
    """Whatever leaf the chain accepted for it, it proves one mark only."""
    for height in (0, 1):
        court = Court.open()
        at = len(court.chain.log)
        court.chain.accept(ALARMS, Alarm.sign(GATEWAY, MOVED.encode()).hash, 0, height)
        checkpoint = court.chain.seal(20)
        proved = []
        for mark in (RECORDED, UNRECORDED):
            alarm = Alarm.sign(GATEWAY, MOVED.encode(), mark)
            part = AlarmPart(alarm, b"", court.chain.proof(at, checkpoint))
            try:
                found = proves(Evidence(1, DOC, None, part, court.standing(checkpoint)))
            except ChainError:
                continue
            assert found.raised
            proved.append(found.raised.recorded)
        assert len(proved) == 1


def test_an_alarm_beside_another_blocks_transition_is_refused() -> None:
    other = replace(MOVED, counter=2)
    court = Court.open()
    at = len(court.chain.log)
    court.chain.accept(ALARMS, Alarm.sign(GATEWAY, other.encode()).hash)
    part = AlarmPart(
        Alarm.sign(GATEWAY, other.encode()), DOCUMENT, court.chain.proof(at, court.chain.seal(20))
    )
    refused(court.try_leaf(make_block([(0, [transition_leaf(MOVED.encode())])]), alarm=part))


def test_an_alarm_with_another_contracts_document_is_refused() -> None:
    file = EXAMPLE.alarm_evidence
    assert file.alarm
    refused(replace(file, alarm=replace(file.alarm, document=DOCUMENT + b"\0")))


def test_an_alarm_of_a_thief_or_of_another_chain_is_refused() -> None:
    file = EXAMPLE.alarm_evidence
    assert file.alarm
    for alarm in (
        Alarm.sign(THIEF, MOVED.encode()),
        Alarm.sign(GATEWAY, replace(MOVED, genesis=bytes(32)).encode()),
        Alarm.sign(GATEWAY, replace(MOVED, gateway=bytes(16)).encode()),
        Alarm.sign(GATEWAY, replace(MOVED, wall=T0).encode()),
    ):
        refused(replace(file, alarm=replace(file.alarm, alarm=alarm)))


def test_faults_have_one_order_in_every_language() -> None:
    """By UTF-8 bytes: a language that sorts UTF-16 units would put the second first."""
    low, high = "a:\uffee", "a:\U0001f525"
    assert low.encode() < high.encode()
    assert Transition.decode(replace(MOVED, faults=(low, high)).encode()).faults == (low, high)
    for faults in ((high, low), (low, low)):
        with pytest.raises(ChainError):
            replace(MOVED, faults=faults).encode()


# --- enrolment, rotation, epochs, equivocation --------------------------------------------------------------


def test_a_ticket_of_a_stranger_another_chain_or_a_past_day_enrols_nobody() -> None:
    def enrolment(ticket: Ticket, by: SigningKey = AUTHORITY, gateway: SigningKey = GATEWAY) -> Enrolment:
        body = EnrolmentBody(by.signed(TICKET, ticket.encode()), gateway.public, "x").encode()
        return Enrolment(SUITE, body, TICKET_KEY.sign(ENROLMENT, body), gateway.sign(ENROLMENT, body))

    good = Ticket(DOC.hash, AUTHORITY.public, TICKET_KEY.public, "north", T0)
    verify_enrolment(enrolment(good), DOC, ROSTER, T0)
    bad: list[tuple[Enrolment, int]] = [
        (enrolment(good), T0 + 1),
        (enrolment(good, THIEF), T0),
        (enrolment(replace(good, authority=THIEF.public), THIEF), T0),
        (enrolment(replace(good, authority=HUB.public), HUB), T0),
        (enrolment(replace(good, genesis=bytes(32))), T0),
        (enrolment(replace(good, key=THIEF.public)), T0),
        (enrolment(good, AUTHORITY, TICKET_KEY), T0),
        (replace(enrolment(good), by_gateway=enrolment(good).by_ticket), T0),
    ]
    for forged, time in bad:
        with pytest.raises(ChainError):
            verify_enrolment(forged, DOC, ROSTER, time)


def rotation(old: SigningKey, new: SigningKey, first: int, **changes: Any) -> Rotation:
    fields: dict[str, Any] = {
        "genesis": DOC.hash,
        "gateway": GID,
        "old": old.public,
        "new": new.public,
        "first": first,
    }
    body = RotationBody(**(fields | changes)).encode()
    return Rotation(SUITE, body, old.sign(ROTATION, body), new.sign(ROTATION, body))


NEXT = key("gateway 2")
TWO_KEYS = (KeySpan(GATEWAY.public, 1), KeySpan(NEXT.public, 8))


def test_a_rotation_is_made_by_both_keys_above_the_head_only() -> None:
    good = rotation(GATEWAY, NEXT, 2)
    verify_rotation(good, DOC, entry())
    for forged in (
        rotation(GATEWAY, NEXT, 1),
        rotation(THIEF, NEXT, 2),
        rotation(GATEWAY, GATEWAY, 2),
        rotation(GATEWAY, NEXT, 2, genesis=bytes(32)),
        replace(good, by_new=good.by_old),
        replace(good, by_old=good.by_new),
    ):
        with pytest.raises(ChainError):
            verify_rotation(forged, DOC, entry())
    with pytest.raises(ChainError):
        verify_rotation(good, DOC, entry(standing=REVOKE))


def test_a_rotation_back_to_an_old_key_cannot_unmake_the_proofs_of_the_past() -> None:
    standing = entry(keys=TWO_KEYS, head=Position(1, 9, b"\1" * 32))
    verify_rotation(rotation(NEXT, THIEF, 20), DOC, standing)
    with pytest.raises(ChainError):
        verify_rotation(rotation(NEXT, GATEWAY, 20), DOC, standing)


def test_the_key_of_a_height_is_the_last_one_begun() -> None:
    standing = entry(keys=TWO_KEYS)
    assert [standing.key_at(h) == GATEWAY.public for h in (1, 7, 8, 9)] == [True, True, False, False]


def pair(by: SigningKey, other: SigningKey | None = None, **changes: Any) -> tuple[Signed, Signed]:
    """Two different headers at one place, the lesser first."""
    where = {"height": 9, "previous": b"\1" * 32, "seen": NOTHING_SEEN} | changes
    bodies = sorted(make_header([(0, [reading_leaf(0, 0, value)])], **where)[0] for value in (1, 2))
    return by.signed(BLOCK, bodies[0]), (other or by).signed(BLOCK, bodies[1])


def test_two_headers_at_one_place_are_equivocation() -> None:
    verify_equivocation(*pair(GATEWAY), DOC, entry())


def test_nobody_is_framed_by_one_header_twice_or_by_headers_of_two_places_keys_or_chains() -> None:
    one, two = pair(GATEWAY)
    elsewhere = [pair(GATEWAY, epoch=2)[1], pair(GATEWAY, height=10)[1], pair(GATEWAY, gateway=bytes(16))[1]]
    for first, second in (
        (one, one),
        (two, one),
        (one, GATEWAY.signed(BLOCK, one.body)),
        *(tuple(sorted((one, other), key=lambda each: each.body)) for other in elsewhere),
        pair(THIEF),
        pair(GATEWAY, THIEF),
        pair(THIEF, GATEWAY),
        pair(GATEWAY, genesis=bytes(32)),
    ):
        with pytest.raises(ChainError):
            verify_equivocation(first, second, DOC, entry())


def test_headers_of_two_keys_at_one_place_frame_nobody() -> None:
    """Each key alone signed once: a thief's header beside the owner's is no lie of the owner's."""
    with pytest.raises(ChainError):
        verify_equivocation(*pair(GATEWAY, NEXT), DOC, entry(keys=TWO_KEYS))


def test_a_rotation_and_a_change_of_epoch_do_not_hide_equivocation() -> None:
    """The old key signed (1, 9) twice; then the gateway closed epoch 1 at 7 and rotated from 8."""
    verify_equivocation(*pair(GATEWAY), DOC, entry(keys=TWO_KEYS, head=Position(1, 7, b"\1" * 32), epoch=2))


def change(orphans: tuple[Position, ...] = (), by: SigningKey = GATEWAY, **changes: Any) -> EpochChange:
    fields: dict[str, Any] = {
        "genesis": DOC.hash, "gateway": GID, "boot": bytes(8), "epoch": 2, "closes": entry().head,
        "orphans": orphans, "reason": 1,
    }  # fmt: skip
    body = EpochChangeBody(**(fields | changes)).encode()
    return EpochChange(SUITE, body, by.sign(EPOCH, body), b"", b"")


def test_an_epoch_is_closed_at_its_final_head_by_its_own_gateway_only() -> None:
    verify_epoch_change(change(), DOC, ROSTER, entry(), T0)
    for forged in (
        change(epoch=3),
        change(closes=NOWHERE),
        change(closes=Position(1, 1, b"\7" * 32)),
        change(by=THIEF),
        change(genesis=bytes(32)),
        change((Position(1, 1, b"\7" * 32),)),
        change((Position(2, 5, b"\7" * 32),)),
    ):
        with pytest.raises(ChainError):
            verify_epoch_change(forged, DOC, ROSTER, entry(), T0)
    with pytest.raises(ChainError):
        verify_epoch_change(change(), DOC, ROSTER, entry(standing=EQUIVOCATE), T0)


def test_one_orphan_is_not_owned_up_to_twice() -> None:
    orphan = Position(1, 2, b"\7" * 32)
    with pytest.raises(ChainError):
        verify_epoch_change(change((orphan, orphan)), DOC, ROSTER, entry(), T0)


def test_a_fourth_change_of_epoch_in_the_window_needs_an_authority() -> None:
    worn = entry(epochs=(T0 - 2, T0 - 1, T0))
    made = change()
    with pytest.raises(ChainError):
        verify_epoch_change(made, DOC, ROSTER, worn, T0)
    for approver in (THIEF, HUB, GATEWAY):
        approved = replace(made, approver=approver.public, approval=approver.sign(EPOCH, made.body))
        with pytest.raises(ChainError):
            verify_epoch_change(approved, DOC, ROSTER, worn, T0)
    verify_epoch_change(
        replace(made, approver=AUTHORITY.public, approval=AUTHORITY.sign(EPOCH, made.body)),
        DOC,
        ROSTER,
        worn,
        T0,
    )
    verify_epoch_change(made, DOC, ROSTER, worn, T0 + DOC.epoch_window)


def test_a_gateway_barred_or_revoked_adds_nothing() -> None:
    for standing in (REVOKE, EQUIVOCATE):
        with pytest.raises(RevokedKey):
            check_standing(entry(standing=standing))


def test_only_an_authority_of_this_chain_revokes_or_grants() -> None:
    revocation = Revocation(DOC.hash, AUTHORITY.public, GID, NOWHERE, "stolen", T0)
    verify_revocation(AUTHORITY.signed(REVOCATION, revocation.encode()), DOC, ROSTER)
    grant = ContractGrant(DOC.hash, AUTHORITY.public, GID, 1, (DOCUMENT,))
    tries: list[tuple[Callable[[Signed, Genesis], object], Signed]] = [
        (verify_revocation, THIEF.signed(REVOCATION, revocation.encode())),
        (verify_revocation, HUB.signed(REVOCATION, replace(revocation, authority=HUB.public).encode())),
        (verify_revocation, AUTHORITY.signed(REVOCATION, replace(revocation, genesis=bytes(32)).encode())),
        (verify_revocation, AUTHORITY.signed("tocsin/contract-grant/v1", revocation.encode())),
        (verify_grant, AUTHORITY.signed(REVOCATION, grant.encode())),
        (verify_grant, THIEF.signed("tocsin/contract-grant/v1", grant.encode())),
    ]
    for check, signed in tries:
        with pytest.raises(ChainError):
            check(signed, DOC, ROSTER)


# --- genesis, trust, custody -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"authorities": (*DOC.authorities, Authority("regulator", REGULATOR, THIEF.public))},
        {"authorities": (*DOC.authorities, Authority("thief", REGULATOR, AUTHORITY.public))},
        {"authorities": DOC.authorities[:1]},
        {"hubs": (*DOC.hubs, Hub("hub-2", "other", THIEF.public))},
        {"custodians": 2},
        {"epoch_changes": 1000},
        {"version": 2},
        {"suite": 2},
        {"engine": COMETBFT},
        {"validators": (Validator(HUB.public, 1),)},
    ],
    ids=["name twice", "key twice", "no regulator", "two hubs embedded", "more custodians than agencies",
         "more changes than an entry counts", "version", "suite", "no validators", "validators embedded"],
)  # fmt: skip
def test_a_genesis_that_contradicts_itself_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ChainError):
        replace(DOC, **changes).encode()


def test_two_hubs_of_one_name_would_share_a_topic() -> None:
    genesis, _ = comet()
    with pytest.raises(ChainError):
        replace(genesis, hubs=(*genesis.hubs, Hub(genesis.hubs[0].name, "other", THIEF.public))).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"ab " * 20 + b"abab",
        b"ab" * 31 + b" a" + b"b",
        b"0x" + b"ab" * 31,
        b"ab" * 31,
        b"ab" * 33,
        b"ab" * 31 + b"a_",
        "\u0661".encode() * 32,
        b"ab" * 16 + b"\n" + b"ab" * 16,
        DOC.encode() + b"\n",
        b"",
    ],
)
def test_a_trust_file_is_a_genesis_or_its_hash_and_nothing_else(data: bytes) -> None:
    with pytest.raises(ChainError):
        read_trust(data)


def test_a_trust_file_is_read_in_either_form() -> None:
    assert read_trust(DOC.encode()) == (DOC.hash, DOC)
    for text in (DOC.hash.hex(), f"\n {DOC.hash.hex().upper()}\r\n"):
        assert read_trust(text.encode()) == (DOC.hash, None)


def test_a_custody_receipt_promises_what_its_hub_signed_and_no_more() -> None:
    promises = [Promise(GID, 1, n, bytes((n,)) * 32, 1, T0) for n in range(1, 6)]
    receipts = issue_receipts(HUB, DOC.hash, promises, T0)
    for receipt, promise in zip(receipts, promises, strict=True):
        assert receipt.verify(DOC, ROSTER)[0] == promise
    good = receipts[4]
    stranger = issue_receipts(THIEF, DOC.hash, promises, T0)[4]
    foreign = issue_receipts(HUB, bytes(32), promises, T0)[4]
    forged: list[Receipt] = [
        replace(good, promise=replace(good.promise, classes=7)),
        replace(good, promise=replace(good.promise, keep_until=T0 + 1)),
        replace(good, promise=replace(good.promise, gateway=bytes(16))),
        replace(good, promise=promises[0]),
        replace(good, index=3),
        replace(good, index=5),
        replace(good, path=(*good.path, NO_HASH)),
        replace(good, path=()),
        replace(good, batch=Signed(SUITE, good.batch.body, bytes(64))),
        stranger,
        foreign,
        replace(good, batch=GATEWAY.signed("tocsin/custody/v1", good.batch.body)),
        replace(good, batch=HUB.signed("tocsin/seal/v1", good.batch.body)),
    ]
    for receipt in forged:
        with pytest.raises(ChainError):
            receipt.verify(DOC, ROSTER)
    for index in range(5):
        assert index == 4 or not _receipt_holds(replace(good, index=index))


def _receipt_holds(receipt: Receipt) -> bool:
    try:
        receipt.verify(DOC, ROSTER)
    except ChainError:
        return False
    return True


def test_a_hostile_evidence_file_ends_in_a_named_error() -> None:
    source = random.Random(11)
    data = EXAMPLE.both.encode()
    for _ in range(300):
        start, end = sorted((source.randrange(len(data)), source.randrange(len(data))))
        for hostile in (data[:start] + data[end:], data[:end] + data[start:], source.randbytes(64)):
            with pytest.raises(ChainError):
                verify_evidence(hostile, DOC.hash)
    for bomb in (
        b"\x81" * 500_000,
        b"\x9a\x00\x07\x00\x00" + b"\x80" * 458_752,
        b"\x85\x01" + b"\x8c" * 400_000,
    ):
        with pytest.raises(ChainError):
            verify_evidence(bomb, DOC.hash)
