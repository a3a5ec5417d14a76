"""What explains gateways' blocks, on disk: catalogues, contract documents and the latest births."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from gateway.chain.alarm import contract_hash
from gateway.chain.block import Block, Header, Listing, SegmentHead, list_catalogue, listing
from gateway.chain.canonical import decode, encode
from gateway.chain.errors import FormatError, WrongShape
from gateway.chain.events import OfSeries
from gateway.chain.keys import Signed
from gateway.chain.reading import Series, open_segment, parse_leaf
from hub.storage.database import Database

MAX_CATALOGUE: Final = 4 << 20


class Library:
    """Part of a hub's database; safe for several threads; every write is durable when it returns."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add_catalogue(self, catalogue: tuple[Series, ...]) -> Listing:
        """Keep a catalogue and return its listing."""
        found = list_catalogue(catalogue)
        data = encode([series.to_item() for series in catalogue])
        with self._db.write() as db:
            db.execute("INSERT OR IGNORE INTO catalogues VALUES (?, ?)", (found.root, data))
        return found

    def catalogue(self, root: bytes) -> tuple[Series, ...] | None:
        """Return a catalogue by its root."""
        data = self._db.value("SELECT catalogue FROM catalogues WHERE root = ?", (root,))
        return None if data is None else read_catalogue(data)

    def has_catalogue(self, root: bytes) -> bool:
        """Tell whether a catalogue is known by its root."""
        return self._db.value("SELECT 1 FROM catalogues WHERE root = ?", (root,)) is not None

    def has_contracts(self, root: bytes) -> bool:
        """Tell whether a listing of contracts is known by its root."""
        return self._db.value("SELECT 1 FROM contract_sets WHERE root = ?", (root,)) is not None

    def add_contracts(self, documents: Iterable[bytes]) -> Listing:
        """Keep a set of contract documents and return its listing, in rising order of hash."""
        by_hash = dict(sorted((contract_hash(each), each) for each in documents))
        found = listing(list(by_hash.values()))
        with self._db.write() as db:
            db.executemany("INSERT OR IGNORE INTO contracts VALUES (?, ?)", by_hash.items())
            db.execute("INSERT OR IGNORE INTO contract_sets VALUES (?, ?)", (found.root, b"".join(by_hash)))
        return found

    def contract(self, identity: bytes) -> bytes | None:
        """Return a contract document by its hash."""
        document: bytes | None = self._db.value("SELECT document FROM contracts WHERE hash = ?", (identity,))
        return document

    def contracts(self, root: bytes) -> list[bytes] | None:
        """Return the documents of a listing, in its order; None where the listing is not known."""
        hashes = self._db.value("SELECT hashes FROM contract_sets WHERE root = ?", (root,))
        if hashes is None:
            return None
        found = [self.contract(hashes[at : at + 32]) for at in range(0, len(hashes), 32)]
        return [each for each in found if each is not None]

    def set_birth(self, gateway: bytes, birth: Signed, received: int, earlier: Sequence[bytes] = ()) -> None:
        """Keep a gateway's latest birth, and the boots that were before it, latest first."""
        with self._db.write() as db:
            values = (gateway, received, birth.encode(), b"".join(earlier))
            db.execute("INSERT OR REPLACE INTO births VALUES (?, ?, ?, ?)", values)

    def earlier_boots(self, gateway: bytes) -> tuple[bytes, ...]:
        """Return the boots before a gateway's latest birth, as far as they are remembered."""
        boots = self._db.value("SELECT earlier FROM births WHERE gateway = ?", (gateway,)) or b""
        return tuple(boots[at : at + 8] for at in range(0, len(boots), 8))

    def birth(self, gateway: bytes) -> tuple[Signed, int] | None:
        """Return a gateway's latest birth and its arrival (Unix ms)."""
        row = self._db.row("SELECT birth, received FROM births WHERE gateway = ?", (gateway,))
        return None if row is None else (Signed.decode(row[0]), row[1])


def read_catalogue(data: bytes) -> tuple[Series, ...]:
    """Return the catalogue of exactly these bytes. Raises FormatError."""
    items = decode(data, max_size=MAX_CATALOGUE)
    if not isinstance(items, list):
        raise WrongShape("a catalogue is an array of series")
    return tuple(Series.from_item(item, f"catalogue[{i}]") for i, item in enumerate(items))


def claimed_classes(block: Block, header: Header) -> list[int]:
    """Return the classes of a header's series by the segments they stand in, -1 for those in none.

    It is what a block itself says, for as long as its catalogue is not known.
    """
    classes = [-1] * header.catalogue.count
    for data, head in zip(block.segments, header.segments, strict=False):
        for series in _series_in(head, data):
            if series < len(classes):
                classes[series] = head.klass
    return classes


def _series_in(head: SegmentHead, data: bytes) -> set[int]:
    """Return the series that a clear segment names. None where it is damaged: whoever opens the block says so."""
    if not data or head.key_id:
        return set()
    try:
        segment = open_segment(head.klass, data)
    except FormatError:
        return set()
    events = [parse_leaf(leaf) for _, leaf in segment.events]
    return {*segment.series, *(event.series for event in events if isinstance(event, OfSeries))}
