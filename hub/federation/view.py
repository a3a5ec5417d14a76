"""How a federation stands, for people: members, votes, proposals, height, disk. Plain JSON values.

Owned: the picture, from the committed state and what the engine says of itself. Not owned: either of them. It can
be drawn from a stopped hub's ledger too, without what only an engine knows.
"""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.chain.entries import ProposalEntry, roster_key
from gateway.chain.genesis import REGULATOR, Genesis
from gateway.chain.governance import (
    MEMBER_GOOD,
    JoinBody,
    Member,
    ProposalBody,
    Roster,
    founding_roster,
    proposal_hash,
)
from gateway.chain.keys import Signed
from gateway.chain.leaf import SUSPEND
from hub.config import Config
from hub.consensus.base import EngineStatus
from hub.consensus.comet_home import address
from hub.federation.changes import ACTIONS
from hub.storage.chainstore import ChainStore

_PROPOSAL = 7


@dataclass(frozen=True, slots=True)
class Engine:
    """What a running hub adds: how its engine stands, how far others are (0: unknown), why it does not vote."""

    status: EngineStatus
    highest: int = 0
    waits: str = ""


def describe(
    config: Config, genesis: Genesis, chain: ChainStore, engine: Engine | None, now_ms: int
) -> dict[str, Any]:
    """Return the picture as of `now_ms` (Unix ms). Raises StoreError."""
    roster = read_roster(chain, genesis)
    committed = chain.committed()
    height, final_ms = committed[:2] if committed else (0, genesis.created)
    return {
        "hub": config.hub.name,
        "version": importlib.metadata.version("tocsin"),
        "chain": genesis.name,
        "genesis": genesis.hash.hex(),
        "roster_version": roster.version,
        "height": height,
        "final_age_ms": now_ms - final_ms if height else None,
        **_engine(engine, height),
        "members": [_member(each, config, engine) for each in roster.members],
        "authorities": [
            {"name": each.name, "regulator": each.role == REGULATOR, "key": each.key.hex()}
            for each in roster.authorities
        ],
        "proposals": [_proposal(each, roster, now_ms) for each in _proposals(chain)],
        "disk": _disk(config),
    }


def read_roster(chain: ChainStore, genesis: Genesis) -> Roster:
    """Return who belongs to the federation as of the last committed final block."""
    value = chain.entry(roster_key())
    return founding_roster(genesis) if value is None else Roster.decode(value)


def _engine(engine: Engine | None, height: int) -> dict[str, Any]:
    if engine is None:
        return {"running": False}
    status = engine.status
    return {
        "running": True,
        "sealed": status.height,
        "lag": max(engine.highest - height, 0) if engine.highest else None,
        "catching_up": status.catching_up,
        "peers": len(status.peers),
        "standing": status.standing,
        "waits": engine.waits,
    }


def _member(member: Member, config: Config, engine: Engine | None) -> dict[str, Any]:
    standing = {MEMBER_GOOD: "good", SUSPEND: "suspended"}.get(member.standing, "double-signed")
    is_self = member.name == config.hub.name
    voted = reached = None
    if engine is not None:
        voted = member.validator in engine.status.voters if member.power else None
        reached = is_self or address(member.key) in engine.status.peers
    return {
        "name": member.name,
        "agency": member.agency,
        "power": member.power,
        "standing": standing,
        "breaches": member.breaches,
        "voted": voted,
        "reached": reached,
        "self": is_self,
        "url": config.federation.url(member.name),
        "key": member.key.hex(),
        "validator": member.validator.hex(),
    }


def _proposals(chain: ChainStore) -> Iterable[ProposalEntry]:
    return [ProposalEntry.decode(value) for _, value in chain.entries_of(_PROPOSAL)]


def _proposal(entry: ProposalEntry, roster: Roster, now_ms: int) -> dict[str, Any]:
    signed = Signed.decode(entry.proposal)
    body = ProposalBody.decode(signed.body)
    names = {each.key: each.name for each in roster.members}
    power = sum(each.power for each in roster.members if each.key in entry.approvals)
    missing = [each.name for each in roster.members if each.power and each.key not in entry.approvals]
    state = "in force" if entry.done else "expired" if now_ms > body.not_after else "open"
    return {
        "hash": proposal_hash(signed).hex(),
        "action": ACTIONS[body.action],
        "about": _about(body),
        "reason": body.reason,
        "state": state,
        "proposer": names.get(body.proposer, body.proposer.hex()[:16]),
        "approvals": [names.get(each, each.hex()[:16]) for each in entry.approvals],
        "power": power,
        "needed": roster.power * 2 // 3 + 1,
        "missing": missing if state == "open" else [],
        "time_ms": body.time,
        "not_after_ms": body.not_after,
    }


def _about(body: ProposalBody) -> str:
    if body.joining is not None:
        member = JoinBody.decode(body.joining.body)
        voice = f"power {member.power}" if member.power else "a reader"
        return f"{member.name} of {member.agency}, {voice}, key {member.key.hex()[:16]}"
    if body.authority is not None:
        role = "regulator" if body.authority.role == REGULATOR else "authority"
        return f"{body.authority.name}, {role}, key {body.authority.key.hex()[:16]}"
    return body.name


def _disk(config: Config) -> dict[str, int]:
    ledger = [
        config.ledger,
        *(config.ledger.with_name(config.ledger.name + each) for each in ("-wal", "-shm")),
    ]
    try:
        free = shutil.disk_usage(config.directory).free
    except OSError:
        free = 0
    return {
        "ledger": sum(_size(each) for each in ledger),
        "engine": sum(map(_size, Path(config.federation.engine_home).rglob("*"))),
        "free": free,
    }


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0  # the engine compacts its files meanwhile
