"""The hub's notes, on disk: what it refused, and what people should look at. Its own word, signed by nobody."""

from __future__ import annotations

from dataclasses import dataclass

from hub.storage.database import Database


@dataclass(frozen=True, slots=True)
class Note:
    """A refusal or finding: when (Unix ms), of whom, the error's name or the kind, in words, the item's hash."""

    id: int
    at: int
    gateway: bytes
    kind: str
    detail: str
    item: bytes


class Notes:
    """Part of a hub's database; safe for several threads; every write is durable when it returns."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add_refusal(self, at: int, gateway: bytes, error: str, detail: str, item: bytes) -> None:
        """Note that an item (by its hash) was refused by a named error."""
        self._add("refusals", (at, gateway, error, detail, item))

    def add_finding(self, at: int, gateway: bytes, kind: str, detail: str, item: bytes = b"") -> None:
        """Note something that people should look at."""
        self._add("findings", (at, gateway, kind, detail, item))

    def refusals(self, gateway: bytes | None = None, limit: int = 100) -> list[Note]:
        """Return the latest refusals, oldest of them first."""
        return self._latest("refusals", gateway, limit)

    def findings(self, gateway: bytes | None = None, limit: int = 100) -> list[Note]:
        """Return the latest findings, oldest of them first."""
        return self._latest("findings", gateway, limit)

    def _add(self, table: str, values: tuple[int, bytes, str, str, bytes]) -> None:
        with self._db.write() as db:
            db.execute(f"INSERT INTO {table} VALUES (NULL, ?, ?, ?, ?, ?)", values)

    def _latest(self, table: str, gateway: bytes | None, limit: int) -> list[Note]:
        where, values = ("", ()) if gateway is None else ("WHERE gateway = ?", (gateway,))
        sql = f"SELECT id, at, gateway, kind, detail, item FROM {table} {where} ORDER BY id DESC LIMIT ?"
        return [Note(*row) for row in self._db.rows(sql, (*values, limit))][::-1]
