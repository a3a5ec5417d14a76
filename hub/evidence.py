"""Evidence files out of the store: for one reading, or for one alarm.

Owned: finding the parts and putting them together. Not owned: the format and its check, `gateway.chain.evidence`.
What is made here verifies with the genesis alone; times are bounded as tightly as the ledger allows, because
acceptance is proved under the first seal that covers the item, and the key's standing under the latest one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.chain.alarm import Transition, contract_hash, transition_hash
from gateway.chain.block import Header
from gateway.chain.entries import GatewayEntry, KeyEntry, key_end_key, key_key, roster_key
from gateway.chain.errors import BadSignature, ChainError
from gateway.chain.events import OfSeries
from gateway.chain.evidence import (
    AlarmPart,
    BlockPart,
    ContractPart,
    Evidence,
    LeafPart,
    SeriesPart,
)
from gateway.chain.finality import Checkpoint, Entry, FinalityProof
from gateway.chain.genesis import Genesis
from gateway.chain.leaf import ALARMS, HEADERS, ROTATE, LogLeaf
from gateway.chain.ordered import Enrol, Import, decode_transaction
from gateway.chain.reading import PUBLIC, Segment, leaf_hashes, open_segment, parse_leaf, salt
from gateway.chain.standing import Standing
from gateway.chain.tenure import Enrolment, Position
from gateway.chain.trees import LogTree, leaf_hash
from gateway.chain.verify import check_header_signature, read_enrolment
from hub.errors import ConsensusError, HubError
from hub.ledger.ledger import Committed, Ledger
from hub.storage.store import Store

_MAX_DOCUMENTS: Final = 16
_TRIES: Final = 20
_SEAL_SECONDS: Final = 3.0


class NoEvidence(HubError):
    """What was asked for is not there, or not provable: the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Archive:
    """A chain as one hub holds it: enough to prove everything in it."""

    genesis: Genesis
    store: Store
    ledger: Ledger

    @classmethod
    def open(cls, path: Path) -> Archive:
        """Open a ledger's file for reading, beside a running hub or without one. Raises StoreError, NoEvidence."""
        with ExitStack() as stack:
            store = Store(path, read_only=True)
            stack.callback(store.close)
            document = store.chain.genesis()
            if document is None:
                raise NoEvidence(f"{path} holds no chain yet")
            genesis = Genesis.decode(document)
            archive = cls(genesis, store, _load_ledger(genesis, store))
            stack.pop_all()
        return archive

    def close(self) -> None:
        """Close the store."""
        self.store.close()


def _load_ledger(genesis: Genesis, store: Store) -> Ledger:
    for _ in range(_TRIES):
        with suppress(ConsensusError):  # a running hub may have committed between two reads
            return Ledger(genesis, store.chain)
    return Ledger(genesis, store.chain)


@dataclass(frozen=True, slots=True)
class _Place:
    """A final block, opened: where its header stands in the log and what its segments hold."""

    position: Position
    header: Header
    index: int
    segments: Sequence[Segment | None]


def reading_evidence(archive: Archive, gateway: bytes, height: int, leaf: int, klass: int = PUBLIC) -> bytes:
    """Return the evidence file for leaf `leaf` of the segment of class `klass` of a final block.

    Raises:
        NoEvidence: there is no such final block, segment or leaf, or its catalogue or contract is not known.
    """
    return _build(
        archive, gateway, _block_part(archive, gateway, _place(archive, gateway, height), klass, leaf)
    )


def alarm_evidence(archive: Archive, identity: bytes) -> bytes:
    """Return the evidence file for an alarm by its transition's hash, with its block where that is final.

    Raises:
        NoEvidence: the alarm is not known or not final.
    """
    store = archive.store
    for stored in store.alarms(transition=identity, flaw=""):
        index = archive.ledger.index(LogLeaf(ALARMS, stored.gateway, 0, stored.alarm.mark, identity))
        if index is not None:
            break
    else:
        raise NoEvidence(
            f"alarm {identity.hex()} is not final here: tocsin-hub status lists alarms by their hashes"
        )
    transition = Transition.decode(stored.alarm.transition)
    document = store.library.contract(transition.contract_hash) or b""
    part = AlarmPart(stored.alarm, document, _finality(archive, index))
    for gateway, position in store.blocks_with(identity):
        try:
            place = _place(archive, gateway, position.height)
            return _build(archive, stored.gateway, _transition_part(archive, gateway, place, identity), part)
        except (NoEvidence, ChainError):
            continue  # not final, without its contract, or under another key: the alarm stands by itself
    return _build(archive, stored.gateway, None, part)


