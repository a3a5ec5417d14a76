"""The rules, one function each: bytes and known state in, verified object out, or a named error.

Nothing here reads a clock, a file or a database. A rule that needs what the chain knows of a gateway takes its
`GatewayEntry`; a rule that needs time takes the final block's. Invariants that hold together:

- a header is accepted only as the successor of its gateway's final head, in the epoch in force;
- (epoch, height) is signed once; two signed headers there are equivocation;
- an epoch ends at a final head and the next begins only after consensus ordered it;
- a key speaks for its gateway from the height its record names until its end is recorded.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.chain.alarm import MAX_TRANSITION, Alarm, Transition
from gateway.chain.block import Block, Header, header_hash
from gateway.chain.entries import GOOD, MAX_KEYS, GatewayEntry
from gateway.chain.errors import (
    BackDated,
    BadRecord,
    BadSegment,
    BadSignature,
    FormatError,
    HeightRepeated,
    HeightSkipped,
    NotSuccessor,
    RevokedKey,
    UnseenEpoch,
    WrongEpoch,
)
from gateway.chain.events import OfSeries
from gateway.chain.genesis import Genesis
from gateway.chain.governance import Roster
from gateway.chain.keys import (
    BLOCK,
    ENROLMENT,
    EPOCH,
    GRANT,
    REVOCATION,
    ROTATION,
    TICKET,
    Signed,
    gateway_id,
    verify,
)
from gateway.chain.leaf import IMPORT
from gateway.chain.reading import Segment, open_segment, parse_leaf, segment_hash
from gateway.chain.tenure import (
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

MOVED = 4  # the reason of the epoch change with which a gateway comes from another chain
CLOCK_TOLERANCE = 10 * 60_000  # how far a record's ordered time may lie from its final block's, in ms


def read_header(signed: Signed, genesis: Genesis) -> Header:
    """Return the header of a signed block, of this chain; its signature is still to be checked."""
    header = Header.decode(signed.body, max_size=2048)
    genesis.require(header.genesis, f"block {header.epoch}/{header.height}")
    return header


def check_header_signature(signed: Signed, public: bytes) -> None:
    """Check a header's signature. Raises UnsupportedSuite or BadSignature."""
    signed.verify(BLOCK, public)


def check_standing(entry: GatewayEntry) -> None:
    """Check that a gateway may still sign for itself. Raises RevokedKey."""
    if entry.standing not in (GOOD, IMPORT):
        how = "revoked" if entry.standing == 6 else "barred for equivocation"
        raise RevokedKey(f"the gateway's key was {how} after block {entry.head.epoch}/{entry.head.height}")


def check_successor(header: Header, entry: GatewayEntry) -> None:
    """Check that a header follows its gateway's final head. Raises BadHeader by its kind."""
    at, head = f"block {header.epoch}/{header.height}", entry.head
    if entry.standing == IMPORT:
        raise WrongEpoch(f"{at}: the gateway comes from another chain and moves by an epoch change first")
    if header.epoch != entry.epoch:
        raise WrongEpoch(f"{at}: epoch {entry.epoch} is in force")
    if header.height <= head.height:
        raise HeightRepeated(f"{at}: block {head.epoch}/{head.height} is final already")
    if header.height > head.height + 1:
        raise HeightSkipped(f"{at}: block {head.height + 1} is next")
    if header.previous != head.hash:
        raise NotSuccessor(
            f"{at} follows {header.previous.hex()[:16]}, the final head is {head.hash.hex()[:16]}"
        )
    same_run = (header.boot, header.epoch) == (entry.boot, head.epoch)  # a new epoch may hold an older draft
    if same_run and header.mono < entry.mono:
        raise BackDated(
            f"{at} begins at {header.mono} ms of its boot, before its predecessor's end at {entry.mono}"
        )
    if header.seen.height < entry.seen:
        raise BackDated(f"{at} has seen final block {header.seen.height}, its predecessor {entry.seen}")
    if header.epoch > 1 and head.epoch != header.epoch and header.seen.log_size <= entry.opened_at:
        raise UnseenEpoch(
            f"{at} opens epoch {header.epoch} without having seen the final block that ordered it"
        )


def open_block(
    block: Block, header: Header, classes: Sequence[int], genesis: Genesis
) -> list[Segment | None]:
    """Return a block's segments, opened and checked against its header; None where one is withheld.

    `classes` are those of the series in the catalogue in force, by index. Raises BadSegment.
    """
    if len(block.segments) != len(header.segments):
        raise BadSegment(f"{len(block.segments)} segments where the header commits to {len(header.segments)}")
    return [_open(i, block.segments[i], header, classes, genesis) for i in range(len(header.segments))]


