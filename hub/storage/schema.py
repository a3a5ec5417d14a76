"""The tables of a hub's database, made and migrated by sqlite-utils.

Tables of the ledger refuse UPDATE and DELETE by trigger. Exceptions: `state` is replaced entry by entry (the
final blocks say how), a segment may be emptied once `sheddings` records that it was shed, and an alarm that came
before its gateway was known gets its judgement later. `origin` is the state on which the first final block kept
here rests, where that is not block 1. `missing` and `marks` are a hub's own notes of what it has
still to do, and come and go.
"""

from __future__ import annotations

from typing import Final

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

migrations: Final = Migrations("hub")

_TABLES: Final = """
CREATE TABLE genesis (hash BLOB PRIMARY KEY, document BLOB NOT NULL) STRICT;
CREATE TABLE final_blocks (
    height INTEGER PRIMARY KEY, time INTEGER NOT NULL, hash BLOB NOT NULL, txs BLOB NOT NULL,
    misbehaviour BLOB NOT NULL
) STRICT;
CREATE TABLE commits (
    height INTEGER PRIMARY KEY, time INTEGER NOT NULL, log_size INTEGER NOT NULL, app BLOB NOT NULL
) STRICT;
CREATE INDEX commits_by_log_size ON commits (log_size);
CREATE TABLE seals (height INTEGER PRIMARY KEY, seal BLOB NOT NULL) STRICT;
CREATE TABLE log (place INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, leaf BLOB NOT NULL) STRICT;
CREATE TABLE state (key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE origin (key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE records (
    hash BLOB PRIMARY KEY, kind INTEGER NOT NULL, gateway BLOB NOT NULL, height INTEGER NOT NULL, tx BLOB NOT NULL
) STRICT;
CREATE INDEX records_by_gateway ON records (gateway, kind);

CREATE TABLE blocks (
    id INTEGER PRIMARY KEY, gateway BLOB NOT NULL, epoch INTEGER NOT NULL, height INTEGER NOT NULL,
    hash BLOB NOT NULL, wall INTEGER NOT NULL, suite INTEGER NOT NULL, header BLOB NOT NULL,
    signature BLOB NOT NULL, received INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX blocks_by_position ON blocks (gateway, epoch, height, hash);
CREATE TABLE segments (id INTEGER PRIMARY KEY, summary BLOB NOT NULL, data BLOB NOT NULL) STRICT;
CREATE TABLE sheddings (block INTEGER PRIMARY KEY, at INTEGER NOT NULL) STRICT;
CREATE TABLE transitions (
    hash BLOB NOT NULL, block INTEGER NOT NULL, PRIMARY KEY (hash, block)
) STRICT, WITHOUT ROWID;
CREATE TABLE alarms (
    id INTEGER PRIMARY KEY, item BLOB NOT NULL UNIQUE, hash BLOB NOT NULL, gateway BLOB NOT NULL,
    flaw TEXT NOT NULL, received INTEGER NOT NULL, alarm BLOB NOT NULL
) STRICT;
CREATE INDEX alarms_by_hash ON alarms (hash);
CREATE INDEX alarms_by_gateway ON alarms (gateway, id);
CREATE TABLE catalogues (root BLOB PRIMARY KEY, catalogue BLOB NOT NULL) STRICT;
CREATE TABLE contracts (hash BLOB PRIMARY KEY, document BLOB NOT NULL) STRICT;
CREATE TABLE contract_sets (root BLOB PRIMARY KEY, hashes BLOB NOT NULL) STRICT;
CREATE TABLE custody_batches (id INTEGER PRIMARY KEY, batch BLOB NOT NULL) STRICT;
CREATE TABLE promises (
    batch INTEGER NOT NULL, place INTEGER NOT NULL, gateway BLOB NOT NULL, epoch INTEGER NOT NULL,
    height INTEGER NOT NULL, promise BLOB NOT NULL, PRIMARY KEY (batch, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX promises_by_position ON promises (gateway, epoch, height);

CREATE TABLE births (
    gateway BLOB PRIMARY KEY, received INTEGER NOT NULL, birth BLOB NOT NULL, earlier BLOB NOT NULL
) STRICT;
CREATE TABLE refusals (
    id INTEGER PRIMARY KEY, at INTEGER NOT NULL, gateway BLOB NOT NULL, kind TEXT NOT NULL,
    detail TEXT NOT NULL, item BLOB NOT NULL
) STRICT;
CREATE TABLE findings (
    id INTEGER PRIMARY KEY, at INTEGER NOT NULL, gateway BLOB NOT NULL, kind TEXT NOT NULL,
    detail TEXT NOT NULL, item BLOB NOT NULL
) STRICT;
CREATE INDEX findings_by_gateway ON findings (gateway, id);
"""

_FIXED: Final = (
    *("genesis", "final_blocks", "commits", "seals", "log", "origin", "records"),
    *("blocks", "sheddings", "transitions", "catalogues", "contracts", "contract_sets"),
    *("custody_batches", "promises", "refusals", "findings"),
)

_EXCEPTIONS: Final = """
CREATE TRIGGER segments_no_update BEFORE UPDATE ON segments
WHEN NEW.id != OLD.id OR NEW.summary != OLD.summary OR NEW.data != x''
    OR NOT EXISTS (SELECT 1 FROM sheddings WHERE block = OLD.id / 4)
BEGIN SELECT RAISE(ABORT, 'a segment is emptied only with its shedding on record'); END;
CREATE TRIGGER segments_no_delete BEFORE DELETE ON segments
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: segments'); END;
CREATE TRIGGER alarms_no_update BEFORE UPDATE ON alarms
WHEN OLD.flaw != 'UnknownGateway' OR (NEW.id, NEW.item, NEW.hash, NEW.gateway, NEW.received, NEW.alarm)
    IS NOT (OLD.id, OLD.item, OLD.hash, OLD.gateway, OLD.received, OLD.alarm)
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: an alarm is judged anew once its gateway is known'); END;
CREATE TRIGGER alarms_no_delete BEFORE DELETE ON alarms
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: alarms'); END;
CREATE TRIGGER state_no_delete BEFORE DELETE ON state
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: state'); END;
"""


