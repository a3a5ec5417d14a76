"""Several hubs of one federation in this process: real stores, ledgers and REST servers, one order given to all.

The order stands for the engine: every hub is fed the same final blocks. Threads run where a test starts them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from fastapi import FastAPI
from fleet import DAY_MS, Fleet, FleetGateway, seeded

from gateway.chain.block import Block
from gateway.chain.canonical import decode
from gateway.chain.finality import Checkpoint, EmbeddedSeal, Seal
from gateway.chain.genesis import COMETBFT, Hub, Validator
from gateway.chain.keys import NO_HASH, SigningKey
from gateway.chain.messages import Receipts
from hub.api.peers import add_peers
from hub.api.server import ApiServer
from hub.blocks import BlockLane
from hub.config import ApiTable, Identity
from hub.consensus.base import EngineStatus, FinalBlock, FinalEvent, Result, TxResult, tx_id
from hub.consensus.embedded import with_hash
from hub.core import Core, Refusals
from hub.federation.config import PeerTable
from hub.ledger.ledger import Ledger
from hub.outbox import Outbox
from hub.peers.peers import Peers
from hub.peers.policy import Policy
from hub.peers.pull import Puller
from hub.peers.server import PeerServer
from hub.storage.store import Store
from hub.view import View

QUICK = Policy(("*",), patience_ms=0, challenge_ms=10, tries=2, silent_ms=0, idle_seconds=0.02)


class Federation(Fleet):
    """A chain of hubs, each of an agency of its own."""

    def __init__(self, seed: int = 0, hubs: int = 4) -> None:
        super().__init__(seed)
        self.hub_keys = [SigningKey(seeded(seed, "hub", index)) for index in range(hubs)]
        votes = [SigningKey(seeded(seed, "vote", index)).public for index in range(4)]
        self.genesis = replace(
            self.genesis,
            engine=COMETBFT,
            hubs=tuple(
                Hub(f"hub-{index}", f"agency-{index}", key.public)
                for index, key in enumerate(self.hub_keys, 1)
            ),
            validators=tuple(Validator(key, 10) for key in votes[: max(hubs, 1)]),
            custodians=2,
        )


class Tap:
    """One hub's `Consensus`: what it submits waits in the common order."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self.callbacks: list[Callable[[FinalEvent], None]] = []
        self.running = True

    def start(self) -> None:
        """Nothing is to be started."""

    def stop(self) -> None:
        """Nothing is to be stopped."""

    def submit(self, tx: bytes) -> bytes:
        self._order.waiting.append(tx)
        return tx_id(tx)

    def subscribe(self, callback: Callable[[FinalEvent], None]) -> None:
        self.callbacks.append(callback)

    def subscribe_refusals(self, callback: Callable[[bytes, TxResult], None]) -> None:
        """Nothing is refused before its order."""

    def status(self) -> EngineStatus:
        return EngineStatus(self._order.last.height, self._order.last.time, (), False, (), "")


class Said:
    """What a hub published, by topic."""

    def __init__(self) -> None:
        self.payloads: list[tuple[str, bytes]] = []

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, timeout: float = 5.0) -> None:
        self.payloads.append((topic, payload))

    def receipts(self, gateway: FleetGateway) -> list[Receipts]:
        items = [
            decode(payload)
            for topic, payload in self.payloads
            if topic.endswith(f"{gateway.id.hex()}/receipt")
        ]
        return [Receipts.from_item(item[1]) for item in items if item[0] == 1]  # type: ignore[index]


