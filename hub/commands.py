"""Commands: from an authority in office or a hub of the chain to a gateway, checked here and handed on to its topic.

Owned: what the REST interface accepts as a command. Not owned: the rule that a command is done once and in its
boot, which is the gateway's; what became of it, which the gateway records in a block.

Invariants:
- Nothing is handed on for where it came from: a command carries its signer's signature, and nothing is added.
- Each command that is handed on is a finding: its item is the hash by which the block's outcome names it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from gateway.chain.errors import BadRecord, ChainError, RevokedKey, UnknownGateway, UnknownSigner
from gateway.chain.governance import MEMBER_GOOD, Roster
from gateway.chain.keys import COMMAND, Signed, digest
from gateway.chain.messages import NEW_EPOCH, RESET, SILENCE, TEST, Command
from hub.core import Core, Refusals
from hub.enrolment import Refused
from hub.errors import BrokerError
from hub.outbox import Outbox

_ACTIONS: Final = {RESET: "reset of", SILENCE: "silence for", NEW_EPOCH: "new epoch", TEST: "test of output"}
_NOBODY: Final = bytes(16)


class Commands:
    """Takes commands that come over REST to their gateways. Safe for several threads.

    Args:
        is_connected: whether the broker can be reached now.
    """

    def __init__(
        self, core: Core, outbox: Outbox, refusals: Refusals, is_connected: Callable[[], bool]
    ) -> None:
        self._core, self._outbox, self._refusals, self._is_connected = core, outbox, refusals, is_connected
        self._lock = threading.Lock()
        self._noted: dict[bytes, int] = {}  # commands by hash, until when they are good

    def take(self, payload: bytes) -> bytes:
        """Hand a command (a Signed's bytes) on and return its gateway. A repeat is handed on again.

        Raises:
            Refused: the command breaks a rule.
            BrokerError: the broker cannot be reached now.
            StoreError: it cannot be put on record.
        """
        try:
            signed = Signed.decode(payload)
            command = Command.decode(signed.body)
            signer = self._check(signed, command)
        except ChainError as error:
            self._refusals.note(_NOBODY, error, payload)
            raise Refused(type(error).__name__, str(error)) from error
        if not self._is_connected():
            raise BrokerError(
                "the broker cannot be reached now: give the command again once /healthz is well"
            )
        self._note(digest(COMMAND, signed.body), command, signer)
        self._outbox.say_command(command.gateway, signed)
        return command.gateway

    def _check(self, signed: Signed, command: Command) -> str:
        """Return the name of a command's signer. Raises ChainError."""
        core = self._core
        core.genesis.require(command.genesis, "the command")
        name, key = _signer(core.ledger.committed.roster(core.genesis), command.signer)
        signed.verify(COMMAND, key)
        if core.entry(command.gateway) is None:
            raise UnknownGateway(
                f"gateway {command.gateway.hex()[:16]} of the command was never enrolled in this chain"
            )
        if (now := core.now_ms()) > command.not_after:
            raise BadRecord(f"the command ran out at {command.not_after}, it is {now}")
        return name

    def _note(self, identity: bytes, command: Command, signer: str) -> None:
        core, now = self._core, self._core.now_ms()
        with self._lock:
            if identity in self._noted:
                return
            said = f"command of {signer}: {_ACTIONS[command.action]} {command.contract}"
            core.store.notes.add_finding(now, command.gateway, "command", said, identity)
            self._noted = {each: until for each, until in self._noted.items() if until >= now}
            self._noted[identity] = command.not_after


def _signer(roster: Roster, key: bytes) -> tuple[str, bytes]:
    """Return name and key of an authority in office or a hub in good standing. Raises UnknownSigner, RevokedKey."""
    try:
        found = roster.authority(key)
        return found.name, found.key
    except UnknownSigner:
        hub = roster.hub(key)
        if hub.standing != MEMBER_GOOD:
            raise RevokedKey(f"hub {hub.name} is suspended or was caught voting twice") from None
        return hub.name, hub.key
