"""The hub as one process: broker, ledger, engine, lanes, REST interface; started in order, stopped in reverse.

Owned: the order, the lock on the directory, signals, what health and status say. Not owned: any of the parts.

Invariants:
- One directory, one process: a second one is refused.
- A federation's hub starts and serves although its chain stands still: alarms are shown all the same.
- A stop finishes what is queued, says farewell, and leaves nothing running; a kill loses nothing that has a receipt.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import signal
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from gateway.chain.genesis import EMBEDDED
from gateway.chain.verify import CLOCK_TOLERANCE
from hub.alarms import AlarmLane
from hub.api.app import create_app
from hub.api.backend import Backend
from hub.api.server import ApiServer
from hub.blocks import BlockLane
from hub.broker import EmbeddedBroker
from hub.clock import HeldClock, wall_ms
from hub.commands import Commands
from hub.config import Config, load_genesis, load_identity
from hub.consensus.base import Consensus
from hub.consensus.embedded import Embedded
from hub.core import Core, Refusals
from hub.endpoints import announced
from hub.enrolment import Registry
from hub.evidence import Archive
from hub.federation.membership import Membership
from hub.federation.takeover import check_open
from hub.finality import Finality
from hub.hails import HailLane
from hub.intake import Intake
from hub.ledger.ledger import Ledger
from hub.loading import load_view
from hub.lock import only_one
from hub.outbox import Outbox
from hub.reached import Reached
from hub.storage.store import Store, ease_collector
from hub.storage.witness_store import WitnessStore
from hub.view import View
from hub.witnessing.publisher import Publisher, asked_by
from hub.witnessing.witness import Witness

_log = logging.getLogger(__name__)


class Service:
    """A running hub. Use it as a context manager; `now_ms` replaces the clock in tests."""

    def __init__(self, config: Config, now_ms: Callable[[], int] = wall_ms) -> None:
        self._config, self._now_ms = config, HeldClock(now_ms)
        self._stack = contextlib.ExitStack()
        self._started_ms = self._now_ms()
        self._engine: Consensus
        self._member: Membership | None = None
        self._over = threading.Event()
        self.again = ""
        """Why it has to be started anew, once it was stopped; empty where it need not be."""

    def wait(self) -> None:
        """Wait until it is to be stopped: by `end`, or because it has to be started anew."""
        self._over.wait()

    def end(self) -> None:
        """Have `wait` return."""
        self._over.set()

    def _restart(self, why: str) -> None:
        if not self._over.is_set():
            _log.info("starts anew: %s", why)
            self.again = why
            self._over.set()

    def __enter__(self) -> Self:
        """Start everything. Raises HubError; nothing is left running then."""
        with contextlib.ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        _log.info("stopped")

    @property
    def api_url(self) -> str:
        return self._api.url

    @property
    def broker_url(self) -> str:
        return self._broker_url

    def _start(self, stack: contextlib.ExitStack) -> None:
        config = self._config
        stack.enter_context(only_one(config.directory))
        check_open(config.directory)
        self._core = self._open_core(stack)
        view, outbox, refusals = View(), Outbox(self._core), Refusals(self._core)
        parts, member = (self._core, outbox, refusals, view), self._member
        alarms, hails = AlarmLane(*parts), HailLane(*parts)
        blocks = BlockLane(*parts, member.policy.keep_ms if member else ())
        if member is not None:
            member.attach(self._core, outbox, view, alarms)
        finality = Finality(self._core, outbox, alarms, hails, view)
        self._start_engine(stack)
        load_view(self._core, view)
        self._broker_url = config.broker.url or self._start_broker(stack)
        self._intake = Intake(config, self._broker_url, outbox, (alarms, hails, blocks))
        for lane in (finality, alarms, hails, blocks):
            lane.start()
            stack.callback(lane.worker.stop)
        self._workers = [lane.worker for lane in (finality, alarms, hails, blocks, outbox)]
        self._start_links(stack, outbox)
        self._view, self._refusals, self._outbox = view, refusals, outbox
        registry = Registry(self._core, finality, refusals, self._advertised)
        commands = Commands(self._core, outbox, refusals, lambda: self._intake.connected)
        self._start_api(stack, registry, commands)
        if member is not None:
            self._workers += member.start(stack)

    def _open_core(self, stack: contextlib.ExitStack) -> Core:
        config = self._config
        genesis = load_genesis(config.directory / config.hub.genesis)
        alone = genesis.engine == EMBEDDED
        identity = load_identity(config) if alone else None  # before anything is written
        store = Store(config.ledger)
        stack.callback(store.close)
        if identity is None:
            self._member = member = Membership(config, genesis, store, self._restart, stack)
            identity, ledger, self._engine = member.identity, member.ledger, member.engine
        else:
            ledger = Ledger(genesis, store.chain)
            self._engine = Embedded(ledger, store.chain, genesis, identity.key, wall_ms=self._now_ms)
        return Core(identity, config.hub.region, store, ledger, self._engine, config.keep_ms, self._now_ms)

    def _start_engine(self, stack: contextlib.ExitStack) -> None:
        """Start the engine, unless it would seal anew what it has sealed before.

        A federation's hub follows the others whatever it has lost; that its key signs nothing twice is the
        engine's own care.
        """
        core = self._core
        if core.genesis.engine == EMBEDDED:
            reached = Reached(self._config.directory, core.genesis)
            reached.check(core.ledger.committed.height)
            self._engine.subscribe(lambda event: reached.note(event.block.height))
            stack.callback(lambda: reached.note(core.ledger.committed.height, at_once=True))
        if self._member is not None:
            self._member.start_snapshots(stack)
        self._engine.start()
        stack.callback(self._engine.stop)

    def _start_broker(self, stack: contextlib.ExitStack) -> str:
        settings = self._config.embedded_broker()
        assert settings is not None, "no other broker is named"
        broker = stack.enter_context(EmbeddedBroker(settings))
        return broker.url

    def _start_links(self, stack: contextlib.ExitStack, outbox: Outbox) -> None:
        outbox.start(self._intake.urgent)
        self._intake.start()
        stack.callback(self._intake.stop)
        stack.callback(outbox.worker.stop)
        stack.callback(lambda: outbox.say_state(online=False))

    def _start_api(self, stack: contextlib.ExitStack, registry: Registry, commands: Commands) -> None:
        core, version = self._core, importlib.metadata.version("tocsin")
        archive = Archive(core.genesis, core.store, core.ledger)
        said = self.health, self.status
        log, member = self._start_publisher(stack), self._member
        shown = self._view, self._refusals
        federal = (member.desk(), member.peers, member.window(stack)) if member else ()
        backend = Backend(core, archive, registry, commands, *shown, *log, *said, *federal)
        self._api = ApiServer(create_app(backend, version), self._config.api)
        stack.callback(self._api.stop)
        self._api.start()
        stack.enter_context(announced(self._config.directory, self._api.url, self._broker_url))
        _log.info(
            "tocsin-hub %s is hub %r of chain %s: API %s, broker %s",
            version,
            core.identity.hub.name,
            core.genesis.hash.hex()[:16],
            self._api.url,
            self._broker_url,
        )

    def _start_publisher(self, stack: contextlib.ExitStack) -> tuple[Witness, Publisher]:
        core, federation = self._core, self._config.federation
        witness = Witness(core, WitnessStore(core.store.database))
        asked = asked_by(witness, federation.peers, self._config.witnesses)
        self._publisher = Publisher(core, witness, asked, federation.checkpoint_seconds * 1000)
        self._publisher.start()
        stack.callback(self._publisher.worker.stop)
        self._workers.append(self._publisher.worker)
        return witness, self._publisher

    def _advertised(self) -> str:
        return self._config.broker.advertise or self._broker_url

    def health(self) -> dict[str, Any]:
        """Return whether the parts work.

        `ok` is false where alarms could not come in or become final, or where their times would be false.
        """
        connected, running = self._intake.connected, self._engine.running
        committed, now = self._core.ledger.committed, self._now_ms()
        ended = [worker.name for worker in self._workers if not worker.is_alive]
        is_timely = not self._now_ms.is_held and committed.time - now <= CLOCK_TOLERANCE
        return {
            "ok": connected and running and is_timely and not ended,
            "broker_up": connected,
            "consensus": running,
            "standing": self._engine.status().standing,
            "clock": is_timely,
            "ended": ended,
            "final_height": committed.height,
            "final_age_ms": now - committed.time,
        }

    def status(self) -> dict[str, Any]:
        """Return health, totals and addresses."""
        core, committed = self._core, self._core.ledger.committed
        return {
            "hub": core.identity.hub.name,
            "region": core.region,
            "version": importlib.metadata.version("tocsin"),
            "genesis": core.genesis.hash.hex(),
            "since": self._started_ms,
            "api": self._api.url,
            "broker": self._broker_url,
            **self.health(),
            "final_ms": committed.time,
            "log_size": committed.app.log_size,
            "checkpoint": self._publisher.status(),
            **self._view.counts(),
            "refused": self._refusals.counts(),
            "unsaid": self._outbox.dropped,
            "dropped": self._intake.urgent.counts() | self._intake.bulk.counts(),
        }


def run(config: Config) -> None:
    """Run a hub until SIGTERM or SIGINT. Raises HubError where it cannot start."""
    told = threading.Event()
    running: list[Service] = []

    def stop(*_: object) -> None:
        told.set()
        for service in running:
            service.end()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    ease_collector()
    while not told.is_set():
        service = Service(config)
        running[:] = [service]
        with service:
            if not told.is_set():
                service.wait()