def find_leaf(archive: Archive, gateway: bytes, height: int, series: str, at: int) -> tuple[int, int]:
    """Return (class, leaf index) of the last reading of a series in a final block that is not after `at` (Unix ms).

    Raises NoEvidence.
    """
    place = _place(archive, gateway, height)
    catalogue = archive.store.library.catalogue(place.header.catalogue.root) or ()
    wanted = {each.index for each in catalogue if each.name == series}
    for head, segment in zip(place.header.segments, place.segments, strict=True):
        for index, leaf in reversed(list(enumerate(segment.leaves if segment else ()))):
            parsed = parse_leaf(leaf)
            if isinstance(parsed, tuple) and parsed[0] in wanted and place.header.wall + parsed[1] <= at:
                return head.klass, index
    raise NoEvidence(f"block {height} of {gateway.hex()} holds no reading of {series!r} until then")


def _build(
    archive: Archive, gateway: bytes, block: BlockPart | None, alarm: AlarmPart | None = None
) -> bytes:
    at, checkpoint = _latest(archive)
    entry = at.entry(gateway)
    assert entry is not None, "what is in the log is of a gateway in the state"
    public = _signer(entry, block, alarm)
    begin = at.prove(key_key(gateway, public))
    record = KeyEntry.decode(begin.value)
    origin = _origin(archive, record.record) if record.kind != ROTATE else None
    roster = _roster(archive, at, origin) if isinstance(origin, Enrolment) else None
    end = at.prove(key_end_key(gateway, public))
    standing = Standing(public, origin.encode() if origin else b"", begin, end, roster, checkpoint)
    return Evidence(1, archive.genesis, block, alarm, standing).encode()


def _latest(archive: Archive) -> tuple[Committed, Checkpoint]:
    """Return the latest state with its checkpoint: a federation seals a final block when the next one is decided."""
    chain, ledger = archive.store.chain, archive.ledger
    give_up = time.monotonic() + _SEAL_SECONDS
    while True:
        at = ledger.committed
        if (checkpoint := chain.checkpoint(at.height)) is not None:
            return at, checkpoint
        if (checkpoint := chain.checkpoint()) is not None and (before := ledger.committed_as(checkpoint.app)):
            return before, checkpoint
        if time.monotonic() > give_up:
            raise NoEvidence(f"final block {at.height} has no seal: start the hub once, which makes it again")
        time.sleep(0.02)


def _signer(entry: GatewayEntry, block: BlockPart | None, alarm: AlarmPart | None) -> bytes:
    """Return the one key that signed all that is to be shown. Raises NoEvidence where it was more than one."""
    for span in reversed(entry.keys):
        try:
            if block is not None:
                check_header_signature(block.header, span.key)
            if alarm is not None:
                alarm.alarm.verify(span.key)
        except BadSignature:
            continue
        return span.key
    raise NoEvidence("block and alarm are signed by different keys")


def _origin(archive: Archive, identity: bytes) -> Enrolment | Import:
    """Return the record that brought a key into this chain."""
    found = archive.store.chain.record(identity)
    match decode_transaction(found.tx) if found else None:
        case Enrol(enrolment):
            return enrolment
        case Import() as record:
            return record
    raise NoEvidence(f"the enrolment {identity.hex()} is not in the store: run tocsin-hub audit")


def _roster(archive: Archive, at: Committed, enrolment: Enrolment) -> Entry | None:
    """Return the roster where it alone can name the authority that let a gateway in."""
    ticket, _ = read_enrolment(enrolment, archive.genesis)
    known = any(each.key == ticket.authority for each in archive.genesis.authorities)
    shown = None if known else at.prove(roster_key())
    return shown if shown and shown.value else None


def _finality(archive: Archive, index: int) -> FinalityProof:
    """Prove acceptance under the first seal that covers it, which bounds its time best."""
    checkpoint = archive.store.chain.checkpoint_covering(index)
    if checkpoint is None:
        raise NoEvidence(f"item {index} of the log is not sealed yet: ask again")
    return archive.ledger.finality(index, checkpoint)


