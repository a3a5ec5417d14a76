"""What must hold between a stopped hub and its stopped gateways, whatever happened to them before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import groupby, pairwise
from pathlib import Path

from proving import run_audit
from region import GatewayProcess, read_rows

from gateway.chain.alarm import Transition
from gateway.chain.block import Block, Header, header_hash
from gateway.chain.custody import Receipt
from gateway.chain.leaf import ALARMS, HEADERS, LogLeaf
from gateway.chain.reading import open_segment
from gateway.chain.tenure import Position
from hub.storage.store import Store

INTERNAL = 1


def check_region(hub: Path, *gateways: GatewayProcess) -> None:
    """Audit the hub's directory, and compare what each gateway holds with what the hub holds of it."""
    code, text = run_audit(hub)
    assert code == 0, text
    leaves = [
        LogLeaf.decode(leaf)
        for (leaf,) in read_rows(hub / "ledger.db", "SELECT leaf FROM log ORDER BY place")
    ]
    store = Store(hub / "ledger.db", read_only=True)
    try:
        for gateway in gateways:
            own = [leaf for leaf in leaves if leaf.gateway == gateway.id]
            check_positions(gateway, store, own)
            check_promises(gateway, store)
            check_alarms(gateway, store, own)
            check_recorded_rows(gateway, store, own)
    finally:
        store.close()


def check_positions(gateway: GatewayProcess, store: Store, leaves: list[LogLeaf]) -> None:
    """No (epoch, height) was signed twice, neither as the gateway knows it nor as the hub does."""
    sql = "SELECT epoch, height, hash FROM {} WHERE height > 0"
    signed = [Position(*row) for table in ("blocks", "orphans") for row in gateway.rows(sql.format(table))]
    taken = [
        Position(*row)
        for row in store.database.rows(
            "SELECT epoch, height, hash FROM blocks WHERE gateway = ?", (gateway.id,)
        )
    ]
    places = Counter((at.epoch, at.height) for at in {*signed, *taken})
    assert max(places.values()) == 1, places.most_common(3)
    final = [leaf for leaf in leaves if leaf.kind == HEADERS]
    assert [leaf.height for leaf in final] == list(range(1, len(final) + 1))
    known = {at.hash for at in signed}
    assert {leaf.hash for leaf in final} <= known, "the hub holds a final block that its gateway has lost"
    assert "equivocation" not in [each.kind for each in store.notes.findings(gateway.id)]


def check_promises(gateway: GatewayProcess, store: Store) -> None:
    """What the gateway has a receipt for is at the hub, byte for byte."""
    promised = gateway.rows(
        "SELECT number, header, signature, r.body FROM blocks b JOIN receipts r USING (number)"
    )
    assert promised
    for number, header, signature, receipt in promised:
        promise = Receipt.decode(receipt).promise
        assert promise.hash == header_hash(header)
        bodies = gateway.rows("SELECT inflate(body) FROM segments WHERE number = ? ORDER BY place", number)
        held = store.block(gateway.id, Position(promise.epoch, promise.height, promise.hash))
        assert held == Block(1, header, signature, tuple(body for (body,) in bodies))


def check_alarms(gateway: GatewayProcess, store: Store, leaves: list[LogLeaf]) -> None:
    """Each transition is one alarm at the hub, logged once, in one final block; within a boot none is missing."""
    rows = gateway.rows("SELECT hash, body FROM transitions ORDER BY ordinal")
    hashes = [hashed for hashed, _ in rows]
    assert hashes
    received = Counter(each.hash for each in store.alarms(gateway=gateway.id, limit=100_000))
    logged = Counter(leaf.hash for leaf in leaves if leaf.kind == ALARMS)
    assert received == logged == Counter(hashes)
    final = {leaf.hash for leaf in leaves if leaf.kind == HEADERS}
    for hashed in hashes:
        blocks = [at.hash for _, at in store.blocks_with(hashed) if at.hash in final]
        assert len(blocks) == 1, f"transition {hashed.hex()} stands in {len(blocks)} final blocks"
    transitions = [Transition.decode(body) for _, body in rows]
    check_sequence(transitions)


def check_sequence(transitions: list[Transition]) -> None:
    """Counters run from 1 in each boot, and each transition begins where the one before ended."""
    for boot, group in groupby(transitions, lambda each: each.boot):
        counters = [each.counter for each in group]
        assert counters == list(range(1, len(counters) + 1)), f"boot {boot.hex()} counted {counters}"
    for one, other in pairwise(transitions):
        assert one.after == other.before, f"{one} is followed by {other}"


def check_recorded_rows(gateway: GatewayProcess, store: Store, leaves: list[LogLeaf]) -> None:
    """What each boot sampled stands in its final blocks from the first row on, in order, each row once."""
    last: dict[bytes, int] = {}
    for leaf in leaves:
        if leaf.kind == HEADERS:
            at = Position(leaf.epoch, leaf.height, leaf.hash)
            block = store.block(gateway.id, at)
            assert block is not None
            boot = Header.decode(block.header).boot
            for row in internal_values(block):
                assert row == last.get(boot, -1) + 1, f"{at}: row {row} after {last.get(boot)}"
                last[boot] = row


def internal_values(block: Block) -> Iterator[int]:
    """Values of a block's internal segment, in order."""
    for head, data in zip(Header.decode(block.header).segments, block.segments, strict=True):
        if head.klass == INTERNAL:
            yield from open_segment(head.klass, data).values
