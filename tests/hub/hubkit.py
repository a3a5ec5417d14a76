"""A hub without threads and network: what tests send is verified, kept and made final at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fleet import Fleet, FleetGateway

from gateway.chain.alarm import Alarm
from gateway.chain.block import Block, Header
from gateway.chain.custody import Promise, Receipt, issue_receipts
from gateway.chain.finality import AppState, Checkpoint, EmbeddedSeal, Seal
from gateway.chain.keys import NO_HASH
from gateway.chain.verify import open_block, read_transition
from hub.consensus.base import FinalBlock, Result
from hub.consensus.embedded import with_hash
from hub.ledger.ledger import Commit, Ledger
from hub.storage.store import NewBlock, Store

DAY_MS = 86_400_000


class Hub:
    """A hub's directory and what stands in it."""

    def __init__(self, directory: Path, fleet: Fleet) -> None:
        self.directory, self.fleet = directory, fleet
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "genesis.cbor").write_bytes(fleet.genesis.encode())
        self.store = Store(directory / "ledger.db")
        self.ledger = Ledger(fleet.genesis, self.store.chain)
        self.ledger.genesis(fleet.genesis.encode())
        self.last = self.store.chain.last_final() or FinalBlock(0, 0, NO_HASH, ())

    def order(self, *txs: bytes) -> Result:
        """Make the next final block of these transactions."""
        time = max(self.last.time + 1, self.fleet.now)
        block = with_hash(FinalBlock(self.last.height + 1, time, NO_HASH, txs), self.last.hash)
        self.store.chain.append_final(block)
        result = self.ledger.finalize(block)
        self.ledger.commit()
        body = EmbeddedSeal(self.fleet.genesis.hash, block.height, block.time, result.app_hash)
        self.store.chain.add_seal(block.height, Seal.embedded(self.fleet.hub_key, body))
        self.last = block
        return result

    def enrol(self, *names: str) -> list[FleetGateway]:
        """Enrol gateways and learn their catalogues and contracts."""
        gateways = [self.fleet.gateway(name) for name in names]
        self.order(*(self.fleet.order_enrolment(each.enrol()) for each in gateways))
        for each in gateways:
            self.store.library.add_catalogue(each.catalogue)
            self.store.library.add_contracts(each.documents)
            self.store.library.set_birth(each.id, each.birth(), self.fleet.now)
        return gateways

    def take(self, *blocks: Block) -> Result:
        """Keep verified blocks, promise to hold them, and make their headers final."""
        self.keep(*blocks)
        return self.order(self.fleet.order_headers(*blocks))

    def keep(self, *blocks: Block) -> list[bool]:
        """Keep verified blocks."""
        return self.store.add_blocks([self.opened(block) for block in blocks])

    def opened(self, block: Block) -> NewBlock:
        header = Header.decode(block.header)
        sender = next(each for each in self.fleet.gateways.values() if each.id == header.gateway)
        opened = open_block(block, header, sender.classes, self.fleet.genesis)
        return NewBlock(block, header, opened, self.fleet.now)

    def promise(self, *blocks: Block) -> list[Receipt]:
        """Give and keep custody receipts for whole blocks."""
        headers = [Header.decode(block.header) for block in blocks]
        promises = [
            Promise(
                header.gateway,
                header.epoch,
                header.height,
                block.hash,
                sum(1 << each.klass for each in header.segments),
                self.fleet.now + 365 * DAY_MS,
            )
            for block, header in zip(blocks, headers, strict=True)
        ]
        receipts = issue_receipts(self.fleet.hub_key, self.fleet.genesis.hash, promises, self.fleet.now)
        self.store.custody.add(receipts)
        return receipts

    def hear(self, *alarms: Alarm) -> Result:
        """Keep alarms and make them final."""
        for alarm in alarms:
            gateway = read_transition(alarm, self.fleet.genesis).gateway
            self.store.add_alarms([(gateway, alarm, "")], self.fleet.now)
        return self.order(self.fleet.order_alarms(*alarms))

    @property
    def checkpoint(self) -> Checkpoint:
        found = self.store.chain.checkpoint()
        assert found is not None
        return found

    def close(self) -> None:
        self.store.close()


class MemoryStore:
    """A `LedgerStore` in memory."""

    def __init__(self) -> None:
        self.kept: list[Commit] = []
        self.places: dict[bytes, int] = {}
        self.state: dict[bytes, bytes] = {}

    def begin(self, document: bytes) -> None:
        """Nothing is kept."""

    def committed(self) -> tuple[int, int, AppState] | None:
        return (self.kept[-1].height, self.kept[-1].time, self.kept[-1].app) if self.kept else None

    def log_hashes(self) -> Iterator[bytes]:
        return iter(self.places)

    def entries(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(self.state.items())

    def log_index(self, leaf: bytes) -> int | None:
        return self.places.get(leaf)

    def commit(self, commit: Commit) -> None:
        self.kept.append(commit)
        self.state.update(commit.entries)
        for place, leaf in enumerate(commit.leaves, commit.first):
            self.places[leaf.hash] = place


def lived(directory: Path, fleet: Fleet | None = None) -> Hub:
    """Return a hub that has seen everything once: all classes, alarms, a rotation, an epoch, custody, a grant."""
    hub = Hub(directory, fleet or Fleet())
    fleet = hub.fleet
    a, b, c = hub.enrol("a", "b", "c")
    alarm = a.alarm()
    hub.hear(alarm)
    first = [a.block(12, classes=(0, 1, 2)), a.block(), b.block(30), c.block()]
    hub.take(*first)
    hub.promise(*first)
    hub.order(fleet.order_rotation(b.rotate()), fleet.order_grant(fleet.grant(a.id)))
    hub.take(b.block(), a.block())
    hub.order(fleet.order_epoch(a.epoch_change()))
    a.see(hub.checkpoint)
    hub.take(a.block())
    hub.order(fleet.order_revocation(fleet.revocation(c.id, c.head)))
    hub.order(fleet.order_equivocation(b.replay(2), b.fork(2)))
    hub.order()
    return hub
