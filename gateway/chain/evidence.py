"""Evidence files: all that a stranger needs to check one reading or alarm, with no network and no hub.

An evidence file proves a chain of statements, each by a signature or a hash: the item stands in a block (or is
an alarm by itself); the gateway's key signed it; the catalogue says what the numbers mean; the contract says
what was decided; consensus accepted it; the key was enrolled by an authority and had not ended, as of a named
final block; and it was signed after one sealed moment and before another.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Annotated, Final

from gateway.chain.alarm import MAX_CONTRACT, RECORDED, Alarm, Transition, contract_hash, transition_hash
from gateway.chain.block import Header
from gateway.chain.canonical import encode
from gateway.chain.entries import KeyEnd
from gateway.chain.errors import BadEvidence, BadProof, WrongShape
from gateway.chain.events import Event, OfSeries
from gateway.chain.finality import Checkpoint, FinalityProof, Sealed
from gateway.chain.genesis import Genesis
from gateway.chain.keys import Signed
from gateway.chain.leaf import ALARMS, HEADERS, LogLeaf
from gateway.chain.reading import Series, check_class, parse_leaf
from gateway.chain.record import Many, Maybe, Octets, Range, Record, UInt
from gateway.chain.standing import Enrolled, Imported, Standing, check_span, verify_standing
from gateway.chain.trees import Path, leaf_hash, root_from_inclusion
from gateway.chain.verify import (
    check_header_signature,
    check_own,
    position_of,
    read_header,
    read_transition,
)

MAX_EVIDENCE: Final = 512 * 1024


@dataclass(frozen=True, slots=True)
class LeafPart(Record):
    """A leaf of a segment: which segment of the header, its index, bytes, salt (empty: public) and path."""

    segment: Annotated[int, Range(0, 2)]
    index: UInt
    leaf: Annotated[bytes, Octets(1, 8192)]
    salt: Annotated[bytes, Octets(0, 16)]
    path: Path


@dataclass(frozen=True, slots=True)
class SeriesPart(Record):
    """The catalogue's entry of a reading's series, with the path to the header's listing."""

    series: Series
    path: Path


@dataclass(frozen=True, slots=True)
class ContractPart(Record):
    """A contract document in force, its place in the header's listing and the path there."""

    index: UInt
    document: Annotated[bytes, Octets(1, MAX_CONTRACT)]
    path: Path


@dataclass(frozen=True, slots=True)
class BlockPart(Record):
    """A signed header, one leaf under it, what explains the leaf, and the header's acceptance."""

    header: Signed
    leaf: LeafPart
    series: Annotated[SeriesPart | None, Maybe()]
    contracts: Annotated[tuple[ContractPart, ...], Many(0, 16)]
    finality: FinalityProof
    seen: Annotated[Checkpoint | None, Maybe()]


@dataclass(frozen=True, slots=True)
class AlarmPart(Record):
    """An alarm, its contract's document, and the alarm's own acceptance."""

    alarm: Alarm
    document: Annotated[bytes, Octets(0, MAX_CONTRACT)]
    finality: FinalityProof


@dataclass(frozen=True, slots=True)
class Evidence(Record):
    """An evidence file. At least one of `block` and `alarm` is there; where both are, they are of one transition."""

    version: Annotated[int, Range(1, 1)]
    genesis: Genesis
    block: Annotated[BlockPart | None, Maybe()]
    alarm: Annotated[AlarmPart | None, Maybe()]
    standing: Standing

    def check(self, where: str) -> None:
        if self.block is None and self.alarm is None:
            raise WrongShape(f"{where}: neither a block nor an alarm is there")


@dataclass(frozen=True, slots=True)
class Stood:
    """A leaf that was shown to stand in a block: times are Unix ms by the gateway's clock."""

    header: Header
    series: Series | None
    """Of a reading, or of an event that is of one series."""
    time: int | None
    """The claimed one; None for a leaf that says none of its own."""
    value: int | None
    """A reading's, scaled."""
    event: Event | None
    transition: Transition | None
    documents: tuple[bytes, ...]
    accepted: Sealed
    """The block is no younger than this seal."""
    seen: Sealed | None
    """The block is no older than this seal; None where the file does not hold the seal it names, or it names none."""

    def statement(self) -> dict[str, object]:
        """Return this part of the statement."""
        series = self.series
        return {
            "epoch": self.header.epoch,
            "height": self.header.height,
            "series": series and [series.name, series.quantity, series.unit, series.scale],
            "kept": series and [series.dead_band, series.longest, series.period, series.ring],
            "time": self.time,
            "value": self.value,
            "event": None if self.event is None else encode(self.event.to_item()).hex(),
            "transition": None
            if self.transition is None
            else transition_hash(self.transition.encode()).hex(),
            "contracts": [contract_hash(document).hex() for document in self.documents],
            "accepted": [self.accepted.height, self.accepted.time],
            "seen": None if self.seen is None else [self.seen.height, self.seen.time],
        }


