"""The hub's database: what gateways sent (blocks as received, alarms), and the parts beside it.

One row a block, its segments as they came, one summary for charts; never a row per reading. Whether anything
is true is decided before it comes here (`hub.intake`) and checked again by `hub.auditing.audit`.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from gateway.chain.alarm import Alarm, transition_hash
from gateway.chain.block import Block, Header
from gateway.chain.keys import Signed
from gateway.chain.reading import Segment, parse_leaf
from gateway.chain.tenure import Position
from hub.errors import StoreError
from hub.storage.bodies import Bodies, absent_classes, note_missing
from hub.storage.chainstore import ChainStore
from hub.storage.custody import Custody, PeerCustody
from hub.storage.database import Connection, Database
from hub.storage.library import Library
from hub.storage.notes import Notes
from hub.storage.summaries import Summary, pack_summaries, summarise, unpack_summaries

_log = logging.getLogger(__name__)

_BLOCK: Final = ", ".join(
    (
        *("id", "epoch", "height", "hash", "wall", "suite", "header", "signature", "received"),
        *(f"(SELECT summary FROM segments WHERE id = blocks.id * 4 + {place})" for place in range(3)),
    )
)

_ADD_BLOCK: Final = (
    "INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (gateway, epoch, height, hash) DO NOTHING"
)

UNKNOWN_GATEWAY: Final = "UnknownGateway"
BAD_SIGNATURE: Final = "BadSignature"
UNPROVEN: Final = frozenset({UNKNOWN_GATEWAY, BAD_SIGNATURE})
"""The flaws of alarms that nobody vouches for: anyone may have made them."""


@dataclass(frozen=True, slots=True)
class NewBlock:
    """A verified block to be stored. `segments` are those of `open_block`; `received` is Unix ms.

    `region` is its gateway's: it decides who asks other hubs for segments that are withheld here.
    """

    block: Block
    header: Header
    segments: Sequence[Segment | None]
    received: int
    region: str = ""


@dataclass(frozen=True, slots=True)
class StoredHeader:
    """A block's row without its segments. `wall` is its first reading's time, `received` its arrival, Unix ms."""

    id: int
    position: Position
    wall: int
    signed: Signed
    received: int
    summaries: tuple[Summary, ...]

    @property
    def header(self) -> Header:
        """The header, decoded anew."""
        return Header.decode(self.signed.body)


@dataclass(frozen=True, slots=True)
class StoredAlarm:
    """An alarm as it came. `flaw` is empty for a good one, else why it is shown marked ("RevokedKey", …)."""

    id: int
    hash: bytes
    gateway: bytes
    flaw: str
    received: int
    alarm: Alarm


def ease_collector() -> None:
    """Let Python's cycle collector run seldom: intake makes thousands of short-lived objects, none of them cyclic."""
    gc.set_threshold(50_000, 20, 20)


