"""Who keeps our blocks, which of them are final, and which bodies and summaries may go.

Owns the rows of receipts and finality, whose receipts count, and the questions that pruning asks. It does not own
the answers' use (`gateway.storage.pruning`) nor the blocks themselves (`gateway.storage.store`).

Invariants:
* Only bodies and summaries are ever deleted here.
* A receipt counts for as long as its hub's key is a member's in good standing. Blocks of an earlier chain have
  theirs from that chain, and need as many as it asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.storage.database import Database

__all__ = ["Holdings", "Receipt"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """A verified custody receipt of one hub, by the key that signed it, for one block."""

    number: int
    hub: str
    agency: str
    classes: int
    keep_until_ms: int
    body: bytes
    key: bytes = b""


class Holdings:
    """Receipts and room. Methods may be called from any thread; they raise as `Database`'s do."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_receipts(self, receipts: Iterable[Receipt], final: int | None) -> None:
        """Keep custody receipts, and note that a block is final, and with it every signed one below.

        A later receipt of the same hub replaces the first.
        """
        with self._database.transaction(may_wait=True) as run:
            for each in receipts:
                promise = each.classes, each.keep_until_ms, each.body, each.key
                run(
                    "INSERT OR REPLACE INTO receipts (number, hub, agency, classes, keep_until_ms, body, key)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (each.number, each.hub, each.agency, *promise),
                )
            if final is not None:
                run("UPDATE blocks SET final = 1 WHERE number <= ? AND height > 0 AND final = 0", (final,))

    def trust(self, keys: Iterable[bytes]) -> None:
        """Say whose receipts count from now on: those of these hub keys."""
        with self._database.transaction() as run:
            run("DELETE FROM custodians WHERE key != x''")
            for key in keys:
                run("INSERT OR IGNORE INTO custodians VALUES (?)", (key,))

    def prunable(
        self, custodians: int, before_ms: int, now_ms: int, limit: int, *, earlier: tuple[int, int] = (0, 1)
    ) -> list[int]:
        """Return final blocks that enough agencies keep for us and that ended before a time, oldest first.

        Args:
            earlier: the last block of earlier chains, and how many agencies those asked for.
        """
        rows = self._database.all(
            "SELECT number FROM blocks WHERE held = 1 AND final = 1 AND ended_ms < ? AND (SELECT count(DISTINCT"
            " agency) FROM receipts WHERE number = blocks.number AND classes & blocks.classes = blocks.classes"
            " AND keep_until_ms > ? AND (number <= ? OR key IN (SELECT key FROM custodians)))"
            " >= CASE WHEN number <= ? THEN ? ELSE ? END ORDER BY number LIMIT ?",
            before_ms,
            now_ms,
            earlier[0],
            *earlier,
            custodians,
            limit,
        )
        return [row[0] for row in rows]

    def drop_bodies(self, numbers: Iterable[int]) -> None:
        """Give up the bodies of blocks; their headers, receipts and transitions stay."""
        with self._database.transaction(may_wait=True) as run:
            for number in numbers:
                run("DELETE FROM segments WHERE number = ?", (number,))
                run("UPDATE blocks SET held = 0 WHERE number = ?", (number,))

    def summarised(self, before_ms: int, limit: int) -> list[tuple[int, int]]:
        """Return (number, height) of blocks that have summaries and ended before a time, oldest first."""
        return self._database.all(
            "SELECT DISTINCT b.number, height FROM blocks AS b JOIN summaries AS s ON s.number = b.number"
            " WHERE ended_ms < ? ORDER BY b.number LIMIT ?",
            before_ms,
            limit,
        )

    def drop_summaries(self, numbers: Iterable[int]) -> None:
        """Give up the summaries of blocks."""
        with self._database.transaction(may_wait=True) as run:
            for number in numbers:
                run("DELETE FROM summaries WHERE number = ?", (number,))

    def sheddable(self, before_ms: int, calm_ms: int, limit: int, *, quiet: bool) -> list[tuple[int, int]]:
        """Return (number, height) of blocks with bodies that may be shed, oldest first.

        Args:
            before_ms: they ended before this.
            calm_ms: no transition lies within this of them.
            quiet: only blocks of nothing but the public class that some hub has signed for.
        """
        extra = "AND classes = 1 AND EXISTS (SELECT 1 FROM receipts WHERE number = blocks.number)"
        return self._database.all(
            "SELECT number, height FROM blocks WHERE held = 1 AND ended_ms < ?1 AND NOT EXISTS (SELECT 1 FROM"
            " transitions WHERE wall_ms BETWEEN (SELECT coalesce(max(ended_ms), 0) FROM blocks AS b"
            " WHERE b.number = blocks.number - 1) - ?2 AND ended_ms + ?2)"
            f" {extra if quiet else ''} ORDER BY number LIMIT ?3",
            before_ms,
            calm_ms,
            limit,
        )
