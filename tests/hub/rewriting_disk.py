"""A hub's database as one who has its disk sees and changes it."""

from __future__ import annotations

import sqlite3
from pathlib import Path


def rows(directory: Path, sql: str) -> list[tuple[object, ...]]:
    db = sqlite3.connect(directory / "ledger.db")
    try:
        return db.execute(sql).fetchall()
    finally:
        db.close()


def change(directory: Path, *statements: tuple[str, tuple[object, ...]]) -> None:
    """Change a hub's database as one who has its disk can: past the triggers, leaving no trace of that."""
    db = sqlite3.connect(directory / "ledger.db")
    triggers = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for trigger, _ in triggers:
        db.execute(f"DROP TRIGGER {trigger}")
    for statement in statements:
        db.execute(*statement)
    for _, sql in triggers:
        db.execute(sql)
    db.commit()
    db.close()
