"""What one hub says to this gateway, checked and acted upon.

Owns the verification of everything that arrives from a hub, under the genesis alone, and what it changes in the
store and the keeper. It does not own sending (`gateway.sync`).

Invariants:
* Nothing is believed for where it came from: answers, states and requests are signed by the hub, receipts and
  finality prove themselves, grants and commands are an authority's.
* An answer counts only for this boot's latest birth; a hub's state never goes back in version.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.chain.errors import BadRecord, ChainError
from gateway.chain.genesis import EMBEDDED, Genesis, Hub
from gateway.chain.governance import founding_roster
from gateway.chain.keys import ALARM_RECEIPT, ANSWER, HUB_STATE, REQUEST, Signed
from gateway.chain.leaf import HEADERS, LogLeaf
from gateway.chain.messages import AlarmReceipt, Answer, HeaderFinality, HubState, Receipts, Request
from gateway.errors import StoreError
from gateway.holdings import Holdings, Receipt
from gateway.keeper import Identity, Keeper
from gateway.orders import Orders
from gateway.store import Store
from gateway.topics import read_receipt

__all__ = ["Heard", "Hearing"]

_log = logging.getLogger(__name__)

_UNKNOWN: Final = 255  # the standing of a gateway that is not enrolled
_BEHIND: Final = 16  # receipts may overtake an answer by some final blocks


@dataclass(slots=True)
class Heard:
    """What a message changed, for whoever sends.

    Attributes:
        answered: an answer to the latest birth came.
        online: what the hub's state says.
        received: numbers of blocks that now have a receipt.
        alarms: hashes of transitions that the hub has on its disk.
        forgotten: that could not be kept in the store.
        resend: heights asked for again.
        rebirth: a birth is asked for.
    """

    answered: bool = False
    online: bool | None = None
    received: Sequence[int] = ()
    alarms: Sequence[bytes] = ()
    forgotten: bool = False
    resend: tuple[int, int] | None = None
    rebirth: bool = False


class Hearing:
    """Reads what one hub says; one thread calls it. Raises StoreError as the store does.

    Attributes:
        trouble: what is wrong with the hub's chain, for people; empty while nothing is.
    """

    def __init__(
        self, identity: Identity, genesis: Genesis, hub: Hub, store: Store, keeper: Keeper, orders: Orders
    ) -> None:
        self._identity, self._genesis, self._hub = identity, genesis, hub
        self._store, self._holdings, self._keeper, self._orders = store, Holdings(store), keeper, orders
        self._state_version = -1
        self.trouble = ""

    def hear(self, kind: str, payload: bytes, birth: int) -> Heard:
        """Act on a message of a kind of topic.

        Args:
            birth: version of the latest birth that this hub was sent.

        Raises:
            ChainError: it is refused.
        """
        match kind:
            case "receipt":
                return self._receipt(payload, birth)
            case "state":
                return self._state(Signed.decode(payload))
            case "request":
                return self._request(Signed.decode(payload))
            case "contract":
                self._orders.grant(Signed.decode(payload))
            case "command":
                self._orders.command(Signed.decode(payload))
        return Heard()

    def _receipt(self, payload: bytes, birth: int) -> Heard:
        match read_receipt(payload):
            case Receipts() as receipts:
                return self._receipts(receipts)
            case ("answer", Signed() as signed):
                return self._answer(signed, birth)
            case (_, Signed() as signed):
                return self._alarm_receipt(signed)
        raise AssertionError("read_receipt returns one of three")

    def _answer(self, signed: Signed, birth: int) -> Heard:
        answer = Answer.decode(signed.verify(ANSWER, self._hub.key))
        self._require(answer.genesis, answer.gateway, "the answer")
        if (answer.boot, answer.version) != (self._identity.boot, birth):
            return Heard()
        sealed = answer.checkpoint.verify(self._genesis)
        self._watch(answer.standing, sealed.height)
        self._keeper.see(answer.checkpoint, sealed)
        self._keeper.consider(answer)
        return Heard(answered=True)

    def _receipts(self, receipts: Receipts) -> Heard:
        rows = []
        for each in receipts.custody:
            promise, hub = each.verify(self._genesis, founding_roster(self._genesis))
            stored = self._store.at(promise.height)
            if promise.gateway == self._identity.gateway and stored and stored.hash == promise.hash:
                kept = promise.classes, promise.keep_until
                rows.append(Receipt(stored.number, hub.name, hub.agency, *kept, each.encode()))
        final = self._final(receipts.finality) if receipts.finality else None
        if rows or final is not None:
            self._holdings.add_receipts(rows, final)
        return Heard(received=[row.number for row in rows if row.hub == self._hub.name])

    def _final(self, finality: HeaderFinality) -> int | None:
        at = finality.position
        leaf = LogLeaf(HEADERS, self._identity.gateway, at.epoch, at.height, at.hash)
        self._keeper.see(finality.proof.checkpoint, finality.proof.verify(leaf, self._genesis))
        stored = self._store.at(at.height)
        return stored.number if stored and stored.position == at else None

    def _alarm_receipt(self, signed: Signed) -> Heard:
        receipt = AlarmReceipt.decode(signed.verify(ALARM_RECEIPT, self._hub.key))
        self._require(receipt.genesis, receipt.gateway, "the alarm receipt")
        try:
            self._store.acknowledge(self._hub.name, receipt.alarms)
        except StoreError as error:  # on a full disk they are sent once more after a restart, no worse
            _log.error("acknowledgement of %d alarms cannot be kept: %s", len(receipt.alarms), error)
            return Heard(alarms=receipt.alarms, forgotten=True)
        return Heard(alarms=receipt.alarms)

    def _state(self, signed: Signed) -> Heard:
        state = HubState.decode(signed.verify(HUB_STATE, self._hub.key))
        self._genesis.require(state.genesis, "the hub's state")
        if state.version < self._state_version:
            return Heard()
        self._state_version = state.version
        try:
            self._keeper.see(state.checkpoint, state.checkpoint.verify(self._genesis))
        except ChainError as error:
            _log.warning("checkpoint in the state of hub %s is refused: %s", self._hub.name, error)
        return Heard(online=bool(state.online))

    def _request(self, signed: Signed) -> Heard:
        request = Request.decode(signed.verify(REQUEST, self._hub.key))
        self._require(request.genesis, request.gateway, "the request")
        if request.boot != self._identity.boot:
            return Heard()
        if request.first == 0:
            return Heard(rebirth=True)
        return Heard(resend=(request.first, request.last))

    def _watch(self, standing: int, height: int) -> None:
        """Hold a hub's fresh answer against what it has sealed before; one hub makes all final blocks of its chain."""
        seen, trouble = self._keeper.seen.height, ""
        if self._genesis.engine == EMBEDDED and height + _BEHIND < seen:
            trouble = f"is at final block {height} and has sealed {seen} before: its chain went back"
        elif standing == _UNKNOWN and seen:
            trouble = "does not know this gateway, whose blocks it has made final"
        if trouble and trouble != self.trouble:
            _log.error("hub %s %s", self._hub.name, trouble)
        self.trouble = trouble

    def _require(self, genesis: bytes, gateway: bytes, what: str) -> None:
        self._genesis.require(genesis, what)
        if gateway != self._identity.gateway:
            raise BadRecord(f"{what} is for another gateway")
