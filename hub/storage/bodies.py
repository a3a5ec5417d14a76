"""Which bodies a hub holds, lacks and has given up, on disk: segments by their blocks' hashes.

Owned: what is missing, sheddings, and small marks of how far some work has come. Not owned: whether anything is to
be had or given up (`hub.peers.policy`, `hub.peers.retention`). A segment's row is its block's times four and its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.chain.block import Block, Header
from gateway.chain.keys import Signed
from gateway.chain.tenure import Position
from hub.storage.database import Connection, Database

HEADERS_MARK: Final = "headers"
"""The mark of the last final block of which all headers are kept, in a federation."""

_PLACES: Final = 4


@dataclass(frozen=True, slots=True)
class Kept:
    """A block as it is held: `segments` in the header's order, None where one was shed, empty where it never came."""

    id: int
    gateway: bytes
    position: Position
    signed: Signed
    received: int
    segments: tuple[bytes | None, ...]

    @property
    def header(self) -> Header:
        """The header, decoded anew."""
        return Header.decode(self.signed.body)

    @property
    def block(self) -> Block:
        """The block; what is not held stands as withheld."""
        signed = self.signed
        return Block(
            signed.suite, signed.body, signed.signature, tuple(each or b"" for each in self.segments)
        )

    def promised(self, classes: int) -> tuple[bytes, ...] | None:
        """Return the segments of some classes (bit c: class c), None where one of them is not held."""
        pairs = zip(self.header.segments, self.segments, strict=True)
        found = [data for head, data in pairs if classes >> head.klass & 1]
        return None if not all(found) else tuple(data for data in found if data)


@dataclass(frozen=True, slots=True)
class Lacking:
    """A final block of which segments of some classes (bit c: class c) never came, since a time (Unix ms)."""

    id: int
    gateway: bytes
    position: Position
    classes: int
    since: int
    promisers: tuple[bytes, ...]
    """The keys of the hubs that are known to have promised any of its segments."""


@dataclass(frozen=True, slots=True)
class Holding:
    """Which segments of a block are held, as (place, class); `received` is its arrival, Unix ms."""

    id: int
    gateway: bytes
    position: Position
    received: int
    held: tuple[tuple[int, int], ...]


