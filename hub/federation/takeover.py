"""The end of an embedded chain in favour of a federation's, and what is brought over from it.

Owned: the file `closed.cbor`, which holds the closing hub's signature and ends its directory for good. Not owned:
what an import changes (`hub.ledger.imports`), how gateways follow. Invariants:

- A chain is closed once, for one successor, at its last sealed final block; nothing is ordered in it afterwards.
- It is closed only by a hub that has stopped with nothing left to make final.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gateway.chain.canonical import decode
from gateway.chain.entries import GOOD, contracts_key, gateway_key
from gateway.chain.errors import ChainError
from gateway.chain.genesis import COMETBFT, EMBEDDED, Genesis, Takeover, TakeoverBody
from gateway.chain.keys import TAKEOVER, Signed, SigningKey
from gateway.chain.ordered import Import, encode_transaction
from gateway.chain.takeover import find_takeover
from hub.auditing.wal import lost_commits
from hub.config import load_genesis, read_key
from hub.errors import ConfigError, TakeoverError
from hub.files import settle, write_durably
from hub.ledger.ledger import Ledger
from hub.lock import only_one
from hub.reached import Reached
from hub.storage.store import Store

FILE: Final = "closed.cbor"
_LEDGER: Final = "ledger.db"


def check_open(directory: Path) -> None:
    """Check that a directory's chain was not closed: a hub must not run in it then. Raises ConfigError."""
    found = _read_closed(directory)
    if found is not None:
        body = TakeoverBody.decode(found.body)
        raise ConfigError(
            f"the chain in {directory} was closed at final block {body.height} for good: run the hub of the"
            " federation that continues it from a directory of its own; this one stays to be read and audited"
        )


def close(directory: Path, successor: Genesis) -> Takeover:
    """Close the chain of a stopped embedded hub for the federation that is to continue it.

    `successor` is the federation's genesis, with or without takeovers. A repeat for the same one gives the same.

    Raises:
        ConfigError: a hub runs there, or key, genesis or ledger cannot be used.
        TakeoverError: the chain was closed for another successor, or has blocks that are not final yet.
    """
    with only_one(directory):
        found = _read_closed(directory)
        if found is None:
            found = _sign(directory, successor)
            _write_closed(directory, found)
    body = TakeoverBody.decode(found.body)
    if body.successor != successor.successor:
        raise TakeoverError(f"the chain in {directory} was closed for another federation than this one")
    return Takeover(body.genesis, body.height, body.app_hash, found.signature)


def imports(old_ledger: Path, genesis: Genesis) -> Iterator[bytes]:
    """Yield the transactions that bring every gateway of a closed chain over, from its hub's database.

    Raises StoreError, or TakeoverError where the genesis does not take this chain over as it stands there.
    """
    with _opened(old_ledger) as (store, ledger):
        at = ledger.committed
        try:
            taken = find_takeover(genesis, ledger.chain.hash)
        except ChainError as error:
            raise TakeoverError(f"{old_ledger}: {error}") from error
        if (taken.height, taken.app_hash) != (at.height, at.app.hash):
            raise TakeoverError(
                f"{old_ledger} stands at final block {at.height}, the genesis takes it over at {taken.height}:"
                " take the directory that was closed"
            )
        for gateway in _gateways(store):
            proofs = at.prove(gateway_key(gateway)), at.prove(contracts_key(gateway))
            yield encode_transaction(Import(taken.genesis, at.app, gateway, *proofs))


def _gateways(store: Store) -> list[bytes]:
    keys = [decode(key) for key, _ in store.chain.entries()]
    return sorted(key[1] for key in keys if key[0] == 1)  # type: ignore


def _sign(directory: Path, successor: Genesis) -> Signed:
    key, genesis = _identity(directory, successor)
    if lost := lost_commits(directory / _LEDGER):
        raise TakeoverError(f"{directory}: {lost} commits are lost: run tocsin-hub audit")
    with _opened(directory / _LEDGER) as (store, ledger):
        if ledger.chain != genesis:
            raise TakeoverError(f"{directory}: ledger and genesis are of different chains")
        at = ledger.committed
        Reached(directory, genesis).check(at.height)
        last, sealed = store.chain.last_final(), store.chain.checkpoint(at.height)
        if last is None or last.height != at.height or sealed is None:
            raise TakeoverError(f"{directory}: its last final block is not complete: run the hub once more")
        _check_nothing_waits(store, ledger)
        body = TakeoverBody(genesis.hash, at.height, at.app.hash, successor.successor)
        return key.signed(TAKEOVER, body.encode())


def _identity(directory: Path, successor: Genesis) -> tuple[SigningKey, Genesis]:
    key, genesis = read_key(directory / "hub.key"), load_genesis(directory / "genesis.cbor")
    if genesis.engine != EMBEDDED or genesis.hubs[0].key != key.public:
        raise TakeoverError(f"{directory} holds no chain that its hub alone can end")
    if successor.engine != COMETBFT:
        raise TakeoverError("only a federation takes a chain over: give its genesis")
    return key, genesis


def _check_nothing_waits(store: Store, ledger: Ledger) -> None:
    """Check that no stored block could become final still. Raises TakeoverError."""
    waiting = []
    for gateway in store.gateways():
        entry = ledger.committed.entry(gateway)
        if entry is None or entry.standing != GOOD:
            continue
        head = entry.head
        for stored in store.headers_after(gateway, entry.epoch, head.height, 1):
            if stored.position.height == head.height + 1 and stored.header.previous == head.hash:
                waiting.append(gateway.hex()[:16])
    if waiting:
        raise TakeoverError(
            f"blocks of {len(waiting)} gateways are stored but not final ({', '.join(waiting[:3])}):"
            " run the hub until they are, then stop it"
        )


@contextmanager
def _opened(ledger: Path) -> Iterator[tuple[Store, Ledger]]:
    store = Store(ledger, read_only=True)
    try:
        document = store.chain.genesis()
        if document is None:
            raise TakeoverError(f"{ledger} holds no chain yet")
        yield store, Ledger(Genesis.decode(document), store.chain)
    finally:
        store.close()


def _read_closed(directory: Path) -> Signed | None:
    path = directory / FILE
    try:
        return Signed.decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ChainError) as error:
        raise ConfigError(f"{path} cannot be read: {error}; restore it from your backup") from error


def _write_closed(directory: Path, closed: Signed) -> None:
    """Write the file whole and durably, or not at all. Raises ConfigError."""
    draft = directory / f"{FILE}.new"
    try:
        write_durably(draft, closed.encode())
        draft.replace(directory / FILE)
        settle(directory)
    except OSError as error:
        raise ConfigError(f"{directory} cannot be written: {error}") from error