class Store:
    """A hub's database. Safe for several threads; every write is durable when it returns. Raises StoreError."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.database = Database(path, read_only=read_only)
        self.chain = ChainStore(self.database)
        self.library = Library(self.database)
        self.bodies = Bodies(self.database)
        self.custody = Custody(self.database)
        self.peer_custody = PeerCustody(self.database)
        self.notes = Notes(self.database)

    def close(self) -> None:
        """Close the database. Idempotent."""
        self.database.close()

    # blocks

    def add_blocks(self, blocks: Sequence[NewBlock]) -> list[bool]:
        """Store blocks in one transaction and tell of each whether it is new.

        A block that is there takes up segments that were withheld before.
        """
        keys = [_key(each) for each in blocks]
        first: dict[tuple[bytes, int, int, bytes], int] = {}
        for index, key in enumerate(keys):
            first.setdefault(key, index)
        with self.database.write() as db:
            free = (db.execute("SELECT max(id) FROM blocks").fetchone()[0] or 0) + 1
            places = {key: free + index for key, index in first.items()}
            rows = [_block_row(places[key], key, blocks[index]) for key, index in first.items()]
            before = db.total_changes
            db.executemany(_ADD_BLOCK, rows)
            kept = places
            if db.total_changes - before < len(rows):  # some were there: ask which, as it is seldom
                kept = {key: _block_id(db, key) for key in places}
            pairs = [(kept[key], each) for key, each in zip(keys, blocks, strict=True)]
            segments = [row for place, each in pairs for row in _segment_rows(place, each)]
            transitions = [
                (hashed, place) for place, each in pairs for hashed in transitions_in(each.segments)
            ]
            db.executemany("INSERT INTO segments VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING", segments)
            db.executemany("INSERT OR IGNORE INTO transitions VALUES (?, ?)", transitions)
            fresh = [kept[key] == places[key] and first[key] == index for index, key in enumerate(keys)]
            note_missing(
                db,
                [
                    (place, each.region, absent_classes(each.block, each.header), each.received, is_new)
                    for (place, each), is_new in zip(pairs, fresh, strict=True)
                ],
            )
        return fresh

    def headers_at(self, gateway: bytes, epoch: int, height: int) -> list[StoredHeader]:
        """Return the headers at one position: more than one is equivocation."""
        return self._headers("gateway = ? AND epoch = ? AND height = ?", (gateway, epoch, height))

    def header(self, gateway: bytes, position: Position) -> StoredHeader | None:
        """Return one header by its position and hash."""
        where = "gateway = ? AND epoch = ? AND height = ? AND hash = ?"
        found = self._headers(where, (gateway, position.epoch, position.height, position.hash))
        return found[0] if found else None

    def headers_after(self, gateway: bytes, epoch: int, height: int, limit: int = 512) -> list[StoredHeader]:
        """Return an epoch's headers above a height, lowest first: above the final head, those that wait."""
        where = "gateway = ? AND epoch = ? AND height > ?"
        return self._headers(where, (gateway, epoch, height), "epoch, height", limit)

    def latest_headers(
        self, gateway: bytes, limit: int = 100, before: int = 1 << 62, wall: int = 1 << 62
    ) -> list[StoredHeader]:
        """Return a gateway's headers below height `before` that begin at `wall` (Unix ms) or earlier, latest first."""
        where = "gateway = ? AND height < ? AND wall <= ?"
        return self._headers(where, (gateway, before, wall), "epoch DESC, height DESC", limit)

    def block(self, gateway: bytes, position: Position) -> Block | None:
        """Return a block as it came; what is not held stands as withheld."""
        found = self.header(gateway, position)
        if found is None:
            return None
        held = dict(
            self.database.rows(
                "SELECT id, data FROM segments WHERE id BETWEEN ? AND ?", (found.id * 4, found.id * 4 + 3)
            )
        )
        count, signed = len(found.header.segments), found.signed
        segments = tuple(held.get(found.id * 4 + i, b"") for i in range(count))
        return Block(signed.suite, signed.body, signed.signature, segments)

    def blocks_with(self, transition: bytes) -> list[tuple[bytes, Position]]:
        """Return (gateway, position) of the blocks that hold a transition, by its hash."""
        rows = self.database.rows(
            "SELECT gateway, epoch, height, b.hash FROM transitions t JOIN blocks b ON b.id = t.block"
            " WHERE t.hash = ? ORDER BY b.id",
            (transition,),
        )
        return [(gateway, Position(*at)) for gateway, *at in rows]

    def count_blocks(self, gateway: bytes | None = None) -> int:
        """Return how many blocks are stored, of one gateway or of all."""
        where, values = ("", ()) if gateway is None else ("WHERE gateway = ?", (gateway,))
        return int(self.database.value(f"SELECT count(*) FROM blocks {where}", values))

    def gateways(self) -> list[bytes]:
        """Return every gateway that sent a block, birth or alarm, or was enrolled."""
        tables = ("blocks", "births", "alarms", "records")
        union = " UNION ".join(f"SELECT DISTINCT gateway FROM {table}" for table in tables)
        return [gateway for (gateway,) in self.database.rows(union + " ORDER BY gateway")]

    def _headers(
        self, where: str, values: Sequence[Any], order: str = "id", limit: int = 512
    ) -> list[StoredHeader]:
        sql = f"SELECT {_BLOCK} FROM blocks WHERE {where} ORDER BY {order} LIMIT {limit}"
        return [self._stored_header(*row) for row in self.database.rows(sql, values)]

    def _stored_header(self, *row: Any) -> StoredHeader:
        place, epoch, height, identity, wall, suite, header, signature, received, *packed = row
        signed = Signed(suite, header, signature)
        found = [self._summaries(place, index, signed, data) for index, data in enumerate(packed)]
        summaries = sorted((each for own in found for each in own), key=lambda each: each.series)
        at = Position(epoch, height, identity)
        return StoredHeader(place, at, wall, signed, received, tuple(summaries))

    def _summaries(self, place: int, index: int, signed: Signed, packed: bytes | None) -> list[Summary]:
        """Return a segment's summaries, made anew where they are damaged: nothing may depend on them."""
        if packed is None:
            return []
        try:
            return unpack_summaries(packed)
        except StoreError as error:
            _log.warning("segment %d of %s: %s; tocsin-hub audit names its block", index, place, error)
        data = self.database.value("SELECT data FROM segments WHERE id = ?", (place * 4 + index,))
        return summarise(Header.decode(signed.body), index, data)

    # alarms

    def add_alarms(self, alarms: Sequence[tuple[bytes, Alarm, str]], received: int) -> list[bool]:
        """Store alarms, each with its gateway and flaw (empty: none), and tell of each whether its bytes are new."""
        sql = "INSERT OR IGNORE INTO alarms VALUES (NULL, ?, ?, ?, ?, ?, ?)"
        items = [(gateway, alarm, flaw, alarm.encode()) for gateway, alarm, flaw in alarms]
        with self.database.write() as db:
            return [
                db.execute(sql, (sha256(data).digest(), alarm.hash, gateway, flaw, received, data)).rowcount
                > 0
                for gateway, alarm, flaw, data in items
            ]

    def judge_alarm(self, stored: StoredAlarm, flaw: str) -> None:
        """Give an alarm whose gateway was unknown the flaw that it has now, empty for none."""
        with self.database.write() as db:
            db.execute("UPDATE alarms SET flaw = ? WHERE id = ?", (flaw, stored.id))

    def alarms(
        self,
        *,
        gateway: bytes | None = None,
        transition: bytes | None = None,
        flaw: str | None = None,
        after: int = 0,
        limit: int = 100,
    ) -> list[StoredAlarm]:
        """Return alarms beyond row `after`, oldest first, of one gateway, transition hash or flaw or of all."""
        where, values = ["id > ?"], [after]
        for column, wanted in (("gateway", gateway), ("hash", transition), ("flaw", flaw)):
            if wanted is not None:
                where.append(f"{column} = ?")
                values.append(wanted)  # type: ignore[arg-type]
        return self._alarms(f"WHERE {' AND '.join(where)} ORDER BY id LIMIT ?", [*values, limit])

    def latest_alarms(
        self, gateway: bytes | None = None, limit: int = 64, *, proven: bool = True
    ) -> list[StoredAlarm]:
        """Return the latest alarms, oldest of them first, of one gateway or of all.

        Only those that a gateway's key vouches for, or only the others: there may be any number of those.
        """
        flaws = ", ".join(f"'{flaw}'" for flaw in sorted(UNPROVEN))
        where = f"WHERE flaw {'NOT ' * proven}IN ({flaws}) {'AND gateway = ? ' * (gateway is not None)}"
        values = (limit,) if gateway is None else (gateway, limit)
        return self._alarms(f"{where}ORDER BY id DESC LIMIT ?", values)[::-1]

    def _alarms(self, clauses: str, values: Sequence[Any]) -> list[StoredAlarm]:
        rows = self.database.rows(
            f"SELECT id, hash, gateway, flaw, received, alarm FROM alarms {clauses}", values
        )
        return [StoredAlarm(*(*row[:5], Alarm.decode(row[5]))) for row in rows]


