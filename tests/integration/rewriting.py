"""What a dishonest hub can do with its own key: another history, consistent in itself, in place of its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from gateway.chain.finality import EmbeddedSeal, Seal
from gateway.chain.genesis import Genesis
from gateway.chain.keys import NO_HASH, SigningKey
from gateway.chain.leaf import ALARMS, HEADERS, LogLeaf
from hub.consensus.base import FinalBlock
from hub.consensus.embedded import with_hash
from hub.ledger.ledger import Ledger
from hub.storage.store import Store

_COPIES = (
    "INSERT INTO blocks SELECT b.* FROM old.blocks b JOIN kept ON kept.hash = b.hash",
    "INSERT INTO segments SELECT s.* FROM old.segments s JOIN blocks b ON b.id = s.id / 4",
    "INSERT INTO transitions SELECT t.* FROM old.transitions t JOIN blocks b ON b.id = t.block",
    "INSERT INTO alarms SELECT a.* FROM old.alarms a JOIN kept ON kept.hash = a.hash",
    "INSERT INTO catalogues SELECT * FROM old.catalogues",
    "INSERT INTO contracts SELECT * FROM old.contracts",
    "INSERT INTO contract_sets SELECT * FROM old.contract_sets",
    "INSERT INTO births SELECT * FROM old.births",
    # A batch is signed as a whole, so one that promises a block that is gone has to go with it.
    """INSERT INTO custody_batches SELECT * FROM old.custody_batches WHERE id NOT IN (
        SELECT batch FROM old.promises p WHERE NOT EXISTS (
            SELECT 1 FROM blocks b WHERE (b.gateway, b.epoch, b.height) = (p.gateway, p.epoch, p.height)))""",
    "INSERT INTO promises SELECT p.* FROM old.promises p JOIN custody_batches c ON c.id = p.batch",
)


def rewrite(
    directory: Path, genesis: Genesis, key: SigningKey, change: Callable[[FinalBlock], FinalBlock | None]
) -> None:
    """Replace a stopped hub's database by one of changed final blocks, all derived and sealed anew.

    `change` returns what becomes of each final block; None ends the history there.
    """
    path, old = directory / "ledger.db", directory / "true.db"
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    path.rename(old)
    truth, store = Store(old, read_only=True), Store(path)
    ledger = Ledger(genesis, store.chain)
    ledger.genesis(genesis.encode())
    previous = NO_HASH
    for final in truth.chain.final_blocks():
        changed = change(final)
        if changed is None:
            break
        block = with_hash(changed, previous)
        previous = block.hash
        store.chain.append_final(block)
        app = ledger.finalize(block).app
        ledger.commit()
        body = EmbeddedSeal(genesis.hash, block.height, block.time, app.hash)
        store.chain.add_seal(block.height, Seal.embedded(key, body))
    leaves = [LogLeaf.decode(leaf) for (leaf,) in store.database.rows("SELECT leaf FROM log")]
    truth.close()
    store.close()
    db = sqlite3.connect(path)
    db.execute("ATTACH ? AS old", (str(old),))
    db.execute("CREATE TEMP TABLE kept (hash BLOB PRIMARY KEY)")
    kept = [(leaf.hash,) for leaf in leaves if leaf.kind in (HEADERS, ALARMS)]
    db.executemany("INSERT INTO kept VALUES (?)", kept)
    for statement in _COPIES:
        db.execute(statement)
    db.commit()
    db.close()
    old.unlink()