def _place(archive: Archive, gateway: bytes, height: int) -> _Place:
    entry = archive.ledger.committed.entry(gateway)
    for epoch in range(entry.epoch if entry else 0, 0, -1):
        for stored in archive.store.headers_at(gateway, epoch, height):
            at = stored.position
            index = archive.ledger.index(LogLeaf(HEADERS, gateway, at.epoch, at.height, at.hash))
            block = archive.store.block(gateway, at)
            if index is not None and block is not None:
                header = stored.header
                pairs = zip(header.segments, block.segments, strict=True)
                return _Place(
                    at, header, index, [_open(head.klass, head.key_id, data) for head, data in pairs]
                )
    raise NoEvidence(f"gateway {gateway.hex()} has no final block {height} here")


def _open(klass: int, key_id: int, data: bytes) -> Segment | None:
    return open_segment(klass, data) if data and not key_id else None


def _transition_part(archive: Archive, gateway: bytes, place: _Place, identity: bytes) -> BlockPart:
    segment = place.segments[0]
    for index, leaf in segment.events if segment else ():
        parsed = parse_leaf(leaf)
        if isinstance(parsed, bytes) and transition_hash(parsed) == identity:
            return _block_part(archive, gateway, place, PUBLIC, index)
    raise NoEvidence("the block does not hold the transition")


def _block_part(archive: Archive, gateway: bytes, place: _Place, klass: int, index: int) -> BlockPart:
    header = place.header
    number = next((i for i, head in enumerate(header.segments) if head.klass == klass), None)
    segment = None if number is None else place.segments[number]
    if number is None or segment is None:
        raise NoEvidence(
            f"block {header.height} of {gateway.hex()} has no open segment of class {klass} here"
        )
    if not 0 <= index < len(segment.leaves):
        raise NoEvidence(f"the segment has leaves 0 to {len(segment.leaves) - 1}, not {index}")
    leaf = segment.leaves[index]
    salted = salt(segment.secret, index) if segment.secret else b""
    path = LogTree(leaf_hashes(segment.secret, segment.leaves)).inclusion(index)
    stored = archive.store.header(gateway, place.position)
    assert stored is not None, "it was found a moment ago, and nothing is ever deleted"
    return BlockPart(
        stored.signed,
        LeafPart(number, index, leaf, salted, path),
        _series_part(archive, header, leaf),
        _contract_parts(archive, header, leaf),
        _finality(archive, place.index),
        _seen(archive, header),
    )


def _series_part(archive: Archive, header: Header, leaf: bytes) -> SeriesPart | None:
    parsed = parse_leaf(leaf)
    if not isinstance(parsed, tuple | OfSeries):
        return None
    index = parsed.series if isinstance(parsed, OfSeries) else parsed[0]
    catalogue = archive.store.library.catalogue(header.catalogue.root)
    if catalogue is None:
        raise NoEvidence(
            "the catalogue of this block is not known yet: its gateway sends it at its next birth"
        )
    if index >= len(catalogue):
        raise NoEvidence(f"the leaf is of series {index}, which its block's catalogue does not have")
    tree = LogTree([leaf_hash(each.encode()) for each in catalogue])
    return SeriesPart(catalogue[index], tree.inclusion(index))


def _contract_parts(archive: Archive, header: Header, leaf: bytes) -> tuple[ContractPart, ...]:
    """Return the contracts in force that matter to a leaf: for a transition the one that decided, else all."""
    parsed = parse_leaf(leaf)
    documents = archive.store.library.contracts(header.contracts.root)
    wanted = Transition.decode(parsed).contract_hash if isinstance(parsed, bytes) else None
    if documents is None:
        if wanted is not None:
            raise NoEvidence(
                "the contracts of this block are not known yet: its gateway sends them at its next birth"
            )
        return ()
    tree = LogTree([leaf_hash(each) for each in documents])
    chosen = [i for i, each in enumerate(documents) if wanted in (None, contract_hash(each))]
    return tuple(ContractPart(i, documents[i], tree.inclusion(i)) for i in chosen[:_MAX_DOCUMENTS])


def _seen(archive: Archive, header: Header) -> Checkpoint | None:
    """Return the checkpoint that a header had seen, where this chain has it as named."""
    checkpoint = archive.store.chain.checkpoint(header.seen.height) if header.seen.height else None
    if checkpoint is None or checkpoint.app.log_size != header.seen.log_size:
        return None
    sealed = checkpoint.verify(archive.genesis)
    return checkpoint if sealed.hash == header.seen.seal_hash else None