def _refusals(table: str) -> str:
    return "".join(
        f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: {table}'); END;\n"
        for verb in ("UPDATE", "DELETE")
    )


@migrations()
def m001_ledger(database: Database) -> None:
    """Make all tables and their triggers."""
    script = _TABLES + _EXCEPTIONS + "".join(map(_refusals, _FIXED))
    for statement in _statements(script):
        database.execute(statement)


@migrations()
def m002_steps(database: Database) -> None:
    """Keep each change of a federation's voters once, not in every seal after it."""
    script = "CREATE TABLE steps (height INTEGER PRIMARY KEY, step BLOB NOT NULL) STRICT;\n" + _refusals(
        "steps"
    )
    for statement in _statements(script):
        database.execute(statement)


_BODIES: Final = """
CREATE TABLE shed_blocks AS SELECT block, at FROM sheddings;
DROP TRIGGER segments_no_update;
DROP TABLE sheddings;
CREATE TABLE sheddings (segment INTEGER PRIMARY KEY, at INTEGER NOT NULL, why TEXT NOT NULL) STRICT;
INSERT INTO sheddings SELECT s.id, b.at, 'shed with its block' FROM segments s
    JOIN shed_blocks b ON s.id BETWEEN b.block * 4 AND b.block * 4 + 3 WHERE s.data = x'';
DROP TABLE shed_blocks;
CREATE TRIGGER segments_no_update BEFORE UPDATE ON segments
WHEN NEW.id != OLD.id OR NEW.summary != OLD.summary OR NEW.data != x''
    OR NOT EXISTS (SELECT 1 FROM sheddings WHERE segment = OLD.id)
BEGIN SELECT RAISE(ABORT, 'a segment is emptied only with its shedding on record'); END;
CREATE TABLE missing (
    block INTEGER PRIMARY KEY, region TEXT NOT NULL, classes INTEGER NOT NULL, since INTEGER NOT NULL
) STRICT;
CREATE INDEX missing_by_region ON missing (region, block);
CREATE TABLE marks (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE peer_batches (
    id INTEGER PRIMARY KEY, hub BLOB NOT NULL, batch BLOB NOT NULL UNIQUE
) STRICT;
CREATE INDEX peer_batches_by_hub ON peer_batches (hub, id);
CREATE TABLE peer_promises (
    batch INTEGER NOT NULL, place INTEGER NOT NULL, gateway BLOB NOT NULL, epoch INTEGER NOT NULL,
    height INTEGER NOT NULL, promise BLOB NOT NULL, PRIMARY KEY (batch, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX peer_promises_by_position ON peer_promises (gateway, epoch, height);
"""


@migrations()
def m003_bodies(database: Database) -> None:
    """Shed single segments; note which are missing; keep what other hubs promise; find blocks by their hash."""
    script = _BODIES + "".join(map(_refusals, ("sheddings", "peer_batches", "peer_promises")))
    for statement in _statements(script):
        database.execute(statement)


_WITNESS: Final = """
CREATE TABLE witnessed (origin TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL) STRICT;
CREATE TRIGGER witnessed_no_return BEFORE UPDATE ON witnessed
WHEN NEW.origin != OLD.origin OR NEW.size <= OLD.size
BEGIN SELECT RAISE(ABORT, 'a witness never goes back'); END;
CREATE TRIGGER witnessed_no_delete BEFORE DELETE ON witnessed
BEGIN SELECT RAISE(ABORT, 'a witness never forgets'); END;
CREATE TABLE split_views (
    id INTEGER PRIMARY KEY, at INTEGER NOT NULL, signer BLOB NOT NULL, theirs BLOB NOT NULL UNIQUE,
    ours BLOB NOT NULL
) STRICT;
CREATE INDEX split_views_by_signer ON split_views (signer);
"""


@migrations()
def m004_witness(database: Database) -> None:
    """Keep the last head cosigned of each log, and the notes that contradict our log."""
    for statement in _statements(_WITNESS + _refusals("split_views")):
        database.execute(statement)


def _statements(script: str) -> list[str]:
    """Split a script at the ends of statements, so that it can run inside the migration's transaction."""
    found, rest = [], ""
    for line in script.splitlines():
        rest += line + "\n"
        body_open = "CREATE TRIGGER" in rest and not rest.rstrip().endswith("END;")
        if rest.rstrip().endswith(";") and not body_open:
            found.append(rest)
            rest = ""
    return found


def objects(database: Database) -> dict[str, str]:
    """Return the SQL of every table, index and trigger by name."""
    rows = database.query("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {row["name"]: row["sql"] for row in rows}


FOR_PEERS: Final = "CREATE INDEX IF NOT EXISTS blocks_by_hash ON blocks (hash)"
"""What a federation's hub has besides: others ask for blocks by hash alone. A hub alone need not pay for it."""


def expected_objects(*, has_peers: bool = False) -> dict[str, str]:
    """Return what `objects` must be."""
    fresh = Database(memory=True)
    try:
        migrations.apply(fresh)
        if has_peers:
            fresh.execute(FOR_PEERS)
        return objects(fresh)
    finally:
        fresh.close()
