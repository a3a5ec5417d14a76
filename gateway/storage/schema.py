"""The gateway's database: its tables, and how an older one becomes the present one.

Owns the schema's text and version. `gateway.storage.store` opens the database and asks for `migrate`; sqlite-utils is
loaded only where there is something to migrate, because a start has to be quick.

Invariants, which triggers keep whatever the program does:
* A transition's row is never changed or deleted.
* A block's row is never deleted, nor its header changed once it is final. Bodies have a table of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sqlite_utils import Database

__all__ = ["VERSION", "migrate"]

_FIRST: Final = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    # One row a block, in order of recording. A draft has no signature, and an epoch and height of 0.
    # `classes` has bit c set for a segment of class c; `held` is 0 when the bodies were pruned or shed.
    """CREATE TABLE blocks (
        number INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, height INTEGER NOT NULL, hash BLOB NOT NULL,
        header BLOB NOT NULL, signature BLOB NOT NULL, ended_ms INTEGER NOT NULL, classes INTEGER NOT NULL,
        transitions INTEGER NOT NULL, held INTEGER NOT NULL DEFAULT 1, final INTEGER NOT NULL DEFAULT 0)""",
    "CREATE UNIQUE INDEX blocks_position ON blocks (height, epoch) WHERE height > 0",
    "CREATE INDEX blocks_hash ON blocks (hash)",
    "CREATE INDEX blocks_held ON blocks (ended_ms) WHERE held = 1",
    "CREATE INDEX blocks_pending ON blocks (number) WHERE final = 0",
    "CREATE INDEX blocks_drafts ON blocks (number) WHERE height = 0",
    # A body is deflated: the database writes it twice, and a card wears out by what is written.
    """CREATE TABLE segments (
        number INTEGER NOT NULL, place INTEGER NOT NULL, body BLOB NOT NULL,
        PRIMARY KEY (number, place))""",
    # For charts. A total may exceed 64 bits.
    """CREATE TABLE summaries (
        number INTEGER NOT NULL, series INTEGER NOT NULL, count INTEGER NOT NULL, least INTEGER NOT NULL,
        greatest INTEGER NOT NULL, last INTEGER NOT NULL, total TEXT NOT NULL,
        PRIMARY KEY (number, series)) WITHOUT ROWID""",
    # Headers signed in an epoch that was closed below them: never sent again, kept as evidence.
    """CREATE TABLE orphans (
        epoch INTEGER NOT NULL, height INTEGER NOT NULL, hash BLOB PRIMARY KEY, header BLOB NOT NULL,
        signature BLOB NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE transitions (
        ordinal INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, body BLOB NOT NULL, mark INTEGER NOT NULL,
        wall_ms INTEGER NOT NULL)""",
    "CREATE INDEX transitions_wall ON transitions (wall_ms)",
    "CREATE TABLE placed (hash BLOB PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID",
    """CREATE TABLE acknowledged (
        hub TEXT NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (hub, hash)) WITHOUT ROWID""",
    """CREATE TABLE receipts (
        number INTEGER NOT NULL, hub TEXT NOT NULL, agency TEXT NOT NULL, classes INTEGER NOT NULL,
        keep_until_ms INTEGER NOT NULL, body BLOB NOT NULL,
        PRIMARY KEY (number, hub)) WITHOUT ROWID""",
    # Catalogues and contract sets that blocks name, as canonical arrays of their entries.
    """CREATE TABLE listings (
        root BLOB PRIMARY KEY, entries BLOB NOT NULL) WITHOUT ROWID""",
    """CREATE TRIGGER transitions_stay BEFORE DELETE ON transitions
        BEGIN SELECT RAISE(ABORT, 'a transition is never deleted'); END""",
    """CREATE TRIGGER transitions_stand BEFORE UPDATE ON transitions
        BEGIN SELECT RAISE(ABORT, 'a transition is never changed'); END""",
    """CREATE TRIGGER blocks_stay BEFORE DELETE ON blocks
        BEGIN SELECT RAISE(ABORT, 'a block is never deleted'); END""",
    """CREATE TRIGGER blocks_stand BEFORE UPDATE OF number, epoch, height, hash, header, signature ON blocks
        WHEN OLD.final = 1 BEGIN SELECT RAISE(ABORT, 'a final block is never changed'); END""",
)

# The keys of hubs whose receipts count. Receipts from before this carry no key, and are of a chain with one hub.
_CUSTODIANS: Final = (
    "ALTER TABLE receipts ADD COLUMN key BLOB NOT NULL DEFAULT x''",
    "CREATE TABLE custodians (key BLOB PRIMARY KEY) WITHOUT ROWID",
    "INSERT INTO custodians VALUES (x'')",
)

_MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (_FIRST, _CUSTODIANS)

VERSION: Final = len(_MIGRATIONS)
"""The number of migrations: what `PRAGMA user_version` says of a database that has them all."""


def migrate(connection: Any) -> None:
    """Apply what an open database lacks, each step in one transaction with its record."""
    from sqlite_utils import Database, Migrations

    migrations = Migrations("gateway")
    for index, statements in enumerate(_MIGRATIONS):

        def step(db: Database, statements: tuple[str, ...] = statements, version: int = index + 1) -> None:
            for statement in statements:
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {version}")

        migrations(name=f"{index + 1:04}")(step)
    migrations.apply(Database(connection))
