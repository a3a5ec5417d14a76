"""Audit of what gateways sent: blocks with their segments, alarms, catalogues, contracts.

Each check reads the row that a leaf of the log, a promise or a table's scan points to, and names the first
thing about it that does not verify.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from hashlib import sha256
from typing import Any, Final

from gateway.chain.alarm import RECORDED, UNRECORDED, Alarm, contract_hash
from gateway.chain.block import Block, Header, list_catalogue, listing
from gateway.chain.entries import GOOD
from gateway.chain.errors import (
    BadHeader,
    BadProof,
    BadSegment,
    BadSignature,
    ChainError,
    FormatError,
    UnknownGateway,
)
from gateway.chain.genesis import EMBEDDED, Genesis
from gateway.chain.keys import ALARM_RECEIPT, BIRTH, NO_HASH, Signed
from gateway.chain.leaf import ALARMS, IMPORT, LogLeaf
from gateway.chain.messages import AlarmReceipt
from gateway.chain.reading import Segment
from gateway.chain.trees import leaf_hash
from gateway.chain.verify import open_block, read_transition
from hub.auditing.promises import Promises
from hub.auditing.replay import Replay
from hub.auditing.report import Report, describe, short
from hub.auditing.tally import Tally
from hub.storage.bodies import HEADERS_MARK
from hub.storage.database import Connection
from hub.storage.library import claimed_classes, read_catalogue
from hub.storage.store import UNPROVEN, transitions_in
from hub.storage.summaries import pack_summaries

_CACHE: Final = 4096
_ROW: Final = "id, gateway, epoch, height, hash, wall, suite, header, signature"


class Holdings:
    """What a hub holds for its gateways, checked against the replay."""

    def __init__(self, db: Connection, genesis: Genesis, report: Report) -> None:
        self._db, self._genesis, self._report = db, genesis, report
        self._replay = Replay(db, genesis, report, self._found)
        self.promises = Promises(db, genesis, report, self._replay.roster_of)
        self._visited = bytearray(1 + (db.execute("SELECT max(id) FROM blocks").fetchone()[0] or 0))
        self._classes: dict[bytes, list[int] | None] = {}
        self._contracts: set[bytes] = set()
        self._seals: dict[int, bytes] = {}
        self._transitions = 0
        self._tally = Tally(report)

    @property
    def replay(self) -> Replay:
        """The replay whose leaves lead here."""
        return self._replay

    def check_rest(self) -> None:
        """Check, after the replay, what no leaf of the log led to."""
        for check in (
            self._check_waiting,
            self._check_strays,
            self._check_alarms,
            self._check_library,
            self._check_births,
            self._compare_alarms,
        ):
            with self._report.at(check.__name__.removeprefix("_check_")):
                check()
        with self._report.at("custody"):
            self.promises.check_all()
        self._tally.tell()
        if bodiless := self._report.bodiless:
            self._report.finding(f"the bodies of {bodiless} blocks were withheld, or are other hubs' to keep")

    def _found(self, leaf: LogLeaf) -> None:
        """Check what lies behind a header or alarm that a final block put into the log."""
        if leaf.kind == ALARMS:
            sql = "SELECT 1 FROM alarms WHERE hash = ? AND gateway = ? AND flaw = ''"
            if self._db.execute(sql, (leaf.hash, leaf.gateway)).fetchone() is None:
                self._note(f"{describe(leaf)}: it is in the log, but not among the good alarms kept")
            return
        sql = f"SELECT {_ROW} FROM blocks WHERE gateway = ? AND epoch = ? AND height = ? AND hash = ?"
        row = self._db.execute(sql, (leaf.gateway, leaf.epoch, leaf.height, leaf.hash)).fetchone()
        if row is None:
            self._note_header(f"{describe(leaf)}: it is in the log, but not among the blocks kept")
            return
        self._check_block(row)

    def _note(self, text: str) -> None:
        """Note what is not held: a fault of a hub alone, while one of many has it from the others in its own time."""
        (self._report.fault if self._genesis.engine == EMBEDDED else self._report.finding)(text)

    def _note_header(self, text: str) -> None:
        """Note a final header that is not kept: no fault only where a crash came before it was followed."""
        row = self._db.execute("SELECT value FROM marks WHERE name = ?", (HEADERS_MARK,)).fetchone()
        if row is not None and self._replay.ledger.committed.height <= row[0]:
            self._report.fault(text)
        else:
            self._note(text)

    def _check_block(self, row: Any) -> None:
        place, gateway, epoch, height, identity, wall, *signed = row
        self._visited[place] = 1
        where = f"block {epoch}/{height} of gateway {short(gateway)}"
        with self._report.at(where):
            header = self._check_header(Signed(*signed), (gateway, epoch, height, identity), wall)
            self._note_contracts(header)
            self._compare_seen(header, where)
            self._report.blocks += 1
            self._check_segments(place, header, Signed(*signed), where)

    def _check_header(self, signed: Signed, row: tuple[bytes, int, int, bytes], wall: int) -> Header:
        headers = self._replay.ledger.headers
        header, identity = headers.read(signed)
        if (header.gateway, header.epoch, header.height, identity) != row or header.wall != wall:
            raise BadHeader("its header's bytes are not those of its place")
        public = self._replay.key_at(header.gateway, header.height)
        if public is None:
            raise UnknownGateway("its gateway was never enrolled")
        headers.check_signature(signed, identity, public)
        return header

    def _check_segments(self, place: int, header: Header, signed: Signed, where: str) -> None:
        sql = "SELECT id - ?, summary, data FROM segments WHERE id BETWEEN ? AND ?"
        rows = self._db.execute(sql, (place * 4, place * 4, place * 4 + 3)).fetchall()
        held = {index: (summary, data) for index, summary, data in rows}
        count = len(header.segments)
        if any(index >= count for index in held):
            raise BadSegment(f"{len(held)} segments are kept where the header commits to {count}")
        data = tuple(held[index][1] if index in held else b"" for index in range(count))
        self._note_absent(place, [index for index in range(count) if not data[index]], held.keys(), where)
        segments = self._open(Block(signed.suite, signed.body, signed.signature, data), header, where)
        self._report.readings += sum(len(each.series) for each in segments if each is not None)
        for index, segment in enumerate(segments):
            self._tally.count(header.gateway, segment)
            if data[index] and held[index][0] != pack_summaries(segment):
                raise BadSegment(f"segment {index}: the summary kept for charts is not that of its readings")
        self._check_transitions(place, segments)

    def _open(self, block: Block, header: Header, where: str) -> list[Segment | None]:
        """Open a block's segments under its catalogue, else under what it says itself. Raises BadSegment.

        A hub that does not know the catalogue yet takes a block on its own word, so when the two differ, it is the
        gateway that contradicts itself.
        """
        classes = self._classes_of(header)
        if classes is not None:
            try:
                return open_block(block, header, classes, self._genesis)
            except BadSegment as error:
                segments = open_block(block, header, claimed_classes(block, header), self._genesis)
                self._report.finding(f"{where} contradicts the catalogue it names: {error}")
                return segments
        return open_block(block, header, claimed_classes(block, header), self._genesis)

    def _note_absent(self, place: int, absent: list[int], rows: Collection[int], where: str) -> None:
        """Tell what was shed from what never came. A region's headers alone are what most hubs keep of it."""
        shed = [index for index in absent if self.promises.shed_at(place * 4 + index) is not None]
        if emptied := [index for index in absent if index in rows and index not in shed]:
            raise BadSegment(f"segments {emptied} were emptied without a shedding on record")
        if shed:
            self._report.finding(f"{where}: segments {shed} were shed")
        if rows and len(shed) < len(absent):
            self._report.finding(f"{where}: segments {sorted({*absent} - {*shed})} were withheld")
        self._report.bodiless += not rows and bool(absent)

    def _check_transitions(self, place: int, segments: list[Segment | None]) -> None:
        for identity in transitions_in(segments):
            self._transitions += 1
            sql = "SELECT 1 FROM transitions WHERE hash = ? AND block = ?"
            if self._db.execute(sql, (identity, place)).fetchone() is None:
                raise BadSegment(f"transition {short(identity)} is missing from the index")

    def _check_waiting(self) -> None:
        """Check blocks that are in no final block: they wait, or were orphaned by a change of epoch."""
        for row in self._db.execute(f"SELECT {_ROW} FROM blocks"):
            if not self._visited[row[0]]:
                self._report.waiting += 1
                self._check_block(row)

    def _check_strays(self) -> None:
        sql = "SELECT count(*) FROM segments s WHERE NOT EXISTS (SELECT 1 FROM blocks WHERE id = s.id / 4)"
        if strays := self._db.execute(sql).fetchone()[0]:
            self._report.fault(f"table segments: {strays} rows of no block")
        rows = self._db.execute("SELECT count(*) FROM transitions").fetchone()[0]
        if rows > self._transitions and not self._db.execute("SELECT 1 FROM sheddings").fetchone():
            self._report.fault(f"table transitions: {rows - self._transitions} rows of no block")

    def _classes_of(self, header: Header) -> list[int] | None:
        """Return the classes of a header's series, None where its catalogue is not held or damaged."""
        root = header.catalogue.root
        if root not in self._classes:
            row = self._db.execute("SELECT catalogue FROM catalogues WHERE root = ?", (root,)).fetchone()
            if row is None:
                self._report.finding(f"catalogue {short(root)}, in force from {_place(header)}, is not held")
            self._classes[root] = None if row is None else _read_classes(row[0])
        return self._classes[root]

    def _note_contracts(self, header: Header) -> None:
        root = header.contracts.root
        if root not in self._contracts:
            self._contracts.add(root)
            row = self._db.execute("SELECT 1 FROM contract_sets WHERE root = ?", (root,)).fetchone()
            if row is None and header.contracts.count:
                self._report.finding(
                    f"contract set {short(root)}, in force from {_place(header)}, is not held"
                )

    def _compare_seen(self, header: Header, where: str) -> None:
        """Compare the seal that a gateway signed to have seen: where this history has another, one of them lied."""
        at = header.seen.height
        if at not in self._seals:
            if len(self._seals) >= _CACHE:
                self._seals.clear()
            sealed = self._replay.sealed(at)
            self._seals[at] = NO_HASH if sealed is None else sealed.hash
        if self._seals[at] != header.seen.seal_hash:
            self._report.finding(
                f"{where}: its gateway saw another seal of final block {at} than this history has"
            )

    def _check_alarms(self) -> None:
        for item, identity, gateway, flaw, data in self._db.execute(
            "SELECT item, hash, gateway, flaw, alarm FROM alarms"
        ):
            with self._report.at(f"alarm {short(identity)} of gateway {short(gateway)}"):
                alarm = Alarm.decode(data)
                if (sha256(data).digest(), alarm.hash) != (item, identity):
                    raise BadProof("its bytes are not those of its hash")
                if not flaw:
                    self._check_alarm(alarm, gateway)
                elif flaw == "RevokedKey" and self._replay.standing(gateway) in (GOOD, IMPORT, None):
                    raise BadProof("it was taken as one of a revoked key, which no final block revokes")
                elif flaw in UNPROVEN and self._is_signed(alarm, gateway):
                    self._report.finding(
                        f"alarm {short(identity)} of gateway {short(gateway)} is its own, but was taken as"
                        f" {flaw} and never offered"
                    )
                self._report.alarms += 1

    def check_alarm_receipt(self, signed: Signed) -> str:
        """Check that the alarms of a signed AlarmReceipt kept elsewhere are here. Raises ChainError."""
        receipt = AlarmReceipt.decode(signed.body)
        self._genesis.require(receipt.genesis, "it")
        signed.verify(ALARM_RECEIPT, self._replay.roster_of(receipt.hub).hub(receipt.hub).key)
        for identity in receipt.alarms:
            sql = "SELECT 1 FROM alarms WHERE hash = ? AND gateway = ?"
            if self._db.execute(sql, (identity, receipt.gateway)).fetchone() is None:
                raise BadProof(
                    f"alarm {short(identity)} of gateway {short(receipt.gateway)} was on this hub's disk and is not now"
                )
        return f"the receipt for {len(receipt.alarms)} alarms of gateway {short(receipt.gateway)}"

    def _is_signed(self, alarm: Alarm, gateway: bytes) -> bool:
        try:
            self._check_sender(alarm, gateway)
        except ChainError:
            return False
        return True

    def _check_sender(self, alarm: Alarm, gateway: bytes) -> None:
        if read_transition(alarm, self._genesis).gateway != gateway:
            raise BadProof("it is another gateway's")
        _by_one_of(self._replay.keys(gateway), alarm.verify)

    def _check_alarm(self, alarm: Alarm, gateway: bytes) -> None:
        self._check_sender(alarm, gateway)
        leaves = [LogLeaf(ALARMS, gateway, 0, mark, alarm.hash) for mark in (RECORDED, UNRECORDED)]
        if all(self._replay.log_index(leaf_hash(leaf.encode())) is None for leaf in leaves):
            self._report.finding(f"{describe(leaves[0])} is not final")

    def _check_library(self) -> None:
        for root, data in self._db.execute("SELECT root, catalogue FROM catalogues"):
            with self._report.at(f"catalogue {short(root)}"):
                if list_catalogue(read_catalogue(data)).root != root:
                    raise BadProof("its series do not yield its root")
        documents = {}
        for identity, document in self._db.execute("SELECT hash, document FROM contracts"):
            documents[identity] = document
            if contract_hash(document) != identity:
                self._report.fault(f"contract {short(identity)}: its bytes are not those of its hash")
        for root, hashes in self._db.execute("SELECT root, hashes FROM contract_sets"):
            found = [documents.get(hashes[at : at + 32], b"") for at in range(0, len(hashes), 32)]
            if listing(found).root != root:
                self._report.fault(f"contract set {short(root)}: its documents do not yield its root")

    def _check_births(self) -> None:
        for gateway, data in self._db.execute("SELECT gateway, birth FROM births"):
            if keys := self._replay.keys(gateway):  # it may have said hello before it was enrolled
                with self._report.at(f"birth of gateway {short(gateway)}"):
                    _by_one_of(keys, partial(Signed.decode(data).verify, BIRTH))

    def _compare_alarms(self) -> None:
        """An alarm without its block, and a transition without its alarm, are findings."""
        for identity, gateway in self._db.execute(
            "SELECT DISTINCT hash, gateway FROM alarms WHERE flaw = '' AND hash NOT IN (SELECT hash FROM transitions)"
        ):
            self._report.finding(
                f"alarm {short(identity)} of gateway {short(gateway)}: its block has not come"
            )
        for identity, epoch, height, gateway in self._db.execute(
            "SELECT t.hash, epoch, height, gateway FROM transitions t JOIN blocks b ON b.id = t.block"
            " WHERE t.hash NOT IN (SELECT hash FROM alarms)"
        ):
            where = f"block {epoch}/{height} of gateway {short(gateway)}"
            self._report.finding(f"transition {short(identity)} in {where}: its alarm has not come")


def _place(header: Header) -> str:
    return f"block {header.epoch}/{header.height} of gateway {short(header.gateway)}"


def _read_classes(catalogue: bytes) -> list[int] | None:
    try:
        return [series.klass for series in read_catalogue(catalogue)]
    except FormatError:
        return None  # named where catalogues are checked


def _by_one_of(keys: Sequence[bytes], verify: Callable[[bytes], object]) -> None:
    """Check something under one of a gateway's keys. Raises UnknownGateway or what the latest key says."""
    if not keys:
        raise UnknownGateway("its gateway was never enrolled")
    for public in keys[:-1]:
        try:
            verify(public)
        except BadSignature:
            continue
        return
    verify(keys[-1])
