"""What is sealed and decided: blocks, transitions and a few small values, as rows.

Owns what is asked of the database and in which transaction. It does not own the database itself
(`gateway.storage.database`), receipts and room (`gateway.storage.holdings`), what may be signed
(`gateway.region.keeper`), nor the open block.

Invariants:
* Each method is one transaction, durable when it returns; one that fails has changed nothing.
* Numbers rise in the order of recording; signed blocks' heights rise with their numbers.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from gateway.chain.block import HUB, NTP, Block, Header
from gateway.chain.canonical import Item, decode, encode
from gateway.chain.keys import SUITE
from gateway.chain.tenure import NOWHERE
from gateway.errors import StoreError
from gateway.recording.openblock import Draft
from gateway.storage.database import Database
from gateway.storage.rows import Signature, Stored, Transition

__all__ = ["ALARM_PAGE", "MOVED", "NOBODY", "Signature", "Store", "Stored", "Transition"]

ALARM_PAGE: Final = 256
MOVED: Final = "moved"
NOBODY: Final = 1 << 30
"""More agencies than there are: no hub is spared a block for what others keep."""
_WANTED: Final = (
    "(held = 1 OR final = 0) AND NOT EXISTS (SELECT 1 FROM receipts WHERE number = blocks.number AND hub = ?)"
    " AND NOT (final = 1 AND (SELECT count(DISTINCT agency) FROM receipts WHERE number = blocks.number"
    " AND classes & blocks.classes = blocks.classes AND key IN (SELECT key FROM custodians)) >= ?)"
)
_BLOCK: Final = "SELECT number, epoch, height, hash, header, signature, held, final, transitions FROM blocks"


class Store(Database):
    """The database of one gateway. Methods may be called from any thread.

    Raises (all methods):
        StoreFull: the disk is full.
        StoreError: the database cannot be read or written.
    """

    # small values

    def get(self, name: str) -> bytes | None:
        """Return a small value, or None."""
        row = self.one("SELECT value FROM meta WHERE name = ?", name)
        return None if row is None else bytes(row[0])

    def put(self, values: Mapping[str, bytes | None]) -> None:
        """Set small values; None removes one."""
        with self.transaction() as run:
            _put(run, values)

    def add_listing(self, root: bytes, entries: Sequence[bytes]) -> None:
        """Keep a catalogue or contract set under its listing's root."""
        items: list[Item] = list(entries)
        with self.transaction() as run:
            run("INSERT OR IGNORE INTO listings VALUES (?, ?)", (root, encode(items)))

    def listing(self, root: bytes) -> tuple[bytes, ...] | None:
        """Return the entries of a listing, or None."""
        row = self.one("SELECT entries FROM listings WHERE root = ?", root)
        return None if row is None else tuple(decode(row[0], max_size=1 << 22))  # type: ignore[arg-type]

    # transitions and their alarms

    def add_transitions(self, rows: Iterable[Transition], values: Mapping[str, bytes | None]) -> None:
        """Write transitions, known ones aside, together with small values."""
        with self.transaction() as run:
            for row in rows:
                run(
                    "INSERT OR IGNORE INTO transitions (hash, body, mark, wall_ms) VALUES (?, ?, ?, ?)",
                    (row.hash, row.body, row.mark, row.wall_ms),
                )
            _put(run, values)

    def has_transition(self, hashed: bytes) -> bool:
        """Whether a transition is here, by its hash."""
        return self.one("SELECT 1 FROM transitions WHERE hash = ?", hashed) is not None

    def unacknowledged(
        self, hub: str, limit: int = ALARM_PAGE, *, after: int = 0, newest: bool = False
    ) -> list[Transition]:
        """Return the transitions above an ordinal whose alarm a hub has not acknowledged, oldest or newest first."""
        rows = self.all(
            "SELECT hash, body, mark, wall_ms, ordinal FROM transitions AS t WHERE ordinal > ? AND NOT EXISTS"
            " (SELECT 1 FROM acknowledged WHERE hub = ? AND hash = t.hash)"
            f" ORDER BY ordinal {'DESC' if newest else 'ASC'} LIMIT ?",
            after,
            hub,
            limit,
        )
        return [Transition(*row) for row in rows]

    def last_ordinal(self) -> int:
        """Return the ordinal of the newest transition; 0 when there is none."""
        return int(self.one("SELECT coalesce(max(ordinal), 0) FROM transitions")[0])

    def acknowledge(self, hub: str, hashes: Iterable[bytes]) -> None:
        """Note that a hub has these alarms on its disk."""
        with self.transaction(may_wait=True) as run:
            for hashed in hashes:
                run("INSERT OR IGNORE INTO acknowledged VALUES (?, ?)", (hub, hashed))

    def acknowledge_for(self, hubs: Iterable[str]) -> None:
        """Spare some hubs the alarms that any hub has acknowledged until now."""
        with self.transaction() as run:
            for hub in hubs:
                run("INSERT OR IGNORE INTO acknowledged SELECT DISTINCT ?, hash FROM acknowledged", (hub,))

    def loose_transitions(self) -> list[Transition]:
        """Return the transitions that stand in no block, oldest first."""
        rows = self.all(
            "SELECT hash, body, mark, wall_ms FROM transitions AS t WHERE NOT EXISTS"
            " (SELECT 1 FROM placed WHERE hash = t.hash) ORDER BY ordinal"
        )
        return [Transition(*row) for row in rows]

    # blocks

    def add_block(self, draft: Draft, signed: Signature | None, values: Mapping[str, bytes | None]) -> None:
        """Write a block, as a draft where it has no place in the chain yet, together with small values."""
        header, place = draft.header, signed.position if signed else NOWHERE
        classes = sum(1 << head.klass for head in header.segments)
        with self.transaction() as run:
            run(
                "INSERT INTO blocks (number, epoch, height, hash, header, signature, ended_ms, classes,"
                " transitions) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    draft.number,
                    place.epoch,
                    place.height,
                    place.hash,
                    signed.header if signed else header.encode(),
                    signed.signature if signed else b"",
                    header.wall + header.span,
                    classes,
                    len(draft.transitions),
                ),
            )
            for index, body in enumerate(draft.segments):
                run("INSERT INTO segments VALUES (?, ?, ?)", (draft.number, index, zlib.compress(body, 1)))
            for each in draft.summaries:
                run(
                    "INSERT INTO summaries VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        draft.number,
                        each.series,
                        each.count,
                        each.least,
                        each.greatest,
                        each.last,
                        str(each.total),
                    ),
                )
            for hashed in draft.transitions:
                run("INSERT OR IGNORE INTO placed VALUES (?, ?)", (hashed, draft.number))
            _put(run, values)

    def sign_blocks(
        self,
        signatures: Iterable[Signature],
        orphans: Iterable[Stored],
        values: Mapping[str, bytes | None],
        *,
        final: int = 0,
    ) -> None:
        """Give drafts, and blocks whose epoch was closed below them (`orphans`), their place in the chain.

        Args:
            final: number of the last block of an earlier chain, which ended above it.
        """
        with self.transaction() as run:
            run("UPDATE blocks SET final = 1 WHERE number <= ? AND height > 0 AND final = 0", (final,))
            for old in orphans:
                run(
                    "INSERT OR IGNORE INTO orphans VALUES (?, ?, ?, ?, ?)",
                    (old.epoch, old.height, old.hash, old.header, old.signature),
                )
                run("UPDATE blocks SET epoch = 0, height = 0 WHERE number = ?", (old.number,))
                run("DELETE FROM receipts WHERE number = ?", (old.number,))
            for each in signatures:
                at = each.position
                run(
                    "UPDATE blocks SET epoch = ?, height = ?, hash = ?, header = ?, signature = ? WHERE number = ?",
                    (at.epoch, at.height, at.hash, each.header, each.signature, each.number),
                )
            _put(run, values)

    def last_number(self) -> int:
        """Return the number of the newest block; 0 when there is none."""
        row = self.one("SELECT max(number) FROM blocks")
        return int(row[0] or 0) if row else 0

    def head(self) -> Stored | None:
        """Return the newest signed block."""
        return self._block("WHERE height > 0 ORDER BY height DESC, epoch DESC LIMIT 1")

    def vouched_ms(self) -> int:
        """Return the wall time of the newest signed block's end, 0 unless a time server or a hub vouched for it."""
        head = self.head()
        header = Header.decode(head.header) if head else None
        return header.wall + header.span if header and header.clock in (NTP, HUB) else 0

    def final_height(self) -> int:
        """Return the height of the highest block whose finality is known; 0 without one."""
        block = self._block("WHERE height > 0 AND final = 1 ORDER BY height DESC LIMIT 1")
        return block.height if block else 0

    def last_up_to(self, height: int) -> int:
        """Return the number of the highest signed block up to a height; 0 without one."""
        block = self._block("WHERE height > 0 AND height <= ? ORDER BY height DESC LIMIT 1", height)
        return block.number if block else 0

    @property
    def moved(self) -> int:
        """The number of the last block that belongs to an earlier chain; 0 without one."""
        return int.from_bytes(self.get(MOVED) or b"", "big")

    def drafts(self) -> list[Stored]:
        """Return the blocks that have no place in the chain yet, oldest first."""
        return self._blocks("WHERE height = 0 ORDER BY number")

    def above(self, height: int) -> list[Stored]:
        """Return the signed blocks above a height, lowest first."""
        return self._blocks("WHERE height > ? ORDER BY height", height)

    def at(self, height: int) -> Stored | None:
        """Return the signed block of a height."""
        return self._block("WHERE height = ? AND height > 0", height)

    def has_hash(self, hashed: bytes) -> bool:
        """Whether a signed header is here, as a block or as an orphan."""
        return (
            self.one(
                "SELECT 1 FROM blocks WHERE hash = ?1 UNION SELECT 1 FROM orphans WHERE hash = ?1", hashed
            )
            is not None
        )

    def unreceipted(self, hub: str, after: int, limit: int, custodians: int = NOBODY) -> list[Stored]:
        """Return signed blocks numbered above `after` that a hub has to be sent, oldest first.

        Those are the ones without its receipt, but for final ones whose bodies are gone, or are kept by so many
        other agencies that they may go: nobody needs them any more.
        """
        where = f"WHERE number > ? AND height > 0 AND {_WANTED} ORDER BY number LIMIT ?"
        return self._blocks(where, after, hub, custodians, limit)

    def is_wanted(self, hub: str, number: int, custodians: int = NOBODY) -> bool:
        """Whether a block is one of those that `unreceipted` returns."""
        sql = f"SELECT 1 FROM blocks WHERE number = ? AND height > 0 AND {_WANTED}"
        return self.one(sql, number, hub, custodians) is not None

    def waiting(self, hub: str, after: int = 0, custodians: int = NOBODY) -> int:
        """Return how many blocks numbered above `after` a hub has to be sent, drafts included."""
        sql = f"SELECT count(*) FROM blocks WHERE number > ? AND {_WANTED}"
        return int(self.one(sql, after, hub, custodians)[0])

    def message(self, stored: Stored) -> Block:
        """Return a signed block as it is sent; bodies that are gone are withheld."""
        rows = self.all("SELECT place, body FROM segments WHERE number = ? ORDER BY place", stored.number)
        if rows:
            return Block(SUITE, stored.header, stored.signature, tuple(_inflated(body) for _, body in rows))
        row = self.one("SELECT classes FROM blocks WHERE number = ?", stored.number)
        count = int(row[0]).bit_count() if row else 1
        return Block(SUITE, stored.header, stored.signature, (b"",) * count)

    def summaries(self, number: int) -> list[tuple[int, int, int, int, int, int]]:
        """Return a block's summaries: (series, count, least, greatest, last, total) each."""
        rows = self.all(
            "SELECT series, count, least, greatest, last, total FROM summaries WHERE number = ?", number
        )
        return [(a, b, c, d, e, int(total)) for a, b, c, d, e, total in rows]

    def _block(self, where: str, *values: object) -> Stored | None:
        blocks = self._blocks(where, *values)
        return blocks[0] if blocks else None

    def _blocks(self, where: str, *values: object) -> list[Stored]:
        rows = self.all(f"{_BLOCK} {where}", *values)
        return [_stored(*row) for row in rows]


def _stored(
    number: int, epoch: int, height: int, hashed: bytes, header: bytes, signature: bytes, *flags: int
) -> Stored:
    held, final, transitions = flags
    return Stored(number, epoch, height, hashed, header, signature, held == 1, final == 1, transitions)


def _put(run: Any, values: Mapping[str, bytes | None]) -> None:
    for name, value in values.items():
        if value is None:
            run("DELETE FROM meta WHERE name = ?", (name,))
        else:
            run("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))


def _inflated(body: bytes) -> bytes:
    try:
        return zlib.decompress(body)
    except zlib.error as error:
        raise StoreError(f"the body of a block is damaged in the database: {error}") from error
