"""One small chain, whole and deterministic: the examples of FORMAT.md and the golden vectors come from here.

An authority enrols a gateway; it seals two blocks with a reading, a restricted value and a transition; raises an
alarm; loses its store and changes its epoch. Every final block is kept with its log size, so that any item can
be proved as of any of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from gateway.chain.alarm import ALARMED, NORMAL, Alarm, Deciding, Transition, contract_hash
from gateway.chain.block import Block, Header, Seen, SegmentHead, list_catalogue, listing
from gateway.chain.canonical import encode
from gateway.chain.custody import Promise, Receipt, issue_receipts
from gateway.chain.entries import (
    GatewayEntry,
    KeyEntry,
    KeySpan,
    TicketEntry,
    gateway_key,
    key_end_key,
    key_key,
    roster_key,
    ticket_key,
)
from gateway.chain.events import Actuation, Refusal, Status
from gateway.chain.evidence import (
    AlarmPart,
    BlockPart,
    ContractPart,
    Evidence,
    LeafPart,
    SeriesPart,
)
from gateway.chain.finality import AppState, Checkpoint, EmbeddedSeal, Entry, FinalityProof, Seal, verify_seal
from gateway.chain.genesis import AGENCY, EMBEDDED, REGULATOR, Authority, Genesis, Hub
from gateway.chain.keys import BLOCK, ENROLMENT, EPOCH, NO_HASH, SUITE, TICKET, SigningKey, gateway_id
from gateway.chain.leaf import ALARMS, CHANGE_EPOCH, ENROL, HEADERS, LogLeaf
from gateway.chain.neighbour import Building, Neighbour, NeighbourState, Raised, sign_message
from gateway.chain.reading import (
    PUBLIC,
    RESTRICTED,
    Series,
    build_segment,
    event_leaf,
    leaf_hashes,
    open_segment,
    reading_leaf,
    salt,
    segment_hash,
    transition_leaf,
)
from gateway.chain.standing import Standing
from gateway.chain.state import StateTree
from gateway.chain.tenure import (
    NOWHERE,
    Enrolment,
    EnrolmentBody,
    EpochChange,
    EpochChangeBody,
    Position,
    Ticket,
)
from gateway.chain.trees import LogTree, leaf_hash

T0 = 1_767_225_600_000  # 2026-01-01T00:00:00Z
VECTORS = Path(__file__).parent.parent / "vectors"


def key(name: str) -> SigningKey:
    """A key that anybody can make again: these are examples, not secrets."""
    return SigningKey(sha256(f"tocsin example {name}".encode()).digest())


AUTHORITY, REGULATOR_KEY, HUB, TICKET_KEY, GATEWAY = map(
    key, ("authority", "regulator", "hub", "ticket", "gateway")
)
GID = gateway_id(GATEWAY.public)
BOOT = bytes.fromhex("0102030405060708")
DOCUMENT = bytes.fromhex((VECTORS / "example-contract.hex").read_text().strip())
CATALOGUE = (
    Series(
        0,
        "kitchen.ch4",
        "ch4",
        "ppm",
        0,
        PUBLIC,
        5,
        60_000,
        1_000,
        30_000,
        "ads1115/mq-4 at 0x48",
        encode(["linear", 1, 1, 0]),
    ),
    Series(1, "hall.occupancy", "occupancy", "persons", 0, RESTRICTED, 0, 0, 50, 0, "counter", b""),
)


NEIGHBOUR_KEY = key("neighbour")


def building() -> Building:
    """Two flats of a house; one listens on both protocols."""
    return Building(
        form=2,
        name="elm-street-4",
        members=(
            Neighbour("flat-1", GID, GATEWAY.public, ("192.0.2.11:47470", "[2001:db8::11]:47470")),
            Neighbour(
                "flat-2", gateway_id(NEIGHBOUR_KEY.public), NEIGHBOUR_KEY.public, ("192.0.2.12:47470",)
            ),
        ),
    )


def told(**changes: Any) -> NeighbourState:
    """What flat 1 tells flat 2 in an alarm."""
    state = NeighbourState(
        building="elm-street-4",
        gateway=GID,
        boot=BOOT,
        counter=7,
        challenge=bytes(range(16)),
        asks=0,
        raised=(Raised("kitchen-gas", 2),),
        more=0,
        faults=1,
        echoes=(bytes(range(16, 32)),),
    )
    return replace(state, **changes)


def genesis() -> Genesis:
    return Genesis(
        version=1,
        suite=SUITE,
        engine=EMBEDDED,
        name="Example region",
        created=T0,
        authorities=(
            Authority("city-fire", AGENCY, AUTHORITY.public),
            Authority("regulator", REGULATOR, REGULATOR_KEY.public),
        ),
        hubs=(Hub("hub-1", "city-fire", HUB.public),),
        validators=(),
        epoch_changes=3,
        epoch_window=30 * 86_400_000,
        custodians=1,
        takeovers=(),
    )


@dataclass
class Chain:
    """The example's chain: what a hub would hold."""

    genesis: Genesis
    log: LogTree = field(default_factory=LogTree)
    state: StateTree = field(default_factory=StateTree)
    leaves: list[LogLeaf] = field(default_factory=list)
    height: int = 0

    def accept(self, kind: int, hash_: bytes, epoch: int = 0, height: int = 0, gateway: bytes = GID) -> int:
        """Add a leaf to the log and return its index."""
        leaf = LogLeaf(kind, gateway, epoch, height, hash_)
        self.leaves.append(leaf)
        self.log.append(leaf_hash(leaf.encode()))
        return len(self.leaves) - 1

    def put(self, state_key: bytes, value: bytes) -> None:
        self.state = self.state.put(state_key, value)

    @property
    def app(self) -> AppState:
        return AppState(len(self.log), self.log.root(), self.state.root)

    def seal(self, seconds: int) -> Checkpoint:
        """Make the next final block, `seconds` after the example's beginning."""
        self.height += 1
        body = EmbeddedSeal(self.genesis.hash, self.height, T0 + seconds * 1000, self.app.hash)
        return Checkpoint(self.app, Seal.embedded(HUB, body))

    def proof(self, index: int, checkpoint: Checkpoint) -> FinalityProof:
        return FinalityProof(index, self.log.inclusion(index, checkpoint.app.log_size), checkpoint)

    def shown(self, state_key: bytes) -> Entry:
        """A state entry, or its absence, with its proof under the latest state."""
        return Entry(self.state.get(state_key) or b"", self.state.prove(state_key))


