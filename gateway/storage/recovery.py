"""What a gateway finds when it starts: its database, its journals, and the blocks that were open.

Owns the opening of both and the return of what a crash left behind. It does not own what follows for the
chain (`gateway.region.keeper`).

Invariants:
* A block found in a journal becomes a draft of its own boot, unless the store holds it already.
* A transition found in a journal gets its row, so that its alarm is sent.
* A journal is emptied only when its block is stored. What is damaged is reported, and recording goes on.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.chain.alarm import RECORDED, UNRECORDED, transition_hash
from gateway.chain.alarm import Transition as TransitionRecord
from gateway.chain.errors import ChainError
from gateway.chain.reading import Series
from gateway.clock import Clock
from gateway.errors import JournalError, StoreError, StoreFull
from gateway.recording.feed import Feed, unpack
from gateway.recording.openblock import Draft, Opening, recover
from gateway.region.enrol import Trust
from gateway.region.succession import settle
from gateway.storage.journal import Journal
from gateway.storage.journal_file import read_records
from gateway.storage.pruning import BALLAST
from gateway.storage.store import Store, Transition

__all__ = ["DATABASE", "Found", "open_data"]

_log = logging.getLogger(__name__)

DATABASE: Final = "gateway.db"
_JOURNALS: Final = ("open-0.journal", "open-1.journal")


@dataclass(frozen=True, slots=True)
class Found:
    """What was found, taken care of.

    Attributes:
        trust: the chain that the directory belongs to, which may have taken over the one asked for.
        whole: nothing that had been durable is missing.
        journals: the empty ones.
        left: blocks that the store could not take, and the journals that hold them.
        unwritten: transitions in them that have no row.
        number: of the next block.
        state: the contracts' last saved state, if there is one.
    """

    store: Store
    trust: Trust
    journals: tuple[Feed, ...]
    left: tuple[tuple[Draft, Feed], ...]
    unwritten: tuple[Transition, ...]
    whole: bool
    number: int
    state: bytes | None


@dataclass(frozen=True, slots=True)
class _Left:
    journal: Journal
    draft: Draft
    state: bytes
    transitions: tuple[bytes, ...]


def open_data(
    directory: Path,
    trust: Trust,
    gateway: bytes,
    bound_ms: int,
    clock: Clock,
    prepare: Callable[[Store], None] = lambda _: None,
) -> Found:
    """Open a gateway's database and journals, and store what its last boot had open.

    Where the disk takes nothing any more, a store that cannot be written and no journals: pins and alarms go on.

    Args:
        prepare: keeps in the store what blocks of this configuration name, in case it was lost with an older one.

    Raises:
        ConfigError: the directory is of another chain.
        StoreError, JournalError: another process has them, or they are of a newer version.
    """
    try:
        return _open_writable(directory, trust, gateway, bound_ms, clock, prepare)
    except (StoreError, JournalError) as error:
        if not _is_worn(error):
            raise
        _log.critical("%s; nothing is recorded until this disk takes data again: alarms go on", error)
    return _open_worn(directory, trust, gateway)


def _is_worn(error: StoreError | JournalError) -> bool:
    """Whether it is the disk that refuses, and not another process or version."""
    if isinstance(error, JournalError):
        return error.errno is not None
    return error.__cause__ is not None


def _open_worn(directory: Path, trust: Trust, gateway: bytes) -> Found:
    """Read what lies there: the contracts' state, and what was decided without finding its way to a row."""
    store = Store(directory / DATABASE, writable=False)
    trust = _settle(store, trust, directory)
    opened = []
    for name in _JOURNALS:
        try:
            found = recover(unpack(read_records(directory / name)), None, trust.hash, gateway)
        except (OSError, ChainError) as error:
            if isinstance(error, JournalError) and not _is_worn(error):
                store.close()
                raise
            _log.error("%s cannot be read: %s", directory / name, error)
        else:
            opened += [found] if found else []
    state, unwritten = store.get("engine"), list[Transition]()
    for _, after, bodies in sorted(opened, key=lambda each: each[0].number):
        if rows := [row for row in _rows(bodies, UNRECORDED) if not store.has_transition(row.hash)]:
            state, unwritten = after or state, [*unwritten, *rows]
    return Found(store, trust, (), (), tuple(unwritten), False, store.last_number() + 1, state)