class Bodies:
    """Part of a hub's database; safe for several threads; every write is durable when it returns."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def find(self, identity: bytes) -> Kept | None:
        """Return a block by its hash."""
        sql = "SELECT id, gateway, epoch, height, hash, suite, header, signature, received FROM blocks"
        row = self._db.row(f"{sql} WHERE hash = ? LIMIT 1", (identity,))
        return None if row is None else self._kept(*row)

    def signed(self, identity: bytes) -> Signed | None:
        """Return a signed header by its hash."""
        row = self._db.row("SELECT suite, header, signature FROM blocks WHERE hash = ?", (identity,))
        return None if row is None else Signed(*row)

    def holdings(self, after: int, before: int, limit: int) -> list[Holding]:
        """Return what is held of blocks above row `after` that came before a time (Unix ms), in order of their rows."""
        sql = "SELECT id, gateway, epoch, height, hash, header, received FROM blocks WHERE id > ? AND received < ?"
        found = []
        for place, gateway, epoch, height, identity, header, received in self._db.rows(
            f"{sql} ORDER BY id LIMIT ?", (after, before, limit)
        ):
            rows = self._db.rows(
                "SELECT id - ? FROM segments WHERE id BETWEEN ? AND ? AND data != x''",
                (place * _PLACES, place * _PLACES, place * _PLACES + _PLACES - 1),
            )
            heads = Header.decode(header).segments
            held = tuple((index, heads[index].klass) for (index,) in rows)
            found.append(Holding(place, gateway, Position(epoch, height, identity), received, held))
        return found

    def _kept(
        self,
        place: int,
        gateway: bytes,
        epoch: int,
        height: int,
        identity: bytes,
        suite: int,
        header: bytes,
        signature: bytes,
        received: int,
    ) -> Kept:
        rows = self._db.rows(
            "SELECT id - ?, data FROM segments WHERE id BETWEEN ? AND ?",
            (place * _PLACES, place * _PLACES, place * _PLACES + _PLACES - 1),
        )
        # Only what was shed has a row without its bytes.
        held = {index: data or None for index, data in rows}
        signed = Signed(suite, header, signature)
        count = len(Header.decode(header).segments)
        segments = tuple(held.get(index, b"") for index in range(count))
        return Kept(place, gateway, Position(epoch, height, identity), signed, received, segments)

    # what is missing

    def missing(self, region: str, classes: int, below: int, before: int, limit: int) -> list[Lacking]:
        """Return blocks of a region that lack any of these classes since before a time (Unix ms).

        The latest of those below row `below` come first.
        """
        sql = (
            "SELECT m.block, b.gateway, b.epoch, b.height, b.hash, m.classes, m.since,"
            " (SELECT group_concat(hex(p.hub)) FROM peer_promises q JOIN peer_batches p ON p.id = q.batch"
            "   WHERE q.gateway = b.gateway AND q.epoch = b.epoch AND q.height = b.height)"
            " FROM missing m JOIN blocks b ON b.id = m.block"
            " WHERE m.region = ? AND m.block < ? AND m.classes & ? != 0 AND m.since <= ? ORDER BY m.block DESC LIMIT ?"
        )
        return [
            Lacking(place, gateway, Position(epoch, height, identity), lacks, since, _hubs(hubs))
            for place, gateway, epoch, height, identity, lacks, since, hubs in self._db.rows(
                sql, (region, below, classes, before, limit)
            )
        ]

    def regions_missing(self) -> list[str]:
        """Return the regions of which any body is missing."""
        sql = (
            "WITH RECURSIVE r(region) AS (SELECT min(region) FROM missing UNION ALL"
            " SELECT (SELECT min(region) FROM missing WHERE region > r.region) FROM r WHERE r.region IS NOT NULL)"
            " SELECT region FROM r WHERE region IS NOT NULL"
        )
        return [region for (region,) in self._db.rows(sql)]

    def count_missing(self, wanted: Mapping[str, int]) -> int:
        """Return how many blocks lack any of the classes wanted of their region."""
        sql = "SELECT count(*) FROM missing WHERE region = ? AND classes & ? != 0"
        return sum(self._db.value(sql, (region, classes)) for region, classes in wanted.items())

    def give_up(self, block: int, classes: int) -> None:
        """Seek some classes of a block (by row) no more."""
        with self._db.write() as db:
            db.execute("UPDATE missing SET classes = classes & ~? WHERE block = ?", (classes, block))
            db.execute("DELETE FROM missing WHERE block = ? AND classes = 0", (block,))

    # what is given up

    def shed(self, segments: Iterable[int], at: int, why: str) -> None:
        """Give up segments (by row), on record; their summaries stay."""
        rows = [(segment, at, why) for segment in segments]
        with self._db.write() as db:
            db.executemany("INSERT OR IGNORE INTO sheddings VALUES (?, ?, ?)", rows)
            db.executemany("UPDATE segments SET data = x'' WHERE id = ?", [row[:1] for row in rows])

    def tombstone(self, segment: int) -> tuple[int, str] | None:
        """Return when (Unix ms) and why a segment (by row) was shed, None where it was not."""
        row = self._db.row("SELECT at, why FROM sheddings WHERE segment = ?", (segment,))
        return None if row is None else (row[0], row[1])

    # how far some work has come

    def mark(self, name: str) -> int:
        """Return how far a work has come, 0 at first."""
        value: int | None = self._db.value("SELECT value FROM marks WHERE name = ?", (name,))
        return value or 0

    def set_mark(self, name: str, value: int) -> None:
        """Note how far a work has come."""
        with self._db.write() as db:
            db.execute("INSERT OR REPLACE INTO marks VALUES (?, ?)", (name, value))


def absent_classes(block: Block, header: Header) -> int:
    """Return the classes of the segments that a block withholds (bit c: class c)."""
    absent = 0
    for data, head in zip(block.segments, header.segments, strict=False):
        if not data:
            absent |= 1 << head.klass
    return absent


def note_missing(db: Connection, blocks: Sequence[tuple[int, str, int, int, bool]]) -> None:
    """Note what new blocks lack, and what others lack no more.

    Each is (row, region, classes absent, time of arrival in Unix ms, whether it is new).
    """
    new = [row[:4] for row in blocks if row[4] and row[2]]
    known = [(absent, place) for place, _, absent, _, is_new in blocks if not is_new]
    db.executemany("INSERT INTO missing VALUES (?, ?, ?, ?)", new)
    db.executemany("UPDATE missing SET classes = classes & ? WHERE block = ?", known)
    db.executemany("DELETE FROM missing WHERE block = ? AND classes = 0", [row[1:] for row in known])


def _hubs(joined: str | None) -> tuple[bytes, ...]:
    return tuple(dict.fromkeys(bytes.fromhex(each) for each in (joined or "").split(","))) if joined else ()