def entry(epoch: int, head: Position, opened_at: int, mono: int, seen: int) -> GatewayEntry:
    boot = BOOT if head.height else bytes(8)
    changes = (T0 + 40_000,) if epoch > 1 else ()
    return GatewayEntry(
        "north", (KeySpan(GATEWAY.public, 1),), 0, epoch, head, opened_at, boot, mono, seen, changes
    )


def transition(genesis_hash: bytes) -> Transition:
    return Transition(
        genesis=genesis_hash,
        gateway=GID,
        boot=BOOT,
        counter=1,
        contract="gas.ch4.high",
        contract_hash=contract_hash(DOCUMENT),
        before=NORMAL,
        after=ALARMED,
        faults=(),
        values=(Deciding("gas", 9120, 61_000),),
        wall=T0 + 21_000,
        mono=61_000,
        clock=1,
    )


@dataclass
class Example:
    """Everything the example made, by name."""

    chain: Chain
    enrolment: Enrolment
    block: Block
    transition: Transition
    alarm: Alarm
    receipt: Receipt
    epoch_change: EpochChange
    finality: FinalityProof
    reading: Evidence
    restricted: Evidence
    status: Evidence
    actuation: Evidence
    alarm_evidence: Evidence
    both: Evidence
    building: Building
    told: bytes


def seen_of(checkpoint: Checkpoint, doc: Genesis) -> Seen:
    sealed = verify_seal(checkpoint.seal, doc)
    return Seen(sealed.height, checkpoint.app.log_size, sealed.hash)


def make_enrolment(doc: Genesis) -> Enrolment:
    ticket = Ticket(doc.hash, AUTHORITY.public, TICKET_KEY.public, "north", T0 + 86_400_000)
    return enrol(AUTHORITY, ticket, TICKET_KEY, GATEWAY, "Example Street 1, flat 3")


def enrol(
    authority: SigningKey, ticket: Ticket, ticket_key: SigningKey, gateway: SigningKey, name: str
) -> Enrolment:
    body = EnrolmentBody(authority.signed(TICKET, ticket.encode()), gateway.public, name).encode()
    return Enrolment(SUITE, body, ticket_key.sign(ENROLMENT, body), gateway.sign(ENROLMENT, body))


def make_block(doc: Genesis, seen: Seen, moved: Transition) -> Block:
    public = [
        reading_leaf(0, 0, 412),
        event_leaf(Status(0, 500, 1, "nack")),
        reading_leaf(0, 1000, 9120),
        transition_leaf(moved.encode()),
        event_leaf(Actuation(1000, "siren", 1, 1, moved.contract, 1)),
        event_leaf(Refusal(1200, 1, "Delayed", 2, sha256(b"tocsin example command").digest())),
    ]
    secret = sha256(b"tocsin example segment secret").digest()
    restricted = [reading_leaf(1, 250, 2), reading_leaf(1, 1250, 3), reading_leaf(1, 1300, -1)]
    segments, heads = [], []
    for klass, hidden, leaves in ((PUBLIC, b"", public), (RESTRICTED, secret, restricted)):
        data = build_segment(klass, hidden, leaves)
        segments.append(data)
        heads.append(SegmentHead(klass, len(leaves), open_segment(klass, data).root, segment_hash(data), 0))
    header = Header(
        genesis=doc.hash,
        gateway=GID,
        epoch=1,
        height=1,
        previous=NO_HASH,
        boot=BOOT,
        wall=T0 + 20_000,
        mono=60_000,
        span=1300,
        clock=1,
        catalogue=list_catalogue(CATALOGUE),
        contracts=listing([DOCUMENT]),
        seen=seen,
        segments=tuple(heads),
    ).encode()
    return Block(SUITE, header, GATEWAY.sign(BLOCK, header), tuple(segments))