def _open_writable(
    directory: Path,
    trust: Trust,
    gateway: bytes,
    bound_ms: int,
    clock: Clock,
    prepare: Callable[[Store], None],
) -> Found:
    with contextlib.ExitStack() as opened_here:
        store = _open_store(directory)
        opened_here.callback(store.close)
        trust = _settle(store, trust, directory)
        prepare(store)
        journals = []
        for name in _JOURNALS:
            journals.append(Journal(directory / name, loss_bound_ms=bound_ms, clock=clock))
            opened_here.callback(journals[-1].close)
        found = _recover(store, journals, trust, gateway, clock)
        opened_here.pop_all()
    return found


def _recover(store: Store, journals: Sequence[Journal], trust: Trust, gateway: bytes, clock: Clock) -> Found:
    whole, opened, last = store.recovered_whole, list[_Left](), store.last_number()
    for journal in journals:
        found = journal.recover()
        whole = whole and not found.damaged
        try:
            block = _open_block(journal, unpack(found.records), store, trust.hash, gateway)
        except ChainError as error:
            _log.error("a journal's records cannot be read, and are given up: %s", error)
            whole = False
            continue
        if block is not None and block.draft.number > last and not _is_listed(block.draft, store):
            whole = False
            _set_aside(journal, block, store)
        elif block is not None:
            opened.append(block)
    opened = sorted((each for each in opened if each.draft.number > last), key=lambda each: each.draft.number)
    left = [each for each in opened if not _keep(store, each)]
    empty = [journal for journal in journals if all(each.journal is not journal for each in left)]
    for journal in empty:
        if journal.recover().records:
            journal.reset()
    number = max([store.last_number(), *(each.draft.number for each in left)]) + 1
    return Found(
        store,
        trust,
        tuple(Feed(each, clock) for each in empty),
        tuple((each.draft, Feed(each.journal, clock)) for each in left),
        tuple(row for each in left for row in _rows(each.transitions, UNRECORDED)),
        whole,
        number,
        next((each.state for each in reversed(left) if each.state), None) or store.get("engine"),
    )


def _open_store(directory: Path) -> Store:
    """Open the database; on a full disk the ballast makes way for what SQLite needs to open one."""
    path = directory / DATABASE
    try:
        return Store(path)
    except StoreFull as error:
        _log.error("%s", error)
        with contextlib.suppress(OSError):
            (directory / BALLAST).unlink()
        return Store(path)


def _settle(store: Store, trust: Trust, directory: Path) -> Trust:
    try:
        return settle(store, trust, directory)
    except BaseException:
        store.close()
        raise


def _open_block(
    journal: Journal, records: Sequence[bytes], store: Store, genesis: bytes, gateway: bytes
) -> _Left | None:
    if len(records) < 2:
        return None
    entries = store.listing(Opening.decode(records[0]).catalogue.root)
    classes = None if entries is None else [Series.decode(each).klass for each in entries]
    found = recover(records, classes, genesis, gateway)
    return _Left(journal, *found) if found else None


def _is_listed(draft: Draft, store: Store) -> bool:
    """Whether the catalogue and the contracts that a block names are known: else no hub could open it."""
    header = draft.header
    return all(store.listing(each.root) is not None for each in (header.catalogue, header.contracts))


def _set_aside(journal: Journal, block: _Left, store: Store) -> None:
    """Copy the journal of a block that cannot be sealed any more; its transitions are recorded anew."""
    aside = journal.path.with_name(f"{journal.path.name}.aside")
    _log.critical(
        "block %d names a catalogue or contracts that were lost with the database: its journal is kept as %s,"
        " its transitions are recorded anew, its readings are not",
        block.draft.number,
        aside,
    )
    try:
        shutil.copyfile(journal.path, aside)
        store.add_transitions(
            _rows(block.transitions, RECORDED), {"engine": block.state} if block.state else {}
        )
    except (OSError, StoreError) as error:
        raise StoreError(f"{aside}: the journal of a lost block cannot be kept: {error}") from error


def _keep(store: Store, left: _Left) -> bool:
    """Store a block that was open; False where there is no room for it now."""
    rows = _rows(left.transitions, RECORDED)
    # A transition's state is newer than what the store has only where its row is missing.
    lost = any(not store.has_transition(row.hash) for row in rows)
    state = {"engine": left.state} if lost and left.state else {}
    try:
        store.add_transitions(rows, state)
        store.add_block(left.draft, None, {})
    except StoreFull as error:
        _log.error("block %d was open when the gateway stopped, and waits: %s", left.draft.number, error)
        return False
    _log.warning("block %d was open when the gateway stopped, and is stored", left.draft.number)
    return True


def _rows(bodies: Sequence[bytes], mark: int) -> list[Transition]:
    return [
        Transition(transition_hash(body), body, mark, TransitionRecord.decode(body).wall) for body in bodies
    ]
