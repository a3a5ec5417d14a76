"""A chain taken over: its gateways are brought into the federation's state, and told where their chain goes on.

Owned: the two repetitions that this takes. Not owned: what an import is
(`hub.federation.takeover`), how a gateway moves.

Invariant: both can be repeated without harm, so they are, until every gateway is there; the successor is said again
every so often, because a broker may forget.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from gateway.chain.leaf import ENROL
from gateway.chain.ordered import Enrol, Import, decode_transaction
from gateway.chain.tenure import EnrolmentBody
from hub.config import Config, load_config
from hub.core import Core
from hub.errors import ConfigError, HubError
from hub.federation.takeover import imports
from hub.outbox import Outbox
from hub.storage.store import Store
from hub.view import View
from hub.worker import Worker

_log = logging.getLogger(__name__)

_TICK_SECONDS: Final = 1.0
_AGAIN_SECONDS: Final = 10.0
_SAY_SECONDS: Final = 300.0


class Mover:
    """Works while the hub runs."""

    def __init__(self, core: Core, config: Config, outbox: Outbox, view: View) -> None:
        """Read the directory that was closed. Raises ConfigError, StoreError, TakeoverError."""
        old = load_config(Path(config.federation.predecessor) / "hub.toml")
        if old.hub.region != core.region:
            raise ConfigError(
                f"the hub taken over serves region {old.hub.region}, this one {core.region}: its gateways would"
                " not find it"
            )
        self._core, self._outbox, self._view, self._old = core, outbox, view, old.hub.name
        self._waiting = {_gateway(tx): tx for tx in imports(old.ledger, core.genesis)}
        self._names = _names(old.ledger, self._waiting)
        self._offered = self._said = -_SAY_SECONDS
        self._stopping = threading.Event()
        self.worker = Worker("mover", self._run, self._stopping.set)

    @property
    def waiting(self) -> int:
        """How many gateways are still to be brought over."""
        return len(self._waiting)

    def start(self) -> None:
        """Begin to work."""
        self.worker.start()

    def _run(self) -> None:
        while not self._stopping.wait(_TICK_SECONDS):
            try:
                self._work(time.monotonic())
            except HubError as error:
                _log.error("gateways are not brought over, for now: %s", error)
            except Exception:
                _log.exception("a defect in bringing gateways over")

    def _work(self, now: float) -> None:
        if self._waiting:
            missing = [gateway for gateway in self._waiting if self._core.entry(gateway) is None]
            self._waiting = {gateway: self._waiting[gateway] for gateway in missing}
            if not self._waiting:
                _log.info("every gateway of the chain taken over is here")
        if not self._waiting and self._names:
            for gateway, name in self._names.items():  # the chain knows no names but from enrolments
                self._view.enrolled(gateway, name)
            self._names = {}
        if self._waiting and now - self._offered >= _AGAIN_SECONDS:
            self._offered = now
            for tx in self._waiting.values():
                self._core.offer(tx)
        if not self._waiting and now - self._said >= _SAY_SECONDS:
            self._said = now
            self._outbox.say_successor(self._old, self._core.genesis)


def _names(ledger: Path, gateways: Iterable[bytes]) -> dict[bytes, str]:
    """Return what installers called these gateways in the chain taken over. Raises StoreError."""
    store, found = Store(ledger, read_only=True), {}
    try:
        for gateway in gateways:
            for record in store.chain.records(gateway):
                transaction = decode_transaction(record.tx) if record.kind == ENROL else None
                if isinstance(transaction, Enrol):
                    found[gateway] = EnrolmentBody.decode(transaction.enrolment.body).name
    finally:
        store.close()
    return found


def _gateway(tx: bytes) -> bytes:
    transaction = decode_transaction(tx)
    assert isinstance(transaction, Import), "imports yields nothing else"
    return transaction.gateway