class Node:
    """One hub. Its directory outlives it."""

    def __init__(self, order: Order, index: int, policy: Policy, region: str) -> None:
        self.order, self.index, self.policy, self.region = order, index, policy, region
        self.fleet, self.key = order.fleet, order.fleet.hub_keys[index]
        self.name = order.fleet.genesis.hubs[index].name
        self.directory = order.directory / self.name
        self.directory.mkdir(parents=True, exist_ok=True)
        self.app = FastAPI()
        self.api = ApiServer(self.app, ApiTable(port=0))
        self.open()

    def open(self) -> None:
        """Open what is on disk, as a start does."""
        fleet = self.fleet
        (self.directory / "genesis.cbor").write_bytes(fleet.genesis.encode())
        self.store = Store(self.directory / "ledger.db")
        self.ledger = Ledger(fleet.genesis, self.store.chain)
        self.ledger.genesis(fleet.genesis.encode())
        self.tap = Tap(self.order)
        identity = Identity(self.key, fleet.genesis, fleet.genesis.hubs[self.index])
        self.core = Core(
            identity, self.region, self.store, self.ledger, self.tap, 400 * DAY_MS, lambda: fleet.now
        )
        self.view, self.said = View(), Said()
        self.outbox = Outbox(self.core)
        self.refusals = Refusals(self.core)
        self.lane = BlockLane(self.core, self.outbox, self.refusals, self.view, self.policy.keep_ms)

    def join(self, tables: Sequence[PeerTable], serve: type[PeerServer] = PeerServer) -> None:
        """Know the others, and answer them."""
        self.tables = tables
        self.peers = Peers(self.core, self.outbox, self.view, self.policy, tables)
        self.server = serve(self.core, self.policy)
        add_peers(self.app, self.server)
        self.api.start()
        self.outbox.start(self.said)

    def join_again(self) -> None:
        """Know the others after `open`; its interface goes on answering out of what was closed."""
        self.peers = Peers(self.core, self.outbox, self.view, self.policy, self.tables)
        self.outbox.start(self.said)

    def apply(self, block: FinalBlock) -> Result:
        """Make a final block's effects durable, and tell of them."""
        result = self.ledger.finalize(block)
        self.ledger.commit()
        body = EmbeddedSeal(self.fleet.genesis.hash, block.height, block.time, result.app_hash)
        seal = Seal.embedded(self.key, body)
        self.store.chain.add_seal(block.height, seal)
        for callback in self.tap.callbacks:
            callback(FinalEvent(block, result, Checkpoint(result.app, seal)))
        return result

    def bring(self, gateway: FleetGateway, *blocks: Block) -> None:
        """Bring blocks as the gateway does."""
        self.lane.take_in([(gateway.id, block.encode()) for block in blocks])

    def puller(self, name: str) -> Puller:
        return next(each for each in self.peers.pullers if each.worker.name == f"peer {name}")

    def pull(self, *names: str) -> None:
        """Keep final headers, then ask others until they have no more, by default all of them once."""
        self.peers.headers.catch_up()
        for puller in self.peers.pullers:
            if not names or puller.worker.name.removeprefix("peer ") in names:
                while puller.round():
                    pass

    def holds(self, block: Block) -> bool:
        """Whether the whole block is on disk."""
        kept = self.store.bodies.find(block.hash)
        return kept is not None and kept.block == block

    def findings(self) -> list[str]:
        return [each.kind for each in self.store.notes.findings()]

    def close(self) -> None:
        self.outbox.worker.stop()
        self.api.stop()
        self.store.close()


class Order:
    """A federation's hubs, and the order of transactions that all of them are given."""

    def __init__(self, directory: Path, hubs: int = 2, policy: Policy = QUICK, **own: Policy) -> None:
        """`own` names hubs (`hub_2`) with another policy."""
        self.fleet, self.directory = Federation(), directory
        self.waiting: list[bytes] = []
        self.last = FinalBlock(0, 0, NO_HASH, ())
        self.nodes = [
            Node(self, index, own.get(f"hub_{index + 1}", policy), self.fleet.region) for index in range(hubs)
        ]
        self.liars: dict[int, type[PeerServer]] = {}

    def __enter__(self) -> Self:
        tables = [PeerTable(node.name, url=node.api.url) for node in self.nodes]
        for node in self.nodes:
            others = [each for each in tables if each.name != node.name]
            node.join(others, self.liars.get(node.index, PeerServer))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in self.nodes:
            node.close()

    def make(self, *txs: bytes, at: int = 0) -> Result:
        """Make the next final block of what waits and these transactions, at every hub."""
        time = max(self.last.time + 1, self.fleet.now, at)
        txs, self.waiting = (*dict.fromkeys((*self.waiting, *txs)),), []
        block = with_hash(FinalBlock(self.last.height + 1, time, NO_HASH, txs), self.last.hash)
        self.last = block
        first, *_ = [node.apply(block) for node in self.nodes]
        return first

    def enrol(self, *names: str) -> list[FleetGateway]:
        gateways = [self.fleet.gateway(name) for name in names]
        self.make(*(self.fleet.order_enrolment(each.enrol()) for each in gateways))
        return gateways