def transitions_in(segments: Sequence[Segment | None]) -> Iterator[bytes]:
    """Yield the hashes of the transitions in a block's open segments."""
    for segment in segments:
        for _, leaf in segment.events if segment is not None else ():
            parsed = parse_leaf(leaf)
            if isinstance(parsed, bytes):
                yield transition_hash(parsed)


def _key(each: NewBlock) -> tuple[bytes, int, int, bytes]:
    return each.header.gateway, each.header.epoch, each.header.height, each.block.hash


def _block_id(db: Connection, key: tuple[bytes, int, int, bytes]) -> int:
    sql = "SELECT id FROM blocks WHERE gateway = ? AND epoch = ? AND height = ? AND hash = ?"
    place: int = db.execute(sql, key).fetchone()[0]
    return place


def _block_row(place: int, key: tuple[bytes, int, int, bytes], each: NewBlock) -> tuple[Any, ...]:
    block = each.block
    return place, *key, each.header.wall, block.suite, block.header, block.signature, each.received


def _segment_rows(place: int, each: NewBlock) -> list[tuple[int, bytes, bytes]]:
    pairs = enumerate(zip(each.block.segments, each.segments, strict=True))
    return [(place * 4 + i, pack_summaries(segment), data) for i, (data, segment) in pairs if data]