def leaf_part(block: Block, segment: int, index: int) -> LeafPart:
    header = Header.decode(block.header)
    klass = header.segments[segment].klass
    opened = open_segment(klass, block.segments[segment])
    path = LogTree(leaf_hashes(opened.secret, opened.leaves)).inclusion(index)
    return LeafPart(segment, index, opened.leaves[index], salt(opened.secret, index) if klass else b"", path)


def series_part(index: int) -> SeriesPart:
    tree = LogTree([leaf_hash(each.encode()) for each in CATALOGUE])
    return SeriesPart(CATALOGUE[index], tree.inclusion(index))


def standing(
    chain: Chain, origin: bytes, checkpoint: Checkpoint, signer: SigningKey = GATEWAY, *, roster: bool = False
) -> Standing:
    gateway = gateway_id(signer.public)
    return Standing(
        key=signer.public,
        origin=origin,
        begin=chain.shown(key_key(gateway, signer.public)),
        end=chain.shown(key_end_key(gateway, signer.public)),
        roster=chain.shown(roster_key()) if roster else None,
        checkpoint=checkpoint,
    )


def build() -> Example:
    """Make the whole example. The same bytes at every call."""
    doc = genesis()
    chain = Chain(doc)
    enrolment = make_enrolment(doc)
    chain.accept(ENROL, enrolment.hash)
    chain.put(ticket_key(TICKET_KEY.public), TicketEntry(GID).encode())
    chain.put(key_key(GID, GATEWAY.public), KeyEntry(GID, GATEWAY.public, 1, ENROL, enrolment.hash).encode())
    chain.put(gateway_key(GID), entry(1, NOWHERE, 0, 0, 0).encode())
    enrolled = chain.seal(10)
    moved = transition(doc.hash)
    alarm = Alarm.sign(GATEWAY, moved.encode())
    chain.accept(ALARMS, alarm.hash)
    alarmed = chain.seal(22)
    block = make_block(doc, seen_of(enrolled, doc), moved)
    head = Position(1, 1, block.hash)
    chain.accept(HEADERS, block.hash, 1, 1)
    chain.put(gateway_key(GID), entry(1, head, 0, 61_300, 1).encode())
    accepted = chain.seal(30)
    change_body = EpochChangeBody(
        doc.hash, GID, bytes(8), 2, head, (Position(1, 2, b"\x22" * 32),), 2
    ).encode()
    change = EpochChange(SUITE, change_body, GATEWAY.sign(EPOCH, change_body), b"", b"")
    chain.accept(CHANGE_EPOCH, change.hash)
    chain.put(gateway_key(GID), entry(2, head, 3, 61_300, 1).encode())
    latest = chain.seal(41)
    promises = [
        Promise(GID, 1, 1, block.hash, 0b101, T0 + 365 * 86_400_000),
        Promise(GID, 1, 2, b"\x22" * 32, 1, T0),
    ]
    receipt = issue_receipts(HUB, doc.hash, promises, T0 + 30_500)[0]
    known = standing(chain, enrolment.encode(), latest)
    finality = chain.proof(2, accepted)
    contract = ContractPart(0, DOCUMENT, ())

    def of_leaf(
        segment: int, index: int, series: int | None, alarm_part: AlarmPart | None = None
    ) -> Evidence:
        part = BlockPart(
            header=block.signed,
            leaf=leaf_part(block, segment, index),
            series=None if series is None else series_part(series),
            contracts=(contract,) if segment == 0 else (),
            finality=finality,
            seen=enrolled,
        )
        return Evidence(1, doc, part, alarm_part, known)

    raised = AlarmPart(alarm, DOCUMENT, chain.proof(1, alarmed))
    return Example(
        chain, enrolment, block, moved, alarm, receipt, change, finality,
        reading=of_leaf(0, 2, 0),
        restricted=of_leaf(1, 1, 1),
        status=of_leaf(0, 1, 0),
        actuation=of_leaf(0, 4, None),
        alarm_evidence=Evidence(1, doc, None, raised, known),
        both=of_leaf(0, 3, None, raised),
        building=building(),
        told=sign_message(GATEWAY, told()),
    )  # fmt: skip
