"""A hub that gives snapshots, and one that begins by them, without engines."""

from __future__ import annotations

from pathlib import Path

from fedkit import Federation, SealingHub, agreed

from gateway.chain.cometbft import CometSeal
from hub.consensus.base import DUPLICATE_VOTE, Applied, Misbehaviour, SnapshotInfo
from hub.federation.snapshot_taking import Beginning, Taking
from hub.federation.snapshots import Snapshots
from hub.ledger.ledger import Ledger
from hub.storage.store import Store

SMALL = 400
"""So that every kind fills several chunks."""


class Giver:
    """A hub whose final blocks make snapshots."""

    def __init__(self, directory: Path, every: int = 4) -> None:
        self.federation = Federation()
        self.hub = SealingHub(directory, self.federation)
        self.snapshots = self.provider(every)
        self.retained = 0
        self.a = self.federation.fleet.gateway("a")

    def provider(self, every: int, keep: int = 0) -> Snapshots:
        found = Snapshots(self.hub.directory, self.hub.store.database, every, keep=keep, size=SMALL)
        found.start()
        return found

    def order(self, *txs: bytes, caught: tuple[Misbehaviour, ...] = ()) -> None:
        self.hub.order(*txs, caught=caught)

    def live(self) -> SnapshotInfo:
        """Let everything happen once, then make a snapshot, with two final blocks above it; return it."""
        fleet, four = self.federation.fleet, self.federation
        self.order(fleet.order_enrolment(self.a.enrol()))
        self.order(fleet.order_headers(self.a.block()), *agreed(four, four.admit(0, 4)))
        self.order(caught=(Misbehaviour(four.address(3), 2, DUPLICATE_VOTE),))
        self.order(*agreed(four, four.change(0, 1, turn=1), 2, 4))
        self.order(*(fleet.order_headers(self.a.block()) for _ in range(20)))
        info = self.make()
        self.order(fleet.order_headers(self.a.block()))
        self.snapshots.committed(self.hub.height)
        return info

    def make(self) -> SnapshotInfo:
        """Make a snapshot of what stands now."""
        with self.hub.store.database.read() as db:
            return self.snapshots.make(self.hub.height, db)

    def chunks(self, info: SnapshotInfo) -> list[bytes]:
        return [self.snapshots.chunk(info.height, info.format, index) for index in range(info.chunks)]

    def beginning(self, info: SnapshotInfo) -> Beginning:
        """What a hub that joins verifies beforehand."""
        chain = self.hub.store.chain
        own, following = chain.checkpoint(info.height), chain.checkpoint(info.height + 1)
        assert own is not None
        assert following is not None
        for each in (own, following):
            each.verify(self.federation.genesis)
        return Beginning(info.hash, own, CometSeal.decode(following.seal.data).steps)

    def close(self) -> None:
        self.snapshots.worker.stop()
        self.hub.close()


class Joiner:
    """A hub's directory that begins by a snapshot."""

    def __init__(self, directory: Path, giver: Giver, beginning: Beginning) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)
        genesis = giver.federation.genesis
        (directory / "genesis.cbor").write_bytes(genesis.encode())
        self.store = Store(directory / "ledger.db")
        self.ledger = Ledger(genesis, self.store.chain)
        self.ledger.genesis(genesis.encode())
        self.taking = Taking(directory, self.store.database, genesis, beginning)

    def take(self, info: SnapshotInfo, chunks: list[bytes], app_hash: bytes) -> Applied:
        """Take a snapshot in until it is refused or done."""
        assert self.taking.offer(info, app_hash)
        for index, chunk in enumerate(chunks):
            applied = self.taking.apply(index, chunk)
            if applied is not Applied.ACCEPTED:
                return applied
        self.ledger.load()
        return Applied.ACCEPTED

    def follow(self, giver: Giver) -> None:
        """Go on as the engine has it, with the steps and seals of the giver."""
        chain, given = self.store.chain, giver.hub.store.chain
        for block in given.final_blocks(self.ledger.committed.height + 1):
            self.ledger.finalize(block)
            self.ledger.commit()
            for step in given.steps(block.height + 2)[len(chain.steps()) :]:
                chain.add_step(step)
            if found := given.checkpoint(block.height):
                chain.add_seal(block.height, found.seal)

    @property
    def is_empty(self) -> bool:
        tables = ("log", "state", "origin", "records", "commits", "seals", "steps")
        return not any(self.store.database.value(f"SELECT count(*) FROM {table}") for table in tables)
