"""The hub's own figures, each beside its limit measured in the same run.

The limit of ingest is what nobody who verifies can leave out: one libsodium verification a block, the RFC 6962
root over its leaves, one `cbor2.loads` a leaf, and the same bytes inserted as blobs with synchronous=FULL, as
many blocks a transaction as the hub takes. Audit's limit is the same without the insertion: it reads instead.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import cbor2
import sqlite_utils

from gateway.chain.block import NOTHING_SEEN, Block, Header, SegmentHead, list_catalogue, listing
from gateway.chain.finality import EmbeddedSeal, Seal
from gateway.chain.genesis import EMBEDDED, REGULATOR, Authority, Genesis, Hub
from gateway.chain.keys import BLOCK, ENROLMENT, NO_HASH, SUITE, TICKET, SigningKey, gateway_id, verify
from gateway.chain.ordered import Enrol, Headers, encode_transaction
from gateway.chain.reading import (
    PUBLIC,
    Series,
    build_segment,
    leaf_hashes,
    open_segment,
    reading_leaf,
    segment_hash,
)
from gateway.chain.tenure import Enrolment, EnrolmentBody, Ticket
from gateway.chain.trees import root_of
from gateway.chain.verify import open_block
from hub.auditing.audit import DATABASE, GENESIS, audit
from hub.consensus.base import FinalBlock
from hub.consensus.embedded import with_hash
from hub.errors import AuditError
from hub.ledger.facts import HeaderCache
from hub.ledger.ledger import Ledger
from hub.storage.store import NewBlock, Store, ease_collector

BATCH: Final = 64
SERIES: Final = 10
ROUNDS: Final = 3
START_MS: Final = 1_760_000_000_000


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value. `limit` or `peer` is what it is compared with, in the same unit; `ratio` value to that."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    peer: float | None = None

    @property
    def ratio(self) -> float | None:
        """The value by its limit or peer."""
        other = self.limit or self.peer
        return None if other is None else round(self.value / other, 3)

    def to_json(self) -> dict[str, object]:
        """Return the figure as the bench prints it."""
        found = {
            "name": self.name,
            "value": round(self.value, 1),
            "unit": self.unit,
            "limit": self.limit and round(self.limit, 1),
            "peer": self.peer and round(self.peer, 1),
            "ratio": self.ratio,
        }
        return {key: value for key, value in found.items() if value is not None}


class Sample:
    """One gateway's chain of blocks, made up: noisy values of SERIES series, `readings` a block."""

    def __init__(self, readings: int, blocks: int) -> None:
        seeds = (
            sha256(f"bench {name}".encode()).digest() for name in ("authority", "hub", "ticket", "gateway")
        )
        self.authority, self.hub, self.ticket, self.key = map(SigningKey, seeds)
        self.genesis = Genesis(
            1, SUITE, EMBEDDED, "bench", START_MS, (Authority("regulator", REGULATOR, self.authority.public),),
            (Hub("hub", "regulator", self.hub.public),), (), 3, 1, 1, (),
        )  # fmt: skip
        self.id = gateway_id(self.key.public)
        self.catalogue = tuple(
            Series(i, f"room.ch{i}", "voltage", "V", -6, PUBLIC, 0, 0, 0, 0, "bench", b"")
            for i in range(SERIES)
        )
        self.readings = readings
        self.blocks = list(self._chain(readings, blocks))
        self.payloads = [block.encode() for block in self.blocks]
        self.segments = [open_segment(PUBLIC, block.segments[0]) for block in self.blocks]

    @property
    def count(self) -> int:
        """Readings in all blocks."""
        return self.readings * len(self.blocks)

    def enrolment(self) -> bytes:
        """Return the transaction that enrols the gateway."""
        ticket = Ticket(self.genesis.hash, self.authority.public, self.ticket.public, "bench", START_MS * 2)
        signed = self.authority.signed(TICKET, ticket.encode())
        body = EnrolmentBody(signed, self.key.public, "bench").encode()
        by_both = self.ticket.sign(ENROLMENT, body), self.key.sign(ENROLMENT, body)
        return encode_transaction(Enrol(Enrolment(SUITE, body, *by_both)))

    def _chain(self, readings: int, blocks: int) -> Iterator[Block]:
        previous, genesis = NO_HASH, self.genesis.hash
        catalogue, contracts = list_catalogue(self.catalogue), listing([])
        span = readings // SERIES * 100
        for height in range(1, blocks + 1):
            leaves = [
                reading_leaf(i % SERIES, i // SERIES * 100, 1_000_000 + (height * 7919 + i * 104_729) % 4001)
                for i in range(readings)
            ]
            segment = build_segment(PUBLIC, b"", leaves)
            head = SegmentHead(PUBLIC, readings, root_of(leaf_hashes(b"", leaves)), segment_hash(segment), 0)
            start = height * (span + 1)
            header = Header(
                genesis, self.id, 1, height, previous, bytes(8), START_MS + start, start, span, 1,
                catalogue, contracts, NOTHING_SEEN, (head,),
            ).encode()  # fmt: skip
            block = Block(SUITE, header, self.key.sign(BLOCK, header), (segment,))
            previous = block.hash
            yield block


def run(blocks_of_60: int = 1920, blocks_of_600: int = 384) -> list[Figure]:
    """Measure everything, in a process set up as the hub's; about half a minute at the default sizes."""
    ease_collector()
    figures = []
    for readings, blocks in ((60, blocks_of_60), (600, blocks_of_600)):
        sample = Sample(readings, blocks)
        figures += measure_ingest(sample)
        figures.append(measure_audit(sample))
    return figures


def measure_ingest(sample: Sample) -> list[Figure]:
    """Measure ingest against its limit, and against plain rows that nobody verified."""

    def on_disk(work: Callable[[Sample, Path], float]) -> float:
        with scratch() as directory:
            return work(sample, directory)

    ours, limit, rows = fastest(*(partial(on_disk, work) for work in (ingest, ingest_limit, insert_rows)))
    name = f"ingest-{sample.readings}"
    return [
        Figure(name, sample.count / ours, "readings/s", limit=sample.count / limit),
        Figure(f"{name}-rows", sample.count / ours, "readings/s", peer=sample.count / rows),
    ]


def measure_audit(sample: Sample) -> Figure:
    """Measure the audit of a directory that holds the sample, all of it final."""
    with scratch() as directory:
        settle(sample, directory)

        def again() -> float:
            report = audit(directory)
            if report.faults or report.readings != sample.count:
                raise AuditError(f"the bench's own directory does not audit: {report.verdict}")
            return report.seconds

        ours, limit = fastest(again, partial(audit_limit, sample))
    return Figure(f"audit-{sample.readings}", sample.count / ours, "readings/s", limit=sample.count / limit)


def fastest(*works: Callable[[], float]) -> list[float]:
    """Return the least seconds that each work says it took, in rounds, so that all meet the same machine."""
    best = [float("inf")] * len(works)
    for _ in range(ROUNDS):
        best = [min(least, work()) for least, work in zip(best, works, strict=True)]
    return best


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a directory that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="tocsin-bench-") as name:
        yield Path(name)


