"""Enrolment, and whatever else comes with its own authority: checked, ordered, answered.

Owned: what the REST interface accepts for ordering. Not owned: the rules (`hub.ledger.transactions`), the way in.
Invariant: nothing is accepted for where it came from: each of these records carries every signature it needs, so
that whoever brings it adds nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.chain.errors import BadRecord, ChainError, WrongShape
from gateway.chain.ordered import (
    Approve,
    Enrol,
    EpochOrder,
    Grant,
    Propose,
    Revoke,
    Rotate,
    Suspend,
    decode_transaction,
    encode_transaction,
)
from gateway.chain.tenure import Enrolment, EnrolmentBody, Ticket
from gateway.chain.verify import enrolled_id
from hub.consensus.base import ACCEPTED, ALREADY_FINAL, CROWDED, TxResult
from hub.core import Core, Refusals
from hub.errors import ConsensusFull, HubError
from hub.finality import Finality, subject

RECORDS: Final = (EpochOrder, Rotate, Revoke, Grant, Propose, Approve, Suspend)
FINALITY_SECONDS: Final = 10.0
AT_ONCE: Final = 24
"""How many may wait for finality: each holds one of the REST interface's threads, and others have questions, too."""
_NOBODY: Final = bytes(16)


class Refused(HubError):
    """A record breaks a rule; `name` is the rule's error."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"{name}: {detail}")
        self.name, self.detail = name, detail


class NotFinalYet(HubError):
    """Consensus did not order a record in time; it may still do so. Ask again: a repeat does no harm."""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What a gateway needs to know after its enrolment. `broker` is an MQTT URL."""

    gateway: bytes
    region: str
    broker: str
    genesis: bytes
    hub: str


class Registry:
    """Takes records that come over REST to finality."""

    def __init__(self, core: Core, finality: Finality, refusals: Refusals, broker: Callable[[], str]) -> None:
        self._core, self._finality, self._refusals, self._broker = core, finality, refusals, broker
        self._places = threading.BoundedSemaphore(AT_ONCE)

    def enrol(self, payload: bytes) -> Enrolled:
        """Order an enrolment (its bytes) and return what its gateway needs.

        Raises:
            Refused: the enrolment breaks a rule.
            NotFinalYet: it was not ordered in time.
            ConsensusError: it cannot be ordered now.
        """
        try:
            enrolment = Enrolment.decode(payload)
            gateway = enrolled_id(enrolment)
            self._check_region(enrolment)
        except ChainError as error:
            raise self._refused(_NOBODY, error, payload) from error
        self._order(gateway, encode_transaction(Enrol(enrolment)))
        entry = self._core.entry(gateway)
        assert entry is not None, "an enrolment that was accepted is in the state"
        core = self._core
        return Enrolled(gateway, entry.region, self._broker(), core.genesis.encode(), core.identity.hub.name)

    def _check_region(self, enrolment: Enrolment) -> None:
        """Check that a ticket was issued for the region that this hub serves. Raises ChainError."""
        region = Ticket.decode(EnrolmentBody.decode(enrolment.body).ticket.body).region
        if region != self._core.region:
            raise BadRecord(
                f"the ticket is for region {region}, this hub serves {self._core.region}: ask a hub of {region}"
            )

    def record(self, payload: bytes) -> bytes:
        """Order a transaction of `RECORDS` and return the gateway that it is about, zeros for none.

        Raises as `enrol`.
        """
        try:
            transaction = decode_transaction(payload)
            if not isinstance(transaction, RECORDS):
                raise WrongShape(
                    "only epoch changes, rotations, revocations, contract grants, proposals, approvals and"
                    " suspensions are taken here"
                )
            gateway = subject(self._core, transaction)
        except ChainError as error:
            raise self._refused(_NOBODY, error, payload) from error
        self._order(gateway, payload)
        return gateway

    def _order(self, gateway: bytes, tx: bytes) -> None:
        verdict = self._core.ledger.check(tx)
        self._require(gateway, tx, verdict)
        if verdict.code == ALREADY_FINAL:
            return
        if not self._places.acquire(blocking=False):
            raise ConsensusFull(f"{AT_ONCE} records wait for finality here already: offer it again later")
        try:
            result = self._finality.order(tx, FINALITY_SECONDS)
        except TimeoutError as error:
            raise NotFinalYet(
                f"not final after {FINALITY_SECONDS:g} s, but perhaps later: ask again with the same bytes"
            ) from error
        except ChainError as error:
            raise self._refused(gateway, error, tx) from error
        finally:
            self._places.release()
        self._require(gateway, tx, result)

    def _require(self, gateway: bytes, tx: bytes, result: TxResult) -> None:
        if result.code == CROWDED:
            raise ConsensusFull(result.error)
        if result.code not in (ACCEPTED, ALREADY_FINAL):
            name, _, detail = result.error.partition(": ")
            self._refusals.note_named(gateway, name, detail, tx)
            raise Refused(name, detail)

    def _refused(self, gateway: bytes, error: ChainError, item: bytes) -> Refused:
        self._refusals.note(gateway, error, item)
        return Refused(type(error).__name__, str(error))
