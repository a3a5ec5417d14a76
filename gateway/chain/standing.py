"""A key's standing inside an evidence file: that it was its gateway's, since when, until when, and by whose leave.

All of it is shown under one checkpoint. Consensus checked each record when it accepted it (an authority's office,
a ticket's term, a rotation's place): the state's entry, which names the record by its hash, is proof of that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gateway.chain.block import Header
from gateway.chain.entries import KeyEnd, KeyEntry, KeySpan, key_end_key, key_key, roster_key
from gateway.chain.errors import BadEvidence, RevokedKey
from gateway.chain.finality import AppState, Checkpoint, Entry
from gateway.chain.genesis import Authority, Genesis
from gateway.chain.governance import Roster
from gateway.chain.keys import NO_HASH, Signed, gateway_id
from gateway.chain.leaf import ENROL, IMPORT, ROTATE
from gateway.chain.ordered import Import
from gateway.chain.record import Blob, Maybe, PublicKey, Record
from gateway.chain.takeover import verify_import
from gateway.chain.tenure import Enrolment
from gateway.chain.verify import position_of, read_enrolment


@dataclass(frozen=True, slots=True)
class Standing(Record):
    """The key's beginning and end in the state, as of one checkpoint, and what founded the gateway in this chain.

    `origin` is an `Enrolment`'s bytes for a first key, an `Import`'s for one from a chain taken over, empty for one
    that came by rotation. `roster` is state key 6, where it is there to name an authority that the genesis does not.
    """

    key: PublicKey
    origin: Blob
    begin: Entry
    end: Entry
    roster: Annotated[Entry | None, Maybe()]
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class Enrolled:
    """Who founded the gateway: its name, the authority and region of the ticket.

    `founding` tells whether the genesis names the authority. One that consensus admitted later goes by the name that
    the roster beside has for it, else by its key.
    """

    name: str
    authority: str
    founding: bool
    region: str


@dataclass(frozen=True, slots=True)
class Imported:
    """Where the gateway came from: the old chain's genesis hash, its region there and its last final block."""

    chain: bytes
    region: str
    epoch: int
    height: int

    def statement(self) -> dict[str, object]:
        """Return this part of the statement."""
        return {"chain": self.chain.hex(), "region": self.region, "head": [self.epoch, self.height]}


@dataclass(frozen=True, slots=True)
class KeyHistory:
    """A key's beginning and end as shown; one that came by rotation was neither enrolled nor imported."""

    begin: KeyEntry
    enrolled: Enrolled | None
    imported: Imported | None
    end: KeyEnd | None


def verify_standing(part: Standing, genesis: Genesis, gateway: bytes) -> KeyHistory:
    """Return what is shown of a gateway's key; the checkpoint's seal is still to be verified. Raises ChainError."""
    app = part.checkpoint.app
    begin, roster = _verify_begin(part, gateway), _verify_roster(part.roster, app)
    enrolled = _verify_enrolled(part, begin, genesis, roster) if begin.kind == ENROL else None
    imported = _verify_imported(part.origin, begin, genesis) if begin.kind == IMPORT else None
    end = part.end.holds(app, key_end_key(gateway, part.key))
    return KeyHistory(begin, enrolled, imported, None if end is None else KeyEnd.decode(end))


def _verify_begin(part: Standing, gateway: bytes) -> KeyEntry:
    value = part.begin.holds(part.checkpoint.app, key_key(gateway, part.key))
    if value is None:
        raise BadEvidence("the key never was this gateway's")
    entry = KeyEntry.decode(value)
    if (entry.gateway, entry.key) != (gateway, part.key):
        raise BadEvidence("the state's entry is of another gateway or key than it stands under")
    if entry.kind not in (ENROL, ROTATE, IMPORT) or (entry.kind == ENROL and entry.first != 1):
        raise BadEvidence("a key begins by enrolment at height 1, by rotation, or by import")
    if bool(part.origin) != (entry.kind != ROTATE):
        raise BadEvidence("a key has its enrolment or import beside it, a rotated one neither")
    return entry


def _verify_roster(part: Entry | None, app: AppState) -> Roster | None:
    if part is None:
        return None
    value = part.holds(app, roster_key())
    if value is None:
        raise BadEvidence("a roster that the state does not have stands beside the key")
    return Roster.decode(value)


def _verify_enrolled(part: Standing, begin: KeyEntry, genesis: Genesis, roster: Roster | None) -> Enrolled:
    enrolment = Enrolment.decode(part.origin)
    if enrolment.hash != begin.record or gateway_id(part.key) != begin.gateway:
        raise BadEvidence("the enrolment beside the key is not the one that the state names")
    ticket, body = read_enrolment(enrolment, genesis)
    if body.key != part.key:
        raise BadEvidence("the enrolment is of another key")
    founder = _named(genesis.authorities, ticket.authority)
    authority = founder or _named(roster.authorities if roster else (), ticket.authority)
    return Enrolled(
        body.name, authority or f"key {ticket.authority.hex()}", founder is not None, ticket.region
    )


def _named(authorities: tuple[Authority, ...], key: bytes) -> str | None:
    return next((each.name for each in authorities if each.key == key), None)


def _verify_imported(origin: bytes, begin: KeyEntry, genesis: Genesis) -> Imported:
    record = Import.decode(origin)
    if record.hash != begin.record or record.gateway != begin.gateway:
        raise BadEvidence("the import beside the key is not the one that the state names")
    old, _ = verify_import(record, genesis)
    if KeySpan(begin.key, begin.first) not in old.keys:
        raise BadEvidence("the gateway did not bring this key from the chain taken over")
    return Imported(record.takeover, old.region, old.head.epoch, old.head.height)


def check_span(header: Header, signed: Signed, history: KeyHistory) -> None:
    """Check that the key spoke for the gateway at this block's height. Raises RevokedKey."""
    begin, end = history.begin, history.end
    if header.height < begin.first:
        raise RevokedKey(f"the key signs from block {begin.first} on, not block {header.height}")
    if end is None or header.height < end.last.height:
        return
    same = end.last.hash == NO_HASH or position_of(signed, header) == end.last
    if header.height > end.last.height or not same:
        raise RevokedKey(f"the key's last block is {end.last.height}, this is another: {header.height}")