def batches(items: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Yield what one transaction takes."""
    for at in range(0, len(items), BATCH):
        yield items[at : at + BATCH]


def ingest(sample: Sample, directory: Path) -> float:
    """Verify every block as intake does and store it; return the seconds that took."""
    store = Store(directory / DATABASE)
    headers = HeaderCache(sample.genesis)
    classes = [series.klass for series in sample.catalogue]
    begun = time.perf_counter()
    for payloads in batches(sample.payloads):
        # Stage by stage: signatures in a row keep libsodium's tables in the cache, then Python's objects.
        blocks = [Block.decode(payload) for payload in payloads]
        signed = [block.signed for block in blocks]
        read = [headers.read(each) for each in signed]
        for each, (_, identity) in zip(signed, read, strict=True):
            headers.check_signature(each, identity, sample.key.public)
        pairs = [(block, header) for block, (header, _) in zip(blocks, read, strict=True)]
        opened = [open_block(block, header, classes, sample.genesis) for block, header in pairs]
        kept = zip(blocks, read, opened, strict=True)
        store.add_blocks(
            [NewBlock(block, header, segments, START_MS) for block, (header, _), segments in kept]
        )
    seconds = time.perf_counter() - begun
    store.close()
    return seconds


def ingest_limit(sample: Sample, directory: Path) -> float:
    """Do what cannot be left out, and insert the same bytes; return the seconds that took."""
    db = _plain(directory, "CREATE TABLE blocks (id INTEGER PRIMARY KEY, data BLOB)")
    begun = time.perf_counter()
    for at, payloads in enumerate(batches(sample.payloads)):
        verify_leaves(sample, range(at * BATCH, at * BATCH + len(payloads)))
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO blocks (data) VALUES (?)", [(payload,) for payload in payloads])
        db.execute("COMMIT")
    seconds = time.perf_counter() - begun
    db.close()
    return seconds


def insert_rows(sample: Sample, directory: Path) -> float:
    """Insert every reading as a row, unverified, in the same transactions; return the seconds that took."""
    db = _plain(
        directory, "CREATE TABLE readings (gateway BLOB, time INTEGER, series INTEGER, value INTEGER)"
    )
    db.execute("CREATE INDEX readings_by_time ON readings (gateway, series, time)")
    begun = time.perf_counter()
    for at in range(0, len(sample.blocks), BATCH):
        db.execute("BEGIN IMMEDIATE")
        for segment in sample.segments[at : at + BATCH]:
            columns = zip(segment.offsets, segment.series, segment.values, strict=True)
            db.executemany("INSERT INTO readings VALUES (?, ?, ?, ?)", [(sample.id, *row) for row in columns])
        db.execute("COMMIT")
    seconds = time.perf_counter() - begun
    db.close()
    return seconds


def audit_limit(sample: Sample) -> float:
    """Do what no audit can leave out; return the seconds that took."""
    begun = time.perf_counter()
    verify_leaves(sample, range(len(sample.blocks)))
    return time.perf_counter() - begun


def settle(sample: Sample, directory: Path) -> None:
    """Leave a hub's directory in which every block is stored and final, as after a day's work."""
    (directory / GENESIS).write_bytes(sample.genesis.encode())
    ingest(sample, directory)
    store = Store(directory / DATABASE)
    store.library.add_catalogue(sample.catalogue)
    ledger = Ledger(sample.genesis, store.chain)
    ledger.genesis(sample.genesis.encode())
    signed = [block.signed for block in sample.blocks]
    headers = [Headers(tuple(signed[at : at + BATCH])) for at in range(0, len(signed), BATCH)]
    last = FinalBlock(0, START_MS, NO_HASH, ())
    for tx in (sample.enrolment(), *map(encode_transaction, headers)):
        last = with_hash(FinalBlock(last.height + 1, last.time + 1, NO_HASH, (tx,)), last.hash)
        store.chain.append_final(last)
        result = ledger.finalize(last)
        ledger.commit()
        body = EmbeddedSeal(sample.genesis.hash, last.height, last.time, result.app_hash)
        store.chain.add_seal(last.height, Seal.embedded(sample.hub, body))
    store.close()


def verify_leaves(sample: Sample, places: Iterable[int]) -> None:
    """Verify blocks' signatures, hash their leaves to a root and decode each: the limit's share of the work."""
    for place in places:
        block, leaves = sample.blocks[place], sample.segments[place].leaves
        verify(sample.key.public, BLOCK, block.suite, block.header, block.signature)
        root_of([sha256(b"\x00" + leaf).digest() for leaf in leaves])
        for leaf in leaves:
            cbor2.loads(leaf)


def _plain(directory: Path, schema: str) -> Any:
    database = sqlite_utils.Database(directory / "plain.db")
    database.conn.isolation_level = None
    database.conn.execute("PRAGMA journal_mode = WAL")
    database.conn.execute("PRAGMA synchronous = FULL")
    database.conn.execute(schema)
    return database.conn
