"""What a federation's hub sees to besides the chain: new keys in force, members that come, a restored key's wait.

Owned: when the hub has to start anew for a key. Not owned: the keys themselves (`hub.federation.keys`,
`hub.federation.quarantine`), the new start (`hub.service`).

Invariant: a new validator key is taken up only when the final block after the change is there, so that the old one
has cast all the votes that were its.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from gateway.chain.governance import MEMBER_GOOD, Roster
from hub.config import Config
from hub.consensus.base import FinalEvent
from hub.core import Core
from hub.errors import HubError
from hub.federation.keys import waits_for_keys
from hub.federation.quarantine import Quarantine
from hub.worker import Worker

_log = logging.getLogger(__name__)

_TICK_SECONDS: Final = 1.0


class Steward:
    """Looks every second. Make it before the engine starts."""

    def __init__(
        self, core: Core, config: Config, restart: Callable[[str], None], meet: Callable[[Roster], None]
    ) -> None:
        """`restart` is told why the hub has to start anew, `meet` who belongs to the federation.

        Raises ConfigError.
        """
        self._core, self._config, self._restart, self._meet = core, config, restart, meet
        self._version = core.ledger.committed.roster(core.genesis).version
        self._quarantine = Quarantine(config)
        self._changed_at: int | None = None
        self._stopping = threading.Event()
        self.worker = Worker("steward", self._run, self._stopping.set)
        core.consensus.subscribe(self._heard)

    @property
    def waits(self) -> str:
        """Why this hub does not vote although it could; empty where it does, or is there to read."""
        core = self._core
        roster = core.ledger.committed.roster(core.genesis)
        own = next((each for each in roster.members if each.key == core.key.public), None)
        if own is None:
            return "it is no member, or no more, or not yet, as far as its ledger knows"
        if own.standing != MEMBER_GOOD and not own.power:
            return "its vote was taken: a proposal gives it back, see tocsin-hub help federation"
        return (
            "restored from a backup: votes again a few final blocks from now"
            if self._quarantine.waits
            else ""
        )

    def start(self) -> None:
        """Begin to look."""
        self.worker.start()

    def _heard(self, event: FinalEvent) -> None:
        self._quarantine.heard(event)

    def _run(self) -> None:
        while not self._stopping.wait(_TICK_SECONDS):
            try:
                self.look()
            except HubError as error:
                _log.error("the keys are not seen to: %s", error)
            except Exception:
                _log.exception("a defect in seeing to the keys")

    def look(self) -> None:
        """Ask for a new start where a key is to be taken up. Raises HubError."""
        if self._quarantine.over:
            self._restart("the restored key may vote again")
            return
        core = self._core
        committed = core.ledger.committed
        roster = committed.roster(core.genesis)
        if roster.version != self._version:
            self._version = roster.version
            self._meet(roster)
        if not waits_for_keys(self._config, roster):
            return
        if self._changed_at is None:
            self._changed_at = committed.height
        # A final block is sealed by the one after it.
        if core.consensus.status().height >= self._changed_at:
            self._restart("a new key is in force")
