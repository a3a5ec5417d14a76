"""Hubs that hold one log and witness each other's, each behind a real server, without engines: a test orders blocks."""

from __future__ import annotations

import http.client
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from fastapi import FastAPI
from fleet import START_MS, Fleet, seeded

from gateway.chain.finality import EmbeddedSeal, Seal
from gateway.chain.genesis import COMETBFT, Genesis, Validator
from gateway.chain.genesis import Hub as HubEntry
from gateway.chain.keys import SigningKey
from gateway.chain.notes import LogHead, Note, Submission, sign_note
from hub.api.server import ApiServer
from hub.api.witness import add_log
from hub.config import ApiTable, Identity
from hub.consensus.base import Consensus, FinalBlock
from hub.core import Core
from hub.federation.config import PeerTable, WitnessTable
from hub.ledger.ledger import Ledger
from hub.storage.store import Store
from hub.storage.witness_store import WitnessStore
from hub.witnessing.publisher import Publisher, asked_by
from hub.witnessing.witness import Witness

MINUTE = 60_000


class LogHub:
    """One hub: its store and ledger are real; what its engine would decide, `order` says."""

    def __init__(self, region: Region, place: int) -> None:
        self.region, self.name = region, region.genesis.hubs[place].name
        self.key = region.keys[place]
        self.path = region.directory / self.name / "ledger.db"
        self.server: ApiServer | None = None
        self.open()

    def open(self) -> None:
        """Open what is on disk, as after a start."""
        genesis = self.region.genesis
        self.store = Store(self.path)
        self.ledger = Ledger(genesis, self.store.chain)
        self.ledger.genesis(genesis.encode())
        member = genesis.hub(self.key.public)
        identity, nobody = Identity(self.key, genesis, member), cast("Consensus", None)
        self.core = Core(identity, "north", self.store, self.ledger, nobody, 1, lambda: self.region.now)
        self.witness = Witness(self.core, WitnessStore(self.store.database))
        self.publisher = Publisher(self.core, self.witness, (), MINUTE)

    def order(self, *txs: bytes, time: int) -> None:
        """Make and seal the next final block."""
        height = self.ledger.committed.height + 1
        result = self.ledger.finalize(FinalBlock(height, time, bytes(32), txs))
        assert not any(each.code for each in result.tx_results)
        self.ledger.commit()
        body = EmbeddedSeal(self.region.genesis.hash, height, time, result.app_hash)
        self.store.chain.add_seal(height, Seal.embedded(self.key, body))  # nobody here looks at seals

    def serve(self, cert_file: str = "", key_file: str = "") -> str:
        """Serve the log's interface and return its address."""
        app = FastAPI()
        add_log(app, self.core, self.witness, self.publisher)
        self.server = ApiServer(app, ApiTable(port=0, cert_file=cert_file, key_file=key_file))
        self.server.start()
        return self.server.url

    def asks(
        self, peers: Sequence[tuple[str, str]], outside: Sequence[WitnessTable] = (), ca_file: str = ""
    ) -> None:
        """Have this hub ask others, given by name and address, and those outside."""
        tables = [PeerTable(name, url=url, ca_file=ca_file) for name, url in peers]
        self.publisher = Publisher(self.core, self.witness, asked_by(self.witness, tables, outside), MINUTE)

    def head(self, size: int | None = None) -> LogHead:
        size = self.ledger.committed.app.log_size if size is None else size
        return LogHead(self.witness.origin, size, self.ledger.log_root(size))

    def submission(self, old: int, new: int) -> Submission:
        """What this hub would submit from one size to another."""
        text = self.head(new).text
        path = self.ledger.consistency(old, new) if old else ()
        return Submission(old, path, Note(text, (sign_note(self.key, self.witness.origin, text),)))

    def close(self) -> None:
        if self.server is not None:
            self.server.stop()
        self.store.close()


class Region:
    """A federation's hubs, all of which order the same blocks unless told otherwise. The last may be a reader."""

    def __init__(self, directory: Path, size: int = 4, readers: int = 0) -> None:
        self.directory, self.fleet, self.now = directory, Fleet(), START_MS
        self.keys = [SigningKey(seeded("witness", place)) for place in range(size + readers)]
        hubs = tuple(
            HubEntry(f"hub-{i + 1}", f"agency-{i + 1}", key.public) for i, key in enumerate(self.keys)
        )
        voters = tuple(Validator(SigningKey(seeded("voter", place)).public, 1) for place in range(size))
        self.fleet.genesis = replace(self.fleet.genesis, engine=COMETBFT, hubs=hubs, validators=voters)
        self._stack = ExitStack()
        self.hubs: list[LogHub] = []
        for place in range(size + readers):
            self.hubs.append(hub := LogHub(self, place))
            self._stack.callback(hub.close)

    @property
    def genesis(self) -> Genesis:
        return self.fleet.genesis

    def enrolment(self, name: str) -> bytes:
        return self.fleet.order_enrolment(self.fleet.gateway(name).enrol())

    def grow(self, *names: str, seconds: float = 1, hubs: Sequence[LogHub] | None = None) -> None:
        """Make one leaf a name, each in a final block of its own, so many seconds apart."""
        for name in names:
            self.now += int(seconds * 1000)
            tx = self.enrolment(name)
            for hub in self.hubs if hubs is None else hubs:
                hub.order(tx, time=self.now)

    def close(self) -> None:
        self._stack.close()


def post(url: str, body: bytes) -> tuple[int, str, str]:
    """Return status, content type and text of a submission."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    try:
        connection.request("POST", parts.path, body)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read().decode()
    finally:
        connection.close()