@dataclass(frozen=True, slots=True)
class Raised:
    """An alarm that was shown signed and accepted."""

    transition: Transition
    recorded: bool
    document: bytes
    accepted: Sealed

    def statement(self) -> dict[str, object]:
        """Return this part of the statement."""
        moved = self.transition
        return {
            "genesis": moved.genesis.hex(),
            "contract": moved.contract,
            "contract_hash": moved.contract_hash.hex(),
            "before": moved.before,
            "after": moved.after,
            "faults": list(moved.faults),
            "values": [[each.alias, each.value] for each in moved.values],
            "time": moved.wall,
            "recorded": self.recorded,
            "document": bool(self.document),
            "accepted": [self.accepted.height, self.accepted.time],
        }


@dataclass(frozen=True, slots=True)
class Finding:
    """What an evidence file proves."""

    genesis: Genesis
    gateway: bytes
    stood: Stood | None
    raised: Raised | None
    enrolled: Enrolled | None
    imported: Imported | None
    """Both None for a key that came by rotation."""
    end: KeyEnd | None
    as_of: Sealed
    """The seal under which the key's beginning and end were looked up."""

    def statement(self) -> dict[str, object]:
        """Return what is proved as plain values: integers, texts, lists, hexadecimal bytes; None where there is none.

        FORMAT.md names every member; two verifiers that agree return the same object.
        """
        return {
            "genesis": self.genesis.hash.hex(),
            "gateway": self.gateway.hex(),
            "enrolled": None if self.enrolled is None else asdict(self.enrolled),
            "imported": None if self.imported is None else self.imported.statement(),
            "end": None if self.end is None else [self.end.kind, self.end.last.epoch, self.end.last.height],
            "as_of": [self.as_of.height, self.as_of.time],
            "block": None if self.stood is None else self.stood.statement(),
            "alarm": None if self.raised is None else self.raised.statement(),
        }


def verify_evidence(data: bytes, trusted: bytes) -> Finding:
    """Return what an evidence file proves under a trusted genesis hash (32 bytes). Raises ChainError."""
    file = Evidence.decode(data, max_size=MAX_EVIDENCE)
    genesis, key = file.genesis, file.standing.key
    if genesis.hash != trusted:
        raise BadEvidence(f"the file is of chain {genesis.hash.hex()[:16]}, trusted is {trusted.hex()[:16]}")
    stood = _verify_block(file.block, genesis, key) if file.block else None
    raised = _verify_alarm(file.alarm, genesis, key) if file.alarm else None
    if stood and raised and stood.transition != raised.transition:
        raise BadEvidence("the block's leaf is not the alarm's transition")
    gateway = stood.header.gateway if stood else raised.transition.gateway  # type: ignore[union-attr]
    history = verify_standing(file.standing, genesis, gateway)
    if stood:
        check_span(stood.header, file.block.header, history)  # type: ignore[union-attr]
    as_of = file.standing.checkpoint.verify(genesis)
    if as_of.height < max(part.accepted.height for part in (stood, raised) if part):
        raise BadEvidence("the key was looked up as of an earlier final block than the item's own")
    _check_one_history(file, genesis)
    return Finding(genesis, gateway, stood, raised, history.enrolled, history.imported, history.end, as_of)


def _check_one_history(file: Evidence, genesis: Genesis) -> None:
    """Check that the file's checkpoints can be of one history: neither time nor log goes back, one seal a height."""
    checkpoints = [file.standing.checkpoint]
    if file.block:
        checkpoints += [file.block.finality.checkpoint, *([file.block.seen] if file.block.seen else [])]
    if file.alarm:
        checkpoints.append(file.alarm.finality.checkpoint)
    points = sorted(
        ((each.verify(genesis), each.app) for each in checkpoints), key=lambda pair: pair[0].height
    )
    for (one, before), (other, after) in pairwise(points):
        if one.height == other.height and one.hash != other.hash:
            raise BadEvidence(f"final block {one.height} has two different seals in one file")
        if other.time < one.time or after.log_size < before.log_size:
            raise BadEvidence(
                f"final block {other.height} has an earlier time or a smaller log than {one.height}"
            )


