"""What a snapshot is made of: everything a ledger needs to go on after a final block and to prove what came before.

Chunk 0 holds the head: the height, that final block's header and the log's size and roots. Then come the leaves of
the log, the entries of the state and the records, each kind in the ledger's own order. All of it follows from the
final blocks alone, so a snapshot has the same bytes on every hub; seals are left out, as each hub has its own.

What does not travel: final blocks, seals and checkpoints below the height; gateways' blocks with headers and bodies,
alarms, catalogues and contracts; promises of custody; a hub's own notes. Other hubs keep them.

Pure but for reading: nothing is written and nothing is believed here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from gateway.chain.canonical import Item, decode, encode
from gateway.chain.cometbft import CometHeader
from gateway.chain.errors import BadProof, WrongShape
from gateway.chain.finality import AppState
from gateway.chain.genesis import Genesis
from gateway.chain.keys import MISBEHAVIOUR, digest
from gateway.chain.leaf import MISBEHAVE, NO_GATEWAY, LogLeaf
from gateway.chain.ordered import Alarms, Headers, decode_transaction
from gateway.chain.record import Record
from gateway.chain.state import StateTree
from gateway.chain.trees import LogTree, leaf_hash
from hub.consensus.base import SnapshotInfo
from hub.ledger.facts import HeaderCache
from hub.ledger.items import record_leaf
from hub.storage.database import Connection

FORMAT: Final = 1
CHUNK: Final = 4 << 20
MAX_CHUNK: Final = 8 << 20
HEAD: Final = 0
LEAVES: Final = 1
ENTRIES: Final = 2
RECORDS: Final = 3
_HASH: Final = 32
_TABLES: Final = (
    (LEAVES, "SELECT leaf FROM log ORDER BY place"),
    (ENTRIES, "SELECT key, value FROM state ORDER BY key"),
    (RECORDS, "SELECT hash, kind, gateway, height, tx FROM records ORDER BY rowid"),
)


@dataclass(frozen=True, slots=True)
class Head(Record):
    """The first thing in a snapshot: the header of the final block after which it was made, log and state then."""

    header: CometHeader
    app: AppState


def body(db: Connection, size: int = CHUNK) -> Iterator[bytes]:
    """Yield all chunks but the first, of what one moment of a ledger's database holds."""
    for kind, sql in _TABLES:
        yield from _packed(kind, db.execute(sql), size)


def first(head: Head) -> bytes:
    """Return chunk 0."""
    return encode([HEAD, [head.to_item()]])


def describe(height: int, hashes: Sequence[bytes]) -> SnapshotInfo:
    """Return what is told of a snapshot whose chunks have these hashes."""
    metadata = b"".join(hashes)
    return SnapshotInfo(height, FORMAT, len(hashes), sha256(metadata).digest(), metadata)


def chunk_hashes(info: SnapshotInfo) -> list[bytes]:
    """Return the hashes of a snapshot's chunks. Raises BadProof where they are not what its own hash says."""
    found = [info.metadata[at : at + _HASH] for at in range(0, len(info.metadata), _HASH)]
    if describe(info.height, found) != info:
        raise BadProof("a snapshot's hash is not that of its chunks' hashes, or its format is unknown")
    return found


def read_chunk(data: bytes) -> tuple[int, list[Any]]:
    """Return a chunk's kind and its items, which are not looked at yet. Raises FormatError."""
    match decode(data, max_size=MAX_CHUNK):
        case [int(kind), list(items)]:
            return kind, items
    raise WrongShape("a chunk of a snapshot is no list of items of one kind")


class Rebuilt:
    """Log and state put together from a snapshot's items, in order. Each method raises ChainError."""

    def __init__(self, genesis: Genesis, in_log: Callable[[bytes], bool]) -> None:
        """`in_log` tells whether the leaf of a hash was taken in."""
        self._headers, self._in_log = HeaderCache(genesis), in_log
        self._log, self._state, self._last = LogTree(), StateTree(), b""

    def leaf(self, item: object) -> tuple[int, bytes, bytes]:
        """Return the row of the log's next leaf: (place, hash, bytes)."""
        if not isinstance(item, bytes):
            raise WrongShape("a leaf is no string of bytes")
        self._log.append(leaf_hash(item))
        return len(self._log) - 1, leaf_hash(item), item

    def entry(self, item: object) -> tuple[bytes, bytes]:
        """Return the row of the state's next entry: (key, value)."""
        match item:
            case [bytes(key), bytes(value)] if key > self._last:
                self._state, self._last = self._state.put(key, value), key
                return key, value
        raise WrongShape("a state entry is no pair, or not in the order of keys")

    def record(self, item: object) -> tuple[bytes, int, bytes, int, bytes]:
        """Return the row of a record whose leaf is in the log: (hash, kind, gateway, height, transaction)."""
        match item:
            case [bytes(identity), int(kind), bytes(gateway), int(height), bytes(tx)]:
                leaf = LogLeaf(kind, gateway, 0, 0, identity)
                if self._leaf_of(kind, tx) != leaf or not self._in_log(leaf_hash(leaf.encode())):
                    raise BadProof(f"record {identity.hex()[:16]} is not the one in the log")
                return identity, kind, gateway, height, tx
        raise WrongShape("a record is no list of five")

    @property
    def app(self) -> AppState:
        """Size and roots so far."""
        return AppState(len(self._log), self._log.root(), self._state.root)

    def _leaf_of(self, kind: int, tx: bytes) -> LogLeaf:
        if kind == MISBEHAVE:
            return LogLeaf(MISBEHAVE, NO_GATEWAY, 0, 0, digest(MISBEHAVIOUR, tx))
        transaction = decode_transaction(tx)
        if isinstance(transaction, Headers | Alarms):
            raise BadProof("headers and alarms are no record")
        return record_leaf(transaction, self._headers.read)


def _packed(kind: int, rows: Iterable[tuple[Any, ...]], size: int) -> Iterator[bytes]:
    batch: list[Item] = []
    weight = 0
    for row in rows:
        batch.append(row[0] if len(row) == 1 else list(row))
        weight += sum(len(each) if isinstance(each, bytes) else 9 for each in row) + 9 * len(row)
        if weight >= size:
            yield encode([kind, batch])
            batch, weight = [], 0
    if batch:
        yield encode([kind, batch])
