"""One chain as the test's hubs share it: log, state, members, and seals by either engine.

Instead of consensus there is one lock; instead of an engine, keys that sign a header of CometBFT's form.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

from nacl.bindings import crypto_sign

from gateway.chain.cometbft import (
    CometHeader,
    CometSeal,
    Commit,
    Precommit,
    Step,
    _block_id,
    _vote,
    chain_id,
    in_order,
    validators_hash,
)
from gateway.chain.custody import Receipt
from gateway.chain.entries import GatewayEntry, KeySpan, gateway_key, roster_key
from gateway.chain.finality import AppState, Checkpoint, EmbeddedSeal, Entry, FinalityProof, Seal
from gateway.chain.genesis import (
    COMETBFT,
    EMBEDDED,
    REGULATOR,
    Authority,
    Genesis,
    Hub,
    Takeover,
    TakeoverBody,
    Validator,
)
from gateway.chain.governance import Roster, founding_roster
from gateway.chain.keys import SUITE, TAKEOVER, SigningKey, digest
from gateway.chain.leaf import IMPORT, LogLeaf
from gateway.chain.state import StateTree
from gateway.chain.tenure import NOWHERE
from gateway.chain.trees import LogTree, leaf_hash

REGION = "north"
HUB_KEY = SigningKey(b"\1" * 32)
AUTHORITY = SigningKey(b"\2" * 32)
HUB_KEYS = [HUB_KEY, *(SigningKey(bytes([50 + i]) * 32) for i in range(5))]
VOTERS = [SigningKey(bytes([80 + i]) * 32) for i in range(6)]
DAY_MS = 86_400_000


def make_genesis(**changes: object) -> Genesis:
    """The embedded chain of one hub."""
    genesis = Genesis(
        1,
        SUITE,
        EMBEDDED,
        "test chain",
        1_700_000_000_000,
        (Authority("agency", REGULATOR, AUTHORITY.public),),
        (Hub("hub", "agency", HUB_KEY.public),),
        (),
        3,
        30 * DAY_MS,
        1,
        (),
    )
    return replace(genesis, **changes)  # type: ignore[arg-type]


def make_federation(hubs: int = 4, **changes: object) -> Genesis:
    """A federation of hubs "hub", "hub-1", "hub-2"… of as many agencies, all of them voters."""
    names = ["hub", *(f"hub-{i}" for i in range(1, hubs))]
    agencies = ["agency", *(f"agency-{i}" for i in range(1, hubs))]
    parts = zip(names, agencies, HUB_KEYS, strict=False)
    given = {
        "engine": COMETBFT,
        "name": "test federation",
        "hubs": tuple(Hub(name, agency, key.public) for name, agency, key in parts),
        "validators": tuple(Validator(each.public, 1) for each in VOTERS[:hubs]),
        **changes,
    }
    return make_genesis(**given)


@dataclass(frozen=True)
class View:
    """The chain as it stood after a final block, and the keys that vote on the next."""

    height: int
    app: AppState
    tree: StateTree
    entries: dict[bytes, GatewayEntry]
    voters: tuple[SigningKey, ...]
    steps: tuple[Step, ...]


@dataclass
class TestChain:
    """Everything that is final. `lock` guards it, and the order of what its hubs say of themselves."""

    __test__ = False

    genesis: Genesis
    entry: dict[bytes, GatewayEntry] = field(default_factory=dict)
    height: int = 0

    def __post_init__(self) -> None:
        self.lock = threading.RLock()
        self.log, self.tree = LogTree(), StateTree()
        self.index: dict[bytes, int] = {}
        self.voters = tuple(VOTERS[: len(self.genesis.validators)])
        self.steps: tuple[Step, ...] = ()
        self.receipts: dict[bytes, list[Receipt]] = {}
        self.roster = founding_roster(self.genesis)

    def view(self) -> View:
        with self.lock:
            app = AppState(len(self.log), self.log.root(), self.tree.root)
            return View(self.height, app, self.tree, dict(self.entry), self.voters, self.steps)

    # what becomes final

    def enrol(self, gateway: bytes, key: bytes) -> None:
        with self.lock:
            opened = len(self.log)
            self.put(
                gateway, GatewayEntry(REGION, (KeySpan(key, 1),), 0, 1, NOWHERE, opened, bytes(8), 0, 0, ())
            )

    def append(self, leaf: LogLeaf) -> None:
        with self.lock:
            self.index[leaf.hash] = len(self.log)
            self.log.append(leaf_hash(leaf.encode()))
            self.height += 1

    def put(self, gateway: bytes, entry: GatewayEntry) -> None:
        with self.lock:
            self.entry[gateway] = entry
            self.tree = self.tree.put(gateway_key(gateway), entry.encode())
            self.height += 1

    def put_roster(self, roster: Roster) -> None:
        with self.lock:
            self.roster = roster
            self.tree = self.tree.put(roster_key(), roster.encode())
            self.height += 1

    def vote(self, voters: Sequence[SigningKey]) -> None:
        """Hand the vote to other keys: a header names them, those before commit it."""
        with self.lock:
            following = tuple(voters)
            self.height += 2
            header, commit = self._header(self.view(), self.height, bytes(32), following)
            self.steps += (Step(header, commit, tuple(in_order(_validators(following)))),)
            self.voters = following
            self.height += 2

    def close(self, successor: Genesis) -> Takeover:
        """End this embedded chain in favour of another."""
        with self.lock:
            app = self.view().app.hash
            body = TakeoverBody(self.genesis.hash, self.height, app, successor.successor)
            return Takeover(self.genesis.hash, self.height, app, HUB_KEY.sign(TAKEOVER, body.encode()))

    def take_over(self, old: TestChain) -> None:
        """Import the gateways of a chain that the genesis takes over."""
        for gateway, entry in old.entry.items():
            moved = replace(entry, standing=IMPORT, boot=bytes(8), mono=0, seen=0, epochs=())
            self.append(LogLeaf(IMPORT, gateway, 0, 0, digest("test", gateway)))
            self.put(gateway, replace(moved, opened_at=len(self.log) - 1))

    # what shows it

    def checkpoint(self, view: View | None = None, seen: int = 0) -> Checkpoint:
        """The seal over a view, for a reader that has verified final block `seen`."""
        at = view or self.view()
        now = time.time_ns() // 1_000_000
        if self.genesis.engine == EMBEDDED:
            body = EmbeddedSeal(self.genesis.hash, at.height, now, at.app.hash)
            return Checkpoint(at.app, Seal.embedded(HUB_KEY, body))
        header, commit = self._header(at, at.height + 1, at.app.hash, at.voters)
        steps = tuple(step for step in at.steps if step.header.height > seen)
        return Checkpoint(at.app, Seal(COMETBFT, CometSeal(steps, header, commit).encode()))

    def finality(self, leaf: bytes, seen: int, view: View | None = None) -> FinalityProof | None:
        with self.lock:
            at, index = view or self.view(), self.index.get(leaf)
            if index is None or index >= at.app.log_size:
                return None
            return FinalityProof(index, self.log.inclusion(index, at.app.log_size), self.checkpoint(at, seen))

    def prove(self, key: bytes, view: View | None = None) -> Entry:
        tree = (view or self.view()).tree
        return Entry(tree.get(key) or b"", tree.prove(key))

    def _header(
        self, at: View, height: int, app: bytes, following: Sequence[SigningKey]
    ) -> tuple[CometHeader, Commit]:
        voters = sorted(at.voters, key=_address)
        name, now = chain_id(self.genesis.hash), time.time()
        sets = (
            validators_hash(in_order(_validators(voters))),
            validators_hash(in_order(_validators(following))),
        )
        none = bytes(32)
        header = CometHeader(
            11,
            0,
            name,
            height,
            int(now),
            0,
            none,
            1,
            none,
            none,
            none,
            *sets,
            none,
            app,
            none,
            none,
            bytes(20),
        )
        block_id, votes = _block_id(header.hash, 1, none), []
        for place, key in enumerate(voters[: len(voters) * 2 // 3 + 1]):
            vote = Precommit(place, int(now), 0, bytes(64))
            votes.append(replace(vote, signature=_sign(key, _vote(header, 0, block_id, vote))))
        return header, Commit(0, 1, none, tuple(votes))


def _validators(keys: Sequence[SigningKey]) -> list[Validator]:
    return [Validator(key.public, 1) for key in keys]


def _address(key: SigningKey) -> bytes:
    return sha256(key.public).digest()[:20]


def _sign(key: SigningKey, data: bytes) -> bytes:
    return crypto_sign(data, key.seed + key.public)[:64]