def _verify_block(part: BlockPart, genesis: Genesis, key: bytes) -> Stood:
    header = read_header(part.header, genesis)
    check_header_signature(part.header, key)
    leaf = _verify_leaf(part.leaf, header)
    series, time = _verify_series(part, leaf, header), _verify_time(leaf, header)
    transition = Transition.decode(leaf) if isinstance(leaf, bytes) else None
    if transition:
        check_own(transition, header, genesis)
    documents = tuple(_verify_contract(each, header) for each in part.contracts)
    if transition and transition.contract_hash not in map(contract_hash, documents):
        raise BadEvidence("the contract that decided is not among the documents")
    at = position_of(part.header, header)
    log_leaf = LogLeaf(HEADERS, header.gateway, at.epoch, at.height, at.hash)
    accepted = part.finality.verify(log_leaf, genesis)
    event = None if isinstance(leaf, tuple | bytes) else leaf
    seen = _verify_seen(part, header, accepted, genesis)
    value = leaf[2] if isinstance(leaf, tuple) else None
    return Stood(header, series, time, value, event, transition, documents, accepted, seen)


def _verify_leaf(part: LeafPart, header: Header) -> tuple[int, int, int] | bytes | Event:
    if part.segment >= len(header.segments):
        raise BadEvidence(f"the header has no segment {part.segment}")
    head = header.segments[part.segment]
    if len(part.salt) != (16 if head.klass else 0):
        raise BadEvidence("a leaf of the upper two classes has a salt of 16 bytes, a public one none")
    if root_from_inclusion(leaf_hash(part.salt + part.leaf), part.index, head.count, part.path) != head.root:
        raise BadProof("the leaf's path does not lead to its segment's root")
    leaf = parse_leaf(part.leaf)
    check_class(leaf, head.klass)
    return leaf


def _verify_time(leaf: tuple[int, int, int] | bytes | Event, header: Header) -> int | None:
    offset: int | None = leaf[1] if isinstance(leaf, tuple) else getattr(leaf, "offset", None)
    if offset is not None and offset > header.span:
        raise BadEvidence("the leaf lies outside its block's span")
    return None if offset is None else header.wall + offset


def _verify_series(
    block: BlockPart, leaf: tuple[int, int, int] | bytes | Event, header: Header
) -> Series | None:
    part = block.series
    index = leaf[0] if isinstance(leaf, tuple) else leaf.series if isinstance(leaf, OfSeries) else None
    if (index is None) != (part is None) or (part and part.series.index != index):
        raise BadEvidence("a leaf of one series has that series beside it, any other leaf none")
    if part is None:
        return None
    if part.series.klass != header.segments[block.leaf.segment].klass:
        raise BadEvidence("the leaf stands in a segment of another class than its series'")
    listing, entry = header.catalogue, part.series.encode()
    if root_from_inclusion(leaf_hash(entry), part.series.index, listing.count, part.path) != listing.root:
        raise BadProof("the series' path does not lead to the catalogue's root")
    return part.series


def _verify_contract(part: ContractPart, header: Header) -> bytes:
    listing = header.contracts
    if root_from_inclusion(leaf_hash(part.document), part.index, listing.count, part.path) != listing.root:
        raise BadProof("a contract's path does not lead to the root of the contracts in force")
    return part.document


def _verify_seen(part: BlockPart, header: Header, accepted: Sealed, genesis: Genesis) -> Sealed | None:
    if part.seen is None:
        return None
    sealed, seen = part.seen.verify(genesis), header.seen
    later = sealed.height >= accepted.height or sealed.time > accepted.time
    if later or seen.log_size > part.finality.index:
        raise BadEvidence("the seal that the header had seen is no older than the header's own acceptance")
    if (sealed.height, part.seen.app.log_size, sealed.hash) != (seen.height, seen.log_size, seen.seal_hash):
        raise BadEvidence("the seal beside the header is not the one that the header had seen")
    return sealed


def _verify_alarm(part: AlarmPart, genesis: Genesis, key: bytes) -> Raised:
    transition = read_transition(part.alarm, genesis)
    part.alarm.verify(key)
    if part.document and contract_hash(part.document) != transition.contract_hash:
        raise BadEvidence("the document beside the alarm is not the contract that decided")
    leaf = LogLeaf(ALARMS, transition.gateway, 0, part.alarm.mark, part.alarm.hash)
    accepted = part.finality.verify(leaf, genesis)
    return Raised(transition, part.alarm.mark == RECORDED, part.document, accepted)
