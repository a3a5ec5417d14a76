"""Four hubs of four agencies in one process: real CometBFT nodes on loopback, one ledger each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fleet import DAY_MS, Fleet, seeded
from hubs import free_port

from gateway.chain.genesis import COMETBFT, Genesis, Hub, Validator
from gateway.chain.keys import SigningKey
from hub.consensus.base import FinalBlock, FinalEvent, Result, TxResult, ValidatorUpdate, tx_id
from hub.consensus.comet import Comet
from hub.consensus.comet_home import CometSettings, Peer, Timeouts, make_validator_key
from hub.ledger.ledger import Ledger
from hub.storage.store import Store

DEADLINE = 60.0
QUICK = Timeouts(propose=1000, prevote=300, precommit=300, delta=200, commit=50)


class Voting(Ledger):
    """A ledger that changes the voters at the heights that it is told, as governance otherwise does."""

    updates: Mapping[int, tuple[ValidatorUpdate, ...]] = {}

    def finalize(self, block: FinalBlock) -> Result:
        result = super().finalize(block)
        return replace(result, validator_updates=self.updates.get(block.height, result.validator_updates))


class Member:
    """One hub: its key, ledger and engine, and the final blocks that it was told of."""

    def __init__(self, federation: Federation, place: int) -> None:
        self.federation, self.place = federation, place
        self.directory = federation.directory / f"hub-{place}"
        self.key = federation.keys[place]
        self.events: list[FinalEvent] = []
        self.refused: list[tuple[bytes, TxResult]] = []
        self.open()

    def open(self) -> None:
        """Take up what the disk holds; the engine is not started yet."""
        genesis = self.federation.genesis
        self.store = Store(self.directory / "ledger.db")
        self.ledger = Voting(genesis, self.store.chain)
        self.ledger.updates = self.federation.updates
        self.comet = Comet(self.ledger, self.store.chain, genesis, self.key, self.settings)
        self.comet.subscribe(self.events.append)
        self.comet.subscribe_refusals(lambda identity, verdict: self.refused.append((identity, verdict)))

    @property
    def settings(self) -> CometSettings:
        return self.federation.settings(self.place)

    @property
    def height(self) -> int:
        return self.ledger.committed.height

    def has_final(self, *identities: bytes) -> bool:
        """Tell whether these transactions are final here and told of, since the member was made."""
        return set(identities) <= {tx_id(tx) for event in self.events for tx in event.block.txs}

    def close(self) -> None:
        self.comet.stop()
        self.store.close()


class Federation:
    """`size` hubs of a chain, none started. The fleet's clock is the real one, because the engines' is."""

    def __init__(self, directory: Path, program: str, size: int = 4, interval: float = 5.0) -> None:
        self.directory, self.program, self.interval = directory, program, interval
        self.keys = [SigningKey(seeded("hub", place)) for place in range(size)]
        self.ports = [free_port() for _ in range(size)]
        self.fleet = Fleet()
        self.fleet.now = time.time_ns() // 1_000_000
        voters = [
            Validator(make_validator_key(directory / f"hub-{place}/comet"), 10) for place in range(size)
        ]
        self.fleet.genesis = federal(self.fleet.genesis, self.keys, voters, self.fleet.now - DAY_MS)
        self.updates: dict[int, tuple[ValidatorUpdate, ...]] = {}
        self.members = [Member(self, place) for place in range(size)]

    @property
    def genesis(self) -> Genesis:
        return self.fleet.genesis

    def settings(self, place: int) -> CometSettings:
        peers = tuple(
            Peer(key.public, f"127.0.0.1:{port}")
            for other, (key, port) in enumerate(zip(self.keys, self.ports, strict=True))
            if other != place
        )
        home = self.directory / f"hub-{place}/comet"
        return CometSettings(
            home,
            port=self.ports[place],
            peers=peers,
            program=self.program,
            interval=self.interval,
            timeouts=QUICK,
        )

    def start(self) -> None:
        for member in self.members:
            member.comet.start()

    def final(self, *identities: bytes, on: Sequence[int] | None = None) -> None:
        """Wait until transactions are final on all members, or on some."""
        members = self.members if on is None else [self.members[place] for place in on]
        until(lambda: all(member.has_final(*identities) for member in members))

    def close(self) -> None:
        for member in self.members:
            member.close()


def federal(genesis: Genesis, keys: list[SigningKey], voters: list[Validator], created: int) -> Genesis:
    """Return a genesis as that of a federation of these hubs."""
    hubs = tuple(Hub(f"hub-{place}", f"agency-{place}", key.public) for place, key in enumerate(keys))
    return replace(genesis, engine=COMETBFT, created=created, hubs=hubs, validators=tuple(voters))


def until(done: Callable[[], object], seconds: float = DEADLINE) -> None:
    """Wait until something holds; fails after `seconds`."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.02)
