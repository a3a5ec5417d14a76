"""Which contracts a gateway begins with: those of its configuration, or the set that an authority granted last.

Owns reading both. It does not own what contracts mean (`gateway.contracts`) nor taking grants
(`gateway.region.orders`).

Invariant: the parser is loaded only for texts that were not read before; a start needs the documents alone.
"""

from __future__ import annotations

import contextlib
from hashlib import sha256
from pathlib import Path
from typing import Final, cast

from gateway.chain.canonical import decode, encode
from gateway.chain.neighbour import Building
from gateway.chain.tenure import ContractGrant
from gateway.config import Config, ContractsTable
from gateway.contracts.errors import ContractError
from gateway.contracts.library import template
from gateway.decider import ContractSet
from gateway.errors import ConfigError, StoreError
from gateway.neighbours.config import NeighboursTable, make_building
from gateway.storage.recovery import DATABASE
from gateway.storage.store import Store

__all__ = ["GRANT", "configured_contracts", "contracts_in_force", "first_contracts"]

GRANT: Final = "grant"
_PARSED: Final = "parsed"
_MAX_BYTES: Final = 4 << 20
MAX_CONTRACTS: Final = 64


def configured_contracts(config: Config, where: str) -> ContractSet:
    """Return the contracts and the roster of a configuration. Raises ConfigError."""
    return _parse(_texts(config.contracts, where), _building(config.neighbours, where))


def first_contracts(config: Config, where: str, store: Store) -> ContractSet:
    """Return the contracts to start with.

    Raises:
        ConfigError: a contract of the configuration cannot be read.
        StoreError: the store cannot be read or written.
    """
    granted = store.get(GRANT)
    if granted is not None:
        grant = ContractGrant.decode(granted)
        return ContractSet.decode(grant.documents, grant.version)
    texts, building = _texts(config.contracts, where), _building(config.neighbours, where)
    roster = building.encode() if building else b""
    digest = sha256("\0".join(text for _, text in texts).encode() + b"\0" + roster).digest()
    known = store.get(_PARSED)
    if known is not None:
        parsed, documents = cast(tuple[bytes, list[bytes]], decode(known, max_size=_MAX_BYTES))
        if parsed == digest:
            return ContractSet.decode(documents, 0)
    contracts = _parse(texts, building)
    with contextlib.suppress(StoreError):  # then they are parsed once more at the next start
        store.put({_PARSED: encode([digest, list(contracts.documents)])})
    return contracts


def contracts_in_force(config: Config, where: str) -> ContractSet:
    """Return the contracts that a gateway has or begins with, changing nothing. Raises ConfigError, StoreError."""
    database = config.data / DATABASE
    if database.exists():
        store = Store(database, writable=False)
        try:
            granted = store.get(GRANT)
        finally:
            store.close()
        if granted is not None:
            grant = ContractGrant.decode(granted)
            return ContractSet.decode(grant.documents, grant.version)
    return configured_contracts(config, where)


def _texts(table: ContractsTable, where: str) -> list[tuple[str, str]]:
    texts = []
    for name in table.files:
        try:
            texts.append((name, Path(name).read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{where}: contract {name} cannot be read: {error}") from error
    for each in table.templates:
        try:
            texts.append((f"template {each.template}", template(each.template, **each.names)))
        except ContractError as error:
            raise ConfigError(f"{where}: contracts.templates: {error}") from error
    return texts


def _building(table: NeighboursTable, where: str) -> Building | None:
    return make_building(table.building, table.members, where) if table.members else None


def _parse(texts: list[tuple[str, str]], building: Building | None) -> ContractSet:
    if not texts:
        return ContractSet((), building=building)
    if len(texts) + bool(building) > MAX_CONTRACTS:
        raise ConfigError(
            f"{len(texts)} contracts, and with a roster at most {MAX_CONTRACTS} can be in force: a birth names them all"
        )
    # Here, not above: the parser takes longer to load than the gateway has to its first sample.
    from gateway.contracts.source import read_contract

    try:
        return ContractSet.of([read_contract(text, name) for name, text in texts], building=building)
    except ContractError as error:
        raise ConfigError(str(error)) from error