def _open(
    index: int, data: bytes, header: Header, classes: Sequence[int], genesis: Genesis
) -> Segment | None:
    head, where = header.segments[index], f"segment {index} of block {header.epoch}/{header.height}"
    if not data:
        return None
    if segment_hash(data) != head.hash:
        raise BadSegment(f"{where}: its bytes have another hash than the header says")
    if head.key_id:
        return None  # custody is shown by the hash; only a key's holder can open it
    try:
        segment = open_segment(head.klass, data)
    except FormatError as error:
        raise BadSegment(f"{where}: {error}") from error
    if len(segment.leaves) != head.count:
        raise BadSegment(f"{where}: {len(segment.leaves)} leaves where the header says {head.count}")
    if segment.root != head.root:
        raise BadSegment(f"{where}: its leaves have another root than the header says")
    offset = max(segment.offsets, default=0)
    allowed = {series for series, klass in enumerate(classes) if klass == head.klass}
    strangers = set(segment.series) - allowed
    for _, leaf in segment.events:
        event = parse_leaf(leaf)
        offset = max(offset, getattr(event, "offset", 0))
        if isinstance(event, OfSeries):
            strangers |= {event.series} - allowed
        elif isinstance(event, bytes):
            check_own(Transition.decode(event), header, genesis)
    if strangers:
        raise BadSegment(f"{where}: series {min(strangers)} is not in the catalogue, or of another class")
    if offset > header.span:
        raise BadSegment(
            f"{where}: a leaf lies {offset} ms after the first reading, the span is {header.span}"
        )
    return segment


def check_own(transition: Transition, header: Header, genesis: Genesis) -> None:
    """Check that a block's transition is its own gateway's, of this chain or one it takes over. Raises BadSegment."""
    if transition.gateway != header.gateway or not genesis.continues(transition.genesis):
        raise BadSegment(f"the transition of {transition.contract} is another gateway's or another chain's")


def read_transition(alarm: Alarm, genesis: Genesis) -> Transition:
    """Return the transition of an alarm, of this chain or of one that it takes over; its signature is to be checked."""
    transition = Transition.decode(alarm.transition, max_size=MAX_TRANSITION)
    if not genesis.continues(transition.genesis):
        genesis.require(transition.genesis, f"the alarm of {transition.contract}")
    return transition


def read_ticket(signed: Signed, genesis: Genesis) -> Ticket:
    """Return a ticket signed by the authority it names; who is in office, and until when, is to be checked."""
    ticket = Ticket.decode(signed.body)
    genesis.require(ticket.genesis, "the ticket")
    signed.verify(TICKET, ticket.authority)
    return ticket


def read_enrolment(enrolment: Enrolment, genesis: Genesis) -> tuple[Ticket, EnrolmentBody]:
    """Return the ticket and body of an enrolment that both keys signed, its ticket as `read_ticket` does."""
    body = EnrolmentBody.decode(enrolment.body)
    ticket = read_ticket(body.ticket, genesis)
    verify(ticket.key, ENROLMENT, enrolment.suite, enrolment.body, enrolment.by_ticket)
    verify(body.key, ENROLMENT, enrolment.suite, enrolment.body, enrolment.by_gateway)
    if body.key == ticket.key:
        raise BadRecord("an enrolment's gateway key is its ticket's key: the ticket must be spent, not kept")
    return ticket, body


def check_ticket(ticket: Ticket, roster: Roster, time: int) -> None:
    """Check that a ticket's authority is in office and its term not over at `time` (Unix ms). Raises ChainError."""
    roster.authority(ticket.authority)
    if time > ticket.not_after:
        raise BadRecord(f"the ticket of region {ticket.region} ran out at {ticket.not_after}, it is {time}")


def verify_ticket(signed: Signed, genesis: Genesis, roster: Roster, time: int) -> Ticket:
    """Return a ticket that an authority in office signed and that is valid at `time` (Unix ms)."""
    ticket = read_ticket(signed, genesis)
    check_ticket(ticket, roster, time)
    return ticket


def verify_enrolment(
    enrolment: Enrolment, genesis: Genesis, roster: Roster, time: int
) -> tuple[Ticket, EnrolmentBody]:
    """Return the ticket and body of an enrolment that both keys signed, valid at `time` (Unix ms)."""
    ticket, body = read_enrolment(enrolment, genesis)
    check_ticket(ticket, roster, time)
    return ticket, body


def enrolled_id(enrolment: Enrolment) -> bytes:
    """Return the identity that an enrolment founds (16 bytes)."""
    return gateway_id(EnrolmentBody.decode(enrolment.body).key)


