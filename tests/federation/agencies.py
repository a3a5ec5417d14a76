"""A federation of real processes on loopback: hubs of four agencies, each with its CometBFT node and its broker.

Each is founded as an operator founds it: keys and statement made in its own directory, one genesis assembled by all.
Engines dial each other through cables that tests can cut. Whatever was started is ended with the `with` block.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from cables import Cable
from fleet import Fleet
from hubs import Caller, Daemon, HubProcess, Rest, free_port, new_fleet
from region import PATIENCE, wait_for

from gateway.chain.ceremony import state_authority
from gateway.chain.genesis import AGENCY, REGULATOR, Authority, Genesis
from gateway.chain.keys import SigningKey
from gateway.chain.ordered import Transaction, encode_transaction
from hub.config import load_config
from hub.endpoints import read_endpoints
from hub.federation.config import PeerTable
from hub.federation.founding import Place, agree, found, init, read_statements, write

T = TypeVar("T")
BAD_HUB = Path(__file__).parent / "bad_hub.py"
AGENCIES = ("fire", "gas", "building", "police", "health")


class Agency(Daemon):
    """One agency's hub: a directory, and `tocsin-hub run` on it when started."""

    patience = PATIENCE

    def __init__(self, directory: Path, number: int) -> None:
        self.name, self.agency = f"hub-{number}", AGENCIES[number - 1]
        self.directory = directory / self.name
        self.p2p, self.api, self.broker = free_port(), free_port(), free_port()
        self.fault = ""
        """What `bad_hub` is to do at the next start; empty for a good hub."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.api}"

    @property
    def rest(self) -> Rest:
        return Rest(self.url)

    @property
    def log(self) -> Path:
        return self.directory / "hub.log"

    @property
    def engine_log(self) -> Path:
        return next((self.directory / "engine").glob("*.log"))

    def start(self) -> None:
        """Start the hub; it may have nobody to agree with yet."""
        (self.directory / "endpoints.json").unlink(missing_ok=True)
        with self.log.open("ab") as log:
            program = [str(BAD_HUB), self.fault] if self.fault else ["-m", "hub"]
            command = [sys.executable, *program, "run", "--config", str(self.directory / "hub.toml")]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def await_answers(self) -> None:
        """Wait until it can be asked."""
        wait_for(lambda: self.endpoints and self.ask("/v1/status"), f"the answers of {self.name}")

    @property
    def endpoints(self) -> dict[str, Any]:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        with contextlib.suppress(Exception):
            return read_endpoints(self.directory)
        return {}

    def ask(self, path: str) -> Any:
        """What it answers, None while it does not."""
        with contextlib.suppress(OSError, ValueError):
            return self.rest.json(path)
        return None

    def answer(self, path: str) -> Any:
        """What it answers, waited for."""
        found: list[Any] = []

        def look() -> bool:
            found.append(self.ask(path))
            return found[-1] is not None

        wait_for(look, f"{path} of {self.name}")
        return found[-1]

    @property
    def status(self) -> dict[str, Any]:
        return self.ask("/v1/status") or {}

    @property
    def height(self) -> int:
        """The last final block it has committed, -1 while it does not say."""
        return int(self.status.get("final_height", -1))

    def checkpoint(self) -> tuple[Any, ...] | None:
        """What all have to agree on: the size and root of the log and the state's root."""
        shown = self.ask("/v1/checkpoint")
        return (shown["log_size"], shown["log_root"], shown["state_root"]) if shown else None

    def engine_pid(self) -> int | None:
        """The process id of its CometBFT node, None while there is none."""
        if self.process is None:
            return None
        for file in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            for child in file.read_text().split():
                with contextlib.suppress(OSError):
                    if b"cometbft" in Path(f"/proc/{child}/cmdline").read_bytes():
                        return int(child)
        return None

    def signal_engine(self, number: int) -> None:
        """Send its node a signal."""
        pid = wait_for(self.engine_pid, f"the engine of {self.name}")
        os.kill(pid, number)

    def command(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run `tocsin-hub` with these arguments to its end."""
        words = [sys.executable, "-m", "hub", *map(str, arguments)]
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=PATIENCE)


class Federation:
    """Hubs of as many agencies, a regulator, and a fleet of gateways that any of them may hear."""

    def __init__(
        self,
        directory: Path,
        size: int = 4,
        *,
        custodians: int = 1,
        cables: bool = True,
        readers: int = 0,
        before: HubProcess | None = None,
    ) -> None:
        """Found it; with `before`, the first hub goes on for that stopped hub alone, at its addresses.

        The last `readers` of the hubs have no vote.
        """
        self.directory, self.before, self.readers = directory, before, readers
        self.fleet: Fleet = before.fleet if before else new_fleet()
        self.hubs = [Agency(directory, number) for number in range(1, size + 1)]
        if before:
            first, old = self.hubs[0], load_config(before.directory / "hub.toml")
            first.name, first.api, first.broker = old.hub.name, old.api.port, old.broker.port
        self.cables: dict[frozenset[str], Cable] = {}
        self._stack = contextlib.ExitStack()
        if cables:
            for one, other in combinations(self.hubs, 2):
                cable = self.cables[frozenset((one.name, other.name))] = Cable(other.p2p)
                self._stack.callback(cable.close)
        for hub in self.hubs:
            init(hub.directory, self.place(hub))
        self._found(custodians)

    def _found(self, custodians: int) -> None:
        statements = [hub.directory / f"{hub.name}.member" for hub in self.hubs]
        for name, role, key in (
            ("regulator", REGULATOR, self.fleet.regulator),
            ("agency", AGENCY, self.fleet.agency),
        ):
            path = self.directory / f"{name}.authority"
            write(path, state_authority(Authority(name, role, key.public), key).encode())
            statements.append(path)
        if self.before:
            draft = found(self.hubs[0].directory, read_statements(statements), "Test federation", custodians)
            successor, closed = self.directory / "successor.draft", self.directory / "before.takeover"
            write(successor, draft.encode())
            done = self.hubs[0].command(
                "federation", "close", self.before.directory, "--successor", successor, "-o", closed
            )
            assert done.returncode == 0, done.stderr
            statements.append(closed)
        for hub in self.hubs:
            genesis = found(hub.directory, read_statements(statements), "Test federation", custodians)
            agree(hub.directory, genesis, genesis.hash.hex())
        self.fleet.genesis = genesis

    def place(self, hub: Agency) -> Place:
        """Where a hub stands, and how it reaches the others: each pair has one cable, from the first to the second."""
        peers = []
        for other in self.hubs:
            if other is hub:
                continue
            cable = self.cables.get(frozenset((hub.name, other.name)))
            dials = cable is None or self.hubs.index(hub) < self.hubs.index(other)
            p2p = f"127.0.0.1:{cable.port if cable else other.p2p}" if dials else ""
            peers.append(PeerTable(other.name, p2p, other.url))
        return Place(
            hub.name,
            hub.agency,
            self.fleet.region,
            power=int(self.hubs.index(hub) < len(self.hubs) - self.readers),
            p2p=f"127.0.0.1:{hub.p2p}",
            api=hub.api,
            broker=hub.broker,
            peers=tuple(peers),
            predecessor=str(self.before.directory) if self.before and hub is self.hubs[0] else "",
        )

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.push(self._stack)
            self.start(self.hubs)
            self.await_same()
            stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def genesis(self) -> Genesis:
        return self.fleet.genesis

    def key(self, hub: Agency) -> SigningKey:
        return SigningKey(bytes.fromhex((hub.directory / "hub.key").read_text().strip()))

    def start(self, hubs: Iterable[Agency]) -> None:
        """Start hubs together and wait until each can be asked."""
        chosen = list(hubs)
        for hub in chosen:
            self._stack.callback(hub.kill)
            hub.start()
        for hub in chosen:
            hub.await_answers()

    @property
    def living(self) -> list[Agency]:
        return [hub for hub in self.hubs if hub.process is not None]

    def part(self, *side: Agency) -> None:
        """Cut every cable between these hubs and all others."""
        names = {hub.name for hub in side}
        for ends, cable in self.cables.items():
            if len(ends & names) == 1:
                cable.cut()

    def heal(self) -> None:
        """Mend every cable."""
        for cable in self.cables.values():
            cable.mend()

    # gateways

    def order(self, transaction: Transaction, at: Agency | None = None) -> None:
        """Have a record ordered through a hub."""
        status, answer = (at or self.living[0]).rest.post("/v1/records", encode_transaction(transaction))
        assert status == 201, answer

    def call(self, name: str, at: Agency | None = None) -> Caller:
        """A gateway of the fleet, enrolled and connected to one hub's broker, its birth answered."""
        hub = at or self.living[0]
        gateway = self.fleet.gateway(name)
        if not any(each.ask(f"/v1/gateways/{gateway.id.hex()}") for each in self.living):
            status, answer = hub.rest.post("/v1/enrolment", gateway.enrol().encode())
            assert status == 201, answer
        caller = Caller(self.fleet, gateway, str(hub.endpoints["broker"]), self.key(hub).public)
        self._stack.callback(caller.close)
        caller.birth()
        return caller

    def await_height(self, hubs: Iterable[Agency], height: int) -> None:
        for hub in hubs:
            wait_for(lambda hub=hub: hub.height >= height, f"final block {height} at {hub.name}")  # type: ignore[misc]

    def await_same(self, hubs: Iterable[Agency] | None = None, size: int = 0) -> tuple[Any, ...]:
        """Wait until hubs (all living ones) have one checkpoint of at least `size` items; return it."""
        chosen = list(hubs or self.living)

        def same() -> tuple[Any, ...] | None:
            found = {hub.checkpoint() for hub in chosen}
            (first, *others) = found
            return first if not others and first and first[0] >= size else None

        return wait_for(same, "one checkpoint at all hubs")

    def is_final(self, gateway: bytes, height: int, at: Agency) -> bool:
        """Whether a gateway's block is final as a hub sees it."""
        shown = at.ask(f"/v1/gateways/{gateway.hex()}")
        return bool(shown and shown["head"] >= height)

    def audit(self, hub: Agency) -> dict[str, Any]:
        """Stop a hub and re-verify all it has on disk."""
        hub.stop()
        done = hub.command("audit", "--dir", hub.directory, "--json")
        assert done.stdout, done.stderr
        return dict(json.loads(done.stdout))