def verify_rotation(rotation: Rotation, genesis: Genesis, entry: GatewayEntry) -> RotationBody:
    """Return a rotation that both keys signed and that begins above the final head."""
    body = RotationBody.decode(rotation.body)
    genesis.require(body.genesis, "the rotation")
    check_standing(entry)
    if body.old != entry.keys[-1].key:
        raise BadRecord("a rotation leads from the latest key to a new one")
    if body.first <= max(entry.head.height, entry.keys[-1].first):
        raise BadRecord(f"a rotation from block {body.first} does not lie above the head {entry.head.height}")
    if entry.head.height < entry.keys[-1].first - 1:
        raise BadRecord(f"the rotation before takes effect at block {entry.keys[-1].first} only")
    if body.new in {span.key for span in entry.keys}:
        raise BadRecord("a rotation leads to a key that the gateway never had")
    if len(entry.keys) == MAX_KEYS:
        raise BadRecord(f"a gateway has at most {MAX_KEYS} keys in its life; enrol it anew")
    verify(body.old, ROTATION, rotation.suite, rotation.body, rotation.by_old)
    verify(body.new, ROTATION, rotation.suite, rotation.body, rotation.by_new)
    return body


def verify_revocation(signed: Signed, genesis: Genesis, roster: Roster) -> Revocation:
    """Return a revocation that an authority signed; whether its last block is known is the ledger's to check."""
    body = Revocation.decode(signed.body)
    genesis.require(body.genesis, "the revocation")
    roster.verify_authority(REVOCATION, body.authority, signed)
    return body


def verify_epoch_change(
    change: EpochChange, genesis: Genesis, roster: Roster, entry: GatewayEntry, time: int
) -> EpochChangeBody:
    """Return an epoch change that follows the epoch in force and closes it at the final head.

    `time` is the ordered time in Unix ms: beyond the genesis' free number within its window, the change needs
    an authority's approval.
    """
    body = EpochChangeBody.decode(change.body)
    genesis.require(body.genesis, "the epoch change")
    check_standing(entry)
    if (body.reason == MOVED) != (entry.standing == IMPORT):
        raise BadRecord(
            f"reason {body.reason}: a gateway moves once, after it was imported, for reason {MOVED}"
        )
    if body.epoch != entry.epoch + 1:
        raise BadRecord(f"epoch {body.epoch} was asked for, {entry.epoch + 1} is next")
    if body.closes != entry.head:
        raise BadRecord(
            f"the change closes at block {body.closes.height}, the final head is {entry.head.height}"
        )
    if any(orphan.epoch != entry.epoch or orphan.height <= entry.head.height for orphan in body.orphans):
        raise BadRecord("an orphan is a signed block of the old epoch above its final head")
    verify(entry.key_at(entry.head.height + 1), EPOCH, change.suite, change.body, change.signature)
    recent = sum(1 for each in entry.epochs if each > time - genesis.epoch_window)
    if change.approver:
        verify(roster.authority(change.approver).key, EPOCH, change.suite, change.body, change.approval)
    elif recent >= genesis.epoch_changes:
        raise BadRecord(f"{recent} epoch changes lie in the window; one more needs an authority's approval")
    return body


def verify_equivocation(first: Signed, second: Signed, genesis: Genesis, entry: GatewayEntry) -> bytes:
    """Return the key of a gateway under which two different headers at one (epoch, height) were signed.

    Any key that ever was the gateway's will do, whatever heights it was to sign.
    """
    one, two = read_header(first, genesis), read_header(second, genesis)
    if not first.body < second.body:
        raise BadRecord("equivocation is two different headers, the lesser bytes first")
    if (one.gateway, one.position) != (two.gateway, two.position):
        raise BadRecord("equivocation is two headers of one gateway at one epoch and height")
    for span in entry.keys:
        if _signed_by(first, span.key) and _signed_by(second, span.key):
            return span.key
    raise BadSignature("the two headers are not both signed by one and the same key of the gateway")


def _signed_by(signed: Signed, public: bytes) -> bool:
    try:
        check_header_signature(signed, public)
    except BadSignature:
        return False
    return True


def check_alarm_signature(alarm: Alarm, entry: GatewayEntry) -> None:
    """Check an alarm under a key that may sign one now. Raises BadSignature."""
    *others, latest = entry.alarm_keys
    for public in others:
        try:
            alarm.verify(public)
        except BadSignature:
            continue
        return
    alarm.verify(latest)


def verify_grant(signed: Signed, genesis: Genesis, roster: Roster) -> ContractGrant:
    """Return a contract set that an authority signed, its documents in the order of the header's root."""
    body = ContractGrant.decode(signed.body)
    genesis.require(body.genesis, "the contract grant")
    roster.verify_authority(GRANT, body.authority, signed)
    return body


def check_ordered_time(time: int, final_time: int) -> None:
    """Check a record's ordered time against its final block's, both Unix ms. Raises BadRecord: too early or late."""
    if abs(time - final_time) > CLOCK_TOLERANCE:
        when = "early" if time > final_time else "late"
        raise BadRecord(f"too {when}: the record says {time}, the final block {final_time}")


def position_of(signed: Signed, header: Header) -> Position:
    """Return where a signed header stands."""
    return Position(header.epoch, header.height, header_hash(signed.body))
